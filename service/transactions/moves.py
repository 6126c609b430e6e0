"""Every move of a transaction, and what the sender reads before it: set-based, and safe to repeat.

Each move names the states that it starts from, so a row that has moved on is left alone. The caller holds the lane's
lease.
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
from service.transactions.lanes import Lane

IN_FLIGHT_MAX = 500
"""Signed and unmined transactions of one signer at a time: what a node's pool can be expected to keep."""

EXECUTED_ELSEWHERE = "executed-elsewhere"
REVERTED_SO_FAR = "reverted-so-far"
CANCELLED_SO_FAR = "cancelled-so-far"
NONCE_TAKEN = "nonce-taken"
STARVED = "out-of-gas"
"""`last_error` of a transaction whose end the chain has not decided yet."""

STARVED_MAX = 5
"""Nonces that a transaction may use up by running out of gas; each time it gets twice as much."""

Proof = tuple[bytes | None, bytes | None]


@dataclass(frozen=True, slots=True)
class Queued:
    """A transaction that waits for a nonce."""

    id: UUID
    signer: bytes
    recipient: bytes
    data: bytes = field(repr=False)
    proof: Proof
    approved: bool
    gas_limit_min: int = 0  # twice what it ran out of


@dataclass(frozen=True, slots=True)
class Unmined:
    """A transaction whose nonce the chain has counted, and the hashes of all its versions: any may be the mined one."""

    id: UUID
    signer: bytes
    nonce: int
    hashes: Sequence[bytes]
    origin: str


@dataclass(frozen=True, slots=True)
class Doubtful:
    """A transaction that failed in a final block, that an empty one replaced there, or that can't be mined any more."""

    id: UUID
    proof: Proof
    effect_until: datetime | None


async def queued(session: AsyncSession, lane: Lane, *, count_max: int) -> list[Queued]:
    """Those that may be judged now, oldest first, as many as the signer may have in flight."""
    rows = await session.execute(
        text(
            f"""SELECT id, signer, recipient, data, proof_recipient, proof_data, approved_at IS NOT NULL AS approved,
                CASE WHEN last_error = :starved THEN (
                    SELECT coalesce(2 * max(a.gas_limit), 0) FROM attempts a WHERE a.transaction_id = q.id
                ) ELSE 0 END AS gas_limit_min
            FROM transactions q
            WHERE {lane.condition("q")} AND status = 'queued' AND cancel_asked_at IS NULL
              AND (retry_at IS NULL OR retry_at <= now())
              AND (waits_for_nonce IS NULL OR NOT EXISTS (
                SELECT FROM transactions t WHERE t.chain_id = q.chain_id AND t.signer = q.signer
                  AND t.nonce <= q.waits_for_nonce AND t.status IN ('pending', 'submitted')))
            ORDER BY id LIMIT GREATEST(0, LEAST(:count_max, :in_flight_max - (
                SELECT count(*) FROM transactions f WHERE {lane.condition("f")} AND f.status IN ('pending', 'submitted')
            )))"""
        ),
        {**lane.parameters, "count_max": count_max, "in_flight_max": IN_FLIGHT_MAX, "starved": STARVED},
    )
    return [
        Queued(
            row.id,
            row.signer,
            row.recipient,
            row.data,
            (row.proof_recipient, row.proof_data),
            row.approved,
            row.gas_limit_min,
        )
        for row in rows
    ]


async def counted(session: AsyncSession, lane: Lane, counts: Mapping[bytes, int], *, count_max: int) -> list[Unmined]:
    """What is not known as mined although the chain has counted its nonce, lowest nonces first.

    Args:
        counts: by signer, how many nonces the chain has counted.
    """
    rows = await session.execute(
        text(
            f"""SELECT t.id, t.signer, t.nonce, t.origin,
                ARRAY(SELECT a.hash FROM attempts a WHERE a.transaction_id = t.id AND a.nonce = t.nonce
                        AND a.hash IS NOT NULL) AS hashes
            FROM transactions t
            JOIN unnest(CAST(:signers AS bytea[]), CAST(:counts AS bigint[])) AS c(signer, count)
              ON c.signer = t.signer AND t.nonce < c.count
            WHERE {lane.condition("t")} AND t.status IN ('pending', 'submitted') ORDER BY t.nonce LIMIT :count_max"""
        ),
        {**lane.parameters, "signers": list(counts), "counts": list(counts.values()), "count_max": count_max},
    )
    return [Unmined(row.id, row.signer, row.nonce, row.hashes, row.origin) for row in rows]


async def mined_blocks(session: AsyncSession, lane: Lane) -> dict[bytes, int]:
    """The blocks that hold transactions of ours which are not final, by hash, with their numbers."""
    rows = await session.execute(
        text(
            f"""SELECT DISTINCT block_hash, block_number FROM transactions t
            WHERE {lane.condition("t")} AND status = 'mined'"""
        ),
        lane.parameters,
    )
    return {row.block_hash: row.block_number for row in rows}


async def doubtful(
    session: AsyncSession, lane: Lane, blocks: Sequence[bytes], displaced: Sequence[UUID]
) -> list[Doubtful]:
    """What these blocks hold as failed or as cancelled, and what others have displaced."""
    if not blocks and not displaced:
        return []
    rows = await session.execute(
        text(
            f"""SELECT t.id, t.proof_recipient, t.proof_data, t.effect_until FROM transactions t
            LEFT JOIN attempts a ON a.hash = t.transaction_hash
            WHERE {lane.condition("t")} AND t.status = 'mined' AND t.block_hash = ANY(:blocks)
              AND (NOT t.succeeded OR a.kind = 'cancel')
            UNION ALL
            SELECT t.id, t.proof_recipient, t.proof_data, t.effect_until FROM transactions t WHERE t.id = ANY(:ids)"""
        ),
        {**lane.parameters, "blocks": list(blocks), "ids": list(displaced)},
    )
    return _as_doubtful(rows)


async def withdrawn(session: AsyncSession, lane: Lane) -> list[Doubtful]:
    """What its caller took back after it had been signed, and that has no nonce any more."""
    rows = await session.execute(
        text(
            f"""SELECT id, proof_recipient, proof_data, effect_until FROM transactions t
            WHERE {lane.condition("t")} AND status = 'queued' AND cancel_asked_at IS NOT NULL"""
        ),
        lane.parameters,
    )
    return _as_doubtful(rows)


def _as_doubtful(rows: Iterable[Any]) -> list[Doubtful]:
    return [Doubtful(row.id, (row.proof_recipient, row.proof_data), row.effect_until) for row in rows]


async def outsiders(session: AsyncSession, lane: Lane) -> list[bytes]:
    """Who signed what is on a lane of given transactions and not yet mined."""
    rows = await session.execute(
        text(
            f"""SELECT DISTINCT signer FROM transactions t
            WHERE {lane.condition("t")} AND status IN ('pending', 'submitted')"""
        ),
        lane.parameters,
    )
    return [row.signer for row in rows]


async def calls(session: AsyncSession, ids: Sequence[UUID]) -> dict[UUID, Call]:
    """The calls that these transactions make."""
    rows = await session.execute(
        text("SELECT id, recipient, data, signer FROM transactions WHERE id = ANY(:ids)"), {"ids": list(ids)}
    )
    return {id_: Call(to=recipient, data=data, sender=signer) for id_, recipient, data, signer in rows}


async def last_unmined_nonce(session: AsyncSession, lane: Lane) -> int | None:
    """The highest nonce that is on its way."""
    nonce: int | None = await session.scalar(
        text(
            f"""SELECT max(nonce) FROM transactions t
            WHERE {lane.condition("t")} AND status IN ('pending', 'submitted')"""
        ),
        lane.parameters,
    )
    return nonce


async def store_refused(
    session: AsyncSession, refused: Mapping[UUID, dict[str, Any]], *, last_unmined_nonce: int | None
) -> int:
    """Believe a refusal once what was on its way at the first one has been mined, which might change the answer.

    What comes behind that later does not count, or a busy signer would keep it waiting for ever. How many ended.
    """
    if not refused:
        return 0
    if last_unmined_nonce is not None:
        rows = await session.execute(
            text(
                """UPDATE transactions SET waits_for_nonce = :nonce
                WHERE id = ANY(:ids) AND status = 'queued' AND waits_for_nonce IS NULL RETURNING id"""
            ),
            {"nonce": last_unmined_nonce, "ids": list(refused)},
        )
        waiting = {row.id for row in rows}
        refused = {id_: words for id_, words in refused.items() if id_ not in waiting}
    statement = text(
        """UPDATE transactions t SET status = 'refused', refusal = CAST(:refusals AS jsonb) -> CAST(t.id AS text)
        WHERE id = ANY(:ids) AND status = 'queued' RETURNING id"""
    ).bindparams(bindparam("refusals", type_=JSONB))
    told = {str(id_): refusal for id_, refusal in refused.items()}
    return len((await session.execute(statement, {"refusals": told, "ids": list(refused)})).all())


async def store_executed(session: AsyncSession, ids: Sequence[UUID]) -> None:
    """To executed: the effect of what is not mined is there, past reversal, through another transaction."""
    if not ids:
        return
    await session.execute(
        text(
            """UPDATE transactions SET status = 'executed', last_error = NULL
            WHERE id = ANY(:ids) AND status IN ('queued', 'pending', 'submitted')"""
        ),
        {"ids": list(ids)},
    )


async def store_withdrawn(session: AsyncSession, ids: Sequence[UUID]) -> None:
    """From queued to cancelled."""
    await session.execute(
        text(
            "UPDATE transactions SET status = 'cancelled', last_error = NULL WHERE id = ANY(:ids) AND status = 'queued'"
        ),
        {"ids": list(ids)},
    )


async def store_trouble(session: AsyncSession, troubled: Mapping[UUID, str], retry_after_s: float) -> None:
    """Note why it does not go on, and let the others pass until it is tried again."""
    if not troubled:
        return
    await session.execute(
        text(
            """UPDATE transactions t SET
                last_error = CASE WHEN t.last_error = 'fee-cap' AND c.words IN
                                  ('fee-too-low', 'replacement-underpriced') THEN t.last_error ELSE c.words END,
                broadcast_at = CASE WHEN nonce IS NULL THEN NULL WHEN c.words = 'fee-cap' THEN broadcast_at
                                    ELSE now() END,
                retry_at = CASE WHEN nonce IS NULL THEN now() + make_interval(secs => :retry_after_s) END
            FROM unnest(CAST(:ids AS uuid[]), CAST(:words AS text[])) AS c(id, words)
            WHERE t.id = c.id AND t.status IN ('queued', 'pending', 'submitted')"""
        ),
        {"ids": list(troubled), "words": list(troubled.values()), "retry_after_s": retry_after_s},
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
            transaction_hash = c.hash, succeeded = c.succeeded, gas_used = c.gas_used, gas_price_wei = c.gas_price_wei,
            last_error = CASE WHEN NOT c.succeeded THEN :reverted WHEN a.kind = 'cancel' THEN :cancelled END,
            refusal = CAST(:refusals AS jsonb) -> CAST(t.id AS text)
        FROM unnest(CAST(:ids AS uuid[]), CAST(:numbers AS bigint[]), CAST(:blocks AS bytea[]),
                    CAST(:hashes AS bytea[]), CAST(:succeeded AS boolean[]), CAST(:gas AS bigint[]),
                    CAST(:prices AS numeric[]))
            AS c(id, block_number, block_hash, hash, succeeded, gas_used, gas_price_wei)
        JOIN attempts a ON a.hash = c.hash
        WHERE t.id = c.id AND t.status IN ('pending', 'submitted')"""
    ).bindparams(bindparam("refusals", type_=JSONB))
    await session.execute(
        statement,
        {
            "reverted": REVERTED_SO_FAR,
            "cancelled": CANCELLED_SO_FAR,
            "refusals": {str(id_): refusal for id_, refusal in refusals.items()},
            "ids": list(mined),
            "numbers": [receipt.block_number for receipt in receipts],
            "blocks": [receipt.block_hash for receipt in receipts],
            "hashes": [receipt.transaction_hash for receipt in receipts],
            "succeeded": [receipt.succeeded for receipt in receipts],
            "gas": [receipt.gas_used for receipt in receipts],
            "prices": [receipt.gas_price_wei for receipt in receipts],
        },
    )
    return len(mined)


_UNMINED = """broadcast_at = NULL, block_number = NULL, block_hash = NULL,
    succeeded = NULL, gas_used = NULL, gas_price_wei = NULL, refusal = NULL"""


async def store_lost(session: AsyncSession, blocks: Sequence[bytes]) -> int:
    """Back to submitted, and due for broadcast at once: the reorganised chain may have dropped it."""
    if not blocks:
        return 0
    rows = await session.execute(
        text(f"""UPDATE transactions SET status = 'submitted', last_error = NULL, transaction_hash = NULL, {_UNMINED}
            WHERE status = 'mined' AND block_hash = ANY(:blocks) RETURNING id"""),
        {"blocks": list(blocks)},
    )
    return len(rows.all())


async def reopen(session: AsyncSession, ids: Sequence[UUID]) -> int:
    """Back from an end to submitted, since the chain went back below it; its operation stays as it was told.

    Which version was mined stays known: that one is sent again, and no other.
    """
    if not ids:
        return 0
    rows = await session.execute(
        text(
            f"""UPDATE transactions SET status = 'submitted', last_error = NULL,
                told = CASE WHEN origin = 'filler' THEN NULL ELSE coalesce(told, status) END,
                {_UNMINED}
            WHERE id = ANY(:ids) AND status IN ('confirmed', 'reverted', 'cancelled', 'displaced') RETURNING id"""
        ),
        {"ids": list(ids)},
    )
    return len(rows.all())


async def store_final(
    session: AsyncSession, lane: Lane, blocks: Sequence[bytes], executed: Sequence[UUID], undecided: Sequence[UUID]
) -> tuple[int, list[UUID]]:
    """From mined to what it ended as, now that the blocks are past reversal.

    How many, and which of them ended otherwise than their operations were told before the chain took that back.
    """
    if not blocks:
        return 0, []
    rows = await session.execute(
        text(
            f"""UPDATE transactions t SET last_error = NULL,
                status = CASE WHEN t.id = ANY(:executed) THEN 'executed' WHEN NOT t.succeeded THEN 'reverted'
                              WHEN a.kind = 'cancel' THEN 'cancelled' ELSE 'confirmed' END
            FROM attempts a
            WHERE {lane.condition("t")} AND t.status = 'mined' AND t.block_hash = ANY(:blocks)
              AND a.hash = t.transaction_hash
              AND NOT t.id = ANY(:undecided)
            RETURNING t.id, t.status IN ('confirmed', 'executed') AS effect,
                t.told IN ('confirmed', 'executed') AS told"""
        ),
        {**lane.parameters, "blocks": list(blocks), "executed": list(executed), "undecided": list(undecided)},
    )
    ended = rows.all()
    return len(ended), [row.id for row in ended if row.told is not None and row.told != row.effect]


async def store_starved(session: AsyncSession, lane: Lane, blocks: Sequence[bytes], executed: Sequence[UUID]) -> int:
    """Back to the queue: what failed in these final blocks because it ran out of gas, which no contract decided.

    The state may have changed between the estimate and the block. An inner call gets 63 of 64 parts of what is left, so
    that a call which starves may leave a little (EIP-150).
    """
    rows = await session.execute(
        text(
            f"""UPDATE transactions t SET {_UNMINED}, transaction_hash = NULL, status = 'queued', nonce = NULL,
                gas_limit = NULL, waits_for_nonce = NULL, last_error = :starved
            FROM attempts a
            WHERE {lane.condition("t")} AND a.hash = t.transaction_hash AND t.status = 'mined'
              AND NOT t.succeeded AND t.origin = 'wish'
              AND t.told IS NULL AND t.block_hash = ANY(:blocks) AND t.cancel_asked_at IS NULL
              AND NOT t.id = ANY(:executed) AND t.gas_used * 20 >= a.gas_limit * 19
              AND (SELECT count(DISTINCT nonce) FROM attempts b WHERE b.transaction_id = t.id) < :tries_max
            RETURNING t.id"""
        ),
        {
            **lane.parameters,
            "blocks": list(blocks),
            "executed": list(executed),
            "starved": STARVED,
            "tries_max": STARVED_MAX,
        },
    )
    return len(rows.all())


async def store_displaced(session: AsyncSession, ids: Sequence[UUID]) -> tuple[int, list[UUID]]:
    """What lost its nonce for good: our own wishes get another one, the rest has ended.

    How many, and which of them were told as succeeded before the chain took that back.
    """
    if not ids:
        return 0, []
    rows = await session.execute(
        text(
            """UPDATE transactions t SET status = c.status, broadcast_at = NULL, waits_for_nonce = NULL,
                nonce = CASE WHEN c.status = 'queued' THEN NULL ELSE nonce END,
                gas_limit = CASE WHEN c.status = 'queued' THEN NULL ELSE gas_limit END,
                last_error = CASE WHEN c.status = 'queued' THEN :words END
            FROM (SELECT id, CASE WHEN origin = 'wish' AND told IS NULL THEN 'queued' ELSE 'displaced' END AS status
                  FROM transactions WHERE id = ANY(:ids)) AS c
            WHERE t.id = c.id AND t.status IN ('pending', 'submitted')
            RETURNING t.id, t.told IN ('confirmed', 'executed') AS told"""
        ),
        {"ids": list(ids), "words": NONCE_TAKEN},
    )
    moved = rows.all()
    return len(moved), [row.id for row in moved if row.told]
