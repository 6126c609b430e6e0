"""A small client of the REST API, on the standard library: what the demo speaks through."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

WAIT_TIMEOUT_S = 60
POLL_INTERVAL_S = 0.05
UNDONE = ("/problems/block-in-future", "/problems/block-not-mirrored")


class Refused(Exception):
    """The API answered with a problem."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(f"{problem['title']}: {problem['detail']}")
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Client:
    """One caller of one deployment."""

    url: str
    key: str

    def get(self, path: str, **parameters: Any) -> Any:
        """Read; parameters that are None are left out.

        Raises:
            Refused: the API's problem.
        """
        return self._ask(urllib.request.Request(self._url(path, parameters)))

    def ask(self, path: str, body: dict[str, Any], **parameters: Any) -> Any:
        """A question with a body, which changes nothing and so has no idempotency key.

        Raises:
            Refused: the API's problem.
        """
        headers = {"Content-Type": "application/json"}
        return self._ask(urllib.request.Request(self._url(path, parameters), json.dumps(body).encode(), headers))

    def post(self, path: str, idempotency_key: str, body: dict[str, Any]) -> Any:
        """Write under an idempotency key.

        Raises:
            Refused: the API's problem.
        """
        headers = {"Content-Type": "application/json", "Idempotency-Key": idempotency_key}
        return self._ask(urllib.request.Request(f"{self.url}/v1{path}", json.dumps(body).encode(), headers))

    def pages(self, path: str, **parameters: Any) -> tuple[list[Any], dict[str, Any]]:
        """Every row of a list, and its last page's own fields."""
        rows, cursor = [], None
        while True:
            page = self.get(path, cursor=cursor, **parameters)
            rows += page["data"]
            cursor = page["next_cursor"]
            if cursor is None:
                return rows, page

    def wait(self, path: str, done: Callable[[Any], bool], *, what: str, **parameters: Any) -> Any:
        """Read again until an answer satisfies. Meanwhile the mirror may lack a block that it had before.

        Raises:
            TimeoutError: says that `what` did not come.
        """
        end_s = time.monotonic() + WAIT_TIMEOUT_S
        while True:
            answer: Any = None
            try:
                answer = self.get(path, **parameters)
                if done(answer):
                    return answer
            except Refused as refused:
                if refused.problem["type"] not in UNDONE:
                    raise
            if time.monotonic() > end_s:
                raise TimeoutError(f"{what} did not come within {WAIT_TIMEOUT_S} s; the last answer was {answer}")
            time.sleep(POLL_INTERVAL_S)

    def _url(self, path: str, parameters: dict[str, Any]) -> str:
        given = {name: value for name, value in parameters.items() if value is not None}
        return f"{self.url}/v1{path}?{urllib.parse.urlencode(given)}"

    def _ask(self, request: urllib.request.Request) -> Any:
        request.add_header("Authorization", f"Bearer {self.key}")
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise Refused(json.load(error)) from None
