"""Transactions that are mined and not final, for those who tell of them early."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from service.db import ReadConnection


@dataclass(frozen=True, slots=True)
class Sighting:
    """A transaction, where it stands, and the block that it is in or was in last."""

    id: UUID
    issuer_id: UUID
    chain_id: int
    status: str
    block_number: int | None
    block_hash: bytes | None
    transaction_hash: bytes | None


_COLUMNS = "id, issuer_id, chain_id, status, block_number, block_hash, transaction_hash"


async def mined(connection: ReadConnection, *, issuer_ids: Sequence[UUID], count_max: int) -> list[Sighting]:
    """The newest transactions of these issuers that are mined and not final."""
    cursor = await connection.execute(
        # Materialized, or a planner that hopes for many walks through an issuer's whole past.
        f"""WITH live AS MATERIALIZED (SELECT {_COLUMNS} FROM transactions WHERE status = 'mined')
        SELECT * FROM live WHERE issuer_id = ANY(%s) AND block_hash IS NOT NULL ORDER BY id DESC LIMIT %s""",
        (list(issuer_ids), count_max),
    )
    return [Sighting(*row) for row in await cursor.fetchall()]


async def seen(connection: ReadConnection, ids: Sequence[UUID]) -> dict[UUID, Sighting]:
    """Where these transactions stand, by id."""
    cursor = await connection.execute(f"SELECT {_COLUMNS} FROM transactions WHERE id = ANY(%s)", (list(ids),))
    return {row[0]: Sighting(*row) for row in await cursor.fetchall()}
