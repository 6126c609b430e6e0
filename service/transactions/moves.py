"""What the sender reads of Postgres, and every move of a transaction: set-based, and safe to repeat.

Each move names the states that it starts from, so a row that has moved on is left alone. The caller holds the lease.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from service.chain.reader import Call, Receipt
from service.keys.signers import SignedTransaction
from service.transactions.fees import Offer

IN_FLIGHT_MAX = 500
"""Signed and unmined transactions of one signer at a time, so that no signer takes the others' place."""

EXECUTED_ELSEWHERE = "executed-elsewhere"
REVERTED_SO_FAR = "reverted-so-far"
"""`last_error` of a transaction whose end the chain has not decided yet."""

Proof = tuple[bytes | None, bytes | None]


@dataclass(frozen=True, slots=True)
class Queued:
    """A transaction that waits for a nonce."""

    id: UUID
    signer: bytes
    recipient: bytes
    data: bytes = field(repr=False)
    proof: Proof


@dataclass(frozen=True, slots=True)
class MinedBlock:
    """A block that holds transactions of ours which are not final, and one of them to ask for."""

    hash: bytes
    number: int
    witness: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """A transaction that a final block holds as failed."""

    id: UUID
    proof: Proof
    effect_until: datetime | None


@dataclass(frozen=True, slots=True)
class Claim:
    """A queued transaction with the nonce it is to have."""

    queued: Queued
    nonce: int
    gas_limit: int


async def queued(session: AsyncSession, chain_id: int, signers: Iterable[bytes], *, count_max: int) -> list[Queued]:
    """Those that may be judged now, oldest first, as many of each signer as it may have in flight."""
    rows = await session.execute(
        text(
            """SELECT id, signer, recipient, data, proof_recipient, proof_data
            FROM (
                SELECT *, row_number() OVER (PARTITION BY signer ORDER BY id) AS place FROM transactions q
                WHERE chain_id = :chain_id AND status = 'queued' AND signer = ANY(:signers)
                  AND (retry_at IS NULL OR retry_at <= now())
                  AND (waits_for_nonce IS NULL OR NOT EXISTS (
                    SELECT FROM transactions t WHERE t.chain_id = q.chain_id AND t.signer = q.signer
                      AND t.nonce <= q.waits_for_nonce AND t.status IN ('pending', 'submitted')))
            ) AS ready
            WHERE place + (
                SELECT count(*) FROM transactions f
                WHERE f.chain_id = :chain_id AND f.signer = ready.signer AND f.status IN ('pending', 'submitted')
            ) <= :in_flight_max
            ORDER BY id LIMIT :count_max"""
        ),
        {
            "chain_id": chain_id,
            "signers": list(signers),
            "count_max": count_max,
            "in_flight_max": IN_FLIGHT_MAX,
        },
    )
    return [Queued(row.id, row.signer, row.recipient, row.data, (row.proof_recipient, row.proof_data)) for row in rows]


async def unmined(session: AsyncSession, chain_id: int) -> dict[bytes, UUID]:
    """Every attempt's hash of what is not mined: any of them may be the one that mines."""
    rows = await session.execute(
        text(
            """SELECT a.hash, t.id FROM transactions t JOIN attempts a ON a.transaction_id = t.id
            WHERE t.chain_id = :chain_id AND t.status IN ('pending', 'submitted')"""
        ),
        {"chain_id": chain_id},
    )
    return {row.hash: row.id for row in rows}


async def mined_blocks(session: AsyncSession, chain_id: int) -> list[MinedBlock]:
    """The blocks that hold transactions of ours which are not final."""
    rows = await session.execute(
        text(
            """SELECT block_hash, min(block_number) AS number, min(transaction_hash) AS witness FROM transactions
            WHERE chain_id = :chain_id AND status = 'mined' GROUP BY block_hash"""
        ),
        {"chain_id": chain_id},
    )
    return [MinedBlock(row.block_hash, row.number, row.witness) for row in rows]


async def failed(session: AsyncSession, blocks: Sequence[bytes]) -> list[Failed]:
    """What these blocks hold as failed."""
    if not blocks:
        return []
    rows = await session.execute(
        text(
            """SELECT id, proof_recipient, proof_data, effect_until FROM transactions
            WHERE status = 'mined' AND NOT succeeded AND block_hash = ANY(:blocks)"""
        ),
        {"blocks": list(blocks)},
    )
    return [Failed(row.id, (row.proof_recipient, row.proof_data), row.effect_until) for row in rows]


async def calls(session: AsyncSession, ids: Sequence[UUID]) -> dict[UUID, Call]:
    """The calls that these transactions make."""
    rows = await session.execute(
        text("SELECT id, recipient, data, signer FROM transactions WHERE id = ANY(:ids)"), {"ids": list(ids)}
    )
    return {id_: Call(to=recipient, data=data, sender=signer) for id_, recipient, data, signer in rows}


async def next_nonces(session: AsyncSession, chain_id: int, counts: Mapping[bytes, int]) -> dict[bytes, int]:
    """After the highest nonce that we gave out, and never below what the chain has already seen."""
    rows = await session.execute(
        text(
            """SELECT s.signer, (
                SELECT max(nonce) FROM transactions t WHERE t.chain_id = :chain_id AND t.signer = s.signer)
            FROM unnest(CAST(:signers AS bytea[])) AS s(signer)"""
        ),
        {"chain_id": chain_id, "signers": list(counts)},
    )
    ours = {signer: nonce + 1 for signer, nonce in rows if nonce is not None}
    return {signer: max(count, ours.get(signer, 0)) for signer, count in counts.items()}


async def last_unmined_nonces(session: AsyncSession, chain_id: int, signers: Sequence[bytes]) -> dict[bytes, int]:
    """The highest nonce of each signer that is on its way."""
    rows = await session.execute(
        text(
            """SELECT signer, max(nonce) AS nonce FROM transactions
            WHERE chain_id = :chain_id AND signer = ANY(:signers) AND status IN ('pending', 'submitted')
            GROUP BY signer"""
        ),
        {"chain_id": chain_id, "signers": list(signers)},
    )
    return {row.signer: row.nonce for row in rows}


async def store_claims(
    session: AsyncSession, claims: Sequence[Claim], signed: Sequence[SignedTransaction], price: Offer
) -> None:
    """From queued to pending: nonce, gas limit and signed bytes, all at once."""
    if not claims:
        return
    await session.execute(
        text(
            """UPDATE transactions t SET status = 'pending', nonce = c.nonce, gas_limit = c.gas_limit, last_error = NULL
            FROM unnest(CAST(:ids AS uuid[]), CAST(:nonces AS bigint[]), CAST(:limits AS bigint[]))
                AS c(id, nonce, gas_limit)
            WHERE t.id = c.id AND t.status = 'queued'"""
        ),
        {
            "ids": [claim.queued.id for claim in claims],
            "nonces": [claim.nonce for claim in claims],
            "limits": [claim.gas_limit for claim in claims],
        },
    )
    await session.execute(
        text(
            """INSERT INTO attempts (hash, transaction_id, raw, max_fee_wei, priority_fee_wei)
            SELECT c.hash, c.id, c.raw, :max_fee, :priority_fee
            FROM unnest(CAST(:hashes AS bytea[]), CAST(:ids AS uuid[]), CAST(:raws AS bytea[])) AS c(hash, id, raw)"""
        ),
        {
            "hashes": [each.hash for each in signed],
            "ids": [claim.queued.id for claim in claims],
            "raws": [each.raw for each in signed],
            "max_fee": price.max_fee_wei,
            "priority_fee": price.priority_fee_wei,
        },
    )


async def store_refused(
    session: AsyncSession,
    refused: Sequence[tuple[Queued, dict[str, Any]]],
    last_unmined: Mapping[bytes, int],
) -> None:
    """Believe a refusal only when nothing of the same signer is on its way, which might change the answer."""
    for queued, refusal in refused:
        waits_for = last_unmined.get(queued.signer)
        if waits_for is not None:
            await session.execute(
                text("UPDATE transactions SET waits_for_nonce = :nonce WHERE id = :id AND status = 'queued'"),
                {"nonce": waits_for, "id": queued.id},
            )
            continue
        statement = text(
            "UPDATE transactions SET status = 'refused', refusal = :refusal WHERE id = :id AND status = 'queued'"
        ).bindparams(bindparam("refusal", type_=JSONB))
        await session.execute(statement, {"refusal": refusal, "id": queued.id})


async def store_executed(session: AsyncSession, ids: Sequence[UUID]) -> None:
    """From queued to executed."""
    await session.execute(
        text(
            "UPDATE transactions SET status = 'executed', last_error = NULL WHERE id = ANY(:ids) AND status = 'queued'"
        ),
        {"ids": list(ids)},
    )


async def store_trouble(session: AsyncSession, troubled: Mapping[UUID, str], retry_after_s: float) -> None:
    """Note why it does not go on, and let the others pass until it is tried again."""
    if not troubled:
        return
    await session.execute(
        text(
            """UPDATE transactions t SET last_error = c.words,
                broadcast_at = CASE WHEN nonce IS NULL THEN NULL ELSE now() END,
                retry_at = CASE WHEN nonce IS NULL THEN now() + make_interval(secs => :retry_after_s) END
            FROM unnest(CAST(:ids AS uuid[]), CAST(:words AS text[])) AS c(id, words)
            WHERE t.id = c.id AND t.status IN ('queued', 'pending', 'submitted')"""
        ),
        {"ids": list(troubled), "words": list(troubled.values()), "retry_after_s": retry_after_s},
    )


async def due(
    session: AsyncSession, chain_id: int, resend_after_s: float, *, count_max: int
) -> list[tuple[UUID, bytes]]:
    """The signed bytes of what is not mined and was not sent lately, in order of nonces."""
    rows = await session.execute(
        text(
            """SELECT t.id, a.raw FROM transactions t JOIN attempts a ON a.transaction_id = t.id
            WHERE t.chain_id = :chain_id AND t.status IN ('pending', 'submitted')
              AND (t.broadcast_at IS NULL OR t.broadcast_at < now() - make_interval(secs => :resend_after_s))
            ORDER BY t.signer, t.nonce, a.created_at LIMIT :count_max"""
        ),
        {"chain_id": chain_id, "resend_after_s": resend_after_s, "count_max": count_max},
    )
    return [(id_, raw) for id_, raw in rows]


async def store_broadcast(session: AsyncSession, ids: Sequence[UUID]) -> None:
    """To submitted: a node took them."""
    await session.execute(
        text(
            """UPDATE transactions SET status = 'submitted', broadcast_at = now(), last_error = NULL
            WHERE id = ANY(:ids) AND status IN ('pending', 'submitted')"""
        ),
        {"ids": list(ids)},
    )


async def store_mined(
    session: AsyncSession,
    mined: Mapping[UUID, Receipt],
    refusals: Mapping[UUID, dict[str, Any]],
) -> int:
    """To mined, with what the receipts say; how many."""
    if not mined:
        return 0
    receipts = list(mined.values())
    statement = text(
        """UPDATE transactions t SET status = 'mined', block_number = c.block_number, block_hash = c.block_hash,
            transaction_hash = c.hash, succeeded = c.succeeded, gas_used = c.gas_used,
            last_error = CASE WHEN c.succeeded THEN NULL ELSE :reverted END,
            refusal = CAST(:refusals AS jsonb) -> CAST(t.id AS text)
        FROM unnest(CAST(:ids AS uuid[]), CAST(:numbers AS bigint[]), CAST(:blocks AS bytea[]),
                    CAST(:hashes AS bytea[]), CAST(:succeeded AS boolean[]), CAST(:gas AS bigint[]))
            AS c(id, block_number, block_hash, hash, succeeded, gas_used)
        WHERE t.id = c.id AND t.status IN ('pending', 'submitted')"""
    ).bindparams(bindparam("refusals", type_=JSONB))
    await session.execute(
        statement,
        {
            "reverted": REVERTED_SO_FAR,
            "refusals": {str(id_): refusal for id_, refusal in refusals.items()},
            "ids": list(mined),
            "numbers": [receipt.block_number for receipt in receipts],
            "blocks": [receipt.block_hash for receipt in receipts],
            "hashes": [receipt.transaction_hash for receipt in receipts],
            "succeeded": [receipt.succeeded for receipt in receipts],
            "gas": [receipt.gas_used for receipt in receipts],
        },
    )
    return len(mined)


async def store_lost(session: AsyncSession, blocks: Sequence[bytes]) -> int:
    """Back to submitted, and due for broadcast at once: the reorganised chain may have dropped it."""
    if not blocks:
        return 0
    rows = await session.execute(
        text(
            """UPDATE transactions SET status = 'submitted', broadcast_at = NULL, block_number = NULL,
                block_hash = NULL, transaction_hash = NULL, succeeded = NULL, gas_used = NULL, refusal = NULL,
                last_error = NULL
            WHERE status = 'mined' AND block_hash = ANY(:blocks) RETURNING id"""
        ),
        {"blocks": list(blocks)},
    )
    return len(rows.all())


async def store_final(
    session: AsyncSession, blocks: Sequence[bytes], executed: Sequence[UUID], undecided: Sequence[UUID]
) -> int:
    """From mined to what it ended as, now that the blocks are past reversal; how many."""
    if not blocks:
        return 0
    rows = await session.execute(
        text(
            """UPDATE transactions SET last_error = NULL,
                status = CASE WHEN succeeded THEN 'confirmed'
                              WHEN id = ANY(:executed) THEN 'executed' ELSE 'reverted' END
            WHERE status = 'mined' AND block_hash = ANY(:blocks) AND NOT id = ANY(:undecided) RETURNING id"""
        ),
        {"blocks": list(blocks), "executed": list(executed), "undecided": list(undecided)},
    )
    return len(rows.all())
