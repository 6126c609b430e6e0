"""What a contract's own view says where the mirror has a state: how to ask, and both answers in the same words."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from service.addresses import checksum, hex0x
from service.chain import artifacts, contracts
from service.mirror.aspects import NOBODY, UNKNOWN, State

WHOLE_BASIS_POINTS = 10_000

NO_DEED, NO_TARGET = 2**256 - 1, b"\xff" * 20
"""What nobody decided anything about is answered by the general rule."""

CANCELED, EXECUTED = "2", "7"
"""States of a proposal. Source: OpenZeppelin, IGovernor.ProposalState."""


@dataclass(frozen=True, slots=True)
class View:
    """A function that answers for one key of an aspect."""

    function: str  # its signature
    arguments: Callable[[bytes], tuple[Any, ...]]
    mirror: Callable[[State], str | None]  # None where the function tells something else of such a state
    chain: Callable[[tuple[Any, ...]], str]
    unknown: str | None = None  # what a refusal means that knows no such deed

    def calldata(self, kind: str, key: bytes) -> bytes:
        """The question about a key."""
        return contracts.encode_call(kind, self.function, *self.arguments(key))

    def said(self, state: State) -> str | None:
        """What the mirror says, or None where the function tells something else. Never fails on any state."""
        try:
            return self.mirror(state)
        except (KeyError, TypeError):  # somebody changed the row
            return f"no such state: {state}"

    def told(self, kind: str, answer: bytes) -> str:
        """A contract's answer, in the words of `mirror`. Never fails on any bytes."""
        try:
            return self.chain(contracts.decode_result(kind, self.function, answer))
        except Exception:  # a codec's every complaint means that the contract is not what it was a moment ago
            return f"no such answer: {hex0x(answer)}"


@cache
def functions(kind: str) -> frozenset[str]:
    """Names of the functions that a contract of this kind has; none where the kind has no artifact."""
    if kind not in artifacts.names():
        return frozenset()
    return frozenset(entry["name"] for entry in artifacts.load(kind).abi if entry["type"] == "function")


def view(kind: str, aspect: str, key: bytes) -> View | None:
    """The function of a contract of this kind that answers for a key of an aspect, if it has one."""
    found = SETTINGS.get(key) if aspect == "setting" else VIEWS.get(aspect)
    return found if found is not None and _name(found) in functions(kind) else None


@cache
def aspects(kind: str) -> frozenset[str]:
    """The aspects that a contract of this kind has functions for."""
    settings = {"setting"} if any(_name(each) in functions(kind) for each in SETTINGS.values()) else set()
    return frozenset(settings | {aspect for aspect, each in VIEWS.items() if _name(each) in functions(kind)})


def _name(view: View) -> str:
    return view.function.partition("(")[0]


def _whole(key: bytes) -> tuple[Any, ...]:
    return (key,)


def _number(key: bytes) -> tuple[Any, ...]:
    return (int.from_bytes(key),)


def _nothing(_: bytes) -> tuple[Any, ...]:
    return ()


def _account_and(rest: Callable[[bytes], tuple[Any, ...]]) -> Callable[[bytes], tuple[Any, ...]]:
    return lambda key: (key[:20], *rest(key[20:]))


def _said(unset: str, *names: str) -> Callable[[State], str]:
    """The named parts of a state as text; `unset` where there is none."""
    return lambda state: unset if state is None else " ".join(str(state[name]) for name in names)


def _known(*names: str) -> Callable[[State], str | None]:
    """The named parts of a state as text; where there is none, the function tells something else."""
    return lambda state: None if state is None else " ".join(str(state[name]) for name in names)


def _is(answer: str) -> Callable[[State], str | None]:
    """The answer wherever there is a state."""
    return lambda state: None if state is None else answer


def _text(given: Any) -> str:
    return hex0x(given) if isinstance(given, bytes) else str(given)


def _first(answer: tuple[Any, ...]) -> str:
    return _text(answer[0])


def _account(answer: tuple[Any, ...]) -> str:
    return checksum(answer[0])


def _all(*places: int) -> Callable[[tuple[Any, ...]], str]:
    return lambda answer: " ".join(_text(answer[place]) for place in places)


def _inside(*places: int) -> Callable[[tuple[Any, ...]], str]:
    """Members of the struct that is the only answer."""
    return lambda answer: _all(*places)(answer[0])


def _access(answer: tuple[Any, ...]) -> str:
    since, delay_now, delay_later, effect = answer
    return f"{since} {delay_later if effect else delay_now}"


def _policy(answer: tuple[Any, ...]) -> str:
    registered, rules = answer
    return " ".join(map(str, rules)) if registered else "none"


def _royalty_said(state: State) -> str | None:
    """A deed without a royalty of its own has that of all others."""
    return None if state is None or state["receiver"] == NOBODY else f"{state['receiver']} {state['basis_points']}"


def _distribution(answer: tuple[Any, ...]) -> str:
    creator, currency, root, deadline, closed, _ = answer
    return f"{checksum(creator)} {checksum(currency)} {hex0x(root)} {deadline} {closed}"


def _distribution_said(state: State) -> str:
    if state is None:
        return f"{NOBODY} {NOBODY} {UNKNOWN} 0 False"
    terms = " ".join(str(state[name]) for name in ("creator", "currency", "root", "deadline"))
    return f"{terms} {state['status'] == 'closed'}"


def _lots(answer: tuple[Any, ...]) -> str:
    return " ".join(f"{amount}@{unlocks_at}" for amount, unlocks_at in zip(*answer, strict=False))


def _lots_said(state: State) -> str:
    return " ".join(f"{lot['amount']}@{lot['unlocks_at']}" for lot in (state or {"lots": ()})["lots"])


VIEWS: Mapping[str, View] = {
    "frozen": View("getFrozenTokens(address)", _whole, _said("0", "amount"), _first),
    "frozen-deed": View("getFrozenTokens(address,uint256)", _account_and(_number), _said("False", "frozen"), _first),
    "delegate": View("delegates(address)", _whole, _said(NOBODY, "delegatee"), _account),
    "votes": View("getVotes(address)", _whole, _said("0", "votes"), _first),
    "registry": View("registry()", _nothing, _said(NOBODY, "registry"), _account),
    "authority": View("authority()", _nothing, _said(NOBODY, "authority"), _account),
    "role": View(
        "getAccess(uint64,address)",
        lambda key: (int.from_bytes(key[:8]), key[8:]),
        _said("0 0", "since", "delay_s"),
        _access,
    ),
    "role-admin": View("getRoleAdmin(uint64)", _number, _said("0", "admin"), _first),
    "role-guardian": View("getRoleGuardian(uint64)", _number, _said("0", "guardian"), _first),
    "target-closed": View("isTargetClosed(address)", _whole, _said("False", "closed"), _first),
    "identity": View("identity(bytes32)", _whole, _said("0 0 0", "country", "level", "expires_at"), _inside(0, 1, 3)),
    "blocked": View("identity(bytes32)", _whole, _said("False", "blocked"), _inside(2)),
    "wallet": View("investorOf(address)", _whole, _said(UNKNOWN, "investor"), _first),
    "policy": View(
        "policy(address)",
        _whole,
        _said("none", "level_min", "country_rule", "holders_max", "country_holders_max", "holding_max"),
        _policy,
    ),
    "lots": View("lots(address,bytes32)", _account_and(_whole), _lots_said, _lots),
    "document": View(
        "getDocument(address,bytes32)",
        _account_and(_whole),
        _said(f"0 {UNKNOWN} 0 ", "version", "hash", "effective_from", "uri"),
        _all(3, 1, 2, 0),
    ),
    "deed": View("documentHash(uint256)", _number, _said(UNKNOWN, "document_hash"), _first),
    "attester": View("attestation(address)", _whole, _said(NOBODY, "attester"), lambda answer: checksum(answer[3])),
    "reserve": View("attestation(address)", _whole, _said("0 0", "amount", "expires_at"), _all(0, 2)),
    "royalty": View(
        "royaltyInfo(uint256,uint256)",
        lambda key: (int.from_bytes(key) if key else NO_DEED, WHOLE_BASIS_POINTS),
        _royalty_said,
        lambda answer: f"{checksum(answer[0])} {answer[1]}",
    ),
    "locked": View("locked(uint256)", _number, _known("locked"), _first, unknown="True"),
    "function-role": View(
        "getTargetFunctionRole(address,bytes4)", lambda key: (key[:20], key[20:]), _known("role"), _first
    ),
    "default-function-role": View(
        "getTargetFunctionRole(address,bytes4)", lambda key: (NO_TARGET, key), _known("role"), _first
    ),
    "country-holders-max": View(
        "countryHolders(address,uint16)",
        lambda key: (key[:20], int.from_bytes(key[20:])),
        _known("holders_max"),
        _all(1),
    ),
    "scheduled": View("getNonce(bytes32)", _whole, _said("0", "nonce"), _first),
    "proposal": View("proposalSnapshot(uint256)", _number, _said("0", "vote_start"), _first),
    "proposal-extended": View("proposalDeadline(uint256)", _number, _known("vote_end"), _first),
    "proposal-queued": View("proposalEta(uint256)", _number, _said("0", "eta"), _first),
    "proposal-executed": View("state(uint256)", _number, _is(EXECUTED), _first),
    "proposal-canceled": View("state(uint256)", _number, _is(CANCELED), _first),
    "ballot": View(
        "hasVoted(uint256,address)",
        lambda key: (int.from_bytes(key[:32]), key[32:]),
        lambda state: str(state is not None),
        _first,
    ),
    "distribution": View("distributionOf(bytes32)", _whole, _distribution_said, _distribution),
    "anchor": View("latest(bytes32)", _whole, _said(f"0 {UNKNOWN}", "size", "root"), _inside(0, 2)),
}
"""By aspect. An aspect that is not here has no view that answers for one key, or one that changes with time alone."""

SETTINGS: Mapping[bytes, View] = {
    name.encode(): View(function, _nothing, _known("value"), chain)
    for name, function, chain in (
        ("voting-delay", "votingDelay()", _first),
        ("voting-period", "votingPeriod()", _first),
        ("proposal-threshold", "proposalThreshold()", _first),
        ("quorum-numerator", "quorumNumerator()", _first),
        ("late-quorum-vote-extension", "lateQuorumVoteExtension()", _first),
        ("timelock", "timelock()", _account),
    )
}
"""By the key of the aspect `setting`."""
