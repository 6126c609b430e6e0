"""Leases: one copy of a worker writes; a stale one writes nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from service.db import Database
from service.workers import Lease, LeaseLost, run

NAME = "indexer"


def lease(ttl_s: float = 60, *, holder: str = "one") -> Lease:
    return Lease(NAME, ttl_s=ttl_s, holder=holder)


async def expire(db: Database) -> None:
    async with db.transaction() as session:
        await session.execute(text("UPDATE leases SET expires_at = now() - interval '1 second'"))


async def held_by(db: Database) -> str | None:
    async with db.transaction() as session:
        query = "SELECT holder FROM leases WHERE name = :name AND expires_at > now()"
        found: str | None = await session.scalar(text(query), {"name": NAME})
        return found


class LosesCommits(Database):
    """A way to Postgres whose connection breaks at COMMIT: everything is rolled back."""

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        async with super().transaction() as session:
            yield session
            raise OperationalError("COMMIT", {}, Exception("the connection broke"))


async def test_of_two_workers_one_gets_the_lease(db: Database) -> None:
    one, two = lease(holder="one"), lease(holder="two")
    taken = await asyncio.gather(one.take(db), two.take(db))
    assert sorted(taken) == [False, True]
    assert await held_by(db) == ("one" if taken[0] else "two")


async def test_of_many_workers_one_gets_an_expired_lease(db: Database) -> None:
    assert await lease().take(db)
    await expire(db)
    many = [lease(holder=str(index)) for index in range(8)]
    assert sum(await asyncio.gather(*(each.take(db) for each in many))) == 1
    assert [each.epoch for each in many if each.epoch is not None] == [2]


async def test_a_lease_in_use_is_not_given_away(db: Database) -> None:
    one, two = lease(), lease(holder="two")
    assert await one.take(db)
    assert not await two.take(db)
    assert two.epoch is None


async def test_a_released_lease_is_free_at_once(db: Database) -> None:
    one, two = lease(), lease(holder="two")
    assert await one.take(db)
    await one.release(db)
    assert one.epoch is None
    assert await held_by(db) is None
    assert await two.take(db)


async def test_leases_of_other_names_are_independent(db: Database) -> None:
    assert await lease().take(db)
    assert await Lease("dispatcher", ttl_s=60).take(db)


async def test_an_expired_lease_that_nobody_took_is_held_on(db: Database) -> None:
    one = lease()
    assert await one.take(db)
    await expire(db)
    assert await held_by(db) is None
    async with db.transaction() as session:
        await one.hold(session)
    assert await held_by(db) == "one"


async def test_holding_renews_the_lease_from_now(db: Database) -> None:
    one = lease(ttl_s=1)
    assert await one.take(db)
    one.ttl_s = 3_600
    async with db.transaction() as session:
        await one.hold(session)
        left = await session.scalar(text("SELECT extract(epoch FROM expires_at - clock_timestamp()) FROM leases"))
    assert left is not None
    assert 3_500 < left <= 3_600


async def test_a_stale_holder_writes_nothing(db: Database) -> None:
    async with db.transaction() as session:
        await session.execute(text("CREATE TABLE notes (line text)"))
    stale, fresh = lease(), lease(holder="two")
    assert await stale.take(db)
    await expire(db)
    assert await fresh.take(db)

    async def write() -> None:
        async with db.transaction() as session:
            await session.execute(text("INSERT INTO notes VALUES ('stale')"))
            await stale.hold(session)
            await session.execute(text("INSERT INTO notes VALUES ('stale')"))

    with pytest.raises(LeaseLost):
        await write()
    assert stale.epoch is None
    async with db.transaction() as session:
        await fresh.hold(session)
        assert await session.scalar(text("SELECT count(*) FROM notes")) == 0


async def test_a_takeover_waits_for_the_holders_db_transaction(db: Database) -> None:
    one, two = lease(), lease(holder="two")
    assert await one.take(db)
    await expire(db)
    async with db.transaction() as session:
        await one.hold(session)
        waiting = asyncio.create_task(two.take(db))
        await asyncio.sleep(0.1)
        assert not waiting.done()
    assert await waiting is False


async def test_a_stale_holder_cannot_release_what_another_holds(db: Database) -> None:
    stale, fresh = lease(), lease(holder="two")
    assert await stale.take(db)
    await expire(db)
    assert await fresh.take(db)
    await stale.release(db)
    assert await held_by(db) == "two"


async def test_a_take_whose_commit_failed_holds_nothing(db: Database, database_url: Any) -> None:
    unlucky, lucky = lease(holder="unlucky"), lease(holder="lucky")
    breaking = LosesCommits(database_url, role=None)
    with pytest.raises(OperationalError):
        await unlucky.take(breaking)
    await breaking.close()
    assert await lucky.take(db)
    # With its epoch in memory and not in Postgres, the unlucky one would share the lucky one's.
    assert unlucky.epoch is None
    with pytest.raises(LeaseLost):
        async with db.transaction() as session:
            await unlucky.hold(session)


async def test_a_worker_stands_by_until_the_lease_is_free(db: Database) -> None:
    first, second, stop = lease(), lease(holder="two"), asyncio.Event()
    assert await first.take(db)
    worked: list[int | None] = []

    async def step(held: Lease) -> int:
        worked.append(held.epoch)
        stop.set()
        return 0

    running = asyncio.create_task(run(db, second, step, poll_interval_s=0.01, stop=stop))
    await asyncio.sleep(0.1)
    assert worked == []
    await first.release(db)
    await asyncio.wait_for(running, timeout=30)
    assert worked == [2]
    assert await held_by(db) is None


async def test_a_worker_that_lost_its_lease_goes_on_with_a_new_one(db: Database) -> None:
    stop = asyncio.Event()
    epochs: list[int | None] = []

    async def step(held: Lease) -> int:
        if not epochs:
            epochs.append(held.epoch)
            await expire(db)
            rival = lease(holder="rival")
            assert await rival.take(db)
            await rival.release(db)
        async with db.transaction() as session:
            await held.hold(session)
        epochs.append(held.epoch)
        stop.set()
        return 0

    await asyncio.wait_for(run(db, lease(), step, poll_interval_s=0.01, stop=stop), timeout=30)
    assert epochs == [1, 3]


async def test_a_passing_failure_is_tried_again_and_any_other_ends_the_worker(db: Database) -> None:
    stop, tries = asyncio.Event(), 0

    async def step(held: Lease) -> int:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise ConnectionError("the node is away")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await run(db, lease(), step, poll_interval_s=0.001, stop=stop, retry=(ConnectionError,))
    assert tries == 3


async def test_a_worker_with_work_does_not_pause(db: Database) -> None:
    stop, done = asyncio.Event(), 0

    async def step(held: Lease) -> int:
        nonlocal done
        done += 1
        if done == 20:
            stop.set()
        return 1

    await asyncio.wait_for(run(db, lease(), step, poll_interval_s=60, stop=stop), timeout=30)
    assert done == 20


async def test_a_step_longer_than_the_lease_keeps_it(db: Database) -> None:
    stop, spare = asyncio.Event(), Lease(NAME, ttl_s=60, holder="spare")
    taken: list[bool] = []

    async def slow(_: Lease) -> int:
        for _attempt in range(12):
            await asyncio.sleep(0.3)
            taken.append(await spare.take(db))
        stop.set()
        return 1

    await asyncio.wait_for(run(db, Lease(NAME, ttl_s=2.0), slow, poll_interval_s=0.01, stop=stop), timeout=60)
    assert taken == [False] * 12
