"""What critical requests are confirmed with, and those that wait for it."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, func
from sqlalchemy.orm import Mapped, mapped_column

from service.access.tables import CallerRow, IssuerRow
from service.db import Base


class SecondFactorRow(Base):
    """A generator of codes or an account of an issuer's. It counts once it has proved itself, until it is removed."""

    __tablename__ = "second_factors"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    issuer_id: Mapped[UUID] = mapped_column(ForeignKey(IssuerRow.id), index=True)
    kind: Mapped[str]
    name: Mapped[str]
    sealed_secret: Mapped[bytes | None]
    account: Mapped[bytes | None]
    created_by: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    confirmed_at: Mapped[datetime | None]
    removed_at: Mapped[datetime | None]
    last_step: Mapped[int] = mapped_column(BigInteger, server_default="0")
    failed_count: Mapped[int] = mapped_column(server_default="0")
    failed_since: Mapped[datetime | None]
    locked_count: Mapped[int] = mapped_column(server_default="0")
    locked_until: Mapped[datetime | None]


class StepUpRow(Base):
    """A critical request that waits for its approval. `print` is a hash of all that was asked, and by whom."""

    __tablename__ = "step_ups"
    __table_args__ = (
        Index("step_ups_issuer_id_idx", "issuer_id", "expires_at"),
        Index("step_ups_print_idx", "issuer_id", "print"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    issuer_id: Mapped[UUID] = mapped_column(ForeignKey(IssuerRow.id))
    caller_id: Mapped[UUID] = mapped_column(ForeignKey(CallerRow.id))
    print: Mapped[bytes]
    message: Mapped[dict[str, Any]]
    asked_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    given_at: Mapped[datetime | None]
    given_by: Mapped[UUID | None] = mapped_column(ForeignKey(SecondFactorRow.id))
    used_at: Mapped[datetime | None]
    failed_count: Mapped[int] = mapped_column(server_default="0")
