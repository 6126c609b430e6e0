"""Every operation of the OpenAPI document, with something to ask it for: so that no new one can forget a rule."""

import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from service.app import openapi
from service.client.calls import UNTOLD, Call, Field, filled, read_calls, words
from tests.world import make_settings

NOBODY = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
NOTHING = "0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01"


def _document() -> dict[str, Any]:
    settings = make_settings(SecretStr("postgresql:///ledger"), "http://127.0.0.1:1", Path("keystore"))
    return openapi(settings.model_copy(update={"factory_address": "0x" + "11" * 20}))


DOCUMENT = _document()
CALLS = read_calls(DOCUMENT)
LISTS = [call for call in CALLS.values() if any(each.name == "cursor" for each in call.fields)]
READING = [call for call in CALLS.values() if call.media_types and "application/json" in call.media_types]

each_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
each_list = pytest.mark.parametrize("call", LISTS, ids=[call.name for call in LISTS])
each_body = pytest.mark.parametrize("call", READING, ids=[call.name for call in READING])


def values(field: Field) -> Iterator[str]:
    """Some values that a field of a path or a query takes, as they are written there."""
    if field.choices:
        yield from field.choices
    elif field.example is not UNTOLD:
        yield words(field.example)
    branches = field.schema.get("anyOf", [field.schema])
    for each in branches:
        match each:
            case {"format": "uuid"}:
                yield from (NOTHING, NOTHING[:-1] + "2")
            case {"format": "date-time"}:
                yield from ("2026-01-31T00:00:00Z", "2026-02-28T00:00:00Z")
            case {"type": "boolean"}:
                yield from ("true", "false")
            case {"type": "integer"}:
                yield from ("1", "2")
            case {"pattern": pattern} if "{40}" in pattern:
                yield from (NOBODY, NOBODY.lower())
            case {"type": "string"} if not field.choices and field.example is UNTOLD:
                yield from ("one", "two")


def value(field: Field) -> str:
    """One of them."""
    return next(values(field))


def query_of(call: Call) -> dict[str, str]:
    """The query of a call, no more than it needs."""
    return {each.name: value(each) for each in call.fields if each.place == "query" and each.required}


def path_of(call: Call) -> str:
    """A path of a call, as it is told to the service: of things that do not exist."""
    named = {each.name: value(each) for each in call.fields if each.place == "path"}
    return urllib.parse.unquote(filled(call, named, {}, None).path)


def body_of(call: Call) -> dict[str, Any]:
    """A body of a call, of its examples."""
    return {each.name: each.example for each in call.fields if each.place == "body" and each.example is not UNTOLD}
