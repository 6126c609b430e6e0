"""Batches on the wire, and their rows as CSV."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from service.addresses import Address
from service.batches.orders import ANSWERED, KINDS
from service.batches.queries import STATUSES, Batch, GivenOne, Sent
from service.tokens.controls import ALICE

RowStatus = Literal["queued", "sent", "mined", "succeeded", "failed", "cancelled"]


class CountsView(BaseModel):
    """How many are how far; `succeeded`, `failed` and `cancelled` are final."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "total": 10000,
                **{"queued": 9630, "sent": 370, "mined": 0, "succeeded": 0, "failed": 0, "cancelled": 0},
            }
        }
    )

    total: int
    queued: int = Field(description="Stored; no nonce yet.")
    sent: int = Field(description="On its way to a block.")
    mined: int = Field(description="In a block that is not past reversal.")
    succeeded: int
    failed: int
    cancelled: int

    @classmethod
    def of(cls, counts: Counter[str]) -> "CountsView":
        """The view of counts by status."""
        return cls(total=counts.total(), **{status: counts[status] for status in STATUSES})


class CancelledView(BaseModel):
    """What was asked to be taken back."""

    at: datetime
    packs: int = Field(description="Packs that were not in a block then.", examples=[27])
    too_late: int = Field(description="Packs that were, or had ended.", examples=[1])


class BatchView(BaseModel):
    """Rows that were accepted as a whole, and how far they are."""

    id: UUID
    kind: Literal["mint", "transfer", "freeze", "identity"]
    token_id: UUID | None = Field(description="The token that it concerns, if it concerns one.")
    contract: Address
    state: Literal["pending", "running", "succeeded", "failed", "partly_failed", "cancelled"]
    rows: CountsView
    packs: CountsView = Field(description="Each pack is one operation, and all its rows end alike.")
    cancelled: CancelledView | None
    created_at: datetime

    @classmethod
    def of(cls, batch: Batch) -> "BatchView":
        """The view of a batch."""
        taken_back = sum(pack.cancel_asked_at is not None for pack in batch.packs)
        cancelled = batch.cancelled_at and {
            "at": batch.cancelled_at,
            "packs": taken_back,
            "too_late": batch.packs_count - taken_back,
        }
        return cls.model_validate(
            {
                "id": batch.id,
                "kind": batch.kind,
                "token_id": batch.token_id,
                "contract": batch.contract,
                "state": batch.state,
                "rows": CountsView.of(batch.rows_by_status),
                "packs": CountsView.of(Counter(pack.status for pack in batch.packs)),
                "cancelled": cancelled,
                "created_at": batch.created_at,
            }
        )


class PackView(BaseModel):
    """One operation's share of a batch."""

    model_config = ConfigDict(from_attributes=True)

    number: int = Field(examples=[1])
    round: int = Field(description="How often it was sent.", examples=[1])
    operation_id: UUID
    rows_count: int = Field(examples=[356])
    status: RowStatus
    problem: dict[str, Any] | None = Field(description="Why it failed, as an RFC 9457 problem.", examples=[None])


class RowView(BaseModel):
    """A row as it was given, and how far it is."""

    row: int = Field(description="From 1.", examples=[17])
    status: RowStatus
    pack: int = Field(examples=[1])
    operation_id: UUID
    parameters: dict[str, Any] = Field(examples=[{"to": ALICE, "amount": "1000"}])
    problem: dict[str, Any] | None = Field(description="Why its pack failed.", examples=[None])

    @classmethod
    def of(cls, row: GivenOne, pack: Sent) -> "RowView":
        """The view of a row in its pack."""
        return cls(
            row=row.number,
            status=pack.status,
            pack=pack.number,
            operation_id=pack.operation_id,
            parameters=row.parameters,
            problem=pack.problem,
        )


def rows_csv(kind: str, rows: Sequence[RowView]) -> str:
    """Rows in the columns in which they are uploaded, with number, status and problem behind. Source: RFC 4180."""
    columns = list(KINDS[kind].columns)
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([*columns, *ANSWERED])
    for row in rows:
        problem = "" if row.problem is None else f"{row.problem['title']}: {row.problem['detail']}"
        writer.writerow([*(row.parameters.get(name, "") for name in columns), row.row, row.status, problem])
    return text.getvalue()
