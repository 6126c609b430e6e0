"""Which state an answer describes, on the wire."""

from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from service.addresses import Hash
from service.mirror.queries import Label
from service.web.paging import NextCursor

Row = TypeVar("Row")


class LabelView(BaseModel):
    """Which state an answer describes."""

    model_config = ConfigDict(from_attributes=True)

    chain: int = Field(examples=[31337])
    block: int = Field(examples=[42])
    hash: Hash = Field(examples=["0x" + "8f" * 32])
    final: bool = Field(description="The block is past reversal.")
    lag: int = Field(description="Blocks that the mirror is behind the node, as last heard.", examples=[0])


class LabelledPage(BaseModel, Generic[Row]):
    """One page of a list, and the block that it describes."""

    data: list[Row]
    next_cursor: NextCursor
    at: LabelView


def label_view(label: Label) -> LabelView:
    """The view of a label."""
    return LabelView.model_validate(label)
