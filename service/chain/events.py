"""What a contract announced: logs to named events with arguments that JSON can hold.

One table, made from the ABIs of all our contracts, says how to read a log of each first topic and number of topics.
Reading is strict: an encoding that no Solidity compiler writes is a stranger's, and is told as no event at all.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from eth_hash.auto import keccak
from eth_utils.abi import abi_to_signature

from service.addresses import hex0x
from service.chain import artifacts
from service.chain.reader import Log
from service.chain.strict import Kind, NotCanonical, kind_of, sequence


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its name, its signature such as `Frozen(address,uint256)`, and its arguments by name.

    Addresses are EIP-55 text, bytes are 0x text, numbers of up to 64 bits are `int` and wider ones decimal strings,
    lists and tuples are lists and dicts. An indexed argument of no fixed size is told by its hash, as the chain does.
    """

    name: str
    signature: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Argument:
    name: str
    indexed: bool
    kind: Kind


@dataclass(frozen=True, slots=True)
class _Shape:
    """One event of an ABI."""

    name: str
    signature: str
    arguments: tuple[_Argument, ...]
    data: Kind  # all that is not indexed

    def read(self, log: Log) -> Event:
        given, end = self.data.read(log.data, 0)
        if end != len(log.data):
            raise NotCanonical
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
                shapes.setdefault((keccak(shape.signature.encode()), topics), {}).setdefault(parts, shape)
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
            except NotCanonical:
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


_PROXY = (
    event_entry("Upgraded", "address indexed implementation"),
    event_entry("BeaconUpgraded", "address indexed beacon"),
    event_entry("AdminChanged", "address previousAdmin", "address newAdmin"),
)
"""What a proxy announces. None of our contracts is one, but one of others may be. Source: ERC-1967."""

_BATCH = (
    event_entry(
        "ConsecutiveTransfer",
        *("uint256 indexed fromTokenId", "uint256 toTokenId"),
        *("address indexed fromAddress", "address indexed toAddress"),
    ),
)
"""Deeds that are told of together, and without a transfer of each. Source: ERC-2309."""


@cache
def known() -> EventTable:
    """The events of every contract that is shipped, of those that they make, and of proxies."""
    shipped = (entry for name in artifacts.names() for entry in artifacts.load(name).abi)
    return EventTable([*shipped, *_TIMELOCK, *_PROXY, *_BATCH])


def decode_event(log: Log) -> Event | None:
    """The event that a log is, or None when none of our contracts has such a one. Never fails on any log."""
    return known().decode(log)


def _shape(entry: Mapping[str, Any]) -> _Shape:
    inputs: Sequence[Mapping[str, Any]] = entry["inputs"]
    arguments = tuple(
        _Argument(item["name"] or f"argument_{index}", item["indexed"], kind_of(item["type"], item))
        for index, item in enumerate(inputs)
    )
    signature = abi_to_signature(dict(entry))  # type: ignore[arg-type]
    return _Shape(entry["name"], signature, arguments, sequence([each.kind for each in arguments if not each.indexed]))


def _topic(kind: Kind, topic: bytes) -> Any:
    return hex0x(topic) if kind.composite else kind.read(topic, 0)[0]
