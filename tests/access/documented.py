"""Requests drawn from the OpenAPI document by schemathesis, and what that document says of their answers."""

import random
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, TypeAlias

import httpx
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode, Response
from schemathesis.checks import load_all_checks
from schemathesis.core.failures import FailureGroup
from schemathesis.core.parameters import ParameterLocation
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi import checks

Operation: TypeAlias = APIOperation[Any, Any, Any, Any]
Asked: TypeAlias = Case[Any]
"""A request that was drawn, and what is wrong with it."""

MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]

CHECKS = [
    *(checks.status_code_conformance, checks.content_type_conformance, checks.response_headers_conformance),
    *(checks.response_schema_conformance, checks.negative_data_rejection),
]
"""What schemathesis makes sure of; its others send requests of their own, or know nothing of business rules."""

REFUSALS = ["400", "401", "403", "404", "405", "409", "410", "413", "422", "503"]
"""How what breaks a schema may be refused: who asks, and what about, may come first."""

load_all_checks()


@schemathesis.serializer("application/partial-upload")
def _as_it_is(_: Any, value: Any) -> bytes:
    """A part of a document is its bytes."""
    return value if isinstance(value, bytes) else str(value).encode()


def operations(document: dict[str, Any]) -> list[Operation]:
    """Every operation of a document, the one that ends all credentials last."""
    methods = {path: {name: _unproved(each) for name, each in of.items()} for path, of in document["paths"].items()}
    schema = schemathesis.openapi.from_dict({**document, "paths": methods})
    schema.config.checks.negative_data_rejection.expected_statuses = REFUSALS
    found = [each.ok() for each in schema.get_all_operations() if isinstance(each, Ok)]
    assert len(found) == sum(map(len, methods.values()))
    return sorted(found, key=lambda each: each.path == "/v1/keys/revoke-all")


def _unproved(operation: dict[str, Any]) -> dict[str, Any]:
    """An operation without what proves who asks: whoever sends the requests adds it."""
    return {name: each for name, each in operation.items() if name != "security"}


def is_good(case: Asked, where: ParameterLocation) -> bool:
    """Whether what a request says at a place is as the schemas want it."""
    component = None if case.meta is None else case.meta.components.get(where)
    return component is None or component.mode.is_positive


def edges(operation: Operation) -> Iterator[Asked]:
    """Requests at the edges of what an operation takes and just beyond them; first one that is as its examples are."""
    config = operation.schema.config.generation_for(operation=operation, phase="coverage")
    found: Iterator[Asked] = operation.schema.iter_coverage_cases(
        operation, generation_modes=MODES, generation_config=config
    )
    return found


def some_edges(operation: Operation, count: int, chance: random.Random) -> list[Asked]:
    """As many edges of what an operation takes as of what it does not, and no method that it does not have."""
    found: dict[bool, list[Asked]] = {True: [], False: []}
    for case in edges(operation):
        if case.method == operation.method.upper():
            found[case.meta is None or case.meta.generation.mode.is_positive].append(case)
    return [case for kind in found.values() for case in chance.sample(kind, min(count, len(kind)))]


def drawn(operation: Operation, count: int) -> list[Asked]:
    """Requests as Hypothesis draws them: so many that keep to an operation's schemas, and as many that do not."""
    found: list[Asked] = []
    for mode in MODES:

        @seed(9_421)
        @settings(
            max_examples=count,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy(generation_mode=mode))
        def keep(case: Asked) -> None:
            found.append(case)

        with suppress(Unsatisfiable):  # an operation that takes nothing takes nothing wrong
            keep()
    return found


def prepared(case: Asked, base_url: str) -> requests.PreparedRequest:
    """A request byte for byte, without what proves who sends it."""
    return requests.Request(**case.as_transport_kwargs(base_url=base_url)).prepare()


def content_of(sent: requests.PreparedRequest) -> bytes:
    """The body of a request."""
    assert sent.body is None or isinstance(sent.body, str | bytes)
    return sent.body.encode() if isinstance(sent.body, str) else sent.body or b""


def violations(case: Asked, sent: requests.PreparedRequest, answer: httpx.Response) -> str | None:
    """What of an answer is not as the document says, with the request; None where all is."""
    if answer.status_code >= 500 and not answer.json()["type"].endswith("/mirror-behind"):
        return f"{case.as_curl_command()} -> {answer.status_code} {answer.text}"
    headers = {name: answer.headers.get_list(name) for name in answer.headers}
    seen = Response(answer.status_code, headers, answer.content, sent, 0.0, verify=False)
    try:
        case.validate_response(seen, checks=CHECKS)
    except FailureGroup as failures:
        return str(failures)
    return None
