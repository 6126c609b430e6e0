"""Processes at work on a vault that end themselves by SIGKILL, each forked from a process of the tests' own.

A rewrap is killed at a chosen point: before a DB transaction is committed, or after. A batch is killed while its one
statement is on its way to Postgres, or after the answer and before anybody is told of it.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, LiteralString
from uuid import UUID

from psycopg.rows import TupleRow
from sqlalchemy.ext.asyncio import AsyncSession

from service.access import queries as access
from service.db import Database
from service.keys.wrapping_opening import open_key_encryption_keys
from service.settings import read_settings
from service.vault import rewrapping
from service.vault.keys import Vault, open_vault
from service.vault.orders import TokenizeOrder
from service.vault.tokenizing import tokenize


class KillableDatabase(Database):
    """Counts points, and ends the process at one of them."""

    kill_at = -1
    passed = 0

    def reached(self) -> None:
        """One more point."""
        if self.passed == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.passed += 1

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """A DB transaction, a point before it is committed, and one after."""
        async with super().transaction() as session:
            yield session
            self.reached()
        self.reached()

    async def fetch(self, query: LiteralString, parameters: Sequence[Any] | Mapping[str, Any]) -> list[TupleRow]:
        """One statement; of one that stores a batch, a point while it is on its way and one after its answer."""
        if "INSERT INTO vault.records" not in query:
            return await super().fetch(query, parameters)
        on_its_way = asyncio.create_task(super().fetch(query, parameters))
        for _ in range(3):
            await asyncio.sleep(0)
        self.reached()
        rows = await on_its_way
        self.reached()
        return rows


async def main(order: dict[str, Any]) -> None:
    """Do what is asked, unless killed before."""
    settings = read_settings()
    db = KillableDatabase(settings.database_url, role=None, connections_max=2)
    db.kill_at = order["kill_at"]
    await db.open()
    async with open_key_encryption_keys(settings) as keks:
        vault = open_vault(db, keks)
        if "batch" in order:
            await _tokenize(vault, order)
        else:
            await rewrapping.rewrap(vault, [UUID(order["issuer"])], lambda *_: None, stretch_blocks=1)
    await db.close()


async def _tokenize(vault: Vault, order: dict[str, Any]) -> None:
    rows = await vault.db.fetch("SELECT id, name FROM callers WHERE issuer_id = %s", (UUID(order["issuer"]),))
    caller = access.Caller(rows[0][0], UUID(order["issuer"]), b"", frozenset(), rows[0][1], "tests")
    await tokenize(vault, caller, order["key"], TokenizeOrder.model_validate(order["batch"]))


def serve() -> None:
    """Fork one for each order on stdin, and tell how it ended; importing is slow."""
    for line in iter(sys.stdin.readline, ""):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                asyncio.run(main(json.loads(line)))
                code = 0
            finally:
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"ended {os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
