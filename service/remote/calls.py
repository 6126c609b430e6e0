"""What a deployment's OpenAPI document says can be called, and requests of the words on a command line."""

import difflib
import itertools
import json
import re
import shlex
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

METHODS = ("get", "post", "put", "patch", "delete")
UNTOLD = object()
"""No example; null is one, too."""

_NUMBER = re.compile(r"-?[0-9]{1,40}")


class Unusable(Exception):
    """The call can't be made, or its end is not known; the message says what to do next."""


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

    def value(self, text: str) -> Any:
        """What a text means here: a string stays one, so that an amount is never a number.

        Raises:
            Unusable: it is not of the field's type.
        """
        if text == "null" and "null" in self.types:
            return None
        if self.choices and text not in self.choices:
            raise Unusable(f"{self.name} is {self.type}, not {text!r}")
        if "string" in self.types:
            return text
        if "integer" in self.types and _NUMBER.fullmatch(text):
            return int(text)
        try:
            found = read_json(text)
        except ValueError:
            if not self.types:
                return text
            raise Unusable(f"{self.name} is {self.type}, not {text!r}") from None
        if self.types and _type_of(found) not in self.types:
            raise Unusable(f"{self.name} is {self.type}, not {text!r}")
        return found

    def told(self) -> dict[str, Any]:
        """For programs."""
        names = ("name", "place", "type", "required", "description")
        example = {} if self.example is UNTOLD else {"example": self.example}
        return {**{name: getattr(self, name) for name in names}, **example}


@dataclass(frozen=True, slots=True)
class Call:
    """One thing that the API does for a caller. What has begun on the chain because of it is an operation."""

    name: str
    tag: str
    method: str
    path: str
    summary: str
    fields: tuple[Field, ...]
    has_body: bool
    takes_key: bool  # an idempotency key: it is a write
    needs_api_key: bool

    def told(self) -> dict[str, str]:
        """For programs."""
        return {name: getattr(self, name) for name in ("name", "tag", "method", "path", "summary")}

    def example(self) -> str:
        """A command line with all that is required."""
        shown = {
            each.name: "…" if each.example is UNTOLD else shlex.quote(plain(words(each.example)))
            for each in self.fields
            if each.required
        }
        return " ".join(["muniment call", self.name, *(f"{name}={value}" for name, value in shown.items())])


@dataclass(frozen=True, slots=True)
class Request:
    """A call with its values."""

    method: str
    path: str
    authorized: bool
    query: dict[str, Any] = field(default_factory=dict)
    body: Any = None
    file: bytes | None = field(default=None, repr=False)  # a body that goes as it is, in place of `body`
    media_type: str = "application/json"  # of what is sent
    accept: str = "application/json"


def read_calls(document: dict[str, Any]) -> dict[str, Call]:
    """All calls of an OpenAPI document, by name, in its order."""
    calls = (
        _read_call(document, method, path, told)
        for path, methods in document["paths"].items()
        for method, told in methods.items()
        if method in METHODS and "operationId" in told
    )
    return {call.name: call for call in calls}


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
        has_body=bool(content),
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
    schema = _resolved(document, schema)
    branches = [_resolved(document, each) for each in schema.get("anyOf") or schema.get("oneOf") or [schema]]
    examples = [told["example"]] if "example" in told else []
    for each in (schema, *branches):
        examples += each.get("examples", [])
    description = told.get("description") or schema.get("description") or ""
    if schema.get("default") is not None and schema["default"] != "":
        description = f"{description} Default: {words(schema['default'])}.".strip()
    choices = [each for branch in branches for each in branch.get("enum", ())]
    types = [each["type"] if isinstance(each["type"], list) else [each["type"]] for each in branches if "type" in each]
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
    )


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


def _type_of(value: Any) -> str:
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return kinds.get(type(value), "null")


def read_json(text: str) -> Any:
    """Read JSON in which no field is given twice and every number is one.

    Raises:
        ValueError: it is not such a text.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            # The service would see only the last one, and could no longer refuse.
            raise ValueError("a field is given twice")
        return dict(pairs)

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    return json.loads(text, object_pairs_hook=unique, parse_constant=refuse)


def fill(call: Call, values: Sequence[str], body: str | None = None) -> Request:
    """A request of NAME=VALUE arguments and of a JSON body, if that is given whole.

    Raises:
        Unusable: a field is unknown, missing, given twice or not of its type.
    """
    given = _named(call, values)
    whole = None if body is None else _whole_body(call, given, body)
    known = {name: [each.name for each in call.fields] for name in given}
    known |= {name: [each.name for each in call.fields if each.place == "body"] for name in whole or ()}
    strange = [f"no field {name!r}{meant(name, names)}" for name, names in known.items() if name not in names]
    missing = [
        each.name
        for each in call.fields
        if each.required and each.name not in (whole if whole is not None and each.place == "body" else given)
    ]
    if strange or missing:
        told = [f"has {', '.join(strange)}" if strange else "", f"needs {', '.join(missing)}" if missing else ""]
        raise Unusable(f"{call.name} {' and '.join(filter(None, told))}")
    found: dict[str, dict[str, Any]] = {"path": {}, "query": {}, "body": {}}
    for each in call.fields:
        if each.name in given:
            found[each.place][each.name] = each.value(given[each.name])
    path = re.sub(r"\{(\w+)\}", lambda match: _segment(match[1], found["path"][match[1]]), call.path)
    query = {name: words(value) for name, value in found["query"].items() if value is not None}
    sent = (found["body"] if whole is None else whole) if call.has_body else None
    return Request(call.method, path, call.needs_api_key, query, sent)


def _named(call: Call, values: Sequence[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for each in values:
        name, sign, text = each.partition("=")
        if not sign:
            raise Unusable(f"{each!r} is not NAME=VALUE: write `{call.example()}`")
        if name in given:
            raise Unusable(f"{name} is given twice")
        given[name] = text
    return given


def _whole_body(call: Call, given: dict[str, str], text: str) -> dict[str, Any]:
    if not call.has_body:
        raise Unusable(f"{call.name} takes no body")
    twice = [each.name for each in call.fields if each.place == "body" and each.name in given]
    if twice:
        raise Unusable(f"the body is whole by --body: give {', '.join(twice)} there")
    try:
        whole = read_json(text)
    except ValueError as error:
        raise Unusable(f"--body is not valid JSON ({error})") from None
    if not isinstance(whole, dict):
        raise Unusable("--body is not a JSON object")
    return whole


def _segment(name: str, value: Any) -> str:
    text = words(value)
    if text in ("", ".", ".."):
        # Any of them would name another path.
        raise Unusable(f"{name} can't be {text!r}: it is a part of the path")
    return urllib.parse.quote(text, safe="")


def meant(name: str, known: Sequence[str]) -> str:
    """Which of the known names a wrong one may stand for, in brackets."""
    close = difflib.get_close_matches(name.replace("-", "_").lower(), known, n=3, cutoff=0.6)
    return f" (did you mean {' or '.join(close)}?)" if close else ""


def plain(text: str) -> str:
    """A text that moves no cursor and hides nothing: labels and names were written by others."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def words(value: Any) -> str:
    """A value as it is written on a command line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
