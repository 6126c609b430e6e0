"""What transactions came to, by signer: kept up as each one ends, so that asking costs the same after a million.

A transaction enters the totals in the DB transaction that takes its end, once; what has not been taken is counted when
the question comes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from psycopg.rows import args_row
from sqlalchemy import BigInteger, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from service.addresses import ZERO
from service.db import Base, ReadConnection, Uint256

OUTSIDERS = ZERO
"""Stands for all signers that are not ours: there is no end of them."""


class TotalRow(Base):
    """What the ended transactions of a signer came to, by how they ended."""

    __tablename__ = "transaction_totals"

    chain_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    signer: Mapped[bytes] = mapped_column(primary_key=True)
    status: Mapped[str] = mapped_column(primary_key=True)
    transactions_count: Mapped[int] = mapped_column(BigInteger)
    replacements_count: Mapped[int] = mapped_column(BigInteger)
    cancellations_count: Mapped[int] = mapped_column(BigInteger)
    gas_used: Mapped[int] = mapped_column(Uint256)
    fees_wei: Mapped[int] = mapped_column(Uint256)


@dataclass(frozen=True, slots=True)
class Total:
    """What a signer's transactions of one status came to; `fees_wei` is what the chain took for those mined."""

    signer: bytes
    status: str
    transactions_count: int
    replacements_count: int
    cancellations_count: int
    gas_used: int
    fees_wei: int


# Versions beyond the first of the same nonce replace it; those of kind cancel are empty.
_SUMS = """SELECT t.chain_id,
        CASE WHEN t.origin = 'given' THEN decode(repeat('00', 20), 'hex') ELSE t.signer END AS who, t.status,
        count(*), coalesce(sum(v.replacements), 0), coalesce(sum(v.cancellations), 0),
        coalesce(sum(t.gas_used), 0), coalesce(sum(t.gas_used * t.gas_price_wei), 0)
    FROM transactions t CROSS JOIN LATERAL (
        SELECT count(*) - count(DISTINCT a.nonce) AS replacements,
            count(*) FILTER (WHERE a.kind = 'cancel') AS cancellations
        FROM attempts a WHERE a.transaction_id = t.id AND a.hash IS NOT NULL) v"""

_GROUPED = "GROUP BY t.chain_id, who, t.status"


async def add(session: AsyncSession, ids: Sequence[UUID]) -> None:
    """Add transactions whose end is being taken, in that same DB transaction."""
    if not ids:
        return
    await session.execute(
        text(
            f"""INSERT INTO transaction_totals AS s (chain_id, signer, status, transactions_count, replacements_count,
                cancellations_count, gas_used, fees_wei)
            {_SUMS} WHERE t.id = ANY(:ids) {_GROUPED}
            ON CONFLICT (chain_id, signer, status) DO UPDATE SET
                transactions_count = s.transactions_count + EXCLUDED.transactions_count,
                replacements_count = s.replacements_count + EXCLUDED.replacements_count,
                cancellations_count = s.cancellations_count + EXCLUDED.cancellations_count,
                gas_used = s.gas_used + EXCLUDED.gas_used, fees_wei = s.fees_wei + EXCLUDED.fees_wei"""
        ),
        {"ids": list(ids)},
    )


async def totals(connection: ReadConnection, *, chain_id: int) -> list[Total]:
    """What all transactions came to so far, the live ones included, by signer and status."""
    # One branch for each partial index; what was reopened after its end was counted is in neither.
    query = f"""SELECT signer, status, sum(transactions_count), sum(replacements_count), sum(cancellations_count),
            sum(gas_used), sum(fees_wei)
        FROM (
            SELECT * FROM transaction_totals WHERE chain_id = %(chain_id)s
            UNION ALL ({_SUMS} WHERE t.chain_id = %(chain_id)s AND NOT t.taken
                AND t.status IN ('queued', 'pending', 'submitted', 'mined') {_GROUPED})
            UNION ALL ({_SUMS} WHERE t.chain_id = %(chain_id)s AND NOT t.taken
                AND t.status IN ('confirmed', 'reverted', 'refused', 'executed', 'cancelled', 'displaced') {_GROUPED})
        ) AS parts (chain_id, signer, status, transactions_count, replacements_count, cancellations_count, gas_used,
                    fees_wei)
        GROUP BY signer, status ORDER BY signer, status"""
    async with connection.cursor(row_factory=args_row(Total)) as cursor:
        await cursor.execute(query, {"chain_id": chain_id})
        return await cursor.fetchall()
