"""Ids that sort by time, and DB transactions."""

import asyncio
import secrets
import time
from uuid import RFC_4122, UUID

import pytest
from pydantic import SecretStr
from sqlalchemy import exc as sa_exc
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from service.db import Database, Turns, acting_for, new_id


def test_an_id_is_a_version_7_uuid_of_now() -> None:
    before = time.time_ns() // 1_000_000
    made = new_id()
    after = time.time_ns() // 1_000_000
    assert (made.version, made.variant) == (7, RFC_4122)
    assert before <= made.int >> 80 <= after


def test_ids_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[UUID] = []
    for milliseconds in (1, 2, 0xFFFF, 0x1_0000, 2**40, 2**47):
        monkeypatch.setattr(time, "time_ns", lambda at=milliseconds: at * 1_000_000)
        made.append(new_id())
    assert made == sorted(made)
    assert [str(each) for each in made] == sorted(str(each) for each in made)


def test_ids_of_one_instant_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    assert len({new_id() for _ in range(2_000)}) == 2_000


@pytest.mark.parametrize(("bits", "low"), [(0, 0), (2**74 - 1, 2**62 - 1)])
def test_randomness_leaves_version_and_time_alone(bits: int, low: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "randbits", lambda count: bits)
    monkeypatch.setattr(time, "time_ns", lambda: 5_000_000)
    made = new_id()
    assert (made.version, made.variant, made.int >> 80, made.int & (2**62 - 1)) == (7, RFC_4122, 5, low)


async def test_a_db_transaction_is_undone_by_any_exception(db: Database) -> None:
    async with db.transaction() as session:
        await session.execute(text("CREATE TABLE notes (line text)"))

    async def fail(failure: type[BaseException]) -> None:
        async with db.transaction() as session:
            await session.execute(text("INSERT INTO notes VALUES ('lost')"))
            raise failure

    for failure in (RuntimeError, asyncio.CancelledError):
        with pytest.raises(failure):
            await fail(failure)
    async with db.read() as connection:
        assert await (await connection.execute("SELECT count(*) FROM notes")).fetchone() == (0,)


async def test_a_read_sees_one_state_and_writes_nothing(db: Database) -> None:
    async with db.transaction() as session:
        await session.execute(text("CREATE TABLE notes (amount numeric)"))
    async with db.read() as connection:
        assert await (await connection.execute("SELECT count(*) FROM notes")).fetchone() == (0,)
        async with db.transaction() as session:
            await session.execute(text("INSERT INTO notes VALUES (115792089237316195423570985008687907853)"))
        assert await (await connection.execute("SELECT count(*) FROM notes")).fetchone() == (0,)
    async with db.read() as connection:
        row = await (await connection.execute("SELECT amount FROM notes")).fetchone()
        assert row == (115792089237316195423570985008687907853,)
        assert type(row[0]) is int
        with pytest.raises(Exception, match="read-only"):
            await connection.execute("INSERT INTO notes VALUES (1)")


async def test_an_error_does_not_tell_the_parameters(db: Database) -> None:
    with pytest.raises(DBAPIError) as raised:
        async with db.transaction() as session:
            await session.execute(text("SELECT CAST(:given AS text) FROM nowhere"), {"given": "a caller's secret"})
    assert "a caller's secret" not in str(raised.value)


async def test_one_issuers_db_transactions_leave_a_connection_to_others(database_url: SecretStr) -> None:
    db, ours, theirs = Database(database_url, role=None, connections_max=4), new_id(), new_id()
    free, held = asyncio.Event(), 0

    async def hold() -> None:
        nonlocal held
        async with db.transaction():
            held += 1
            await free.wait()

    with acting_for([ours]):
        holders = [asyncio.create_task(hold()) for _ in range(6)]
    async with asyncio.timeout(30):
        while held < 3:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    with acting_for([theirs]):
        for _ in range(3):
            async with asyncio.timeout(2), db.transaction() as session:
                assert await session.scalar(text("SELECT 1")) == 1
    assert held == 3
    free.set()
    await asyncio.gather(*holders)
    assert held == 6
    await db.close()


async def test_a_turn_comes_in_order_and_names_that_nobody_uses_are_forgotten() -> None:
    turns, order = Turns(1, patience_s=5), []

    async def take(number: int) -> None:
        async with turns.turn("row"):
            order.append(number)
            await asyncio.sleep(0)

    async with turns.turn("row"), turns.turn("another row"):
        waiting = [asyncio.create_task(take(number)) for number in range(4)]
        await asyncio.sleep(0)
        waiting[1].cancel()
        await asyncio.wait([waiting[1]])
    await asyncio.gather(*waiting[:1], *waiting[2:])
    assert order == [0, 2, 3]
    del waiting
    assert not turns._free


async def test_who_waits_too_long_for_a_turn_is_told_as_of_a_busy_database() -> None:
    turns = Turns(1, patience_s=0.01)
    async with turns.turn("row"):
        with pytest.raises(sa_exc.TimeoutError):
            async with turns.turn("row"):
                raise AssertionError("two at a time")
    async with turns.turn("row"):
        assert len(turns._free) == 1
