"""Requests of the words on a command line, and calls as they are told there."""

import json
import re
import shlex
from collections.abc import Sequence
from typing import Any, NoReturn

from service.client.calls import UNTOLD, Call, Field, check_names, filled, words
from service.client.exchange import Request
from service.client.problems import Unusable, plain

_NUMBER = re.compile(r"-?[0-9]{1,40}")


def value_of(field: Field, text: str) -> Any:
    """What a text means to a field: a string stays one, so that an amount is never a number.

    Raises:
        Unusable: it is not of the field's type.
    """
    if text == "null" and "null" in field.types:
        return None
    if field.choices and text not in field.choices:
        raise Unusable(f"{field.name} is {field.type}, not {text!r}")
    if "string" in field.types:
        return text
    if "integer" in field.types and _NUMBER.fullmatch(text):
        return int(text)
    try:
        found = read_json(text)
    except ValueError:
        if not field.types:
            return text
        raise Unusable(f"{field.name} is {field.type}, not {text!r}") from None
    if field.types and _type_of(found) not in field.types:
        raise Unusable(f"{field.name} is {field.type}, not {text!r}")
    return found


def told_field(field: Field) -> dict[str, Any]:
    """A field, for programs."""
    names = ("name", "place", "type", "required", "description")
    example = {} if field.example is UNTOLD else {"example": field.example}
    return {**{name: getattr(field, name) for name in names}, **example}


def told_call(call: Call) -> dict[str, str]:
    """A call, for programs."""
    return {name: getattr(call, name) for name in ("name", "tag", "method", "path", "summary")}


def command_line(call: Call) -> str:
    """A command line with all that a call requires."""
    shown = {
        each.name: "…" if each.example is UNTOLD else shlex.quote(plain(words(each.example)))
        for each in call.fields
        if each.required
    }
    return " ".join(["muniment call", call.name, *(f"{name}={value}" for name, value in shown.items())])


def fill(call: Call, values: Sequence[str], body: str | None = None) -> Request:
    """A request of NAME=VALUE arguments and of a JSON body, if that is given whole.

    Raises:
        Unusable: a field is unknown, missing, given twice or not of its type.
    """
    given = _named(call, values)
    whole = None if body is None else _whole_body(call, given, body)
    check_names(call, given, whole)
    found: dict[str, dict[str, Any]] = {"path": {}, "query": {}, "body": {}}
    for each in call.fields:
        if each.name in given:
            found[each.place][each.name] = value_of(each, given[each.name])
    return filled(call, found["path"], found["query"], found["body"] if whole is None else whole)


def _named(call: Call, values: Sequence[str]) -> dict[str, str]:
    given: dict[str, str] = {}
    for each in values:
        name, sign, text = each.partition("=")
        if not sign:
            raise Unusable(f"{each!r} is not NAME=VALUE: write `{command_line(call)}`")
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
