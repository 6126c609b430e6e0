"""Taking a batch back, and sending again what failed of it or was taken back."""

from typing import Any

from tests.batches.bulk import mints, operations_count, read, rows_of, send, slugs, stranger
from tests.web.answers import problem
from tests.world import World


async def cancel(world: World, batch_id: str, **given: Any) -> dict[str, Any]:
    answer = await world.post(f"/v1/batches/{batch_id}/cancel", **given)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def resume(world: World, batch_id: str, **given: Any) -> dict[str, Any]:
    answer = await world.post(f"/v1/batches/{batch_id}/resume", **given)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def supply(world: World, token: str) -> int:
    return int((await world.get(f"/v1/tokens/{token}")).json()["total_supply"])


async def test_a_batch_that_nobody_sent_yet_is_taken_back_whole(world: World) -> None:
    token = await world.token()
    batch = await send(world, f"tokens/{token}/batches/mint", mints(800))
    told = await cancel(world, batch["id"])
    assert (told["cancelled"]["packs"], told["cancelled"]["too_late"]) == (3, 0)
    await world.finish()
    batch = await read(world, batch["id"])
    assert (batch["state"], batch["rows"]["cancelled"]) == ("cancelled", 800)
    assert await supply(world, token) == 0
    row = (await rows_of(world, batch["id"], status="cancelled", limit=500))[0]
    assert row["problem"]["type"] == "/problems/operation-cancelled"


async def test_what_is_in_a_block_stays_when_a_batch_is_taken_back(world: World) -> None:
    token = await world.token()
    batch = await send(world, f"tokens/{token}/batches/mint", mints(800))
    await world.send()  # automine: every pack is in a block
    told = await cancel(world, batch["id"], idempotency_key="back")
    assert (told["cancelled"]["packs"], told["cancelled"]["too_late"]) == (0, 3)
    await world.finish()
    assert (await read(world, batch["id"]))["state"] == "succeeded"
    assert (await cancel(world, batch["id"], idempotency_key="back"))["cancelled"] == told["cancelled"]


async def test_a_cancelled_batch_is_resumed_and_happens_once(world: World) -> None:
    token = await world.token()
    batch = await send(world, f"tokens/{token}/batches/mint", mints(800))
    await cancel(world, batch["id"])
    await world.finish()
    resumed = await resume(world, batch["id"], idempotency_key="again")
    assert (resumed["state"], resumed["cancelled"]) == ("pending", None)
    count = await operations_count(world)
    assert (await resume(world, batch["id"], idempotency_key="again"))["id"] == batch["id"]
    assert await operations_count(world) == count
    await world.finish()
    assert (await read(world, batch["id"]))["state"] == "succeeded"
    assert await supply(world, token) == 4000
    await resume(world, batch["id"])
    assert await operations_count(world) == count
    packs = (await world.get(f"/v1/batches/{batch['id']}/packs")).json()["data"]
    assert [pack["round"] for pack in packs] == [2, 2, 2]


async def test_a_pack_that_failed_is_told_by_its_rows_and_sent_again(world: World) -> None:
    token = await world.token()
    rows = [{"account": stranger(number), "amount": "5"} for number in range(500)]
    # Another decision about one account comes first, so its pack is refused, and the other one is not.
    answer = await world.post(f"/v1/tokens/{token}/freeze", {"account": rows[450]["account"], "amount": "1"})
    assert answer.status_code == 202
    batch = await send(world, f"tokens/{token}/batches/freeze", rows)
    await world.finish()
    batch = await read(world, batch["id"])
    assert (batch["state"], batch["packs"]["failed"]) == ("partly_failed", 1)
    failed = await rows_of(world, batch["id"], status="failed", limit=200)
    assert len(failed) == batch["rows"]["failed"]
    assert {row["problem"]["type"] for row in failed} == {"/problems/frozen-amount-changed"}
    answer = await world.post(f"/v1/batches/{batch['id']}/resume")
    assert slugs(problem(answer, "batch-refused")) == [(451, "frozen-amount-changed")]
    await world.post(f"/v1/tokens/{token}/freeze", {"account": rows[450]["account"], "expected": "1", "amount": "0"})
    await world.finish()
    await resume(world, batch["id"])
    await world.finish()
    assert (await read(world, batch["id"]))["state"] == "succeeded"


async def test_transfers_that_were_taken_back_are_signed_anew(world: World) -> None:
    token, holder = await world.token(), await world.account()
    await world.mint(token, holder, 100)
    await world.finish()
    rows = [{"from": holder, "to": stranger(number), "amount": "5"} for number in range(3)]
    batch = await send(world, f"tokens/{token}/batches/transfer", rows)
    await cancel(world, batch["id"])
    await world.finish()
    await resume(world, batch["id"])
    await world.finish()
    assert (await read(world, batch["id"]))["state"] == "succeeded"
    assert await world.holding(token, holder) == 85


async def test_a_refused_resumption_stores_nothing(world: World) -> None:
    token = await world.token()
    batch = await send(world, f"tokens/{token}/batches/mint", mints(3))
    await cancel(world, batch["id"])
    await world.finish()
    await world.post(f"/v1/tokens/{token}/pause")
    await world.finish()
    count = await operations_count(world)
    problem(await world.post(f"/v1/batches/{batch['id']}/resume"), "token-paused")
    assert await operations_count(world) == count
