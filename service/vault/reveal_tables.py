"""What was spent of a reveal's budgets, who must not reveal, who agreed, and payments. No value is there at all."""

from datetime import date, datetime
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, Uuid, func, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Base, Uint256
from service.vault.tables import SCHEMA, PolicyRow


class RevealCountRow(Base):
    """What an API key saw of a policy on a UTC day. Only policies with a limit have rows."""

    __tablename__ = "reveal_counts"
    __table_args__ = {"schema": SCHEMA}  # noqa: RUF012

    key_id: Mapped[str] = mapped_column(primary_key=True)
    policy_id: Mapped[UUID] = mapped_column(ForeignKey(PolicyRow.id), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    values_count: Mapped[int] = mapped_column(BigInteger)
    subjects_count: Mapped[int] = mapped_column(BigInteger)


class RevealSubjectRow(Base):
    """A subject of whom an API key saw something under a policy on a UTC day. Earlier days are deleted."""

    __tablename__ = "reveal_subjects"
    __table_args__ = {"schema": SCHEMA}  # noqa: RUF012

    key_id: Mapped[str] = mapped_column(primary_key=True)
    policy_id: Mapped[UUID] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    subject_id: Mapped[UUID] = mapped_column(primary_key=True)


class RevealRefusalRow(Base):
    """How often an API key was refused for a reason on a UTC day."""

    __tablename__ = "reveal_refusals"
    __table_args__ = {"schema": SCHEMA}  # noqa: RUF012

    key_id: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)


class SearchRow(Base):
    """How often an API key asked on a UTC day which records of a policy hold a value."""

    __tablename__ = "searches"
    __table_args__ = {"schema": SCHEMA}  # noqa: RUF012

    key_id: Mapped[str] = mapped_column(primary_key=True)
    policy_id: Mapped[UUID] = mapped_column(ForeignKey(PolicyRow.id), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)


class SuspensionRow(Base):
    """An API key whose caller reveals nothing from `suspended_at` until `lifted_at`."""

    __tablename__ = "suspensions"
    __table_args__ = (
        Index("suspensions_caller_id_key", "caller_id", unique=True, postgresql_where=text("lifted_at IS NULL")),
        Index("suspensions_issuer_id_id_idx", "issuer_id", "id"),
        {"schema": SCHEMA},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    issuer_id: Mapped[UUID]
    caller_id: Mapped[UUID]
    key_id: Mapped[str]
    policy_id: Mapped[UUID] = mapped_column(ForeignKey(PolicyRow.id))
    reason: Mapped[str]
    suspended_at: Mapped[datetime] = mapped_column(server_default=func.now())
    lifted_at: Mapped[datetime | None]
    lifted_by: Mapped[UUID | None]


class ApprovalRow(Base):
    """A reveal that others are asked to agree to. `print` is a keyed hash of the whole request."""

    __tablename__ = "approvals"
    __table_args__ = {"schema": SCHEMA}  # noqa: RUF012

    id: Mapped[UUID] = mapped_column(primary_key=True)
    issuer_id: Mapped[UUID]
    caller_id: Mapped[UUID]
    print: Mapped[bytes]
    policy_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid))
    record_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid))
    values_count: Mapped[int] = mapped_column(BigInteger)
    purpose: Mapped[str]
    reason: Mapped[str]
    view: Mapped[str]
    approvals_needed: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    spent_at: Mapped[datetime | None]


class ApproverRow(Base):
    """A caller that agreed."""

    __tablename__ = "approvers"
    __table_args__ = {"schema": SCHEMA}  # noqa: RUF012

    approval_id: Mapped[UUID] = mapped_column(ForeignKey(ApprovalRow.id), primary_key=True)
    caller_id: Mapped[UUID] = mapped_column(primary_key=True)
    approved_at: Mapped[datetime] = mapped_column(server_default=func.now())


class PaymentRow(Base):
    """A card handed to a payment processor. `pending` until the processor said how it ended; its id is the key there.

    `amount` is in the smallest unit of the currency.
    """

    __tablename__ = "payments"
    __table_args__ = {"schema": SCHEMA}  # noqa: RUF012

    id: Mapped[UUID] = mapped_column(primary_key=True)
    issuer_id: Mapped[UUID]
    caller_id: Mapped[UUID]
    record_id: Mapped[UUID | None]
    processor: Mapped[str]
    amount: Mapped[int] = mapped_column(Uint256)
    currency: Mapped[str]
    reference: Mapped[str]
    state: Mapped[str] = mapped_column(server_default="pending")
    processor_reference: Mapped[str | None]
    code: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    settled_at: Mapped[datetime | None]
