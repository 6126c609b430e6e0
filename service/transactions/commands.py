"""Handing an intent over, taking note of its end, and what an operator asks in between."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from service.db import new_id
from service.transactions import totals
from service.transactions.tables import Origin, Status, TransactionRow


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a transaction, past reversal."""

    id: UUID
    status: str  # confirmed, reverted, refused, executed, cancelled or displaced
    signer: bytes
    nonce: int | None
    transaction_hash: bytes | None
    block_number: int | None
    block_hash: bytes | None
    gas_used: int | None
    refusal: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Wish:
    """What `signer` is to send, once, and for whom.

    `proof` is a call (recipient and data) that answers true once the effect is on the chain; until `effect_until`,
    whoever has seen `data` may bring the effect about too.
    """

    chain_id: int
    signer: bytes
    recipient: bytes
    data: bytes = field(repr=False)
    proof: tuple[bytes, bytes] | None = None
    effect_until: datetime | None = None
    issuer_id: UUID | None = None
    caller_id: UUID | None = None


async def enqueue(session: AsyncSession, wish: Wish) -> UUID:
    """Store a wish; the sender carries it out."""
    (id_,) = await enqueue_many(session, [wish])
    return id_


async def enqueue_many(session: AsyncSession, wishes: Sequence[Wish]) -> list[UUID]:
    """Store wishes in one statement, however many. Their ids come in the order of `wishes`, and ascend with it."""
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


async def enqueue_given(
    session: AsyncSession,
    given: Given,
    *,
    proof: tuple[bytes, bytes] | None,
    issuer_id: UUID | None = None,
    caller_id: UUID | None = None,
) -> UUID | None:
    """Store a signed transaction; the sender broadcasts it. None when its signer's nonce is taken here."""
    id_ = new_id()
    proof_recipient, proof_data = proof or (None, None)
    stored = await session.scalar(
        upsert(TransactionRow)
        .values(
            id=id_,
            chain_id=given.chain_id,
            signer=given.signer,
            recipient=given.recipient,
            data=given.data,
            proof_recipient=proof_recipient,
            proof_data=proof_data,
            issuer_id=issuer_id,
            caller_id=caller_id,
            origin=Origin.GIVEN,
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
        text(
            """INSERT INTO attempts (id, transaction_id, nonce, gas_limit, max_fee_wei, priority_fee_wei, hash, raw,
                signed_at)
            VALUES (:id, :transaction_id, :nonce, :gas_limit, :max_fee_wei, :priority_fee_wei, :hash, :raw, now())"""
        ),
        {
            "id": new_id(),
            "transaction_id": id_,
            "nonce": given.nonce,
            "gas_limit": given.gas_limit,
            "max_fee_wei": given.max_fee_wei,
            "priority_fee_wei": given.priority_fee_wei,
            "hash": given.hash,
            "raw": given.raw,
        },
    )
    return id_


async def take_final(session: AsyncSession, *, count_max: int) -> list[Outcome]:
    """Take final transactions that nobody took before, in the caller's DB transaction."""
    rows = await session.execute(
        text(
            """UPDATE transactions SET taken = true WHERE id IN (
                SELECT id FROM transactions
                WHERE status IN ('confirmed', 'reverted', 'refused', 'executed', 'cancelled', 'displaced')
                  AND NOT taken
                ORDER BY id LIMIT :count_max FOR UPDATE SKIP LOCKED)
            RETURNING id, status, signer, nonce, transaction_hash, block_number, block_hash, gas_used, refusal"""
        ),
        {"count_max": count_max},
    )
    outcomes = sorted((Outcome(*row) for row in rows), key=lambda outcome: outcome.id)
    await totals.add(session, [outcome.id for outcome in outcomes])
    return outcomes


async def cancel(session: AsyncSession, ids: Sequence[UUID]) -> dict[UUID, bool]:
    """Take wishes back: what was never signed ends at once, the rest once an empty transaction has taken its nonce.

    Answers, for each one that there is, whether it can still be cancelled: False when it is mined, has ended, or was
    signed by an outsider.
    """
    rows = await session.execute(
        text(
            """UPDATE transactions SET cancel_asked_at = coalesce(cancel_asked_at, now()),
                status = CASE WHEN status = 'queued' AND NOT EXISTS (
                    SELECT FROM attempts a WHERE a.transaction_id = transactions.id AND a.raw IS NOT NULL
                ) THEN 'cancelled' ELSE status END
            WHERE id = ANY(:ids) AND origin = 'wish' AND status IN ('queued', 'pending', 'submitted') RETURNING id"""
        ),
        {"ids": list(ids)},
    )
    cancelled = {row.id for row in rows}
    known = await session.execute(text("SELECT id FROM transactions WHERE id = ANY(:ids)"), {"ids": list(ids)})
    return {row.id: row.id in cancelled for row in known}


async def bump(session: AsyncSession, ids: Sequence[UUID]) -> dict[UUID, bool]:
    """Offer more for transactions that have a nonce and are not mined; which of those that there are it concerns."""
    rows = await session.execute(
        text(
            """UPDATE transactions SET bump_asked_at = now()
            WHERE id = ANY(:ids) AND origin <> 'given' AND status IN ('pending', 'submitted') RETURNING id"""
        ),
        {"ids": list(ids)},
    )
    bumped = {row.id for row in rows}
    known = await session.execute(text("SELECT id FROM transactions WHERE id = ANY(:ids)"), {"ids": list(ids)})
    return {row.id: row.id in bumped for row in known}


async def approve(session: AsyncSession, id: UUID, *, by: str, caller_id: UUID | None) -> bool:
    """Give the second consent that a signer's policy may ask for; False when the first one asked, or it is too late.

    Args:
        by: who consents, as the audit is to tell it.
        caller_id: the consenting API caller; None for an operator at the command line.
    """
    approved = await session.scalar(
        text(
            """UPDATE transactions SET approved_at = coalesce(approved_at, now()),
                approved_by = coalesce(approved_by, :by), retry_at = NULL
            WHERE id = :id AND status = 'queued'
              AND (CAST(:caller_id AS uuid) IS NULL OR caller_id IS DISTINCT FROM CAST(:caller_id AS uuid))
            RETURNING id"""
        ),
        {"id": id, "by": by, "caller_id": caller_id},
    )
    return approved is not None


async def resume(session: AsyncSession, address: bytes, *, chain_id: int) -> str | None:
    """Lift a signer's halt, forget its foreign nonces, and try all that waits again now; the halt that it was.

    A halt whose cause is still there comes back with the sender's next step.
    """
    former: str | None = await session.scalar(
        text("SELECT halt FROM signers WHERE chain_id = :chain_id AND address = :address FOR UPDATE"),
        {"chain_id": chain_id, "address": address},
    )
    await session.execute(
        text(
            """UPDATE signers SET halt = NULL, halt_detail = NULL, halted_at = NULL, foreign_nonces = 0
            WHERE chain_id = :chain_id AND address = :address"""
        ),
        {"chain_id": chain_id, "address": address},
    )
    await session.execute(
        text(
            """UPDATE transactions SET retry_at = NULL, broadcast_at = NULL
            WHERE chain_id = :chain_id AND signer = :address AND status IN ('queued', 'pending', 'submitted')"""
        ),
        {"chain_id": chain_id, "address": address},
    )
    return former
