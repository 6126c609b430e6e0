"""Nonces: of all who come with one, one is let in, whatever crashes or is put back."""

import asyncio
import io
import json
import secrets
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.engine import make_url

from scripts import local
from service.access import nonces
from service.access.nonces import KEPT_S, Nonces, Spent
from service.access.signatures import SKEW_S
from service.db import Database
from tests.conftest import clone, drop
from tests.vault.test_rewrap_killed import kill_postgres
from tests.web.shared import log

__all__ = ["log"]

KEY = "AAAAAAAAAAA"


def now_s() -> int:
    return int(time.time())


async def spend(at: Nonces, nonce: str, *, age_s: int = 0, window_s: int = 60, key: str = KEY) -> Spent:
    created = now_s() - age_s
    return await at.spend(key, nonce, created=created, until=created + window_s)


async def test_a_nonce_is_taken_once_for_each_key(db: Database) -> None:
    store, nonce = Nonces(db), secrets.token_urlsafe(16)
    assert await spend(store, nonce) is Spent.FRESH
    assert await spend(store, nonce) is Spent.REPLAYED
    assert await spend(store, nonce, age_s=3) is Spent.REPLAYED
    assert await spend(store, nonce, key="BBBBBBBBBBB") is Spent.FRESH
    assert await spend(store, nonce + "x") is Spent.FRESH


@asynccontextmanager
async def opened(url: SecretStr, role: str | None = None) -> AsyncIterator[Database]:
    database = Database(url, role=role)
    await database.open()
    yield database
    await database.close()


async def test_of_sixteen_at_once_in_two_processes_one_is_let_in(database_url: SecretStr, db: Database) -> None:
    await spend(Nonces(db), "the first one of a database")
    names = [secrets.token_urlsafe(16) for _ in range(50)]
    command = (sys.executable, "-m", "tests.access.nonce_race", database_url.get_secret_value(), "8", *names)
    racing = [await asyncio.create_subprocess_exec(*command, stdout=PIPE, cwd=local.ROOT) for _ in range(2)]
    won = [json.loads((await each.communicate())[0]) for each in racing]
    assert Counter(won[0]) + Counter(won[1]) == Counter(names)


async def test_a_nonce_that_postgres_is_told_twice_is_still_the_same_requests(db: Database) -> None:
    store, created = Nonces(db), now_s()
    use, other = (nonces.Use(KEY, "n" * 22, created, created + 60, uuid4()) for _ in range(2))
    assert [await store._spend_all([use]) for _ in range(2)] == [[Spent.FRESH]] * 2
    assert await store._spend_all([other, use]) == [Spent.REPLAYED, Spent.FRESH]


@pytest.mark.parametrize(
    ("age_s", "window_s", "expected"),
    [
        (-SKEW_S - 3, 60, Spent.STALE),
        (-SKEW_S + 2, 60, Spent.FRESH),
        (57, 60, Spent.FRESH),
        (60 + SKEW_S + 2, 60, Spent.STALE),
        (90, 60, Spent.STALE),
        (-90, 60, Spent.STALE),
        (90, 120, Spent.FRESH),
        (30 + SKEW_S + 2, 30, Spent.STALE),
    ],
)
async def test_a_signature_is_of_now_by_postgres_clock(
    db: Database, age_s: int, window_s: int, expected: Spent
) -> None:
    assert await spend(Nonces(db), secrets.token_urlsafe(16), age_s=age_s, window_s=window_s) is expected


async def test_nonces_are_cleared_away_once_no_signature_can_use_them(db: Database) -> None:
    store = Nonces(db)
    await spend(store, "fresh" * 5)
    old = "INSERT INTO nonces SELECT 'A', n::text, gen_random_uuid(), '2020-01-01' FROM generate_series(1, 500) n"
    async with db.transaction() as session:
        await session.execute(text(old))
    store._cleared_s = -nonces.CLEAR_INTERVAL_S
    await spend(store, "second" * 5)
    rows = await db.fetch("SELECT nonce, extract(epoch FROM expires_at - now())::float8 FROM nonces ORDER BY 1", ())
    assert [name for name, _ in rows] == ["fresh" * 5, "second" * 5]
    assert all(KEPT_S - 10 < left_s <= KEPT_S for _, left_s in rows)


async def test_a_database_that_was_put_elsewhere_takes_no_signature_from_before(
    db: Database, postgres: local.Postgres, database_url: SecretStr, log: io.StringIO
) -> None:
    nonce = secrets.token_urlsafe(16)
    assert await spend(Nonces(db), "first" * 5) is Spent.FRESH
    name = str(make_url(database_url.get_secret_value()).database)
    await db.close()
    restored = clone(postgres, name, f"{name}_restored")
    try:
        async with opened(restored) as database:
            store = Nonces(database)
            found = await asyncio.gather(spend(store, nonce), spend(store, nonce, age_s=10))
            assert set(found) == {Spent.FENCED}
            ((left_s,),) = await database.fetch(
                "SELECT extract(epoch FROM created_min - now())::float8 FROM nonce_fence", ()
            )
            assert SKEW_S - 2 < left_s <= SKEW_S
            async with database.transaction() as session:
                await session.execute(text("UPDATE nonce_fence SET created_min = now() - interval '1 minute'"))
            assert await spend(store, nonce) is Spent.FRESH
            assert await spend(store, nonce) is Spent.REPLAYED
    finally:
        drop(postgres, f"{name}_restored")
    assert log.getvalue().count("nonce_fence_raised") == 1


async def test_replays_are_counted_and_told_when_there_are_many(db: Database, log: io.StringIO) -> None:
    store, nonce = Nonces(db), secrets.token_urlsafe(16)
    await spend(store, nonce)
    assert await nonces.replays(db) == nonces.Replays(0, 0)
    for count in range(1, 13):
        assert await spend(store, nonce) is Spent.REPLAYED
        assert await nonces.replays(db) == nonces.Replays(count, int(count >= 3))
    told = [line for line in log.getvalue().splitlines() if "nonces_replayed" in line]
    assert len(told) == 3  # at 3, 6 and 12
    assert all(KEY in line for line in told)


async def test_a_nonce_is_on_the_disk_before_its_request_goes_on(database_url: SecretStr) -> None:
    given = {"keys": [KEY], "nonces": ["n"], "created": [0.0], "until": [1.0], "ids": [uuid4()], "clear": 0}
    with psycopg.connect(database_url.get_secret_value()) as connection:
        for usual, during in (("off", "on"), ("local", "on"), ("on", "on"), ("remote_apply", "remote_apply")):
            connection.execute(f"SET synchronous_commit = {usual}")
            connection.commit()
            connection.execute(nonces._SPEND, given)
            assert connection.execute("SHOW synchronous_commit").fetchone() == (during,)
            connection.rollback()


async def test_after_a_new_start_of_postgres_no_signature_of_before_is_taken(db: Database) -> None:
    store = Nonces(db)
    assert await spend(store, "first" * 5) is Spent.FRESH
    async with db.transaction() as session:
        await session.execute(text("UPDATE nonce_fence SET started_at = started_at - interval '1 hour'"))
    assert await spend(store, "second" * 5, window_s=120) in (Spent.FRESH, Spent.FENCED)
    row = "SELECT extract(epoch FROM created_min - pg_postmaster_start_time())::float8 FROM nonce_fence"
    assert await db.fetch(row, ()) == [(float(SKEW_S),)]


async def test_after_a_crash_of_postgres_a_nonce_is_still_taken() -> None:
    server = local.start_postgres(Path(tempfile.mkdtemp(prefix="muniment-postgres-")), throw_away=True)
    try:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("CREATE ROLE muniment_api")
            connection.execute(import_module("migrations.versions.0031_nonces").NONCES)
        async with opened(SecretStr(server.url)) as database:
            taken = [secrets.token_urlsafe(16) for _ in range(20)]
            store = Nonces(database)
            assert {await spend(store, nonce) for nonce in taken} == {Spent.FRESH}
            kill_postgres(server.url)
            assert {await spend(store, nonce) for nonce in taken} == {Spent.REPLAYED}
            assert await spend(store, secrets.token_urlsafe(16)) is Spent.FRESH
    finally:
        server.stop()
