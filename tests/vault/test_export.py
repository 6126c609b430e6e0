"""An export: every live vault token of an exportable policy with its value, each page a reveal that is written down."""

from typing import Any

import httpx
import pytest

from service.access.apikeys import Scope
from tests.vault.desk import Desk
from tests.vault.reveals import PREFIX, entries, suspensions
from tests.web.answers import problem

pytestmark = pytest.mark.asyncio(loop_scope="module")

WHY = {"purpose": "migration", "reason": "We move to another vault"}
RULES = {"purposes": ["migration"], "views": ["plain"]}
UNKNOWN_ID = "0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01"


async def exportable(desk: Desk, **changed: Any) -> str:
    """A policy of email addresses whose vault tokens the vault can tell."""
    given = {"data_class": "email", "format": PREFIX, "mapping": "exportable", "reveal": RULES, **changed}
    return await desk.policy(**given)


async def filled(desk: Desk, policy: str, count: int, **item: Any) -> dict[str, str]:
    """New values by their vault tokens."""
    values = [f"{number}@example.org" for number in range(count)]
    made = await desk.tokenize(policy, *({"value": each, **item} for each in values))
    return {each["token"]: value for each, value in zip(made, values, strict=True)}


async def export(desk: Desk, policy: str, query: str = "", key: str | None = None, **changed: Any) -> httpx.Response:
    """Ask for a page."""
    return await desk.post(f"/export{query}", {"policy": policy, **WHY, **changed}, key=key)


async def exported(desk: Desk, policy: str, limit: int = 500) -> dict[str, str]:
    """All pages: values by vault token."""
    found: dict[str, str] = {}
    query = f"?limit={limit}"
    while True:
        answer = await export(desk, policy, query)
        assert answer.status_code == 200, answer.text
        assert answer.headers["cache-control"] == "no-store"
        page = answer.json()
        told = {each["token"]: each["value"] for each in page["data"]}
        assert len(told) <= limit
        assert not found.keys() & told.keys()
        found |= told
        if page["next_cursor"] is None:
            return found
        query = f"?limit={limit}&cursor={page['next_cursor']}"


async def test_a_cursor_goes_on_with_its_own_policy_alone(desk: Desk) -> None:
    policy, other = await exportable(desk), await exportable(desk)
    await filled(desk, policy, 2)
    await filled(desk, other, 2)
    cursor = (await export(desk, policy, "?limit=1")).json()["next_cursor"]
    problem(await export(desk, other, f"?cursor={cursor}"), "bad-cursor")
    assert (await export(desk, policy, f"?cursor={cursor}")).status_code == 200


async def test_every_live_vault_token_is_told_once_with_its_value(desk: Desk) -> None:
    policy, other = await exportable(desk, pointer=True), await exportable(desk)
    values = await filled(desk, policy, 5) | await filled(desk, policy, 4, subject="stays")
    ended = await filled(desk, policy, 3, subject="leaves") | await filled(desk, policy, 1, ttl_s=60)
    await filled(desk, other, 2)
    await desk.alter(f"UPDATE vault.records SET expires_at = now() WHERE policy_id = '{policy}' AND expires_at > now()")
    await desk.post("/subjects/erase", {"reference": "leaves"})
    revoked, pointed, *_ = values
    await desk.post("/revoke", {"tokens": [revoked]})
    del values[revoked]
    await desk.send("PUT", "/tokens", {"token": pointed, "value": "moved@example.org"})
    values[pointed] = "moved@example.org"
    assert await exported(desk, policy) == values
    for limit in (1, 3, 8):
        assert await exported(desk, policy, limit) == values
    assert not values.keys() & ended.keys()
    record = (await export(desk, policy, "?limit=1")).json()["data"][0]["record"]
    assert (record["policy_id"], record["state"]) == (policy, "active")


async def test_a_deterministic_policy_is_exported_alike(desk: Desk) -> None:
    policy = await exportable(desk, deterministic=True)
    assert await exported(desk, policy) == {}
    values = await filled(desk, policy, 3)
    assert await exported(desk, policy) == values


async def test_each_page_is_in_the_journal_before_it_leaves(desk: Desk) -> None:
    policy = await exportable(desk)
    values = await filled(desk, policy, 3)
    assert await exported(desk, policy, 2) == values
    told = await entries(desk, "vault.exported", policy)
    assert [len(each["values"][policy]) for each in told] == [2, 1]
    assert {(each["purpose"], each["reason"], each["view"]) for each in told} == {(*WHY.values(), "plain")}
    for text in (*values, *values.values()):
        assert text not in str(told)
    broken = "ALTER TABLE journal_entries ADD CONSTRAINT broken CHECK (kind <> 'vault.exported') NOT VALID"
    await desk.alter(broken)
    refused = await export(desk, policy)
    await desk.alter("ALTER TABLE journal_entries DROP CONSTRAINT broken")
    problem(refused, "reveal-unrecorded")


async def test_a_policy_whose_vault_tokens_are_stored_nowhere_is_not_exported(desk: Desk) -> None:
    policy = await exportable(desk, mapping="default")
    await filled(desk, policy, 1)
    problem(await export(desk, policy), "not-exportable")
    problem(await export(desk, await desk.policy(kind="vaultless")), "not-exportable")


async def test_an_export_is_held_to_the_rules_of_every_reveal(desk: Desk) -> None:
    for rules, slug in (
        ({"purposes": ["support"]}, "reveal-refused"),
        ({"views": ["masked"]}, "reveal-refused"),
        ({"callers": ["back office"]}, "reveal-refused"),
        ({"approvals": 1, "approvals_above": 400}, "approval-missing"),
    ):
        policy = await exportable(desk, reveal={**RULES, **rules})
        await filled(desk, policy, 2)
        problem(await export(desk, policy, "?limit=1"), slug)
        assert await entries(desk, "vault.exported", policy) == []
    for scope in (Scope.VAULT_TOKENIZE, Scope.VAULT_POLICY, Scope.VAULT_SEARCH):
        refused = await export(desk, policy, key=await desk.new_key(scope))
        assert problem(refused, "scope-missing")["scope"] == "vault:reveal"


async def test_an_export_is_taken_off_the_budget_value_by_value(desk: Desk) -> None:
    policy = await exportable(desk, reveal={**RULES, "daily_max": 3})
    await filled(desk, policy, 4)
    key = await desk.new_key(caller="exporter")
    first = (await export(desk, policy, "?limit=3", key=key)).json()
    assert len(first["data"]) == 3
    problem(await export(desk, policy, f"?cursor={first['next_cursor']}", key=key), "reveal-suspended")
    assert [each["reason"] for each in await suspensions(desk, key)] == ["values-daily"]


async def test_what_was_altered_is_told_in_its_place_alarmed_and_written_down(desk: Desk, log: Any) -> None:
    policy = await exportable(desk)
    values = await filled(desk, policy, 2)
    for column in ("sealed_token", "sealed"):
        before = await desk.rows(
            f"SELECT index, {column} FROM vault.records WHERE policy_id = %s ORDER BY index", policy
        )
        await desk.alter(
            f"""UPDATE vault.records r SET {column} = other.{column} FROM vault.records other
            WHERE r.policy_id = '{policy}' AND other.policy_id = r.policy_id AND other.index <> r.index"""
        )
        page = (await export(desk, policy)).json()["data"]
        assert [each["problem"]["type"] for each in page] == ["/problems/record-damaged"] * 2
        assert [each["value"] for each in page] == [None, None]
        assert {each["token"] for each in page} == ({None} if column == "sealed_token" else values.keys())
        assert {each["record"]["policy_id"] for each in page} == {policy}
        for index, sealed in before:
            await desk.rows(f"UPDATE vault.records SET {column} = %s WHERE index = %s RETURNING 1", sealed, index)
    assert len(await exported(desk, policy)) == 2
    damaged = await desk.rows("SELECT body FROM journal_entries WHERE kind = 'vault.record-damaged'")
    assert len(damaged) == 2
    assert log.getvalue().count("vault_record_damaged") == 2


@pytest.mark.parametrize("column", ["sealed_token", "sealed", "subject_id"])
async def test_what_comes_after_an_altered_record_is_exported_all_the_same(desk: Desk, column: str) -> None:
    policy = await exportable(desk)
    values = await filled(desk, policy, 2, subject=f"of {column}") | await filled(desk, policy, 2, subject="another")
    (first,) = (await export(desk, policy, "?limit=1")).json()["data"]
    others = f"policy_id = '{policy}' AND subject_id <> '{first['record']['subject_id']}'"
    changed = f"{column} = set_byte({column}, 20, get_byte({column}, 20) # 1)"
    if column == "subject_id":
        changed = f"subject_id = (SELECT subject_id FROM vault.records WHERE {others} LIMIT 1)"
    await desk.alter(f"UPDATE vault.records SET {changed} WHERE id = '{first['record']['id']}'")
    told, cursor = [], ""
    for _ in values:
        page = (await export(desk, policy, f"?limit=1{cursor}")).json()
        told += page["data"]
        cursor = f"&cursor={page['next_cursor']}"
    assert page["next_cursor"] is None
    assert [each["problem"] is None for each in told] == [False, True, True, True]
    assert (told[0]["record"]["id"], told[0]["value"]) == (first["record"]["id"], None)
    assert {each["token"]: each["value"] for each in told[1:]} == {
        each: value for each, value in values.items() if each != first["token"]
    }


async def test_an_export_that_cannot_be_is_refused(desk: Desk) -> None:
    policy = await exportable(desk)
    await filled(desk, policy, 1)
    theirs = await desk.new_issuer("Export Estates")
    problem(await export(desk, policy, key=theirs), "policy-not-found")
    problem(await export(desk, UNKNOWN_ID), "policy-not-found")
    problem(await export(desk, policy, "?cursor=nonsense"), "bad-cursor")
    problem(await export(desk, policy, "?limit=501"), "invalid-request")
    for wrong in ({"reason": ""}, {"reason": "Card 4111 1111 1111 1111"}, {"purpose": "No"}, {"view": "plain"}):
        problem(await export(desk, policy, **wrong), "invalid-request")
