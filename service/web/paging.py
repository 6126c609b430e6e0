"""Keyset pages: a cursor says where the last page ended, and rows that change do not move it.

On the wire a cursor is sealed: only its caller goes on with it, in the list and with the filters that it was made for.
"""

import base64
import hmac
import json
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from fastapi import Query, Request
from pydantic import AfterValidator, BaseModel, Field, PlainSerializer, SecretStr

from service.errors import Problem

Row = TypeVar("Row")

PAGE_ROWS_MAX = 500

Limit = Annotated[int, Query(ge=1, le=PAGE_ROWS_MAX, description="Rows in one page.")]

OF_NO_FILTER = frozenset({"cursor", "limit", "min_block", "at_block", "at_time", "shown_at"})
"""Parameters that may change from page to page: those of a state are held by the cursor's pin, where there is one."""

_DERIVED = b"muniment cursors 1"
_SEAL_BYTES = 16
_SEAL_BEGINS = "."
_AGAIN = "take it from `next_cursor` of the same list and filters, or leave it out to start again"

_walker: ContextVar[tuple[Request, UUID]] = ContextVar("walker")


class BadCursor(Problem):
    """The cursor is not one that this list gave to this caller for these filters."""

    slug, title, status = "bad-cursor", "The cursor is not valid here", 400


def cursor_key(key_encryption_key: SecretStr) -> bytes:
    """What cursors are sealed with, 32 bytes, derived from MUNIMENT_KEY_ENCRYPTION_KEY for them alone.

    Args:
        key_encryption_key: 32 bytes in base64.

    Source: RFC 5869 (HKDF-SHA256).
    """
    given = base64.b64decode(key_encryption_key.get_secret_value(), validate=True)
    return HKDF(SHA256(), 32, salt=None, info=_DERIVED).derive(given)


def walks(request: Request, caller_id: UUID) -> None:
    """From here on in this task, cursors are this caller's, of what this request asks for."""
    _walker.set((request, caller_id))


def sealed(cursor: str, *, key: bytes, caller_id: UUID, path: str, query: Iterable[tuple[str, str]]) -> str:
    """A cursor as it leaves: with 16 bytes of HMAC-SHA256 over itself, the caller, the path and the filters in the
    query, each as the caller wrote it.

    Source: RFC 2104, section 5 on the truncation.
    """
    filters = sorted(each for each in query if each[0] not in OF_NO_FILTER)
    bound = json.dumps([cursor, caller_id.hex, path, filters], separators=(",", ":")).encode()
    seal = hmac.digest(key, bound, "sha256")[:_SEAL_BYTES]
    return cursor + _SEAL_BEGINS + base64.urlsafe_b64encode(seal).rstrip(b"=").decode()


def _leaving(cursor: str | None) -> str | None:
    if cursor is None:
        return None
    request, caller_id = _walker.get()
    key, path, query = request.app.state.cursor_key, request.scope["path"], request.query_params.multi_items()
    return sealed(cursor, key=key, caller_id=caller_id, path=path, query=query)


def opened(cursor: str | None) -> str | None:
    """The cursor that was sealed for the caller and the request that `walks` named last.

    Raises:
        BadCursor: altered, or given to another caller, by another list or for other filters.
    """
    if not cursor:
        return cursor
    inner = cursor.rpartition(_SEAL_BEGINS)[0]
    # As texts, since several spellings in base64 are the same bytes.
    if not hmac.compare_digest(str(_leaving(inner)).encode(), cursor.encode(errors="replace")):
        raise BadCursor(_AGAIN)
    return inner


CursorParameter = Annotated[
    str | None,
    Query(description="`next_cursor` of the page before, with the same filters; leave out for the first page."),
    AfterValidator(opened),
]

NextCursor = Annotated[
    str | None,
    Field(
        description="Ask for the next page with `?cursor=`, as the same caller; null on the last page.",
        examples=["WyJhc3NldHMiLCIwMWEyMDBiNCJd.q83vEjRWeJCrze8SNFZ4kA"],
    ),
    PlainSerializer(_leaving, return_type=str | None),
]


class Page(BaseModel, Generic[Row]):
    """One page of a list."""

    data: list[Row]
    next_cursor: NextCursor


Position = int | bytes | UUID

PIN_END = "."
"""What stands before it in a cursor pins the state that the list describes, and is not the list's own."""


def encode_cursor(of: str, *position: Position) -> str:
    """A cursor of the list named `of` that stands after `position`; `NextCursor` seals it."""
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
        raise BadCursor(_AGAIN) from error


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
