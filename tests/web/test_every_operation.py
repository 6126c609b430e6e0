"""What every operation of the API refuses, and in which order: nobody known first, then what cannot be meant."""

import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from service.access.rates import quotas_of
from service.client.calls import Call
from service.web import catalogue
from service.web.headers import NOTHING
from tests.web.answers import pointers, problem
from tests.web.operations import body_of, each_body, each_call, path_of, query_of, value
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

NO_BODIES = {
    "a list": b"[]",
    "broken": b'{"a": ',
    "no UTF-8": b"\xff\xfe",
    "half a character": b'{"\\ud800": "\\udfff"}',
    "too deep": b'{"a":' * 2_000,
    "a field twice": b'{"a": 1, "a": 2}',
    "no number": b'{"a": NaN}',
}
"""What is no body of any operation."""


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def patient(shared: World) -> None:
    """So many refusals from one address are no attack here."""
    shared.app.state.quotas = quotas_of(shared.settings.model_copy(update={"address_failures_max": 10**6}))


SAFE = {"x-content-type-options": ["nosniff"], "referrer-policy": ["no-referrer"], "cache-control": ["no-store"]}


async def ask(
    world: World, call: Call, content: bytes | AsyncIterator[bytes], *, key: str | None = None, query: Any = None
) -> httpx.Response:
    """Ask for an operation with these bytes."""
    answer = await world.client.request(
        call.method,
        path_of(call),
        content=content,
        params=query_of(call) if query is None else query,
        headers={
            "Content-Type": "application/json",
            "Idempotency-Key": "every-operation",
            **({"Authorization": f"Bearer {key}"} if key else {}),
        },
    )
    assert_safe(answer)
    return answer


def assert_safe(answer: httpx.Response, policy: str = NOTHING) -> None:
    """An answer has all headers that keep browsers and caches from harm, each once, and none that lets others in."""
    assert {name: answer.headers.get_list(name) for name in SAFE} == SAFE
    assert answer.headers.get_list("content-security-policy") == [policy]
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def body(call: Call) -> bytes:
    """A body that the operation may take."""
    return json.dumps(body_of(call)).encode()


# Nobody known


@each_body
async def test_nobody_known_learns_nothing_from_a_body(shared: World, call: Call) -> None:
    if call.needs_api_key:
        for content in (NO_BODIES["broken"], NO_BODIES["no UTF-8"], NO_BODIES["too deep"], b"{}"):
            problem(await ask(shared, call, content), "unauthorized")


@each_call
async def test_nobody_known_learns_nothing_from_a_query(shared: World, call: Call) -> None:
    if call.needs_api_key:
        problem(await ask(shared, call, body(call), query={"unknown": "1", "limit": "x"}), "unauthorized")


# Queries


@each_call
async def test_an_unknown_parameter_is_named(shared: World, call: Call) -> None:
    answer = await ask(shared, call, body(call), key=shared.key, query={**query_of(call), "unknown": "1"})
    assert pointers(answer) == ["query unknown"]


@each_call
async def test_a_parameter_given_twice_is_named(shared: World, call: Call) -> None:
    for each in call.fields:
        if each.place == "query":
            query = [*query_of(call).items(), (each.name, value(each)), (each.name, value(each))]
            assert f"query {each.name}" in pointers(await ask(shared, call, body(call), key=shared.key, query=query))


# Bodies


@each_body
async def test_what_is_no_body_is_refused(shared: World, call: Call) -> None:
    for content in NO_BODIES.values():
        problem(await ask(shared, call, content, key=shared.key), "invalid-request")


@each_body
async def test_an_unknown_field_is_named(shared: World, call: Call) -> None:
    content = json.dumps({**body_of(call), "unknown": 1}).encode()
    told = problem(await ask(shared, call, content, key=shared.key), "invalid-request")
    assert "#/unknown" in told["detail"] or told["detail"] == '#: give an object with one list: {"rows": [...]}'


@each_body
async def test_half_a_character_in_any_text_is_refused(shared: World, call: Call) -> None:
    whole = body_of(call)
    for name, example in whole.items():
        if isinstance(example, str):
            content = json.dumps({**whole, name: example + "\ud800"}).encode()
            problem(await ask(shared, call, content, key=shared.key), "invalid-request")


# Headers of answers


@pytest.mark.parametrize("path", ["/v1/whoami", "/v1/time", "/v1/assets", "/problems", "/metrics"])
async def test_what_is_answered_has_safe_headers(shared: World, path: str) -> None:
    answer = await shared.get(path)
    assert answer.status_code == 200
    assert_safe(answer)


@pytest.mark.parametrize("path", ["/", "/v1/nothing", "/docs/x", "/v1/assets?k=munsk_test_0123456789012345678901"])
async def test_what_is_not_there_has_safe_headers(shared: World, path: str) -> None:
    answer = await shared.client.get(path)
    assert answer.status_code in (400, 404)
    assert_safe(answer)


async def test_a_fault_has_safe_headers(shared: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "_kind", None)
    answer = await shared.get("/problems")
    problem(answer, "internal-error")
    assert_safe(answer)


async def test_a_body_over_the_limit_is_refused_with_safe_headers(shared: World) -> None:
    answer = await shared.client.post("/v1/accounts", content=b" " * (shared.settings.body_bytes_max + 1))
    problem(answer, "body-too-large")
    assert_safe(answer)


async def test_the_docs_run_their_own_script_alone(shared: World) -> None:
    page = await shared.client.get("/docs")
    (script,) = re.findall("<script>(.*?)</script>", page.text, re.DOTALL)
    policy = page.headers["content-security-policy"]
    assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
    assert policy.startswith(f"{NOTHING}; script-src 'self' ")
    assert "unsafe-inline" not in re.findall("script-src[^;]*", policy)[0]
    assert_safe(page, policy)
    for file in re.findall('(?:src|href)="([^"]+)"', page.text):
        loaded = await shared.client.get(file)
        assert loaded.status_code == 200
        assert "cache-control" not in loaded.headers
        assert loaded.headers["x-content-type-options"] == "nosniff"


async def test_no_page_of_another_origin_is_let_in(shared: World) -> None:
    origin = {"Origin": "https://elsewhere.example"}
    asked = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    preflight = await shared.client.options("/v1/assets", headers=asked)
    problem(preflight, "method-not-allowed")
    assert_safe(preflight)
    answer = await shared.client.get("/v1/assets", headers={**origin, "Authorization": f"Bearer {shared.key}"})
    assert answer.status_code == 200
    assert_safe(answer)
