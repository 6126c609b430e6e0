"""Which state an answer describes, on the wire."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.addresses import Hash
from service.mirror.queries import Label
from service.web.paging import PIN_END, BadCursor, NextCursor

Row = TypeVar("Row")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HASH_LENGTH = 32
_MOMENT_LENGTH = 8


@dataclass(frozen=True, slots=True)
class Pin:
    """The block that a walk describes, and the moment whose showing was asked for."""

    block_hash: bytes
    shown_at: datetime | None

    @classmethod
    def of(cls, cursor: str) -> "Pin | None":
        """The pin of a cursor; None where it has none, as in lists that describe no block.

        Raises:
            BadCursor: it is not one that a list gave out.
        """
        packed, end, _ = cursor.rpartition(PIN_END)
        if not end:
            return None
        try:
            read = base64.b64decode(packed + "=" * (-len(packed) % 4), altchars=b"-_", validate=True)
            since = timedelta(microseconds=int.from_bytes(read[_HASH_LENGTH:]))
            if len(read) not in (_HASH_LENGTH, _HASH_LENGTH + _MOMENT_LENGTH):
                raise ValueError("of another length")
            return cls(read[:_HASH_LENGTH], _EPOCH + since if len(read) > _HASH_LENGTH else None)
        except (ValueError, OverflowError) as error:
            raise BadCursor("take it from `next_cursor` of the same list, or leave it out to start again") from error

    def before(self, position: str) -> str:
        """A cursor of this pin and a position."""
        since = b""
        if self.shown_at is not None:
            since = ((self.shown_at - _EPOCH) // timedelta(microseconds=1)).to_bytes(_MOMENT_LENGTH)
        return base64.urlsafe_b64encode(self.block_hash + since).rstrip(b"=").decode() + PIN_END + position


class LabelView(BaseModel):
    """Which state an answer describes."""

    model_config = ConfigDict(from_attributes=True)

    chain: int = Field(examples=[31337])
    block: int = Field(examples=[42])
    hash: Hash = Field(examples=["0x" + "8f" * 32])
    time: datetime = Field(description="The block's own, in UTC.")
    final: bool = Field(description="The block is past reversal, as known now.")
    orphaned: bool = Field(description="The chain has left this block since it was shown.")
    lag: int = Field(description="Blocks that the mirror is behind the node, as last heard.", examples=[0])
    shown_at: datetime | None = Field(description="The moment that `shown_at` asked for, in UTC.", examples=[None])
    marks: list[str] = Field(
        [], description="Marks of the token by which accounts may hold other amounts than its transfers say."
    )


class LabelledPage(BaseModel, Generic[Row]):
    """One page of a list, and the block that it describes.

    The cursor pins that block by its hash, so that all pages of a walk describe one state, whatever comes meanwhile.
    """

    data: list[Row]
    next_cursor: NextCursor
    at: LabelView

    @model_validator(mode="after")
    def _pin(self) -> Self:
        if self.next_cursor is not None and PIN_END not in self.next_cursor:
            self.next_cursor = Pin(self.at.hash, self.at.shown_at).before(self.next_cursor)
        return self


def label_view(label: Label, marks: Sequence[str] = ()) -> LabelView:
    """The view of a label, with the marks of the token whose balances are told."""
    view = LabelView.model_validate(label)
    return view.model_copy(update={"marks": list(marks)}) if marks else view
