"""Transactions and their attempts."""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Base, Uint256


class Status(StrEnum):
    """Where a transaction stands. `NEXT` lists the moves."""

    QUEUED = "queued"  # stored; no nonce yet
    PENDING = "pending"  # nonce reserved and signed bytes stored; not known to have reached a node
    SUBMITTED = "submitted"  # a node took it
    MINED = "mined"  # receipt seen, its block not final
    CONFIRMED = "confirmed"  # final: its block is, and it succeeded
    REVERTED = "reverted"  # final: its block is, and the contract refused it
    REFUSED = "refused"  # final: the contract would refuse it, so it never took a nonce
    EXECUTED = "executed"  # final: its effect is there, brought about by another transaction


NEXT = {
    Status.QUEUED: {Status.PENDING, Status.REFUSED, Status.EXECUTED},
    Status.PENDING: {Status.SUBMITTED, Status.MINED},
    Status.SUBMITTED: {Status.MINED},
    Status.MINED: {Status.CONFIRMED, Status.REVERTED, Status.EXECUTED, Status.SUBMITTED},  # back: a reorganisation
    Status.CONFIRMED: set(),
    Status.REVERTED: set(),
    Status.REFUSED: set(),
    Status.EXECUTED: set(),
}

FINAL = tuple(status for status in Status if not NEXT[status])


class TransactionRow(Base):
    """One nonce of one signer, or the wish for one.

    `proof_recipient` and `proof_data` are a call that answers true once the effect is on the chain, whoever brought it
    about; until `effect_until` others can, once they have seen the calldata.
    """

    __tablename__ = "transactions"
    __table_args__ = (
        UniqueConstraint("chain_id", "signer", "nonce"),
        Index(
            "transactions_live_idx",
            *("chain_id", "status", "id"),
            postgresql_where=text("status IN ('queued', 'pending', 'submitted', 'mined')"),
        ),
        Index(
            "transactions_to_take_idx",
            "id",
            postgresql_where=text("status IN ('confirmed', 'reverted', 'refused', 'executed') AND NOT taken"),
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
    status: Mapped[str] = mapped_column(server_default=Status.QUEUED)
    retry_at: Mapped[datetime | None]
    nonce: Mapped[int | None] = mapped_column(BigInteger)
    gas_limit: Mapped[int | None] = mapped_column(BigInteger)
    waits_for_nonce: Mapped[int | None] = mapped_column(BigInteger)
    broadcast_at: Mapped[datetime | None]
    block_number: Mapped[int | None] = mapped_column(BigInteger)
    block_hash: Mapped[bytes | None]
    transaction_hash: Mapped[bytes | None]
    succeeded: Mapped[bool | None]
    gas_used: Mapped[int | None] = mapped_column(BigInteger)
    refusal: Mapped[dict[str, Any] | None]
    last_error: Mapped[str | None]
    taken: Mapped[bool] = mapped_column(server_default="false")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class AttemptRow(Base):
    """One signed version of a transaction: its bytes are kept for ever, since any of them may be the one that mines."""

    __tablename__ = "attempts"

    hash: Mapped[bytes] = mapped_column(primary_key=True)
    transaction_id: Mapped[UUID] = mapped_column(ForeignKey(TransactionRow.id), index=True)
    raw: Mapped[bytes]
    max_fee_wei: Mapped[int] = mapped_column(Uint256)
    priority_fee_wei: Mapped[int] = mapped_column(Uint256)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
