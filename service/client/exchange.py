"""Requests and their answers: proved by a credential, asked again where that is safe, under the server's time."""

import json
import random
import re
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from service.client.clock import Clock
from service.client.connections import Connections, Incoming
from service.client.credentials import Credential
from service.client.files import FilePart
from service.client.problems import ApiProblem, Away, Unusable, read_problem
from service.client.signing import Message

T = TypeVar("T")

ANSWER_TIMEOUT_S = 60.0
PAUSE_FIRST_S, PAUSE_LAST_S = 0.2, 5.0

_URL = re.compile(r"https?://[A-Za-z0-9_.:\[\]-]+(/[!-~]*)?")
_STALE = "signature-stale"
_BUSY = "idempotency-key-busy"
_SLOW = "body-too-slow"


@dataclass(frozen=True, slots=True)
class Request:
    """A call with its values, on the wire."""

    method: str
    path: str
    authorized: bool
    query: dict[str, Any] = field(default_factory=dict)
    body: Any = field(default=None, repr=False)
    file: bytes | FilePart | None = field(default=None, repr=False)  # a body that goes as it is, in place of `body`
    media_type: str = "application/json"  # of what is sent
    accept: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes | FilePart | None:
        """What is sent."""
        if self.file is not None or self.body is None:
            return self.file
        return json.dumps(self.body, allow_nan=False).encode()


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, where it was no problem."""

    status: int
    location: str | None
    content: Any = field(repr=False)

    @property
    def operation(self) -> dict[str, Any] | None:
        """What goes on because of a write, an operation or a batch; None where the write is done."""
        accepted = self.status == 202 and (self.location or "").startswith("/")
        return self.content if accepted and isinstance(self.content, dict) else None


class Exchange:
    """A deployment, and whoever asks it. Threads may share one.

    Args:
        patience_s: how long a request is asked again, where that is safe, before its failure is told.

    Raises:
        Unusable: the address is none.
    """

    def __init__(self, url: str, credential: Credential | None, *, patience_s: float) -> None:
        self.url = url.strip().rstrip("/")
        if not is_address(self.url):
            raise Unusable("an API's address is http://host:port or https://host")
        self.credential = credential
        self.patience_s = patience_s
        self.clock = Clock()
        split = urllib.parse.urlsplit(self.url)
        self._origin, self._prefix = f"{split.scheme}://{split.netloc}", split.path
        self._connections = Connections(self.url, ANSWER_TIMEOUT_S)

    def ask(self, asked: Request, idempotency_key: str | None = None) -> Answer:
        """Send a request; again, under the same key but with a fresh nonce and signature, while its failure may pass.

        Raises:
            ApiProblem: the API refused it.
            Away: nobody answers, or not as the API does.
        """

        def attempt() -> Answer:
            with self._sent(asked, idempotency_key) as incoming:
                return self._read(incoming)

        return self._insist(
            attempt, repeatable=asked.method == "GET" or idempotency_key is not None, key=idempotency_key
        )

    @contextmanager
    def answer(self, asked: Request, idempotency_key: str | None = None) -> Iterator[Incoming]:
        """The answer to a request, to be read as it comes; what breaks off while it is read is not asked again.

        Raises:
            ApiProblem: the API refused it.
            Away: nobody answers, or the answer breaks off.
        """
        with ExitStack() as kept:
            yield self._insist(
                lambda: kept.enter_context(self._sent(asked, idempotency_key)),
                repeatable=asked.method == "GET",
                key=idempotency_key,
            )

    def close(self) -> None:
        """Close the connections that nobody uses."""
        self._connections.close()

    def _insist(self, attempt: Callable[[], T], *, repeatable: bool, key: str | None) -> T:
        end_s, pause_s = time.monotonic() + self.patience_s, PAUSE_FIRST_S
        corrected = slow = False
        while True:
            try:
                return attempt()
            except ApiProblem as problem:
                stale = problem.slug == _STALE and not corrected
                if stale:
                    # Refused before anything was done, so that any request may be sent again.
                    corrected = True
                    self.clock.correct(problem.fields.get("server_time"))
                    if not problem.retry_after_s:
                        continue
                elif (problem.status != 429 and problem.slug not in (_BUSY, _SLOW)) or not repeatable:
                    raise
                elif problem.slug == _SLOW and not slow:
                    # That takes longer than most are patient.
                    slow, end_s = True, time.monotonic() + self.patience_s
                failure: ApiProblem | Away = problem
            except Away as away:
                away.idempotency_key = key
                if not away.passing or not repeatable:
                    raise
                failure = away
            wait_s = max(failure.retry_after_s or 0.0, pause_s * random.uniform(0.5, 1))  # noqa: S311
            if time.monotonic() + wait_s >= end_s:
                raise failure
            time.sleep(wait_s)
            pause_s = min(pause_s * 2, PAUSE_LAST_S)

    @contextmanager
    def _sent(self, asked: Request, key: str | None) -> Iterator[Incoming]:
        body = asked.content
        headers = {"Accept": asked.accept, "User-Agent": "muniment", **asked.headers}
        if key is not None:
            headers["Idempotency-Key"] = key
        if body is not None:
            headers["Content-Type"] = asked.media_type
        if isinstance(body, FilePart):
            headers |= {"Content-Length": str(body.length), "Content-Digest": body.digest}
        target = f"{self._prefix}{asked.path}" + (f"?{urllib.parse.urlencode(asked.query)}" if asked.query else "")
        if asked.authorized and self.credential is not None:
            known = {name.lower(): value for name, value in headers.items()}
            message = Message(asked.method, self._origin + target, known, body if isinstance(body, bytes) else None)
            headers.update(self.credential.headers(message, self.clock.now_s()))
        sent_s = time.time()
        with self._connections.answer(asked.method, target, headers, body) as incoming:
            self.clock.hear(incoming.header("Date"), sent_s=sent_s)
            if not 200 <= incoming.status < 300:
                raise read_problem(self.url, incoming.status, incoming.read(), incoming.header("Retry-After"))
            yield incoming

    def _read(self, incoming: Incoming) -> Answer:
        content, media_type = incoming.read(), incoming.media_type
        if not media_type.startswith("text/") and not media_type.endswith("json"):
            raise Unusable("this answer is a file: fetch it with `muniment export`, or `muniment vault download`")
        try:
            read = content.decode() if media_type == "text/csv" else json.loads(content) if content else None
        except (ValueError, RecursionError):
            raise Unusable(f"{self.url} answers with something that is no JSON: is it a Muniment API?") from None
        return Answer(incoming.status, incoming.header("Location"), read)


def is_address(url: str) -> bool:
    """Whether a text is the address of an API, without a query, a fragment or a password."""
    try:
        port = urllib.parse.urlsplit(url).port
    except ValueError:
        return False
    return bool(_URL.fullmatch(url)) and not set("?#") & set(url) and port != 0
