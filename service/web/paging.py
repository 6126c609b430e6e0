"""Keyset pages: an opaque cursor says where the last page ended, and rows that change do not move it."""

import base64
import json
from collections.abc import Sequence
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel, Field

from service.errors import Problem

Row = TypeVar("Row")

PAGE_ROWS_MAX = 500

Limit = Annotated[int, Query(ge=1, le=PAGE_ROWS_MAX, description="Rows in one page.")]
CursorParameter = Annotated[
    str | None, Query(max_length=512, description="`next_cursor` of the page before; leave out for the first page.")
]


NextCursor = Annotated[
    str | None,
    Field(
        description="Ask for the next page with `?cursor=`; null on the last page.",
        examples=["WyJhc3NldHMiLCIwMWEyMDBiNCJd"],
    ),
]


class BadCursor(Problem):
    """The cursor is not one that this list gave out."""

    slug, title, status = "bad-cursor", "The cursor is not valid here", 422


class Page(BaseModel, Generic[Row]):
    """One page of a list."""

    data: list[Row]
    next_cursor: NextCursor


Position = int | bytes | UUID

PIN_END = "."
"""What stands before it in a cursor pins the state that the list describes, and is not the list's own."""


def encode_cursor(of: str, *position: Position) -> str:
    """A cursor of the list named `of` that stands after `position`."""
    plain = [
        each if isinstance(each, int) else each.hex() if isinstance(each, bytes) else each.hex for each in position
    ]
    packed = json.dumps([of, *plain], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def decode_cursor(cursor: str, of: str, *kinds: type[Position]) -> tuple[Any, ...]:
    """The position in a cursor, its parts of the given kinds.

    Raises:
        BadCursor: not base64, not ours, or of another list.
    """
    cursor = cursor.rpartition(PIN_END)[2]
    try:
        name, *parts = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        if name != of:
            raise ValueError("a cursor of another list")
        return tuple(_part(kind, part) for kind, part in zip(kinds, parts, strict=True))
    except (ValueError, TypeError, RecursionError) as error:
        raise BadCursor("take it from `next_cursor` of the same list, or leave it out to start again") from error


def _part(kind: type[Position], part: Any) -> Position:
    if kind is int and type(part) is int and 0 <= part < 2**63:
        return part
    if kind is bytes and isinstance(part, str):
        return bytes.fromhex(part)
    if kind is UUID and isinstance(part, str):
        return UUID(hex=part)
    raise ValueError("a part of another kind")


def page(rows: Sequence[Row], *, limit: int, cursor_of: Any) -> tuple[list[Row], str | None]:
    """Split `limit + 1` rows, or fewer, into a page and the cursor to the next one."""
    shown = list(rows[:limit])
    return shown, cursor_of(shown[-1]) if len(rows) > limit else None
