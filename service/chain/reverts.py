"""From revert data to the contract's own name for the failure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from eth_abi.abi import decode
from eth_hash.auto import keccak
from eth_utils.abi import abi_to_signature, collapse_if_tuple

from service.addresses import hex0x
from service.chain import artifacts

TEXT_CHARS_MAX = 1_000
"""A contract may revert with any text; what is kept of it is bounded."""

_PANICS = {
    0x00: "generic panic",
    0x01: "assertion failed",
    0x11: "arithmetic overflow or underflow",
    0x12: "division by zero",
    0x21: "not a member of the enumeration",
    0x22: "badly encoded storage byte array",
    0x31: "pop of an empty array",
    0x32: "index out of bounds",
    0x41: "out of memory",
    0x51: "call of an uninitialised function",
}


@dataclass(frozen=True)
class Revert:
    """Why a contract refused: its error's name and arguments as text; 0x and the selector for a foreign error.

    A revert without data is called `0x`.
    """

    name: str
    arguments: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={given}' for name, given in self.arguments.items())})"


@dataclass(frozen=True, slots=True)
class _Error:
    name: str
    types: tuple[str, ...]
    arguments: tuple[str, ...]


_BUILT_IN: tuple[dict[str, Any], ...] = (
    {"type": "error", "name": "Error", "inputs": [{"name": "reason", "type": "string"}]},
    {"type": "error", "name": "Panic", "inputs": [{"name": "code", "type": "uint256"}]},
)

_TIMELOCK: tuple[dict[str, Any], ...] = tuple(
    {"type": "error", "name": name, "inputs": [{"name": each, "type": kind} for each, kind in inputs.items()]}
    for name, inputs in {
        "TimelockInvalidOperationLength": {"targets": "uint256", "payloads": "uint256", "values": "uint256"},
        "TimelockInsufficientDelay": {"delay": "uint256", "minDelay": "uint256"},
        "TimelockUnexpectedOperationState": {"operationId": "bytes32", "expectedStates": "bytes32"},
        "TimelockUnexecutedPredecessor": {"predecessorId": "bytes32"},
        "TimelockUnauthorizedCaller": {"caller": "address"},
    }.items()
)
"""A timelock is made by a governor and has no artifact of its own. Source: OpenZeppelin, TimelockController."""


def decode_revert(data: bytes) -> Revert:
    """Name a revert: `Error`, `Panic`, or a custom error of any of our contracts. Never fails on any bytes.

    Source: Solidity documentation, "Error handling" and "Panic via assert and error via require".
    """
    selector, encoded = data[:4], data[4:]
    known = _errors().get(selector)
    if known is None:
        return Revert(hex0x(selector))
    try:
        given = decode(known.types, encoded)
    except Exception:  # the bytes are a stranger's: a codec's every complaint means "not that error after all"
        return Revert(hex0x(selector))
    arguments = {name: _text(value) for name, value in zip(known.arguments, given, strict=True)}
    if known.name == "Panic":
        arguments = {"code": f"0x{given[0]:02x}", "meaning": _PANICS.get(given[0], "unknown panic")}
    return Revert(known.name, arguments)


@cache
def _errors() -> Mapping[bytes, _Error]:
    entries = [*_BUILT_IN, *_TIMELOCK, *(entry for name in artifacts.names() for entry in artifacts.load(name).abi)]
    return {
        keccak(abi_to_signature(dict(entry)).encode())[:4]: _error(entry)  # type: ignore[arg-type]
        for entry in entries
        if entry["type"] == "error"
    }


def _error(entry: Mapping[str, Any]) -> _Error:
    inputs: Sequence[dict[str, Any]] = entry["inputs"]
    return _Error(
        name=entry["name"],
        types=tuple(collapse_if_tuple(item) for item in inputs),
        arguments=tuple(item["name"] or f"argument_{index}" for index, item in enumerate(inputs)),
    )


def _text(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case bytes():
            text = hex0x(value)
        case str():
            # Postgres text holds no NUL, and a log line no other control character.
            text = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in value)
        case list() | tuple():
            text = f"[{', '.join(_text(item) for item in value)}]"
        case _:
            text = str(value)
    return text[:TEXT_CHARS_MAX]
