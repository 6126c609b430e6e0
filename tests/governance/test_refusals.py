"""What governor, timelock or ledger refuse is told by name, and another issuer's governor is not there."""

from typing import Any

import pytest
import pytest_asyncio
from pydantic import ValidationError

from service.addresses import checksum
from service.governance.orders import CallOrder
from tests.governance.assembly import Assembly, assemble
from tests.web.answers import pointers, problem
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALICE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
NOBODYS = "0x90F79bf6EB2c4f870365E785982E1f101E93b906"
NO_GOVERNOR = "0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def assembly(shared: World) -> Assembly:
    return await assemble(shared, 60, 40)


async def active(assembly: Assembly, description: str, *actions: dict[str, Any]) -> str:
    """A proposal that is open for votes."""
    id_ = await assembly.propose(description, *(actions or (assembly.mint(ALICE, 1),)))
    await assembly.until((await assembly.proposal(id_))["snapshot"] + 1)
    return id_


async def passed(assembly: Assembly, description: str, *actions: dict[str, Any]) -> str:
    """A proposal that has passed."""
    id_ = await active(assembly, description, *actions)
    assert (await assembly.vote(id_, 0, "for")).status_code == 202
    await assembly.world.finish()
    await assembly.until((await assembly.proposal(id_))["deadline"] + 1)
    return id_


async def test_another_issuers_governor_is_not_there(shared: World, assembly: Assembly) -> None:
    id_ = await assembly.propose("Ours", assembly.mint(ALICE, 1))
    other = await shared.new_issuer("Mill Estates")
    here = f"/v1/governors/{assembly.governor_id}"
    for path in ("", "/proposals", f"/proposals/{id_}", f"/proposals/{id_}/ballots"):
        problem(await shared.get(here + path, key=other), "governor-not-found")
    proposal = {"description": "Theirs", "actions": [assembly.mint(ALICE, 1)]}
    ballot = {"from": assembly.voters[0], "support": "for"}
    for path, body in (
        ("/proposals", proposal),
        (f"/proposals/{id_}/vote", ballot),
        (f"/proposals/{id_}/vote/prepare", ballot),
        *((f"/proposals/{id_}/{verb}", {}) for verb in ("queue", "execute", "cancel")),
    ):
        problem(await shared.post(here + path, body, key=other), "governor-not-found")
    assert (await shared.get("/v1/governors", key=other)).json()["data"] == []
    problem(await shared.get(f"/v1/tokens/{assembly.token_id}/votes", key=other), "token-not-found")
    problem(await shared.get(f"/v1/governors/{NO_GOVERNOR}"), "governor-not-found")


async def test_a_governor_of_a_token_that_has_one_or_that_has_no_votes(shared: World, assembly: Assembly) -> None:
    body = {"name": "Second", "voting_period_blocks": 5, "quorum_percent": 10, "timelock_delay_s": 1}
    problem(await shared.post("/v1/governors", {**body, "token_id": assembly.token_id}), "contract-exists")
    fungible = await shared.token()
    assert problem(await shared.post("/v1/governors", {**body, "token_id": fungible}), "wrong-token-kind")["kind"]
    for path in ("votes", "delegations", f"votes/{ALICE}"):
        problem(await shared.get(f"/v1/tokens/{fungible}/{path}"), "wrong-token-kind")
    deploying = {"asset_id": await shared.asset(), "kind": "governance", "name": "N", "symbol": "N", "cap": "5"}
    early = (await shared.post("/v1/tokens", deploying)).json()["token_id"]
    problem(await shared.post("/v1/governors", {**body, "token_id": early}), "token-not-deployed")
    await shared.finish()


async def test_a_governor_is_not_there_before_its_operation_succeeded(shared: World) -> None:
    token = await shared.token(kind="governance", cap="10", decimals=0)
    body = {"name": "Soon", "voting_period_blocks": 5, "quorum_percent": 10, "timelock_delay_s": 1, "token_id": token}
    operation = (await shared.post("/v1/governors", body)).json()
    (told,) = (await shared.get("/v1/governors", token_id=token)).json()["data"]
    assert (told["status"], told["timelock"], told["operation_id"]) == ("deploying", None, operation["id"])
    here = f"/v1/governors/{told['id']}/proposals"
    assert operation["id"] in problem(await shared.get(here), "contract-not-deployed")["detail"]
    proposal = {"description": "x", "actions": [{"call": {"contract": ALICE, "function": "f", "arguments": []}}]}
    problem(await shared.post(here, proposal), "contract-not-deployed")
    await shared.finish()
    assert (await shared.get(here)).json()["data"] == []


@pytest.mark.parametrize(
    ("changed", "pointer"),
    [
        ({"quorum_percent": 0}, "#/quorum_percent"),
        ({"quorum_percent": 101}, "#/quorum_percent"),
        ({"voting_period_blocks": 0}, "#/voting_period_blocks"),
        ({"timelock_delay_s": 0}, "#/timelock_delay_s"),
        ({"vote_extension_blocks": 6}, "#"),
        ({"proposal_threshold": 7}, "#/proposal_threshold"),
    ],
)
async def test_settings_that_no_governor_has(shared: World, changed: dict[str, Any], pointer: str) -> None:
    body = {"token_id": NO_GOVERNOR, "name": "G", "voting_period_blocks": 5, "quorum_percent": 9, "timelock_delay_s": 1}
    assert pointers(await shared.post("/v1/governors", {**body, **changed})) == [pointer]


async def test_actions_that_no_contract_takes(shared: World, assembly: Assembly) -> None:
    token = assembly.token
    cases: list[tuple[dict[str, Any], str]] = [
        ({"contract": NOBODYS, "function": "mint", "arguments": []}, "contract"),
        ({"contract": token, "function": "melt", "arguments": []}, "function"),
        ({"contract": token, "function": "mint", "arguments": [ALICE]}, "arguments"),
        ({"contract": token, "function": "mint", "arguments": ["0x12", "1"]}, "arguments/0"),
        ({"contract": token, "function": "mint", "arguments": [ALICE, "-1"]}, "arguments/1"),
        ({"contract": token, "function": "mint", "arguments": [ALICE, "1", "0x12"]}, "arguments/2"),
        ({"contract": token, "function": "batchMint", "arguments": [[ALICE, 5], ["1"]]}, "arguments/0/1"),
        ({"contract": assembly.timelock, "function": "updateDelay", "arguments": [True]}, "arguments/0"),
    ]
    for call, where in cases:
        body = {"description": "Odd", "actions": [assembly.mint(ALICE, 1), {"call": call}]}
        told = problem(await assembly.post("/proposals", body), "action-invalid")
        assert told["pointer"] == f"#/actions/1/call/{where}"
    body = {"description": "Odd", "actions": [{"call": {"contract": token, "function": "mint", "arguments": [1.5]}}]}
    assert pointers(await assembly.post("/proposals", body)) == ["#/actions/0/call/arguments"]
    assert pointers(await assembly.post("/proposals", {"description": "None", "actions": []})) == ["#/actions"]


@pytest.mark.parametrize(
    ("depth", "pointer"),
    [(16, "#/actions/0/call/arguments"), (90, "#/actions/0/call/arguments"), (300, "#"), (900, "#")],
)
async def test_arguments_that_are_too_deep(assembly: Assembly, depth: int, pointer: str) -> None:
    nested: Any = "7"
    for _ in range(depth):
        nested = [nested]
    call = {"contract": assembly.token, "function": "mint", "arguments": nested}
    body = {"description": "Deep", "actions": [{"call": call}]}
    if depth == 16:
        problem(await assembly.post("/proposals", body), "action-invalid")
        call["arguments"] = [nested]
    assert pointers(await assembly.post("/proposals", body)) == [pointer]


@pytest.mark.parametrize("arguments", [["x"] * 2_001, ["x" * 70_000, "x" * 70_000]])
async def test_arguments_that_are_too_many_or_too_long(arguments: list[Any]) -> None:
    with pytest.raises(ValidationError, match="at most"):
        CallOrder.model_validate({"contract": ALICE, "function": "mint", "arguments": arguments})


async def test_the_same_request_proposes_once(assembly: Assembly) -> None:
    body = {"description": "Once", "actions": [assembly.mint(ALICE, 1)]}
    first = await assembly.post("/proposals", body, idempotency_key="propose-once")
    assert first.headers["location"] == f"/v1/operations/{first.json()['id']}"
    again = await assembly.post("/proposals", body, idempotency_key="propose-once")
    assert again.json()["id"] == first.json()["id"]
    assert again.json()["parameters"]["proposal_id"] == first.json()["parameters"]["proposal_id"]
    await assembly.world.level()
    other = await assembly.post("/proposals", body)
    assert other.json()["parameters"]["proposal_id"] != first.json()["parameters"]["proposal_id"]


async def test_the_very_same_proposal_under_another_key(assembly: Assembly) -> None:
    call = {"contract": assembly.token, "function": "mint", "arguments": [ALICE, "1", "0x" + "5a" * 32]}
    body = {"description": "Twice", "actions": [{"call": call}]}
    assert (await assembly.post("/proposals", body)).status_code == 202
    await assembly.world.level()
    told = problem(await assembly.post("/proposals", body), "proposal-not-in-state")
    assert (told["state"], told["needed"]) == ("pending", [])


async def test_what_the_proposals_state_does_not_allow(assembly: Assembly) -> None:
    id_ = await assembly.propose("Too early", assembly.mint(ALICE, 1))
    told = problem(await assembly.vote(id_, 0, "for"), "proposal-not-in-state")
    assert (told["state"], told["needed"]) == ("pending", ["active"])
    assert told["revert"]["name"] == "GovernorUnexpectedProposalState"
    told = problem(await assembly.carry(id_, "queue"), "proposal-not-in-state")
    assert (told["state"], told["needed"]) == ("pending", ["succeeded"])
    problem(await assembly.carry(id_, "execute"), "proposal-not-in-state")
    await assembly.until((await assembly.proposal(id_))["snapshot"] + 1)
    told = problem(await assembly.carry(id_, "cancel"), "not-cancellable")
    assert told["revert"]["name"] == "GovernorUnableToCancel"


async def test_a_proposal_that_nobody_made(assembly: Assembly) -> None:
    here = f"/v1/governors/{assembly.governor_id}/proposals/7"
    problem(await assembly.world.get(here), "proposal-not-found")
    problem(await assembly.world.get(f"{here}/ballots"), "proposal-not-found")
    for verb in ("queue", "execute", "cancel"):
        problem(await assembly.post(f"/proposals/7/{verb}"), "proposal-not-found")
    assert problem(await assembly.vote("7", 0, "for"), "proposal-not-found")["revert"]
    id_ = await assembly.propose("Later", assembly.mint(ALICE, 1))
    before = (await assembly.proposal(id_))["block"] - 1
    path = f"/v1/governors/{assembly.governor_id}/proposals/{id_}"
    problem(await assembly.world.get(path, at_block=before), "proposal-not-found")


async def test_a_second_vote(assembly: Assembly) -> None:
    id_ = await active(assembly, "Twice")
    assert (await assembly.vote(id_, 0, "for")).status_code == 202
    await assembly.world.finish()
    problem(await assembly.vote(id_, 0, "against"), "already-voted")


async def test_a_voter_that_is_not_ours(shared: World, assembly: Assembly) -> None:
    id_ = await active(assembly, "Strangers")
    ballot = {"from": NOBODYS, "support": "for"}
    problem(await assembly.post(f"/proposals/{id_}/vote", ballot), "account-not-found")
    await shared.post("/v1/accounts", {"address": NOBODYS})
    told = problem(await assembly.post(f"/proposals/{id_}/vote", ballot), "account-not-managed")
    assert "/vote/prepare" in told["detail"]
    ours = {"from": checksum(shared.signer), "support": "for"}
    problem(await assembly.post(f"/proposals/{id_}/vote/prepare", ours), "signer-is-ours")


async def test_a_vote_while_the_node_is_away(shared: World, assembly: Assembly) -> None:
    id_ = await active(assembly, "Away")
    body = {"from": assembly.voters[0], "support": "for"}
    path = f"/proposals/{id_}/vote"
    async with shared.node_away():
        problem(await assembly.post(path, body, idempotency_key="away"), "node-away")
    first = await assembly.post(path, body, idempotency_key="away")
    assert first.status_code == 202
    async with shared.node_away():
        assert (await assembly.post(path, body, idempotency_key="away")).json()["id"] == first.json()["id"]


async def test_a_description_that_names_another_proposer(assembly: Assembly) -> None:
    body = {"description": f"Theirs#proposer={ALICE.lower()}", "actions": [assembly.mint(ALICE, 1)]}
    problem(await assembly.post("/proposals", body), "proposer-restricted")


async def test_a_proposer_below_the_threshold(shared: World) -> None:
    picky = await assemble(shared, 10, proposal_threshold="1")
    body = {"description": "Too few", "actions": [picky.mint(ALICE, 1)]}
    told = problem(await picky.post("/proposals", body), "too-few-votes-to-propose")
    assert told["revert"]["arguments"]["threshold"] == "1"


async def test_an_execution_before_the_timelocks_delay(assembly: Assembly) -> None:
    id_ = await passed(assembly, "Hasty")
    assert (await assembly.carry(id_, "queue")).status_code == 202
    told = problem(await assembly.carry(id_, "execute"), "timelock-not-ready")
    assert told["revert"]["name"] == "TimelockUnexpectedOperationState"


@pytest.mark.parametrize(
    ("function", "given", "error"),
    [
        ("setVotingPeriod", 0, "GovernorInvalidVotingPeriod"),
        ("updateQuorumNumerator", "0", "QuorumMissing"),
        ("updateQuorumNumerator", "101", "GovernorInvalidQuorumFraction"),
    ],
)
async def test_a_setting_that_no_vote_can_bring_about(
    assembly: Assembly, function: str, given: Any, error: str
) -> None:
    action = {"call": {"contract": assembly.governor, "function": function, "arguments": [given]}}
    id_ = await passed(assembly, f"{function} {given}", action)
    assert (await assembly.carry(id_, "queue")).status_code == 202
    assembly.pass_time()
    told = problem(await assembly.carry(id_, "execute"), "governor-setting-invalid")
    assert told["revert"]["name"] == error


async def test_an_action_that_the_timelock_may_not_do(assembly: Assembly) -> None:
    id_ = await passed(assembly, "Without the role")
    assert (await assembly.carry(id_, "queue")).status_code == 202
    assembly.pass_time()
    told = problem(await assembly.carry(id_, "execute"), "signer-lacks-role")
    assert told["revert"]["arguments"]["caller"].lower() == assembly.timelock.lower()
    assert (await assembly.proposal(id_))["state"] == "queued"
