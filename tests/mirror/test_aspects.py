"""What each event leaves behind: one case for each, and what comes of several on one key."""

from typing import Any

import pytest

from service.addresses import ZERO, checksum
from service.chain.events import known
from service.mirror.aspects import ASPECTS, CALLDATA_MAX, RULES, changes, closing_states, key_bytes

ONE, TWO = b"\x11" * 20, b"\x22" * 20
A, B, NONE = checksum(ONE), checksum(TWO), checksum(ZERO)
ID, HASH, NO_HASH = "0x" + "ab" * 32, "0x" + "cd" * 32, "0x" + "00" * 32
ID_KEY = b"\xab" * 32
SEVEN = (7).to_bytes(32)
BIG = str(2**256 - 1)

Left = list[tuple[str, bytes, dict[str, Any] | None]]
Case = tuple[str, dict[str, Any], Left]

GRANTED = {"roleId": 3, "account": A, "delay": 60, "since": 99, "newMember": True}
SCHEDULED = {"operationId": ID, "nonce": 2, "schedule": 77, "caller": A, "target": B, "data": "0x01"}
PROPOSAL: dict[str, Any] = {
    "proposalId": "7",
    "proposer": A,
    "targets": [B],
    "values": ["0"],
    "signatures": [""],
    "calldatas": ["0x01"],
    "voteStart": "5",
    "voteEnd": "9",
    "description": "buy",
}
CALL = {"target": B, "value": "0", "data": "0x01"}
POLICY = {"levelMin": 1, "countryRule": 2, "holdersMax": 3, "countryHoldersMax": 4, "holdingMax": "5"}
LIMITS = {"level_min": 1, "country_rule": 2, "holders_max": 3, "country_holders_max": 4, "holding_max": "5"}
TRADE = {"tradeId": ID, "seller": A, "buyer": B, "nonce": HASH}
DISTRIBUTION = {
    "distributionId": ID,
    "token": A,
    "currency": B,
    "creator": A,
    "total": "10",
    "root": HASH,
    "recordBlock": 4,
    "recordBlockHash": HASH,
    "capTableDigest": HASH,
    "deadline": 8,
}
ANCHOR = {"logId": ID, "size": 4, "root": HASH, "mirrorDigest": HASH, "blockNumber": 9, "blockHash": HASH}
VOTE: dict[str, Any] = {"voter": A, "proposalId": "7", "support": 1, "weight": "5", "reason": "why"}
BALLOT: Left = [("ballot", SEVEN + ONE, {"support": 1, "weight": "5", "reason": "why"})]


def setting(name: str, value: str) -> Left:
    return [("setting", name.encode(), {"value": value})]


CASES: list[Case] = [
    (
        "RoleGranted(uint64,address,uint32,uint48,bool)",
        GRANTED,
        [("role", (3).to_bytes(8) + ONE, {"delay_s": 60, "since": 99, "delay_since": 99})],
    ),
    ("RoleRevoked(uint64,address)", {"roleId": 3, "account": A}, [("role", (3).to_bytes(8) + ONE, None)]),
    ("RoleAdminChanged(uint64,uint64)", {"roleId": 3, "admin": 1}, [("role-admin", (3).to_bytes(8), {"admin": 1})]),
    (
        "RoleGuardianChanged(uint64,uint64)",
        {"roleId": 3, "guardian": 8},
        [("role-guardian", (3).to_bytes(8), {"guardian": 8})],
    ),
    (
        "RoleGrantDelayChanged(uint64,uint32,uint48)",
        {"roleId": 3, "delay": 5, "since": 6},
        [("role-grant-delay", (3).to_bytes(8), {"delay_s": 5, "since": 6})],
    ),
    ("RoleLabel(uint64,string)", {"roleId": 3, "label": "X"}, [("role-label", (3).to_bytes(8), {"label": "X"})]),
    (
        "TargetFunctionRoleUpdated(address,bytes4,uint64)",
        {"target": A, "selector": "0x01020304", "roleId": 2},
        [("function-role", ONE + b"\1\2\3\4", {"role": 2})],
    ),
    (
        "DefaultFunctionRole(bytes4,uint64)",
        {"selector": "0x01020304", "role": 2},
        [("default-function-role", b"\1\2\3\4", {"role": 2})],
    ),
    ("TargetClosed(address,bool)", {"target": A, "closed": True}, [("target-closed", ONE, {"closed": True})]),
    ("TargetClosed(address,bool)", {"target": A, "closed": False}, [("target-closed", ONE, None)]),
    (
        "TargetAdminDelayUpdated(address,uint32,uint48)",
        {"target": A, "delay": 5, "since": 6},
        [("target-admin-delay", ONE, {"delay_s": 5, "since": 6})],
    ),
    (
        "OperationScheduled(bytes32,uint32,uint48,address,address,bytes)",
        SCHEDULED,
        [
            (
                "scheduled",
                ID_KEY,
                {"status": "scheduled", "ready_at": 77, "caller": A, "target": B, "data": "0x01", "nonce": 2},
            )
        ],
    ),
    (
        "OperationExecuted(bytes32,uint32)",
        {"operationId": ID, "nonce": 2},
        [("scheduled", ID_KEY, {"status": "executed", "nonce": 2})],
    ),
    (
        "OperationCanceled(bytes32,uint32)",
        {"operationId": ID, "nonce": 2},
        [("scheduled", ID_KEY, {"status": "cancelled", "nonce": 2})],
    ),
    ("Upgraded(address)", {"implementation": A}, [("implementation", b"", {"implementation": A})]),
    ("BeaconUpgraded(address)", {"beacon": A}, [("beacon", b"", {"beacon": A})]),
    ("AdminChanged(address,address)", {"previousAdmin": A, "newAdmin": B}, [("proxy-admin", b"", {"admin": B})]),
    ("AuthorityUpdated(address)", {"authority": A}, [("authority", b"", {"authority": A})]),
    ("RegistryChanged(address,address)", {"former": NONE, "registry": A}, [("registry", b"", {"registry": A})]),
    ("RegistryChanged(address,address)", {"former": A, "registry": NONE}, [("registry", b"", None)]),
    ("Frozen(address,uint256)", {"account": A, "amount": BIG}, [("frozen", ONE, {"amount": BIG})]),
    ("Frozen(address,uint256)", {"account": A, "amount": "0"}, [("frozen", ONE, None)]),
    (
        "Frozen(address,uint256,bool)",
        {"account": A, "tokenId": "7", "frozenStatus": True},
        [("frozen-deed", ONE + SEVEN, {"frozen": True})],
    ),
    (
        "Frozen(address,uint256,bool)",
        {"account": A, "tokenId": "7", "frozenStatus": False},
        [("frozen-deed", ONE + SEVEN, None)],
    ),
    (
        "DelegateChanged(address,address,address)",
        {"delegator": A, "fromDelegate": NONE, "toDelegate": B},
        [("delegate", ONE, {"delegatee": B})],
    ),
    (
        "DelegateChanged(address,address,address)",
        {"delegator": A, "fromDelegate": B, "toDelegate": NONE},
        [("delegate", ONE, None)],
    ),
    (
        "DelegateVotesChanged(address,uint256,uint256)",
        {"delegate": A, "previousVotes": "0", "newVotes": "5"},
        [("votes", ONE, {"votes": "5"})],
    ),
    (
        "DelegateVotesChanged(address,uint256,uint256)",
        {"delegate": A, "previousVotes": "5", "newVotes": "0"},
        [("votes", ONE, None)],
    ),
    (
        "AttesterSet(address,address)",
        {"token": A, "attester": B},
        [("attester", ONE, {"attester": B}), ("reserve", ONE, None)],
    ),
    ("AttesterSet(address,address)", {"token": A, "attester": NONE}, [("attester", ONE, None), ("reserve", ONE, None)]),
    (
        "ReserveAttested(address,uint256,uint64,uint64,address)",
        {"token": A, "amount": "9", "issuedAt": 1, "expiresAt": 2, "attester": B},
        [("reserve", ONE, {"amount": "9", "issued_at": 1, "expires_at": 2, "attester": B})],
    ),
    (
        "DeedIssued(uint256,address,string,bytes32)",
        {"deedId": "7", "to": A, "uri": "u", "documentHash": HASH},
        [("deed", SEVEN, {"uri": "u", "document_hash": HASH})],
    ),
    (
        "DeedDocument(uint256,string,bytes32)",
        {"deedId": "7", "uri": "u", "documentHash": HASH},
        [("deed", SEVEN, {"uri": "u", "document_hash": HASH})],
    ),
    ("Retired(uint256,string)", {"deedId": "7", "reason": "sold"}, [("retired", SEVEN, {"reason": "sold"})]),
    (
        "RoyaltySet(uint256,address,uint96)",
        {"deedId": "7", "receiver": A, "basisPoints": "250"},
        [("royalty", SEVEN, {"receiver": A, "basis_points": 250})],
    ),
    (
        "DefaultRoyaltySet(address,uint96)",
        {"receiver": A, "basisPoints": "250"},
        [("royalty", b"", {"receiver": A, "basis_points": 250})],
    ),
    ("Locked(uint256)", {"tokenId": "7"}, [("locked", SEVEN, {"locked": True})]),
    (
        "IdentitySet(bytes32,uint16,uint8,uint64,address)",
        {"investor": ID, "country": 756, "level": 2, "expiresAt": 3, "attester": A},
        [("identity", ID_KEY, {"country": 756, "level": 2, "expires_at": 3, "attester": A})],
    ),
    (
        "InvestorBlocked(bytes32,bool,bytes32)",
        {"investor": ID, "blocked": False, "reasonHash": HASH},
        [("blocked", ID_KEY, {"blocked": False, "reason_hash": HASH})],
    ),
    ("WalletLinked(address,bytes32)", {"wallet": A, "investor": ID}, [("wallet", ONE, {"investor": ID})]),
    ("WalletLinked(address,bytes32)", {"wallet": A, "investor": NO_HASH}, [("wallet", ONE, None)]),
    (
        "PolicySet(address,uint8,uint8,uint32,uint32,uint256,uint16[])",
        {"token": A, **POLICY, "countries": [756]},
        [("policy", ONE, {**LIMITS, "countries": [756]})],
    ),
    (
        "CountryHoldersMaxSet(address,uint16,uint32)",
        {"token": A, "country": 756, "holdersMax": 3},
        [("country-holders-max", ONE + (756).to_bytes(4), {"holders_max": 3})],
    ),
    (
        "CountryHoldersMaxSet(address,uint16,uint32)",
        {"token": A, "country": 756, "holdersMax": 0},
        [("country-holders-max", ONE + (756).to_bytes(4), None)],
    ),
    (
        "LotsSet(address,bytes32,uint256[],uint64[])",
        {"token": A, "investor": ID, "amounts": ["1", "2"], "unlocksAt": [3, 4]},
        [
            (
                "lots",
                ONE + ID_KEY,
                {"lots": [{"amount": "1", "unlocks_at": 3}, {"amount": "2", "unlocks_at": 4}]},
            )
        ],
    ),
    (
        "LotsSet(address,bytes32,uint256[],uint64[])",
        {"token": A, "investor": ID, "amounts": [], "unlocksAt": []},
        [("lots", ONE + ID_KEY, None)],
    ),
    (
        "DocumentSet(address,bytes32,uint32,string,bytes32,uint64)",
        {"subject": A, "name": ID, "version": 2, "uri": "u", "documentHash": HASH, "effectiveFrom": 5},
        [("document", ONE + ID_KEY, {"version": 2, "uri": "u", "hash": HASH, "effective_from": 5})],
    ),
    (
        "DocumentRemoved(address,bytes32,uint32)",
        {"subject": A, "name": ID, "version": 2},
        [("document", ONE + ID_KEY, None)],
    ),
    (
        "VotingDelaySet(uint256,uint256)",
        {"oldVotingDelay": "0", "newVotingDelay": "4"},
        setting("voting-delay", "4"),
    ),
    (
        "VotingPeriodSet(uint256,uint256)",
        {"oldVotingPeriod": "0", "newVotingPeriod": "4"},
        setting("voting-period", "4"),
    ),
    (
        "ProposalThresholdSet(uint256,uint256)",
        {"oldProposalThreshold": "0", "newProposalThreshold": "4"},
        setting("proposal-threshold", "4"),
    ),
    (
        "QuorumNumeratorUpdated(uint256,uint256)",
        {"oldQuorumNumerator": "0", "newQuorumNumerator": "4"},
        setting("quorum-numerator", "4"),
    ),
    (
        "LateQuorumVoteExtensionSet(uint64,uint64)",
        {"oldVoteExtension": 0, "newVoteExtension": 4},
        setting("late-quorum-vote-extension", "4"),
    ),
    ("TimelockChange(address,address)", {"oldTimelock": NONE, "newTimelock": A}, setting("timelock", A)),
    ("MinDelayChange(uint256,uint256)", {"oldDuration": "0", "newDuration": "4"}, setting("min-delay", "4")),
    (
        "ProposalCreated(uint256,address,address[],uint256[],string[],bytes[],uint256,uint256,string)",
        PROPOSAL,
        [
            (
                "proposal",
                SEVEN,
                {
                    **{name: PROPOSAL[name] for name in ("proposer", "targets", "values", "signatures", "calldatas")},
                    "description": "buy",
                    "vote_start": 5,
                    "vote_end": 9,
                },
            )
        ],
    ),
    (
        "ProposalQueued(uint256,uint256)",
        {"proposalId": "7", "etaSeconds": "6"},
        [("proposal-queued", SEVEN, {"eta": 6})],
    ),
    ("ProposalExecuted(uint256)", {"proposalId": "7"}, [("proposal-executed", SEVEN, {"executed": True})]),
    ("ProposalCanceled(uint256)", {"proposalId": "7"}, [("proposal-canceled", SEVEN, {"canceled": True})]),
    (
        "ProposalExtended(uint256,uint64)",
        {"proposalId": "7", "extendedDeadline": 8},
        [("proposal-extended", SEVEN, {"vote_end": 8})],
    ),
    ("VoteCast(address,uint256,uint8,uint256,string)", VOTE, BALLOT),
    ("VoteCastWithParams(address,uint256,uint8,uint256,string,bytes)", {**VOTE, "params": "0x01"}, BALLOT),
    (
        "RoleGranted(bytes32,address,address)",
        {"role": ID, "account": A, "sender": B},
        [("timelock-role", ID_KEY + ONE, {"granted_by": B})],
    ),
    (
        "RoleRevoked(bytes32,address,address)",
        {"role": ID, "account": A, "sender": B},
        [("timelock-role", ID_KEY + ONE, None)],
    ),
    (
        "RoleAdminChanged(bytes32,bytes32,bytes32)",
        {"role": ID, "previousAdminRole": NO_HASH, "newAdminRole": HASH},
        [("timelock-role-admin", ID_KEY, {"admin": HASH})],
    ),
    (
        "CallScheduled(bytes32,uint256,address,uint256,bytes,bytes32,uint256)",
        {"id": ID, "index": "0", **CALL, "predecessor": NO_HASH, "delay": "60"},
        [
            (
                "timelock-call",
                ID_KEY,
                {"status": "scheduled", "predecessor": NO_HASH, "delay_s": 60, "calls": {"0": CALL}},
            )
        ],
    ),
    (
        "CallSalt(bytes32,bytes32)",
        {"id": ID, "salt": HASH},
        [("timelock-call", ID_KEY, {"status": "scheduled", "salt": HASH})],
    ),
    (
        "CallExecuted(bytes32,uint256,address,uint256,bytes)",
        {"id": ID, "index": "0", **CALL},
        [("timelock-call", ID_KEY, {"status": "executed"})],
    ),
    ("Cancelled(bytes32)", {"id": ID}, [("timelock-call", ID_KEY, {"status": "cancelled"})]),
    (
        "Anchored(bytes32,uint64,bytes32,bytes32,uint64,bytes32)",
        ANCHOR,
        [
            (
                "anchor",
                ID_KEY,
                {"size": 4, "root": HASH, "mirror_digest": HASH, "block_number": 9, "block_hash": HASH},
            )
        ],
    ),
    (
        "DistributionCreated(bytes32,address,address,address,uint256,bytes32,uint64,bytes32,bytes32,uint64)",
        DISTRIBUTION,
        [
            (
                "distribution",
                ID_KEY,
                {
                    "status": "open",
                    "token": A,
                    "currency": B,
                    "creator": A,
                    "total": "10",
                    "root": HASH,
                    "record_block": 4,
                    "record_block_hash": HASH,
                    "cap_table_digest": HASH,
                    "deadline": 8,
                },
            )
        ],
    ),
    (
        "Closed(bytes32,address,uint256)",
        {"distributionId": ID, "creator": A, "remainder": "3"},
        [("distribution", ID_KEY, {"status": "closed", "remainder": "3"})],
    ),
    (
        "Claimed(bytes32,address,uint256,uint256)",
        {"distributionId": ID, "account": A, "index": "2", "amount": "3"},
        [("claim", ID_KEY + ONE, {"status": "claimed", "index": 2, "amount": "3"})],
    ),
    (
        "PayeeSkipped(bytes32,address,uint256,uint256)",
        {"distributionId": ID, "account": A, "index": "2", "amount": "3"},
        [("claim", ID_KEY + ONE, {"status": "skipped", "index": 2, "amount": "3"})],
    ),
    (
        "Settled(bytes32,address,address,address,uint256,bool,address,uint256,bytes32)",
        {**TRADE, "asset": A, "assetAmount": "5", "deed": False, "currency": B, "currencyAmount": "6"},
        [
            (
                "trade",
                ID_KEY,
                {
                    "status": "settled",
                    "seller": A,
                    "buyer": B,
                    "nonce": HASH,
                    "asset": A,
                    "asset_amount": "5",
                    "deed": False,
                    "currency": B,
                    "currency_amount": "6",
                },
            )
        ],
    ),
    (
        "Cancelled(bytes32,address,address,bytes32,address)",
        {**TRADE, "party": B},
        [("trade", ID_KEY, {"status": "cancelled", "seller": A, "buyer": B, "nonce": HASH, "party": B})],
    ),
]


@pytest.mark.parametrize(("signature", "arguments", "left"), CASES, ids=[case[0] for case in CASES])
def test_an_event_leaves_its_state(signature: str, arguments: dict[str, Any], left: Left) -> None:
    found = changes(b"c", 5, signature, arguments)
    assert [(change.rule.aspect, change.key, change.rule.state(None, change.arguments)) for change in found] == left


def test_every_rule_has_a_case_and_an_event_of_ours() -> None:
    assert {signature for signature, _, _ in CASES} == set(RULES)
    assert set(RULES) <= known().signatures
    assert {aspect for _, _, left in CASES for aspect, _, _ in left} == ASPECTS


def test_an_event_without_a_rule_changes_nothing() -> None:
    assert changes(b"c", 5, "Operation(bytes32,bytes4,address)", {}) == []


def after(*events: tuple[int, str, dict[str, Any]], opening: dict[str, Any] | None = None) -> dict[int, Any]:
    """What the one key that the events are about closes each block with."""
    found = [change for block, signature, arguments in events for change in changes(b"c", block, signature, arguments)]
    (closings,) = closing_states({found[0].place: opening}, found).values()
    return closings


def test_the_last_word_in_a_block_is_its_state() -> None:
    frozen = "Frozen(address,uint256)"
    told = [(5, "1"), (5, "2"), (6, "0"), (8, "3"), (8, "0"), (8, "4")]
    assert after(*((block, frozen, {"account": A, "amount": amount}) for block, amount in told)) == {
        5: {"amount": "2"},
        6: None,
        8: {"amount": "4"},
    }


def test_what_was_scheduled_is_remembered_after_it_was_done() -> None:
    scheduled = (3, "OperationScheduled(bytes32,uint32,uint48,address,address,bytes)", SCHEDULED)
    executed = (4, "OperationExecuted(bytes32,uint32)", {"operationId": ID, "nonce": 2})
    closings = after(scheduled, executed)
    assert closings[4] == {**closings[3], "status": "executed"}
    assert after(executed, opening=closings[3]) == {4: closings[4]}, "in a later step too"
    again = (9, scheduled[1], {**SCHEDULED, "nonce": 3})
    assert after(again, opening=closings[4]) == {9: {**closings[3], "nonce": 3}}


def test_a_batch_is_one_scheduled_call_and_its_id_may_be_used_again() -> None:
    signature = "CallScheduled(bytes32,uint256,address,uint256,bytes,bytes32,uint256)"
    first, second = (
        (3, signature, {"id": ID, "index": index, **CALL, "predecessor": NO_HASH, "delay": "60"}) for index in "01"
    )
    salt = (3, "CallSalt(bytes32,bytes32)", {"id": ID, "salt": HASH})
    standing = after(first, second, salt)[3]
    assert standing["calls"] == {"0": CALL, "1": CALL}
    assert (standing["status"], standing["salt"], standing["delay_s"]) == ("scheduled", HASH, 60)
    cancelled = after((4, "Cancelled(bytes32)", {"id": ID}), opening=standing)[4]
    assert cancelled == {**standing, "status": "cancelled"}
    assert after(first, opening=cancelled)[3]["calls"] == {"0": CALL}
    assert after(first, opening={"status": "scheduled"})[3]["calls"] == {"0": CALL}, "whatever came before it"


def test_a_member_that_gets_another_delay_stays_a_member_since_before() -> None:
    signature = "RoleGranted(uint64,address,uint32,uint48,bool)"
    changed = (9, signature, {**GRANTED, "delay": 5, "since": 120, "newMember": False})
    member = {"delay_s": 60, "since": 99, "delay_since": 99}
    assert after(changed, opening=member) == {9: {"delay_s": 5, "since": 99, "delay_since": 120}}


def test_a_closed_distribution_keeps_its_terms() -> None:
    created = "DistributionCreated(bytes32,address,address,address,uint256,bytes32,uint64,bytes32,bytes32,uint64)"
    closed = (4, "Closed(bytes32,address,uint256)", {"distributionId": ID, "creator": A, "remainder": "3"})
    closings = after((3, created, DISTRIBUTION), closed)
    assert closings[4] == {**closings[3], "status": "closed", "remainder": "3"}


@pytest.mark.parametrize(
    ("given", "width", "told"), [("0x0102", 32, b"\1\2"), ("258", 4, b"\0\0\1\2"), (1, 2, b"\0\1")]
)
def test_keys_are_bytes_of_a_fixed_length(given: str | int, width: int, told: bytes) -> None:
    assert key_bytes(given, width) == told


def test_a_strangers_timelock_call_does_not_grow_for_ever() -> None:
    arguments = {
        "id": "0x" + "11" * 32,
        "target": "0x" + "22" * 20,
        "value": "0",
        "data": "0x" + "00" * 1_000,
        "predecessor": "0x" + "00" * 32,
        "delay": "0",
    }
    signature = "CallScheduled(bytes32,uint256,address,uint256,bytes,bytes32,uint256)"
    scheduled = [
        change
        for index in range(500)
        for change in changes(bytes(20), 1, signature, {**arguments, "index": str(index)})
    ]
    ((state,),) = (closing.values() for closing in closing_states({}, scheduled).values())
    assert state is not None
    assert state["cut"]
    assert len(str(state)) < 2 * CALLDATA_MAX
