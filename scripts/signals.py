"""Ending in good order: Ctrl-C, a request to end, and a closed terminal are one exception, raised once."""

import signal
from typing import NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """Ctrl-C, or a request to end; the first argument is the signal's number."""


def listen() -> None:
    """Turn the next signal into Interrupted; a second one changes nothing."""
    for each in SIGNALS:
        signal.signal(each, _interrupt)


def ignore() -> None:
    """Let nothing cut the cleaning up short."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)


def _interrupt(number: int, frame: object) -> NoReturn:
    del frame
    ignore()
    raise Interrupted(number)
