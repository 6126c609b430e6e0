"""A cursor of a list that describes a block pins that block, in every such list."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from service.app import openapi
from service.operations.labels import LabelledPage, LabelView, Pin
from service.web.paging import BadCursor, decode_cursor, encode_cursor
from tests.world import make_settings

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIMES = st.integers(0, 253_402_300_799_999_999).map(lambda since: EPOCH + timedelta(microseconds=since))


@given(st.binary(min_size=32, max_size=32), st.none() | TIMES, st.integers(0, 2**63 - 1))
def test_a_pin_is_read_back_and_leaves_the_position_alone(
    block_hash: bytes, shown_at: datetime | None, position: int
) -> None:
    cursor = Pin(block_hash, shown_at).before(encode_cursor("a list", position))
    assert Pin.of(cursor) == Pin(block_hash, shown_at)
    assert decode_cursor(cursor, "a list", int) == (position,)


@given(st.text(max_size=80))
def test_what_is_no_pin_is_a_bad_cursor(pin: str) -> None:
    with pytest.raises(BadCursor):
        Pin.of(f"{pin}.")


def test_a_page_pins_its_block_once() -> None:
    moment = datetime(2026, 5, 3, 10, 2, tzinfo=UTC)
    told = {"chain": 1, "block": 7, "hash": bytes(32), "final": True, "orphaned": False, "lag": 0}
    at = LabelView(**told, time=moment - timedelta(days=1), shown_at=moment)
    first = LabelledPage[int](data=[1], next_cursor="position", at=at)
    assert first.next_cursor == Pin(bytes(32), moment).before("position")
    assert LabelledPage[str](data=["1"], next_cursor=first.next_cursor, at=at).next_cursor == first.next_cursor
    assert LabelledPage[int](data=[], next_cursor=None, at=at).next_cursor is None


def test_every_list_that_pins_a_block_reads_the_block_that_is_pinned() -> None:
    document = openapi(make_settings(SecretStr("postgresql:///ledger"), "http://127.0.0.1:1", Path("keystore")))
    lists = 0
    for path, methods in document["paths"].items():
        for told in methods.values():
            content = told["responses"].get("200", {}).get("content", {}).get("application/json", {})
            name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
            fields = document["components"]["schemas"].get(name, {}).get("properties", {})
            if {"data", "next_cursor", "at"} <= fields.keys():
                # What is asked of a labelled read, which takes the pin, is known by its parameter `min_block`.
                assert {"cursor", "min_block"} <= {each["name"] for each in told["parameters"]}, path
                lists += 1
    assert lists > 20
