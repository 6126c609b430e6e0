"""Batches, their packs and their rows. How far a row is, the operation of its pack tells."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, func
from sqlalchemy.orm import Mapped, mapped_column

from service.access.tables import CallerRow, IssuerRow
from service.db import Base
from service.operations.tables import OperationRow


class BatchRow(Base):
    """Rows that were accepted as a whole. What its packs burn is made of `effect_id`."""

    __tablename__ = "batches"
    __table_args__ = (
        Index("batches_issuer_id_idx", "issuer_id", "id"),
        Index("batches_token_id_idx", "token_id", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    issuer_id: Mapped[UUID] = mapped_column(ForeignKey(IssuerRow.id))
    caller_id: Mapped[UUID] = mapped_column(ForeignKey(CallerRow.id))
    kind: Mapped[str]
    chain_id: Mapped[int] = mapped_column(BigInteger)
    token_id: Mapped[UUID | None]
    contract: Mapped[bytes]
    effect_id: Mapped[UUID]
    rows_count: Mapped[int] = mapped_column(Integer)
    packs_count: Mapped[int] = mapped_column(Integer)
    cancelled_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class PackRow(Base):
    """An operation that carries rows of a batch. A pack that is sent again has another one, of the next round."""

    __tablename__ = "batch_packs"

    batch_id: Mapped[UUID] = mapped_column(ForeignKey(BatchRow.id), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    round: Mapped[int] = mapped_column(Integer, primary_key=True)
    operation_id: Mapped[UUID] = mapped_column(ForeignKey(OperationRow.id), unique=True)
    rows_count: Mapped[int] = mapped_column(Integer)
    cancel_asked_at: Mapped[datetime | None]


class GivenRow(Base):
    """A row as it was given, under its wire names, without what is a default."""

    __tablename__ = "batch_rows"

    batch_id: Mapped[UUID] = mapped_column(ForeignKey(BatchRow.id), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    pack: Mapped[int] = mapped_column(Integer)
    parameters: Mapped[dict[str, Any]]
