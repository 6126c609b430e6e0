"""Assets, accounts, tokens and their owners on the wire."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from service.addresses import ZERO, Address, Hash
from service.amounts import Amount, display_amount
from service.mirror.queries import HistoryEntry
from service.mirror.transfer_queries import Transfer
from service.operations.labels import LabelView
from service.tokens.orders import Kind
from service.tokens.queries import Token

ALICE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
EXAMPLE_ID = "0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01"


class AssetView(BaseModel):
    """The off-chain thing."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str = Field(examples=["12 Harbour Street"])
    category: Literal["house", "shares", "painting", "loyalty", "other"]
    description: str = Field(examples=["Land registry folio 4711"])
    created_at: datetime


class AccountView(BaseModel):
    """An address that the issuer knows."""

    model_config = ConfigDict(from_attributes=True)

    address: Address = Field(examples=[ALICE])
    managed: bool = Field(description="Its key is in the service's keeping, so it can transfer through the API.")
    label: str = Field(examples=["Alice"])
    created_at: datetime


class MarkView(BaseModel):
    """What a contract of others does besides what its transfers say, as it was found at a block."""

    model_config = ConfigDict(from_attributes=True)

    name: str = Field(
        examples=["fee-on-transfer"],
        description="`fee-on-transfer`, `rebasing` and `balances-do-not-follow`: what accounts hold may be other than "
        "their transfers say. `no-return-value`: `transfer` answers nothing. `proxy-not-announced`: the code behind it "
        "was exchanged without an event, by itself or by its beacon. `history-unproven`: nobody proved that its "
        "history is whole.",
    )
    block: int = Field(examples=[42])
    detail: str = Field(examples=[f"{ALICE}: its transfers say 543, the contract 541"])


class TokenView(BaseModel):
    """One contract for one asset, or one of others; what the chain says of it is as of the block in `at`."""

    id: UUID = Field(examples=[EXAMPLE_ID])
    asset_id: UUID | None = Field(description="Null for a contract of others.")
    kind: Kind | Literal["erc20", "erc721"]
    name: str = Field(examples=["12 Harbour Street"])
    symbol: str = Field(examples=["HARB12"])
    decimals: int = Field(examples=[0])
    chain: int = Field(examples=[31337])
    address: Address
    status: Literal["deploying", "adopting", "active", "failed"]
    operation_id: UUID | None = Field(description="The operation that deploys it; null for a contract of others.")
    adoption_id: UUID | None = Field(description="The adoption of a contract of others.", examples=[None])
    deployed_block: int | None = Field(examples=[7])
    total_supply: Amount | None = Field(examples=["1000"])
    paused: bool | None
    marks: list[MarkView] = Field(description="What a contract of others does besides its transfers.")
    implementation: str | None = Field(
        examples=[None], description="The code behind a proxy, as it or its beacon announced it."
    )
    beacon: str | None = Field(examples=[None], description="What tells a proxy which code is behind it.")
    created_at: datetime

    @classmethod
    def of(cls, token: Token, *, status: str, deployed_block: int | None, **state: Any) -> "TokenView":
        """The view of a token; `state` is its supply, pause, marks and implementation, where it is deployed."""
        return cls.model_validate(
            {
                "id": token.id,
                "asset_id": token.asset_id,
                "kind": token.kind,
                "name": token.name,
                "symbol": token.symbol,
                "decimals": token.decimals,
                "chain": token.chain_id,
                "address": token.address,
                "status": status,
                "operation_id": token.operation_id,
                "adoption_id": token.adoption_id,
                "deployed_block": deployed_block,
                "total_supply": state.get("total_supply"),
                "paused": state.get("paused"),
                "marks": state.get("marks", []),
                "implementation": state.get("implementation"),
                "beacon": state.get("beacon"),
                "created_at": token.created_at,
            }
        )


class LabelledToken(TokenView):
    """A token and the block that its state describes."""

    at: LabelView


class HolderView(BaseModel):
    """An account with a balance, and that balance."""

    account: Address = Field(examples=[ALICE])
    amount: Amount = Field(examples=["1050"], description="Base units.")
    display: str = Field(examples=["10.5"], description="The amount in whole tokens.")

    @classmethod
    def of(cls, account: bytes, amount: int, decimals: int) -> "HolderView":
        """The view of a holding."""
        shown = display_amount(amount, decimals)
        return cls.model_validate({"account": account, "amount": amount, "display": shown})


class LabelledHolder(HolderView):
    """A holding and the block that it describes."""

    at: LabelView


class HoldingView(BaseModel):
    """What an account holds of one token."""

    token_id: UUID = Field(examples=[EXAMPLE_ID])
    contract: Address
    symbol: str = Field(examples=["HARB12"])
    amount: Amount = Field(examples=["1050"], description="Base units.")
    display: str = Field(examples=["10.5"], description="The amount in whole tokens.")

    @classmethod
    def of(cls, token: Token, amount: int) -> "HoldingView":
        """The view of a holding of a token."""
        return cls.model_validate(
            {
                "token_id": token.id,
                "contract": token.address,
                "symbol": token.symbol,
                "amount": amount,
                "display": display_amount(amount, token.decimals),
            }
        )


class HistoryView(BaseModel):
    """What an account held from one block until another."""

    from_block: int = Field(examples=[42])
    from_hash: Hash
    from_time: datetime
    to_block: int | None = Field(
        description="The first block in which this no longer held; null while it holds.", examples=[57]
    )
    amount: Amount = Field(examples=["1050"], description="Base units.")
    display: str = Field(examples=["10.5"], description="The amount in whole tokens.")

    @classmethod
    def of(cls, entry: HistoryEntry, decimals: int) -> "HistoryView":
        """The view of a piece of history."""
        return cls.model_validate(
            {
                "from_block": entry.from_block,
                "from_hash": entry.from_hash,
                "from_time": entry.from_time,
                "to_block": entry.to_block,
                "amount": entry.amount,
                "display": display_amount(entry.amount, decimals),
            }
        )


class TransferView(BaseModel):
    """One movement. Minting has no sender, burning no recipient."""

    token_id: UUID = Field(examples=[EXAMPLE_ID])
    kind: Literal["mint", "transfer", "burn"]
    sender: Address | None = Field(serialization_alias="from")
    recipient: Address | None = Field(serialization_alias="to", examples=[ALICE])
    amount: Amount = Field(examples=["1050"], description="Base units.")
    display: str = Field(examples=["10.5"], description="The amount in whole tokens.")
    block: int = Field(examples=[42])
    block_hash: Hash
    time: datetime
    log_index: int = Field(examples=[1])
    transaction_hash: Hash

    @classmethod
    def of(cls, transfer: Transfer, token: Token) -> "TransferView":
        """The view of a movement of a token."""
        burned, minted = transfer.recipient == ZERO, transfer.sender == ZERO
        return cls.model_validate(
            {
                "token_id": token.id,
                "kind": "mint" if minted else "burn" if burned else "transfer",
                "sender": None if minted else transfer.sender,
                "recipient": None if burned else transfer.recipient,
                "amount": transfer.amount,
                "display": display_amount(transfer.amount, token.decimals),
                "block": transfer.block_number,
                "block_hash": transfer.block_hash,
                "time": transfer.block_time,
                "log_index": transfer.log_index,
                "transaction_hash": transfer.transaction_hash,
            }
        )
