"""Each pack has one effect: whatever is raced, and also when the database is restored from an older backup."""

import asyncio
from typing import Any

from sqlalchemy import text

from tests.batches.bulk import mints, operations_count, read, send
from tests.faults.test_restored import now
from tests.rpc import rpc
from tests.web.answers import problem
from tests.world import World


async def restore(world: World, mark: str) -> None:
    """Forget every request that came after the mark, and all that came of it."""
    young = "(SELECT id FROM batches WHERE created_at > CAST(:mark AS timestamptz))"
    lost = (
        f"DELETE FROM batch_rows WHERE batch_id IN {young}",
        f"DELETE FROM batch_packs WHERE batch_id IN {young}",
        "DELETE FROM batches WHERE created_at > CAST(:mark AS timestamptz)",
        "DELETE FROM requests WHERE created_at > CAST(:mark AS timestamptz)",
        "DELETE FROM operations WHERE created_at > CAST(:mark AS timestamptz)",
        "DELETE FROM attempts WHERE transaction_id NOT IN (SELECT transaction_id FROM operations)",
        "DELETE FROM transactions WHERE id NOT IN (SELECT transaction_id FROM operations)",
    )
    async with world.db.transaction() as session:
        for statement in lost:
            await session.execute(text(statement), {"mark": mark} if ":mark" in statement else {})


async def supply(world: World, token: str) -> int:
    return int((await world.get(f"/v1/tokens/{token}")).json()["total_supply"])


async def test_a_batch_that_a_backup_has_forgotten_goes_on_where_the_chain_stands(world: World) -> None:
    token = await world.token()
    given: dict[str, Any] = {"idempotency_key": "payroll"}
    mark = await now(world)
    rpc(world.chain_url, "evm_setAutomine", False)
    batch = await send(world, f"tokens/{token}/batches/mint", mints(1_400), **given)
    await world.send()
    world.mine()  # not all of the packs fit into a block
    rpc(world.chain_url, "anvil_dropAllTransactions")
    rpc(world.chain_url, "evm_setAutomine", True)
    await world.index()
    assert 0 < await supply(world, token) < 7_000
    await restore(world, mark)
    again = await send(world, f"tokens/{token}/batches/mint", mints(1_400), **given)
    assert again["id"] != batch["id"]
    await world.finish()
    assert (await read(world, again["id"]))["state"] == "succeeded"
    assert await supply(world, token) == 7_000


async def test_a_whole_batch_that_a_backup_has_forgotten_has_no_second_effect(world: World) -> None:
    token, holder = await world.token(), await world.account()
    await world.mint(token, holder, 1_000)
    await world.finish()
    mark = await now(world)
    asked = [
        (f"tokens/{token}/batches/mint", mints(3)),
        (f"tokens/{token}/batches/transfer", [{"from": holder, **row} for row in mints(3)]),
        (f"tokens/{token}/batches/freeze", [{"account": holder, "amount": "7"}]),
    ]
    for path, rows in asked:
        await send(world, path, rows, idempotency_key=path)
        await world.finish()
    held = await supply(world, token), await world.holding(token, holder)
    await restore(world, mark)
    for path, rows in asked:
        batch = await send(world, path, rows, idempotency_key=path)
        await world.finish()
        assert (await read(world, batch["id"]))["state"] == "succeeded", path
    assert held == (await supply(world, token), await world.holding(token, holder))


async def test_other_rows_under_a_forgotten_key_are_refused(world: World) -> None:
    token = await world.token()
    mark = await now(world)
    await send(world, f"tokens/{token}/batches/mint", mints(3), idempotency_key="twice")
    await world.finish()
    await restore(world, mark)
    answer = await world.post(f"/v1/tokens/{token}/batches/mint", {"rows": mints(4)}, idempotency_key="twice")
    problem(answer, "operation-already-executed")


async def test_one_request_raced_is_one_batch(world: World) -> None:
    token = await world.token()
    sent = [send(world, f"tokens/{token}/batches/mint", mints(400), idempotency_key="race") for _ in range(6)]
    assert len({batch["id"] for batch in await asyncio.gather(*sent)}) == 1
    await world.finish()
    assert await supply(world, token) == 2_000


async def test_resumptions_raced_send_each_pack_once(world: World) -> None:
    token = await world.token()
    batch = await send(world, f"tokens/{token}/batches/mint", mints(400))
    await world.post(f"/v1/batches/{batch['id']}/cancel")
    await world.finish()
    before = await operations_count(world)
    answers = await asyncio.gather(*(world.post(f"/v1/batches/{batch['id']}/resume") for _ in range(4)))
    assert {answer.status_code for answer in answers} == {202}
    assert await operations_count(world) == before + 2
    await world.finish()
    assert await supply(world, token) == 2_000
