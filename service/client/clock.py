"""The server's time, as far as its answers tell: a signature is good for a minute of it."""

import email.utils
import math
import time
from datetime import datetime
from typing import Any

DATE_AGE_MAX_S = 2.0
"""Servers write `Date` once a second, and later if they are busy."""


class Clock:
    """This machine's clock, set right by the server's."""

    def __init__(self) -> None:
        self.offset_s = 0.0

    def now_s(self) -> float:
        """Seconds since 1970."""
        return time.time() + self.offset_s

    def hear(self, date: str | None, *, sent_s: float) -> None:
        """Take an answer's header `Date`, unless the clocks may agree as it is. Source: RFC 9110 section 6.6.1.

        Args:
            sent_s: when its request began, by this machine's clock; the answer was dated between then and now.
        """
        try:
            told_s = email.utils.parsedate_to_datetime(date or "").timestamp()
        except ValueError:
            return
        least_s, most_s = told_s - time.time(), told_s + 1 + DATE_AGE_MAX_S - sent_s
        if not least_s <= self.offset_s <= most_s:
            self.offset_s = (least_s + most_s) / 2

    def correct(self, server_time: Any) -> None:
        """Take what a refusal says the time is: RFC 3339, or seconds since 1970."""
        try:
            if isinstance(server_time, str):
                told_s = datetime.fromisoformat(server_time).timestamp()
            else:
                told_s = float(server_time)
        except (ValueError, TypeError, OverflowError):
            return
        # JSON as Python reads it has infinity, and a number that is none.
        if math.isfinite(told_s):
            self.offset_s = told_s - time.time()
