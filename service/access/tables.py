"""Who may call, and what a caller proves itself with."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, Numeric, SmallInteger, String, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Base


class IssuerRow(Base):
    """A tenant. `signer` sends its transactions and holds the roles on its tokens."""

    __tablename__ = "issuers"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    signer: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class CallerRow(Base):
    """An API client of one issuer. Of one that is deleted no credential opens anything."""

    __tablename__ = "callers"
    __table_args__ = (UniqueConstraint("issuer_id", "name"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    issuer_id: Mapped[UUID] = mapped_column(ForeignKey(IssuerRow.id))
    name: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    role: Mapped[str | None]
    deleted_at: Mapped[datetime | None]


class CredentialRow(Base):
    """What a caller proves itself with, under its public id; never its secret in the clear.

    A bearer key has a keyed hash of its text, `ed25519` a public key, `hmac` a sealed secret, `wallet` an account.
    Its state is not stored: `key_states` computes it from the times.
    """

    __tablename__ = "credentials"
    __table_args__ = (
        UniqueConstraint("family_id", "version"),
        Index("credentials_account_idx", "account", "chain_id", postgresql_where=text("account IS NOT NULL")),
        Index(
            "credentials_kept_idx", "created_at", postgresql_where=text("revoked_at IS NULL AND replaced_by IS NULL")
        ),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    family_id: Mapped[UUID]
    version: Mapped[int]
    caller_id: Mapped[UUID] = mapped_column(ForeignKey(CallerRow.id), index=True)
    environment: Mapped[str | None]
    kind: Mapped[str]
    name: Mapped[str]
    scopes: Mapped[list[str]] = mapped_column(ARRAY(String))
    limits: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    secret_hmac: Mapped[bytes | None]
    pepper_version: Mapped[int | None]
    public_key: Mapped[bytes | None]
    sealed_secret: Mapped[bytes | None]
    account: Mapped[bytes | None]
    chain_id: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    created_by: Mapped[str | None] = mapped_column(ForeignKey("credentials.id"))
    activated_at: Mapped[datetime | None]
    not_before: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    retires_at: Mapped[datetime | None]
    overlap_s: Mapped[int | None]
    overlap_starts: Mapped[str | None]
    suspended_at: Mapped[datetime | None]
    suspended_for: Mapped[str | None]
    revoked_at: Mapped[datetime | None]
    revoked_for: Mapped[str | None]
    replaced_by: Mapped[str | None] = mapped_column(ForeignKey("credentials.id"))
    last_used_at: Mapped[datetime | None]
    straggled_percent: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    rotation_told_at: Mapped[datetime | None]
    stale_told_at: Mapped[datetime | None]


class CredentialUseRow(Base):
    """How often a credential called an operation from a network on a UTC day, and how often that failed."""

    __tablename__ = "credential_uses"

    credential_id: Mapped[str] = mapped_column(ForeignKey(CredentialRow.id), primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    operation: Mapped[str] = mapped_column(primary_key=True)
    network: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)
    failed_count: Mapped[int] = mapped_column(BigInteger)


class AmountTakenRow(Base):
    """Base units of a token that a caller's requests named on a UTC day, with credentials that are held to so many; and
    those that no second factor approved, with credentials that are held to so many of these."""

    __tablename__ = "amounts_taken"

    caller_id: Mapped[UUID] = mapped_column(ForeignKey(CallerRow.id), primary_key=True)
    token_id: Mapped[UUID] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True, index=True)
    amount: Mapped[Decimal] = mapped_column(Numeric(78, 0))
    unapproved: Mapped[Decimal] = mapped_column(Numeric(78, 0), server_default="0")


class AccessRefusalRow(Base):
    """How often a key was refused for a reason on a UTC day, and from which network at last; all ids that nobody has
    are one, the empty one."""

    __tablename__ = "access_refusals"

    key_id: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True, index=True)
    count: Mapped[int] = mapped_column(BigInteger)
    network: Mapped[str] = mapped_column(server_default="")
