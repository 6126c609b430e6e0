"""Versions of transactions: reserved with all that will be signed, then signed, then broadcast. Set-based.

A nonce and its content are stored before anybody is asked to sign, so that a signer which does not answer is asked for
the very same signature again. The caller holds the lane's lease.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service.db import new_id
from service.keys.unsigned import SignedTransaction
from service.transactions.fees import Offer
from service.transactions.lanes import Lane
from service.transactions.moves import Queued

CALL, CANCEL = "call", "cancel"

ROWS_MAX = 2_000
"""Nonces that are looked at in one step."""


@dataclass(frozen=True, slots=True)
class Version:
    """A version to be: what is signed for a transaction, or in its place."""

    transaction_id: UUID
    nonce: int
    gas_limit: int
    offer: Offer
    kind: str = CALL
    id: UUID = field(default_factory=new_id)


@dataclass(frozen=True, slots=True)
class Unsigned:
    """A stored version that nobody has signed yet."""

    version: Version
    signer: bytes
    recipient: bytes
    data: bytes = field(repr=False)
    approved: bool
    purpose: str  # transaction, cancel or filler


@dataclass(frozen=True, slots=True)
class Spent:
    """A nonce that a transaction of ours has, from the chain's count on."""

    nonce: int
    transaction_id: UUID
    status: str
    block_number: int | None
    block_hash: bytes | None
    told: str | None
    origin: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """A transaction on its way, with its newest signed version."""

    transaction_id: UUID
    nonce: int
    version: Version
    origin: str
    tip_number: int  # when that version was made
    old: bool  # it has waited for long
    cancel_asked: bool
    bump_asked: bool
    outbid: bool  # the node has said that it takes only a better offer


async def spent_from(session: AsyncSession, lane: Lane, next_nonce: int) -> list[Spent]:
    """The signer's nonces that transactions here have and that the chain has not counted, lowest first."""
    rows = await session.execute(
        text(
            """SELECT nonce, id, status, block_number, block_hash, told, origin FROM transactions
            WHERE chain_id = :chain_id AND signer = :signer AND nonce >= :next_nonce ORDER BY nonce LIMIT :count_max"""
        ),
        {**lane.parameters, "next_nonce": next_nonce, "count_max": ROWS_MAX},
    )
    return [Spent(*row) for row in rows]


async def lock_queued(session: AsyncSession, ids: Sequence[UUID]) -> set[UUID]:
    """Those that are still queued: nobody can take them back until the end of the DB transaction."""
    rows = await session.execute(
        text(
            """SELECT id FROM transactions WHERE id = ANY(:ids) AND status = 'queued' AND cancel_asked_at IS NULL
            ORDER BY id FOR UPDATE"""
        ),
        {"ids": list(ids)},
    )
    return {row.id for row in rows}


async def reserve(session: AsyncSession, versions: Sequence[Version], *, tip_number: int) -> None:
    """From queued to pending: nonce, gas limit and offer, all that will be signed."""
    if not versions:
        return
    await session.execute(
        text(
            """UPDATE transactions t SET status = 'pending', nonce = c.nonce, gas_limit = c.gas_limit,
                retry_at = NULL, last_error = NULL
            FROM unnest(CAST(:ids AS uuid[]), CAST(:nonces AS bigint[]), CAST(:limits AS bigint[]))
                AS c(id, nonce, gas_limit)
            WHERE t.id = c.id AND t.status = 'queued'"""
        ),
        {
            "ids": [version.transaction_id for version in versions],
            "nonces": [version.nonce for version in versions],
            "limits": [version.gas_limit for version in versions],
        },
    )
    await add(session, versions, tip_number=tip_number)


async def fill(session: AsyncSession, lane: Lane, versions: Sequence[Version], *, tip_number: int) -> None:
    """Empty transactions of our own, to the signer itself, for nonces that nobody has."""
    if not versions:
        return
    await session.execute(
        text(
            """INSERT INTO transactions (id, chain_id, signer, recipient, data, origin, status, nonce, gas_limit, taken)
            SELECT c.id, :chain_id, :signer, :signer, '', 'filler', 'pending', c.nonce, c.gas_limit, true
            FROM unnest(CAST(:ids AS uuid[]), CAST(:nonces AS bigint[]), CAST(:limits AS bigint[]))
                AS c(id, nonce, gas_limit)"""
        ),
        {
            **lane.parameters,
            "ids": [version.transaction_id for version in versions],
            "nonces": [version.nonce for version in versions],
            "limits": [version.gas_limit for version in versions],
        },
    )
    await add(session, versions, tip_number=tip_number)


async def add(session: AsyncSession, versions: Sequence[Version], *, tip_number: int) -> None:
    """Store versions that are to be signed."""
    await session.execute(
        text(
            """INSERT INTO attempts
                (id, transaction_id, kind, nonce, gas_limit, max_fee_wei, priority_fee_wei, tip_number)
            SELECT c.id, c.transaction_id, c.kind, c.nonce, c.gas_limit, c.max_fee, c.priority_fee, :tip_number
            FROM unnest(CAST(:ids AS uuid[]), CAST(:transactions AS uuid[]), CAST(:kinds AS text[]),
                        CAST(:nonces AS bigint[]), CAST(:limits AS bigint[]), CAST(:max_fees AS numeric[]),
                        CAST(:priority_fees AS numeric[]))
                AS c(id, transaction_id, kind, nonce, gas_limit, max_fee, priority_fee)"""
        ),
        {
            "ids": [version.id for version in versions],
            "transactions": [version.transaction_id for version in versions],
            "kinds": [version.kind for version in versions],
            "nonces": [version.nonce for version in versions],
            "limits": [version.gas_limit for version in versions],
            "max_fees": [version.offer.max_fee_wei for version in versions],
            "priority_fees": [version.offer.priority_fee_wei for version in versions],
            "tip_number": tip_number,
        },
    )


async def unsigned(session: AsyncSession, lane: Lane, *, count_max: int) -> list[Unsigned]:
    """What is reserved and not signed, lowest nonces first, but for what waits for its next try."""
    rows = await session.execute(
        text(
            f"""SELECT a.id, a.transaction_id, a.kind, a.nonce, a.gas_limit, a.max_fee_wei, a.priority_fee_wei,
                t.signer, t.recipient, t.data, t.origin, t.approved_at IS NOT NULL AS approved
            FROM attempts a JOIN transactions t ON t.id = a.transaction_id
            WHERE a.raw IS NULL AND a.abandoned_at IS NULL AND {lane.condition("t")}
              AND t.status IN ('pending', 'submitted') AND a.nonce = t.nonce
              AND (t.retry_at IS NULL OR t.retry_at <= now())
            ORDER BY a.nonce LIMIT :count_max"""
        ),
        {**lane.parameters, "count_max": count_max},
    )
    found = []
    for row in rows:
        price = Offer(int(row.max_fee_wei), int(row.priority_fee_wei))
        version = Version(row.transaction_id, row.nonce, row.gas_limit, price, row.kind, row.id)
        if row.kind == CANCEL:
            found.append(Unsigned(version, row.signer, row.signer, b"", row.approved, CANCEL))
        else:
            purpose = "filler" if row.origin == "filler" else "transaction"
            found.append(Unsigned(version, row.signer, row.recipient, row.data, row.approved, purpose))
    return found


def reserved(queued: Queued, version: Version) -> Unsigned:
    """A queued transaction's first version, as `unsigned` would read it back."""
    return Unsigned(version, queued.signer, queued.recipient, queued.data, queued.approved, "transaction")


async def store_signed(session: AsyncSession, signed: Mapping[UUID, SignedTransaction]) -> None:
    """Keep the signed bytes of versions, and make them due for broadcast at once."""
    if not signed:
        return
    await session.execute(
        text(
            """WITH done AS (
                UPDATE attempts a SET hash = c.hash, raw = c.raw, signed_at = now()
                FROM unnest(CAST(:ids AS uuid[]), CAST(:hashes AS bytea[]), CAST(:raws AS bytea[])) AS c(id, hash, raw)
                WHERE a.id = c.id AND a.raw IS NULL AND a.abandoned_at IS NULL RETURNING a.transaction_id)
            UPDATE transactions t SET broadcast_at = NULL, retry_at = NULL, last_error = NULL
            FROM done WHERE t.id = done.transaction_id AND t.status IN ('pending', 'submitted')"""
        ),
        {
            "ids": list(signed),
            "hashes": [each.hash for each in signed.values()],
            "raws": [each.raw for each in signed.values()],
        },
    )


async def postpone(session: AsyncSession, refused: Mapping[UUID, str], retry_after_s: float) -> None:
    """Note why transactions' versions are not signed yet; they keep their nonces and are tried again later."""
    await session.execute(
        text(
            """UPDATE transactions t SET last_error = c.words, retry_at = now() + make_interval(secs => :retry_after_s)
            FROM unnest(CAST(:ids AS uuid[]), CAST(:words AS text[])) AS c(id, words) WHERE t.id = c.id"""
        ),
        {"ids": list(refused), "words": list(refused.values()), "retry_after_s": retry_after_s},
    )


async def release(session: AsyncSession, refused: Mapping[UUID, str], retry_after_s: float) -> None:
    """Give the nonces of wishes back to which no signature was ever given: they queue again.

    Args:
        refused: by transaction, why its only version will not be signed.
    """
    if not refused:
        return
    await session.execute(
        text("UPDATE attempts SET abandoned_at = now() WHERE transaction_id = ANY(:ids) AND raw IS NULL"),
        {"ids": list(refused)},
    )
    await session.execute(
        text(
            """UPDATE transactions t SET status = 'queued', nonce = NULL, gas_limit = NULL, broadcast_at = NULL,
                last_error = c.words, retry_at = now() + make_interval(secs => :retry_after_s)
            FROM unnest(CAST(:ids AS uuid[]), CAST(:words AS text[])) AS c(id, words)
            WHERE t.id = c.id AND t.status = 'pending'"""
        ),
        {"ids": list(refused), "words": list(refused.values()), "retry_after_s": retry_after_s},
    )


async def abandon_calls(session: AsyncSession, transaction_ids: Sequence[UUID]) -> None:
    """Never sign what these were to do: it was taken back before it was signed."""
    await session.execute(
        text(
            """UPDATE attempts SET abandoned_at = now()
            WHERE transaction_id = ANY(:ids) AND kind = 'call' AND raw IS NULL AND abandoned_at IS NULL"""
        ),
        {"ids": list(transaction_ids)},
    )


async def never_signed(session: AsyncSession, transaction_ids: Iterable[UUID]) -> set[UUID]:
    """Those wishes of which no version at all has been signed."""
    rows = await session.execute(
        text(
            """SELECT id FROM transactions t WHERE id = ANY(:ids) AND origin = 'wish' AND status = 'pending'
            AND NOT EXISTS (SELECT FROM attempts a WHERE a.transaction_id = t.id AND a.raw IS NOT NULL)"""
        ),
        {"ids": list(transaction_ids)},
    )
    return {row.id for row in rows}


_SIGNED = """SELECT * FROM attempts a WHERE a.transaction_id = t.id AND a.raw IS NOT NULL AND a.nonce = t.nonce
    ORDER BY a.hash IS NOT DISTINCT FROM t.transaction_hash DESC, a.created_at DESC, a.id DESC LIMIT 1"""
"""A transaction's mined version, or else its newest signed one."""


async def due(
    session: AsyncSession, lane: Lane, ended: Sequence[UUID], *, resend_after_s: float, count_max: int
) -> list[tuple[UUID, bytes]]:
    """The signed bytes of what is on its way, or has `ended`, and was not sent lately; in order of nonces."""
    rows = await session.execute(
        text(
            f"""SELECT t.id, newest.raw FROM transactions t JOIN LATERAL ({_SIGNED}) newest ON true
            WHERE {lane.condition("t")} AND (t.status IN ('pending', 'submitted') OR t.id = ANY(:ended))
              AND (t.broadcast_at IS NULL OR t.broadcast_at < now() - make_interval(secs => :resend_after_s))
            ORDER BY t.signer, t.nonce LIMIT :count_max"""
        ),
        {**lane.parameters, "ended": list(ended), "resend_after_s": resend_after_s, "count_max": count_max},
    )
    return [(row.id, row.raw) for row in rows]


async def store_broadcast(session: AsyncSession, ids: Sequence[UUID]) -> None:
    """To submitted: a node took them. What has ended keeps its end."""
    await session.execute(
        text(
            """UPDATE transactions SET broadcast_at = now(),
                status = CASE WHEN status = 'pending' THEN 'submitted' ELSE status END,
                last_error = CASE WHEN status IN ('pending', 'submitted') AND last_error <> 'fee-cap'
                                  THEN NULL ELSE last_error END
            WHERE id = ANY(:ids)"""
        ),
        {"ids": list(ids)},
    )


async def waiting(
    session: AsyncSession, lane: Lane, next_nonce: int, *, replace_after_s: float | None, count_max: int
) -> list[Waiting]:
    """What may need a better offer or a cancellation, lowest nonces first: asked for, outbid, or waiting for long.

    Args:
        replace_after_s: what long is; None leaves those out, which spares a look at everything on its way.
    """
    rows = await session.execute(
        text(
            f"""SELECT * FROM (
                SELECT t.id, t.nonce, t.origin, newest.kind, newest.gas_limit, newest.max_fee_wei,
                    newest.priority_fee_wei, newest.tip_number, newest.id AS version_id,
                    :long AND newest.created_at < now() - make_interval(secs => :replace_after_s) AS old,
                    t.cancel_asked_at IS NOT NULL AND t.told IS NULL AND newest.kind = 'call' AS cancel_asked,
                    coalesce(t.bump_asked_at > newest.created_at, false) AS bump_asked,
                    coalesce(t.last_error IN ('fee-too-low', 'replacement-underpriced', 'fee-cap'), false) AS outbid
                FROM transactions t JOIN LATERAL ({_SIGNED}) newest ON true
                WHERE {lane.condition("t")} AND t.status IN ('pending', 'submitted') AND t.nonce >= :next_nonce
                  AND (:long OR t.cancel_asked_at IS NOT NULL OR t.bump_asked_at IS NOT NULL
                       OR t.last_error IN ('fee-too-low', 'replacement-underpriced', 'fee-cap'))
                  AND NOT EXISTS (SELECT FROM attempts u WHERE u.transaction_id = t.id AND u.raw IS NULL
                                  AND u.abandoned_at IS NULL AND (t.cancel_asked_at IS NULL OR u.kind = 'cancel'))
            ) AS found WHERE old OR cancel_asked OR bump_asked OR outbid ORDER BY nonce LIMIT :count_max"""
        ),
        {
            **lane.parameters,
            "next_nonce": next_nonce,
            "long": replace_after_s is not None,
            "replace_after_s": replace_after_s or 0.0,
            "count_max": count_max,
        },
    )
    return [
        Waiting(
            transaction_id=row.id,
            nonce=row.nonce,
            version=Version(
                row.id,
                row.nonce,
                row.gas_limit,
                Offer(int(row.max_fee_wei), int(row.priority_fee_wei)),
                row.kind,
                row.version_id,
            ),
            origin=row.origin,
            tip_number=row.tip_number,
            old=row.old,
            cancel_asked=row.cancel_asked,
            bump_asked=row.bump_asked,
            outbid=row.outbid,
        )
        for row in rows
    ]


async def committed_wei(session: AsyncSession, lane: Lane) -> int:
    """The most that what is on its way may cost its signer."""
    wei = await session.scalar(
        text(
            f"""SELECT coalesce(sum(most), 0) FROM (
                SELECT max(a.gas_limit * a.max_fee_wei) AS most FROM transactions t
                JOIN attempts a ON a.transaction_id = t.id AND a.nonce = t.nonce
                WHERE {lane.condition("t")} AND t.status IN ('pending', 'submitted') GROUP BY t.id) AS each"""
        ),
        lane.parameters,
    )
    return int(wei or 0)
