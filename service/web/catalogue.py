"""What can go wrong, for readers: `GET /problems`, and each route's refusals in OpenAPI."""

from typing import Any

from fastapi import APIRouter, FastAPI
from pydantic import BaseModel, ConfigDict, Field

from service.errors import Problem
from service.web.idempotency import IdempotencyKeyBusy, IdempotencyKeyReused
from service.web.problems import (
    MEDIA_TYPE,
    BodyTooLarge,
    BodyTooSlow,
    DatabaseUnavailable,
    IdempotencyKeyMissing,
    InternalError,
    InvalidRequest,
    ProblemNotFound,
    TooManyBodies,
)
from service.web.queries import KNOWN_QUERY


class ProblemBody(BaseModel):
    """An RFC 9457 problem."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["/problems/invalid-request"])
    title: str = Field(examples=["The request is not valid"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=['#/amount: an amount is a JSON string, not a number: write "1000" instead of 1000'])
    instance: str = Field(examples=["/v1/tokens"])


class ProblemKind(BaseModel):
    """What a problem means."""

    type: str = Field(examples=["/problems/token-paused"])
    title: str = Field(examples=["The token is paused"])
    status: int = Field(examples=[409])
    meaning: str = Field(examples=["The token is paused: nothing of it moves until it is unpaused."])
    reverts: list[str] = Field(
        description="The contracts' own errors of the same meaning.", examples=[["EnforcedPause"]]
    )


def _kind(problem: type[Problem]) -> ProblemKind:
    return ProblemKind(
        type=f"/problems/{problem.slug}",
        title=problem.title,
        status=problem.status,
        meaning=(problem.__doc__ or "").strip(),
        reverts=list(problem.reverts),
    )


def documented(*problems: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer with these problems; some every route may answer with."""
    responses: dict[int | str, dict[str, Any]] = {}
    everywhere: tuple[type[Problem], ...] = (InvalidRequest, DatabaseUnavailable, InternalError)
    if BodyTooLarge in problems:
        everywhere += (BodyTooSlow, TooManyBodies)
    for problem in sorted({*problems, *everywhere}, key=lambda kind: (kind.status, kind.slug)):
        _add(responses.setdefault(problem.status, {}), problem)
    return responses


def _add(response: dict[str, Any], problem: type[Problem]) -> None:
    content = response.setdefault("content", {}).setdefault(
        MEDIA_TYPE, {"schema": {"$ref": "#/components/schemas/ProblemBody"}, "examples": {}}
    )
    if problem.slug not in content["examples"]:
        response["description"] = f"{response.get('description', '')} `{problem.slug}`".strip()
        # What each means is told once for all routes: written out at each, it was most of the document.
        content["examples"][problem.slug] = {"$ref": f"#/components/examples/{problem.slug}"}


_OF_EVERY_KEY = (IdempotencyKeyMissing, IdempotencyKeyBusy, IdempotencyKeyReused)


def _takes_key(operation: dict[str, Any]) -> bool:
    return any(each["name"] == "Idempotency-Key" for each in operation.get("parameters", []))


def _example(problem: type[Problem]) -> dict[str, Any]:
    kind = _kind(problem)
    example = {"type": kind.type, "title": kind.title, "status": kind.status, "detail": kind.meaning}
    return {"value": {**example, "instance": "/v1/…"}}


def describe(app: FastAPI) -> None:
    """Add to an app's OpenAPI document the problems' form, an example of each, and what idempotency keys meet."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        document = plain()
        operations = [each for methods in document["paths"].values() for each in methods.values()]
        for operation in filter(_takes_key, operations):
            for problem in _OF_EVERY_KEY:
                _add(operation["responses"].setdefault(str(problem.status), {}), problem)
        document["components"]["schemas"]["ProblemBody"] = ProblemBody.model_json_schema()
        document["components"]["examples"] = {slug: _example(Problem.registry[slug]) for slug in Problem.registry}
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it


router = APIRouter(prefix="/problems", tags=["problems"], dependencies=[KNOWN_QUERY])


@router.get("/{slug}", responses=documented(ProblemNotFound))
async def read_problem(slug: str) -> ProblemKind:
    """What one problem means."""
    if slug not in Problem.registry:
        raise ProblemNotFound("GET /problems lists them all")
    return _kind(Problem.registry[slug])


@router.get("", responses=documented())
async def list_problems() -> list[ProblemKind]:
    """Every problem that this API answers with."""
    return [_kind(Problem.registry[slug]) for slug in sorted(Problem.registry)]
