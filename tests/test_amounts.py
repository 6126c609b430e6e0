"""Amounts: what is read exactly, and all that is not read at all."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from service.amounts import AMOUNT_MAX, PositiveAmount, display_amount, parse_amount

amounts = st.one_of(st.integers(0, AMOUNT_MAX), st.sampled_from([0, 1, AMOUNT_MAX - 1, AMOUNT_MAX]))
ORDERED = TypeAdapter[int](PositiveAmount)

MALFORMED = [
    "",
    " ",
    "-1",
    "-0",
    "+1",
    "1.0",
    "1.",
    ".5",
    "1,000",
    "1_000",
    "1e3",
    "1E3",
    "0x10",
    "00",
    "01",
    "007",
    " 1",
    "1 ",
    "1\n",
    "\t1",
    "1\x00",
    "\u0661\u0662",  # Arabic-Indic digits, which int() reads
    "\uff11",  # a full-width one
    "\u00b2",  # a superscript
    "\u22121",  # a minus sign that is no hyphen
    "NaN",
    "Infinity",
    "-inf",
    "null",
    "true",
    str(2**256),
    str(2**256 + 1),
    "9" * 78,
    "9" * 79,
    "1" * 10_000,
    "1" + "0" * 60_000,
]


@given(amounts)
def test_every_amount_is_read_as_it_is_written(amount: int) -> None:
    assert parse_amount(str(amount)) == amount


@pytest.mark.parametrize("text", MALFORMED, ids=lambda text: ascii(text[:20]))
def test_a_malformed_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="an amount is"):
        parse_amount(text)


@given(st.text(max_size=90))
def test_only_one_spelling_of_an_amount_is_read(text: str) -> None:
    try:
        amount = parse_amount(text)
    except ValueError:
        return
    assert str(amount) == text
    assert 0 <= amount <= AMOUNT_MAX


@given(st.integers(min_value=AMOUNT_MAX + 1, max_value=10**100))
def test_an_amount_beyond_uint256_is_refused(amount: int) -> None:
    with pytest.raises(ValueError, match="an amount is"):
        parse_amount(str(amount))


@given(st.integers(max_value=-1))
def test_a_negative_amount_is_refused(amount: int) -> None:
    with pytest.raises(ValueError, match="an amount is"):
        parse_amount(str(amount))


@given(
    st.one_of(st.integers(), st.floats(), st.booleans(), st.none(), st.decimals(), st.binary(), st.lists(st.integers()))
)
def test_an_ordered_amount_that_is_no_string_is_refused(given_: object) -> None:
    with pytest.raises(ValidationError):
        ORDERED.validate_python(given_)


@pytest.mark.parametrize("text", ["0", *MALFORMED], ids=lambda text: ascii(text[:20]))
def test_an_ordered_amount_is_well_formed_and_at_least_one(text: str) -> None:
    with pytest.raises(ValidationError):
        ORDERED.validate_python(text)


def test_the_largest_amount_can_be_ordered() -> None:
    assert ORDERED.validate_python(str(AMOUNT_MAX)) == AMOUNT_MAX
    assert ORDERED.dump_json(AMOUNT_MAX) == f'"{AMOUNT_MAX}"'.encode()


@pytest.mark.parametrize(
    ("amount", "decimals", "shown"),
    [
        (0, 0, "0"),
        (0, 18, "0"),
        (1, 0, "1"),
        (1, 18, "0.000000000000000001"),
        (10, 1, "1"),
        (1050, 2, "10.5"),
        (1005, 2, "10.05"),
        (100, 0, "100"),
        (1_000, 3, "1"),
        (AMOUNT_MAX, 0, str(AMOUNT_MAX)),
    ],
)
def test_base_units_are_shown_in_whole_tokens(amount: int, decimals: int, shown: str) -> None:
    assert display_amount(amount, decimals) == shown


@given(amounts, st.integers(0, 18))
def test_a_shown_amount_is_exact(amount: int, decimals: int) -> None:
    whole, _, fraction = display_amount(amount, decimals).partition(".")
    assert int(whole + fraction.ljust(decimals, "0")) == amount


@given(amounts, st.integers(0, 18))
def test_a_shown_amount_is_plain_and_as_short_as_can_be(amount: int, decimals: int) -> None:
    shown = display_amount(amount, decimals)
    assert set(shown) <= set("0123456789.")
    assert not ("." in shown and shown.endswith(("0", ".")))
    assert not (shown.startswith("0") and len(shown) > 1 and not shown.startswith("0."))
    assert Decimal(shown) >= 0


@given(amounts, amounts, st.integers(0, 18))
def test_different_amounts_are_shown_differently(one: int, other: int, decimals: int) -> None:
    assert (one == other) == (display_amount(one, decimals) == display_amount(other, decimals))
