"""Adoptions: contracts that were there before us and are to be mirrored, each as an issuer asked for it; and marks.

An adoption is requested, then its history is filled in, and then it is live, or refused with the reason. Issuers who
ask for one contract share its rows. A mark says what a contract does besides its transfers.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, PrimaryKeyConstraint, Text, func, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from service.access.tables import IssuerRow
from service.addresses import ZERO
from service.db import Base, Database, ReadConnection
from service.mirror.tables import SCHEMA, ContractRow

KINDS = ("erc20", "erc721")
"""What a contract of others may be."""


IMPOSSIBLE = "transfers-do-not-add-up"
REORGANISED = "reorganised"
"""Why a contract is refused whose transfers no mirror can hold."""


class AdoptionRow(Base):
    """A contract of others that an issuer wants mirrored. Written by the API once, and then by the indexer.

    Blocks `since_block` to `last_block` are filled in by the backfill of the name `work`; those before them are there.
    """

    __tablename__ = "adoptions"
    __table_args__ = (
        Index("adoptions_open_idx", "chain_id", "id", postgresql_where=text("ended_at IS NULL")),
        Index("adoptions_chain_id_address_idx", "chain_id", "address"),
        CheckConstraint("octet_length(address) = 20", name="address"),
        CheckConstraint("kind IN ('erc20', 'erc721')", name="kind"),
        CheckConstraint("status IN ('requested', 'filling', 'live', 'refused')", name="status"),
        CheckConstraint("(ended_at IS NOT NULL) = (status IN ('live', 'refused'))", name="ended"),
        CheckConstraint("(reason IS NOT NULL) = (status = 'refused')", name="reason"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    issuer_id: Mapped[UUID] = mapped_column(ForeignKey(IssuerRow.id))
    chain_id: Mapped[int] = mapped_column(BigInteger)
    address: Mapped[bytes]
    kind: Mapped[str]
    start_block: Mapped[int | None] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(server_default="requested")
    reason: Mapped[str | None]
    detail: Mapped[str | None]
    first_block: Mapped[int | None] = mapped_column(BigInteger)
    first_proven: Mapped[bool] = mapped_column(server_default=text("false"))  # by the contract's code
    since_block: Mapped[int | None] = mapped_column(BigInteger)
    last_block: Mapped[int | None] = mapped_column(BigInteger)
    work: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ended_at: Mapped[datetime | None]


class ContractMarkRow(Base):
    """What a contract does besides its transfers, as it was found at a block. Source: service.mirror.judge."""

    __tablename__ = "marks"
    __table_args__ = (PrimaryKeyConstraint("contract_id", "name"), {"schema": SCHEMA})

    contract_id: Mapped[int] = mapped_column(ForeignKey(ContractRow.id))
    name: Mapped[str] = mapped_column(Text)
    block_number: Mapped[int] = mapped_column(BigInteger)
    detail: Mapped[str] = mapped_column(Text)
    noted_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


@dataclass(frozen=True, slots=True)
class Adoption:
    """How far an adoption came. The counts of blocks are None before its first block is known."""

    id: UUID
    chain_id: int
    address: bytes
    kind: str
    status: str
    reason: str | None
    detail: str | None
    first_block: int | None
    blocks: int | None
    blocks_total: int | None
    created_at: datetime
    ended_at: datetime | None


HARMLESS = frozenset(("no-return-value", "proxy-not-announced"))
"""Marks of contracts whose balances are what their transfers say all the same."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What a contract does besides its transfers."""

    name: str
    block: int
    detail: str

    @property
    def spoils_balances(self) -> bool:
        """Whether what accounts hold may be other than the transfers say."""
        return self.name not in HARMLESS


@dataclass(frozen=True, slots=True)
class Wanted:
    """A contract that somebody wants mirrored; of several who do, what the first of them said."""

    id: UUID
    chain_id: int
    address: bytes
    kind: str
    start_block: int | None
    first_block: int | None
    first_proven: bool
    since_block: int | None
    last_block: int | None

    @property
    def span(self) -> "Span | None":
        """What is being filled in; None before that has begun."""
        if self.first_block is None or self.since_block is None or self.last_block is None:
            return None
        return Span(self.first_block, self.first_proven, self.since_block, self.last_block)


@dataclass(frozen=True, slots=True)
class Span:
    """Blocks that are filled in: rows from `first` to below `since` are there, and those up to `last` on their way."""

    first: int
    proven: bool  # the contract's code begins there, by the node's word
    since: int
    last: int


_ADOPTION: LiteralString = """
SELECT id, adoptions.chain_id, address, kind, status, reason, detail, adoptions.first_block,
    CASE WHEN status = 'live' THEN adoptions.last_block - adoptions.first_block + 1
        ELSE greatest(coalesce(staged_block, adoptions.first_block - 1) - adoptions.first_block + 1, 0) END,
    adoptions.last_block - adoptions.first_block + 1, created_at, ended_at
FROM adoptions LEFT JOIN mirror.backfills USING (work)
WHERE id = ANY(%(ids)s) AND issuer_id = %(issuer_id)s
"""

_FOLLOWED: LiteralString = """
SELECT deployments.operator FROM mirror.contracts JOIN mirror.deployments ON contract_id = contracts.id AND canonical
WHERE contracts.chain_id = %(chain_id)s AND address = %(address)s
"""

_MARKS: LiteralString = """
SELECT address, name, block_number, detail FROM mirror.marks JOIN mirror.contracts ON contract_id = contracts.id
WHERE chain_id = %(chain_id)s AND address = ANY(%(addresses)s) ORDER BY address, name
"""

_WANTED: LiteralString = """
SELECT id, chain_id, address, kind, start_block, first_block, first_proven, since_block, last_block
FROM adoptions WHERE chain_id = %s AND ended_at IS NULL AND address <> ALL(%s) ORDER BY status, id LIMIT 1
"""

_OPEN = "WHERE chain_id = :chain_id AND address = :address AND ended_at IS NULL"

_EXPEL = text("""
WITH gone AS (
    UPDATE mirror.deployments SET canonical = false, left_at = statement_timestamp() FROM mirror.contracts
    WHERE contract_id = id AND canonical AND chain_id = :chain_id AND address = :address
    RETURNING address, chain_id
), told AS (
    UPDATE adoptions SET status = 'refused', reason = :reason, detail = :detail, ended_at = clock_timestamp()
    FROM gone WHERE adoptions.address = gone.address AND adoptions.chain_id = gone.chain_id AND status <> 'refused'
)
SELECT FROM gone
""")

_END_UNDONE = text("""
UPDATE adoptions SET status = 'refused', reason = :reason, ended_at = clock_timestamp(),
    detail = 'the chain left its first block: adopt it again'
FROM mirror.deployments JOIN mirror.contracts ON contracts.id = contract_id
WHERE deployments.block_hash = ANY(:hashes) AND operator = :nobody
    AND adoptions.chain_id = contracts.chain_id AND adoptions.address = contracts.address AND status = 'live'
""")

_MARK = text("""
INSERT INTO mirror.marks (contract_id, name, block_number, detail)
SELECT id, :name, :block, :detail FROM mirror.contracts WHERE chain_id = :chain_id AND address = :address
ON CONFLICT (contract_id, name) DO UPDATE SET block_number = excluded.block_number, detail = excluded.detail,
    noted_at = clock_timestamp()
""")


async def adoptions(connection: ReadConnection, *, issuer_id: UUID, ids: list[UUID]) -> dict[UUID, Adoption]:
    """How far adoptions of an issuer came, by id; those of others are not there."""
    rows = await (await connection.execute(_ADOPTION, {"issuer_id": issuer_id, "ids": ids})).fetchall()
    return {row[0]: Adoption(*row) for row in rows}


async def open_count(session: AsyncSession, *, issuer_id: UUID) -> tuple[int, UUID | None]:
    """How many adoptions of an issuer have not ended, on any chain, and the oldest of them."""
    query = """SELECT count(*), (array_agg(id ORDER BY id))[1] FROM adoptions
        WHERE issuer_id = :issuer_id AND ended_at IS NULL"""
    count, oldest = (await session.execute(text(query), {"issuer_id": issuer_id})).one()
    return count, oldest


async def is_ours(connection: ReadConnection, *, chain_id: int, address: bytes) -> bool:
    """Whether the mirror follows a contract because the factory announced it, or one of its governors did."""
    rows = await (await connection.execute(_FOLLOWED, {"chain_id": chain_id, "address": address})).fetchall()
    return any(operator != ZERO for (operator,) in rows)


async def marks(connection: ReadConnection, *, chain_id: int, addresses: list[bytes]) -> dict[bytes, list[Mark]]:
    """What is known of contracts besides their transfers, by address."""
    given = {"chain_id": chain_id, "addresses": addresses}
    found: dict[bytes, list[Mark]] = {}
    for address, name, block, detail in await (await connection.execute(_MARKS, given)).fetchall():
        found.setdefault(address, []).append(Mark(name, block, detail))
    return found


async def next_wanted(db: Database, *, chain_id: int, but: list[bytes]) -> Wanted | None:
    """The contract to go on with, one at a time: what has begun comes first.

    Args:
        but: contracts that must wait.
    """
    rows = await db.fetch(_WANTED, (chain_id, but))
    return Wanted(*rows[0]) if rows else None


async def note(session: AsyncSession, wanted: Wanted, **columns: Any) -> None:
    """Write how far a contract came, for all who wait for it. Names are this module's own."""
    given = {"chain_id": wanted.chain_id, "address": wanted.address, **columns}
    changes = ", ".join(f"{name} = :{name}" for name in columns)
    await session.execute(text(f"UPDATE adoptions SET {changes} {_OPEN}"), given)


async def end(session: AsyncSession, wanted: Wanted, *, reason: str | None = None, detail: str | None = None) -> None:
    """It is live, or refused for a reason, for all who wait for it."""
    status = "live" if reason is None else "refused"
    given = {"chain_id": wanted.chain_id, "address": wanted.address}
    told = {"status": status, "reason": reason, "detail": detail}
    changes = "status = :status, reason = :reason, detail = :detail, ended_at = clock_timestamp()"
    await session.execute(text(f"UPDATE adoptions SET {changes} {_OPEN}"), {**given, **told})


async def mark(session: AsyncSession, *, chain_id: int, address: bytes, found: Mark) -> None:
    """Mark a contract, or change the mark of that name."""
    given = {"chain_id": chain_id, "address": address, "name": found.name}
    await session.execute(_MARK, {**given, "block": found.block, "detail": found.detail})


async def end_undone(session: AsyncSession, *, hashes: list[bytes]) -> None:
    """End adoptions whose contracts began in blocks that were just undone: nothing else would bring them back."""
    await session.execute(_END_UNDONE, {"hashes": hashes, "nobody": ZERO, "reason": REORGANISED})


async def expel(session: AsyncSession, *, chain_id: int, address: bytes, reason: str, detail: str) -> bool:
    """Follow a contract no longer; False where it isn't followed. What it did stays, as it was shown until now."""
    given = {"chain_id": chain_id, "address": address, "reason": reason, "detail": detail}
    return (await session.execute(_EXPEL, given)).first() is not None
