"""Who owned how much, on the wire."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from service.addresses import ZERO, Address, Hash
from service.amounts import Amount, display_amount
from service.mirror.lots import Lot
from service.mirror.ownership import BANDS_PPM, TOP, Change, Concentration, Period
from service.mirror.queries import Holding
from service.mirror.transfer_queries import Transfer
from service.operations.labels import LabelledPage, LabelView
from service.ownership.shares import INDEX_DIGITS, fixed, percent
from service.tokens.queries import Token
from service.tokens.views import ALICE, HolderView, TransferView

PercentText = Field(pattern=r"^[0-9]{1,3}\.[0-9]{6}$", examples=["33.333333"])
_SIGNED = r"^-?(0|[1-9][0-9]{0,77})$"


class ShareView(HolderView):
    """A holder, what it holds, and how much of all that is."""

    share_percent: str = PercentText

    @classmethod
    def at(cls, holding: Holding, supply: int, decimals: int) -> "ShareView":
        """The view of a holding of a supply."""
        plain = HolderView.of(holding.account, holding.amount, decimals)
        return cls(**dict(plain), share_percent=percent(holding.amount, supply))


class TotalView(BaseModel):
    """All holders together."""

    holders: int = Field(examples=[3])
    amount: Amount = Field(examples=["1050"], description="The supply, in base units: the sum of all holdings.")
    display: str = Field(examples=["10.5"], description="The amount in whole tokens.")


class CapTablePage(LabelledPage[ShareView]):
    """One page of a cap table, and what all its pages add up to."""

    total: TotalView


class HolderTransferView(TransferView):
    """One movement as its holder sees it, and what the holder held right after it."""

    direction: Literal["in", "out", "self"]
    counterparty: Address | None = Field(examples=[ALICE], description="Null where it was minted or burned.")
    held: Amount | None = Field(
        examples=["1050"],
        description="Base units held after this very movement; null where the contract told of it before it told of "
        "what it moves (`at.marks` says so too): the end of the block tells.",
    )
    held_display: str | None = Field(examples=["10.5"], description="The same in whole tokens.")

    @classmethod
    def seen(cls, transfer: Transfer, held: int | None, account: bytes, token: Token) -> "HolderTransferView":
        """The view of a movement from one of its sides."""
        other = transfer.sender if transfer.recipient == account else transfer.recipient
        own = transfer.sender == transfer.recipient
        direction = "self" if own else "in" if transfer.recipient == account else "out"
        return cls.model_validate(
            {
                **dict(TransferView.of(transfer, token)),
                "direction": direction,
                "counterparty": None if other == ZERO else other,
                "held": held,
                "held_display": None if held is None else display_amount(held, token.decimals),
            }
        )


class ChangeView(BaseModel):
    """What an account held before and after."""

    account: Address = Field(examples=[ALICE])
    kind: Literal["gained", "lost", "increased", "decreased"]
    before: Amount = Field(examples=["1000"], description="Base units at the end of `from_block`.")
    after: Amount = Field(examples=["1050"], description="Base units at the end of the block in `at`.")
    change: str = Field(pattern=_SIGNED, examples=["50"], description="Base units; negative where it is less by now.")

    @classmethod
    def of(cls, change: Change) -> "ChangeView":
        """The view of a change."""
        kind = "increased" if change.after > change.before else "decreased"
        return cls(
            account=change.account,
            kind="gained" if change.before == 0 else "lost" if change.after == 0 else kind,
            before=change.before,
            after=change.after,
            change=str(change.after - change.before),
        )


class ChangesPage(LabelledPage[ChangeView]):
    """One page of the accounts that hold another amount than at the end of `from_block`."""

    from_block: int | None = Field(examples=[42], description="Null for the time before the token was there.")


class PeriodView(BaseModel):
    """What happened to the number of holders in a day, a week or a month; periods without a change are left out."""

    start: datetime = Field(description="Midnight UTC; a week begins on Monday.")
    gained: int = Field(description="Held nothing at the start, and something at the end.", examples=[3])
    lost: int = Field(description="Held something at the start, and nothing at the end.", examples=[1])
    holders: int = Field(description="How many held something at the end.", examples=[12])

    @classmethod
    def of(cls, period: Period) -> "PeriodView":
        """The view of a period."""
        return cls.model_validate(period, from_attributes=True)


class BandView(BaseModel):
    """The holders of a certain size."""

    from_percent: str = Field(examples=["1.000000"], description="Share of the supply from which on it counts here.")
    holders: int = Field(examples=[12])
    amount: Amount = Field(examples=["1050"], description="Base units that they hold together.")
    share_percent: str = PercentText


class TopView(BaseModel):
    """The largest holders together."""

    holders: int = Field(examples=[10])
    amount: Amount = Field(examples=["1050"], description="Base units.")
    share_percent: str = PercentText


class ConcentrationView(BaseModel):
    """How unevenly a token is spread."""

    holders: int = Field(examples=[12])
    supply: Amount = Field(examples=["1050"], description="Base units.")
    top: list[TopView] = Field(description="The largest 1, 10 and 100 holders.")
    herfindahl: str = Field(
        pattern=r"^[01]\.[0-9]{10}$",
        examples=["0.3400000000"],
        description="Herfindahl-Hirschman index: the sum of the squares of all shares; 1 where one holds everything.",
    )
    bands: list[BandView] = Field(description="Holders by size, largest first.")
    at: LabelView

    @classmethod
    def of(cls, found: Concentration, supply: int, at: LabelView) -> "ConcentrationView":
        """The view of a spread."""
        bands = [
            BandView(
                from_percent=percent(ppm, 1_000_000),
                holders=band.holders,
                amount=band.amount,
                share_percent=percent(band.amount, supply),
            )
            for ppm, band in zip(BANDS_PPM, found.bands, strict=True)
        ]
        return cls(
            holders=found.holders,
            supply=supply,
            top=[
                TopView(holders=count, amount=amount, share_percent=percent(amount, supply))
                for count, amount in zip(TOP, found.top, strict=True)
            ],
            herfindahl=fixed(found.squares, supply**2, INDEX_DIGITS),
            bands=bands,
            at=at,
        )


class AcquisitionView(BaseModel):
    """Units that an account received at once and still holds, wholly or in part."""

    amount: Amount = Field(examples=["40"], description="Base units still held.")
    display: str = Field(examples=["0.4"], description="The same in whole tokens.")
    received: Amount = Field(examples=["100"], description="Base units that came then.")
    sender: Address | None = Field(serialization_alias="from", description="Null where they were minted.")
    block: int = Field(examples=[42])
    block_hash: Hash
    time: datetime
    log_index: int = Field(examples=[1])
    transaction_hash: Hash

    @classmethod
    def of(cls, lot: Lot, decimals: int) -> "AcquisitionView":
        """The view of a lot."""
        receipt = lot.receipt
        return cls.model_validate(
            {
                "amount": lot.amount,
                "display": display_amount(lot.amount, decimals),
                "received": receipt.amount,
                "sender": None if receipt.sender == ZERO else receipt.sender,
                "block": receipt.block_number,
                "block_hash": receipt.block_hash,
                "time": receipt.block_time,
                "log_index": receipt.log_index,
                "transaction_hash": receipt.transaction_hash,
            }
        )


class AcquisitionsPage(LabelledPage[AcquisitionView]):
    """One page of an account's lots; all pages together add up to what it holds, less what no event told of."""

    held: Amount = Field(examples=["1050"], description="Base units that the account holds.")
    untold: Amount | None = Field(
        examples=[None],
        description="On the last page, base units that no transfer explains: 0 where the contract tells all.",
    )


def shares(rows: Sequence[Holding], supply: int, decimals: int) -> list[ShareView]:
    """The views of a page's holdings."""
    return [ShareView.at(row, supply, decimals) for row in rows]
