"""Where transactions stand."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from service.db import ReadConnection
from service.transactions.commands import Given


@dataclass(frozen=True, slots=True)
class Progress:
    """Where one transaction stands."""

    id: UUID
    status: str
    signer: bytes
    nonce: int | None
    transaction_hash: bytes | None
    block_number: int | None
    block_hash: bytes | None
    last_error: str | None


def queued(id: UUID, signer: bytes) -> Progress:
    """Where a transaction stands that was stored a moment ago."""
    return Progress(id, "queued", signer, None, None, None, None, None)


def progress_of(id: UUID, given: Given) -> Progress:
    """Where a transaction stands that came signed and was stored a moment ago."""
    return Progress(id, "pending", given.signer, given.nonce, given.hash, None, None, None)


async def progress(connection: ReadConnection, ids: Sequence[UUID]) -> dict[UUID, Progress]:
    """Where these transactions stand, by id. An unmined one shows the hash of its newest attempt."""
    cursor = await connection.execute(
        """SELECT t.id, t.status, t.signer, t.nonce, coalesce(t.transaction_hash, newest.hash),
                  t.block_number, t.block_hash, t.last_error
           FROM transactions t LEFT JOIN LATERAL (
               SELECT hash FROM attempts a WHERE a.transaction_id = t.id ORDER BY created_at DESC LIMIT 1
           ) newest ON true
           WHERE t.id = ANY(%s)""",
        (list(ids),),
    )
    return {row[0]: Progress(*row) for row in await cursor.fetchall()}


async def statuses(connection: ReadConnection, ids: Sequence[UUID]) -> dict[UUID, str]:
    """Where these transactions stand, in a word, by id."""
    cursor = await connection.execute("SELECT id, status FROM transactions WHERE id = ANY(%s)", (list(ids),))
    return {row[0]: row[1] for row in await cursor.fetchall()}


async def counts(connection: ReadConnection, *, chain_id: int) -> dict[str, Any]:
    """How many live transactions stand where, and the oldest one's age in seconds."""
    cursor = await connection.execute(
        """SELECT status, count(*), extract(epoch FROM now() - min(created_at))::float8
           FROM transactions
           WHERE chain_id = %s AND status IN ('queued', 'pending', 'submitted', 'mined') GROUP BY status""",
        (chain_id,),
    )
    rows = await cursor.fetchall()
    found = {status: count for status, count, _ in rows}
    ages = [age for status, _, age in rows if status != "mined"]
    return {
        **{status: found.get(status, 0) for status in ("queued", "pending", "submitted", "mined")},
        "oldest_unmined_s": round(max(ages), 1) if ages else None,
    }
