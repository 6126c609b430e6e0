"""Handing an intent over, and taking note of its end."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import insert, text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from service.db import new_id
from service.transactions.tables import AttemptRow, Status, TransactionRow


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a transaction, past reversal."""

    id: UUID
    status: str  # confirmed, reverted, refused or executed
    signer: bytes
    nonce: int | None
    transaction_hash: bytes | None
    block_number: int | None
    block_hash: bytes | None
    gas_used: int | None
    refusal: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Wish:
    """What `signer` is to send, once.

    `proof` is a call (recipient and data) that answers true once the effect is on the chain; until `effect_until`,
    whoever has seen `data` may bring the effect about too.
    """

    chain_id: int
    signer: bytes
    recipient: bytes
    data: bytes = field(repr=False)
    proof: tuple[bytes, bytes] | None = None
    effect_until: datetime | None = None


async def enqueue(session: AsyncSession, wish: Wish) -> UUID:
    """Store a wish; the sender carries it out."""
    id_ = new_id()
    proof_recipient, proof_data = wish.proof or (None, None)
    await session.execute(
        insert(TransactionRow).values(
            id=id_,
            chain_id=wish.chain_id,
            signer=wish.signer,
            recipient=wish.recipient,
            data=wish.data,
            proof_recipient=proof_recipient,
            proof_data=proof_data,
            effect_until=wish.effect_until,
        )
    )
    return id_


@dataclass(frozen=True, slots=True)
class Given:
    """A transaction that its signer, an outsider, has signed already."""

    chain_id: int
    signer: bytes
    nonce: int
    recipient: bytes
    data: bytes = field(repr=False)
    gas_limit: int
    raw: bytes = field(repr=False)
    hash: bytes
    max_fee_wei: int
    priority_fee_wei: int


async def enqueue_given(session: AsyncSession, given: Given) -> UUID | None:
    """Store a signed transaction; the sender broadcasts it. None when its signer's nonce is taken here."""
    id_ = new_id()
    stored = await session.scalar(
        upsert(TransactionRow)
        .values(
            id=id_,
            chain_id=given.chain_id,
            signer=given.signer,
            recipient=given.recipient,
            data=given.data,
            status=Status.PENDING,
            nonce=given.nonce,
            gas_limit=given.gas_limit,
        )
        .on_conflict_do_nothing(index_elements=["chain_id", "signer", "nonce"])
        .returning(TransactionRow.id)
    )
    if stored is None:
        return None
    await session.execute(
        insert(AttemptRow).values(
            hash=given.hash,
            transaction_id=id_,
            raw=given.raw,
            max_fee_wei=given.max_fee_wei,
            priority_fee_wei=given.priority_fee_wei,
        )
    )
    return id_


async def take_final(session: AsyncSession, *, count_max: int) -> list[Outcome]:
    """Take final transactions that nobody took before, in the caller's DB transaction."""
    rows = await session.execute(
        text(
            """UPDATE transactions SET taken = true WHERE id IN (
                SELECT id FROM transactions
                WHERE status IN ('confirmed', 'reverted', 'refused', 'executed') AND NOT taken
                ORDER BY id LIMIT :count_max FOR UPDATE SKIP LOCKED)
            RETURNING id, status, signer, nonce, transaction_hash, block_number, block_hash, gas_used, refusal"""
        ),
        {"count_max": count_max},
    )
    return sorted((Outcome(*row) for row in rows), key=lambda outcome: outcome.id)
