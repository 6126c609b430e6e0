"""Handing many wishes over at once, and where many transactions stand: one statement, however many."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service.db import ReadConnection, new_id
from service.transactions.commands import Wish


async def enqueue_many(session: AsyncSession, wishes: Sequence[Wish]) -> list[UUID]:
    """Store wishes; the sender carries them out. Their ids come in the order of `wishes`, and ascend with it."""
    ids = sorted(new_id() for _ in wishes)
    await session.execute(
        text(
            """INSERT INTO transactions (id, chain_id, signer, recipient, data, proof_recipient, proof_data,
                effect_until, issuer_id, caller_id)
            SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:chain_ids AS bigint[]), CAST(:signers AS bytea[]),
                CAST(:recipients AS bytea[]), CAST(:datas AS bytea[]), CAST(:proof_recipients AS bytea[]),
                CAST(:proof_datas AS bytea[]), CAST(:effects_until AS timestamptz[]), CAST(:issuer_ids AS uuid[]),
                CAST(:caller_ids AS uuid[]))"""
        ),
        {
            "ids": ids,
            "chain_ids": [wish.chain_id for wish in wishes],
            "signers": [wish.signer for wish in wishes],
            "recipients": [wish.recipient for wish in wishes],
            "datas": [wish.data for wish in wishes],
            "proof_recipients": [wish.proof[0] if wish.proof else None for wish in wishes],
            "proof_datas": [wish.proof[1] if wish.proof else None for wish in wishes],
            "effects_until": [wish.effect_until for wish in wishes],
            "issuer_ids": [wish.issuer_id for wish in wishes],
            "caller_ids": [wish.caller_id for wish in wishes],
        },
    )
    return ids


async def statuses(connection: ReadConnection, ids: Sequence[UUID]) -> dict[UUID, str]:
    """Where these transactions stand, by id."""
    cursor = await connection.execute("SELECT id, status FROM transactions WHERE id = ANY(%s)", (list(ids),))
    return {row[0]: row[1] for row in await cursor.fetchall()}
