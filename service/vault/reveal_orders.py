"""What callers ask of reveals, approvals and payments."""

from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, StrictStr

from service.vault.masks import View
from service.vault.orders import ITEMS_MAX, Reason, VaultToken
from service.vault.policies import PurposeName
from service.web.orders import Order, Uint256

AMOUNT_MAX = 10**15
CONTEXT_LENGTH_MAX = 58
PROCESSOR_NAME = r"^[a-z][a-z0-9-]{0,31}$"

_POLICY = "0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01"


def _charged(amount: int) -> int:
    if not 1 <= amount <= AMOUNT_MAX:
        raise ValueError(f"an amount is 1 to {AMOUNT_MAX} of the smallest unit of its currency")
    return amount


class RevealAsk(Order):
    """Which values are to be seen, how much of them, and why."""

    tokens: list[VaultToken] = Field(min_length=1, max_length=ITEMS_MAX, repr=False)
    purpose: PurposeName = Field(description="One that the reveal rules of each policy list.")
    reason: Reason
    view: View = Field(description="How much of each value.")
    policy: UUID | None = Field(
        default=None, description="Of kind vaultless, and all the tokens are of it; null for tokens that are stored."
    )
    context: StrictStr = Field(
        default="",
        max_length=CONTEXT_LENGTH_MAX,
        repr=False,
        description="As it was told when vaultless tokens were made.",
    )


class RevealOrder(RevealAsk):
    """Values to be seen now."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "tokens": ["tok_test_4nC6hTTUmIZv6v3oTbWsdX"],
                "purpose": "support",
                "reason": "Ticket 4711: the investor asks what we have",
                "view": "masked",
            }
        }
    )

    approval: UUID | None = Field(default=None, description="Of this very request, where its policy wants one.")


class ExportOrder(Order):
    """All live vault tokens of a policy, with their values, and why."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"policy": _POLICY, "purpose": "migration", "reason": "We move to another vault, ticket 4711"}
        }
    )

    policy: UUID = Field(description="Of the mapping mode exportable.")
    purpose: PurposeName = Field(description="One that the policy's reveal rules list; so is the view plain.")
    reason: Reason


class ApprovalOrder(RevealAsk):
    """A reveal that others are to agree to."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "tokens": ["tok_test_4nC6hTTUmIZv6v3oTbWsdX"],
                "purpose": "support",
                "reason": "Ticket 4711: the investor asks what we have",
                "view": "plain",
            }
        }
    )


class PaymentOrder(Order):
    """A card, by its vault token, to be charged by a payment processor. A verification code has no place here."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "token": "9214003728471111",
                "processor": "acquirer",
                "amount": "125000",
                "currency": "EUR",
                "reference": "invoice-2026-17",
            }
        }
    )

    token: VaultToken = Field(repr=False)
    processor: StrictStr = Field(pattern=PROCESSOR_NAME, description="As the deployment's settings name it.")
    amount: Annotated[Uint256, AfterValidator(_charged)] = Field(description="In the currency's smallest unit.")
    currency: StrictStr = Field(pattern=r"^[A-Z]{3}$", description="ISO 4217.")
    reference: Annotated[Reason, Field(max_length=120)] = Field(description="The issuer's own name for the payment.")
