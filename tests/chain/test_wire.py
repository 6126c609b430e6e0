"""JSON-RPC's numbers and bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.chain.wire import parse_data, parse_quantity, write_data


@given(st.integers(0, 2**256 - 1))
def test_a_quantity_is_read_as_it_was_written(number: int) -> None:
    assert parse_quantity(hex(number)) == number


@given(st.binary(max_size=200))
def test_data_is_read_as_it_was_written(data: bytes) -> None:
    assert parse_data(write_data(data)) == data
    assert parse_data(write_data(data).upper().replace("0X", "0x"), size=len(data)) == data


@pytest.mark.parametrize(
    "given", [None, 1, True, 1.5, "", "0x", "1", "0xg", "0x1 ", " 0x1", "0x_1", "-0x1", "0x" + "f" * 65]
)
def test_what_is_no_quantity_is_refused(given: object) -> None:
    with pytest.raises(ValueError, match="quantity"):
        parse_quantity(given)


@pytest.mark.parametrize("given", [None, b"", 0, "", "00", "0x0", "0xzz", "0x00\n", "0x 00", ["0x00"]])
def test_what_is_no_data_is_refused(given: object) -> None:
    with pytest.raises(ValueError, match="data"):
        parse_data(given)


def test_data_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="2 bytes where 32 belong"):
        parse_data("0x1234", size=32)


@given(st.text())
def test_arbitrary_text_is_read_or_refused_and_never_misread(text: str) -> None:
    try:
        read = parse_data(text)
    except ValueError:
        return
    assert write_data(read) == text.lower()
