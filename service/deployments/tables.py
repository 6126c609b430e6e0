"""The contracts of an issuer that represent no asset: its authority, its registries, its governors."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from service.access.tables import IssuerRow
from service.db import Base
from service.operations.tables import OperationRow


class DeploymentRow(Base):
    """One of each kind for each subject: the issuer itself, or the token that a governor counts the votes of.

    `operation_id` is the newest attempt to deploy it.
    """

    __tablename__ = "deployments"
    __table_args__ = (
        UniqueConstraint("issuer_id", "kind", "subject_id"),
        Index("deployments_issuer_id_id_idx", "issuer_id", "id"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    issuer_id: Mapped[UUID] = mapped_column(ForeignKey(IssuerRow.id))
    kind: Mapped[str]
    subject_id: Mapped[UUID]
    name: Mapped[str]
    chain_id: Mapped[int] = mapped_column(BigInteger)
    address: Mapped[bytes]
    operation_id: Mapped[UUID] = mapped_column(ForeignKey(OperationRow.id))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
