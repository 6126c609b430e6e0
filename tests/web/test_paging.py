"""Cursors: what a list gave out comes back, and nothing else does."""

import base64
import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from service.web.paging import BadCursor, cursor_key, decode_cursor, encode_cursor, page, sealed

parts = st.one_of(st.integers(0, 2**63 - 1), st.uuids(), st.binary(max_size=40))


def packed(given_: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(given_).encode()).rstrip(b"=").decode()


@given(st.text(), st.lists(parts, max_size=4))
def test_a_cursor_is_read_back(of: str, position: list[Any]) -> None:
    kinds = [type(part) for part in position]
    assert decode_cursor(encode_cursor(of, *position), of, *kinds) == tuple(position)


@given(st.text(max_size=80))
def test_garbage_is_a_bad_cursor(cursor: str) -> None:
    with pytest.raises(BadCursor):
        decode_cursor(cursor, "a list", bytes)


@pytest.mark.parametrize(
    "content",
    [
        None,
        1,
        "of",
        {},
        [],
        ["of"],
        ["another", "00"],
        ["of", "00", "00"],
        ["of", 1],
        ["of", None],
        ["of", "0"],
        ["of", "xx"],
        ["of", ["00"]],
        [["of"], "00"],
    ],
)
def test_a_well_packed_cursor_of_another_shape_is_bad(content: Any) -> None:
    with pytest.raises(BadCursor):
        decode_cursor(packed(content), "of", bytes)


@pytest.mark.parametrize("number", [-1, 2**63, 1.0, 1.5, True, "1", None, 10**400, float("nan")])
def test_a_number_out_of_range_is_bad(number: Any) -> None:
    with pytest.raises(BadCursor):
        decode_cursor(packed(["of", number]), "of", int)


def test_a_deeply_nested_cursor_is_bad() -> None:
    nested = base64.urlsafe_b64encode(b"[" * 380).decode()  # as deep as the longest cursor can be
    with pytest.raises(BadCursor):
        decode_cursor(nested, "of", bytes)


@given(st.lists(st.integers()), st.integers(1, 10))
def test_a_page_has_a_cursor_only_when_rows_are_left(rows: list[int], limit: int) -> None:
    shown, cursor = page(rows, limit=limit, cursor_of=str)
    assert shown == rows[:limit]
    assert cursor == (str(shown[-1]) if len(rows) > limit else None)


KEY = cursor_key(SecretStr(base64.b64encode(bytes(32)).decode()))
ASKED: dict[str, Any] = {
    "cursor": "MQ",
    "key": KEY,
    "caller_id": UUID(int=1),
    "path": "/v1/things",
    "query": (("status", "new"), ("limit", "7")),
}


@pytest.mark.parametrize(
    "other",
    [
        {"cursor": "Mg"},
        {"key": cursor_key(SecretStr(base64.b64encode(bytes(31) + b"1").decode()))},
        {"caller_id": UUID(int=2)},
        {"path": "/v1/thing"},
        {"query": (("status", "old"),)},
        {"query": (("status", "new"), ("status", "new"))},
        {"query": ()},
        {"path": '/v1/things","status', "query": ()},
    ],
)
def test_a_seal_is_of_all_that_it_binds(other: dict[str, Any]) -> None:
    assert sealed(**{**ASKED, **other}).rpartition(".")[2] != sealed(**ASKED).rpartition(".")[2]


def test_a_seal_is_the_same_whatever_the_order_of_filters_and_the_size_of_a_page() -> None:
    query = (("b", "2"), ("a", "1"))
    again = (("limit", "500"), ("a", "1"), ("b", "2"), ("cursor", "x"))
    assert sealed(**{**ASKED, "query": query}) == sealed(**{**ASKED, "query": again})
