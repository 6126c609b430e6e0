"""What operators see: transactions with all their versions, how each signer stands, and totals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.rows import args_row

from service.db import ReadConnection
from service.transactions.tables import LIVE, Status

STUCK_AFTER_S = 60
"""Unmined for longer than this, a transaction is told as stuck; one with a trouble of its own is so at once."""

WATCHED_WITHIN_S = 15
"""A running sender looks at each of its signers more often than this."""

UNMINED = tuple(status for status in LIVE if status is not Status.MINED)


@dataclass(frozen=True, slots=True)
class Transaction:
    """One transaction, as it stands now. Fees are those of its newest version, and of the mined one once there is."""

    id: UUID
    chain_id: int
    signer: bytes
    recipient: bytes
    origin: str
    issuer_id: UUID | None
    caller_id: UUID | None
    status: str
    nonce: int | None
    transaction_hash: bytes | None
    block_number: int | None
    block_hash: bytes | None
    gas_used: int | None
    refusal: dict[str, Any] | None
    last_error: str | None
    created_at: datetime
    broadcast_at: datetime | None
    retry_at: datetime | None
    cancel_asked_at: datetime | None
    bump_asked_at: datetime | None
    approved_at: datetime | None
    approved_by: str | None
    age_s: float
    attempts_count: int
    max_fee_wei: int | None
    priority_fee_wei: int | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One version of a transaction; without a hash it was reserved and never signed."""

    hash: bytes | None
    kind: str  # call, or cancel: an empty one in its place
    nonce: int
    gas_limit: int
    max_fee_wei: int
    priority_fee_wei: int
    tip_number: int  # the newest block when it was made
    created_at: datetime
    signed_at: datetime | None
    abandoned_at: datetime | None


@dataclass(frozen=True, slots=True)
class Standing:
    """How a signer stands, as the sender last saw it."""

    address: bytes
    next_nonce: int
    balance_wei: int
    seen_at: datetime
    halt: str | None
    halt_detail: str | None
    halted_at: datetime | None
    alert: str | None
    alert_detail: str | None
    alerted_at: datetime | None
    foreign_nonces: int  # spent by others with its key, since an operator last resumed it


@dataclass(frozen=True, slots=True)
class Load:
    """The live transactions of a signer by status; None stands for all outsiders who signed theirs themselves."""

    signer: bytes | None
    counts: Mapping[str, int]
    oldest_unmined_s: float | None


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose transactions are asked for: those of an issuer, and those that its signer sent for nobody."""

    issuer_id: UUID
    signer: bytes


_TRANSACTION = """t.id, t.chain_id, t.signer, t.recipient, t.origin, t.issuer_id, t.caller_id, t.status, t.nonce,
    coalesce(t.transaction_hash, shown.hash), t.block_number, t.block_hash, t.gas_used, t.refusal, t.last_error,
    t.created_at, t.broadcast_at, t.retry_at, t.cancel_asked_at, t.bump_asked_at, t.approved_at, t.approved_by,
    extract(epoch FROM now() - t.created_at)::float8,
    (SELECT count(*) FROM attempts c WHERE c.transaction_id = t.id),
    shown.max_fee_wei, shown.priority_fee_wei"""

_SHOWN = """LEFT JOIN LATERAL (
    SELECT a.hash, a.max_fee_wei, a.priority_fee_wei FROM attempts a WHERE a.transaction_id = t.id
    ORDER BY (a.hash = t.transaction_hash) DESC NULLS LAST, a.created_at DESC LIMIT 1) shown ON true"""

_ATTEMPT = """hash, kind, nonce, gas_limit, max_fee_wei, priority_fee_wei, tip_number, created_at, signed_at,
    abandoned_at"""

_STANDING = """address, next_nonce, balance_wei, seen_at, halt, halt_detail, halted_at, alert, alert_detail,
    alerted_at, foreign_nonces"""


def _words(statuses: Sequence[Status]) -> str:
    # Written out, since a partial index serves only what is known when the statement is planned.
    return ", ".join(f"'{Status(status).value}'" for status in statuses)


async def transactions_page(
    connection: ReadConnection,
    *,
    chain_id: int,
    owner: Owner | None,
    status: Status | None = None,
    signer: bytes | None = None,
    stuck: bool = False,
    before: UUID | None = None,
    count_max: int,
) -> list[Transaction]:
    """Transactions, newest first.

    Args:
        owner: None for all there are.
        stuck: only those that are unmined, and in trouble or older than STUCK_AFTER_S.
    """
    conditions = ["chain_id = %(chain_id)s"]
    conditions += [f"status IN ({_words([status])})"] if status else []
    conditions += ["signer = %(signer)s"] if signer else []
    conditions += ["id < %(before)s"] if before else []
    if stuck:
        conditions += [
            f"status IN ({_words(UNMINED)})",
            "(last_error IS NOT NULL OR created_at < now() - make_interval(secs => %(stuck_after_s)s))",
        ]
    where = " AND ".join(conditions)
    # One branch for each index range: an OR over both would read all transactions.
    branches = ["true"] if owner is None else [_ITS_OWN, _NOBODYS]
    pages = " UNION ALL ".join(
        f"(SELECT * FROM transactions t WHERE {branch} AND {where} ORDER BY id DESC LIMIT %(count_max)s)"
        for branch in branches
    )
    query = f"""SELECT {_TRANSACTION}
        FROM (SELECT * FROM ({pages}) AS pages ORDER BY id DESC LIMIT %(count_max)s) t {_SHOWN} ORDER BY t.id DESC"""
    given = {
        "chain_id": chain_id,
        "signer": signer,
        "before": before,
        "stuck_after_s": STUCK_AFTER_S,
        "count_max": count_max,
        **_given(owner),
    }
    async with connection.cursor(row_factory=args_row(Transaction)) as cursor:
        await cursor.execute(query.encode(), given)
        return await cursor.fetchall()


_ITS_OWN = "t.issuer_id = %(issuer_id)s"
_NOBODYS = "t.issuer_id IS NULL AND t.signer = %(owner_signer)s"


def _given(owner: Owner | None) -> dict[str, Any]:
    return {} if owner is None else {"issuer_id": owner.issuer_id, "owner_signer": owner.signer}


async def transaction(
    connection: ReadConnection, *, chain_id: int, owner: Owner | None, id: UUID | None = None, hash: bytes | None = None
) -> Transaction | None:
    """One transaction by its id, or by the hash of any of its versions; None where the owner has none such."""
    mine = "true" if owner is None else f"({_ITS_OWN} OR {_NOBODYS})"
    query = f"""SELECT {_TRANSACTION} FROM transactions t {_SHOWN}
        WHERE t.chain_id = %(chain_id)s AND {mine} AND t.id = coalesce(%(id)s,
            (SELECT transaction_id FROM attempts WHERE hash = %(hash)s))"""
    async with connection.cursor(row_factory=args_row(Transaction)) as cursor:
        await cursor.execute(query.encode(), {"chain_id": chain_id, "id": id, "hash": hash, **_given(owner)})
        return await cursor.fetchone()


async def attempts(connection: ReadConnection, id: UUID) -> list[Attempt]:
    """Every version of a transaction, oldest first."""
    async with connection.cursor(row_factory=args_row(Attempt)) as cursor:
        await cursor.execute(
            f"SELECT {_ATTEMPT} FROM attempts WHERE transaction_id = %s ORDER BY created_at, id".encode(), (id,)
        )
        return await cursor.fetchall()


async def standings(connection: ReadConnection, *, chain_id: int) -> dict[bytes, Standing]:
    """How the signers stand that the sender has seen, by address."""
    async with connection.cursor(row_factory=args_row(Standing)) as cursor:
        await cursor.execute(f"SELECT {_STANDING} FROM signers WHERE chain_id = %s".encode(), (chain_id,))
        return {row.address: row for row in await cursor.fetchall()}


async def watched(connection: ReadConnection, *, chain_id: int) -> set[bytes]:
    """The signers whose keys a running sender has: those that it has looked at lately."""
    cursor = await connection.execute(
        "SELECT address FROM signers WHERE chain_id = %s AND seen_at > now() - make_interval(secs => %s)",
        (chain_id, WATCHED_WITHIN_S),
    )
    return {address for (address,) in await cursor.fetchall()}


async def loads(connection: ReadConnection, *, chain_id: int) -> list[Load]:
    """What is live, by signer."""
    cursor = await connection.execute(
        f"""SELECT CASE WHEN origin = 'given' THEN NULL ELSE signer END AS of, status, count(*),
            extract(epoch FROM now() - min(created_at))::float8
        FROM transactions WHERE chain_id = %s AND status IN ({_words(LIVE)}) GROUP BY of, status""".encode(),
        (chain_id,),
    )
    found: dict[bytes | None, list[tuple[str, int, float]]] = {}
    for signer, status, count, age_s in await cursor.fetchall():
        found.setdefault(signer, []).append((status, count, age_s))
    return [
        Load(
            signer,
            {status: count for status, count, _ in rows},
            max((age_s for status, _, age_s in rows if status != Status.MINED), default=None),
        )
        for signer, rows in found.items()
    ]


async def live_of(connection: ReadConnection, *, chain_id: int, issuer_id: UUID, signer: bytes) -> list[Transaction]:
    """What a signer still has on its way for an issuer, oldest first; at most a hundred."""
    query = f"""SELECT {_TRANSACTION} FROM transactions t {_SHOWN}
        WHERE t.chain_id = %s AND t.signer = %s AND t.issuer_id = %s AND t.origin <> 'given'
          AND t.status IN ({_words(LIVE)}) ORDER BY t.id LIMIT 100"""
    async with connection.cursor(row_factory=args_row(Transaction)) as cursor:
        await cursor.execute(query.encode(), (chain_id, signer, issuer_id))
        return await cursor.fetchall()
