"""GET /v1/status tells how far a long history came, while one is on its way into the mirror."""

import pytest
from sqlalchemy import text

from scripts.stack import CHAIN_ID
from service.mirror.backfill import Backfill
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_it_tells_what_is_read_what_is_left_and_for_how_long(shared: World) -> None:
    assert (await shared.get("/v1/status")).json()["backfill"] is None
    async with shared.db.transaction() as session:
        await session.execute(
            text(
                """INSERT INTO mirror.backfills (work, chain_id, first_block, last_block, reached_block, staged_block,
                    events, events_per_s, indexes_late, begun_at, told_at)
                VALUES (:work, :chain_id, 101, 1000, 200, 400, 7000, 116.5, false, now() - interval '90 seconds', now())
                """
            ),
            {"work": f"sync:{CHAIN_ID}", "chain_id": CHAIN_ID},
        )
    told = (await shared.get("/v1/status")).json()["backfill"]
    assert told.pop("left_s") == pytest.approx(180)
    assert told == {"blocks": 300, "blocks_total": 900, "events": 7000, "events_per_s": 116.5}


async def test_a_history_on_its_way_is_told_until_it_is_there(shared: World) -> None:
    shared.mine(12)
    gear = Backfill(
        shared.db,
        shared.chain,
        chain_id=CHAIN_ID,
        factory=shared.settings.factory,
        start_block=shared.settings.start_block,
        behind_min=1,
    )
    lease, seen = await shared.lease("indexer"), []
    try:
        while await gear.step(lease) > 0:
            seen.append((await shared.get("/v1/status")).json()["backfill"])
    finally:
        await gear.aclose()
    assert seen[-1] is None
    assert (await shared.get("/v1/status")).json()["chain"]["lag"] == 2
