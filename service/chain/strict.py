"""Reading what Solidity's `abi.encode` writes, and nothing else, into what JSON can hold.

An encoding that no Solidity compiler writes is a stranger's, and is refused. That also bounds the work by the number
of bytes, since no two values may share theirs: many offsets to one long list would be a small call and a huge answer.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from service.addresses import checksum, hex0x

WORD = 32

PLAIN_BITS_MAX = 64
"""Numbers of a wider type are decimal strings, since not every reader of JSON keeps their digits."""

ADDRESSES_KEPT = 65_536
"""Checksums that are kept: one takes as long as the rest of a log, and the same few addresses come again and again."""

_checksum = lru_cache(ADDRESSES_KEPT)(checksum)


class NotCanonical(Exception):
    """The bytes are not what the ABI says."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How to read one type: `read` takes data and a place in it, and gives the value and the place after it."""

    dynamic: bool
    words: int  # in the head: of the value itself, or of its offset
    read: Callable[[bytes, int], tuple[Any, int]]
    composite: bool = True  # an indexed one is told by its hash


def kind_of(type_: str, item: Mapping[str, Any]) -> Kind:
    """How to read a type; `item` is its entry in the ABI, which has the parts of a tuple."""
    if type_.endswith("]"):
        element, _, size = type_[:-1].rpartition("[")
        return _list(kind_of(element, item), int(size) if size else None)
    if type_ == "tuple":
        parts: Sequence[Mapping[str, Any]] = item["components"]
        return _tuple([part["name"] for part in parts], sequence([kind_of(part["type"], part) for part in parts]))
    if type_ in ("bytes", "string"):
        return Kind(True, 1, _read_string if type_ == "string" else _read_bytes)
    return Kind(False, 1, _reader(_word(type_)), composite=False)


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
    raise ValueError(f"an ABI of ours has the type {type_}, which is not known here")


def _integer(bits: int, read: Callable[[bytes, int], int]) -> Callable[[bytes], Any]:
    return (lambda word: read(word, bits)) if bits <= PLAIN_BITS_MAX else lambda word: str(read(word, bits))


def _address(word: bytes) -> str:
    if any(word[:12]):
        raise NotCanonical
    return _checksum(word[12:])


def _number(word: bytes, bits: int) -> int:
    number = int.from_bytes(word)
    if number >> bits:
        raise NotCanonical
    return number


def _signed(word: bytes, bits: int) -> int:
    number = int.from_bytes(word, signed=True)
    if not -(1 << bits - 1) <= number < 1 << bits - 1:
        raise NotCanonical
    return number


def _fixed(word: bytes, size: int) -> str:
    if any(word[size:]):
        raise NotCanonical
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
        raise NotCanonical
    return data[start : start + length], end


def sequence(kinds: Sequence[Kind]) -> Kind:
    """Values one after another: heads first, then what the heads point to, in the same order and without gaps."""
    heads = sum(kind.words for kind in kinds) * WORD

    def read(data: bytes, at: int) -> tuple[list[Any], int]:
        values, head, tail = [], at, at + heads
        for kind in kinds:
            if kind.dynamic:
                if int.from_bytes(data[head : head + WORD]) != tail - at:
                    raise NotCanonical
                head += WORD
                value, tail = kind.read(data, tail)
            else:
                value, head = kind.read(data, head)
            values.append(value)
        return values, tail

    dynamic = any(kind.dynamic for kind in kinds)
    return Kind(dynamic, 1 if dynamic else heads // WORD, read)


def _list(element: Kind, size: int | None) -> Kind:
    if size is not None:
        return sequence([element] * size)

    def read(data: bytes, at: int) -> tuple[list[Any], int]:
        start = at + WORD
        length = int.from_bytes(data[at:start])
        if length * max(element.words, 1) * WORD > len(data) - start:
            raise NotCanonical
        values: list[Any]
        values, end = sequence([element] * length).read(data, start)
        return values, end

    return Kind(True, 1, read)


def _tuple(names: Sequence[str], values: Kind) -> Kind:
    def read(data: bytes, at: int) -> tuple[dict[str, Any], int]:
        given, end = values.read(data, at)
        return dict(zip(names, given, strict=True)), end

    return Kind(values.dynamic, values.words, read)
