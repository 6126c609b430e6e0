"""Logs to events: every event of every contract, and nothing that a stranger made up."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_hash.auto import keccak
from eth_utils.abi import abi_to_signature, collapse_if_tuple
from hypothesis import given, settings
from hypothesis import strategies as st

from service.addresses import checksum, hex0x
from service.chain import artifacts
from service.chain.events import _BATCH, _PROXY, _TIMELOCK, Event, EventTable, decode_event, event_entry, known
from service.chain.reader import Log

ACCOUNT = bytes.fromhex("70997970c51812dc3a010c7d01b50e0d17dc79c8")
ENTRIES = {
    (abi_to_signature(dict(entry)), sum(each["indexed"] for each in entry["inputs"])): entry  # type: ignore[arg-type]
    for abi in (*(artifacts.load(name).abi for name in artifacts.names()), _TIMELOCK, _PROXY, _BATCH)
    for entry in abi
    if entry["type"] == "event"
}
APPROVAL = ("address indexed owner", "address indexed spender")
SAMPLES: dict[str, tuple[Any, Any]] = {
    "address": (ACCOUNT, checksum(ACCOUNT)),
    "bool": (True, True),
    "bytes": (b"\x01" * 33, "0x" + "01" * 33),
    "string": ("Grüße", "Grüße"),
}


def sample(type_: str) -> tuple[Any, Any]:
    """A value to encode, and what JSON is told of it."""
    if type_.endswith("[]"):
        value, told = sample(type_[:-2])
        return [value, value], [told, told]
    if type_.startswith("uint"):
        bits = int(type_[4:])
        return 2**bits - 1, 2**bits - 1 if bits <= 64 else str(2**bits - 1)
    if type_.startswith("bytes") and type_ != "bytes":
        return b"\xab" * int(type_[5:]), "0x" + "ab" * int(type_[5:])
    return SAMPLES[type_]


def log_of(entry: Mapping[str, Any], values: list[Any]) -> Log:
    """The log that a contract would write."""
    topics = [keccak(abi_to_signature(dict(entry)).encode())]  # type: ignore[arg-type]
    types, plain = [], []
    for item, value in zip(entry["inputs"], values, strict=True):
        type_ = collapse_if_tuple(item)
        if not item["indexed"]:
            types.append(type_)
            plain.append(value)
        elif type_ in ("string", "bytes") or type_.endswith(("]", ")")):
            topics.append(keccak(value if isinstance(value, bytes) else str(value).encode()))
        else:
            topics.append(encode([type_], [value]))
    return Log(1, b"b" * 32, b"t" * 32, 0, b"c" * 20, tuple(topics), encode(types, plain))


@pytest.mark.parametrize("place", ENTRIES, ids=lambda place: place[0])
def test_every_event_is_read_as_it_was_written(place: tuple[str, int]) -> None:
    entry = ENTRIES[place]
    samples = [sample(item["type"]) for item in entry["inputs"]]
    event = decode_event(log_of(entry, [value for value, _ in samples]))
    told = [
        hex0x(keccak(str(value).encode())) if item["indexed"] and item["type"] == "string" else text
        for item, (value, text) in zip(entry["inputs"], samples, strict=True)
    ]
    assert event is not None
    assert (event.name, event.signature) == (entry["name"], place[0])
    assert list(event.arguments.values()) == told
    assert [name for name in event.arguments if name] == [
        item["name"] or f"argument_{index}" for index, item in enumerate(entry["inputs"])
    ]
    assert json.loads(json.dumps(event.arguments)) == event.arguments


def test_one_topic_may_be_two_events() -> None:
    fungible, deed = (
        decode_event(log)
        for log in (
            log_of(event_entry("Approval", *APPROVAL, "uint256 value"), [ACCOUNT, ACCOUNT, 5]),
            log_of(event_entry("Approval", *APPROVAL, "uint256 indexed tokenId"), [ACCOUNT, ACCOUNT, 5]),
        )
    )
    assert fungible is not None
    assert fungible.arguments == {"owner": checksum(ACCOUNT), "spender": checksum(ACCOUNT), "value": "5"}
    assert deed is not None
    assert deed.arguments["tokenId"] == "5"


@pytest.mark.parametrize(
    ("type_", "value", "told"),
    [
        ("uint48", 2**48 - 1, 2**48 - 1),
        ("uint64", 2**64 - 1, 2**64 - 1),
        ("uint72", 5, "5"),
        ("int64", -(2**63), -(2**63)),
        ("int256", -1, "-1"),
        ("bytes4", b"\x01\x02\x03\x04", "0x01020304"),
        ("uint16[2]", [1, 2], [1, 2]),
        ("string[]", ["a", "", "b" * 40], ["a", "", "b" * 40]),
        ("bytes[][]", [[b"\x01"], [], [b"", b"\x02"]], [["0x01"], [], ["0x", "0x02"]]),
        ("uint64[]", [], []),
    ],
)
def test_values_are_told_as_json_holds_them(type_: str, value: Any, told: Any) -> None:
    entry = event_entry("Told", f"{type_} given", "string after")
    event = EventTable([entry]).decode(log_of(entry, [value, "end"]))
    assert event == Event("Told", f"Told({type_},string)", {"given": told, "after": "end"})


def test_tuples_are_told_by_the_names_of_their_parts() -> None:
    parts = [{"name": "country", "type": "uint16"}, {"name": "uri", "type": "string"}]
    entry = {
        "type": "event",
        "name": "Told",
        "inputs": [
            {"name": "one", "type": "tuple", "components": parts, "indexed": False},
            {"name": "many", "type": "tuple[]", "components": parts, "indexed": False},
        ],
    }
    event = EventTable([entry]).decode(log_of(entry, [(756, "a"), [(1, "b"), (2, "c")]]))
    assert event is not None
    assert event.arguments == {
        "one": {"country": 756, "uri": "a"},
        "many": [{"country": 1, "uri": "b"}, {"country": 2, "uri": "c"}],
    }


def test_an_indexed_text_is_told_by_its_hash() -> None:
    entry = event_entry("Told", "string indexed reason")
    event = EventTable([entry]).decode(log_of(entry, ["why"]))
    assert event is not None
    assert event.arguments == {"reason": hex0x(keccak(b"why"))}


@pytest.mark.parametrize("given", [b"a\x00b", b"\xff\xfe", b"\xed\xa0\x80", "Zürich \U0001f3e0".encode()])
def test_text_is_such_that_a_database_takes_it(given: bytes) -> None:
    entry = event_entry("Told", "string reason")
    data = encode(["bytes"], [given])
    event = EventTable([entry]).decode(Log(1, b"", b"", 0, b"", (keccak(b"Told(string)"),), data))
    assert event is not None
    assert "\0" not in event.arguments["reason"]
    assert event.arguments["reason"] == given.decode(errors="replace").replace("\0", "\ufffd")


def changed(log: Log, **parts: Any) -> Log:
    values = {name: getattr(log, name) for name in Log.__slots__} | parts
    return Log(**values)


def test_what_does_not_fit_its_abi_is_no_event() -> None:
    entry = event_entry("Told", "address indexed account", "uint64 amount", "bytes4 selector", "bool yes", "string why")
    table = EventTable([entry])
    log = log_of(entry, [ACCOUNT, 7, b"\x01\x02\x03\x04", True, "because"])
    assert table.decode(log) is not None
    words = [log.data[at : at + 32] for at in range(0, len(log.data), 32)]

    def with_word(place: int, word: bytes) -> Log:
        return changed(log, data=b"".join([*words[:place], word, *words[place + 1 :]]))

    strange = [
        changed(log, topics=()),
        changed(log, topics=log.topics[:1]),
        changed(log, topics=(*log.topics, bytes(32))),
        changed(log, topics=(b"?" * 32, log.topics[1])),
        changed(log, topics=(log.topics[0], b"\x01" + log.topics[1][1:])),
        changed(log, data=b""),
        changed(log, data=log.data[:-1]),
        changed(log, data=log.data + bytes(32)),
        with_word(0, (2**64).to_bytes(32)),
        with_word(1, b"\x01" * 32),
        with_word(2, (2).to_bytes(32)),
        with_word(3, (2**255).to_bytes(32)),
        with_word(3, (160).to_bytes(32)),
        with_word(4, (2**255).to_bytes(32)),
    ]
    assert [table.decode(each) for each in strange] == [None] * len(strange)


def test_values_that_share_their_bytes_are_refused() -> None:
    """A short log could otherwise be told as gigabytes."""
    entry = event_entry("Told", "bytes[] parts")
    table = EventTable([entry])
    count = 1_000
    bomb = b"".join(number.to_bytes(32) for number in (32, count, *[count * 32] * count, 64)) + b"x" * 64
    log = Log(1, b"", b"", 0, b"", (keccak(b"Told(bytes[])"),), bomb)
    assert table.decode(log) is None
    assert table.decode(log_of(entry, [[b"x" * 64] * count])) is not None


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(ENTRIES)), st.binary(max_size=400), st.integers(0, 2**256 - 1))
def test_no_bytes_make_it_fail(place: tuple[str, int], data: bytes, topic: int) -> None:
    log = Log(1, b"", b"", 0, b"", (keccak(place[0].encode()), *[topic.to_bytes(32)] * place[1]), data)
    event = decode_event(log)
    assert event is None or json.dumps(event.arguments)


def test_the_topics_of_the_table_are_those_of_the_events() -> None:
    assert set(known().topics) == {keccak(signature.encode()) for signature, _ in ENTRIES}
    assert known().signatures == {signature for signature, _ in ENTRIES}
