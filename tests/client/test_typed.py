"""The typed methods say what the OpenAPI document says: no field, type or answer of theirs has drifted from it."""

import inspect
import re
import subprocess
import sys
import types
import typing
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import pytest

from service.client import shapes
from service.client.api import Client
from service.client.asking import Id, Noun
from service.client.calls import Call, fill, read_calls, written
from service.client.documents import Documents
from service.client.exchange import Answer, Exchange, Request
from service.client.problems import ApiProblem, Unusable
from service.client.shapes import Shape
from service.client.vault import Item
from tests.client.servers import problem, saying, serving, told
from tests.web.operations import DOCUMENT
from tests.web.test_openapi import resolved

CALLS = read_calls(DOCUMENT)
ACCOUNT = "0x" + "33" * 20
UUID_TEXT = "0199f6b1-0f55-7b3e-9d3e-6a1f5b8e2c01"
NOT_OFFERED = {"cursor", "limit", "shown_at", "at_time"}
"""Of a list: pages are read to the end, and `call` has the rest."""

ITEMS = [Item(value="4111", subject="investor-17", asset_token_id=UUID_TEXT, ttl_s=60), "4111"]
EXAMPLES: dict[str, Any] = {
    "address": ACCOUNT,
    "account": ACCOUNT,
    "to": ACCOUNT,
    "from_": ACCOUNT,
    "guardian": ACCOUNT,
    "amount": 2**255,
    "expected": 7,
    "cap": 10**30,
    "shares": {ACCOUNT: 2**255},
    "terms_hash": "0x" + "8f" * 32,
    "document_hash": "0x" + "8f" * 32,
    "category": "house",
    "values": ITEMS,
    "tokens": ["tok_test_4nC6hTTUmIZv6v3oTbWsdX"],
    "format": {"kind": "card"},
    "data_class": "card",
    "mapping": "default",
    "rule": {"pattern": "[a-z]+", "length_max": 9},
    "reveal": {"purposes": ["audit"], "views": ["masked"]},
    "view": "masked",
    "state": "active",
    "processor": "acquirer",
    "currency": "EUR",
    "symbol": "HARB",
}


class Recorder(Exchange):
    """An exchange that sends nothing."""

    def __init__(self) -> None:
        self.asked: list[tuple[Request, str | None]] = []

    def ask(self, asked: Request, idempotency_key: str | None = None) -> Answer:
        self.asked.append((asked, idempotency_key))
        return Answer(200, None, {"data": [], "next_cursor": None})


def nouns() -> dict[str, type[Noun]]:
    client = Client("http://api", None)
    found = {name: type(each) for name, each in vars(client).items() if isinstance(each, Noun)}
    return {**found, "documents": Documents}


FILES = {("documents", name) for name in ("upload", "resume", "download")}
METHODS = [
    (noun, name)
    for noun, kind in nouns().items()
    for name in vars(kind)
    if not name.startswith("_") and (noun, name) not in FILES
]


def example(noun: str, name: str, parameter: inspect.Parameter) -> Any:
    """A value for one of the method's parameters."""
    own = {
        "kind": {"contracts": "compliance", "tokens": "deed", "vault": "vault"}.get(noun),
        "rows": [(ACCOUNT, 5)] if name == "mint" else [(ACCOUNT, ACCOUNT, 5)],
        "status": "succeeded",
        **EXAMPLES,
    }
    if parameter.name in own:
        return own[parameter.name]
    kind = parameter.annotation
    choices = set(typing.get_args(kind)) if isinstance(kind, types.UnionType) else {kind}
    if set(typing.get_args(Id)) <= choices:
        return UUID_TEXT
    by_type = {bool: True, int: 7, datetime: datetime(2027, 1, 31, tzinfo=UTC)}
    return next((value for each, value in by_type.items() if each in choices), "text")


def called(noun: str, name: str) -> tuple[Request, str | None, set[str]]:
    """The request of a typed method with a value for everything, and the names of what it takes."""
    recorder = Recorder()
    kind = nouns()[noun]
    signature = inspect.signature(getattr(kind, name))
    parameters = [each for each in signature.parameters.values() if each.name != "self"]
    positional = [example(noun, name, each) for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
    named = {each.name: example(noun, name, each) for each in parameters if each.kind is each.KEYWORD_ONLY}
    try:
        answer = getattr(kind(recorder), name)(*positional, **named)
        if isinstance(answer, Iterator):
            list(answer)
    except Unusable:
        pass  # the recorder's answer is not of the shape
    ((asked, key),) = recorder.asked
    return asked, key, {each.name for each in parameters}


def call_of(asked: Request) -> Call:
    found = [
        call
        for call in CALLS.values()
        if call.method == asked.method and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", call.path), asked.path)
    ]
    literal = [call for call in found if call.path == asked.path]
    (call,) = literal or found
    return call


@pytest.mark.parametrize(("noun", "name"), METHODS, ids=[".".join(each) for each in METHODS])
def test_a_typed_method_asks_what_the_document_describes(noun: str, name: str) -> None:
    asked, key, taken = called(noun, name)
    call = call_of(asked)
    places = {place: {each.name for each in call.fields if each.place == place} for place in ("path", "query", "body")}
    assert set(asked.body or ()) == places["body"], "every field of the body can be given"
    assert set(asked.query) <= places["query"]
    assert "limit" not in places["query"] or asked.query["limit"] == next(
        each.maximum for each in call.fields if each.name == "limit"
    )
    assert places["query"] - set(asked.query) <= NOT_OFFERED
    assert (key is not None) == call.takes_key == ("idempotency_key" in taken)
    assert asked.authorized == call.needs_api_key
    for each in call.fields:
        if each.place == "body" and asked.body[each.name] is not None:
            assert lacking(each.schema, asked.body[each.name]) == [], each.name


def lacking(schema: dict[str, Any], value: Any) -> list[str]:
    """Where a value is not what a schema takes: types, patterns, choices and names."""
    schema = resolved(schema)
    if branches := schema.get("anyOf") or schema.get("oneOf"):
        faults = [lacking(each, value) for each in branches]
        return [] if [] in faults else faults[0]
    kinds = {str: "string", bool: "boolean", int: "integer", dict: "object", list: "array"}
    wrong = [
        "type" in schema and kinds.get(type(value), "null") != schema["type"],
        value not in schema.get("enum", [value]),
        value != schema.get("const", value),
        isinstance(value, str) and not re.search(schema.get("pattern", ""), value),
    ]
    found = [f"{value!r} is not {schema}"] if any(wrong) else []
    if isinstance(value, list):
        found += [fault for each in value for fault in lacking(schema.get("items", {}), each)]
    if isinstance(value, dict) and "properties" in schema:
        found += [f"no {name}" for name in value if name not in schema["properties"]]
        found += [f"{name} is missing" for name in schema.get("required", []) if name not in value]
        known = [(schema["properties"][name], each) for name, each in value.items() if name in schema["properties"]]
        found += [fault for each, part in known for fault in lacking(each, part)]
    return found


# Answers

ANSWERS = {
    "read_asset": shapes.Asset,
    "read_account": shapes.Account,
    "list_contracts": shapes.Contract,
    "read_token": shapes.Token,
    "read_holder": shapes.Holder,
    "list_account_holdings": shapes.Holding,
    "list_token_transfers": shapes.Transfer,
    "read_operation": shapes.Operation,
    "read_batch": shapes.Batch,
    "read_vault_policy": shapes.Policy,
    "tokenize": shapes.Tokenized,
    "list_vault_records": shapes.Record,
    "lookup_vault_tokens": shapes.Record,
    "reveal_values": shapes.Shown,
    "erase_subject": shapes.Erased,
    "pay_from_vault": shapes.Payment,
    "read_document": shapes.Document,
}


def test_every_shape_is_compared_with_the_document() -> None:
    nested = {shapes.Transaction, shapes.Counts}
    every = {each for each in vars(shapes).values() if isinstance(each, type) and issubclass(each, Shape)}
    assert every - {Shape} - nested == set(ANSWERS.values())


@pytest.mark.parametrize(("name", "shape"), ANSWERS.items(), ids=ANSWERS)
def test_an_answer_has_the_shape_that_the_document_describes(name: str, shape: type[Shape]) -> None:
    operation = DOCUMENT["paths"][CALLS[name].path][CALLS[name].method.lower()]
    (content,) = [each["content"] for status, each in operation["responses"].items() if status.startswith("2")]
    schema = resolved(content["application/json"]["schema"])
    if "data" in schema.get("properties", {}):
        schema = resolved(schema["properties"]["data"])
    if schema.get("type") == "array":
        schema = resolved(schema["items"])
    assert unlike(shape, next(resolved(each) for each in schema.get("anyOf", [schema]))) == []


def unlike(shape: type[Shape], schema: dict[str, Any]) -> list[str]:
    """Where a shape and a schema part."""
    found = []
    hints = typing.get_type_hints(shape)
    for each in fields(shape):
        if each.name == "raw":
            continue
        kind, name = hints[each.name], each.name.rstrip("_")
        told_schema = schema["properties"].get(name)
        if told_schema is None or name not in schema.get("required", []):
            found.append(f"{shape.__name__}.{name} may be missing")
            continue
        branches = [resolved(one) for one in told_schema.get("anyOf", [told_schema])]
        branches = [resolved(two) for one in branches for two in one.get("anyOf", [one])]
        null = any(one.get("type") == "null" for one in branches)
        ours = set(typing.get_args(kind)) if isinstance(kind, types.UnionType) else {kind}
        if null != (types.NoneType in ours):
            found.append(f"{shape.__name__}.{name}: one of them may be null")
        (own,) = ours - {types.NoneType}
        others = [one for one in branches if one.get("type") != "null" and not fits(own, one)]
        found += [f"{shape.__name__}.{name} is {own}, not {one}" for one in others]
    return found


def fits(own: Any, schema: dict[str, Any]) -> bool:
    if isinstance(own, type) and issubclass(own, Shape):
        return unlike(own, schema) == []
    if own is datetime:
        return schema.get("format") == "date-time"
    if own is int:
        return schema["type"] == "integer" or (schema["type"] == "string" and "format" not in schema)
    if own is str:
        return schema["type"] == "string" and schema.get("format") != "date-time"
    return bool(schema["type"] == ("boolean" if own is bool else "object"))


# By name


def test_any_operation_is_called_by_its_name_with_values_of_python() -> None:
    call = CALLS["deed_forced_transfer"]
    given = {"token_id": UUID_TEXT, "deed_id": 2**200, "from_": ACCOUNT, "to": ACCOUNT, "reason": "r"}
    asked = fill(DOCUMENT, call, {**given, "document_hash": "0x" + "8f" * 32})
    assert asked.path == f"/v1/tokens/{UUID_TEXT}/deeds/{2**200}/forced-transfer"
    assert asked.body["from"] == ACCOUNT
    asked = fill(DOCUMENT, CALLS["batch_mint"], {"token_id": UUID_TEXT, "shares": [{"to": ACCOUNT, "amount": 2**200}]})
    assert asked.body == {"shares": [{"to": ACCOUNT, "amount": str(2**200)}]}
    asked = fill(
        DOCUMENT,
        CALLS["deploy_token"],
        {"asset_id": UUID_TEXT, "name": "a", "symbol": "b", "cap": 10**30, "decimals": 2},
    )
    assert (asked.body["cap"], asked.body["decimals"]) == (str(10**30), 2)
    at = datetime(2027, 1, 31, tzinfo=UTC)
    asked = fill(DOCUMENT, CALLS["list_holders"], {"token_id": UUID_TEXT, "shown_at": at, "limit": 5})
    assert asked.query == {"shown_at": "2027-01-31T00:00:00+00:00", "limit": "5"}


def test_a_name_that_is_unknown_is_told_with_the_nearest() -> None:
    with serving(lambda heard: told(DOCUMENT if heard.path == "/openapi.json" else [])) as server:
        client = Client(server.url, None)
        for ask, sentence in (
            (lambda: client.call("mnt"), r"no operation 'mnt' \(did you mean mint"),
            (
                lambda: client.call("mint", token_id=UUID_TEXT, to=ACCOUNT, amuont=1),
                "did you mean amount.* needs amount",
            ),
            (lambda: client.call("read_token", token_id=".."), "a part of the path"),
            (lambda: client.call("read_token", token_id="1", idempotency_key="k"), "takes no idempotency key"),
            (lambda: next(client.pages("list_contracts")), "has no pages"),
        ):
            with pytest.raises(Unusable, match=sentence):
                ask()
        assert client.call("list_contracts") == []
        assert [each.path for each in server.heard].count("/openapi.json") == 1


def test_pages_are_read_one_after_another() -> None:
    first: dict[str, Any] = {"data": [], "next_cursor": "c+/="}
    second: dict[str, Any] = {"data": [], "next_cursor": None}
    with saying(told(first), told(second)) as server:
        assert list(Client(server.url, None).assets.list()) == []
        assert [each.path for each in server.heard] == [
            "/v1/assets?limit=500",
            "/v1/assets?limit=500&cursor=c%2B%2F%3D",
        ]


def test_a_cursor_that_is_refused_ends_the_pages_with_its_problem() -> None:
    page: dict[str, Any] = {"data": [], "next_cursor": "c"}
    with saying(told(page), problem("bad-cursor", 400)) as server:
        pages = Client(server.url, None).tokens.list()
        with pytest.raises(ApiProblem, match="bad-cursor"):
            list(pages)
        assert len(server.heard) == 2


@pytest.mark.parametrize("cursors", [["c", "c"], ["c", "d", "c"], [7]], ids=str)
def test_pages_that_go_in_a_circle_end(cursors: list[Any]) -> None:
    with saying(*(told({"data": [], "next_cursor": each}) for each in cursors)) as server:
        with pytest.raises(Unusable, match="has no next page"):
            list(Client(server.url, None).tokens.list())
        assert len(server.heard) == len(cursors)


def test_an_answer_of_another_shape_is_told() -> None:
    with saying(told({"id": "1"})) as server, pytest.raises(Unusable, match="no Asset"):
        Client(server.url, None).assets.read("1")


def test_a_value_that_was_revealed_is_in_no_output() -> None:
    shown = shapes.Shown.of({"value": "4111111111111111", "problem": None})
    assert (shown.value, "4111" in repr(shown)) == ("4111111111111111", False)
    assert "4111" not in repr(ITEMS[0])
    assert "4111" not in repr(Request("POST", "/v1/vault/tokenize", authorized=True, body={"value": "4111"}))


def test_values_are_written_as_their_schema_has_them() -> None:
    assert written({}, {"type": "boolean"}, value=True) is True
    assert written({}, {"type": "string"}, "7") == "7"
    assert written({}, {}, 7) == 7
    assert written({}, {"type": "object", "additionalProperties": {"type": "string"}}, {"a": "b"}) == {"a": "b"}


# What it needs


def test_importing_it_starts_nothing_of_the_server() -> None:
    program = """
import sys
before = set(sys.modules)
import service.client
service.client.Client("http://127.0.0.1:1", service.client.BearerCredential("munsk_test_1"))
found = set(sys.modules) - before
outside = {name.split(".")[0] for name in found} - set(sys.stdlib_module_names)
print(sorted(outside), len(found), sorted(name for name in found if name.startswith("service.")))
"""
    run = [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{program}"]
    said = subprocess.run(run, capture_output=True, text=True, check=True, timeout=60).stdout
    assert said.startswith("['service'] ")
    assert int(said.split("]")[1].split()[0]) < 170
    assert all(name.startswith("service.client") for name in re.findall(r"service\.\w[\w.]*", said))
