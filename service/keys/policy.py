"""What a signer may sign: pure rules, and named refusals."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from service.addresses import Address, hex0x
from service.amounts import Amount, parse_amount
from service.keys.unsigned import UnsignedTransaction

SELECTOR_BYTES = 4
WINDOW_S_MAX = 30 * 86_400


class Refusal(StrEnum):
    """Why a signature is not made. The first that holds, in this order."""

    UNREADABLE = "policy-unreadable"  # the stored policy is not one: nothing is signed until it is set again
    FROZEN = "frozen"
    NOT_EMPTY = "not-empty"  # called a cancellation or a filler, but it does something
    CONTRACT = "contract-not-allowed"
    SELECTOR = "selector-not-allowed"
    VALUE = "value-over-cap"
    FEE = "fee-over-cap"
    RATE = "rate-exceeded"
    APPROVAL = "approval-missing"


def _selector(given: Any) -> Any:
    if isinstance(given, str) and given.startswith("0x"):
        given = bytes.fromhex(given[2:])
    if not isinstance(given, bytes) or len(given) != SELECTOR_BYTES:
        raise ValueError("a selector is 0x followed by 8 hexadecimal digits")
    return given


def _wei(given: Any) -> Any:
    return parse_amount(given) if isinstance(given, str) else given


Selector = Annotated[bytes, BeforeValidator(_selector), PlainSerializer(hex0x, return_type=str)]
Wei = Annotated[Amount, BeforeValidator(_wei), Field(ge=0, lt=2**256)]


class Policy(BaseModel):
    """What one signer may sign. What is left out is not limited; amounts are in wei, decimal strings in JSON.

    A selector is the first four bytes of the call that the signer makes: what a contract called in turn does is not
    looked at. Empty transactions to the signer itself, which close gaps, are held to the freeze and the fees alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    contracts: frozenset[Address] | None = Field(None, description="Recipients that may be called; no creations then.")
    selectors: frozenset[Selector] | None = Field(None, description="Functions that may be called.")
    value_max_wei: Wei | None = Field(None, description="Most ether that one transaction carries.")
    fee_max_wei: Wei | None = Field(None, description="Most that one transaction may cost: gas limit times whole fee.")
    fee_window_max_wei: Wei | None = Field(None, description="Most that all signed within the window may cost.")
    rate_max: int | None = Field(None, ge=1, description="Most transactions signed within the window.")
    rate_window_s: int = Field(3_600, ge=1, le=WINDOW_S_MAX, description="The window, in seconds up to now.")
    approvals: Literal["all"] | frozenset[Selector] | None = Field(
        None, description="Functions that need a second person's approval, or `all`."
    )
    frozen: bool = Field(False, exclude=True, description="Nothing at all is signed; a switch of its own.")

    @property
    def looks_back(self) -> bool:
        """Whether it matters what was signed before."""
        return self.rate_max is not None or self.fee_window_max_wei is not None


@dataclass(frozen=True, slots=True)
class SigningIntent:
    """A transaction that is to be signed, and what for."""

    attempt_id: UUID
    transaction_id: UUID
    transaction: UnsignedTransaction
    signer: bytes
    approved: bool
    purpose: str  # 'transaction' | 'cancel' | 'filler'

    @property
    def selector(self) -> bytes | None:
        """The function that it calls, if it calls one."""
        data = self.transaction.data
        return data[:SELECTOR_BYTES] if len(data) >= SELECTOR_BYTES else None

    @property
    def fee_max_wei(self) -> int:
        """The most that it may cost."""
        return self.transaction.gas_limit * self.transaction.max_fee_wei

    @property
    def is_empty(self) -> bool:
        """Whether it does nothing but spend its nonce."""
        return self.transaction.to == self.signer and not self.transaction.value and not self.transaction.data


@dataclass(frozen=True, slots=True)
class Recent:
    """What one signer has signed within its policy's window, each nonce once."""

    count: int = 0
    fees_wei: int = 0

    def with_(self, intent: SigningIntent) -> "Recent":
        """The same, and this one too."""
        return Recent(self.count + (intent.purpose == "transaction"), self.fees_wei + intent.fee_max_wei)


def refusal(policy: Policy, intent: SigningIntent, recent: Recent) -> Refusal | None:
    """Why an intent may not be signed, or None where it may.

    Args:
        recent: what was signed within `policy.rate_window_s`, this one left out.
    """
    if policy.frozen:
        return Refusal.FROZEN
    if intent.purpose != "transaction":
        return _over_fee(policy, intent, recent) if intent.is_empty else Refusal.NOT_EMPTY
    return (
        _not_allowed(policy, intent)
        or _over_fee(policy, intent, recent)
        or (Refusal.RATE if policy.rate_max is not None and recent.count >= policy.rate_max else None)
        or (Refusal.APPROVAL if _needs_approval(policy, intent) and not intent.approved else None)
    )


def _not_allowed(policy: Policy, intent: SigningIntent) -> Refusal | None:
    transaction = intent.transaction
    if policy.contracts is not None and transaction.to not in policy.contracts:
        return Refusal.CONTRACT
    if policy.selectors is not None and intent.selector not in policy.selectors:
        return Refusal.SELECTOR
    if policy.value_max_wei is not None and transaction.value > policy.value_max_wei:
        return Refusal.VALUE
    return None


def _over_fee(policy: Policy, intent: SigningIntent, recent: Recent) -> Refusal | None:
    if policy.fee_max_wei is not None and intent.fee_max_wei > policy.fee_max_wei:
        return Refusal.FEE
    if policy.fee_window_max_wei is not None and recent.fees_wei + intent.fee_max_wei > policy.fee_window_max_wei:
        return Refusal.FEE
    return None


def _needs_approval(policy: Policy, intent: SigningIntent) -> bool:
    if policy.approvals is None:
        return False
    return policy.approvals == "all" or intent.selector in policy.approvals
