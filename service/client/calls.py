"""What a deployment's OpenAPI document says can be called, and requests of Python values."""

import difflib
import itertools
import json
import re
import urllib.parse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import Enum
from typing import Any
from uuid import UUID

from service.client.exchange import Request
from service.client.problems import Unusable

METHODS = ("get", "post", "put", "patch", "delete")
UNTOLD = object()
"""No example; null is one, too."""


@dataclass(frozen=True, slots=True)
class Field:
    """What a call takes under one name."""

    name: str
    place: str  # path, query or body
    types: frozenset[str]  # of JSON Schema; none where anything goes
    choices: tuple[str, ...]
    type: str  # for people
    required: bool
    description: str
    example: Any
    maximum: int | None
    schema: Any = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Call:
    """One thing that the API does for a caller. What has begun on the chain because of it is an operation."""

    name: str
    tag: str
    method: str
    path: str
    summary: str
    fields: tuple[Field, ...]
    media_types: tuple[str, ...]  # of its body, if it takes one
    takes_key: bool  # an idempotency key: it is a write
    needs_api_key: bool

    @property
    def has_body(self) -> bool:
        """Whether it takes one."""
        return bool(self.media_types)


def read_calls(document: dict[str, Any]) -> dict[str, Call]:
    """All calls of an OpenAPI document, by name, in its order."""
    calls = (
        _read_call(document, method, path, told)
        for path, methods in document["paths"].items()
        for method, told in methods.items()
        if method in METHODS and "operationId" in told
    )
    return {call.name: call for call in calls}


def fill(document: dict[str, Any], call: Call, given: Mapping[str, Any]) -> Request:
    """A request of Python values, as the document's schemas write them: an amount as text, a time as RFC 3339.

    A name that Python keeps for itself is written with an underscore after it: `from_`.

    Raises:
        Unusable: a field is unknown or missing, or its value can't be written so.
    """
    named = {
        name.rstrip("_") if name not in {each.name for each in call.fields} else name: given[name] for name in given
    }
    check_names(call, named)
    found: dict[str, dict[str, Any]] = {"path": {}, "query": {}, "body": {}}
    for each in call.fields:
        if each.name in named:
            found[each.place][each.name] = written(document, each.schema, named[each.name])
    return filled(call, found["path"], found["query"], found["body"])


def filled(call: Call, path: Mapping[str, Any], query: Mapping[str, Any], body: Any) -> Request:
    """A request of values as they are on the wire.

    Raises:
        Unusable: a part of the path would be another path.
    """
    sent_path = re.sub(r"\{(\w+)\}", lambda match: segment(match[1], path[match[1]]), call.path)
    sent_query = {name: words(value) for name, value in query.items() if value is not None}
    return Request(call.method, sent_path, call.needs_api_key, sent_query, body if call.has_body else None)


def check_names(call: Call, given: Mapping[str, Any], body: Mapping[str, Any] | None = None) -> None:
    """Make sure that all that is required is there, and nothing else.

    Args:
        body: stands for all fields of the body, where it is given whole.

    Raises:
        Unusable: a field is unknown or missing.
    """
    known = {name: [each.name for each in call.fields] for name in given}
    known |= {name: [each.name for each in call.fields if each.place == "body"] for name in body or ()}
    strange = [f"no field {name!r}{meant(name, names)}" for name, names in known.items() if name not in names]
    missing = [
        each.name
        for each in call.fields
        if each.required and each.name not in (body if body is not None and each.place == "body" else given)
    ]
    if strange or missing:
        told = [f"has {', '.join(strange)}" if strange else "", f"needs {', '.join(missing)}" if missing else ""]
        raise Unusable(f"{call.name} {' and '.join(filter(None, told))}")


def written(document: dict[str, Any], schema: Any, value: Any) -> Any:
    """A Python value as a schema has it on the wire: money is an integer here and text there."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    branches = _branches(document, schema)
    types = set().union(*(_types(each) for each in branches))
    if isinstance(value, int) and not isinstance(value, bool) and types and not types & {"integer", "number"}:
        return str(value)
    if isinstance(value, Mapping):
        properties = {name: each for branch in branches for name, each in branch.get("properties", {}).items()}
        return {
            str(name).rstrip("_"): written(document, properties.get(str(name).rstrip("_"), {}), each)
            for name, each in value.items()
        }
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        items: Any = next((each["items"] for each in branches if "items" in each), {})
        return [written(document, items, each) for each in value]
    return value


def segment(name: str, value: Any) -> str:
    """A value as one part of a path.

    Raises:
        Unusable: it would name another path.
    """
    text = words(str(value) if isinstance(value, UUID) else value)
    if text in ("", ".", ".."):
        raise Unusable(f"{name} can't be {text!r}: it is a part of the path")
    return urllib.parse.quote(text, safe="")


def words(value: Any) -> str:
    """A value as it is written in an address, or on a command line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def meant(name: str, known: Sequence[str]) -> str:
    """Which of the known names a wrong one may stand for, in brackets."""
    close = difflib.get_close_matches(name.replace("-", "_").lower(), known, n=3, cutoff=0.6)
    return f" (did you mean {' or '.join(close)}?)" if close else ""


def _read_call(document: dict[str, Any], method: str, path: str, told: dict[str, Any]) -> Call:
    content = told.get("requestBody", {}).get("content", {})
    parameters = told.get("parameters", [])
    in_path = [each for each in parameters if each["in"] == "path"]
    in_query = [each for each in parameters if each["in"] == "query"]
    fields = [
        *(_read_field(document, each["name"], each["in"], each, each["schema"]) for each in in_path),
        *_read_body(document, content.get("application/json", {}).get("schema", {})),
        *(_read_field(document, each["name"], each["in"], each, each["schema"]) for each in in_query),
    ]
    described = told.get("description") or told.get("summary") or ""
    return Call(
        name=told["operationId"],
        tag=(told.get("tags") or ["other"])[-1],
        method=method.upper(),
        path=path,
        summary=described.split("\n\n")[0].replace("\n", " "),
        fields=tuple(fields),
        media_types=tuple(content),
        takes_key=any(each["in"] == "header" and each["name"].lower() == "idempotency-key" for each in parameters),
        needs_api_key=bool(told.get("security")),
    )


def _read_body(document: dict[str, Any], schema: dict[str, Any]) -> Iterator[Field]:
    whole = _resolved(document, schema)
    required, example = whole.get("required", []), whole.get("example", {})
    for name, each in whole.get("properties", {}).items():
        # The body's own example goes first: its fields belong together.
        more = {"example": example[name]} if name in example else {}
        yield _read_field(document, name, "body", {"required": name in required, **more}, each)


def _read_field(document: dict[str, Any], name: str, place: str, told: dict[str, Any], schema: dict[str, Any]) -> Field:
    schema, branches = _resolved(document, schema), _branches(document, schema)
    examples = [told["example"]] if "example" in told else []
    for each in (schema, *branches):
        examples += each.get("examples", [])
    description = told.get("description") or schema.get("description") or ""
    if schema.get("default") is not None and schema["default"] != "":
        description = f"{description} Default: {words(schema['default'])}.".strip()
    choices = [each for branch in branches for each in branch.get("enum", ())]
    types = [_types(each) for each in branches if "type" in each]
    return Field(
        name=name,
        place=place,
        types=frozenset(itertools.chain(*types, ["integer"] if ["number"] in types else [])),
        choices=tuple(choices) if all(isinstance(each, str) for each in choices) else (),
        type=" or ".join(_type_words(document, each) for each in branches),
        required=bool(told.get("required")),
        description=description,
        example=examples[0] if examples else UNTOLD,
        maximum=int(schema["maximum"]) if "maximum" in schema else None,
        schema=schema,
    )


def _branches(document: dict[str, Any], schema: dict[str, Any]) -> list[dict[str, Any]]:
    """What a value may be by its schema; `anyOf` and `oneOf` offer several."""
    schema = _resolved(document, schema)
    return [_resolved(document, each) for each in schema.get("anyOf") or schema.get("oneOf") or [schema]]


def _types(schema: dict[str, Any]) -> list[str]:
    found = schema.get("type", [])
    return found if isinstance(found, list) else [found]


def _resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        target: Any = document
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        schema = {**target, **{name: each for name, each in schema.items() if name != "$ref"}}
    return schema


def _type_words(document: dict[str, Any], schema: dict[str, Any]) -> str:
    schema = _resolved(document, schema)
    match schema:
        case {"enum": choices}:
            return "one of " + ", ".join(map(words, choices))
        case {"type": "array"}:
            return f"list of {_type_words(document, schema.get('items', {}))}"
        case {"type": "object", "properties": properties}:
            return "{" + ", ".join(properties) + "}"
        case {"format": form}:
            return str(form)
        case _:
            return str(schema.get("type", "anything"))
