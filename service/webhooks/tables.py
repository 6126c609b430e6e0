"""Webhooks, their secrets, and what each is told."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, SmallInteger, String, func, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from service.access.tables import IssuerRow
from service.db import Base


class State(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"  # to be sent, for the first time or again
    DELIVERED = "delivered"  # the receiver answered 2xx
    DEAD = "dead"  # given up; a replay sends it again


class Disabled(StrEnum):
    """Why nothing is sent to a webhook."""

    CALLER = "caller"  # a caller wished it
    FAILING = "failing"  # nothing was taken for days
    GONE = "gone"  # the receiver answered 410


class WebhookRow(Base):
    """An address of an issuer's. `position` is the journal's, and `number` counts its deliveries.

    One that is removed is there for nobody, and its rows go in stretches.
    """

    __tablename__ = "webhooks"
    __table_args__ = (
        Index("webhooks_issuer_id_id_idx", "issuer_id", "id"),
        Index("webhooks_removed_at_idx", "removed_at", postgresql_where=text("removed_at IS NOT NULL")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    issuer_id: Mapped[UUID] = mapped_column(ForeignKey(IssuerRow.id))
    url: Mapped[str]
    description: Mapped[str]
    types: Mapped[list[str]] = mapped_column(ARRAY(String))
    position: Mapped[int] = mapped_column(BigInteger)
    number: Mapped[int] = mapped_column(BigInteger, server_default="0")
    failures: Mapped[int] = mapped_column(BigInteger, server_default="0")
    failing_since: Mapped[datetime | None]
    disabled_at: Mapped[datetime | None]
    disabled_for: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    removed_at: Mapped[datetime | None]
    failed_at: Mapped[datetime | None]
    unreadable_since: Mapped[datetime | None]


class SecretRow(Base):
    """A version of a webhook's secrets, sealed; those that have not ended sign every message."""

    __tablename__ = "webhook_secrets"

    webhook_id: Mapped[UUID] = mapped_column(ForeignKey(WebhookRow.id, ondelete="CASCADE"), primary_key=True)
    version: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    sealed_hmac: Mapped[bytes]
    sealed_private: Mapped[bytes]
    public_key: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    ends_at: Mapped[datetime | None]


class SubjectRow(Base):
    """How many messages of one subject a webhook was given."""

    __tablename__ = "webhook_subjects"

    webhook_id: Mapped[UUID] = mapped_column(ForeignKey(WebhookRow.id, ondelete="CASCADE"), primary_key=True)
    subject: Mapped[str] = mapped_column(primary_key=True)
    sequence: Mapped[int] = mapped_column(BigInteger)


class DeliveryRow(Base):
    """A message to a webhook: a journal entry by its `position`, or `notice` where it is no entry."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        Index(
            "webhook_deliveries_pending_idx",
            *("webhook_id", "due_at", "number"),
            postgresql_where=text("state = 'pending'"),
        ),
        Index("webhook_deliveries_dead_idx", "webhook_id", "number", postgresql_where=text("state = 'dead'")),
    )

    webhook_id: Mapped[UUID] = mapped_column(ForeignKey(WebhookRow.id, ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    position: Mapped[int | None] = mapped_column(BigInteger)
    type: Mapped[str]
    subject: Mapped[str]
    sequence: Mapped[int] = mapped_column(BigInteger)
    notice: Mapped[dict[str, Any] | None]
    state: Mapped[str] = mapped_column(server_default=State.PENDING)
    failures: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    tries: Mapped[list[dict[str, Any]]] = mapped_column(JSONB, server_default="[]")
    due_at: Mapped[datetime] = mapped_column(server_default=func.now())
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class SightingRow(Base):
    """An operation that receivers of early notices were told to be mined, and in which block."""

    __tablename__ = "webhook_sightings"

    transaction_id: Mapped[UUID] = mapped_column(primary_key=True)
    operation_id: Mapped[UUID]
    issuer_id: Mapped[UUID]
    block_number: Mapped[int] = mapped_column(BigInteger)
    block_hash: Mapped[bytes]
