"""What each event says about a contract: one table from an event's signature to the state that it leaves behind.

An aspect is one kind of state; a key says whose it is, in bytes of a fixed order, so that keys that share their first
part are neighbours. A state is what the chain would answer now: an event that leaves nothing (an amount of 0, a role
taken away) leaves the state None. Pure, no I/O.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from service.addresses import ZERO, checksum

Arguments = Mapping[str, Any]
State = dict[str, Any] | None
Key = TypeVar("Key", bound=Hashable)

NOBODY = checksum(ZERO)
UNKNOWN = "0x" + "00" * 32


@dataclass(frozen=True, slots=True)
class Rule:
    """How one event changes one aspect: whose state, and what it is after what it was."""

    aspect: str
    key: Callable[[Arguments], bytes]
    state: Callable[[State, Arguments], State]


@dataclass(frozen=True, slots=True)
class Change:
    """One rule that one event sets to work."""

    contract: bytes
    block_number: int
    key: bytes
    rule: Rule
    arguments: Arguments

    @property
    def place(self) -> tuple[bytes, str, bytes]:
        """Whose state it is: contract, aspect and key."""
        return self.contract, self.rule.aspect, self.key


def changes(contract: bytes, block_number: int, signature: str, arguments: Arguments) -> list[Change]:
    """What an event changes, which for most events is nothing or one thing."""
    rules = RULES.get(signature, ())
    return [Change(contract, block_number, rule.key(arguments), rule, arguments) for rule in rules]


def closing_states(
    opening: Mapping[tuple[bytes, str, bytes], State], found: Iterable[Change]
) -> dict[tuple[bytes, str, bytes], dict[int, State]]:
    """The state of each key at the end of each block that has a change of it.

    Args:
        opening: the state before the first change; a key without one had none.
        found: in the order of the chain, within each contract.
    """
    states = dict(opening)
    closings: dict[tuple[bytes, str, bytes], dict[int, State]] = {}
    for change in found:
        place = change.place
        states[place] = change.rule.state(states.get(place), change.arguments)
        closings.setdefault(place, {})[change.block_number] = states[place]
    return closings


# Keys


def key_bytes(given: str | int, width: int = 32) -> bytes:
    """One part of a key: 0x text as the bytes it tells, a number as big-endian bytes of the width."""
    if isinstance(given, str) and given.startswith("0x"):
        return bytes.fromhex(given[2:])
    return int(given).to_bytes(width)


def _key(*parts: str | tuple[str, int] | bytes) -> Callable[[Arguments], bytes]:
    """Parts one after another: an argument, a numeric argument with its width where it is not 32, or plain bytes."""
    named = [(part, 32) if isinstance(part, str) else part for part in parts]

    def key(arguments: Arguments) -> bytes:
        return b"".join(part if isinstance(part, bytes) else key_bytes(arguments[part[0]], part[1]) for part in named)

    return key


# States

Making = Callable[[State, Arguments], State]


def _take(*numbers: str, **names: str) -> Making:
    """The arguments under our names; those in `numbers` are small whatever their type is, and become `int`."""

    def state(_: State, arguments: Arguments) -> State:
        return {ours: int(arguments[its]) if ours in numbers else arguments[its] for ours, its in names.items()}

    return state


def _none(_former: State, _arguments: Arguments) -> State:
    return None


def _unless(argument: str, empty: Any, otherwise: Making) -> Making:
    """None where the argument says that there is nothing now."""
    return lambda former, arguments: None if arguments[argument] == empty else otherwise(former, arguments)


def _then(later: Making, **fixed: Any) -> Making:
    """What was known before, with what the event says and `fixed` over it."""
    return lambda former, arguments: {**(former or {}), **(later(former, arguments) or {}), **fixed}


def _afresh(making: Making, **fixed: Any) -> Making:
    return lambda former, arguments: {**(making(former, arguments) or {}), **fixed}


def _granted(former: State, arguments: Arguments) -> State:
    """A grant to a member changes its delay alone: it has been a member since before."""
    since = arguments["since"]
    member_since = since if arguments["newMember"] or former is None else former["since"]
    return {"delay_s": arguments["delay"], "since": member_since, "delay_since": since}


def _lots(_: State, arguments: Arguments) -> State:
    given = zip(arguments["amounts"], arguments["unlocksAt"], strict=False)
    lots = [{"amount": amount, "unlocks_at": unlocks_at} for amount, unlocks_at in given]
    return {"lots": lots} if lots else None


CALLS_MAX = 1_024
CALLDATA_MAX = 2 + 2 * 131_072
"""Characters of hex. No transaction is longer than 128 KiB, so no real batch is; a stranger's would grow for ever."""


def _call_scheduled(former: State, arguments: Arguments) -> State:
    """A batch announces its calls one by one under the same id, which may be used again after it was cancelled."""
    standing = former if former is not None and former["status"] == "scheduled" else {}
    call = {name: arguments[name] for name in ("target", "value", "data")}
    calls = standing.get("calls", {})
    if len(calls) >= CALLS_MAX or sum(len(each["data"]) for each in (call, *calls.values())) > CALLDATA_MAX:
        return {**standing, "status": "scheduled", "cut": True}
    return {
        **standing,
        "status": "scheduled",
        "predecessor": arguments["predecessor"],
        "delay_s": int(arguments["delay"]),
        "calls": {**calls, arguments["index"]: call},
    }


_NOTHING = _take()
_PROPOSAL = _take(
    "vote_start",
    "vote_end",
    proposer="proposer",
    targets="targets",
    values="values",
    signatures="signatures",
    calldatas="calldatas",
    vote_start="voteStart",
    vote_end="voteEnd",
    description="description",
)
_BALLOT = _take(support="support", weight="weight", reason="reason")
_TRADE = {"seller": "seller", "buyer": "buyer", "nonce": "nonce"}


def _setting(name: str, argument: str) -> tuple[Rule, ...]:
    return (Rule("setting", _key(name.encode()), lambda _, arguments: {"value": str(arguments[argument])}),)


_AUTHORITY = {
    "RoleGranted(uint64,address,uint32,uint48,bool)": (Rule("role", _key(("roleId", 8), "account"), _granted),),
    "RoleRevoked(uint64,address)": (Rule("role", _key(("roleId", 8), "account"), _none),),
    "RoleAdminChanged(uint64,uint64)": (Rule("role-admin", _key(("roleId", 8)), _take(admin="admin")),),
    "RoleGuardianChanged(uint64,uint64)": (Rule("role-guardian", _key(("roleId", 8)), _take(guardian="guardian")),),
    "RoleGrantDelayChanged(uint64,uint32,uint48)": (
        Rule("role-grant-delay", _key(("roleId", 8)), _take(delay_s="delay", since="since")),
    ),
    "RoleLabel(uint64,string)": (Rule("role-label", _key(("roleId", 8)), _take(label="label")),),
    "TargetFunctionRoleUpdated(address,bytes4,uint64)": (
        Rule("function-role", _key("target", "selector"), _take(role="roleId")),
    ),
    "DefaultFunctionRole(bytes4,uint64)": (Rule("default-function-role", _key("selector"), _take(role="role")),),
    "TargetClosed(address,bool)": (
        Rule("target-closed", _key("target"), _unless("closed", False, _take(closed="closed"))),
    ),
    "TargetAdminDelayUpdated(address,uint32,uint48)": (
        Rule("target-admin-delay", _key("target"), _take(delay_s="delay", since="since")),
    ),
    "OperationScheduled(bytes32,uint32,uint48,address,address,bytes)": (
        Rule(
            "scheduled",
            _key("operationId"),
            _afresh(
                _take(ready_at="schedule", caller="caller", target="target", data="data", nonce="nonce"),
                status="scheduled",
            ),
        ),
    ),
    "OperationExecuted(bytes32,uint32)": (
        Rule("scheduled", _key("operationId"), _then(_take(nonce="nonce"), status="executed")),
    ),
    "OperationCanceled(bytes32,uint32)": (
        Rule("scheduled", _key("operationId"), _then(_take(nonce="nonce"), status="cancelled")),
    ),
}

_TOKENS = {
    "AuthorityUpdated(address)": (Rule("authority", _key(), _take(authority="authority")),),
    "RegistryChanged(address,address)": (
        Rule("registry", _key(), _unless("registry", NOBODY, _take(registry="registry"))),
    ),
    "Frozen(address,uint256)": (Rule("frozen", _key("account"), _unless("amount", "0", _take(amount="amount"))),),
    "DelegateChanged(address,address,address)": (
        Rule("delegate", _key("delegator"), _unless("toDelegate", NOBODY, _take(delegatee="toDelegate"))),
    ),
    "DelegateVotesChanged(address,uint256,uint256)": (
        Rule("votes", _key("delegate"), _unless("newVotes", "0", _take(votes="newVotes"))),
    ),
    "AttesterSet(address,address)": (
        Rule("attester", _key("token"), _unless("attester", NOBODY, _take(attester="attester"))),
        # What the former attester swore to is void.
        Rule("reserve", _key("token"), _none),
    ),
    "ReserveAttested(address,uint256,uint64,uint64,address)": (
        Rule(
            "reserve",
            _key("token"),
            _take(amount="amount", issued_at="issuedAt", expires_at="expiresAt", attester="attester"),
        ),
    ),
}

_PROXIES = {
    "Upgraded(address)": (Rule("implementation", _key(), _take(implementation="implementation")),),
    "BeaconUpgraded(address)": (Rule("beacon", _key(), _take(beacon="beacon")),),
    "AdminChanged(address,address)": (Rule("proxy-admin", _key(), _take(admin="newAdmin")),),
}

_DEEDS = {
    "Frozen(address,uint256,bool)": (
        Rule(
            "frozen-deed",
            _key("account", "tokenId"),
            _unless("frozenStatus", False, _take(frozen="frozenStatus")),
        ),
    ),
    "DeedIssued(uint256,address,string,bytes32)": (
        Rule("deed", _key("deedId"), _take(uri="uri", document_hash="documentHash")),
    ),
    "DeedDocument(uint256,string,bytes32)": (
        Rule("deed", _key("deedId"), _take(uri="uri", document_hash="documentHash")),
    ),
    "Retired(uint256,string)": (Rule("retired", _key("deedId"), _take(reason="reason")),),
    "RoyaltySet(uint256,address,uint96)": (
        Rule("royalty", _key("deedId"), _take("basis_points", receiver="receiver", basis_points="basisPoints")),
    ),
    "DefaultRoyaltySet(address,uint96)": (
        Rule("royalty", _key(), _take("basis_points", receiver="receiver", basis_points="basisPoints")),
    ),
    "Locked(uint256)": (Rule("locked", _key("tokenId"), _afresh(_NOTHING, locked=True)),),
}

_COMPLIANCE = {
    "IdentitySet(bytes32,uint16,uint8,uint64,address)": (
        Rule(
            "identity",
            _key("investor"),
            _take(country="country", level="level", expires_at="expiresAt", attester="attester"),
        ),
    ),
    "InvestorBlocked(bytes32,bool,bytes32)": (
        Rule("blocked", _key("investor"), _take(blocked="blocked", reason_hash="reasonHash")),
    ),
    "WalletLinked(address,bytes32)": (
        Rule("wallet", _key("wallet"), _unless("investor", UNKNOWN, _take(investor="investor"))),
    ),
    "PolicySet(address,uint8,uint8,uint32,uint32,uint256,uint16[])": (
        Rule(
            "policy",
            _key("token"),
            _take(
                level_min="levelMin",
                country_rule="countryRule",
                holders_max="holdersMax",
                country_holders_max="countryHoldersMax",
                holding_max="holdingMax",
                countries="countries",
            ),
        ),
    ),
    "CountryHoldersMaxSet(address,uint16,uint32)": (
        Rule(
            "country-holders-max",
            _key("token", ("country", 4)),
            _unless("holdersMax", 0, _take(holders_max="holdersMax")),
        ),
    ),
    "LotsSet(address,bytes32,uint256[],uint64[])": (Rule("lots", _key("token", "investor"), _lots),),
    "DocumentSet(address,bytes32,uint32,string,bytes32,uint64)": (
        Rule(
            "document",
            _key("subject", "name"),
            _take(version="version", uri="uri", hash="documentHash", effective_from="effectiveFrom"),
        ),
    ),
    "DocumentRemoved(address,bytes32,uint32)": (Rule("document", _key("subject", "name"), _none),),
}

_GOVERNANCE = {
    "VotingDelaySet(uint256,uint256)": _setting("voting-delay", "newVotingDelay"),
    "VotingPeriodSet(uint256,uint256)": _setting("voting-period", "newVotingPeriod"),
    "ProposalThresholdSet(uint256,uint256)": _setting("proposal-threshold", "newProposalThreshold"),
    "QuorumNumeratorUpdated(uint256,uint256)": _setting("quorum-numerator", "newQuorumNumerator"),
    "LateQuorumVoteExtensionSet(uint64,uint64)": _setting("late-quorum-vote-extension", "newVoteExtension"),
    "TimelockChange(address,address)": _setting("timelock", "newTimelock"),
    "MinDelayChange(uint256,uint256)": _setting("min-delay", "newDuration"),
    "ProposalCreated(uint256,address,address[],uint256[],string[],bytes[],uint256,uint256,string)": (
        Rule("proposal", _key("proposalId"), _PROPOSAL),
    ),
    "ProposalQueued(uint256,uint256)": (Rule("proposal-queued", _key("proposalId"), _take("eta", eta="etaSeconds")),),
    "ProposalExecuted(uint256)": (Rule("proposal-executed", _key("proposalId"), _afresh(_NOTHING, executed=True)),),
    "ProposalCanceled(uint256)": (Rule("proposal-canceled", _key("proposalId"), _afresh(_NOTHING, canceled=True)),),
    "ProposalExtended(uint256,uint64)": (
        Rule("proposal-extended", _key("proposalId"), _take(vote_end="extendedDeadline")),
    ),
    "VoteCast(address,uint256,uint8,uint256,string)": (Rule("ballot", _key("proposalId", "voter"), _BALLOT),),
    "VoteCastWithParams(address,uint256,uint8,uint256,string,bytes)": (
        Rule("ballot", _key("proposalId", "voter"), _BALLOT),
    ),
    "RoleGranted(bytes32,address,address)": (
        Rule("timelock-role", _key("role", "account"), _take(granted_by="sender")),
    ),
    "RoleRevoked(bytes32,address,address)": (Rule("timelock-role", _key("role", "account"), _none),),
    "RoleAdminChanged(bytes32,bytes32,bytes32)": (
        Rule("timelock-role-admin", _key("role"), _take(admin="newAdminRole")),
    ),
    "CallScheduled(bytes32,uint256,address,uint256,bytes,bytes32,uint256)": (
        Rule("timelock-call", _key("id"), _call_scheduled),
    ),
    "CallSalt(bytes32,bytes32)": (Rule("timelock-call", _key("id"), _then(_take(salt="salt"), status="scheduled")),),
    "CallExecuted(bytes32,uint256,address,uint256,bytes)": (
        Rule("timelock-call", _key("id"), _then(_NOTHING, status="executed")),
    ),
    "Cancelled(bytes32)": (Rule("timelock-call", _key("id"), _then(_NOTHING, status="cancelled")),),
}

_ACTIONS = {
    "Anchored(bytes32,uint64,bytes32,bytes32,uint64,bytes32)": (
        Rule(
            "anchor",
            _key("logId"),
            _take(
                size="size",
                root="root",
                mirror_digest="mirrorDigest",
                block_number="blockNumber",
                block_hash="blockHash",
            ),
        ),
    ),
    "DistributionCreated(bytes32,address,address,address,uint256,bytes32,uint64,bytes32,bytes32,uint64)": (
        Rule(
            "distribution",
            _key("distributionId"),
            _afresh(
                _take(
                    token="token",  # noqa: S106
                    currency="currency",
                    creator="creator",
                    total="total",
                    root="root",
                    record_block="recordBlock",
                    record_block_hash="recordBlockHash",
                    cap_table_digest="capTableDigest",
                    deadline="deadline",
                ),
                status="open",
            ),
        ),
    ),
    "Closed(bytes32,address,uint256)": (
        Rule("distribution", _key("distributionId"), _then(_take(remainder="remainder"), status="closed")),
    ),
    "Claimed(bytes32,address,uint256,uint256)": (
        Rule(
            "claim",
            _key("distributionId", "account"),
            _afresh(_take("index", index="index", amount="amount"), status="claimed"),
        ),
    ),
    "PayeeSkipped(bytes32,address,uint256,uint256)": (
        Rule(
            "claim",
            _key("distributionId", "account"),
            _afresh(_take("index", index="index", amount="amount"), status="skipped"),
        ),
    ),
    "Settled(bytes32,address,address,address,uint256,bool,address,uint256,bytes32)": (
        Rule(
            "trade",
            _key("tradeId"),
            _afresh(
                _take(
                    **_TRADE,
                    asset="asset",
                    asset_amount="assetAmount",
                    deed="deed",
                    currency="currency",
                    currency_amount="currencyAmount",
                ),
                status="settled",
            ),
        ),
    ),
    "Cancelled(bytes32,address,address,bytes32,address)": (
        Rule("trade", _key("tradeId"), _afresh(_take(**_TRADE, party="party"), status="cancelled")),
    ),
}

RULES: Mapping[str, tuple[Rule, ...]] = {
    **_AUTHORITY,
    **_TOKENS,
    **_PROXIES,
    **_DEEDS,
    **_COMPLIANCE,
    **_GOVERNANCE,
    **_ACTIONS,
}
"""From an event's signature to what it changes. Events that are not here are kept as events alone."""

ASPECTS = frozenset(rule.aspect for rules in RULES.values() for rule in rules)
"""Every aspect there is."""
