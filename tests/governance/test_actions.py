"""From JSON to calldata and back, and the ids that governor and timelock make of it."""

from typing import Any

import pytest

from service.chain import contracts
from service.chain.contracts import Misfit
from service.chain.reverts import Revert
from service.governance import standing
from service.governance.commands import marked
from service.governance.orders import SET_POLICY, SUPPORTS
from service.governance.problems import STATES
from service.governance.standing import Ended
from service.operations.submit import refused
from service.refusals import BY_REVERT

ALICE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
POLICY = [ALICE, ["1", 2, "3", "4", str(2**256 - 1)], ["528", 56], "0x" + "5a" * 32]

TIMELOCK_ERRORS = {
    "TimelockInvalidOperationLength",
    "TimelockInsufficientDelay",
    "TimelockUnexpectedOperationState",
    "TimelockUnexecutedPredecessor",
    "TimelockUnauthorizedCaller",
    "AccessControlUnauthorizedAccount",
    "AccessControlBadConfirmation",
    "FailedCall",
}
"""Source: OpenZeppelin 5.7, TimelockController and its bases."""


def test_json_becomes_the_calldata_that_the_abi_asks_for() -> None:
    policy = (1, 2, 3, 4, 2**256 - 1)
    expected = contracts.encode_call(
        "ComplianceRegistry", "setPolicy", bytes.fromhex(ALICE[2:]), policy, [528, 56], b"\x5a" * 32
    )
    assert contracts.encode_json_call("ComplianceRegistry", SET_POLICY, POLICY) == expected
    assert contracts.encode_json_call("ComplianceRegistry", "setPolicy", POLICY) == expected
    left_out = contracts.encode_json_call("ComplianceRegistry", "setPolicy", POLICY[:-1], operation_id=b"\x5a" * 32)
    assert left_out == expected
    told = contracts.describe_call_to("ComplianceRegistry", expected)
    assert told is not None
    assert (told["function"], told["arguments"]["countries"]) == ("setPolicy", [528, 56])


@pytest.mark.parametrize(
    ("function", "arguments", "path"),
    [
        ("setPolicy", POLICY[:2], ("arguments",)),
        ("setPolicy", [ALICE, ["1", 2, "3", "4"], [], POLICY[3]], ("arguments", 1)),
        ("setPolicy", [ALICE, ["256", 2, "3", "4", "5"], [], POLICY[3]], ("arguments", 1, 0)),
        ("setPolicy", [ALICE, POLICY[1], ["1", None], POLICY[3]], ("arguments", 2, 1)),
        ("setPolicy", [ALICE.swapcase(), POLICY[1], [], POLICY[3]], ("arguments", 0)),
        ("setPolicy", [ALICE, POLICY[1], "528", POLICY[3]], ("arguments", 2)),
        ("setPolicy", [*POLICY[:3], "0x" + "5a" * 31], ("arguments", 3)),
        ("setBlocked", ["0x" + "5a" * 32, "true", "0x" + "5a" * 32, "0x" + "5a" * 32], ("arguments", 1)),
        ("unheard(of)", [], ("function",)),
    ],
)
def test_json_that_fits_no_function_is_told_where(function: str, arguments: list[Any], path: tuple[Any, ...]) -> None:
    with pytest.raises(Misfit) as told:
        contracts.encode_json_call("ComplianceRegistry", function, arguments)
    assert told.value.path == path


def test_an_overloaded_name_needs_its_signature() -> None:
    with pytest.raises(Misfit):
        contracts.encode_json_call("AssetGovernor", "queue", ["1"])
    asked = contracts.encode_json_call("AssetGovernor", "queue(uint256)", ["1"])
    assert asked == contracts.encode_call("AssetGovernor", "queue(uint256)", 1)


@pytest.mark.parametrize(
    ("description", "kept"),
    [
        ("Short", False),
        (f"Named#proposer={ALICE.lower()}", True),
        (f"Named#proposer={ALICE}", True),
        (f"#proposer={ALICE} in the middle", False),
        ("Too short#proposer=0x1234", False),
        ("#proposer=0x" + "g" * 40, False),
    ],
)
def test_a_description_names_its_proposer_once(description: str, kept: bool) -> None:
    signer = bytes(range(20))
    assert marked(description, signer) == (description if kept else f"{description}#proposer=0x{signer.hex()}")


@pytest.mark.parametrize(
    ("clock", "for_", "against", "abstain", "ended", "state"),
    [
        (10, 0, 0, 0, Ended(), "pending"),
        (11, 0, 0, 0, Ended(), "active"),
        (20, 9, 0, 0, Ended(), "active"),
        (21, 4, 0, 0, Ended(), "defeated"),
        (21, 4, 5, 9, Ended(), "defeated"),
        (21, 5, 5, 9, Ended(), "defeated"),
        (21, 3, 2, 2, Ended(), "succeeded"),
        (21, 9, 0, 0, Ended(eta=7), "queued"),
        (21, 9, 0, 0, Ended(eta=7, timelock="scheduled"), "queued"),
        (21, 9, 0, 0, Ended(eta=7, timelock="executed"), "executed"),
        (21, 9, 0, 0, Ended(eta=7, timelock="cancelled"), "canceled"),
        (21, 9, 0, 0, Ended(eta=7, timelock="unset"), "canceled"),
        (21, 9, 0, 0, Ended(executed=True, eta=7), "executed"),
        (10, 0, 0, 0, Ended(canceled=True), "canceled"),
    ],
)
def test_a_state_is_made_of_facts_and_the_block(
    clock: int, for_: int, against: int, abstain: int, ended: Ended, state: str
) -> None:
    tallies = dict(zip(SUPPORTS, (against, for_, abstain), strict=True))
    assert standing.state_of(clock, snapshot=10, deadline=20, tallies=tallies, quorum=5, ended=ended) == state


def test_a_state_that_does_not_do_is_told_by_name() -> None:
    needed = hex(1 << STATES.index("succeeded") | 1 << STATES.index("queued"))
    arguments = {"proposalId": "7", "current": "1", "expectedStates": needed}
    told = refused(Revert("GovernorUnexpectedProposalState", arguments), BY_REVERT)
    assert (told.extensions["state"], told.extensions["needed"]) == ("active", ["succeeded", "queued"])
    assert refused(Revert("GovernorUnexpectedProposalState", {"current": "99"}), BY_REVERT).slug == told.slug
