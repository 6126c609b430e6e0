"""JSON bodies that can be read in one way only, and that nobody unknown learns anything from."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from service.web.strict_json import strict_json

_UNREADABLE = object()
"""Stands for a body that could not be read: no model takes it."""


class _StrictRequest(Request):
    fault: ValueError | None = None

    async def json(self) -> Any:
        # FastAPI reads the body before it asks who is there: only after that is the body's fault told.
        try:
            return strict_json(await self.body())
        except ValueError as fault:
            self.fault = fault
            return _UNREADABLE


class StrictJsonRoute(APIRoute):
    """A route whose body is read by `strict_json`, and whose caller is known before the body is judged."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, on our reading of the body."""
        handle = super().get_route_handler()

        async def handle_strictly(given: Request) -> Response:
            request = _StrictRequest(given.scope, given.receive)
            try:
                return await handle(request)
            except RequestValidationError:
                if request.fault is None:
                    raise
                told = {"error": getattr(request.fault, "msg", "not UTF-8")}
                fault = {"type": "json_invalid", "loc": ("body",), "msg": "JSON decode error", "ctx": told}
                raise RequestValidationError([fault]) from None

        return handle_strictly
