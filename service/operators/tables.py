"""Rotations: an issuer's passage from one signer to another."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from service.access.tables import IssuerRow
from service.db import Base
from service.transactions.tables import TransactionRow


class RotationRow(Base):
    """How far a rotation is. Each transaction's id is stored together with it, so no step is taken twice.

    `switched_at` is the commit from which on the issuer's transactions are the successor's.
    """

    __tablename__ = "rotations"
    __table_args__ = (
        CheckConstraint("length(former) = 20 AND length(successor) = 20 AND former <> successor", name="addresses"),
        Index(
            "rotations_unfinished_idx",
            *("issuer_id", "chain_id"),
            unique=True,
            postgresql_where=text("finished_at IS NULL"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    issuer_id: Mapped[UUID] = mapped_column(ForeignKey(IssuerRow.id))
    chain_id: Mapped[int] = mapped_column(BigInteger)
    former: Mapped[bytes]
    successor: Mapped[bytes]
    factory_grant_id: Mapped[UUID | None] = mapped_column(ForeignKey(TransactionRow.id))
    grant_id: Mapped[UUID | None] = mapped_column(ForeignKey(TransactionRow.id))
    switched_at: Mapped[datetime | None]
    revoke_id: Mapped[UUID | None] = mapped_column(ForeignKey(TransactionRow.id))
    factory_revoke_id: Mapped[UUID | None] = mapped_column(ForeignKey(TransactionRow.id))
    finished_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
