"""Budgets hold however many ask at once, a key that passes one is suspended, and others agree before much is seen."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.vault.desk import CARD, Desk
from tests.vault.reveals import PREFIX, change_rules, entries, key_id, limited, reveal, seen, suspensions
from tests.web.answers import problem

pytestmark = pytest.mark.asyncio(loop_scope="module")

OTHER_CARD = "5555555555554444"


async def test_thirty_two_at_once_see_no_more_than_the_day_allows(desk: Desk) -> None:
    policy, key = await limited(desk, daily_max=10), await desk.new_key(caller="crowd")
    token = await desk.token(policy, CARD)
    answers = await asyncio.gather(*(reveal(desk, token, key=key) for _ in range(32)))
    shown = [each for each in answers if each.status_code == 200]
    assert len(shown) <= 10
    for answer in answers:
        if answer not in shown:
            problem(answer, "reveal-suspended")
    assert len(await entries(desk, "vault.revealed", policy)) == len(shown)
    assert await desk.rows(
        "SELECT coalesce(sum(values_count), 0) FROM vault.reveal_counts WHERE policy_id = %s", policy
    ) == [(len(shown),)]


async def test_exactly_the_budget_can_be_seen(desk: Desk) -> None:
    policy, key = await limited(desk, daily_max=8), await desk.new_key(caller="frugal")
    token = await desk.token(policy, CARD)
    answers = await asyncio.gather(*(reveal(desk, token, token, key=key) for _ in range(4)))
    assert [each.status_code for each in answers] == [200] * 4
    problem(await reveal(desk, token, key=key), "reveal-suspended")


async def test_a_limit_is_of_each_key_and_of_each_policy_and_of_each_day(desk: Desk) -> None:
    first, second = await limited(desk, daily_max=1), await limited(desk, daily_max=1)
    tokens = await desk.token(first, CARD), await desk.token(second, CARD)
    keys = [await desk.new_key(caller=each) for each in ("monday", "tuesday")]
    for key in keys:
        assert await seen(desk, *tokens, key=key) == [CARD, CARD]
    await desk.alter(f"UPDATE vault.reveal_counts SET day = day - 1 WHERE policy_id = '{first}'")
    assert await seen(desk, tokens[0], key=keys[0]) == [CARD]


async def test_distinct_subjects_are_counted_once_each(desk: Desk) -> None:
    policy, key = await limited(desk, subjects_daily_max=2), await desk.new_key(caller="curious")
    items = [{"value": CARD, "subject": each} for each in ("ada", "bob", "cleo")]
    ada, bob, cleo = [each["token"] for each in await desk.tokenize(policy, *items)]
    nobodys = await desk.token(policy, OTHER_CARD)
    for _ in range(3):
        await asyncio.gather(*(seen(desk, ada, bob, nobodys, key=key) for _ in range(3)))
    problem(await reveal(desk, cleo, ada, key=key), "reveal-suspended")
    ((suspension),) = await suspensions(desk, key)
    assert suspension["reason"] == "subjects-daily"
    assert len(await desk.rows("SELECT 1 FROM vault.reveal_subjects WHERE key_id = %s", key_id(key))) == 2


async def test_who_was_seen_on_earlier_days_is_forgotten(desk: Desk) -> None:
    policy, key = await limited(desk, subjects_daily_max=5), await desk.new_key(caller="daily")
    token = await desk.token(policy, {"value": CARD, "subject": "ada"})
    await seen(desk, token, key=key)
    for table in ("reveal_subjects", "reveal_counts"):
        await desk.alter(f"UPDATE vault.{table} SET day = day - 1 WHERE key_id = '{key_id(key)}'")
    await seen(desk, token, key=key)
    assert len(await desk.rows("SELECT 1 FROM vault.reveal_subjects WHERE key_id = %s", key_id(key))) == 1


async def test_a_suspended_key_sees_nothing_of_any_policy_until_another_caller_lifts_it(desk: Desk, log: Any) -> None:
    policy, free, key = await limited(desk, daily_max=0), await limited(desk), await desk.new_key(caller="greedy")
    token, other = await desk.token(policy, CARD), await desk.token(free, CARD)
    problem(await reveal(desk, token, key=key), "reveal-suspended")
    told = problem(await reveal(desk, other, key=key), "reveal-suspended")
    assert await seen(desk, other) == [CARD]  # another key
    (suspension,) = await suspensions(desk, key)
    assert (suspension["id"], suspension["policy_id"], suspension["lifted_at"]) == (told["suspension"], policy, None)
    path = f"/suspensions/{suspension['id']}/lift"
    problem(await desk.post(path, key=key), "another-caller-needed")
    problem(await desk.post(path, key=await desk.new_issuer("Moor Estates")), "suspension-not-found")
    lifted = [(await desk.post(path)).json() for _ in range(2)]
    assert lifted[0]["lifted_at"] is not None
    assert lifted[0] == lifted[1]
    assert await seen(desk, other, key=key) == [CARD]
    assert log.getvalue().count("vault_reveal_suspended") == 1
    for kind in ("vault.reveal-suspended", "vault.suspension-lifted"):
        assert len(await entries(desk, kind, suspension["id"])) == 1
    problem(await reveal(desk, token, key=key), "reveal-suspended")  # what was spent stays spent


async def test_another_key_of_a_suspended_caller_reveals_nothing_either(desk: Desk) -> None:
    policy, keys = await limited(desk, daily_max=1), [await desk.new_key(caller="two keys") for _ in range(2)]
    token = await desk.token(policy, CARD)
    problem(await reveal(desk, token, token, key=keys[0]), "reveal-suspended")
    problem(await reveal(desk, token, key=keys[1]), "reveal-suspended")


async def test_searching_is_for_named_callers_within_the_budget_and_journalled_at_each_doubling(desk: Desk) -> None:
    policy, key = await limited(desk, daily_max=4, callers=["seeker"]), await desk.new_key(caller="seeker")
    body = {"policy": policy, "value": CARD}
    assert problem(await desk.post("/search", body), "reveal-refused")["reason"] == "caller-not-allowed"
    answers = await asyncio.gather(*(desk.post("/search", body, key=key) for _ in range(4)))
    assert [each.status_code for each in answers] == [200] * 4
    assert [each["count"] for each in await entries(desk, "vault.searched", policy)] == [1, 2, 4]
    problem(await desk.post("/search", body, key=key), "reveal-suspended")
    problem(await desk.post("/search", body, key=key), "reveal-suspended")
    assert len(await suspensions(desk, key)) == 1


async def test_an_approval_is_not_of_a_value_that_came_later(desk: Desk) -> None:
    rules = {"purposes": ["support"], "views": ["plain"], "approvals": 1}
    policy = await desk.policy(data_class="email", format=PREFIX, pointer=True, reveal=rules)
    token = await desk.token(policy, "old@example.org")
    approval = (await ask(desk, token)).json()["id"]
    await approve(desk, approval, await desk.new_key(caller="judge"))
    await desk.send("PUT", "/tokens", {"token": token, "value": "new@example.org"})
    problem(await reveal(desk, token, approval=approval), "approval-missing")


async def test_suspensions_are_listed_page_by_page(desk: Desk) -> None:
    policy = await limited(desk, daily_max=0)
    token = await desk.token(policy, CARD)
    for caller in ("page one", "page two"):
        await reveal(desk, token, key=await desk.new_key(caller=caller))
    whole = (await desk.get("/suspensions")).json()["data"]
    first = (await desk.get("/suspensions", limit=1)).json()
    rest = (await desk.get("/suspensions", cursor=first["next_cursor"])).json()
    assert first["data"] + rest["data"] == whole
    problem(await desk.get("/suspensions", cursor="x"), "bad-cursor")


async def ask(desk: Desk, *tokens: str, **changed: Any) -> httpx.Response:
    body = {"tokens": list(tokens), "purpose": "support", "reason": "Ticket 4711", "view": "plain"}
    return await desk.post("/approvals", {**body, **changed})


async def approve(desk: Desk, approval: str, key: str) -> httpx.Response:
    return await desk.post(f"/approvals/{approval}/approve", key=key)


async def test_enough_others_agree_to_exactly_one_reveal(desk: Desk) -> None:
    policy = await limited(desk, approvals=2, approvals_above=1)
    tokens = [await desk.token(policy, each) for each in (CARD, OTHER_CARD)]
    assert await seen(desk, tokens[0]) == [CARD]
    told = problem(await reveal(desk, *tokens), "approval-missing")
    assert told["approvals_needed"] == 2
    asked = await ask(desk, *tokens)
    assert asked.status_code == 201
    approval = asked.json()["id"]
    others = [await desk.new_key(caller=each) for each in ("judge", "jury")]
    problem(await approve(desk, approval, desk.key), "another-caller-needed")
    for _ in range(2):
        assert (await approve(desk, approval, others[0])).json()["approvals_count"] == 1
    problem(await approve(desk, approval, await desk.new_key(caller="tests")), "another-caller-needed")
    problem(await reveal(desk, *tokens, approval=approval), "approval-missing")
    assert (await approve(desk, approval, others[1])).json()["approvals_count"] == 2
    answers = await asyncio.gather(*(reveal(desk, *tokens, approval=approval) for _ in range(4)))
    assert sorted(each.status_code for each in answers) == [200, 403, 403, 403]
    spent = (await desk.get(f"/approvals/{approval}")).json()
    assert spent["spent_at"] is not None
    assert [len(spent[each]) for each in ("record_ids", "policy_ids")] == [2, 1]
    problem(await approve(desk, approval, await desk.new_key(caller="late")), "approval-closed")
    for kind, count in (("approval-asked", 1), ("reveal-approved", 2), ("revealed", 1)):
        assert len(await entries(desk, f"vault.{kind}", approval)) == count


@pytest.mark.parametrize(
    "changed",
    [
        {"view": "masked"},
        {"purpose": "payment"},
        {"reason": "Ticket 4712"},
        {"tokens": 1},
        {"tokens": -1},
    ],
)
async def test_a_changed_request_is_not_the_one_that_was_agreed_to(desk: Desk, changed: dict[str, Any]) -> None:
    policy = await limited(desk, approvals=1)
    tokens = [await desk.token(policy, each) for each in (CARD, OTHER_CARD, CARD)]
    approval = (await ask(desk, *tokens[:2])).json()["id"]
    await approve(desk, approval, await desk.new_key(caller="judge"))
    given = {"tokens": tokens[:2], **changed}
    if isinstance(given["tokens"], int):
        given["tokens"] = tokens[: 2 + given["tokens"]]
    problem(await reveal(desk, **given, approval=approval), "approval-missing")
    stranger = await desk.new_key(caller="judge")
    problem(await reveal(desk, *tokens[:2], approval=approval, key=stranger), "approval-missing")
    assert await seen(desk, *tokens[:2], approval=approval) == [CARD, OTHER_CARD]


async def test_an_approval_ends_after_a_day(desk: Desk) -> None:
    token = await desk.token(await limited(desk, approvals=1), CARD)
    approval, judge = (await ask(desk, token)).json()["id"], await desk.new_key(caller="judge")
    await approve(desk, approval, judge)
    await desk.alter(f"UPDATE vault.approvals SET expires_at = now() WHERE id = '{approval}'")
    problem(await reveal(desk, token, approval=approval), "approval-missing")
    problem(await approve(desk, approval, judge), "approval-closed")


async def test_a_refused_reveal_spends_no_approval(desk: Desk) -> None:
    policy = await limited(desk, approvals=1)
    token = await desk.token(policy, CARD)
    approval = (await ask(desk, token)).json()["id"]
    await approve(desk, approval, await desk.new_key(caller="judge"))
    rules = {"purposes": ["support"], "views": ["plain"], "approvals": 2}
    await desk.send("PATCH", f"/policies/{policy}", {"reveal": rules})
    problem(await reveal(desk, token, approval=approval), "approval-missing")
    await change_rules(desk, policy, {**rules, "approvals": 1})
    assert await seen(desk, token, approval=approval) == [CARD]


async def test_an_approval_is_asked_once_for_a_key_and_belongs_to_one_issuer(desk: Desk) -> None:
    token = await desk.token(await limited(desk, approvals=1), CARD)
    body = {"tokens": [token], "purpose": "support", "reason": "Ticket 4711", "view": "plain"}
    first, again = [(await desk.post("/approvals", body, idempotency_key="asked")).json() for _ in range(2)]
    assert first == again
    problem(
        await desk.post("/approvals", {**body, "view": "masked"}, idempotency_key="asked"), "idempotency-key-reused"
    )
    problem(await ask(desk, token, purpose="curiosity"), "reveal-refused")
    stranger = await desk.new_issuer("Fen Estates")
    problem(await desk.get(f"/approvals/{first['id']}", key=stranger), "approval-not-found")
    problem(await approve(desk, first["id"], stranger), "approval-not-found")
