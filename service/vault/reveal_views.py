"""What callers are told of reveals, approvals, suspensions and payments."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, Field

from service.vault.approvals import Approval
from service.vault.budgets import Suspension
from service.vault.exporting import Exported
from service.vault.masks import View
from service.vault.payments import Payment, PaymentState
from service.vault.revealing import Shown
from service.vault.views import RecordView


class ShownView(BaseModel):
    """What a reveal shows of one value."""

    value: str | None = Field(
        examples=["411111******1111"], description="Null where nothing is shown; then `problem` says why."
    )
    problem: dict[str, Any] | None = Field(examples=[None], description="An RFC 9457 problem.")

    @classmethod
    def of(cls, shown: Shown) -> Self:
        """A value as it is told."""
        return cls(value=shown.value, problem=shown.problem)


class RevealedView(BaseModel):
    """What a reveal shows, in the order of its tokens."""

    data: list[ShownView]


class ExportedView(BaseModel):
    """A vault token, with what it stands for."""

    token: str | None = Field(
        examples=["tok_test_4nC6hTTUmIZv6v3oTbWsdX"], description="Null where it was altered; then `problem` says so."
    )
    value: str | None = Field(
        examples=["ada@example.org"], description="Null where it does not open; then `problem` says why."
    )
    problem: dict[str, Any] | None = Field(examples=[None], description="An RFC 9457 problem: `record-damaged`.")
    record: RecordView

    @classmethod
    def of(cls, exported: Exported) -> Self:
        """It as it is told."""
        record = RecordView.of(exported.record)
        return cls(token=exported.token, value=exported.value, problem=exported.problem, record=record)


class ApprovalView(BaseModel):
    """A reveal that others are asked to agree to."""

    id: UUID
    caller_id: UUID = Field(description="Who asks.")
    policy_ids: list[UUID]
    record_ids: list[UUID] = Field(description="What would be seen; empty for vaultless tokens, which have no records.")
    values_count: int = Field(examples=[2])
    purpose: str = Field(examples=["payout"])
    reason: str = Field(examples=["Quarterly payout 2027-01"])
    view: View
    approvals_needed: int = Field(examples=[1])
    approvals_count: int = Field(examples=[0])
    created_at: datetime
    expires_at: datetime
    spent_at: datetime | None

    @classmethod
    def of(cls, approval: Approval) -> Self:
        """A request for approval as it is told."""
        return cls.model_validate(approval, from_attributes=True)


class SuspensionView(BaseModel):
    """An API key that passed a limit."""

    id: UUID
    key_id: str = Field(examples=["GqSgidOLsMv"])
    policy_id: UUID
    reason: str = Field(examples=["values-daily"], description="`values-daily` or `subjects-daily`.")
    suspended_at: datetime
    lifted_at: datetime | None

    @classmethod
    def of(cls, suspension: Suspension) -> Self:
        """A suspension as it is told."""
        return cls.model_validate(suspension, from_attributes=True)


class PaymentView(BaseModel):
    """A payment; the card is not in it."""

    id: UUID
    state: PaymentState
    processor: str = Field(examples=["acquirer"])
    amount: str = Field(examples=["12.50"])
    currency: str = Field(examples=["EUR"])
    reference: str = Field(examples=["invoice 2027-0042"])
    processor_reference: str | None = Field(examples=["ch_7Qd2"], description="The processor's own name for it.")
    code: str | None = Field(examples=[None], description="Why the processor declined, in its own code.")
    created_at: datetime
    settled_at: datetime | None

    @classmethod
    def of(cls, payment: Payment) -> Self:
        """A payment as it is told."""
        return cls(
            id=payment.id,
            state=payment.state,
            processor=payment.processor,
            amount=str(payment.amount),
            currency=payment.currency,
            reference=payment.reference,
            processor_reference=payment.processor_reference,
            code=payment.code,
            created_at=payment.created_at,
            settled_at=payment.settled_at,
        )
