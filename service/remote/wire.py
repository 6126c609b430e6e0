"""Questions and answers over HTTP, and waiting for an operation's end."""

import http.client
import json
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from service.remote.calls import Request, Unusable, plain

URL_DEFAULT = "http://127.0.0.1:8000"
ANSWER_TIMEOUT_S = 60.0
POLL_FIRST_S, POLL_LAST_S = 0.1, 2.0
AWAY_MAX_S = 15.0
"""An API that is being restarted is waited for; one that is silent for so long is told."""

VISIBLE = re.compile(r"[\x21-\x7e]+")
_URL = re.compile(r"https?://[A-Za-z0-9_.:\[\]-]+(/[!-~]*)?")


class Away(Unusable):
    """The API, or what it stands on, does not answer."""


class Refusal(Exception):
    """The API answered with a problem."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(problem["title"])
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, where it was no problem."""

    status: int
    location: str | None
    content: Any

    @property
    def operation(self) -> dict[str, Any] | None:
        """What goes on because of a write, an operation or a batch; None where the write is done."""
        accepted = self.status == 202 and (self.location or "").startswith("/")
        return self.content if accepted and isinstance(self.content, dict) else None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The API key goes to no address but the one that was given."""

    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where a caller asks."""

    url: str
    api_key: str | None = field(repr=False)

    @classmethod
    def of_environment(cls) -> "Deployment":
        """The deployment that MUNIMENT_URL and MUNIMENT_API_KEY name; neither is ever an argument or in a message.

        Raises:
            Unusable: one of them is malformed.
        """
        url, key = os.environ.get("MUNIMENT_URL", ""), os.environ.get("MUNIMENT_API_KEY", "").strip()
        url = url.strip().rstrip("/") or URL_DEFAULT
        if not _URL.fullmatch(url) or set("?#") & set(url):
            raise Unusable("MUNIMENT_URL: write http://host:port or https://host")
        if key and not VISIBLE.fullmatch(key):
            raise Unusable("MUNIMENT_API_KEY: a key is `munsk_…` as `muniment keys create` printed it, on one line")
        return cls(url, key or None)

    def document(self) -> dict[str, Any]:
        """Its OpenAPI document.

        Raises:
            Unusable: there is none.
        """
        try:
            document = self.ask(Request("GET", "/openapi.json", authorized=False)).content
        except Refusal:
            document = None
        if not isinstance(document, dict) or not isinstance(document.get("paths"), dict):
            raise Unusable(f"{self.url} is no Muniment API: it has no /openapi.json; set MUNIMENT_URL")
        return document

    def ask(self, asked: Request, idempotency_key: str | None = None) -> Answer:
        """Send a request.

        Raises:
            Refusal: the API's problem.
            Unusable: nobody answers, or not as the API does.
        """
        try:
            with self.answer(asked, idempotency_key) as response:
                content = response.read()
                media_type = response.headers.get_content_type()
                if media_type.startswith("application/vnd."):
                    raise Unusable("this answer is a file: fetch it with `muniment export`")
                read = content.decode() if media_type == "text/csv" else json.loads(content) if content else None
                return Answer(response.status, response.headers["Location"], read)
        except ValueError:
            raise Unusable(f"{self.url} answers with something that is no JSON; set MUNIMENT_URL") from None

    @contextmanager
    def answer(self, asked: Request, idempotency_key: str | None = None) -> Iterator[http.client.HTTPResponse]:
        """The answer to a request, to be read as it comes.

        Raises:
            Refusal: the API's problem.
            Unusable: nobody answers, or the answer breaks off.
        """
        headers = {"Accept": asked.accept, "User-Agent": "muniment"}
        if asked.authorized and self.api_key is not None:
            headers["Authorization"] = f"Bearer {self.api_key}"
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        data = json.dumps(asked.body).encode() if asked.file is None and asked.body is not None else asked.file
        if data is not None:
            headers["Content-Type"] = asked.media_type
        url = f"{self.url}{asked.path}" + (f"?{urllib.parse.urlencode(asked.query)}" if asked.query else "")
        # The address begins with http:// or https://, which was checked.
        request = urllib.request.Request(url, data, headers, method=asked.method)  # noqa: S310
        try:
            try:
                with urllib.request.build_opener(_NoRedirect).open(request, timeout=ANSWER_TIMEOUT_S) as response:
                    yield response
            except urllib.error.HTTPError as error:
                with error:
                    raise _refusal(self.url, error.code, error.read()) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise Away(f"{self.url} does not answer ({plain(str(reason)) or type(error).__name__})") from None


def _refusal(url: str, status: int, content: bytes) -> Exception:
    try:
        problem = json.loads(content)
        title, detail = plain(str(problem["title"])), plain(str(problem["detail"]))
    except (ValueError, KeyError, TypeError):
        problem, title, detail = None, f"{url} answers {status}", "no problem of the API's: check MUNIMENT_URL"
    if problem is None or status >= 500:
        return Away(f"{title}: {detail}")
    return Refusal(problem)


def under_way(operation: dict[str, Any]) -> bool:
    """Whether an operation, a batch or an adoption is not final."""
    waiting = operation.get("status") in ("pending", "requested", "filling")
    return waiting or operation.get("state") in ("pending", "running")


def follow(
    deployment: Deployment, answer: Answer, *, timeout_s: float, tell: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """The operation or the batch of an answer once it is final, or as it stands after a time.

    Raises:
        Away: the API has been silent for a while.
    """
    operation = answer.operation
    assert operation is not None
    assert answer.location is not None
    heard_s = start_s = time.monotonic()
    pause_s = POLL_FIRST_S
    while under_way(operation) and (left_s := start_s + timeout_s - time.monotonic()) > 0:
        tell(operation)
        time.sleep(min(pause_s, left_s))
        pause_s = min(pause_s * 1.3, POLL_LAST_S)
        try:
            operation = deployment.ask(Request("GET", answer.location, authorized=True)).content
            heard_s = time.monotonic()
        except Away:
            if time.monotonic() - heard_s > AWAY_MAX_S:
                raise
    return operation
