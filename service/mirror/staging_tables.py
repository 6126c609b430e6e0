"""Tables of a backfill: what is staged, in the Postgres schema `staging`, and how far each work came.

Staged rows are served to nobody and may be thrown away at any time. The unlogged tables, which a crash of Postgres
empties, are written in one DB transaction with their mark, which is unlogged as well.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, Double, Integer, LargeBinary, Table, Text, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Base, Uint256
from service.mirror.tables import SCHEMA

STAGING_SCHEMA = "staging"


class StagedBlockRow(Base):
    """A header of a block whose rows are staged, or are in the served tables and not shown yet."""

    __tablename__ = "blocks"
    __table_args__ = ({"schema": STAGING_SCHEMA},)

    number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    hash: Mapped[bytes]
    parent_hash: Mapped[bytes]
    timestamp: Mapped[datetime]


class StagedDeploymentRow(Base):
    """A contract that is followed from a staged block on, and becomes visible with that block."""

    __tablename__ = "deployments"
    __table_args__ = ({"schema": STAGING_SCHEMA},)

    contract_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    block_number: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    block_hash: Mapped[bytes]
    salt: Mapped[bytes]
    operator: Mapped[bytes]
    kind: Mapped[str] = mapped_column(Text)


class MarkRow(Base):
    """How far a work has staged; no row says that nothing is."""

    __tablename__ = "marks"
    __table_args__ = ({"schema": STAGING_SCHEMA, "prefixes": ["UNLOGGED"]},)

    work: Mapped[str] = mapped_column(Text, primary_key=True)
    staged_to: Mapped[int] = mapped_column(BigInteger)
    events: Mapped[int] = mapped_column(BigInteger)


def _unlogged(name: str, *columns: Column[Any]) -> Table:
    return Table(name, Base.metadata, *columns, schema=STAGING_SCHEMA, prefixes=["UNLOGGED"])


_unlogged(
    "transfers",
    Column("block_number", BigInteger, nullable=False),
    Column("log_index", Integer, nullable=False),
    Column("contract_id", Integer, nullable=False),
    Column("transaction_hash", LargeBinary, nullable=False),
    Column("sender", LargeBinary, nullable=False),
    Column("recipient", LargeBinary, nullable=False),
    Column("amount", Uint256, nullable=False),
    Column("deed_id", Uint256),
)
_unlogged(
    "events",
    Column("block_number", BigInteger, nullable=False),
    Column("log_index", Integer, nullable=False),
    Column("contract_id", Integer, nullable=False),
    Column("transaction_hash", LargeBinary, nullable=False),
    Column("first_topic", LargeBinary, nullable=False),
    Column("name", Text, nullable=False),
    Column("signature", Text, nullable=False),
    Column("arguments", JSONB, nullable=False),
)
_unlogged(
    "digests",
    Column("contract_id", Integer, nullable=False),
    Column("block_number", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False),
)


class BackfillRow(Base):
    """A backfill, now or once: which blocks, and how far it came."""

    __tablename__ = "backfills"
    __table_args__ = ({"schema": SCHEMA},)

    work: Mapped[str] = mapped_column(Text, primary_key=True)
    chain_id: Mapped[int] = mapped_column(BigInteger)
    first_block: Mapped[int] = mapped_column(BigInteger)
    last_block: Mapped[int] = mapped_column(BigInteger)
    reached_block: Mapped[int] = mapped_column(BigInteger)  # rows up to here are in the served tables
    staged_block: Mapped[int] = mapped_column(BigInteger)
    events: Mapped[int] = mapped_column(BigInteger)
    events_per_s: Mapped[float | None] = mapped_column(Double)
    indexes_late: Mapped[bool]
    begun_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    told_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    finished_at: Mapped[datetime | None]


class LateIndexRow(Base):
    """An index that was taken off for a first sync, and the statement that builds it again."""

    __tablename__ = "late_indexes"
    __table_args__ = ({"schema": SCHEMA},)

    name: Mapped[str] = mapped_column(Text, primary_key=True)
    statement: Mapped[str] = mapped_column(Text)
