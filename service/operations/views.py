"""Operations on the wire."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from service.addresses import Address, Hash
from service.operations.queries import Operation

TransactionStatus = Literal[
    "queued",
    "pending",
    "submitted",
    "mined",
    "confirmed",
    "reverted",
    "refused",
    "executed",
    "cancelled",
    "displaced",
]
"""The words of `service.transactions.tables.Status`, as OpenAPI lists them."""

_EXAMPLE: JsonDict = {
    "id": "0199f6b2-7c1e-7a54-9d7e-0b6d3c6c2f10",
    "key_id": "3yQN791v44t",
    "kind": "token.mint",
    "status": "pending",
    "chain": 31337,
    "token_id": "0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01",
    "contract": "0x5FbDB2315678afecb367f032d93F642f64180aa3",
    "parameters": {"to": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8", "amount": "1000"},
    "transaction": {
        "status": "submitted",
        "hash": "0x" + "8f" * 32,
        "signer": "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
        "nonce": 7,
        "block": None,
        "block_hash": None,
        "last_error": None,
    },
    "problem": None,
    "created_at": "2026-05-03T10:02:00Z",
    "closed_at": None,
}


class TransactionView(BaseModel):
    """The transaction of an operation."""

    status: TransactionStatus
    hash: Hash | None
    signer: Address
    nonce: int | None
    block: int | None = Field(description="The block that it is in; not past reversal while `status` is `mined`.")
    block_hash: Hash | None
    last_error: str | None = Field(description="Why the newest attempt to send it has not worked yet.")


class OperationView(BaseModel):
    """An accepted intent: poll it until `status` is `succeeded` or `failed`, both of which are final."""

    model_config = ConfigDict(json_schema_extra={"example": _EXAMPLE})

    id: UUID
    key_id: str | None = Field(description="The credential that asked for it; none of operations before it was kept.")
    kind: str = Field(
        description="What was asked for, such as `token.mint`; `.schedule` at its end: it waits for a delay."
    )
    status: Literal["pending", "succeeded", "failed"]
    chain: int
    token_id: UUID | None = Field(description="The token that it concerns, if it concerns one.")
    contract: Address
    parameters: dict[str, Any]
    transaction: TransactionView
    problem: dict[str, Any] | None = Field(description="Why it failed, as an RFC 9457 problem.")
    created_at: datetime
    closed_at: datetime | None

    @classmethod
    def of(cls, operation: Operation) -> "OperationView":
        """The view of an operation."""
        sent = operation.transaction
        return cls.model_validate(
            {
                "id": operation.id,
                "key_id": operation.key_id,
                "kind": operation.kind,
                "status": operation.status,
                "chain": operation.chain_id,
                "token_id": operation.token_id,
                "contract": operation.contract,
                "parameters": operation.parameters,
                "transaction": {
                    "status": sent.status,
                    "hash": sent.transaction_hash,
                    "signer": sent.signer,
                    "nonce": sent.nonce,
                    "block": sent.block_number,
                    "block_hash": sent.block_hash,
                    "last_error": sent.last_error,
                },
                "problem": operation.problem,
                "created_at": operation.created_at,
                "closed_at": operation.closed_at,
            }
        )
