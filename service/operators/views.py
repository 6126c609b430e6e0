"""Transactions, their versions and signers, on the wire. Amounts of ether are in wei, as decimal strings."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from service.addresses import Address, Hash
from service.amounts import Amount
from service.operations.views import TransactionStatus
from service.operators.queries import Detail, Listed, SignerState
from service.transactions.endpoints import KNOWN_WITHIN_S

_SUMMARY: JsonDict = {
    "id": "0199f6b2-7c1e-7a54-9d7e-0b6d3c6c2f11",
    "operation": {"id": "0199f6b2-7c1e-7a54-9d7e-0b6d3c6c2f10", "kind": "token.mint", "status": "pending"},
    "origin": "wish",
    "signer": "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
    "recipient": "0x5FbDB2315678afecb367f032d93F642f64180aa3",
    "nonce": 7,
    "status": "submitted",
    "hash": "0x" + "8f" * 32,
    "block": None,
    "block_hash": None,
    "age_s": 12.5,
    "attempts_count": 2,
    "max_fee_wei": "2250000000",
    "priority_fee_wei": "1125000000",
    "gas_used": None,
    "last_error": None,
    "refusal": None,
    "cancel_asked_at": None,
    "bump_asked_at": None,
    "approved_at": None,
    "approved_by": None,
    "broadcast_at": "2026-05-03T10:02:05Z",
    "retry_at": None,
    "created_at": "2026-05-03T10:02:00Z",
}

_ATTEMPT: JsonDict = {
    "hash": "0x" + "8f" * 32,
    "kind": "call",
    "nonce": 7,
    "gas_limit": 90000,
    "max_fee_wei": "2250000000",
    "priority_fee_wei": "1125000000",
    "tip_number": 120,
    "created_at": "2026-05-03T10:02:00Z",
    "signed_at": "2026-05-03T10:02:00Z",
    "abandoned_at": None,
}

_SIGNATURE: JsonDict = {
    "at": "2026-05-03T10:02:00Z",
    "provider": "keystore",
    "purpose": "transaction",
    "nonce": 7,
    "fee_max_wei": "202500000000000",
    "verdict": "allowed",
    "reason": None,
}

_SIGNER: JsonDict = {
    "address": "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
    "next_nonce": 8,
    "balance_wei": "9999000000000000000000",
    "seen_at": "2026-05-03T10:02:00Z",
    "halt": None,
    "halt_detail": None,
    "halted_at": None,
    "alert": None,
    "alert_detail": None,
    "alerted_at": None,
    "foreign_nonces": 0,
    "live": {"queued": 0, "submitted": 1},
    "oldest_unmined_s": 12.5,
    "policy": {"rate_max": 100},
    "frozen": False,
}


_ENDPOINT: JsonDict = {
    "number": 1,
    "name": "endpoint 1 (node.example)",
    "state": "up",
    "failures": 0,
    "latency_ms": 12.5,
    "head": 120,
    "head_age_s": 2.5,
    "behind_blocks": 0,
    "wrong_chain": False,
    "contradictions": 0,
    "last_error": None,
    "seen_at": "2026-05-03T10:02:00Z",
    "seen_age_s": 2.0,
}


class ServedView(BaseModel):
    """The operation that a transaction serves."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    kind: str
    status: Literal["pending", "succeeded", "failed"]


class TransactionSummary(BaseModel):
    """One nonce of one signer, or the wish for one."""

    model_config = ConfigDict(json_schema_extra={"example": _SUMMARY})

    id: UUID
    operation: ServedView | None = Field(description="What it serves; null where it only fills or serves the service.")
    origin: Literal["wish", "given", "filler"] = Field(
        description="`wish`: ours; `given`: an outsider signed it; `filler`: an empty one that closes a gap of nonces."
    )
    signer: Address
    recipient: Address
    nonce: int | None
    status: TransactionStatus
    hash: Hash | None = Field(description="Of the mined version, or else of the newest.")
    block: int | None
    block_hash: Hash | None
    age_s: float
    attempts_count: int
    max_fee_wei: Amount | None = Field(description="Most that the version offers for a unit of gas.")
    priority_fee_wei: Amount | None
    gas_used: int | None
    last_error: str | None = Field(description="Why it does not go on, or is not decided yet.")
    refusal: dict[str, Any] | None = Field(description="The contract's own error, where it refused.")
    cancel_asked_at: datetime | None
    bump_asked_at: datetime | None
    approved_at: datetime | None
    approved_by: str | None
    broadcast_at: datetime | None = Field(description="When it was last sent to a node.")
    retry_at: datetime | None = Field(description="It is not tried again before.")
    created_at: datetime

    @classmethod
    def of(cls, listed: Listed) -> "TransactionSummary":
        """The view of a listed transaction."""
        return cls.model_validate(_summary(listed))


class AttemptView(BaseModel):
    """One version of a transaction."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"example": _ATTEMPT})

    hash: Hash | None = Field(description="Null where it was reserved and never signed.")
    kind: Literal["call", "cancel"] = Field(description="`cancel`: an empty one in its place.")
    nonce: int
    gas_limit: int
    max_fee_wei: Amount
    priority_fee_wei: Amount
    tip_number: int = Field(description="The newest block when it was made.")
    created_at: datetime
    signed_at: datetime | None
    abandoned_at: datetime | None = Field(description="Since then it will not be signed.")


class SignatureView(BaseModel):
    """An entry of the audit, written before the key was touched."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"example": _SIGNATURE})

    at: datetime
    provider: str | None
    purpose: str
    nonce: int
    fee_max_wei: Amount
    verdict: Literal["allowed", "refused"]
    reason: str | None


class TransactionDetail(TransactionSummary):
    """A transaction with every version of it, and the audit of their signatures."""

    model_config = ConfigDict(
        json_schema_extra={"example": {**_SUMMARY, "attempts": [_ATTEMPT], "signatures": [_SIGNATURE]}}
    )

    attempts: list[AttemptView]
    signatures: list[SignatureView]

    @classmethod
    def of_detail(cls, detail: Detail) -> "TransactionDetail":
        """The view of all that is known of a transaction."""
        return cls.model_validate(
            {
                **_summary(detail.listed),
                "attempts": [AttemptView.model_validate(each) for each in detail.attempts],
                "signatures": [SignatureView.model_validate(each) for each in detail.signatures],
            }
        )


class SignerView(BaseModel):
    """How a signer stands."""

    model_config = ConfigDict(json_schema_extra={"example": _SIGNER})

    address: Address
    next_nonce: int | None = Field(description="As the chain counts; null until the sender has looked.")
    balance_wei: Amount | None
    seen_at: datetime | None
    halt: str | None = Field(description="Why nothing new is sent for it.")
    halt_detail: str | None
    halted_at: datetime | None
    alert: str | None = Field(description="What should be looked at before it halts.")
    alert_detail: str | None
    alerted_at: datetime | None
    foreign_nonces: int | None = Field(
        description="Nonces that somebody else spent with its key, since it was last resumed."
    )
    live: dict[str, int] = Field(description="Its transactions that are not final, by status.")
    oldest_unmined_s: float | None
    policy: dict[str, Any] | None = Field(description="What it may sign; null for anything.")
    frozen: bool = Field(description="It signs nothing.")

    @classmethod
    def of(cls, state: SignerState) -> "SignerView":
        """The view of a signer."""
        standing = state.standing
        names = ("next_nonce", "balance_wei", "seen_at", "halt", "halt_detail", "halted_at")
        alerts = ("alert", "alert_detail", "alerted_at", "foreign_nonces")
        return cls.model_validate(
            {
                "address": state.address,
                **{name: getattr(standing, name, None) for name in (*names, *alerts)},
                "live": dict(state.load.counts) if state.load else {},
                "oldest_unmined_s": state.load.oldest_unmined_s if state.load else None,
                "policy": state.limits.policy if state.limits else None,
                "frozen": state.limits.frozen if state.limits else False,
            }
        )


class EndpointView(BaseModel):
    """How an endpoint of the chain does, as the sender last told it."""

    model_config = ConfigDict(from_attributes=True, json_schema_extra={"example": _ENDPOINT})

    number: int = Field(description="Its place in MUNIMENT_RPC_URL, from 1 on.")
    name: str = Field(description="Its number and host, never its URL.")
    state: Literal["up", "down", "unknown"] = Field(
        description=f"`unknown`: no sender has told of it for {KNOWN_WITHIN_S} seconds."
    )
    failures: int = Field(description="Questions in a row without a usable answer.")
    latency_ms: float | None = Field(description="Of its last answer.")
    head: int | None = Field(description="The newest block it spoke of.")
    head_age_s: float | None = Field(description="Since it spoke of that block.")
    behind_blocks: int = Field(description="Below the best endpoint, when they were last compared.")
    wrong_chain: bool
    contradictions: int = Field(description="Answers that contradicted the others', since the sender began.")
    last_error: str | None = Field(description="The last fault, also where it is over; what may be a key is left out.")
    seen_at: datetime
    seen_age_s: float = Field(description="Since a sender told of it.")


def _summary(listed: Listed) -> dict[str, Any]:
    found = listed.transaction
    same = (
        *("id", "origin", "signer", "recipient", "nonce", "status", "block_hash", "attempts_count", "max_fee_wei"),
        *("priority_fee_wei", "gas_used", "last_error", "refusal", "cancel_asked_at", "bump_asked_at", "approved_at"),
        *("approved_by", "broadcast_at", "retry_at", "created_at"),
    )
    return {
        **{name: getattr(found, name) for name in same},
        "operation": None if listed.operation is None else ServedView.model_validate(listed.operation),
        "hash": found.transaction_hash,
        "block": found.block_number,
        "age_s": round(found.age_s, 1),
    }
