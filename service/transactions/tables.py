"""Transactions, their attempts, and how each signer stands."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Double, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Base, Uint256


class Status(StrEnum):
    """Where a transaction stands. `NEXT` lists the moves."""

    QUEUED = "queued"  # stored; no nonce yet
    PENDING = "pending"  # nonce reserved; not known to have reached a node
    SUBMITTED = "submitted"  # a node took it
    MINED = "mined"  # receipt seen, its block not final
    CONFIRMED = "confirmed"  # final: its block is, and it succeeded
    REVERTED = "reverted"  # final: its block is, and the contract refused it
    REFUSED = "refused"  # final: the contract would refuse it, so it never took a nonce
    EXECUTED = "executed"  # final: its effect is there, brought about by another transaction
    CANCELLED = "cancelled"  # final: an empty transaction took its nonce, or it never got one
    DISPLACED = "displaced"  # final: a transaction that is not ours took its nonce, and it can't have another


NEXT = {
    Status.QUEUED: {Status.PENDING, Status.REFUSED, Status.EXECUTED, Status.CANCELLED},
    # Back to the queue: its nonce went to somebody else's transaction, or was never signed for.
    Status.PENDING: {Status.SUBMITTED, Status.MINED, Status.QUEUED, Status.EXECUTED, Status.DISPLACED},
    Status.SUBMITTED: {Status.MINED, Status.QUEUED, Status.EXECUTED, Status.DISPLACED},
    # Back to submitted: a reorganisation. Back to the queue: it ran out of gas, which is no refusal.
    Status.MINED: {
        *(Status.CONFIRMED, Status.REVERTED, Status.EXECUTED, Status.CANCELLED, Status.SUBMITTED, Status.QUEUED),
    },
    # A chain that went back below its final block: the same bytes are sent again, and nothing is told a second time.
    Status.CONFIRMED: {Status.SUBMITTED},
    Status.REVERTED: {Status.SUBMITTED},
    Status.CANCELLED: {Status.SUBMITTED},
    Status.REFUSED: set(),
    Status.EXECUTED: set(),
    Status.DISPLACED: {Status.SUBMITTED},
}

LIVE = (Status.QUEUED, Status.PENDING, Status.SUBMITTED, Status.MINED)
FINAL = tuple(status for status in Status if status not in LIVE)


class Origin(StrEnum):
    """Where a transaction comes from."""

    WISH = "wish"  # an operation's, for one of our signers
    GIVEN = "given"  # an operation's, signed by an outsider
    FILLER = "filler"  # ours alone: an empty one that closes a gap of nonces


class TransactionRow(Base):
    """One nonce of one signer, or the wish for one.

    `proof_recipient` and `proof_data` are a call that answers true once the effect is on the chain, whoever brought it
    about; until `effect_until` others can, once they have seen the calldata. `told` is the end that its operation was
    closed with, where the chain took that end back.
    """

    __tablename__ = "transactions"
    __table_args__ = (
        UniqueConstraint("chain_id", "signer", "nonce"),
        Index(
            "transactions_live_idx",
            *("chain_id", "signer", "status", "id"),
            postgresql_where=text("status IN ('queued', 'pending', 'submitted', 'mined')"),
        ),
        Index(
            "transactions_to_take_idx",
            "id",
            postgresql_where=text(
                "status IN ('confirmed', 'reverted', 'refused', 'executed', 'cancelled', 'displaced') AND NOT taken"
            ),
        ),
        Index("transactions_issuer_id_id_idx", "issuer_id", "id"),
        Index(
            "transactions_rare_ends_idx",
            *("status", "id"),
            postgresql_where=text("status IN ('reverted', 'refused', 'executed', 'cancelled', 'displaced')"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    chain_id: Mapped[int] = mapped_column(BigInteger)
    signer: Mapped[bytes]
    recipient: Mapped[bytes]
    data: Mapped[bytes]
    proof_recipient: Mapped[bytes | None]
    proof_data: Mapped[bytes | None]
    effect_until: Mapped[datetime | None]
    issuer_id: Mapped[UUID | None]
    caller_id: Mapped[UUID | None]
    origin: Mapped[str] = mapped_column(server_default=Origin.WISH)
    status: Mapped[str] = mapped_column(server_default=Status.QUEUED)
    retry_at: Mapped[datetime | None]
    nonce: Mapped[int | None] = mapped_column(BigInteger)
    gas_limit: Mapped[int | None] = mapped_column(BigInteger)
    waits_for_nonce: Mapped[int | None] = mapped_column(BigInteger)
    broadcast_at: Mapped[datetime | None]
    cancel_asked_at: Mapped[datetime | None]
    bump_asked_at: Mapped[datetime | None]
    approved_at: Mapped[datetime | None]
    approved_by: Mapped[str | None]
    block_number: Mapped[int | None] = mapped_column(BigInteger)
    block_hash: Mapped[bytes | None]
    transaction_hash: Mapped[bytes | None]
    succeeded: Mapped[bool | None]
    gas_used: Mapped[int | None] = mapped_column(BigInteger)
    gas_price_wei: Mapped[int | None] = mapped_column(Uint256)
    refusal: Mapped[dict[str, Any] | None]
    last_error: Mapped[str | None]
    taken: Mapped[bool] = mapped_column(server_default="false")
    told: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class AttemptRow(Base):
    """One version of a transaction: reserved, then signed. Signed bytes are kept for ever: any of them may be mined."""

    __tablename__ = "attempts"
    __table_args__ = (
        Index("attempts_unsigned_idx", "transaction_id", postgresql_where=text("raw IS NULL AND abandoned_at IS NULL")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=func.gen_random_uuid())
    transaction_id: Mapped[UUID] = mapped_column(ForeignKey(TransactionRow.id), index=True)
    kind: Mapped[str] = mapped_column(server_default="call")  # or cancel: an empty one in its place
    nonce: Mapped[int] = mapped_column(BigInteger)
    gas_limit: Mapped[int] = mapped_column(BigInteger)
    max_fee_wei: Mapped[int] = mapped_column(Uint256)
    priority_fee_wei: Mapped[int] = mapped_column(Uint256)
    tip_number: Mapped[int] = mapped_column(BigInteger, server_default="0")
    hash: Mapped[bytes | None] = mapped_column(unique=True)
    raw: Mapped[bytes | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    signed_at: Mapped[datetime | None]
    abandoned_at: Mapped[datetime | None]


class SignerRow(Base):
    """How a signer stands: what the chain says of it, what stops it, and what its operator should know.

    `foreign_nonces` counts, since an operator last looked, the nonces that transactions which are not ours have spent.
    """

    __tablename__ = "signers"

    chain_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    address: Mapped[bytes] = mapped_column(primary_key=True)
    next_nonce: Mapped[int] = mapped_column(BigInteger)
    balance_wei: Mapped[int] = mapped_column(Uint256)
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    halt: Mapped[str | None]
    halt_detail: Mapped[str | None]
    halted_at: Mapped[datetime | None]
    alert: Mapped[str | None]
    alert_detail: Mapped[str | None]
    alerted_at: Mapped[datetime | None]
    foreign_nonces: Mapped[int] = mapped_column(BigInteger, server_default="0")


class EndpointRow(Base):
    """How an endpoint of a chain does, as a sender last told it; `number` is its place in the settings, from 1 on."""

    __tablename__ = "endpoints"
    __table_args__ = (CheckConstraint("number > 0", name="number"),)

    chain_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]  # number and host: never a URL, which may hold a key
    healthy: Mapped[bool]
    failures: Mapped[int] = mapped_column(BigInteger)
    latency_ms: Mapped[float | None] = mapped_column(Double)
    head: Mapped[int | None] = mapped_column(BigInteger)
    head_seen_at: Mapped[datetime | None]
    behind_blocks: Mapped[int] = mapped_column(BigInteger)
    wrong_chain: Mapped[bool]
    contradictions: Mapped[int] = mapped_column(BigInteger)
    last_error: Mapped[str | None]
    seen_at: Mapped[datetime]
