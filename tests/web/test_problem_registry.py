"""Every problem that can be told is told by a test, and explained by the API."""

from pathlib import Path

import pytest

from service import app
from service.errors import Problem
from tests.world import World

TESTS = Path(__file__).resolve().parent.parent

TOLD_BY = {
    "account-exists": "tokens/test_refusals.py",
    "account-not-found": "tokens/test_refusals.py",
    "account-not-managed": "tokens/test_refusals.py",
    "already-deployed": "tokens/test_refusals.py",
    "asset-already-tokenized": "tokens/test_refusals.py",
    "asset-not-found": "access/test_issuers.py",
    "authorization-already-used": "tokens/test_refusals.py",
    "bad-cursor": "web/test_bad_requests.py",
    "block-in-future": "tokens/test_as_of.py",
    "block-not-mirrored": "tokens/test_as_of.py",
    "body-too-large": "web/test_bad_requests.py",
    "call-refused": "tokens/test_refusals.py",
    "database-unavailable": "web/test_outages.py",
    "idempotency-key-reused": "operations/test_idempotency.py",
    "insufficient-balance": "tokens/test_refusals.py",
    "internal-error": "operations/test_commit.py",
    "invalid-request": "web/test_bad_requests.py",
    "method-not-allowed": "web/test_bad_requests.py",
    "mirror-behind": "tokens/test_as_of.py",
    "mirror-empty": "tokens/test_as_of.py",
    "operation-already-executed": "tokens/test_refusals.py",
    "operation-not-found": "access/test_issuers.py",
    "problem-not-found": "web/test_problem_registry.py",
    "route-not-found": "web/test_bad_requests.py",
    "signer-lacks-role": "tokens/test_refusals.py",
    "token-not-deployed": "tokens/test_refusals.py",
    "token-not-found": "access/test_issuers.py",
    "token-not-paused": "tokens/test_refusals.py",
    "token-paused": "tokens/test_refusals.py",
    "unauthorized": "access/test_authentication.py",
    "walk-reorganised": "tokens/test_walk.py",
}


def test_every_problem_is_told_by_a_test() -> None:
    assert app is not None
    assert set(TOLD_BY) == set(Problem.registry)


@pytest.mark.parametrize(("slug", "path"), TOLD_BY.items())
def test_the_test_of_a_problem_names_it(slug: str, path: str) -> None:
    assert f'"{slug}"' in (TESTS / path).read_text()


@pytest.mark.asyncio(loop_scope="module")
async def test_the_api_lists_and_explains_every_problem(shared: World) -> None:
    listed = (await shared.client.get("/problems")).json()
    assert [each["type"] for each in listed] == [f"/problems/{slug}" for slug in sorted(Problem.registry)]
    for each in listed:
        kind = Problem.registry[each["type"].rpartition("/")[2]]
        assert (each["title"], each["status"], each["revert"]) == (kind.title, kind.status, kind.revert)
        assert each["meaning"] == (kind.__doc__ or "").strip()
        assert (await shared.client.get(each["type"])).json() == each


@pytest.mark.asyncio(loop_scope="module")
async def test_a_problem_that_is_not_there_is_told_as_one(shared: World) -> None:
    answer = await shared.client.get("/problems/nothing")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/problem-not-found")
