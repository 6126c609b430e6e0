"""Request bodies: what a caller may ask for, checked before anything else."""

import re
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictStr,
    WithJsonSchema,
)

from service.addresses import hex0x
from service.amounts import parse_amount

_HEX_32 = re.compile(r"0x[0-9a-fA-F]{64}")


class Order(BaseModel):
    """A request body: no unknown fields, no change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def canonical(self) -> dict[str, Any]:
        """The body as JSON under its wire names, the same for any spelling of an address."""
        return self.model_dump(mode="json", by_alias=True)

    def asked(self) -> dict[str, Any]:
        """What of it is not a default: a field that a later version adds leaves it as it is."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)


def _printable(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("use printable characters, not only spaces")
    return text


def _readable(text: str) -> str:
    if not all(character.isprintable() or character in "\n\t" for character in text):
        raise ValueError("use printable characters, line feeds and tabs")
    return text


def read_bytes32(given: Any) -> bytes:
    """32 bytes from 0x and 64 hexadecimal digits.

    Raises:
        ValueError: anything else.
    """
    if isinstance(given, bytes):
        return given
    if not isinstance(given, str) or not _HEX_32.fullmatch(given):
        raise ValueError("give 0x and 64 hexadecimal digits")
    return bytes.fromhex(given[2:])


def _number(given: Any) -> int:
    if not isinstance(given, str):
        raise ValueError('a number of this size is a JSON string: write "7" instead of 7')
    return parse_amount(given)


def _fits_32_bytes(text: str) -> str:
    if len(text.encode()) > 32:
        raise ValueError("at most 32 bytes of UTF-8")
    return _printable(text)


Name = Annotated[StrictStr, Field(min_length=1, max_length=120), AfterValidator(_printable)]
Label = Annotated[StrictStr, Field(max_length=120), AfterValidator(lambda text: text and _printable(text))]
Prose = Annotated[StrictStr, Field(max_length=2_000), AfterValidator(_readable)]
Line = Annotated[StrictStr, Field(min_length=1, max_length=500), AfterValidator(_printable)]

Bytes32 = Annotated[
    bytes,
    BeforeValidator(read_bytes32),
    PlainSerializer(hex0x, return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^0x[0-9a-fA-F]{64}$", "examples": ["0x" + "8f" * 32]}),
]
"""32 bytes inside, 0x text on the wire."""

Uint256 = Annotated[
    int,
    BeforeValidator(_number),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^(0|[1-9][0-9]{0,77})$", "examples": ["7"]}),
]
"""0 to 2**256 - 1: an integer inside, a decimal string on the wire."""

ShortText = Annotated[StrictStr, Field(min_length=1), AfterValidator(_fits_32_bytes)]
"""Text that a contract keeps as bytes32: at most 32 bytes of UTF-8."""


def text32(text: str) -> bytes:
    """A short text as a contract keeps it: UTF-8, zeros after it."""
    return text.encode().ljust(32, b"\0")
