"""Accepting many intents at once, and where many operations stand: a few statements, however many."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service.access.queries import Caller
from service.db import ReadConnection
from service.operations.submit import Intent, Ledger
from service.operations.tables import Status
from service.transactions import queries as transactions
from service.transactions.commands import Wish, enqueue_many


@dataclass(frozen=True, slots=True)
class Told:
    """An intent, and the parameters that its operation shows."""

    intent: Intent
    parameters: dict[str, Any]


async def submit_many(session: AsyncSession, ledger: Ledger, caller: Caller, many: Sequence[Told]) -> None:
    """Store intents with their transactions, in the caller's DB transaction; each operation has its intent's id.

    What makes them happen once is the caller's: a key that is claimed in the same DB transaction.
    """
    chain_id = ledger.chain.chain_id
    wishes = [
        Wish(
            *(chain_id, caller.signer, each.intent.recipient, each.intent.data),
            *(each.intent.proof, each.intent.effect_until, caller.issuer_id, caller.id),
        )
        for each in many
    ]
    transaction_ids = await enqueue_many(session, wishes)
    await session.execute(
        text(
            """INSERT INTO operations (id, issuer_id, caller_id, key_id, kind, chain_id, token_id, contract,
                parameters, transaction_id)
            SELECT id, :issuer_id, :caller_id, :key_id, kind, :chain_id, token_id, contract, CAST(parameters AS jsonb),
                transaction_id
            FROM unnest(CAST(:ids AS uuid[]), CAST(:kinds AS text[]), CAST(:token_ids AS uuid[]),
                CAST(:contracts AS bytea[]), CAST(:parameters AS text[]), CAST(:transaction_ids AS uuid[]))
                AS given(id, kind, token_id, contract, parameters, transaction_id)"""
        ),
        {
            "issuer_id": caller.issuer_id,
            "caller_id": caller.id,
            "key_id": caller.key_id,
            "chain_id": chain_id,
            "ids": [each.intent.id for each in many],
            "kinds": [each.intent.kind for each in many],
            "token_ids": [each.intent.token_id for each in many],
            "contracts": [each.intent.contract for each in many],
            "parameters": [json.dumps(each.parameters) for each in many],
            "transaction_ids": transaction_ids,
        },
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an operation stands, and its transaction while that says more."""

    status: str
    transaction_status: str | None  # None where the operation has succeeded
    problem: dict[str, Any] | None


async def standings(connection: ReadConnection, ids: Sequence[UUID]) -> dict[UUID, Standing]:
    """Where these operations stand, by id."""
    cursor = await connection.execute(
        "SELECT id, status, transaction_id, problem FROM operations WHERE id = ANY(%s)", (list(ids),)
    )
    rows = await cursor.fetchall()
    open_ones = [row[2] for row in rows if row[1] != Status.SUCCEEDED]
    sent = await transactions.statuses(connection, open_ones) if open_ones else {}
    return {row[0]: Standing(row[1], sent.get(row[2]), row[3]) for row in rows}


async def transaction_ids(session: AsyncSession, ids: Sequence[UUID]) -> dict[UUID, UUID]:
    """The transaction of each of these operations."""
    rows = await session.execute(
        text("SELECT id, transaction_id FROM operations WHERE id = ANY(:ids)"), {"ids": list(ids)}
    )
    return {row[0]: row[1] for row in rows}
