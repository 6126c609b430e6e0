"""What every noun of the client does: read one, read all, write."""

import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from service.client.calls import segment
from service.client.exchange import Exchange, Request
from service.client.problems import Unusable
from service.client.shapes import Shape

S = TypeVar("S", bound=Shape)
Id = str | UUID

PAGE_ROWS = 500


class Noun:
    """One kind of thing that callers ask about."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def _read(self, kind: type[S], path: str, query: Mapping[str, Any] | None = None) -> S:
        return shaped(kind, self._exchange.ask(Request("GET", path, authorized=True, query=_sent(query or {}))).content)

    def _each(self, kind: type[S], path: str, query: Mapping[str, Any] | None = None) -> Iterator[S]:
        asked = Request("GET", path, authorized=True, query={**_sent(query or {}), "limit": PAGE_ROWS})
        for page in pages(self._exchange, asked):
            yield from (shaped(kind, each) for each in page["data"])

    def _ask(self, path: str, body: Mapping[str, Any], *, method: str = "POST") -> Any:
        """A question that is too large for an address, or a write that takes no key."""
        return self._exchange.ask(Request(method, path, authorized=True, body=_sent(body))).content

    def _write(self, path: str, body: Mapping[str, Any], idempotency_key: str | None) -> Any:
        """A write under a key, which is made here where none is given: asked again, it happens once."""
        asked = Request("POST", path, authorized=True, body=_sent(body))
        return self._exchange.ask(asked, idempotency_key or str(uuid.uuid4())).content


def pages(exchange: Exchange, asked: Request) -> Iterator[dict[str, Any]]:
    """Each page of a list, as it is asked for.

    Raises:
        ApiProblem: the API refused it.
        Unusable: it is no list, its pages go in a circle, or nobody answers.
    """
    seen: set[str] = set()
    while True:
        page = exchange.ask(asked).content
        if not isinstance(page, dict) or not isinstance(page.get("data"), list):
            raise Unusable(f"{asked.path} has no pages: ask it once")
        yield page
        if not (cursor := page.get("next_cursor")):
            return
        if not isinstance(cursor, str) or cursor in seen:
            raise Unusable(f"{asked.path} has no next page: its cursor is no text, or was told before; begin anew")
        seen.add(cursor)
        asked.query["cursor"] = cursor


def shaped(kind: type[S], content: Any) -> S:
    """An answer as Python has it.

    Raises:
        Unusable: it is not what the API answers.
    """
    try:
        return kind.of(content)
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise Unusable(
            f"the answer is no {kind.__name__} ({type(error).__name__}): are client and API of one age?"
        ) from None


def part(name: str, id: Id) -> str:
    """An id as a part of a path."""
    return segment(name, id)


def _sent(given: Mapping[str, Any]) -> dict[str, Any]:
    """What was given, as it is written; what was not, the API decides."""
    return {name: _plain(value) for name, value in given.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, UUID):
        return str(value)
    return value.isoformat() if isinstance(value, datetime) else value
