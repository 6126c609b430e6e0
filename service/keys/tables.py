"""The signers' policies, and the audit of what they were asked to sign."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Base, Uint256


class SignerPolicyRow(Base):
    """What one signer may sign; a signer without a row may sign anything."""

    __tablename__ = "signer_policies"
    __table_args__ = (CheckConstraint("length(address) = 20", name="address"),)

    address: Mapped[bytes] = mapped_column(primary_key=True)
    policy: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    frozen: Mapped[bool] = mapped_column(server_default="false")
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_by: Mapped[str]


class SignatureRow(Base):
    """One entry before each signature, and for each refusal; never changed and never deleted."""

    __tablename__ = "signatures"
    __table_args__ = (
        CheckConstraint("verdict IN ('allowed', 'refused')", name="verdict"),
        CheckConstraint("(verdict = 'refused') = (reason IS NOT NULL)", name="reason"),
        Index("signatures_allowed_idx", "signer", "at", postgresql_where=text("verdict = 'allowed'")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    signer: Mapped[bytes]
    provider: Mapped[str | None]
    purpose: Mapped[str]
    chain_id: Mapped[int] = mapped_column(BigInteger)
    nonce: Mapped[int] = mapped_column(BigInteger)
    recipient: Mapped[bytes | None]
    selector: Mapped[bytes | None]
    value_wei: Mapped[int] = mapped_column(Uint256)
    fee_max_wei: Mapped[int] = mapped_column(Uint256)
    digest: Mapped[bytes]
    attempt_id: Mapped[UUID]
    transaction_id: Mapped[UUID] = mapped_column(index=True)
    verdict: Mapped[str]
    reason: Mapped[str | None]
