"""Who may call."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, String, UniqueConstraint, func
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
    """An API client of one issuer."""

    __tablename__ = "callers"
    __table_args__ = (UniqueConstraint("issuer_id", "name"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    issuer_id: Mapped[UUID] = mapped_column(ForeignKey(IssuerRow.id))
    name: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ApiKeyRow(Base):
    """A bearer key: its public id and a keyed hash, never the key. `scopes` is what it may do."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    caller_id: Mapped[UUID] = mapped_column(ForeignKey(CallerRow.id))
    secret_hmac: Mapped[bytes]
    scopes: Mapped[list[str]] = mapped_column(ARRAY(String), server_default="{issue}")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    revoked_at: Mapped[datetime | None]
