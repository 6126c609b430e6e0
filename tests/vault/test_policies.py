"""Policies: what goes together, what is for good, and whose they are."""

import asyncio
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from service.access.apikeys import Scope
from service.vault.policies import PrefixFormat, stored_format
from tests.vault.desk import CARD, Desk
from tests.vault.reveals import change_rules
from tests.web.answers import problem

pytestmark = pytest.mark.asyncio(loop_scope="module")

ORDER = {"name": "cards", "kind": "vault", "data_class": "card", "format": {"kind": "card"}}
PREFIX = {"kind": "prefix"}
RULE = {"pattern": "[A-Z]{9}", "length_max": 9}


@pytest.mark.parametrize(
    ("reason", "changed"),
    [
        ("space-too-small", {"format": {"kind": "digits", "length": 5}}),
        ("format-of-another-class", {"data_class": "email"}),
        ("format-of-another-class", {"format": {"kind": "preserving"}}),
        ("format-of-another-class", {"kind": "vaultless", "data_class": "email"}),
        ("format-of-another-class", {"kind": "vaultless", "format": {"kind": "ff1"}}),
        ("format-of-another-kind", {"format": {"kind": "hash"}}),
        ("format-of-another-kind", {"kind": "one_way"}),
        ("format-of-another-kind", {"kind": "vaultless", "format": PREFIX}),
        ("nothing-stored", {"kind": "vaultless", "pointer": True}),
        ("nothing-stored", {"kind": "vaultless", "ttl_max_s": 60}),
        ("pointer", {"pointer": True}),
        ("pointer", {"pointer": True, "format": PREFIX}),
        ("pointer", {"data_class": "name", "pointer": True, "deterministic": True, "format": PREFIX}),
        ("rule", {"rule": RULE}),
        ("rule", {"data_class": "custom", "format": PREFIX}),
        ("pattern-malformed", {"data_class": "custom", "format": PREFIX, "rule": {"pattern": "(", "length_max": 9}}),
        ("pattern-malformed", {"data_class": "custom", "format": PREFIX, "rule": {"pattern": "a\0b", "length_max": 9}}),
        (
            "card-verification-code",
            {"data_class": "custom", "format": PREFIX, "rule": {"pattern": "[0-9]+", "length_max": 4}},
        ),
        ("view-not-offered", {"data_class": "email", "format": PREFIX, "reveal": {"views": ["last_four"]}}),
        ("nothing-to-reveal", {"kind": "one_way", "format": {"kind": "hash"}, "reveal": {"purposes": ["payment"]}}),
    ],
)
async def test_what_does_not_go_together_is_refused_with_a_reason(
    desk: Desk, reason: str, changed: dict[str, Any]
) -> None:
    assert problem(await desk.post("/policies", {**ORDER, **changed}), "policy-unfit")["reason"] == reason


async def test_a_policy_is_told_as_it_was_made_and_once_for_each_key(desk: Desk) -> None:
    order = {**ORDER, "name": "told", "deterministic": True, "ttl_max_s": 60}
    made = await desk.post("/policies", order, idempotency_key="told")
    assert made.status_code == 201
    assert (await desk.client.get(made.headers["Location"], headers=made.request.headers)).json() == made.json()
    assert order.items() <= {**made.json(), "format": {"kind": "card"}}.items()
    assert (await desk.post("/policies", order, idempotency_key="told")).json() == made.json()
    assert made.json()["id"] in [each["id"] for each in (await desk.get("/policies", limit=500)).json()["data"]]
    problem(await desk.post("/policies", {**order, "ttl_max_s": 61}, idempotency_key="told"), "idempotency-key-reused")
    problem(await desk.post("/policies", order), "policy-exists")


async def test_prefixes_tell_the_environment_of_the_deployment_and_no_other(desk: Desk) -> None:
    order = {"kind": "vault", "data_class": "email", "reveal": {"views": ["masked"]}}
    for name, format_ in (("untold", PREFIX), ("told", {**PREFIX, "environment": "test"})):
        made = await desk.post("/policies", {**order, "name": f"prefix {name}", "format": format_})
        assert made.json()["format"] == {"kind": "prefix", "environment": "test"}
        assert (await desk.token(made.json()["id"], "ada@example.org")).startswith("tok_test_")
    live = {**order, "name": "prefix live", "format": {**PREFIX, "environment": "live"}}
    told = problem(await desk.post("/policies", live), "policy-unfit")
    assert told["reason"] == "format-of-another-environment"
    assert "this is a test deployment" in told["detail"]
    assert stored_format(PrefixFormat(kind="prefix"), "live")["environment"] == "live"


async def test_the_list_of_policies_has_pages(desk: Desk) -> None:
    made = [await desk.policy() for _ in range(3)]
    first = (await desk.get("/policies", limit=2)).json()
    second = (await desk.get("/policies", limit=2, cursor=first["next_cursor"])).json()
    assert [each["id"] for each in [*first["data"], *second["data"]]][:3] == made[::-1]


async def test_reveal_rules_and_the_time_to_live_change_and_are_journalled(desk: Desk) -> None:
    policy = await desk.policy(ttl_max_s=60)
    rules = {"purposes": ["audit"], "views": ["masked"], "approvals": 2}
    changed = await change_rules(desk, policy, rules)
    assert changed.status_code == 200
    assert rules.items() <= changed.json()["reveal"].items()
    assert changed.json()["ttl_max_s"] == 60
    assert changed.json()["changed_at"] is not None
    assert (await desk.send("PATCH", f"/policies/{policy}", {"ttl_max_s": None})).json()["ttl_max_s"] is None
    kinds = await desk.rows("SELECT kind FROM journal_entries WHERE body LIKE %s ORDER BY position", f"%{policy}%")
    assert [kind for (kind,) in kinds] == ["vault.policy-created", "vault.policy-changed", "vault.policy-changed"]


@pytest.mark.parametrize(
    "looser",
    [
        {"approvals": 0},
        {"approvals_above": 2},
        {"daily_max": 6},
        {"daily_max": None},
        {"subjects_daily_max": None},
        {"callers": None},
        {"callers": ["back office", "tests"]},
        {"purposes": ["audit", "support"]},
        {"views": ["masked", "plain"]},
    ],
)
async def test_who_may_reveal_loosens_no_rule(desk: Desk, looser: dict[str, Any]) -> None:
    limits = {"daily_max": 5, "subjects_daily_max": 5, "callers": ["back office"], "approvals": 2, "approvals_above": 1}
    rules = {"purposes": ["audit"], "views": ["masked"], **limits}
    policy = await desk.policy(reveal=rules)
    await desk.new_key(Scope.VAULT_REVEAL, caller="both")
    one_of_two = await desk.new_key(Scope.VAULT_POLICY, caller="both")
    for key in (desk.key, one_of_two):
        answer = await desk.send("PATCH", f"/policies/{policy}", {"reveal": {**rules, **looser}}, key=key)
        problem(answer, "policy-needs-another")
    stricter = {**rules, "approvals": 3, "daily_max": 4}
    assert (await desk.send("PATCH", f"/policies/{policy}", {"reveal": stricter})).status_code == 200


async def test_a_change_is_judged_by_the_rules_that_another_one_left_a_moment_ago(desk: Desk) -> None:
    policy = await desk.policy(reveal={"purposes": ["audit", "support"], "views": ["plain", "masked"]})
    first, second = {"purposes": ["audit"], "views": ["plain", "masked"]}, {"purposes": ["audit", "support"]}
    url = desk.app.state.settings.database_url.get_secret_value()
    async with await psycopg.AsyncConnection.connect(url) as other:
        await other.execute("UPDATE vault.policies SET reveal = reveal || %s WHERE id = %s", (Jsonb(first), policy))
        change = {"reveal": {**second, "views": ["masked"]}}
        asked = asyncio.create_task(desk.send("PATCH", f"/policies/{policy}", change))
        waiting: list[Any] = []
        while not waiting:
            await asyncio.sleep(0.02)
            waiting = await desk.rows(
                """SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
                AND query LIKE '%%vault.policies%%'"""
            )
        await other.commit()
    problem(await asked, "policy-needs-another")
    told = (await desk.get(f"/policies/{policy}")).json()["reveal"]
    assert {name: told[name] for name in first} == first


async def test_what_was_chosen_for_good_is_no_field_of_a_change(desk: Desk) -> None:
    policy = await desk.policy()
    answer = await desk.send("PATCH", f"/policies/{policy}", {"deterministic": True})
    problem(answer, "invalid-request")
    answer = await desk.send("PATCH", f"/policies/{policy}", {"reveal": {"views": ["everything"]}})
    problem(answer, "invalid-request")
    vaultless = await desk.policy(kind="vaultless")
    problem(await desk.send("PATCH", f"/policies/{vaultless}", {"ttl_max_s": 1}), "policy-unfit")


async def test_the_role_of_the_api_can_change_nothing_that_is_for_good(desk: Desk) -> None:
    policy = await desk.policy()
    await desk.token(policy, CARD)
    for statement in (
        "UPDATE vault.policies SET deterministic = true",
        "UPDATE vault.records SET policy_id = policy_id",
        "UPDATE vault.keys SET wrapped = wrapped",
        "UPDATE vault.answers SET key = key",
        "UPDATE requests SET resource = resource",
        "DELETE FROM vault.records",
        "DELETE FROM vault.subjects",
        "DELETE FROM journal_entries",
    ):
        rows = await desk.vault.db.fetch("SELECT current_user", ())
        assert rows == [("muniment_api",)]
        with pytest.raises(Exception, match="permission denied"):
            await desk.vault.db.fetch(statement, ())


async def test_another_issuers_policy_is_not_there(desk: Desk) -> None:
    policy, other = await desk.policy(), await desk.new_issuer("Quay Estates")
    unknown = "0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01"
    for id_ in (policy, unknown):
        problem(await desk.get(f"/policies/{id_}", key=other), "policy-not-found")
        problem(await desk.send("PATCH", f"/policies/{id_}", {"ttl_max_s": 1}, key=other), "policy-not-found")
        body = {"policy": id_, "items": [{"value": CARD}]}
        problem(await desk.post("/tokenize", body, key=other), "policy-not-found")
        problem(await desk.post("/search", {"policy": id_, "value": CARD}, key=other), "policy-not-found")


@pytest.mark.parametrize(
    ("scope", "method", "path"),
    [
        (Scope.VAULT_POLICY, "POST", "/policies"),
        (Scope.VAULT_POLICY, "GET", "/policies"),
        (Scope.VAULT_POLICY, "POST", "/subjects/erase"),
        (Scope.VAULT_TOKENIZE, "POST", "/tokenize"),
        (Scope.VAULT_TOKENIZE, "PUT", "/tokens"),
        (Scope.VAULT_TOKENIZE, "POST", "/revoke"),
        (Scope.VAULT_SEARCH, "POST", "/lookup"),
        (Scope.VAULT_SEARCH, "POST", "/search"),
        (Scope.VAULT_SEARCH, "GET", "/records"),
    ],
)
async def test_each_route_asks_for_its_own_scope(desk: Desk, scope: Scope, method: str, path: str) -> None:
    key = await desk.new_key(*(each for each in Scope if each is not scope))
    assert problem(await desk.send(method, path, {}, key=key), "scope-missing")["scope"] == scope
