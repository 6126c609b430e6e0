"""Addresses and hashes: bytes inside, EIP-55 or 0x text at the border."""

import re
from functools import lru_cache
from typing import Annotated, Any

from eth_hash.auto import keccak
from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

ZERO = bytes(20)

_HEX_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


_LETTERS = int.from_bytes(b"\x40" * 40)
_EIGHTS = int.from_bytes(b"\x08" * 40)


@lru_cache(maxsize=4_096)
def checksum(address: bytes) -> str:
    """Write a 20-byte address with its checksum. Source: EIP-55."""
    digits = address.hex().encode()
    text, nibbles = int.from_bytes(digits), int.from_bytes(keccak(digits)[:20].hex().encode())
    # All forty digits at once: of ASCII's letters bit 6 is set, of its digits 8 and 9 bit 3, and bit 5 is the case.
    upper = (text & _LETTERS) >> 1 & ((nibbles & _LETTERS) >> 1 | (nibbles & _EIGHTS) << 2)
    return "0x" + (text ^ upper).to_bytes(40).decode()


def parse_address(text: str) -> bytes:
    """Read an address: 0x and 40 hex digits, of one case or with a right EIP-55 checksum.

    Raises:
        ValueError: malformed, or of mixed case with a wrong checksum (a likely typing error).
    """
    if not _HEX_ADDRESS.fullmatch(text):
        raise ValueError("an address is 0x followed by 40 hexadecimal digits")
    address, digits = bytes.fromhex(text[2:]), text[2:]
    one_case = digits in (digits.lower(), digits.upper())
    if not one_case and checksum(address) != text:
        raise ValueError("the address fails its EIP-55 checksum: copy it again, or write it in lower case")
    return address


def parse_holder(text: str) -> bytes:
    """Read an address that may hold tokens: any but the zero address."""
    address = parse_address(text)
    if address == ZERO:
        raise ValueError("the zero address can hold nothing")
    return address


def hex0x(data: bytes) -> str:
    """Write bytes as 0x and lower-case hex."""
    return "0x" + data.hex()


def _from_json(given: Any) -> bytes:
    if isinstance(given, bytes):
        return given
    if isinstance(given, str):
        return parse_holder(given)
    raise ValueError("an address is a JSON string")


Address = Annotated[
    bytes,
    BeforeValidator(_from_json),
    PlainSerializer(checksum, return_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": "^0x[0-9a-fA-F]{40}$",
            "examples": ["0x70997970C51812dc3A010C7d01b50e0d17dc79C8"],
        }
    ),
]
"""A holder's address: 20 bytes inside, EIP-55 text on the wire."""

Hash = Annotated[
    bytes,
    PlainSerializer(hex0x, return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^0x[0-9a-f]{64}$", "examples": ["0x" + "8f" * 32]}),
]
"""32 bytes inside, 0x text on the wire."""
