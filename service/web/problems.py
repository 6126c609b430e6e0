"""The one place where failures become HTTP answers. Source: RFC 9457."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from service.db import UNAVAILABLE
from service.errors import Problem
from service.telemetry import logger

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1


class InvalidRequest(Problem):
    """A field, a parameter or a header is missing, unknown or malformed; `errors` points at each."""

    slug, title, status = "invalid-request", "The request is not valid", 422


class BodyTooLarge(Problem):
    """The request body is over the limit."""

    slug, title, status = "body-too-large", "The request body is too large", 413


class RouteNotFound(Problem):
    """There is no such path."""

    slug, title, status = "route-not-found", "No such path", 404


class MethodNotAllowed(Problem):
    """The path exists, but not for this method."""

    slug, title, status = "method-not-allowed", "Method not allowed here", 405


class DatabaseUnavailable(Problem):
    """Postgres does not answer; nothing was changed, and the same request may be sent again."""

    slug, title, status = "database-unavailable", "The database does not answer", 503


class InternalError(Problem):
    """A fault of the service, recorded in its log."""

    slug, title, status = "internal-error", "The service failed", 500


class ProblemBody(BaseModel):
    """An RFC 9457 problem, as OpenAPI shows it."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["/problems/invalid-request"])
    title: str = Field(examples=["The request is not valid"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=['amount: an amount is a string of decimal digits in base units, such as "1000"'])
    instance: str = Field(examples=["/v1/tokens"])


class ProblemNotFound(Problem):
    """There is no problem of this name."""

    slug, title, status = "problem-not-found", "No such problem", 404


class ProblemKind(BaseModel):
    """What a problem means."""

    type: str = Field(examples=["/problems/invalid-request"])
    title: str
    status: int
    meaning: str
    revert: str | None = Field(description="The contract's own error of the same meaning.")


router = APIRouter(prefix="/problems", tags=["problems"])


@router.get("/{slug}")
async def read_problem(slug: str) -> ProblemKind:
    """What one problem means."""
    if slug not in Problem.registry:
        raise ProblemNotFound("GET /problems lists them all")
    return _kind(Problem.registry[slug])


@router.get("")
async def list_problems() -> list[ProblemKind]:
    """Every problem that this API answers with."""
    return [_kind(Problem.registry[slug]) for slug in sorted(Problem.registry)]


def _kind(problem: type[Problem]) -> ProblemKind:
    return ProblemKind(
        type=f"/problems/{problem.slug}",
        title=problem.title,
        status=problem.status,
        meaning=(problem.__doc__ or "").strip(),
        revert=problem.revert,
    )


def documented(*problems: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer with these problems; some every route may answer with."""
    responses: dict[int | str, dict[str, Any]] = {}
    everywhere: tuple[type[Problem], ...] = (InvalidRequest, DatabaseUnavailable, InternalError)
    for problem in sorted({*problems, *everywhere}, key=lambda kind: (kind.status, kind.slug)):
        entry = responses.setdefault(
            problem.status, {"model": ProblemBody, "description": "", "content": {MEDIA_TYPE: {"examples": {}}}}
        )
        sentence = (problem.__doc__ or "").strip()
        entry["description"] = f"{entry['description']} `{problem.slug}`: {sentence}".strip()
        entry["content"][MEDIA_TYPE]["examples"][problem.slug] = {
            "value": {
                "type": f"/problems/{problem.slug}",
                "title": problem.title,
                "status": problem.status,
                "detail": sentence,
                "instance": "/v1/…",
            }
        }
    return responses


def render(request: Request, problem: Problem) -> JSONResponse:
    """A problem as an answer."""
    headers = {"Retry-After": str(RETRY_AFTER_S)} if problem.status == 503 else {}
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    body = {**problem.body(), "instance": request.url.path}
    return JSONResponse(body, problem.status, headers=headers, media_type=MEDIA_TYPE)


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
        return render(request, _unrouted(request, error))

    for kind in UNAVAILABLE:

        @app.exception_handler(kind)
        async def unavailable(request: Request, error: Exception) -> JSONResponse:
            logger().warning("database_unavailable", error_kind=type(error).__name__, path=request.url.path)
            return render(request, DatabaseUnavailable("send the same request again, with the same idempotency key"))

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        logger().error("request_failed", method=request.method, path=request.url.path, exc_info=error)
        return render(request, InternalError("this is recorded; the same request with its idempotency key is safe"))


def _unrouted(request: Request, error: HTTPException) -> Problem:
    if error.status_code == 404:
        return RouteNotFound(f"{request.url.path} is not a path of this API; see /docs")
    if error.status_code == 405:
        return MethodNotAllowed(f"{request.method} is not for {request.url.path}; see /docs")
    return InvalidRequest(f"the request could not be read: {error.detail}")


def _invalid_request(errors: Sequence[Any]) -> InvalidRequest:
    found = [{"pointer": _pointer(error["loc"]), "detail": _sentence(error)} for error in errors]
    return InvalidRequest("; ".join(f"{each['pointer']}: {each['detail']}" for each in found), errors=found)


def _pointer(location: Sequence[Any]) -> str:
    where, *rest = location
    if where == "body":
        return "/".join(["#", *(str(step) for step in rest)])
    return f"{where} {'/'.join(str(step) for step in rest)}"


def _sentence(error: dict[str, Any]) -> str:
    # Never the input itself: it may be sensitive, and it may be long.
    if error["type"] == "extra_forbidden":
        return "this field is unknown: remove it, or check its spelling"
    if error["type"] == "missing":
        return "this is required"
    if error["type"] == "json_invalid":
        return "the body is not valid JSON"
    message = str(error["msg"]).removeprefix("Value error, ")
    return message[:1].lower() + message[1:]
