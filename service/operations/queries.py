"""Reading operations. Each shows where its transaction stands."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from service.db import ReadConnection
from service.errors import Problem
from service.transactions import queries as transactions
from service.transactions.queries import Progress

_COLUMNS = """id, key_id, kind, chain_id, token_id, contract, parameters, status, problem, created_at, closed_at,
    transaction_id"""


class OperationNotFound(Problem):
    """There is no such operation of this issuer."""

    slug, title, status = "operation-not-found", "No such operation", 404


@dataclass(frozen=True, slots=True)
class Operation:
    """An accepted intent and how far it is."""

    id: UUID
    key_id: str | None
    kind: str
    chain_id: int
    token_id: UUID | None
    contract: bytes
    parameters: dict[str, Any]
    status: str
    problem: dict[str, Any] | None
    created_at: datetime
    closed_at: datetime | None
    transaction: Progress


async def operation(connection: ReadConnection, *, issuer_id: UUID, id: UUID) -> Operation:
    """One operation of an issuer.

    Raises:
        OperationNotFound: none, or another issuer's.
    """
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM operations WHERE id = %s AND issuer_id = %s", (id, issuer_id)
    )
    found = await _with_progress(connection, await cursor.fetchall())
    if not found:
        raise OperationNotFound(f"no operation {id}: take the id from the answer to the request that made it")
    return found[0]


async def operations_page(
    connection: ReadConnection,
    *,
    issuer_id: UUID,
    status: str | None,
    token_id: UUID | None,
    held_tokens: Sequence[UUID] | None,
    before: UUID | None,
    count_max: int,
) -> list[Operation]:
    """Operations of an issuer, newest first; of `held_tokens` alone where they are told."""
    conditions = ["issuer_id = %(issuer_id)s"]
    conditions += ["status = %(status)s"] if status else []
    conditions += ["token_id = %(token_id)s"] if token_id else []
    conditions += ["token_id = ANY(%(held_tokens)s)"] if held_tokens is not None else []
    conditions += ["id < %(before)s"] if before else []
    cursor = await connection.execute(
        f"SELECT {_COLUMNS} FROM operations WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT %(count_max)s",
        {
            "issuer_id": issuer_id,
            "status": status,
            "token_id": token_id,
            "held_tokens": held_tokens,
            "before": before,
            "count_max": count_max,
        },
    )
    return await _with_progress(connection, await cursor.fetchall())


@dataclass(frozen=True, slots=True)
class Served:
    """The operation that a transaction serves."""

    id: UUID
    kind: str
    status: str


async def served_by(connection: ReadConnection, transaction_ids: Sequence[UUID]) -> dict[UUID, Served]:
    """The operations that these transactions serve, by transaction; some serve none."""
    cursor = await connection.execute(
        "SELECT transaction_id, id, kind, status FROM operations WHERE transaction_id = ANY(%s)",
        (list(transaction_ids),),
    )
    return {row[0]: Served(*row[1:]) for row in await cursor.fetchall()}


async def failed_among(connection: ReadConnection, *, issuer_id: UUID, ids: Sequence[UUID]) -> set[UUID]:
    """Which of these operations failed."""
    if not ids:
        return set()
    cursor = await connection.execute(
        "SELECT id FROM operations WHERE id = ANY(%s) AND issuer_id = %s AND status = 'failed'", (list(ids), issuer_id)
    )
    return {row[0] for row in await cursor.fetchall()}


async def _with_progress(connection: ReadConnection, rows: Sequence[tuple[Any, ...]]) -> list[Operation]:
    if not rows:
        return []
    progress = await transactions.progress(connection, [row[-1] for row in rows])
    return [_operation(row, progress) for row in rows]


def _operation(row: tuple[Any, ...], progress: dict[UUID, Progress]) -> Operation:
    id_, key_id, kind, chain_id, token_id, contract, parameters, status, problem, created_at, closed_at, sent = row
    told = (chain_id, token_id, contract, parameters, status, problem, created_at, closed_at)
    return Operation(id_, key_id, kind, *told, progress[sent])
