"""Logs by column: the same as one by one, and nothing that is no log."""

import json
from typing import Any

import msgspec
import pytest

from service.chain.log_columns import as_columns, as_header
from service.chain.node import NodeRefused, NodeUnavailable
from service.chain.shapes import as_logs

ADDRESS, WORD = "0x" + "ab" * 20, "0x" + "cd" * 32


def log(block: int, index: int, **more: Any) -> dict[str, Any]:
    """A log as a node writes it."""
    return {
        "address": ADDRESS,
        "topics": [WORD, "0x" + f"{index:064x}"],
        "data": f"0x{block:064x}",
        "blockNumber": hex(block),
        "blockHash": "0x" + f"{block:064x}",
        "transactionHash": "0x" + f"{index + 1:064x}",
        "transactionIndex": "0x0",
        "logIndex": hex(index),
        "removed": False,
        **more,
    }


def raw(given: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(given).encode())


def test_columns_say_what_logs_say() -> None:
    given = [log(5, 0), log(5, 1, topics=[WORD]), log(6, 0, data="0x"), log(300, 7, data="0x1234")]
    columns = as_columns(raw(given))
    assert columns.logs(range(len(columns))) == as_logs(given)
    assert columns.topic_words([0, 3], 1) == [bytes(32), bytes(31) + b"\7"]
    assert columns.topic_addresses([0, 3], 1) == [bytes(20), bytes(19) + b"\7"]
    assert columns.data_words([0, 1]) == [bytes(31) + b"\5"] * 2
    assert columns.rows([2]).block_numbers == [6]


def test_logs_come_in_the_order_of_the_chain_and_those_taken_back_not_at_all() -> None:
    columns = as_columns(raw([log(6, 1), log(6, 0), log(5, 2, removed=True), log(5, 9)]))
    assert list(zip(columns.block_numbers, columns.log_indexes, strict=True)) == [(5, 9), (6, 0), (6, 1)]
    both = columns.and_also(as_columns(raw([log(5, 3)])))
    assert both.log_indexes == [3, 9, 0, 1]
    with pytest.raises(NodeUnavailable, match="twice"):
        columns.and_also(columns)


def test_no_logs_are_no_rows() -> None:
    assert len(as_columns(raw([]))) == 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"address": "0x" + "ab" * 19},
        {"address": "0X" + "ab" * 20},
        {"blockHash": "0x" + "cd" * 31 + "  "},
        {"blockHash": "0x" + "cd" * 31 + "zz"},
        {"blockHash": "cd0x" + "cd" * 31},
        {"transactionHash": None},
        {"blockNumber": 5},
        {"logIndex": "0xzz"},
        {"topics": []},
        {"topics": ["0x12"]},
        {"topics": "0x12"},
    ],
)
def test_another_shape_than_a_log_has_is_no_answer(wrong: dict[str, Any]) -> None:
    with pytest.raises(NodeUnavailable):
        as_columns(raw([log(5, 0), log(5, 1, **wrong)]))


def test_another_answer_than_a_list_is_none() -> None:
    others: list[Any] = [{"logs": []}, None, "0x", 5]
    for given in others:
        with pytest.raises(NodeUnavailable):
            as_columns(raw(given))
    with pytest.raises(NodeRefused):
        as_columns(NodeRefused(-32005, "query returned more than 10000 results"))


def test_a_topic_or_word_of_another_size_is_told_where_it_is_read() -> None:
    columns = as_columns(raw([log(5, 0, topics=[WORD, "0x12"], data="0x12")]))
    with pytest.raises(NodeUnavailable):
        columns.topic_words([0], 1)
    with pytest.raises(NodeUnavailable):
        columns.data_words([0])
    with pytest.raises(NodeUnavailable):
        columns.logs([0])


def test_a_header_that_is_not_there_or_another_one_is_no_answer() -> None:
    with pytest.raises(NodeUnavailable, match="does not have block 5"):
        as_header(raw(None), 5)
    header = {"number": "0x6", "hash": WORD, "parentHash": WORD, "timestamp": "0x1"}
    assert as_header(raw(header), 6).number == 6
    with pytest.raises(NodeUnavailable):
        as_header(raw(header), 5)
