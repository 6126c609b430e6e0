"""Too many requests are refused before they cost anything, and everyone is told how it stands."""

from collections.abc import Iterator

import pytest

from service.access.rates import Quota, Quotas
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
