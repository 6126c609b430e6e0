"""Too many requests are refused before they cost anything, and everyone is told how it stands."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from service.access.rates import Quota, Quotas
from tests.access.desk import key_id
from tests.access.signing import Signing, new_signing, register
from tests.web.answers import problem
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

PLENTY = 1_000


@pytest.fixture(autouse=True)
def restored(shared: World) -> Iterator[None]:
    """The world's own quotas come back after a test."""
    before = shared.app.state.quotas
    yield
    shared.app.state.quotas = before


def held_to(shared: World, *, key: int = PLENTY, issuer: int = PLENTY, address: int = PLENTY) -> None:
    shared.app.state.quotas = Quotas(Quota("key", key), Quota("issuer", issuer), Quota("address", address))


async def test_an_answer_tells_what_is_left(shared: World) -> None:
    held_to(shared, key=60, issuer=600)
    answer = await shared.get("/v1/whoami")
    assert answer.headers["ratelimit-policy"] == '"key";q=60;w=60, "issuer";q=600;w=60'
    assert answer.headers["ratelimit"] == '"key";r=59;t=1, "issuer";r=599;t=1'


@pytest.mark.parametrize("name", ["key", "issuer"])
async def test_too_many_requests_are_refused_with_the_time_to_wait(shared: World, name: str) -> None:
    held_to(shared, **{name: 2})
    assert [(await shared.get("/v1/whoami")).status_code for _ in range(3)] == [200, 200, 429]
    answer = await shared.get("/v1/whoami")
    told = problem(answer, "quota-exceeded")
    assert told["violated_policies"] == [name]
    assert answer.headers["retry-after"] == str(told["retry_after_s"])
    assert answer.headers["ratelimit-policy"] == f'"{name}";q=2;w=60'
    assert answer.headers["ratelimit"].startswith(f'"{name}";r=0;t=')
    assert 0 < told["retry_after_s"] <= 30


async def test_another_key_of_the_issuer_is_let_through(shared: World) -> None:
    held_to(shared, key=1)
    made = await shared.post("/v1/keys", {"name": "another", "scopes": ["keys:read"]})
    assert (await shared.get("/v1/whoami")).status_code == 429
    assert (await shared.get("/v1/whoami", key=made.json()["secret"])).status_code == 200


async def test_an_address_that_fails_too_often_is_looked_at_no_more(shared: World) -> None:
    held_to(shared, address=3)
    for _ in range(3):
        problem(await shared.get("/v1/whoami", key="munsk_test_guessed"), "unauthorized")
    told = problem(await shared.get("/v1/whoami"), "quota-exceeded")
    assert told["violated_policies"] == ["address"]


async def test_a_refusal_for_want_of_a_scope_is_no_failed_proof(shared: World) -> None:
    key = (await shared.post("/v1/keys", {"name": "narrow", "scopes": ["keys:read"]})).json()["secret"]
    held_to(shared, address=1)
    for _ in range(3):
        problem(await shared.get("/v1/tokens", key=key), "scope-missing")


# Signed


async def signing_of(shared: World, **changed: Any) -> Signing:
    signing = new_signing()
    await register(shared.db, shared.settings, signing, like_key=key_id(shared.key), **changed)
    return signing


async def test_what_a_quota_refuses_has_spent_no_nonce(shared: World) -> None:
    signing = await signing_of(shared)
    headers = signing.headers("GET", "/v1/whoami")
    for quota in ("key", "issuer"):
        held_to(shared, **{quota: 1})
        other = signing.headers("GET", "/v1/whoami")
        assert (await shared.client.get("/v1/whoami", headers=other)).status_code == 200
        told = problem(await shared.client.get("/v1/whoami", headers=headers), "quota-exceeded")
        assert told["violated_policies"] == [quota]
    held_to(shared)
    answer = await shared.client.get("/v1/whoami", headers=headers)
    assert (answer.status_code, answer.json()["signed"]) == (200, True)
    assert f'"key";r={PLENTY - 1};t=1' in answer.headers["ratelimit"]
    problem(await shared.client.get("/v1/whoami", headers=headers), "nonce-replayed")


async def test_what_lets_nobody_in_takes_nothing_off_the_quotas_of_who_signed(shared: World) -> None:
    signing, elsewhere = await signing_of(shared), await signing_of(shared, limits={"networks": ["203.0.113.0/24"]})
    held_to(shared, key=3, issuer=3)
    kept = signing.headers("GET", "/v1/whoami")
    assert (await shared.client.get("/v1/whoami", headers=kept)).status_code == 200
    for _ in range(4):
        problem(await shared.client.get("/v1/whoami", headers=kept), "nonce-replayed")
        stale = signing.headers("GET", "/v1/whoami", at=1_000_000_000)
        problem(await shared.client.get("/v1/whoami", headers=stale), "signature-stale")
        foreign = elsewhere.headers("GET", "/v1/whoami")
        problem(await shared.client.get("/v1/whoami", headers=foreign), "unauthorized")
    answer = await shared.client.get("/v1/whoami", headers=signing.headers("GET", "/v1/whoami"))
    assert '"key";r=1;' in answer.headers["ratelimit"]


async def test_what_the_issuers_quota_refuses_is_left_of_the_keys(shared: World) -> None:
    held_to(shared, issuer=1)
    assert [(await shared.get("/v1/whoami")).status_code for _ in range(4)] == [200, 429, 429, 429]
    quotas = shared.app.state.quotas
    assert quotas.buckets.look(quotas.key, key_id(shared.key), time.monotonic()).remaining == PLENTY - 1
