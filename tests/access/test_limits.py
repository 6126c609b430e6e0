"""What a credential is held to in tokens, chains and amounts."""

import asyncio
from typing import Any

import pytest
import pytest_asyncio

from service.db import new_id
from tests.access import desk
from tests.web.answers import problem
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def token_id(shared: World) -> str:
    """A token that may be minted."""
    return await shared.token()


async def held_to(world: World, **limits: Any) -> str:
    """A key that is held to limits."""
    made = await desk.make(world, "issue", "keys:read", "keys:admin", limits=limits)
    return str(made["secret"])


async def mint(world: World, token_id: str, key: str, amount: int, **given: Any) -> Any:
    """Ask for a mint."""
    return await world.mint(token_id, await world.account(), amount, key=key, **given)


async def test_a_key_of_one_token_opens_no_other_and_nothing_that_tells_of_others(shared: World, token_id: str) -> None:
    key, other = await held_to(shared, tokens=[token_id]), await shared.token()
    answer = await mint(shared, token_id, key, 1)
    assert answer.status_code == 202, answer.text
    assert (await shared.get(f"/v1/tokens/{token_id}", key=key)).status_code == 200
    assert (await shared.get(f"/v1/operations/{answer.json()['id']}", key=key)).status_code == 200
    theirs = (await mint(shared, other, shared.key, 1)).json()["id"]
    for path in (f"tokens/{other}", "assets", f"operations/{theirs}", f"tokens/{new_id()}"):
        assert problem(await shared.get(f"/v1/{path}", key=key), "limit-exceeded")["limit"] == "tokens"
    assert problem(await mint(shared, other, key, 1), "limit-exceeded")["limit"] == "tokens"
    assert problem(await shared.post("/v1/contracts", {"kind": "lots"}, key=key), "limit-exceeded")["limit"] == "tokens"
    assert (await shared.get("/v1/whoami", key=key)).json()["limits"]["tokens"] == [token_id]


async def test_no_key_is_made_or_changed_to_be_held_to_less(shared: World, token_id: str) -> None:
    tight = {"tokens": [token_id], "chains": [31_337], "amount_max": "5", "amount_per_day": "9"}
    key = await held_to(shared, **tight)
    for change in ({"tokens": None}, {"chains": [1, 31_337]}, {"amount_max": "6"}, {"amount_per_day": None}):
        limits = {name: value for name, value in {**tight, **change}.items() if value is not None}
        body = {"name": "x", "scopes": ["read"], "limits": limits}
        assert problem(await shared.post("/v1/keys", body, key=key), "key-exceeds-grantor")["exceeds"] == ["limits"]
        answer = await desk.patch(shared, desk.key_id(key), {"limits": limits}, key=key)
        assert problem(answer, "key-limits-widened")["exceeds"] == ["limits"]
    wrongs: list[dict[str, Any]] = [
        {"amount_max": 5},
        {"amount_max": "0"},
        {"chains": [2**53]},
        {"tokens": []},
        {"chains": ["1"]},
        {"amount_per_day": "1e3"},
    ]
    for wrong in wrongs:
        body = {"name": "x", "scopes": ["read"], "limits": wrong}
        problem(await shared.post("/v1/keys", body), "invalid-request")


async def test_a_key_of_another_chain_opens_nothing_of_this_one(shared: World) -> None:
    key = await held_to(shared, chains=[1])
    assert problem(await shared.get("/v1/assets", key=key), "limit-exceeded")["limit"] == "chains"


async def test_one_request_names_no_more_than_it_may_and_a_batch_counts_as_its_sum(
    shared: World, token_id: str
) -> None:
    key, to = await held_to(shared, amount_max="100"), await shared.account()
    told = problem(await mint(shared, token_id, key, 101), "limit-exceeded")
    assert (told["limit"], told["left"]) == ("amount_max", "100")
    assert (await mint(shared, token_id, key, 100)).status_code == 202
    path = f"/v1/tokens/{token_id}"
    rows = [{"to": to, "amount": "60"}, {"to": await shared.account(), "amount": "41"}]
    for answer in (
        await shared.post(f"{path}/batches/mint", {"rows": rows}, key=key),
        await shared.post(f"{path}/batch-mint", {"shares": rows}, key=key),
    ):
        assert problem(answer, "limit-exceeded")["limit"] == "amount_max"
    rows[1]["amount"] = "40"
    assert (await shared.post(f"{path}/batches/mint", {"rows": rows}, key=key)).status_code == 202
    assert (await shared.post("/v1/assets", {"name": "1 Quay", "category": "house"}, key=key)).status_code == 201


async def test_rows_that_are_sent_again_are_held_to_the_limits_of_whoever_sends_them_again(
    shared: World, token_id: str
) -> None:
    path, rows = f"/v1/tokens/{token_id}/batches/mint", [{"to": await shared.account(), "amount": "500"}]
    await shared.finish()
    batch_id = (await shared.post(path, {"rows": rows})).json()["id"]
    assert (await shared.post(f"/v1/batches/{batch_id}/cancel")).status_code == 202
    await shared.finish()
    for limit in ("amount_max", "amount_per_day"):
        key = await held_to(shared, **{limit: "499"})
        answer = await shared.post(f"/v1/batches/{batch_id}/resume", key=key)
        assert problem(answer, "limit-exceeded")["limit"] == limit
    key = await held_to(shared, amount_max="500")
    assert (await shared.post(f"/v1/batches/{batch_id}/resume", key=key)).status_code == 202


async def test_of_twenty_requests_at_once_as_many_pass_as_the_day_leaves(shared: World, token_id: str) -> None:
    key, to = await held_to(shared, amount_per_day="70"), await shared.account()
    caller = (await shared.get("/v1/whoami", key=key)).json()["caller_id"]
    await desk.sql(shared, "DELETE FROM amounts_taken")
    answers = await asyncio.gather(
        *(shared.mint(token_id, to, 10, key=key, idempotency_key=f"at-once-{number}") for number in range(20))
    )
    assert sorted(answer.status_code for answer in answers) == [202] * 7 + [403] * 13
    passed = next(number for number, answer in enumerate(answers) if answer.status_code == 202)
    told = problem(next(answer for answer in answers if answer.status_code == 403), "limit-exceeded")
    assert told["limit"] == "amount_per_day"
    # The same request again is the same operation, and takes nothing.
    again = await shared.mint(token_id, to, 10, key=key, idempotency_key=f"at-once-{passed}")
    assert again.json()["id"] == answers[passed].json()["id"]
    assert problem(await mint(shared, token_id, key, 1), "limit-exceeded")["left"] == "0"
    # Another key of the same caller, and a batch, have no budget of their own.
    second, path = await held_to(shared, amount_per_day="75"), f"/v1/tokens/{token_id}"
    batch = {"rows": [{"to": to, "amount": "3"}, {"to": to, "amount": "3"}]}
    told = problem(await shared.post(f"{path}/batches/mint", batch, key=second), "limit-exceeded")
    assert (told["limit"], told["left"]) == ("amount_per_day", "5")
    batch["rows"].pop()
    assert (await shared.post(f"{path}/batches/mint", batch, key=second)).status_code == 202
    taken = await desk.sql(shared, "SELECT amount FROM amounts_taken WHERE caller_id = :caller", caller=caller)
    assert [int(row.amount) for row in taken] == [73]


async def test_what_the_contract_refuses_takes_nothing_from_the_day(shared: World, token_id: str) -> None:
    key = await held_to(shared, amount_per_day="1000000")
    await desk.sql(shared, "DELETE FROM amounts_taken")
    holder = await shared.account()
    answer = await shared.transfer(token_id, holder, await shared.account(), 10, key=key)
    problem(answer, "insufficient-balance")
    assert await desk.sql(shared, "SELECT FROM amounts_taken") == []
