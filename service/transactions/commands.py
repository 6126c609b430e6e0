"""Handing an intent over, and taking note of its end."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncSession

from service.db import new_id
from service.transactions.tables import TransactionRow


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a transaction, past reversal."""

    id: UUID
    status: str  # confirmed, reverted or refused
    signer: bytes
    nonce: int | None
    transaction_hash: bytes | None
    block_number: int | None
    block_hash: bytes | None
    gas_used: int | None
    refusal: dict[str, Any] | None


async def enqueue(session: AsyncSession, *, chain_id: int, signer: bytes, recipient: bytes, data: bytes) -> UUID:
    """Store the wish that `signer` sends `data` to `recipient`; the sender does it once."""
    id_ = new_id()
    await session.execute(
        insert(TransactionRow).values(id=id_, chain_id=chain_id, signer=signer, recipient=recipient, data=data)
    )
    return id_


async def take_final(session: AsyncSession, *, count_max: int) -> list[Outcome]:
    """Take final transactions that nobody took before, in the caller's DB transaction."""
    rows = await session.execute(
        text(
            """UPDATE transactions SET taken = true WHERE id IN (
                SELECT id FROM transactions
                WHERE status IN ('confirmed', 'reverted', 'refused') AND NOT taken
                ORDER BY id LIMIT :count_max FOR UPDATE SKIP LOCKED)
            RETURNING id, status, signer, nonce, transaction_hash, block_number, block_hash, gas_used, refusal"""
        ),
        {"count_max": count_max},
    )
    return sorted((Outcome(*row) for row in rows), key=lambda outcome: outcome.id)
