"""What a contract announced: logs to named events with arguments that JSON can hold.

One table, made from the ABIs of all our contracts, says how to read a log of each first topic and number of topics.
Reading is strict: an encoding that no Solidity compiler writes is a stranger's, and is told as no event at all. That
also bounds the work, since no two values may share their bytes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from eth_utils.abi import abi_to_signature
from eth_utils.crypto import keccak

from service.addresses import checksum, hex0x
from service.chain import artifacts
from service.chain.reader import Log

WORD = 32

PLAIN_BITS_MAX = 64
"""Numbers of a wider type are decimal strings, since not every reader of JSON keeps their digits."""

ADDRESSES_KEPT = 65_536
"""Checksums that are kept: one takes as long as the rest of a log, and the same few addresses come again and again."""

_checksum = lru_cache(ADDRESSES_KEPT)(checksum)


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its name, its signature such as `Frozen(address,uint256)`, and its arguments by name.

    Addresses are EIP-55 text, bytes are 0x text, numbers of up to 64 bits are `int` and wider ones decimal strings,
    lists and tuples are lists and dicts. An indexed argument of no fixed size is told by its hash, as the chain does.
    """

    name: str
    signature: str
    arguments: dict[str, Any]


class _Misfit(Exception):
    """The bytes are not what the ABI says."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """How to read one type: `read` takes data and a place in it, and gives the value and the place after it."""

    dynamic: bool
    words: int  # in the head: of the value itself, or of its offset
    read: Callable[[bytes, int], tuple[Any, int]]
    composite: bool = True  # an indexed one is told by its hash


@dataclass(frozen=True, slots=True)
class _Argument:
    name: str
    indexed: bool
    kind: _Kind


@dataclass(frozen=True, slots=True)
class _Shape:
    """One event of an ABI."""

    name: str
    signature: str
    arguments: tuple[_Argument, ...]
    data: _Kind  # all that is not indexed

    def read(self, log: Log) -> Event:
        given, end = self.data.read(log.data, 0)
        if end != len(log.data):
            raise _Misfit
        plain, topics = iter(given), iter(log.topics[1:])
        found = {each.name: _topic(each.kind, next(topics)) if each.indexed else next(plain) for each in self.arguments}
        return Event(self.name, self.signature, found)


class EventTable:
    """The events of some ABIs, by first topic and number of topics.

    Several events may share both, with other arguments indexed: a log is the first of them that it fits.
    """

    def __init__(self, entries: Iterable[Mapping[str, Any]]) -> None:
        shapes: dict[tuple[bytes, int], dict[_Parts, _Shape]] = {}
        for entry in entries:
            if entry["type"] == "event" and not entry.get("anonymous", False):
                shape = _shape(entry)
                parts = tuple((argument.name, argument.indexed) for argument in shape.arguments)
                topics = 1 + sum(argument.indexed for argument in shape.arguments)
                shapes.setdefault((keccak(text=shape.signature), topics), {}).setdefault(parts, shape)
        self._shapes = {place: tuple(alike.values()) for place, alike in shapes.items()}
        self.topics = tuple(sorted({topic for topic, _ in self._shapes}))
        self.signatures = frozenset(shape.signature for alike in self._shapes.values() for shape in alike)

    def decode(self, log: Log) -> Event | None:
        """The event that a log is, or None when it is none of these."""
        if not log.topics:
            return None
        for shape in self._shapes.get((log.topics[0], len(log.topics)), ()):
            try:
                return shape.read(log)
            except _Misfit:
                continue
        return None


_Parts = tuple[tuple[str, bool], ...]


def event_entry(name: str, *inputs: str) -> dict[str, Any]:
    """An ABI's entry of an event, from inputs such as `address indexed account`."""
    words = [each.split() for each in inputs]
    return {
        "type": "event",
        "name": name,
        "inputs": [{"name": each[-1], "type": each[0], "indexed": "indexed" in each[1:-1]} for each in words],
    }


_TIMELOCK = (
    event_entry(
        "CallScheduled",
        "bytes32 indexed id",
        "uint256 indexed index",
        "address target",
        "uint256 value",
        "bytes data",
        "bytes32 predecessor",
        "uint256 delay",
    ),
    event_entry(
        "CallExecuted", "bytes32 indexed id", "uint256 indexed index", "address target", "uint256 value", "bytes data"
    ),
    event_entry("CallSalt", "bytes32 indexed id", "bytes32 salt"),
    event_entry("Cancelled", "bytes32 indexed id"),
    event_entry("MinDelayChange", "uint256 oldDuration", "uint256 newDuration"),
)
"""A timelock is made by a governor and has no artifact of its own. Source: OpenZeppelin, TimelockController."""


@cache
def known() -> EventTable:
    """The events of every contract that is shipped, and of those that they make."""
    return EventTable([*(entry for name in artifacts.names() for entry in artifacts.load(name).abi), *_TIMELOCK])


def decode_event(log: Log) -> Event | None:
    """The event that a log is, or None when none of our contracts has such a one. Never fails on any log."""
    return known().decode(log)


def _shape(entry: Mapping[str, Any]) -> _Shape:
    inputs: Sequence[Mapping[str, Any]] = entry["inputs"]
    arguments = tuple(
        _Argument(item["name"] or f"argument_{index}", item["indexed"], _kind(item["type"], item))
        for index, item in enumerate(inputs)
    )
    signature = abi_to_signature(dict(entry))  # type: ignore[arg-type]
    return _Shape(entry["name"], signature, arguments, _sequence([each.kind for each in arguments if not each.indexed]))


def _topic(kind: _Kind, topic: bytes) -> Any:
    return hex0x(topic) if kind.composite else kind.read(topic, 0)[0]


def _kind(type_: str, item: Mapping[str, Any]) -> _Kind:
    if type_.endswith("]"):
        element, _, size = type_[:-1].rpartition("[")
        return _list(_kind(element, item), int(size) if size else None)
    if type_ == "tuple":
        parts: Sequence[Mapping[str, Any]] = item["components"]
        return _tuple([part["name"] for part in parts], _sequence([_kind(part["type"], part) for part in parts]))
    if type_ in ("bytes", "string"):
        return _Kind(True, 1, _read_string if type_ == "string" else _read_bytes)
    return _Kind(False, 1, _reader(_word(type_)), composite=False)


def _reader(convert: Callable[[bytes], Any]) -> Callable[[bytes, int], tuple[Any, int]]:
    return lambda data, at: (convert(data[at : at + WORD]), at + WORD)


def _word(type_: str) -> Callable[[bytes], Any]:
    """How to read a type that fills one word. A word cut short is found by its end, which is beyond the data."""
    if type_ == "address":
        return _address
    if type_ == "bool":
        return lambda word: bool(_number(word, 1))
    if type_.startswith("uint"):
        return _integer(int(type_[4:]), _number)
    if type_.startswith("int"):
        return _integer(int(type_[3:]), _signed)
    if type_.startswith("bytes"):
        size = int(type_[5:])
        return lambda word: _fixed(word, size)
    raise ValueError(f"an event of ours has the type {type_}, which is not known here")


def _integer(bits: int, read: Callable[[bytes, int], int]) -> Callable[[bytes], Any]:
    return (lambda word: read(word, bits)) if bits <= PLAIN_BITS_MAX else lambda word: str(read(word, bits))


def _address(word: bytes) -> str:
    if any(word[:12]):
        raise _Misfit
    return _checksum(word[12:])


def _number(word: bytes, bits: int) -> int:
    number = int.from_bytes(word)
    if number >> bits:
        raise _Misfit
    return number


def _signed(word: bytes, bits: int) -> int:
    number = int.from_bytes(word, signed=True)
    if not -(1 << bits - 1) <= number < 1 << bits - 1:
        raise _Misfit
    return number


def _fixed(word: bytes, size: int) -> str:
    if any(word[size:]):
        raise _Misfit
    return hex0x(word[:size])


def _read_bytes(data: bytes, at: int) -> tuple[str, int]:
    content, end = _content(data, at)
    return hex0x(content), end


def _read_string(data: bytes, at: int) -> tuple[str, int]:
    content, end = _content(data, at)
    # A chain does not check text; jsonb takes neither half a character nor NUL.
    return content.decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}"), end


def _content(data: bytes, at: int) -> tuple[bytes, int]:
    start = at + WORD
    length = int.from_bytes(data[at:start])
    end = start + -(-length // WORD) * WORD
    if end > len(data):
        raise _Misfit
    return data[start : start + length], end


def _sequence(kinds: Sequence[_Kind]) -> _Kind:
    """Values one after another: heads first, then what the heads point to, in the same order and without gaps."""
    heads = sum(kind.words for kind in kinds) * WORD

    def read(data: bytes, at: int) -> tuple[list[Any], int]:
        values, head, tail = [], at, at + heads
        for kind in kinds:
            if kind.dynamic:
                if int.from_bytes(data[head : head + WORD]) != tail - at:
                    raise _Misfit
                head += WORD
                value, tail = kind.read(data, tail)
            else:
                value, head = kind.read(data, head)
            values.append(value)
        return values, tail

    dynamic = any(kind.dynamic for kind in kinds)
    return _Kind(dynamic, 1 if dynamic else heads // WORD, read)


def _list(element: _Kind, size: int | None) -> _Kind:
    if size is not None:
        return _sequence([element] * size)

    def read(data: bytes, at: int) -> tuple[list[Any], int]:
        start = at + WORD
        length = int.from_bytes(data[at:start])
        if length * max(element.words, 1) * WORD > len(data) - start:
            raise _Misfit
        values: list[Any]
        values, end = _sequence([element] * length).read(data, start)
        return values, end

    return _Kind(True, 1, read)


def _tuple(names: Sequence[str], values: _Kind) -> _Kind:
    def read(data: bytes, at: int) -> tuple[dict[str, Any], int]:
        given, end = values.read(data, at)
        return dict(zip(names, given, strict=True)), end

    return _Kind(values.dynamic, values.words, read)
