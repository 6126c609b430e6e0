"""Storing what many requests ask for at one moment in one statement; who has to wait for another, waits alone."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, LiteralString

import psycopg

from service.chain.together import Together
from service.db import UNAVAILABLE, Database, acting_for
from service.transactions import wishes
from service.web import idempotency

LISTS_MAX = 2
"""Statements under way at once, while requests gather for the next."""

LIST_PATIENCE_MS = 150
"""A statement for many waits so long for a lock: some of its requests are held up for nothing meanwhile."""

ALONE_MAX = 2
"""Connections at once of requests that were split from a list; those that wait for their key have as many."""

ALONE_PATIENCE_MS = 20
POLL_FIRST_S, POLL_LAST_S = 0.05, 0.5

# A key is waited for as long as `idempotency.claim` waits for one.
KEY_PATIENCE_S = 10.0

_ACCEPT: LiteralString = f"""WITH given AS (
    SELECT * FROM jsonb_to_recordset(%s::jsonb) AS given(id uuid, issuer_id uuid, caller_id uuid, key_id text,
        kind text, chain_id bigint, token_id uuid, contract bytea, parameters jsonb, key text, fingerprint bytea,
        resource text, {wishes.COLUMNS})
    WHERE (SELECT set_config('lock_timeout', %s, true)) IS NOT NULL
), claimed AS ({idempotency.CLAIM}), accepted AS (
    SELECT given.* FROM given JOIN claimed USING (resource)
), enqueued AS ({wishes.ENQUEUE})
INSERT INTO operations (id, issuer_id, caller_id, key_id, kind, chain_id, token_id, contract, parameters,
    transaction_id)
SELECT id, issuer_id, caller_id, key_id, kind, chain_id, token_id, contract, parameters, transaction_id FROM accepted
RETURNING id, created_at"""
"""Keys, transactions and operations in one statement, and so in one DB transaction: committed when it has answered.

Its patience with rows is set by itself, and ends with it: another round trip would cost as much as the statement. For
tables it has that of its connection, since those are locked before it runs.
"""

_CONTENDED = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
)


class Contended(Exception):
    """Another DB transaction is in the way of these requests, or of one of them."""

    def __init__(self, cause: psycopg.OperationalError) -> None:
        super().__init__(type(cause).__name__)
        self.cause = cause


class Acceptance:
    """Requests on their way into the database, all issuers' together."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._lists = Together(self._store, of_all=UNAVAILABLE, lists_max=LISTS_MAX, alone_max=ALONE_MAX)
        self._alone = asyncio.Semaphore(ALONE_MAX)
        self._held: dict[tuple[str, str], asyncio.Future[None]] = {}  # by caller and key

    async def accept(self, record: Mapping[str, Any]) -> datetime | None:
        """When this request was stored; None where its key was spent before.

        Raises:
            IdempotencyKeyBusy: another DB transaction has the key, and does not end.
            UNAVAILABLE: Postgres stored nothing in time, or its answer did not come: it may still store this.
        """
        end_s = time.monotonic() + KEY_PATIENCE_S
        key = record["caller_id"], record["key"]
        while True:
            while ahead := self._held.get(key):
                # In a list it would make all others of the list wait, too.
                await asyncio.wait([ahead], timeout=max(0.0, end_s - time.monotonic()))
                if not ahead.done():
                    raise idempotency.busy(record["key"])
            try:
                async with asyncio.timeout(end_s - time.monotonic()):
                    return await self._lists.ask(record)
            except TimeoutError:
                raise psycopg.OperationalError("Postgres has not answered in time") from None
            except Contended as error:
                cause = error.cause
            if not isinstance(cause, psycopg.errors.LockNotAvailable):
                raise cause
            if key not in self._held:
                self._held[key] = over = asyncio.get_running_loop().create_future()
                try:
                    return await self._in_the_end(record, end_s, cause)
                finally:
                    del self._held[key]
                    over.set_result(None)

    async def _in_the_end(
        self, record: Mapping[str, Any], end_s: float, cause: psycopg.OperationalError
    ) -> datetime | None:
        """Ask again and again; no connection is held between."""
        pause_s = POLL_FIRST_S
        while True:
            await asyncio.sleep(pause_s)
            try:
                # Around the wait for a turn alone: a statement under way may be one that stores.
                async with asyncio.timeout(end_s - time.monotonic()):
                    await self._alone.acquire()
            except TimeoutError:
                raise idempotency.busy_if_claimed(record["key"], cause) from None
            try:
                return (await self._store([record]))[0]
            except Contended as error:
                cause = error.cause
            finally:
                self._alone.release()
            if time.monotonic() > end_s:
                raise idempotency.busy_if_claimed(record["key"], cause)
            pause_s = min(pause_s * 1.5, POLL_LAST_S)

    async def _store(self, records: Sequence[Mapping[str, Any]]) -> list[datetime | None]:
        """When each was stored, and None where a key is spent."""
        patience_ms = LIST_PATIENCE_MS if len(records) > 1 else ALONE_PATIENCE_MS
        with acting_for(record["issuer_id"] for record in records):
            try:
                rows = await self._db.fetch(_ACCEPT, (json.dumps(records), f"{patience_ms}ms"))
            except _CONTENDED as error:
                if isinstance(error, psycopg.errors.LockNotAvailable) and not error.diag.context:
                    # A table's own lock: taken before the statement sets its patience, and in the way of all.
                    raise
                raise Contended(error) from None
        created_at = {str(row[0]): row[1] for row in rows}
        return [created_at.get(record["id"]) for record in records]
