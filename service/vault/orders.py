"""What callers ask of values, vault tokens and subjects."""

import re
import unicodedata
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, StrictInt, StrictStr

from service.vault import cards
from service.vault.policies import TTL_MAX_S
from service.vault.values import LENGTH_MAX
from service.web.orders import Line, Order

ITEMS_MAX = 500
TOKEN_LENGTH_MAX = max(LENGTH_MAX.values())
_VALUE_LENGTH_MAX = max(LENGTH_MAX.values())
_LETTERS = re.compile(r"[^\W\d_]+")


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("use printable characters")
    return text


def _without_card(text: str) -> str:
    for part in _LETTERS.split(unicodedata.normalize("NFKC", text)):
        digits = "".join(str(unicodedata.decimal(each)) for each in part if each.isdecimal())
        for length in range(cards.LENGTH_MIN, min(cards.LENGTH_MAX, len(digits)) + 1):
            if any(cards.luhn_sum(digits[at : at + length]) == 0 for at in range(len(digits) - length + 1)):
                raise ValueError(
                    "this is written down for ever and looks like a card number: name the record instead of the card, "
                    "and part the digits of other numbers by a word"
                )
    return text


Value = Annotated[StrictStr, Field(max_length=_VALUE_LENGTH_MAX)]
"""A value in the clear; what it must be its policy says."""

VaultToken = Annotated[StrictStr, Field(min_length=1, max_length=TOKEN_LENGTH_MAX)]
Reference = Annotated[StrictStr, Field(min_length=1, max_length=200), AfterValidator(_printable)]
"""The issuer's own name for a person; it is kept as a keyed hash alone."""
Reason = Annotated[Line, AfterValidator(_without_card)]
"""Why, in the caller's own words; it stays in the journal, so nothing in it may be a card number, however written."""


class TokenizeItem(Order):
    """One value."""

    value: Value = Field(examples=["4111 1111 1111 1111"], repr=False)
    subject: Reference | None = Field(
        default=None, repr=False, description="The person whose erasure erases this record, too."
    )
    asset_token_id: UUID | None = Field(default=None, description="The token of the asset that this belongs to.")
    ttl_s: StrictInt | None = Field(default=None, ge=1, le=TTL_MAX_S, description="The policy's longest if left out.")


class TokenizeOrder(Order):
    """Values of one policy."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "policy": "0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01",
                "items": [{"value": "4111 1111 1111 1111", "subject": "investor-17"}],
            }
        }
    )

    policy: UUID
    items: list[TokenizeItem] = Field(min_length=1, max_length=ITEMS_MAX)
    context: StrictStr = Field(
        default="",
        max_length=58,
        repr=False,
        description="Of a vaultless policy: part of the tweak, and needed again to reveal; empty otherwise.",
    )


class TokensOrder(Order):
    """Vault tokens of the issuer, of any policies that store."""

    model_config = ConfigDict(json_schema_extra={"example": {"tokens": ["tok_test_4nC6hTTUmIZv6v3oTbWsdX"]}})

    tokens: list[VaultToken] = Field(min_length=1, max_length=ITEMS_MAX, repr=False)


class SearchOrder(Order):
    """An exact value of one policy."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"policy": "0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01", "value": "a@example.org"}}
    )

    policy: UUID
    value: Value = Field(repr=False)


class PointerOrder(Order):
    """A new value behind a vault token."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"token": "tok_test_4nC6hTTUmIZv6v3oTbWsdX", "value": "b@example.org"}}
    )

    token: VaultToken = Field(repr=False)
    value: Value = Field(repr=False)


class EraseOrder(Order):
    """A person to be forgotten."""

    model_config = ConfigDict(json_schema_extra={"example": {"reference": "investor-17"}})

    reference: Reference = Field(repr=False)
