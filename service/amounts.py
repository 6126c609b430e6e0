"""Amounts: integer base units in code, decimal strings in JSON, never a float."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

AMOUNT_MAX = 2**256 - 1

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,77}")


def parse_amount(text: str) -> int:
    """Read an amount of base units, 0 to 2**256 - 1, written as a plain decimal string.

    Raises:
        ValueError: a sign, a fraction, an exponent, a leading zero, or beyond uint256.
    """
    if not _DECIMAL.fullmatch(text):
        raise ValueError('an amount is a string of decimal digits in base units, such as "1000"')
    amount = int(text)
    if amount > AMOUNT_MAX:
        raise ValueError("an amount is at most 2**256 - 1")
    return amount


def display_amount(amount: int, decimals: int) -> str:
    """Write base units in whole tokens, exactly: `display_amount(1050, 2)` is "10.5"."""
    whole, fraction = divmod(amount, 10**decimals)
    digits = f"{fraction:0{decimals}d}".rstrip("0") if decimals else ""
    return f"{whole}.{digits}" if digits else str(whole)


def _positive_from_json(given: Any) -> int:
    if not isinstance(given, str):
        raise ValueError('an amount is a JSON string, not a number: write "1000" instead of 1000')
    amount = parse_amount(given)
    if amount == 0:
        raise ValueError("the amount must be at least 1")
    return amount


Amount = Annotated[
    int,
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^(0|[1-9][0-9]{0,77})$", "examples": ["1000000"]}),
]
"""Base units in an answer, 0 to 2**256 - 1: an integer inside, a decimal string on the wire."""

PositiveAmount = Annotated[
    int,
    BeforeValidator(_positive_from_json),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^[1-9][0-9]{0,77}$", "examples": ["1000000"]}),
]
"""Base units in a request, 1 to 2**256 - 1: only a decimal string will do."""
