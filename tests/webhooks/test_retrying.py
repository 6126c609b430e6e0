"""When a message comes again: the schedule, its jitter, and what a receiver asks for."""

from hypothesis import given
from hypothesis import strategies as st

from service.webhooks.egress import Answer
from service.webhooks.retrying import SCHEDULE_S, after
from service.webhooks.tables import State


@given(st.integers(0, 8), st.floats(0, 1), st.sampled_from([None, 100, 302, 400, 404, 410, 429, 500, 503]))
def test_what_is_not_taken_comes_again_after_the_schedule_with_jitter(
    failures: int, chance: float, status: int | None
) -> None:
    found = after(Answer(status, None, 0, 1), failures=failures, chance=chance)
    assert (found.state, found.failures) == (State.PENDING, failures + 1)
    assert SCHEDULE_S[failures + 1] <= found.wait_s <= SCHEDULE_S[failures + 1] * 1.1


@given(st.integers(200, 299), st.integers(0, 20))
def test_2xx_alone_is_success(status: int, failures: int) -> None:
    assert after(Answer(status, None, 0, 1), failures=failures, chance=0.5).state is State.DELIVERED


def test_the_tenth_failure_is_the_last_and_one_who_is_gone_is_not_given_up() -> None:
    assert after(Answer(500, None, 0, 1), failures=9, chance=0.0).state is State.DEAD
    assert after(Answer(410, None, 0, 1), failures=9, chance=0.0).state is State.PENDING


def test_a_longer_wait_that_is_asked_for_is_kept_and_a_shorter_one_is_not() -> None:
    assert after(Answer(503, None, 900, 1), failures=0, chance=0.0).wait_s == 900
    assert after(Answer(503, None, 1, 1), failures=2, chance=0.0).wait_s == SCHEDULE_S[3]


def test_all_sendings_span_more_than_three_days() -> None:
    assert sum(SCHEDULE_S) > 3 * 86_400
