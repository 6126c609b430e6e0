"""Operations."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, func
from sqlalchemy.orm import Mapped, mapped_column

from service.access.tables import CallerRow, IssuerRow
from service.db import Base
from service.transactions.tables import TransactionRow


class Status(StrEnum):
    """Where an operation stands; the last two are final."""

    PENDING = "pending"  # accepted; its transaction is not final
    SUCCEEDED = "succeeded"  # its effect is on the chain, past reversal
    FAILED = "failed"  # without effect, past reversal, and nobody can bring it about any more; `problem` says why


class OperationRow(Base):
    """An accepted intent of a caller. `parameters` is the request's body, `problem` the reason of a failure."""

    __tablename__ = "operations"
    __table_args__ = (
        Index("operations_issuer_id_idx", "issuer_id", "id"),
        Index("operations_issuer_id_status_idx", "issuer_id", "status", "id"),
        Index("operations_token_id_idx", "token_id", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    issuer_id: Mapped[UUID] = mapped_column(ForeignKey(IssuerRow.id))
    caller_id: Mapped[UUID] = mapped_column(ForeignKey(CallerRow.id))
    key_id: Mapped[str | None]  # of the caller's credentials; none where it is older than this column
    kind: Mapped[str]
    chain_id: Mapped[int] = mapped_column(BigInteger)
    token_id: Mapped[UUID | None]
    contract: Mapped[bytes]
    parameters: Mapped[dict[str, Any]]
    status: Mapped[str] = mapped_column(server_default=Status.PENDING)
    transaction_id: Mapped[UUID] = mapped_column(ForeignKey(TransactionRow.id), unique=True)
    problem: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    closed_at: Mapped[datetime | None]
