"""A role that acts after a delay: its actions are scheduled, may be cancelled, and are executed in time.

And what changes an authority for everybody, so that each test has a world of its own.
"""

from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import text

from service.addresses import checksum, parse_address
from service.chain import contracts
from tests.rpc import rpc
from tests.web.answers import problem
from tests.world import World

ALICE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
BOB = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
DELAY_S = 3_600
DAY_S = 86_400


@pytest.fixture
async def slow(world: World) -> tuple[World, str]:
    """A token whose forced transfers wait an hour, and on which Alice holds 100."""
    token_id = await world.token()
    await world.mint(token_id, ALICE, 100)
    await world.post("/v1/roles/grant", {"role": "enforcer", "account": checksum(world.signer), "delay_s": DELAY_S})
    await world.finish()
    return world, token_id


async def force(world: World, token_id: str, **given: Any) -> Any:
    """Ask for a forced transfer of 10 from Alice to Bob."""
    order = {"reason": "Court order 12/2026", "document_hash": "0x" + "12" * 32}
    body = {"from": ALICE, "to": BOB, "amount": "10", **order}
    return await world.post(f"/v1/tokens/{token_id}/forced-transfer", {**body, **given})


async def scheduled(world: World) -> dict[str, Any]:
    """The one action on the list."""
    (row,) = (await world.get("/v1/scheduled")).json()["data"]
    return dict(row)


def pass_time(world: World, seconds: int) -> None:
    """Let the chain's clock run."""
    rpc(world.chain_url, "evm_increaseTime", seconds)
    world.mine()


async def test_a_delayed_action_is_scheduled_then_executed(slow: tuple[World, str]) -> None:
    world, token_id = slow
    asked = await force(world, token_id)
    assert (asked.status_code, asked.json()["kind"]) == (202, "token.forced-transfer.schedule")
    await world.finish()
    assert (await world.operation(asked.json()["id"]))["status"] == "succeeded"
    action = await scheduled(world)
    assert (action["status"], action["caller"]) == ("scheduled", checksum(world.signer))
    assert await world.holding(token_id, BOB) == 0
    told = problem(await world.post(f"/v1/scheduled/{action['id']}/execute"), "not-ready")
    assert datetime.fromisoformat(told["ready_at"]) == datetime.fromisoformat(action["ready_at"])
    pass_time(world, DELAY_S)
    done = await world.post(f"/v1/scheduled/{action['id']}/execute")
    assert done.status_code == 202, done.text
    await world.finish()
    assert (await world.operation(done.json()["id"]))["status"] == "succeeded"
    assert (await world.holding(token_id, ALICE), await world.holding(token_id, BOB)) == (90, 10)
    assert (await scheduled(world))["status"] == "executed"
    problem(await world.post(f"/v1/scheduled/{action['id']}/execute"), "not-scheduled")


async def test_a_cancelled_action_is_never_executed(slow: tuple[World, str]) -> None:
    world, token_id = slow
    await force(world, token_id)
    await world.finish()
    action = await scheduled(world)
    assert (await world.post(f"/v1/scheduled/{action['id']}/cancel")).status_code == 202
    await world.finish()
    assert (await scheduled(world))["status"] == "cancelled"
    pass_time(world, DELAY_S)
    problem(await world.post(f"/v1/scheduled/{action['id']}/execute"), "not-scheduled")
    assert await world.holding(token_id, BOB) == 0


async def test_a_cancelled_action_stays_so_when_the_role_acts_at_once_again(slow: tuple[World, str]) -> None:
    world, token_id = slow
    await force(world, token_id)
    await world.finish()
    action = await scheduled(world)
    await world.post(f"/v1/scheduled/{action['id']}/cancel")
    await world.post("/v1/roles/grant", {"role": "enforcer", "account": checksum(world.signer), "delay_s": 0})
    await world.finish()
    pass_time(world, DELAY_S)
    problem(await world.post(f"/v1/scheduled/{action['id']}/execute"), "not-scheduled")
    assert await world.holding(token_id, BOB) == 0


async def test_what_another_account_has_scheduled_is_executed_by_that_account(slow: tuple[World, str]) -> None:
    world, token_id = slow
    await world.post("/v1/roles/grant", {"role": "minter", "account": BOB, "delay_s": 1})
    await world.finish()
    (authority,) = [row["address"] for row in (await world.get("/v1/contracts")).json()]
    token = (await world.get(f"/v1/tokens/{token_id}")).json()["address"]
    mint = contracts.encode_call("AssetToken", "mint", parse_address(BOB), 1_000_000, bytes(31) + b"\x01")
    schedule = contracts.encode_call("IssuerAuthority", "schedule", parse_address(token), mint, 0)
    rpc(world.chain_url, "eth_sendTransaction", {"from": BOB, "to": authority, "data": "0x" + schedule.hex()})
    pass_time(world, 60)
    await world.index()
    action = await scheduled(world)
    assert action["caller"] == BOB
    problem(await world.post(f"/v1/scheduled/{action['id']}/execute"), "scheduled-by-another")
    assert await world.holding(token_id, BOB) == 0


async def test_a_role_member_who_burns_our_id_makes_nothing_look_done(world: World) -> None:
    await world.post("/v1/roles/grant", {"role": "minter", "account": BOB})
    await world.finish()
    (authority,) = [row["address"] for row in (await world.get("/v1/contracts")).json()]
    rpc(world.chain_url, "evm_setAutomine", False)
    asked = (await world.post("/v1/roles/revoke", {"role": "minter", "account": BOB})).json()["id"]
    await world.send()
    async with world.db.read() as connection:
        row = await (await connection.execute("SELECT data FROM transactions ORDER BY id DESC LIMIT 1")).fetchone()
    assert row is not None
    burned = bytes(row[0])[4:36]
    label = contracts.encode_call("IssuerAuthority", "renounceRole", 8, parse_address(BOB))
    perform = contracts.encode_call("IssuerAuthority", "perform", burned, [label])
    fees = {"maxFeePerGas": hex(10**12), "maxPriorityFeePerGas": hex(10**11)}
    sent = {"from": BOB, "to": authority, "data": "0x" + perform.hex(), "gas": hex(300_000), **fees}
    rpc(world.chain_url, "eth_sendTransaction", sent)
    world.mine()
    rpc(world.chain_url, "evm_setAutomine", True)
    await world.finish()
    operation = await world.operation(asked)
    assert (operation["status"], operation["problem"]["type"]) == ("failed", "/problems/operation-already-executed")
    members = (await world.get("/v1/roles", role="minter")).json()["data"]
    assert BOB in {row["account"] for row in members}


async def test_an_administrator_has_no_delay(world: World) -> None:
    body = {"role": "admin", "account": BOB, "delay_s": 60}
    problem(await world.post("/v1/roles/grant", body), "invalid-request")


async def test_a_deployment_retried_after_a_restore_is_taken_over(world: World) -> None:
    body = {"kind": "documents"}
    first = (await world.post("/v1/contracts", body, idempotency_key="documents")).json()
    await world.finish()
    async with world.db.transaction() as session:
        for statement in (
            "DELETE FROM deployments WHERE kind = 'documents'",
            "DELETE FROM requests WHERE key = 'documents'",
            f"DELETE FROM operations WHERE id = '{first['id']}'",
        ):
            await session.execute(text(statement))
    again = (await world.post("/v1/contracts", body, idempotency_key="documents")).json()
    assert again["contract"] == first["contract"]
    await world.finish()
    await world.finish()
    operation = await world.operation(again["id"])
    assert (operation["status"], operation["transaction"]["status"]) == ("succeeded", "executed")
    assert first["contract"] in {row["address"] for row in (await world.get("/v1/contracts")).json()}


async def test_a_forgotten_action_expires(slow: tuple[World, str]) -> None:
    world, token_id = slow
    await force(world, token_id)
    await world.finish()
    pass_time(world, DELAY_S + 7 * DAY_S + 1)
    problem(await world.post(f"/v1/scheduled/{(await scheduled(world))['id']}/execute"), "schedule-expired")


async def test_an_action_that_nobody_scheduled(slow: tuple[World, str]) -> None:
    world, _ = slow
    problem(await world.post(f"/v1/scheduled/0x{'00' * 32}/execute"), "scheduled-not-found")
    problem(await world.post("/v1/scheduled/0x12/execute"), "invalid-request")


async def test_a_request_that_was_scheduled_is_scheduled_once(slow: tuple[World, str]) -> None:
    world, token_id = slow
    body = {"from": ALICE, "to": BOB, "amount": "10", "reason": "Court order", "document_hash": "0x" + "12" * 32}
    path = f"/v1/tokens/{token_id}/forced-transfer"
    first = await world.post(path, body, idempotency_key="once")
    await world.finish()
    again = await world.post(path, body, idempotency_key="once")
    assert first.json()["id"] == again.json()["id"]
    assert (await scheduled(world))["status"] == "scheduled"


async def test_a_signer_without_the_role_is_told_so(world: World) -> None:
    token_id = await world.token()
    await world.post("/v1/roles/revoke", {"role": "minter", "account": checksum(world.signer)})
    await world.finish()
    told = problem(await world.mint(token_id, BOB, 1), "signer-lacks-role")
    assert told["revert"]["name"] == "AccessManagedUnauthorized"


async def test_a_token_waits_for_its_authority(world: World) -> None:
    key = await world.new_issuer("In a hurry")
    asked = (await world.post("/v1/authority", {}, key=key)).json()
    asset = (await world.post("/v1/assets", {"name": "Mill", "category": "house"}, key=key)).json()
    body = {"asset_id": asset["id"], "name": "Mill", "symbol": "MILL"}
    told = problem(await world.post("/v1/tokens", body, key=key), "contract-not-deployed")
    assert asked["id"] in told["detail"]
    await world.finish()
    assert (await world.post("/v1/tokens", body, key=key)).status_code == 202
