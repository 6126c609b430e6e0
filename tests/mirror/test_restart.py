"""The indexer may be killed at any instruction, and a second one may take over."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service.db import Database
from service.workers import Lease, LeaseLost
from tests.mirror.test_undo import busy
from tests.mirror.world import LEASE_TTL_S, Ledger, Mirror, database, empty


class Killed(Exception):
    """The process ended here."""


class Mortal(Database):
    """A database whose user is killed in its n-th DB transaction: before its COMMIT, or after it."""

    left = 0
    committed = False

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        self.left -= 1
        last = self.left == 0
        async with super().transaction() as session:
            yield session
            if last and not self.committed:
                raise Killed
        if last:
            raise Killed


@pytest.mark.parametrize("committed", [False, True], ids=["before-commit", "after-commit"])
async def test_killed_between_any_two_transactions_it_goes_on_as_if_not(
    mirror: Mirror, ledger: Ledger, database_url: SecretStr, db: Database, committed: bool
) -> None:
    mortal = Mortal(database_url, role="muniment_indexer")
    mortal.committed = committed
    await mortal.open()
    try:
        alive, mirror.db, mirror.blocks_max = mirror.db, mortal, 2
        for life in range(1, 5):
            busy(ledger, blocks=9)
            ledger.reorg(2)
            mortal.left = life
            with pytest.raises(Killed):
                await mirror.converge()
        mirror.db = alive
        await mirror.converge()
        await mirror.agrees_everywhere()
        survived = {name: [row for row in rows if row[-1]] for name, rows in (await mirror.contents()).items()}
    finally:
        await mortal.close()

    await empty(db)
    mirror.blocks_max = 100
    await mirror.converge()
    assert survived == await mirror.contents(), "one that never died, on the same chain"


async def test_a_lost_lease_writes_nothing(mirror: Mirror, ledger: Ledger, db: Database) -> None:
    busy(ledger, blocks=3)
    await mirror.converge()
    before = await mirror.contents()
    async with db.transaction() as session:
        await session.execute(text("UPDATE leases SET expires_at = now() - interval '1 second'"))
    rival = Lease("indexer", LEASE_TTL_S, holder="rival")
    assert await rival.take(db)

    busy(ledger, blocks=3)
    with pytest.raises(LeaseLost):
        await mirror.step()
    mirror.lease.epoch = (rival.epoch or 0) - 1
    ledger.reorg(4)
    with pytest.raises(LeaseLost):
        await mirror.step()
    assert await mirror.contents() == before

    mirror.lease = rival
    await mirror.converge()
    await mirror.agrees_everywhere()


@pytest.mark.parametrize("role", ["muniment_api", "muniment_sender", "muniment_dispatcher", "muniment_indexer"])
async def test_only_the_indexer_writes_and_nobody_deletes(
    mirror: Mirror, ledger: Ledger, database_url: SecretStr, role: str
) -> None:
    busy(ledger, blocks=3)
    await mirror.converge()
    opened = database(database_url, role=role)
    tables = tuple(COLUMNS)
    forbidden = [f"{command} mirror.{table}" for command in ("DELETE FROM", "TRUNCATE") for table in tables]
    if role != "muniment_indexer":
        forbidden += [f"UPDATE mirror.{table} SET {column} = {column}" for table, column in COLUMNS.items()]
        forbidden += [f"INSERT INTO mirror.{table} SELECT * FROM mirror.{table}" for table in tables]
    try:
        for statement in forbidden:
            with pytest.raises(Exception, match="permission denied"):
                async with opened.transaction() as session:
                    await session.execute(text(statement))
        async with opened.transaction() as session:
            for table in tables:
                await session.execute(text(f"SELECT * FROM mirror.{table} LIMIT 1"))
    finally:
        await opened.close()


COLUMNS = {
    "blocks": "canonical",
    "contracts": "address",
    "deployments": "canonical",
    "transfers": "amount",
    "holdings": "amount",
    "supplies": "amount",
    "pauses": "paused",
    "titles": "holder",
    "states": "state",
    "events": "arguments",
    "heads": "head_number",
    "reorganisations": "fork_number",
    "undone": "shown_at",
}
