"""Times of the chain as times of the calendar."""

from datetime import UTC, datetime

TIMESTAMP_MAX = 253_402_300_799
"""The last second of the year 9999, where dates end."""

LAST = "The last second of the year 9999 stands for any later time."
"""For the description of a field that holds such a time."""


def shown(seconds: int) -> datetime:
    """Seconds since 1970 as a time to show, in UTC.

    A contract keeps 48 or 64 bits, which is far more than dates reach, and anybody may fill them: what lies beyond the
    year 9999 is shown as that year's last second.
    """
    return datetime.fromtimestamp(min(seconds, TIMESTAMP_MAX), UTC)
