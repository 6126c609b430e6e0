"""Times of the chain that no calendar has."""

from datetime import UTC, datetime

import pytest

from service.chain import times


@pytest.mark.parametrize("seconds", [times.TIMESTAMP_MAX, times.TIMESTAMP_MAX + 1, 2**48 - 1, 2**64 - 1, 2**256 - 1])
def test_what_lies_beyond_the_calendar_is_its_last_second(seconds: int) -> None:
    assert times.shown(seconds) == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def test_any_other_time_is_itself() -> None:
    assert times.shown(0) == datetime(1970, 1, 1, tzinfo=UTC)
    assert times.shown(1_800_000_000).timestamp() == 1_800_000_000
