"""What no key opens: of wrong form, in wrong places, from elsewhere, leaked; and what a flood of them costs."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio
import uvicorn

from service.access import apikeys
from service.access.key_reports import REPORTS_MAX
from service.access.rates import Quota, Rates
from service.db import Database
from tests.access.desk import facts, key_id, kinds, make, state, use
from tests.web.answers import problem
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")


# In the URL, and reported


@pytest.mark.parametrize(
    "url", ["/v1/assets?api_key={}", "/v1/assets?x=1&k={}&y=2", "/v1/tokens/{}", "/nowhere/{}", "/problems?{}"]
)
async def test_a_key_in_the_url_is_refused_everywhere_and_counts_as_leaked(shared: World, url: str) -> None:
    made = await make(shared)
    answer = await shared.client.get(url.format(made["secret"]), headers={"Authorization": f"Bearer {shared.key}"})
    assert (answer.status_code, answer.json()["type"]) == (400, "/problems/key-in-url")
    assert made["secret"][-49:] not in answer.text
    assert await state(shared, made["id"]) == "revoked"
    problem(await use(shared, made["secret"]), "unauthorized")
    assert kinds(await facts(shared, made["id"])) == ["key.created", "key.leaked"]


async def test_what_only_looks_like_a_key_is_refused_in_a_url_just_the_same(shared: World) -> None:
    wrong = shared.key[:-1] + ("0" if shared.key[-1] != "0" else "1")
    for given in (wrong, apikeys.make("live").text, shared.key.replace("_", "%5F")[:-3]):
        problem(await shared.client.get(f"/v1/assets?key={given}"), "key-in-url")
    assert (await use(shared, shared.key)).status_code == 200


async def test_a_report_ends_a_key_and_tells_nobody_whether_there_is_one(shared: World) -> None:
    made, spared = await make(shared), await make(shared)
    other_secret = spared["secret"][:22] + apikeys.make("test").text[22:]
    answers = [
        await shared.client.post("/v1/keys/leaked", json={"keys": [given]})
        for given in (made["secret"], made["secret"], apikeys.make("test").text, other_secret, "garbage")
    ]
    assert {(answer.status_code, answer.text) for answer in answers} == {(200, '{"reported_count":1}')}
    assert [await state(shared, each["id"]) for each in (made, spared)] == ["revoked", "active"]
    assert kinds(await facts(shared, made["id"])) == ["key.created", "key.leaked"]


async def test_one_network_reports_so_many_keys_and_then_waits(shared: World) -> None:
    answers = [await shared.client.post("/v1/keys/leaked", json={"keys": ["x"]}) for _ in range(REPORTS_MAX + 1)]
    assert 1 <= problem(answers[-1], "too-many-reports")["retry_after_s"] <= 61
    shared.app.state.admission.reports._counts.clear()


# Limits


async def test_a_key_is_refused_outside_its_networks_and_hours_like_any_other(shared: World) -> None:
    elsewhere = await make(shared, limits={"networks": ["203.0.113.0/24", "2001:db8::/32"]})
    hour = datetime.now(UTC).hour
    later = await make(shared, limits={"hours_utc": [(hour + 2) % 24, (hour + 3) % 24 or 24]})
    plain = await shared.client.get("/v1/whoami")
    for made in (elsewhere, later):
        answer = await use(shared, made["secret"])
        assert (answer.content, answer.headers) == (plain.content, plain.headers)


# Floods, and what came off the wire


async def test_a_flood_of_random_keys_costs_no_work_of_postgres(shared: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0
    fetch = Database.fetch

    async def counted(db: Database, *given: Any) -> Any:
        nonlocal asked
        asked += 1
        return await fetch(db, *given)

    monkeypatch.setattr(Database, "fetch", counted)
    for _ in range(200):
        text = f"munsk_test_{secrets.token_hex(30)}"
        assert (await shared.client.get("/v1/whoami", headers={"Authorization": f"Bearer {text}"})).status_code == 401
    assert asked == 0
    flood = [use(shared, apikeys.make("test").text) for _ in range(200)]
    assert {answer.status_code for answer in await asyncio.gather(*flood)} == {401}
    assert asked <= 100, "those that came at one moment are looked up together"


@pytest.fixture
def five_failures(shared: World) -> Iterator[None]:
    """Five failures of an address a minute."""
    before = shared.app.state.quotas
    shared.app.state.quotas = replace(before, address=Quota("address", 5), buckets=Rates())
    yield
    shared.app.state.quotas = before


@pytest.mark.usefixtures("five_failures")
async def test_a_flood_of_keys_in_urls_costs_no_more_than_an_address_may_fail(
    shared: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, fetch = 0, Database.fetch

    async def counted(db: Database, *given: Any) -> Any:
        nonlocal asked
        asked += 1
        return await fetch(db, *given)

    monkeypatch.setattr(Database, "fetch", counted)
    urls = ["/?" + "&".join(apikeys.make("test").text for _ in range(10)) for _ in range(20)]
    answers = [await shared.client.get(url) for url in urls]
    assert [answer.status_code for answer in answers] == [400] * 5 + [429] * 15
    assert int(answers[-1].headers["retry-after"]) > 0
    assert asked <= 10, "those of one URL are looked up together"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def port(shared: World) -> AsyncIterator[int]:
    """Where the world's API is served over TCP, as in a deployment."""
    config = uvicorn.Config(shared.app, port=0, lifespan="off", http="httptools", log_config=None, server_header=False)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await serving


async def said(port: int, *lines: bytes) -> tuple[int, bytes]:
    """The status and the body of an answer to a request of these header lines."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"\r\n".join([b"GET /v1/whoami HTTP/1.1", b"Host: api", b"Connection: close", *lines, b"", b""]))
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), body


async def test_no_odd_bytes_in_a_header_come_past_the_gate(shared: World, port: int) -> None:
    key = shared.key.encode()
    good = b"Authorization: Bearer " + key
    assert (await said(port, good))[0] == 200
    refused = await said(port)
    assert refused[0] == 401
    for lines in (
        (good, good),
        (good, b"authorization: Bearer " + apikeys.make("test").text.encode()),
        (good + "é".encode(),),
        (b"Authorization: Bearer " + "мunsk".encode() + key[5:],),
        (b"Authorization: Bearer\t\t" + key + b"\xa0",),
        (good + b", Bearer " + key,),
        (b"X-Authorization: Bearer " + key,),
    ):
        assert await said(port, *lines) == refused, lines
    for lines in ((good + b"\x00",), (good[:30] + b"\x00" + good[30:],), (b"Authori\x00zation: Bearer " + key,)):
        status, body = await said(port, *lines)
        assert status == 400
        assert key not in body


async def test_headers_without_end_are_refused(shared: World, port: int) -> None:
    good = b"Authorization: Bearer " + shared.key.encode()
    for lines in ((good, b"X-Long: " + b"a" * 9_000), (good + b"a" * 20_000,), (good, *[b"X: " + b"a" * 90] * 100)):
        status, body = await said(port, *lines)
        assert (status, b"headers-too-large" in body) == (400, True)
    assert (await said(port, good, b"X-Long: " + b"a" * 4_000))[0] == 200


@pytest.mark.parametrize("name", ["Idempotency-Key", "Muniment-Approval"])
async def test_a_header_that_says_one_thing_comes_once(shared: World, name: str) -> None:
    sent = [("Authorization", f"Bearer {shared.key}"), ("Idempotency-Key", f"once-{name}")]
    body = {"name": "12 Harbour Street", "category": "house"}
    for again in (name, name.lower()):
        twice = [*sent, (name, "another"), (again, "another")]
        answer = await shared.client.post("/v1/assets", headers=twice, json=body)
        assert problem(answer, "header-repeated")["header"] == name
    problem(await shared.client.post("/v1/assets", headers=twice[1:], json=body), "unauthorized")
    assert (await shared.client.post("/v1/assets", headers=sent, json=body)).status_code == 201


@pytest.mark.parametrize("name", ["Signature", "Signature-Input", "Content-Digest", "Idempotency-Key"])
async def test_no_header_of_a_signature_is_without_end(shared: World, name: str) -> None:
    answer = await shared.client.get("/v1/whoami", headers={name: "a" * 9_000})
    problem(answer, "headers-too-large")


@pytest.mark.parametrize("odd", ["\0", "\u202e", "\ud800", "\uff11", "%00", "\u0130"])
async def test_odd_characters_make_no_credential_and_find_none(shared: World, odd: str) -> None:
    headers = {"Authorization": f"Bearer {shared.key}", "Idempotency-Key": "odd", "content-type": "application/json"}
    account = "0x70997970C51812dc3A010C7d01b50e0d17dc79C" + odd
    for order in (
        {"name": "x", "scopes": ["issue" + odd]},
        {"name": "x", "scopes": ["issue"], "kind": "ed25519", "public_key": "8f" * 31 + "8" + odd},
        {"name": "x", "scopes": ["issue"], "kind": "wallet", "account": account, "chain_id": 1},
        {"name": "x", "scopes": ["issue"], "limits": {"networks": ["10.0.0.0/8" + odd]}},
        {"name": "x", "scopes": ["issue"], "kind" + odd: "bearer"},
    ):
        answer = await shared.client.post("/v1/keys", headers=headers, content=json.dumps(order))
        problem(answer, "invalid-request")
    if not odd.isprintable():
        answer = await shared.client.post(
            "/v1/keys", headers=headers, content=json.dumps({"name": odd, "scopes": ["issue"]})
        )
        problem(answer, "invalid-request")
    path = f"/v1/keys/{key_id(shared.key)[:10]}" + quote(odd, errors="surrogatepass")
    problem(await shared.get(path), "invalid-request")
    leaked = json.dumps({"keys": [shared.key[:-1] + odd]})
    answer = await shared.client.post("/v1/keys/leaked", headers=headers, content=leaked)
    assert answer.status_code in (200, 422)
    assert (await use(shared, shared.key)).status_code == 200


async def test_a_url_without_end_is_refused(shared: World) -> None:
    problem(await shared.get("/v1/whoami", x="a" * 9_000), "headers-too-large")
