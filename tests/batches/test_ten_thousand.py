"""Ten thousand rows: one request, few transactions."""

import time

from tests.batches.bulk import mints, read, rows_of, send
from tests.world import World

ROWS = 10_000
ACCEPTED_MAX_S = 10.0
READ_MAX_S = 1.0


async def test_ten_thousand_mints_are_one_batch(world: World) -> None:
    token, rows = await world.token(), mints(ROWS)
    start_s = time.monotonic()
    batch = await send(world, f"tokens/{token}/batches/mint", rows)
    accepted_s = time.monotonic() - start_s
    assert batch["packs"]["total"] == 29
    await world.send()
    await world.finish()
    start_s = time.monotonic()
    assert (await read(world, batch["id"]))["rows"]["succeeded"] == ROWS
    read_s = time.monotonic() - start_s
    assert int((await world.get(f"/v1/tokens/{token}")).json()["total_supply"]) == 5 * ROWS
    assert len(await rows_of(world, batch["id"], status="succeeded", limit=500)) == ROWS
    assert accepted_s < ACCEPTED_MAX_S
    assert read_s < READ_MAX_S
