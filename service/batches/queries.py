"""Reading batches. How far a row is, the newest operation of its pack tells; nothing of it is copied."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from service.batches.problems import BatchNotFound
from service.db import ReadConnection
from service.operations import many
from service.operations.many import Standing

STATUSES = ("queued", "sent", "mined", "succeeded", "failed", "cancelled")
"""How far a row can be; the last three are final."""

_COLUMNS = "id, kind, token_id, contract, effect_id, rows_count, packs_count, cancelled_at, created_at"


@dataclass(frozen=True, slots=True)
class Sent:
    """A pack and the operation that carries it."""

    number: int
    round: int  # how often it was sent
    operation_id: UUID
    rows_count: int
    cancel_asked_at: datetime | None
    status: str
    problem: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows that were accepted as a whole, and how far they are."""

    id: UUID
    kind: str
    token_id: UUID | None
    contract: bytes
    effect_id: UUID
    rows_count: int
    packs_count: int
    cancelled_at: datetime | None
    created_at: datetime
    packs: Sequence[Sent]

    @property
    def rows_by_status(self) -> Counter[str]:
        """How many rows are how far."""
        found: Counter[str] = Counter(dict.fromkeys(STATUSES, 0))
        for pack in self.packs:
            found[pack.status] += pack.rows_count
        return found

    @property
    def state(self) -> str:
        """One word for all rows."""
        return state_of({pack.status for pack in self.packs})


@dataclass(frozen=True, slots=True)
class GivenOne:
    """A row as it was given."""

    number: int
    pack: int
    parameters: dict[str, Any]


def status_of(standing: Standing) -> str:
    """How far the rows of an operation are."""
    if standing.status == "succeeded":
        return "succeeded"
    if standing.status == "failed":
        return "cancelled" if standing.transaction_status == "cancelled" else "failed"
    early = {"queued": "queued", "pending": "sent", "submitted": "sent"}
    return early.get(standing.transaction_status or "", "mined")


def state_of(statuses: set[str]) -> str:
    """What a batch is whose packs are so far: pending before anything is sent, running until all is final."""
    if statuses == {"queued"}:
        return "pending"
    if statuses & {"queued", "sent", "mined"}:
        return "running"
    if "failed" in statuses:
        return "partly_failed" if "succeeded" in statuses else "failed"
    return "cancelled" if "cancelled" in statuses else "succeeded"


async def batch(connection: ReadConnection, *, issuer_id: UUID, id: UUID) -> Batch:
    """One batch of an issuer.

    Raises:
        BatchNotFound: none, or another issuer's.
    """
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM batches WHERE id = %s AND issuer_id = %s", (id, issuer_id)
    )
    found = await _with_packs(connection, await cursor.fetchall())
    if not found:
        raise BatchNotFound(f"no batch {id}: GET /v1/batches lists them")
    return found[0]


async def batches_page(
    connection: ReadConnection,
    *,
    issuer_id: UUID,
    held_tokens: Sequence[UUID] | None,
    before: UUID | None,
    count_max: int,
) -> list[Batch]:
    """Batches of an issuer, newest first; of `held_tokens` alone where they are told."""
    held = "" if held_tokens is None else "AND token_id = ANY(%(held_tokens)s)"
    cursor = await connection.execute(
        f"""SELECT {_COLUMNS} FROM batches
        WHERE issuer_id = %(issuer_id)s {held} AND (%(before)s::uuid IS NULL OR id < %(before)s)
        ORDER BY id DESC LIMIT %(count_max)s""",
        {"issuer_id": issuer_id, "held_tokens": held_tokens, "before": before, "count_max": count_max},
    )
    return await _with_packs(connection, await cursor.fetchall())


async def _with_packs(connection: ReadConnection, rows: Sequence[tuple[Any, ...]]) -> list[Batch]:
    if not rows:
        return []
    cursor = await connection.execute(
        """SELECT DISTINCT ON (batch_id, number) batch_id, number, round, operation_id, rows_count, cancel_asked_at
        FROM batch_packs WHERE batch_id = ANY(%s) ORDER BY batch_id, number, round DESC""",
        ([row[0] for row in rows],),
    )
    packs = await cursor.fetchall()
    standings = await many.standings(connection, [pack[3] for pack in packs])
    by_batch: dict[UUID, list[Sent]] = {row[0]: [] for row in rows}
    for batch_id, *pack in packs:
        by_batch[batch_id].append(_sent(pack, standings))
    return [_batch(row, by_batch[row[0]]) for row in rows]


def _batch(row: Sequence[Any], packs: Sequence[Sent]) -> Batch:
    id_, kind, token_id, contract, effect_id, rows_count, packs_count, cancelled_at, created_at = row
    return Batch(id_, kind, token_id, contract, effect_id, rows_count, packs_count, cancelled_at, created_at, packs)


def _sent(pack: Sequence[Any], standings: Mapping[UUID, Standing]) -> Sent:
    number, round_, operation_id, rows_count, cancel_asked_at = pack
    standing = standings[operation_id]
    return Sent(number, round_, operation_id, rows_count, cancel_asked_at, status_of(standing), standing.problem)


async def rows_of(connection: ReadConnection, *, batch_id: UUID, packs: Sequence[int]) -> list[GivenOne]:
    """All rows of some packs, in their order."""
    cursor = await connection.execute(
        "SELECT number, pack, parameters FROM batch_rows WHERE batch_id = %s AND pack = ANY(%s) ORDER BY number",
        (batch_id, list(packs)),
    )
    return [GivenOne(*row) for row in await cursor.fetchall()]


async def rows_page(
    connection: ReadConnection, *, batch_id: UUID, packs: Sequence[int], after: int, count_max: int
) -> list[GivenOne]:
    """A page of the rows of some packs, in their order."""
    cursor = await connection.execute(
        """SELECT number, pack, parameters FROM batch_rows
        WHERE batch_id = %s AND pack = ANY(%s) AND number > %s ORDER BY number LIMIT %s""",
        (batch_id, list(packs), after, count_max),
    )
    return [GivenOne(*row) for row in await cursor.fetchall()]
