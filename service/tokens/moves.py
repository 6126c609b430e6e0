"""What holders do with a token: the bodies of such requests, and what each means to the contract.

A holder acts in three ways, and each body serves all three: the service signs for a managed account, the holder signs a
message that the issuer's signer relays, or the holder sends a transaction of its own.
"""

from dataclasses import dataclass, field
from typing import Any

from pydantic import ConfigDict, Field

from service.addresses import Address
from service.amounts import PositiveAmount
from service.chain.typed_data import Field as SignedField
from service.tokens.controls import ALICE, BOB, DEEDS, FUNGIBLE, UNITS, Shares
from service.web.orders import Order, ShortText, Uint256, text32


@dataclass(frozen=True, slots=True)
class Act:
    """What an account does: the function that it calls itself, and the message that lets another call for it."""

    account: bytes
    function: str
    arguments: tuple[Any, ...] = field(repr=False)
    primary_type: str
    signed: tuple[SignedField, ...] = field(repr=False)

    @property
    def relay(self) -> str:
        """The contract's function that takes the message: named like its type."""
        return self.primary_type[0].lower() + self.primary_type[1:]


class MoveOrder(Order):
    """A request of a holder."""

    holder: Address = Field(alias="from")

    def act(self, deed: tuple[int, ...]) -> Act:
        """What it means to the contract; `deed` is the id that the path names, if it does."""
        raise AssertionError("each order says what it means")


def _example(**fields: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"example": fields})


class TransferOrder(MoveOrder):
    """Move units to another account."""

    model_config = _example(**{"from": ALICE, "to": BOB, "amount": "250"})

    to: Address
    amount: PositiveAmount

    def act(self, deed: tuple[int, ...]) -> Act:
        """Source: ERC-3009, transferWithAuthorization."""
        signed: tuple[SignedField, ...] = (
            ("from", "address", self.holder),
            ("to", "address", self.to),
            ("value", "uint256", self.amount),
        )
        return Act(self.holder, "transfer", (self.to, self.amount), "TransferWithAuthorization", signed)


class BatchTransferOrder(MoveOrder):
    """Move units to many accounts at once: all rows or none."""

    model_config = _example(**{"from": ALICE, "shares": [{"to": BOB, "amount": "250"}]})

    shares: Shares

    def act(self, deed: tuple[int, ...]) -> Act:
        """All rows in one call."""
        to, amounts = [each.to for each in self.shares], [each.amount for each in self.shares]
        signed: tuple[SignedField, ...] = (
            ("from", "address", self.holder),
            ("to", "address[]", to),
            ("amounts", "uint256[]", amounts),
        )
        return Act(self.holder, "batchTransfer", (to, amounts), "BatchTransferWithAuthorization", signed)


class ApproveOrder(MoveOrder):
    """Let another account spend units, up to an amount; 0 takes it back."""

    model_config = _example(**{"from": ALICE, "spender": BOB, "amount": "100"})

    spender: Address
    amount: Uint256

    def act(self, deed: tuple[int, ...]) -> Act:
        """By a free nonce rather than ERC-2612's sequence, so that a repeated request is refused by the chain."""
        signed: tuple[SignedField, ...] = (
            ("owner", "address", self.holder),
            ("spender", "address", self.spender),
            ("value", "uint256", self.amount),
        )
        return Act(self.holder, "approve", (self.spender, self.amount), "ApproveWithAuthorization", signed)


class _UseOrder(MoveOrder):
    """Units are destroyed for what `reference` names, by the holder's own will."""

    amount: PositiveAmount
    reference: ShortText

    def _use(self, function: str, primary_type: str) -> Act:
        signed: tuple[SignedField, ...] = (
            ("account", "address", self.holder),
            ("amount", "uint256", self.amount),
            ("ref", "bytes32", text32(self.reference)),
        )
        return Act(self.holder, function, (self.amount, text32(self.reference)), primary_type, signed)


class RedeemOrder(_UseOrder):
    """Give units back: they are destroyed, and `reference` says what they are redeemed for."""

    model_config = _example(**{"from": ALICE, "amount": "10", "reference": "redemption 2026-17"})

    def act(self, deed: tuple[int, ...]) -> Act:
        """It obeys every rule that a transfer obeys."""
        return self._use("redeem", "RedeemWithAuthorization")


class SpendOrder(_UseOrder):
    """Use units up, for the access or the reward that `reference` names."""

    model_config = _example(**{"from": ALICE, "amount": "1", "reference": "lounge 2026-05-03"})

    def act(self, deed: tuple[int, ...]) -> Act:
        """The units are destroyed."""
        return self._use("spend", "SpendWithAuthorization")


class DelegateOrder(MoveOrder):
    """Let an account vote with one's units; units vote only once they are delegated, be it to oneself."""

    model_config = _example(**{"from": ALICE, "to": ALICE})

    to: Address

    def act(self, deed: tuple[int, ...]) -> Act:
        """By a free nonce rather than the sequence of delegateBySig."""
        signed: tuple[SignedField, ...] = (
            ("delegator", "address", self.holder),
            ("delegatee", "address", self.to),
        )
        return Act(self.holder, "delegate", (self.to,), "DelegateWithAuthorization", signed)


class DeedTransferOrder(MoveOrder):
    """Move a deed to another account."""

    model_config = _example(**{"from": ALICE, "to": BOB})

    to: Address

    def act(self, deed: tuple[int, ...]) -> Act:
        """ERC-3009's idea for a deed."""
        signed: tuple[SignedField, ...] = (
            ("from", "address", self.holder),
            ("to", "address", self.to),
            ("deedId", "uint256", deed[0]),
        )
        return Act(self.holder, "transferFrom", (self.holder, self.to, *deed), "TransferWithAuthorization", signed)


class DeedApproveOrder(MoveOrder):
    """Let another account move a deed, once."""

    model_config = _example(**{"from": ALICE, "spender": BOB})

    spender: Address

    def act(self, deed: tuple[int, ...]) -> Act:
        """The approval ends with the deed's next transfer. Source: ERC-721."""
        signed: tuple[SignedField, ...] = (
            ("owner", "address", self.holder),
            ("spender", "address", self.spender),
            ("deedId", "uint256", deed[0]),
        )
        return Act(self.holder, "approve", (self.spender, *deed), "ApproveWithAuthorization", signed)


@dataclass(frozen=True, slots=True)
class Move:
    """One such request: its path below the token, its operation's kind, and the kinds of token that it is for."""

    path: str
    kind: str
    order: type[MoveOrder]
    token_kinds: frozenset[str]
    summary: str

    @property
    def name(self) -> str:
        """The route's name."""
        return self.kind.replace(".", "_").replace("-", "_").removeprefix("token_")


MOVES = (
    Move("transfer", "token.transfer", TransferOrder, UNITS, "Move units out of an account."),
    Move("batch-transfer", "token.batch-transfer", BatchTransferOrder, UNITS, "Move units to many: all or none."),
    Move("approve", "token.approve", ApproveOrder, UNITS, "Let another account spend units."),
    Move("redeem", "token.redeem", RedeemOrder, FUNGIBLE, "Give units back to the issuer; they are destroyed."),
    Move("spend", "token.spend", SpendOrder, frozenset({"utility"}), "Use units up."),
    Move("delegate", "token.delegate", DelegateOrder, frozenset({"governance"}), "Say who votes with these units."),
    Move("deeds/{deed_id}/transfer", "deed.transfer", DeedTransferOrder, DEEDS, "Move a deed out of an account."),
    Move("deeds/{deed_id}/approve", "deed.approve", DeedApproveOrder, DEEDS, "Let another account move a deed."),
)
"""Every request of a holder, in the order of the documentation."""
