"""Logs by column: many at once, read with a few calls for each column instead of many for each log.

A struct for each log is all that is made of it one by one. Equal values, such as a block's hash or a transaction's, are
read once; values that differ are joined, read as one long hexadecimal text, and cut at their known width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from service.chain.node import NodeUnavailable
from service.chain.nodes import Outcome
from service.chain.shapes import Block, Log, as_known_block, granted, shaped
from service.chain.wire import parse_data, parse_quantity

T = TypeVar("T")

WORD = 32


class RawLog(msgspec.Struct, rename="camel", gc=False):
    """A log as a node writes it."""

    address: str
    topics: list[str]
    data: str
    block_number: str
    block_hash: str
    transaction_hash: str
    log_index: str
    removed: bool = False


_logs = msgspec.json.Decoder(list[RawLog])
_any = msgspec.json.Decoder(Any)


@dataclass(frozen=True, slots=True)
class LogColumns:
    """Logs in the order of the chain: row i is the i-th of every column."""

    raws: list[RawLog] = field(repr=False)
    block_numbers: list[int]
    block_hashes: list[bytes]
    transaction_hashes: list[bytes]
    log_indexes: list[int]
    addresses: list[bytes]
    first_topics: list[bytes]

    def __len__(self) -> int:
        return len(self.raws)

    def logs(self, places: Sequence[int]) -> list[Log]:
        """These rows as logs of their own.

        Raises:
            NodeUnavailable: one of them has another shape than a log has.
        """
        return [
            Log(
                block_number=self.block_numbers[place],
                block_hash=self.block_hashes[place],
                transaction_hash=self.transaction_hashes[place],
                log_index=self.log_indexes[place],
                address=self.addresses[place],
                topics=tuple(shaped(_word, topic) for topic in self.raws[place].topics),
                data=shaped(parse_data, self.raws[place].data),
            )
            for place in places
        ]

    def topic_addresses(self, places: Sequence[int], topic: int) -> list[bytes]:
        """The addresses in a topic of these rows.

        Raises:
            NodeUnavailable: one of the topics is not 32 bytes.
        """
        joined = shaped(_joined_words, [self.raws[place].topics[topic] for place in places])
        return [joined[end - 20 : end] for end in range(WORD, len(joined) + 1, WORD)]

    def topic_words(self, places: Sequence[int], topic: int) -> list[bytes]:
        """A topic of these rows.

        Raises:
            NodeUnavailable: one of them is not 32 bytes.
        """
        return shaped(_cut_words, [self.raws[place].topics[topic] for place in places])

    def data_words(self, places: Sequence[int]) -> list[bytes]:
        """The data of these rows, each of 32 bytes.

        Raises:
            NodeUnavailable: one of them is of another size.
        """
        return shaped(_cut_words, [self.raws[place].data for place in places])

    def rows(self, places: Sequence[int]) -> "LogColumns":
        """Some of the rows, in the order given."""
        return LogColumns(
            [self.raws[place] for place in places],
            [self.block_numbers[place] for place in places],
            [self.block_hashes[place] for place in places],
            [self.transaction_hashes[place] for place in places],
            [self.log_indexes[place] for place in places],
            [self.addresses[place] for place in places],
            [self.first_topics[place] for place in places],
        )

    def and_also(self, others: "LogColumns") -> "LogColumns":
        """These and other logs, in the order of the chain.

        Raises:
            NodeUnavailable: a log is among both.
        """
        both = LogColumns(
            self.raws + others.raws,
            self.block_numbers + others.block_numbers,
            self.block_hashes + others.block_hashes,
            self.transaction_hashes + others.transaction_hashes,
            self.log_indexes + others.log_indexes,
            self.addresses + others.addresses,
            self.first_topics + others.first_topics,
        )
        return both if not len(others) else shaped(LogColumns._in_order, both)

    def _in_order(self) -> "LogColumns":
        places = list(zip(self.block_numbers, self.log_indexes, strict=True))
        if all(map(tuple.__lt__, places, places[1:])):
            return self
        if len(set(places)) < len(places):
            raise ValueError("a log came twice")
        return self.rows(sorted(range(len(places)), key=places.__getitem__))


def as_columns(answer: Outcome) -> LogColumns:
    """Logs in the order of the chain, without those that a reorganisation took back.

    Args:
        answer: `eth_getLogs`, as raw JSON.

    Raises:
        NodeRefused: it is a refusal.
        NodeUnavailable: it has another shape than logs have, or one log comes twice.
    """
    return shaped(_columns, granted(answer))


def _columns(answer: msgspec.Raw) -> LogColumns:
    raws = [raw for raw in _read(_logs, answer) if not raw.removed]
    if not all(raw.topics for raw in raws):
        raise ValueError("a log without a topic was not asked for")
    return LogColumns(
        raws,
        _quantities([raw.block_number for raw in raws]),
        _once([raw.block_hash for raw in raws], WORD),
        _once([raw.transaction_hash for raw in raws], WORD),
        _quantities([raw.log_index for raw in raws]),
        _once([raw.address for raw in raws], 20),
        _once([raw.topics[0] for raw in raws], WORD),
    )._in_order()


def as_header(answer: Outcome, number: int) -> Block:
    """The header that was asked for by number, from raw JSON.

    Raises:
        NodeRefused: it was refused.
        NodeUnavailable: the node has no such block, or gave another.
    """
    given = shaped(lambda raw: _read(_any, raw), granted(answer))
    block = as_known_block(given, number)
    if block is None:
        raise NodeUnavailable(f"the node does not have block {number}")
    return block


def _read(decoder: msgspec.json.Decoder[T], raw: msgspec.Raw) -> T:
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ValueError("another shape of JSON") from None


def _quantities(column: Sequence[str]) -> list[int]:
    return _mapped(column, {text: parse_quantity(text) for text in set(column)})


def _once(column: Sequence[str], size: int) -> list[bytes]:
    distinct = list(set(column))
    return _mapped(column, dict(zip(distinct, _cut(distinct, size), strict=True)))


def _mapped(column: Sequence[str], values: Mapping[str, T]) -> list[T]:
    return list(map(values.__getitem__, column))


def _word(text: str) -> bytes:
    return parse_data(text, size=WORD)


def _joined_words(column: Sequence[str]) -> bytes:
    return _joined(column, WORD)


def _cut_words(column: Sequence[str]) -> list[bytes]:
    return _cut(column, WORD)


def _cut(column: Sequence[str], size: int) -> list[bytes]:
    joined = _joined(column, size)
    return [joined[start : start + size] for start in range(0, len(joined), size)]


def _joined(column: Sequence[str], size: int) -> bytes:
    """The bytes that all of a column tells, one value after another; each must be of the size."""
    width, count = 2 + 2 * size, len(column)
    text = "".join(column)
    if set(map(len, column)) - {width} or text[::width] != "0" * count or text[1::width] != "x" * count:
        raise ValueError(f"not {size} bytes of JSON-RPC data")
    joined = bytes.fromhex(text.replace("0x", ""))  # it passes over blanks, hence the length again
    if len(joined) != size * count:
        raise ValueError(f"not {size} bytes of JSON-RPC data")
    return joined
