"""How JSON-RPC writes numbers and bytes. Source: EIP-1474, "Quantity" and "Data"."""

import re
from typing import Any

from service.addresses import hex0x

_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}")


def parse_quantity(given: Any) -> int:
    """Read a quantity, 0 to 2**256 - 1; leading zeros are forgiven, since some nodes write them.

    Raises:
        ValueError: not a string of 0x and 1 to 64 hexadecimal digits.
    """
    if not isinstance(given, str) or not _QUANTITY.fullmatch(given):
        raise ValueError("not a JSON-RPC quantity")
    return int(given, 16)


def parse_data(given: Any, *, size: int | None = None) -> bytes:
    """Read bytes: exactly `size` of them where a size is given.

    Raises:
        ValueError: not a string of 0x and pairs of hexadecimal digits, or of another size.
    """
    if not isinstance(given, str) or given[:2] != "0x":
        raise ValueError("not JSON-RPC data")
    try:
        read = bytes.fromhex(given[2:])
    except ValueError:
        raise ValueError("not JSON-RPC data") from None
    if 2 + 2 * len(read) != len(given):  # fromhex passes over blanks
        raise ValueError("not JSON-RPC data")
    if size is not None and len(read) != size:
        raise ValueError(f"{len(read)} bytes where {size} belong")
    return read


def write_data(data: bytes) -> str:
    """Write bytes as a node wants them."""
    return hex0x(data)
