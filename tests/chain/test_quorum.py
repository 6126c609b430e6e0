"""What several voices say, as one answer: pure rules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.chain.node import NodeRefused
from service.chain.quorum import agreed, most_telling, reached
from service.chain.reasons import Reason


def plain(said: str) -> str:
    return said


@pytest.mark.parametrize(
    ("voices", "quorum", "found", "dissenting"),
    [
        ((["a"], ["a"]), 2, ["a"], set()),
        ((["a"], ["b"]), 2, [None], {0, 1}),
        ((["a"], ["b"], ["b"]), 2, ["b"], {0}),
        ((["a"], [None], [None]), 2, [None], set()),
        ((["a"], [None], ["a"]), 2, ["a"], set()),
        ((["a"], ["a"], ["b"], ["b"]), 2, [None], {0, 1, 2, 3}),
        ((["a", "c"], ["b", "c"], ["a", "c"]), 3, [None, "c"], {0, 1, 2}),
        (([], []), 2, [], set()),
    ],
)
def test_what_is_agreed(
    voices: tuple[list[str | None], ...], quorum: int, found: list[str | None], dissenting: set[int]
) -> None:
    assert agreed(voices, quorum, key=plain) == (found, dissenting)


@given(st.lists(st.sampled_from(["a", "b", None]), min_size=1, max_size=7), st.integers(1, 7))
def test_what_is_agreed_was_said_by_the_quorum(voices: list[str | None], quorum: int) -> None:
    (found,), dissenting = agreed([[said] for said in voices], quorum, key=plain)
    if found is not None:
        assert voices.count(found) >= quorum
        assert all(voices[place] not in (found, None) for place in dissenting)


@pytest.mark.parametrize(("quorum", "number"), [(1, 9), (2, 7), (3, 1)])
def test_the_number_that_so_many_reach(quorum: int, number: int) -> None:
    assert reached([1, 9, 7], quorum) == number


SPENT = NodeRefused(-32000, "nonce too low")
KNOWN = NodeRefused(-32000, "already known")
CHEAP = NodeRefused(-32000, "transaction underpriced")
STRANGE = NodeRefused(-32000, "something new")
BAD = NodeRefused(-32000, "invalid sender")
LIMITED = NodeRefused(-32005, "rate limit")


@pytest.mark.parametrize(
    ("outcomes", "told"),
    [
        ([SPENT, None], None),
        ([KNOWN, CHEAP], KNOWN),
        ([LIMITED, SPENT], SPENT),
        ([BAD, CHEAP], CHEAP),
        ([BAD, STRANGE], STRANGE),
        ([LIMITED, BAD], BAD),
        ([LIMITED], LIMITED),
    ],
)
def test_of_refusals_the_most_telling_is_told(outcomes: list[NodeRefused | None], told: NodeRefused | None) -> None:
    assert most_telling(outcomes) is told


@given(st.permutations([None, SPENT, KNOWN, CHEAP, STRANGE, BAD, LIMITED]), st.integers(1, 7))
def test_bytes_are_called_bad_only_by_all_who_judged_them(outcomes: list[NodeRefused | None], count: int) -> None:
    told = most_telling(outcomes[:count])
    if told is not None and told.reason.final:
        judged = [each for each in outcomes[:count] if each is None or each.reason is not Reason.RATE_LIMITED]
        assert all(each is not None and each.reason.final for each in judged)
