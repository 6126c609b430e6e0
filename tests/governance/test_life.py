"""A proposal's whole life, and at every block of it what the governor itself would say."""

import pytest
import pytest_asyncio
from eth_abi.abi import encode
from eth_hash.auto import keccak

from service.addresses import checksum
from service.chain import contracts
from tests.governance.assembly import PERIOD, TIMELOCK_DELAY_S, Assembly, assemble
from tests.rpc import rpc
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALICE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
ANYONE = "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def assembly(shared: World) -> Assembly:
    made = await assemble(shared, 50, 30, 20)
    granted = await shared.post("/v1/roles/grant", {"role": "minter", "account": made.timelock})
    assert granted.status_code == 202, granted.text
    await shared.finish()
    return made


async def compare(assembly: Assembly, proposal_id: str) -> list[str]:
    """Check every block since the proposal against the governor's own words; the states in order."""
    now = await assembly.proposal(proposal_id)
    states: list[str] = []
    for block in range(now["block"], now["at"]["block"] + 1):
        told = await assembly.proposal(proposal_id, at_block=block)
        assert told["state"] == assembly.state(proposal_id, block=block), (block, told)
        against, for_, abstain = assembly.ask("proposalVotes", int(proposal_id), block=block)
        assert told["tallies"] == {"for": str(for_), "against": str(against), "abstain": str(abstain)}
        assert told["deadline"] == assembly.ask("proposalDeadline", int(proposal_id), block=block)[0]
        if block > told["snapshot"]:
            assert told["quorum"] == str(assembly.ask("quorum", told["snapshot"], block=block)[0])
        else:
            assert told["quorum"] is None
        if told["state"] not in states[-1:]:
            states.append(told["state"])
    return states


async def test_a_governor_tells_its_settings_and_its_timelock(assembly: Assembly) -> None:
    told = await assembly.get("")
    assert told["status"] == "active"
    assert told["timelock"] == checksum(assembly.ask("timelock", block=told["at"]["block"])[0])
    assert (told["token_id"], told["name"]) == (assembly.token_id, "Harbour Assembly")
    assert [told[name] for name in ("voting_delay_blocks", "voting_period_blocks", "quorum_percent")] == [2, PERIOD, 40]
    assert (told["proposal_threshold"], told["vote_extension_blocks"]) == ("0", 10)
    assert told["timelock_delay_s"] == TIMELOCK_DELAY_S
    before = await assembly.get("", at_block=told["deployed_block"] - 1)
    assert (before["timelock"], before["quorum_percent"], before["status"]) == (None, None, "deploying")


async def test_a_proposal_that_passes_is_executed(shared: World, assembly: Assembly) -> None:
    id_ = await assembly.propose("Units for Alice", assembly.mint(ALICE, 7), assembly.mint(ALICE, 8))
    snapshot = (await assembly.proposal(id_))["snapshot"]
    await assembly.until(snapshot + 1)
    assert (await assembly.vote(id_, 0, "for", reason="Fair enough")).status_code == 202
    assert (await assembly.vote(id_, 1, "against")).status_code == 202
    assert (await assembly.vote(id_, 2, "abstain")).status_code == 202
    await shared.finish()
    told = await assembly.proposal(id_)
    assert (told["state"], told["tallies"]) == ("active", {"for": "50", "against": "30", "abstain": "20"})
    await assembly.until(told["deadline"] + 1)
    assert (await assembly.proposal(id_))["state"] == "succeeded"
    assert (await assembly.carry(id_, "queue")).status_code == 202
    told = await assembly.proposal(id_)
    assert told["state"] == "queued"
    assert told["eta"] is not None
    assembly.pass_time()
    answer = await assembly.carry(id_, "execute")
    assert answer.status_code == 202, answer.text
    await shared.finish()
    assert (await shared.operation(answer.json()["id"]))["status"] == "succeeded"
    assert await shared.holding(assembly.token_id, ALICE) == 15
    states = await compare(assembly, id_)
    assert states == ["pending", "active", "succeeded", "queued", "executed"]


async def test_a_proposal_says_what_it_would_do(shared: World, assembly: Assembly) -> None:
    id_ = await assembly.propose("Say it\nin two lines", assembly.mint(ALICE, 7))
    told = await assembly.proposal(id_)
    assert told["description"] == f"Say it\nin two lines#proposer=0x{shared.signer.hex()}"
    assert told["proposer"] == checksum(shared.signer)
    (action,) = told["actions"]
    assert (action["contract"], action["known_as"], action["token_id"]) == (assembly.token, "HARB", assembly.token_id)
    call = action["call"]
    assert (call["contract"], call["function"], call["arguments"]["amount"]) == ("GovernanceToken", "mint", "7")
    assert (call["arguments"]["to"], len(call["arguments"]["operationId"])) == (ALICE, 66)
    listed = (await assembly.get("/proposals", limit=1))["data"]
    assert [each["proposal_id"] for each in listed] == [id_]


async def test_a_proposal_of_calldata_that_no_compiler_writes_is_shown_as_it_is(
    shared: World, assembly: Assembly
) -> None:
    head = [0, 0xA0, 0xC0, 0xE0, 0x100, 0, 0, 0]
    numbers = [*head, 50, *[32 * 50] * 50, 40, *[0] * 40]
    selector = keccak(b"claimFor(bytes32,uint256[],address[],uint256[],bytes32[][])")[:4]
    data = selector + b"".join(number.to_bytes(32) for number in numbers)
    send_as_anyone(
        shared, assembly.governor, contracts.encode_call("AssetGovernor", "propose", [ALICE], [0], [data], "Offsets")
    )
    await shared.index()
    (told,) = (await assembly.get("/proposals", limit=1))["data"]
    (action,) = told["actions"]
    assert (told["description"], action["call"], action["data"]) == ("Offsets", None, "0x" + data.hex())


async def test_a_proposal_without_a_quorum_or_a_majority_is_defeated(assembly: Assembly) -> None:
    quiet = await assembly.propose("Quiet", assembly.mint(ALICE, 1))
    refused = await assembly.propose("Refused", assembly.mint(ALICE, 1))
    await assembly.until((await assembly.proposal(refused))["snapshot"] + 1)
    for id_, voter, support in ((quiet, 1, "for"), (refused, 0, "against")):
        assert (await assembly.vote(id_, voter, support)).status_code == 202
    await assembly.world.finish()
    await assembly.until((await assembly.proposal(refused))["deadline"] + 2)
    assert await compare(assembly, quiet) == ["pending", "active", "defeated"]
    assert await compare(assembly, refused) == ["pending", "active", "defeated"]


async def test_a_late_quorum_extends_the_vote(assembly: Assembly) -> None:
    id_ = await assembly.propose("Late", assembly.mint(ALICE, 1))
    deadline = (await assembly.proposal(id_))["deadline"]
    await assembly.until(deadline - 2)
    assert (await assembly.vote(id_, 0, "for")).status_code == 202
    await assembly.world.finish()
    assert (await assembly.proposal(id_))["deadline"] > deadline
    await assembly.until(deadline + 12)
    assert await compare(assembly, id_) == ["pending", "active", "succeeded"]


async def test_a_pending_proposal_is_canceled(assembly: Assembly) -> None:
    id_ = await assembly.propose("Never mind", assembly.mint(ALICE, 1))
    assert (await assembly.carry(id_, "cancel")).status_code == 202
    await assembly.world.finish()
    assert await compare(assembly, id_) == ["pending", "canceled"]


async def test_a_vote_changes_the_governors_own_settings(shared: World, assembly: Assembly) -> None:
    change = {"contract": assembly.governor, "function": "updateQuorumNumerator(uint256)", "arguments": ["45"]}
    delay = {"contract": assembly.timelock, "function": "updateDelay", "arguments": [str(TIMELOCK_DELAY_S + 5)]}
    id_ = await assembly.propose("More", {"call": change}, {"call": delay})
    told = await assembly.proposal(id_)
    assert [each["call"]["function"] for each in told["actions"]] == ["updateQuorumNumerator", "updateDelay"]
    assert told["actions"][1]["known_as"] == "timelock of Harbour Assembly"
    await assembly.until(told["snapshot"] + 1)
    await assembly.vote(id_, 0, "for")
    await shared.finish()
    await assembly.until((await assembly.proposal(id_))["deadline"] + 1)
    await assembly.carry(id_, "queue")
    assembly.pass_time()
    answer = await assembly.carry(id_, "execute")
    assert answer.status_code == 202, answer.text
    await shared.finish()
    told = await assembly.get("")
    assert (told["quorum_percent"], told["timelock_delay_s"]) == (45, TIMELOCK_DELAY_S + 5)
    assert await compare(assembly, id_) == ["pending", "active", "succeeded", "queued", "executed"]


async def test_the_timelock_itself_executes_for_anyone(shared: World, assembly: Assembly) -> None:
    id_ = await passed(assembly, "By anyone")
    assert (await assembly.carry(id_, "queue")).status_code == 202
    assembly.pass_time(TIMELOCK_DELAY_S + 10)
    execute_in_the_timelock(shared, assembly, id_)
    await shared.finish()
    assert await compare(assembly, id_) == ["pending", "active", "succeeded", "queued", "executed"]


async def passed(assembly: Assembly, description: str) -> str:
    id_ = await assembly.propose(description, assembly.mint(ALICE, 1))
    await assembly.until((await assembly.proposal(id_))["snapshot"] + 1)
    for voter in (0, 1):
        assert (await assembly.vote(id_, voter, "for")).status_code == 202
    await assembly.world.finish()
    await assembly.until((await assembly.proposal(id_))["deadline"] + 1)
    return id_


async def test_what_somebody_else_carried_out_meanwhile_has_succeeded(shared: World, assembly: Assembly) -> None:
    id_ = await passed(assembly, "Overtaken")
    for verb in ("queue", "execute"):
        answer = await assembly.post(f"/proposals/{id_}/{verb}")
        assert answer.status_code == 202, answer.text
        send_as_anyone(shared, assembly.governor, contracts.encode_call("AssetGovernor", f"{verb}(uint256)", int(id_)))
        shared.mine(3)  # an effect of others counts once it is final
        await shared.finish()
        operation = await shared.operation(answer.json()["id"])
        assert (operation["status"], operation["transaction"]["status"]) == ("succeeded", "executed")
        assembly.pass_time(TIMELOCK_DELAY_S + 10)
    assert (await assembly.proposal(id_))["state"] == "executed"


def execute_in_the_timelock(world: World, assembly: Assembly, id_: str) -> None:
    now = int(rpc(world.chain_url, "eth_blockNumber"), 16)
    targets, values, calldatas, hashed = assembly.ask("proposalDetails", int(id_), block=now)
    salt = bytes(a ^ b for a, b in zip(bytes.fromhex(assembly.governor[2:]).ljust(32, b"\0"), hashed, strict=True))
    signature = "executeBatch(address[],uint256[],bytes[],bytes32,bytes32)"
    types = ["address[]", "uint256[]", "bytes[]", "bytes32", "bytes32"]
    data = keccak(signature.encode())[:4] + encode(types, [targets, values, calldatas, bytes(32), salt])
    send_as_anyone(world, assembly.timelock, data)


def send_as_anyone(world: World, to: str, data: bytes) -> None:
    sent = {"from": ANYONE, "to": to, "data": "0x" + data.hex(), "gas": hex(3_000_000)}
    hashed = rpc(world.chain_url, "eth_sendTransaction", sent)
    world.mine()
    assert rpc(world.chain_url, "eth_getTransactionReceipt", hashed)["status"] == "0x1"


async def test_ballots_delegations_and_votes_are_listed(shared: World, assembly: Assembly) -> None:
    id_ = await assembly.propose("Who votes for what", assembly.mint(ALICE, 9))
    await assembly.until((await assembly.proposal(id_))["snapshot"] + 1)
    assert (await assembly.vote(id_, 0, "for", reason="Fair enough")).status_code == 202
    assert (await assembly.vote(id_, 1, "against")).status_code == 202
    assert (await assembly.vote(id_, 2, "abstain")).status_code == 202
    await shared.finish()
    ballots = await assembly.get(f"/proposals/{id_}/ballots", limit=2)
    rest = await assembly.get(f"/proposals/{id_}/ballots", cursor=ballots["next_cursor"])
    found = {
        each["voter"]: (each["support"], each["weight"], each["reason"]) for each in ballots["data"] + rest["data"]
    }
    one, two, three = assembly.voters
    assert found == {one: ("for", "50", "Fair enough"), two: ("against", "30", ""), three: ("abstain", "20", "")}
    delegations = (await shared.get(f"/v1/tokens/{assembly.token_id}/delegations")).json()["data"]
    assert {each["account"]: each["delegatee"] for each in delegations} == {each: each for each in assembly.voters}
    votes = (await shared.get(f"/v1/tokens/{assembly.token_id}/votes")).json()["data"]
    assert {each["account"]: each["votes"] for each in votes} == dict(
        zip(assembly.voters, ("50", "30", "20"), strict=True)
    )
    one_votes = (await shared.get(f"/v1/tokens/{assembly.token_id}/votes/{one}")).json()
    assert (one_votes["votes"], one_votes["delegatee"]) == ("50", one)
    none = (await shared.get(f"/v1/tokens/{assembly.token_id}/votes/{ALICE}")).json()
    assert (none["votes"], none["delegatee"]) == ("0", None)


async def test_the_list_pages_newest_first(assembly: Assembly) -> None:
    for number in range(5):
        await assembly.propose(f"Page {number}", assembly.mint(ALICE, 1))
    whole = [each["proposal_id"] for each in (await assembly.get("/proposals", limit=50))["data"]]
    walked: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        found = await assembly.get("/proposals", limit=2, **cursor)
        walked += [each["proposal_id"] for each in found["data"]]
        if found["next_cursor"] is None:
            break
        cursor = {"cursor": found["next_cursor"]}
    assert walked == whole
    assert len(whole) == len(set(whole)) >= 5
