"""NAME=VALUE on the command line: each value has the type that the API's schema gives to its field."""

from typing import Any

import pytest

from service.client.calls import Call, read_calls
from service.client.problems import Unusable
from service.remote.calls import fill


def call_of(**properties: Any) -> Call:
    """A call of one body."""
    schema = {"type": "object", "properties": properties}
    post = {
        "operationId": "ask",
        "parameters": [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}],
        "requestBody": {"content": {"application/json": {"schema": schema}}},
    }
    return read_calls({"paths": {"/v1/{id}": {"post": post}}})["ask"]


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        ({"type": "string"}, "1000", "1000"),
        ({"type": "string"}, "null", "null"),
        ({"type": "string"}, "a=b", "a=b"),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "null", None),
        ({"type": ["string", "null"]}, "null", None),
        ({"type": "integer"}, "-7", -7),
        ({"type": "number"}, "7", 7),
        ({"type": "number"}, "0.5", 0.5),
        ({"type": "boolean"}, "true", True),
        ({"type": "array", "items": {"type": "integer"}}, "[756, 276]", [756, 276]),
        ({"type": "object"}, '{"a": "1"}', {"a": "1"}),
        ({}, "words", "words"),
        ({}, "[1]", [1]),
    ],
)
def test_a_value_has_the_type_of_its_field(schema: dict[str, Any], text: str, value: Any) -> None:
    assert fill(call_of(field=schema), ["id=1", f"field={text}"]).body == {"field": value}


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "integer"}, "1.5"),
        ({"type": "integer"}, "true"),
        ({"type": "integer"}, ""),
        ({"type": "boolean"}, "yes"),
        ({"type": "boolean"}, "1"),
        ({"type": "number"}, "NaN"),
        ({"type": "object"}, '{"a": 1, "a": 2}'),
        ({"type": "array"}, "{}"),
        ({"type": "string", "enum": ["for", "against"]}, "null"),
    ],
)
def test_a_value_of_another_type_is_refused(schema: dict[str, Any], text: str) -> None:
    with pytest.raises(Unusable, match=r"^field is "):
        fill(call_of(field=schema), ["id=1", f"field={text}"])


def test_a_part_of_the_path_stays_one_part() -> None:
    assert fill(call_of(), ["id=a/../b?c"]).path == "/v1/a%2F..%2Fb%3Fc"
