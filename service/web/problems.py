"""The one place where failures become HTTP answers. Source: RFC 9457."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.db import UNAVAILABLE
from service.errors import Problem
from service.telemetry import logger

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1

ERRORS_MAX = 20
"""Faults told of one request; an answer must not outgrow a hostile body."""

STEP_CHARS_MAX = 80
"""Characters told of one field's name."""


class InvalidRequest(Problem):
    """A field, a parameter or a header is missing, unknown or malformed; `errors` points at each."""

    slug, title, status = "invalid-request", "The request is not valid", 422


class IdempotencyKeyMissing(Problem):
    """A write came without the header `Idempotency-Key`; `errors` points at whatever else is wrong with it, too."""

    slug, title, status = "idempotency-key-missing", "An idempotency key is required", 400


class BodyTooLarge(Problem):
    """The request body is over the limit."""

    slug, title, status = "body-too-large", "The request body is too large", 413


class BodyTooSlow(Problem):
    """The request body, or the next part of one that is read as it comes, did not come in time."""

    slug, title, status = "body-too-slow", "The request body came too slowly", 408


class TooManyBodies(Problem):
    """The service holds as many bytes of request bodies as it may; nothing was changed: send the large one again."""

    slug, title, status = "too-many-bodies", "Too many large request bodies at a time", 503


class RouteNotFound(Problem):
    """There is no such path."""

    slug, title, status = "route-not-found", "No such path", 404


class MethodNotAllowed(Problem):
    """The path exists, but not for this method."""

    slug, title, status = "method-not-allowed", "Method not allowed here", 405


class DatabaseUnavailable(Problem):
    """Postgres does not answer, so whether this was done is not known; the same request with the same key is safe."""

    slug, title, status = "database-unavailable", "The database does not answer", 503


class InternalError(Problem):
    """A fault of the service, recorded in its log."""

    slug, title, status = "internal-error", "The service failed", 500


class ProblemNotFound(Problem):
    """There is no problem of this name."""

    slug, title, status = "problem-not-found", "No such problem", 404


_NOT_KNOWN = "whether this was done is not known: send the same request again, with the same idempotency key"

_BY_STATUS = {
    401: {"WWW-Authenticate": "Bearer"},
    408: {"Connection": "close"},  # what still comes of the body is not read
    503: {"Retry-After": str(RETRY_AFTER_S)},
}


def render(request: Request, problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """A problem as an answer."""
    own = _BY_STATUS.get(problem.status, {})
    if (wait_s := problem.extensions.get("retry_after_s")) is not None:
        own = {**own, "Retry-After": str(wait_s)}
    body = {**problem.body(), "instance": request.url.path}
    return JSONResponse(body, problem.status, headers={**(headers or {}), **own}, media_type=MEDIA_TYPE)


class FaultBarrier:
    """ASGI middleware: a fault of ours is one log line without the exception's words, and a problem for the caller.

    Starlette's own last resort answers too, but raises again: the server then writes the exception with its message to
    the log, and drops the connection.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            logger().error("request_failed", method=scope.get("method"), path=scope.get("path"), exc_info=error)
            if started or scope["type"] != "http":
                raise ConnectionAbortedError("the answer had begun") from None
            problem = InternalError("this is recorded; the same request with its idempotency key is safe")
            await render(Request(scope), problem)(scope, receive, send)


def install(app: FastAPI) -> None:
    """Answer every failure of an app with a problem."""

    @app.exception_handler(Problem)
    async def expected(request: Request, problem: Problem) -> JSONResponse:
        return render(request, problem)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return render(request, _invalid_request(error.errors()))

    @app.exception_handler(HTTPException)
    async def unrouted(request: Request, error: HTTPException) -> JSONResponse:
        return render(request, _unrouted(request, error), error.headers)

    for kind in UNAVAILABLE:

        @app.exception_handler(kind)
        async def unavailable(request: Request, error: Exception) -> JSONResponse:
            logger().warning("database_unavailable", error_kind=type(error).__name__, path=request.url.path)
            return render(request, DatabaseUnavailable(_NOT_KNOWN))

    app.add_middleware(FaultBarrier)


def _unrouted(request: Request, error: HTTPException) -> Problem:
    if error.status_code == 404:
        return RouteNotFound(f"{request.url.path} is not a path of this API; see /docs")
    if error.status_code == 405:
        return MethodNotAllowed(f"{request.method} is not for {request.url.path}; see /docs")
    return InvalidRequest(f"the request could not be read: {error.detail}")


def _invalid_request(errors: Sequence[Any]) -> InvalidRequest | IdempotencyKeyMissing:
    found = [{"pointer": _pointer(error), "detail": sentence(error)} for error in errors[:ERRORS_MAX]]
    told = "; ".join(f"{each['pointer']}: {each['detail']}" for each in found)
    more = f"; and {len(errors) - ERRORS_MAX} more" if len(errors) > ERRORS_MAX else ""
    keyless = any((each["type"], *each["loc"]) == ("missing", "header", "Idempotency-Key") for each in errors)
    return (IdempotencyKeyMissing if keyless else InvalidRequest)(told + more, errors=found)


def _pointer(error: dict[str, Any]) -> str:
    """A JSON pointer into the body (RFC 6901, as a URI fragment), or the kind and name of a parameter."""
    where, *rest = error["loc"]
    if where != "body":
        return f"{where} {'/'.join(str(step)[:STEP_CHARS_MAX] for step in rest)}"
    if error["type"] == "json_invalid":
        return "#"
    steps = [str(step)[:STEP_CHARS_MAX].replace("~", "~0").replace("/", "~1") for step in rest]
    return "/".join(["#", *steps])


def sentence(error: Mapping[str, Any]) -> str:
    """What is wrong, of one of pydantic's errors; never with what was given."""
    # Never the input itself: it may be sensitive, and it may be long.
    if error["type"] == "extra_forbidden":
        return "this is unknown: remove it, or check its spelling"
    if error["type"] == "missing":
        return "this is required"
    if error["type"] == "json_invalid":
        return f"the body is not valid JSON ({error.get('ctx', {}).get('error', 'unreadable')})"
    message = str(error["msg"]).removeprefix("Value error, ")
    return message[:1].lower() + message[1:]
