"""The shared world, and the log."""

from tests.web.shared import log, shared

__all__ = ["log", "shared"]
