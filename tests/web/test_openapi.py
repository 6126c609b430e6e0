"""The OpenAPI document says all that a caller needs, and nothing that is not so."""

from typing import Any

import pytest

from service.errors import Problem
from tests.web.operations import DOCUMENT

PROBLEM = "application/problem+json"

UNDOCUMENTED = {
    "route-not-found": "there is no route to document it at",
    "method-not-allowed": "there is no operation to document it at",
    "internal-error": "a fault, which any route may have",
    "operation-cancelled": "told of an operation that was accepted",
    "nonce-spent-elsewhere": "told of an operation that was accepted",
}

FOR_ANYBODY = {"/v1/time", "/v1/keys/leaked"}
"""Paths that nobody has to be known for."""


OPERATIONS: list[tuple[str, dict[str, Any]]] = [
    (path, operation) for path, methods in DOCUMENT["paths"].items() for operation in methods.values()
]

each_operation = pytest.mark.parametrize(
    ("path", "operation"), OPERATIONS, ids=[operation["operationId"] for _, operation in OPERATIONS]
)


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        kind, name = schema["$ref"].removeprefix("#/components/").split("/")
        schema = DOCUMENT["components"][kind][name]
    return schema


def lacks_example(schema: dict[str, Any], at: str) -> list[str]:
    """Where a schema leaves a reader guessing: no example, and no type that is its own example."""
    schema = resolved(schema)
    if any(name in schema for name in ("example", "examples", "enum", "const", "default")):
        return []
    if schema.get("format") in ("uuid", "date-time") or schema.get("type") in ("boolean", "null"):
        return []
    if "properties" in schema:
        return [where for name, each in schema["properties"].items() for where in lacks_example(each, f"{at}/{name}")]
    if "items" in schema:
        return lacks_example(schema["items"], f"{at}/0")
    alternatives = [each for each in schema.get("anyOf", []) if resolved(each).get("type") != "null"]
    if alternatives:
        return [where for each in alternatives for where in lacks_example(each, at)]
    return [at]


def shown(content: dict[str, Any]) -> list[str]:
    if "example" in content or content.get("examples"):
        return []
    return lacks_example(content["schema"], "")


@each_operation
def test_an_operation_is_described(path: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation["description"].endswith(".")
    assert len(operation["tags"]) == 1
    for parameter in operation.get("parameters", []):
        if parameter["in"] != "path" and parameter["name"] not in ("status", "token_id"):
            assert parameter.get("description"), parameter["name"]


@each_operation
def test_a_request_body_has_an_example(path: str, operation: dict[str, Any]) -> None:
    for content in operation.get("requestBody", {}).get("content", {}).values():
        assert shown(content) == []


@each_operation
def test_a_successful_answer_has_an_example(path: str, operation: dict[str, Any]) -> None:
    successes = [response for status, response in operation["responses"].items() if status.startswith("2")]
    assert successes
    for response in successes:
        for content in response["content"].values():
            assert shown(content) == []


@each_operation
def test_a_refusal_is_documented_as_the_problem_that_it_is(path: str, operation: dict[str, Any]) -> None:
    for status, response in operation["responses"].items():
        if status.startswith("2"):
            continue
        assert set(response["content"]) == {PROBLEM}, status
        content = response["content"][PROBLEM]
        assert resolved(content["schema"])["title"] == "ProblemBody"
        for slug, example in content["examples"].items():
            told = resolved(example)["value"]
            assert told["type"] == f"/problems/{slug}"
            assert told["status"] == int(status) == Problem.registry[slug].status
            assert f"`{slug}`" in response["description"]


def slugs(operation: dict[str, Any]) -> set[str]:
    found: set[str] = set()
    for response in operation["responses"].values():
        found |= set(response["content"].get(PROBLEM, {}).get("examples", {}))
    return found


@each_operation
def test_what_any_route_may_answer_is_documented_at_each(path: str, operation: dict[str, Any]) -> None:
    expected = set()
    if path.startswith("/v1"):
        expected |= {"database-unavailable", "key-in-url", "headers-too-large"}
    if path.startswith("/v1") and path not in FOR_ANYBODY:
        expected |= {"unauthorized", "key-expired", "scope-missing", "limit-exceeded"}
    if operation.get("parameters") and path.startswith("/v1"):
        expected |= {"invalid-request"}
    if "requestBody" in operation:
        expected |= {"body-too-large", "body-too-slow", "too-many-bodies"}
    if writes(operation):
        expected |= {"idempotency-key-reused", "idempotency-key-busy", "idempotency-key-missing"}
    if any(parameter["name"] == "cursor" for parameter in operation.get("parameters", [])):
        expected |= {"bad-cursor"}
    if path == "/problems/{slug}":
        expected |= {"problem-not-found"}
    assert expected - slugs(operation) == set()


def test_every_problem_is_documented_at_some_route() -> None:
    documented = set().union(*(slugs(operation) for _, operation in OPERATIONS))
    assert set(Problem.registry) - documented <= set(UNDOCUMENTED)


def writes(operation: dict[str, Any]) -> bool:
    """Whether it changes anything: questions too large for a URL come as bodies, and are answered with 200."""
    return bool({"201", "202"} & set(operation["responses"]))


def test_every_write_documents_its_idempotency_key() -> None:
    for _, operation in OPERATIONS:
        if writes(operation):
            (key,) = [parameter for parameter in operation["parameters"] if parameter["name"] == "Idempotency-Key"]
            assert key["required"]
            assert key["in"] == "header"


def test_what_may_need_an_approval_says_where_it_goes() -> None:
    for path, operation in OPERATIONS:
        names = [(each["name"].lower(), each["in"]) for each in operation.get("parameters", [])]
        assert len(names) == len(set(names)), path
        assert (("muniment-approval", "header") in names) == ("step-up-required" in slugs(operation)), path


def test_every_operation_of_v1_asks_for_a_key_and_has_an_id_of_its_own() -> None:
    ids = []
    for path, operation in OPERATIONS:
        assert bool(operation.get("security")) == (path.startswith("/v1") and path not in FOR_ANYBODY)
        ids.append(operation["operationId"])
    assert len(ids) == len(set(ids)) >= 20


def integers(schema: dict[str, Any], at: str, above: tuple[str, ...] = ()) -> list[tuple[str, dict[str, Any]]]:
    """Every integer that a schema lets one say, with its place."""
    name = schema.get("$ref", "")
    if name in above:
        return []
    schema, above = resolved(schema), (*above, name) if name else above
    found = [(at, schema)] if schema.get("type") == "integer" else []
    for each in schema.get("anyOf", []):
        found += integers(each, at, above)
    for name, each in schema.get("properties", {}).items():
        found += integers(each, f"{at}/{name}", above)
    return found + (integers(schema["items"], f"{at}/0", above) if "items" in schema else [])


@each_operation
def test_a_body_says_no_integer_that_canonical_json_has_not(path: str, operation: dict[str, Any]) -> None:
    """Idempotency and the journal tell bodies by RFC 8785, whose integers are those of IEEE 754 (section 3.2.2.3)."""
    for content in operation.get("requestBody", {}).get("content", {}).values():
        for at, schema in integers(content.get("schema", {}), ""):
            most = schema.get("maximum", schema.get("exclusiveMaximum", float("inf")) - 1)
            assert most < 2**53, at
