"""A standby takes over: what was signed before is taken by nobody again, whether its nonce had come over or not."""

import asyncio
import secrets
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from psycopg import sql
from pydantic import SecretStr
from sqlalchemy import text
from structlog.testing import capture_logs

from scripts import local
from service.access.nonces import Nonces, Spent
from service.db import Database
from tests.conftest import TEMPLATE, drop
from tests.faults.test_replica import standby

__all__ = ["standby"]

KEY = "AAAAAAAAAAA"
SOON_S = 10.0


@asynccontextmanager
async def opened(server: local.Postgres, name: str) -> AsyncIterator[Database]:
    database = Database(SecretStr(server.database(name)), role=None, connections_max=2)
    await database.open()
    yield database
    await database.close()


async def holds(server: local.Postgres, name: str, nonce: str) -> None:
    """Wait until a standby has a nonce."""
    query = "SELECT 1 FROM nonces WHERE nonce = %s"
    async with asyncio.timeout(SOON_S), opened(server, name) as database:
        while not await database.fetch(query, (nonce,)):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def cut_off(server: local.Postgres) -> None:
    """Have a standby hear no more of its primary."""
    receivers = "SELECT count(*) FROM pg_stat_wal_receiver"
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET primary_conninfo = ''")
        connection.execute("SELECT pg_reload_conf()")
        local.wait_for(lambda: connection.execute(receivers).fetchone() == (0,) or None, what="the cut")


def promote(server: local.Postgres) -> None:
    """Make a standby the primary."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        assert connection.execute("SELECT pg_promote()").fetchone() == (True,)


async def test_of_what_was_signed_before_a_failover_nothing_is_taken_after_it(
    postgres: local.Postgres, standby: local.Postgres
) -> None:
    name, created = f"test_{uuid.uuid4().hex}", int(time.time())
    kept, lost, new = (secrets.token_urlsafe(16) for _ in range(3))

    async def spend(at: Nonces, nonce: str) -> Spent:
        return await at.spend(KEY, nonce, created=created, until=created + 60)

    with psycopg.connect(postgres.url, autocommit=True) as connection:
        copied = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(TEMPLATE))
        connection.execute(copied)
    try:
        async with opened(postgres, name) as primary:
            assert await spend(Nonces(primary), kept) is Spent.FRESH
            await holds(standby, name, kept)
            cut_off(standby)
            assert await spend(Nonces(primary), lost) is Spent.FRESH
        promote(standby)
        async with opened(standby, name) as promoted:
            assert await promoted.fetch("SELECT nonce FROM nonces", ()) == [(kept,)]
            with capture_logs() as lines:
                found = [await spend(Nonces(promoted), nonce) for nonce in (kept, lost, new)]
            assert found == [Spent.FENCED] * 3
            assert [line["event"] for line in lines] == ["nonce_fence_raised"]
            async with promoted.transaction() as session:
                await session.execute(text("UPDATE nonce_fence SET created_min = now() - interval '1 minute'"))
            found = [await spend(Nonces(promoted), nonce) for nonce in (new, new, kept)]
            assert found == [Spent.FRESH, Spent.REPLAYED, Spent.REPLAYED]
    finally:
        drop(postgres, name)
