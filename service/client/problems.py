"""What can go wrong between a caller and the API: refused, or the end is not known."""

import email.utils
import json
import time
from typing import Any


class Unusable(Exception):
    """The call can't be made, or its end is not known; the message says what to do next."""


class Away(Unusable):
    """Nobody answers, or what answers can't do it now: whether a write was taken is not known.

    A write that went under an idempotency key can be asked again under the same: it happens once.
    """

    def __init__(
        self,
        told: str,
        *,
        status: int | None = None,
        problem: dict[str, Any] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(told)
        self.status = status
        self.problem = problem
        self.retry_after_s = retry_after_s
        self.idempotency_key: str | None = None

    @property
    def passing(self) -> bool:
        """Whether it may be gone when asked again: no answer at all, or a server that has none now."""
        return self.status in (None, 408, 502, 503, 504)


class ApiProblem(Exception):
    """The API refused: nothing was done. Source: RFC 9457."""

    def __init__(self, problem: dict[str, Any], *, retry_after_s: float | None = None) -> None:
        super().__init__(f"{problem.get('title')}: {problem.get('detail')}")
        self.problem = problem
        self.retry_after_s = retry_after_s

    @property
    def slug(self) -> str:
        """Which problem; `GET /problems/{slug}` explains it."""
        return str(self.problem.get("type", "")).rpartition("/")[2]

    @property
    def status(self) -> int | None:
        """The status of the answer, 400 to 499; None where none is told."""
        found = self.problem.get("status")
        return found if isinstance(found, int) else None

    @property
    def title(self) -> str:
        """The same for every problem of this kind."""
        return str(self.problem.get("title", ""))

    @property
    def detail(self) -> str:
        """What to do next."""
        return str(self.problem.get("detail", ""))

    @property
    def fields(self) -> dict[str, Any]:
        """What the problem tells beyond RFC 9457, such as `scope` or `rule`."""
        known = {"type", "title", "status", "detail", "instance"}
        return {name: value for name, value in self.problem.items() if name not in known}


class OperationFailed(ApiProblem):
    """The write was accepted, and failed later; `operation` is how it ended."""

    def __init__(self, problem: dict[str, Any], operation: Any) -> None:
        super().__init__(problem)
        self.operation = operation


class NotFinal(Unusable):
    """Not final in the time that was given; it goes on. `operation` is how it stands."""

    def __init__(self, told: str, operation: Any) -> None:
        super().__init__(told)
        self.operation = operation


def read_problem(url: str, status: int, content: bytes, retry_after: str | None) -> ApiProblem | Away:
    """What an answer that is no success says.

    Args:
        retry_after: the header of RFC 9110 section 10.2.3, seconds or a date.
    """
    try:
        problem = json.loads(content)
        title, detail = plain(str(problem["title"])), plain(str(problem["detail"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        problem, title, detail = None, f"{url} answers {status}", "no problem of the API's: check the address"
    pause_s = _seconds(retry_after or str((problem or {}).get("retry_after_s", "")))
    if problem is None or status >= 500:
        return Away(f"{title}: {detail}", status=status, problem=problem, retry_after_s=pause_s)
    return ApiProblem(problem, retry_after_s=pause_s)


def _seconds(retry_after: str) -> float | None:
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time())
    except ValueError:
        return None


def plain(text: str) -> str:
    """A text that moves no cursor and hides nothing: labels and names were written by others."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
