"""Which block a time means."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, update

from service.db import Database
from service.mirror import moments, queries
from service.mirror.past import seen_from
from service.mirror.queries import BlockInFuture, BlockNotMirrored, Label, MirrorEmpty
from service.mirror.tables import DEPLOYMENTS
from tests.mirror.histories import FIRST, History

CHAIN = 77


@pytest.fixture
async def history(indexer_db: Database) -> History:
    begun = History(CHAIN)
    await begun.begin(indexer_db)
    await begun.grow(indexer_db, [1, 2, 3, 4, 5, 6])
    return begun


async def at(db: Database, time: datetime, chain_id: int = CHAIN) -> Label:
    async with db.read() as connection:
        return await moments.label_at_time(connection, chain_id=chain_id, time=time)


def time_of(history: History, number: int) -> datetime:
    return datetime.fromtimestamp(history.pages[number - FIRST].block.timestamp, UTC)


async def test_a_time_means_the_newest_block_that_is_not_later(indexer_db: Database, history: History) -> None:
    last = FIRST + len(history.pages) - 1
    for number in range(FIRST, last + 1):
        time = time_of(history, number)
        alike = [each.block for each in history.pages if each.block.timestamp == int(time.timestamp())]
        found = await at(indexer_db, time)
        assert (found.block, found.hash, found.time) == (alike[-1].number, alike[-1].hash, time)
        assert found.time.tzinfo is UTC
        if time < time_of(history, last):
            assert await at(indexer_db, time + timedelta(seconds=0.9)) == found


async def test_blocks_of_one_time_are_answered_by_the_last(indexer_db: Database, history: History) -> None:
    assert time_of(history, FIRST + 1) == time_of(history, FIRST + 2)
    assert (await at(indexer_db, time_of(history, FIRST + 1))).block == FIRST + 2


async def test_a_block_that_left_is_no_answer(indexer_db: Database, history: History) -> None:
    last = FIRST + len(history.pages) - 1
    time = time_of(history, last)
    await history.shrink(indexer_db, 2)
    with pytest.raises(BlockInFuture):
        await at(indexer_db, time)
    await history.grow(indexer_db, [7, 8])
    found = await at(indexer_db, time)
    assert (found.block, found.hash) == (last, history.pages[-1].block.hash)


async def test_a_time_outside_the_mirror_is_a_problem(indexer_db: Database, history: History) -> None:
    with pytest.raises(BlockNotMirrored) as early:
        await at(indexer_db, time_of(history, FIRST) - timedelta(microseconds=1))
    assert early.value.extensions == {"oldest": FIRST}
    assert f"{time_of(history, FIRST):%Y-%m-%dT%H:%M:%S}Z" in str(early.value)
    last = FIRST + len(history.pages) - 1
    with pytest.raises(BlockInFuture) as late:
        await at(indexer_db, time_of(history, last) + timedelta(microseconds=1))
    assert late.value.extensions == {"tip": last}
    with pytest.raises(MirrorEmpty):
        await at(indexer_db, datetime.now(UTC), chain_id=CHAIN + 1)


async def test_what_stands_is_read_as_ever(indexer_db: Database, history: History) -> None:
    """A moment whose newest block is canonical still is that block, with one question more for each contract."""
    async with indexer_db.read() as connection:
        ((moment,),) = await (await connection.execute("SELECT clock_timestamp()")).fetchall()
    label = await at(indexer_db, time_of(history, FIRST + len(history.pages) - 1))
    await history.grow(indexer_db, [9])
    async with indexer_db.read() as connection:
        sight = await moments.shown_at(connection, chain_id=CHAIN, moment=moment, at_block=None)
        assert (sight.label.hash, sight.label.orphaned, sight.branch.hashes) == (label.hash, False, ())
        now = await queries.label(connection, chain_id=CHAIN, at_block=None)
    assert now.block == label.block + 1


async def test_a_contract_that_is_adopted_later_was_not_shown_before(indexer_db: Database, history: History) -> None:
    async with indexer_db.read() as connection:
        ((moment,),) = await (await connection.execute("SELECT clock_timestamp()")).fetchall()
    async with indexer_db.transaction() as session:
        await session.execute(update(DEPLOYMENTS).values(shown_at=func.clock_timestamp()))
    for time, shown in ((moment, False), (datetime.now(UTC), True)):
        async with indexer_db.read() as connection:
            sight = await moments.shown_at(connection, chain_id=CHAIN, moment=time, at_block=None)
            with seen_from(connection, sight.branch):
                found = await queries.contract(
                    connection, chain_id=CHAIN, address=history.token, block=sight.label.block
                )
            assert (found is not None) == shown
