"""Bearer keys: every refusal is the same, and a key is never told."""

import io
import logging
import zlib

import httpx
import pytest
from fastapi.routing import iter_route_contexts
from sqlalchemy import text

from service.access import apikeys, commands
from service.tokens import queries
from tests.web.answers import problem
from tests.world import PEPPER, World

pytestmark = pytest.mark.asyncio(loop_scope="module")

UUID = "0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01"
HOLDER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
HASH = "0x" + "8f" * 32
OPEN = {("GET", "/v1/time"), ("POST", "/v1/keys/leaked")}
"""Routes that nobody has to be known for."""


def routes(world: World) -> list[tuple[str, str]]:
    """Every method and path below /v1, with its parameters filled in."""
    found = [
        (method, str(route.path))
        for route in iter_route_contexts(world.app.routes)
        for method in sorted(route.methods or ())
        if str(route.path).startswith("/v1")
    ]
    assert len(found) >= 20
    filled = [(method, path.replace("{address}", HOLDER).replace("{account}", HOLDER)) for method, path in found]
    for name in (
        "asset_id",
        "token_id",
        "operation_id",
        "governor_id",
        "prepared_id",
        "transaction_id",
        "batch_id",
        "adoption_id",
        "policy_id",
        "document_id",
        "commitment_id",
        "person_id",
        "approval_id",
        "suspension_id",
        "webhook_id",
        "factor_id",
    ):
        filled = [(method, path.replace(f"{{{name}}}", UUID)) for method, path in filled]
    for name, value in (("wallet", HOLDER), ("signer", HOLDER), ("investor", HASH), ("scheduled_id", HASH)):
        filled = [(method, path.replace(f"{{{name}}}", value)) for method, path in filled]
    filled = [(method, path.replace("{key_id}", "AxO7whPXdOT")) for method, path in filled]
    for name in ("deed_id", "proposal_id"):
        filled = [(method, path.replace(f"{{{name}}}", "7")) for method, path in filled]
    assert not any("{" in path for _, path in filled), "a path parameter that this test does not know"
    return filled


async def revoked_key(world: World) -> str:
    async with world.db.transaction() as session:
        made = await commands.create_key(
            session, issuer="Harbour Estates", caller="revoked", environment="test", pepper=PEPPER
        )
    async with world.db.transaction() as session:
        await session.execute(text("UPDATE credentials SET revoked_at = now() WHERE id = :id"), {"id": made.id})
    return made.text


def with_another_secret(key: str) -> str:
    body = key[:-7] + ("A" if key[-7] != "A" else "B")
    return body + apikeys._base62(zlib.crc32(body.encode()), 6)


async def refusals(world: World, method: str, path: str) -> list[httpx.Response]:
    key = world.key
    headers: list[dict[str, str]] = [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Basic {key}"},
        {"Authorization": key},
        {"Authorization": f"Bearer {key} {key}"},
        {"Authorization": f"Bearer {key}x"},
        {"Authorization": f"Bearer {key[:-1]}"},
        {"Authorization": f"Bearer {key[:-1]}{'0' if key[-1] != '0' else '1'}"},
        {"Authorization": f"Bearer {key.replace('munsk_test_', 'munsk_live_')}"},
        {"Authorization": f"Bearer {key.lower()}"},
        {"Authorization": f"Bearer {with_another_secret(key)}"},
        {"Authorization": f"Bearer {apikeys.make('test').text}"},
        {"Authorization": f"Bearer {await revoked_key(world)}"},
        {"X-Api-Key": key},
    ]
    return [await world.client.request(method, path, headers=each) for each in headers]


async def test_every_refusal_is_the_same_to_the_byte(shared: World) -> None:
    answers = await refusals(shared, "GET", "/v1/status")
    body = problem(answers[0], "unauthorized")
    assert "munsk" in body["detail"]
    for answer in answers:
        assert (answer.status_code, answer.content) == (401, answers[0].content)
        assert answer.headers == answers[0].headers
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_every_route_asks_for_a_key_before_anything_else(shared: World) -> None:
    for method, path in routes(shared):
        if (method, path) in OPEN:
            continue
        problem(await shared.client.request(method, path), "unauthorized")
        answer = await shared.client.request(method, path, json={"unknown": 1} if method == "POST" else None)
        problem(answer, "unauthorized")


async def test_a_key_of_another_environment_opens_nothing(shared: World) -> None:
    answers = []
    for environment in ("test", "live"):
        async with shared.db.transaction() as session:
            made = await commands.create_key(
                session, issuer="Harbour Estates", caller="tests", environment=environment, pepper=PEPPER
            )
        answers.append(await shared.get("/v1/status", key=made.text))
        answer = await shared.client.get("/v1/status", headers={"Authorization": f"bearer {made.text}"})
        assert answer.status_code == answers[-1].status_code  # RFC 9110 section 11.1: the scheme's case does not matter
    assert answers[0].status_code == 200
    assert answers[1].content == (await shared.client.get("/v1/status")).content


async def test_a_key_is_stored_hashed_and_in_no_answer(shared: World) -> None:
    async with shared.db.read() as connection:
        rows = await (await connection.execute("SELECT credentials::text FROM credentials")).fetchall()
    assert rows
    secret = shared.key[-49:]
    assert not any(secret in row[0] or shared.key.encode().hex() in row[0] for row in rows)
    for method, path in routes(shared):
        headers = {"Authorization": f"Bearer {shared.key}", "Idempotency-Key": "k"}
        answer = await shared.client.request(method, path, headers=headers, json={} if method == "POST" else None)
        assert secret not in answer.text + str(answer.headers)


async def test_a_key_is_in_no_log_line_even_of_a_fault(
    shared: World, log: io.StringIO, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*given: object, **named: object) -> None:
        raise RuntimeError(f"hidden {shared.key}")

    monkeypatch.setattr(queries, "assets_page", fail)
    with caplog.at_level(logging.DEBUG):
        problem(await shared.get("/v1/assets"), "internal-error")
        await refusals(shared, "GET", "/v1/status")
    assert "request_failed" in log.getvalue()
    for written in (log.getvalue(), caplog.text):
        assert shared.key[-49:] not in written
        assert "hidden" not in written
