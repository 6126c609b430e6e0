"""Queries of URLs: what a route does not know, or is told twice, it refuses instead of guessing."""

from collections import Counter
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from fastapi import Depends, Request, params
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

_declared: WeakKeyDictionary[Callable[..., Any], frozenset[str]] = WeakKeyDictionary()


async def known_query(request: Request) -> None:
    """Make sure that the route declares each parameter of the query, and that each is given once.

    Raises:
        RequestValidationError: names each parameter that is unknown or given twice.
    """
    if not request.scope["query_string"]:
        return
    given = Counter(name for name, _ in request.query_params.multi_items())
    known = _names(request.scope["route"])
    faults = [
        {"type": "given_twice" if name in known else "extra_forbidden", "loc": ("query", name), "msg": "give this once"}
        for name, count in given.items()
        if name not in known or count > 1
    ]
    if faults:
        raise RequestValidationError(faults)


KNOWN_QUERY = Depends(known_query)
"""What routes for anybody depend on; `authenticate` sees to all others, once it knows who is there."""


def _names(route: APIRoute) -> frozenset[str]:
    found = _declared.get(route.endpoint)
    if found is None:
        fields = get_flat_params(route.dependant)
        found = frozenset(each.alias for each in fields if isinstance(each.field_info, params.Query))
        _declared[route.endpoint] = found
    return found
