"""How much is asked for at once: what answers and refusals teach."""

import pytest

from service.chain.node import AnswerLate, AnswerTooLong, NodeRefused, NodeUnavailable
from service.mirror.width import ADDRESSES_MAX, LOGS_QUICK, LOGS_SLOW, PATIENCE, Question, Width, is_too_much


def ask(width: Width, *, limit: int, logs: int = 0, duration_s: float = 0.001) -> bool:
    """One question to a node that answers about so many blocks at most; whether it answered."""
    if width.blocks > limit:
        width.refused(blocks=width.blocks, addresses=1)
        return False
    width.took(blocks=width.blocks, logs=logs, duration_s=duration_s)
    return True


@pytest.mark.parametrize("limit", [1, 7, 100, 1_000, 5_000])
def test_a_limit_is_found_and_hardly_asked_beyond_again(limit: int) -> None:
    width = Width(2_000, blocks=2_000)
    asked = [(width.blocks, ask(width, limit=limit)) for _ in range(400)]
    refused = [blocks for blocks, answered in asked[100:] if not answered]
    widths = [blocks for blocks, answered in asked[100:] if answered]
    assert len(refused) <= 300 // PATIENCE
    assert sum(widths) / len(widths) >= 0.6 * min(limit, 2_000)


def test_a_limit_that_is_lifted_is_noticed() -> None:
    width = Width(2_000)
    for _ in range(100):
        ask(width, limit=10)
    for _ in range(100 * PATIENCE):
        ask(width, limit=2_000)
    assert width.blocks == 2_000


def test_a_near_node_is_asked_for_short_answers_and_a_far_one_for_long_ones() -> None:
    near, far = Width(2_000), Width(2_000)
    for _ in range(50):
        near.took(blocks=near.blocks, logs=100 * near.blocks, duration_s=0.002)
        far.took(blocks=far.blocks, logs=100 * far.blocks, duration_s=0.2)
    assert LOGS_QUICK // 2 <= 100 * near.blocks <= 2 * LOGS_QUICK
    assert LOGS_SLOW // 2 <= 100 * far.blocks <= 2 * LOGS_SLOW


def test_a_dense_stretch_makes_the_next_question_short() -> None:
    width = Width(2_000, blocks=1_000)
    width.took(blocks=1_000, logs=1_000_000, duration_s=1.0)
    assert width.blocks == LOGS_SLOW // 1_000


def test_late_answers_and_the_rest_of_a_range_earn_nothing() -> None:
    width = Width(2_000, blocks=10)
    width.took(blocks=10, logs=0, duration_s=5.0)
    width.took(blocks=3, logs=0, duration_s=0.001)
    assert width.blocks == 10


def test_addresses_are_fewer_where_one_block_was_too_much_and_come_back() -> None:
    width = Width(2_000, blocks=1)
    width.refused(blocks=1, addresses=ADDRESSES_MAX)
    assert width.addresses == ADDRESSES_MAX // 2
    for _ in range(20 * PATIENCE):
        width.took(blocks=width.blocks, logs=0, duration_s=0.001)
    assert width.addresses == ADDRESSES_MAX


def test_a_question_is_split_by_blocks_then_addresses_then_topics_and_loses_nothing() -> None:
    one, two, three = (bytes([at]) * 20 for at in (1, 2, 3))
    first, second = bytes(32), b"\1" * 32
    waiting, smallest = [Question(5, 8, (one, two, three), (first, second))], set()
    while waiting:
        question = waiting.pop()
        halves = question.halves()
        if halves is None:
            smallest.add((question.first, question.addresses[0], question.topics[0]))
            assert question.blocks == len(question.addresses) == len(question.topics) == 1
        else:
            waiting += halves
            assert question.blocks == 1 or halves[0].addresses == question.addresses
    assert len(smallest) == 4 * 3 * 2


@pytest.mark.parametrize(
    ("error", "too_much"),
    [
        (NodeRefused(-32005, "query returned more than 10000 results"), True),
        (NodeRefused(-32000, "block range is too large, maximum block range is 2000"), True),
        (NodeRefused(-32000, "request timed out"), True),
        (AnswerTooLong("long"), True),
        (AnswerLate("late"), True),
        (NodeUnavailable("dead"), False),
        (NodeRefused(4444, "pruned history unavailable"), False),
        (NodeRefused(-32005, "rate limit reached"), False),
    ],
)
def test_only_what_a_smaller_question_may_cure_is_too_much(error: Exception, too_much: bool) -> None:
    assert is_too_much(error) is too_much
