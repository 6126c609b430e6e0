"""Critical requests: refused until a second factor approves just this one."""

import asyncio
import json
import re
from dataclasses import replace
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text

from service.access import step_approvals, step_factors
from service.access.step_messages import Asked
from tests.access.approving import APPROVER, FORCED, GRANT, NOWHERE, REVOKE_ALL, Desk, desk, desk_with_app, secret_of
from tests.access.desk import key_id, make, sql
from tests.access.test_sign_required import signing_like
from tests.web.answers import problem
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

# What is critical


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"/v1/tokens/{NOWHERE}/forced-transfer", FORCED),
        (f"/v1/tokens/{NOWHERE}/deeds/1/forced-transfer", {**FORCED, "amount": None}),
        (f"/v1/tokens/{NOWHERE}/deeds/1/retire", {"reason": "it burnt down"}),
        (f"/v1/tokens/{NOWHERE}/detach-compliance", {}),
        ("/v1/roles/grant", GRANT),
        ("/v1/roles/revoke", GRANT),
        ("/v1/keys", {"name": "audit", "caller": "auditors", "role": "auditor"}),
        (REVOKE_ALL, {"reason": "a laptop was stolen"}),
        ("/v1/second-factors", {"kind": "totp", "name": "another phone"}),
        (f"/v1/second-factors/{NOWHERE}/remove", {}),
    ],
)
async def test_what_is_critical_is_refused_until_it_is_approved(shared: World, path: str, body: Any) -> None:
    ours = await desk_with_app(shared)
    asked = await ours.asked(path, body, idempotency_key="k")
    assert asked["factors"] == [{"id": ours.factor, "kind": "totp", "name": "phone"}]
    shown = (await shared.get(f"/v1/approvals/{asked['approval_id']}", key=ours.key)).json()
    assert (shown["method"], shown["path"], json.loads(shown["body"])) == ("POST", path, body)
    assert shown["typed_data"] == asked["typed_data"]
    assert shown["given_at"] is None


async def test_an_issuer_without_a_second_factor_needs_none_in_a_test_deployment(shared: World) -> None:
    ours = await desk(shared)
    assert (await ours.post(REVOKE_ALL, {"reason": "x"})).status_code == 200


async def test_what_is_not_critical_needs_no_approval(shared: World) -> None:
    ours = await desk_with_app(shared)
    order: dict[str, Any] = {"name": "1 Quay", "category": "house"}
    assert (await ours.post("/v1/assets", order, idempotency_key="a")).status_code == 201
    order = {"name": "a reader", "scopes": ["keys:read"]}
    assert (await ours.post("/v1/keys", order, idempotency_key="k")).status_code == 201


async def test_who_lacks_the_scope_has_nothing_approved(shared: World) -> None:
    ours = await desk_with_app(shared)
    reader = await make(shared, "keys:read", key=ours.key)
    answer = await ours.post(REVOKE_ALL, {"reason": "x"}, key=reader["secret"])
    problem(answer, "scope-missing")


async def test_a_live_deployment_refuses_what_is_critical_until_there_is_a_second_factor(live: World) -> None:
    signing = await signing_like(live, (await desk(live)).key)

    async def send(path: str, body: bytes, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = signing.headers("POST", path, body, headers=named)
        return await live.client.post(path, headers=sent, content=body)

    body = b'{"reason": "x"}'
    assert "POST /v1/second-factors" in problem(await send(REVOKE_ALL, body), "second-factor-missing")["detail"]
    added = (await send("/v1/second-factors", b'{"kind": "totp", "name": "p"}', idempotency_key="first")).json()
    ours = Desk(live, "", added["id"], secret_of(added))
    problem(await send(REVOKE_ALL, body), "second-factor-missing")
    proof = json.dumps({"totp": ours.code()}).encode()
    assert (await send(f"/v1/second-factors/{ours.factor}/confirm", proof)).status_code == 200
    await ours.forget_code()
    approval = problem(await send(REVOKE_ALL, body), "step-up-required")["approval_id"]
    proof = json.dumps({"totp": ours.code(), "factor_id": ours.factor}).encode()
    assert (await send(f"/v1/approvals/{approval}", proof)).status_code == 200
    uncovered = signing.headers("POST", REVOKE_ALL, body) | {"muniment-approval": approval}
    problem(await live.client.post(REVOKE_ALL, headers=uncovered, content=body), "unauthorized")
    assert (await send(REVOKE_ALL, body, muniment_approval=approval)).status_code == 200


# Approved by a code


async def test_an_approved_request_goes_through_and_its_approval_once(shared: World) -> None:
    ours = await desk_with_app(shared)
    body = {"reason": "a laptop was stolen"}
    approval = await ours.approved(REVOKE_ALL, body)
    assert (await ours.post(REVOKE_ALL, body, approval=approval)).status_code == 200
    again = problem(await ours.post(REVOKE_ALL, body, approval=approval), "step-up-required")
    assert again["approval_id"] != approval


async def test_of_two_uses_at_once_one_goes_through(shared: World) -> None:
    ours = await desk_with_app(shared)
    approval = await ours.approved(REVOKE_ALL, {"reason": "x"})
    answers = await asyncio.gather(*(ours.post(REVOKE_ALL, {"reason": "x"}, approval=approval) for _ in range(5)))
    assert sorted(each.status_code for each in answers) == [200, 403, 403, 403, 403]


async def test_under_an_idempotency_key_the_same_effect_needs_no_second_approval(shared: World) -> None:
    ours = await desk_with_app(shared)
    order = {"kind": "account", "name": "treasury", "account": APPROVER.address}
    given = {"idempotency_key": "another"}
    approval = await ours.approved("/v1/second-factors", order, **given)
    first = await ours.post("/v1/second-factors", order, approval=approval, **given)
    assert first.status_code == 201
    for named in (approval, None):
        again = await ours.post("/v1/second-factors", order, approval=named, **given)
        assert again.json() == first.json()
    other = await ours.post("/v1/second-factors", {**order, "name": "x"}, **given)
    problem(other, "idempotency-key-reused")


async def test_a_spent_idempotency_key_opens_nothing_that_takes_none(shared: World) -> None:
    ours = await desk_with_app(shared)
    spent = {"idempotency_key": "spent"}
    assert (await ours.post("/v1/assets", {"name": "1 Quay", "category": "house"}, **spent)).status_code == 201
    await ours.asked(REVOKE_ALL, {"reason": "x"}, **spent)
    problem(await ours.post("/v1/roles/grant", GRANT, **spent), "idempotency-key-reused")


async def test_a_role_is_granted_once_it_is_approved_and_once_in_all(shared: World) -> None:
    ours = await Desk(shared, shared.key).with_app()
    try:
        given = {"idempotency_key": "grant"}
        approval = await ours.approved("/v1/roles/grant", GRANT, **given)
        sent = [ours.post("/v1/roles/grant", GRANT, approval=approval, **given) for _ in range(3)]
        answers = await asyncio.gather(*sent)
        answers.append(await ours.post("/v1/roles/grant", GRANT, **given))
        assert [each.status_code for each in answers] == [202] * 4
        assert len({each.json()["id"] for each in answers}) == 1
    finally:
        await sql(shared, "UPDATE second_factors SET removed_at = now() WHERE id = :id", id=ours.factor)


async def test_any_difference_makes_another_request() -> None:
    caller_id = UUID(NOWHERE)
    asked = Asked("POST", REVOKE_ALL, b"{}", "k", "5 base units of token x")
    others = [
        replace(asked, **changed)
        for changed in (
            {"method": "PUT"},
            {"path": f"{REVOKE_ALL}?a=1"},
            {"body": b"{ }"},
            {"idempotency_key": ""},
            {"moves": ""},
            {"idempotency_key": "", "moves": "k5 base units of token x"},
        )
    ]
    assert len({asked.print_(caller_id), asked.print_(UUID(int=1)), *(each.print_(caller_id) for each in others)}) == 8


async def test_an_approval_is_for_nothing_else(shared: World) -> None:
    ours = await desk_with_app(shared)
    approval = await ours.approved("/v1/roles/grant", GRANT, idempotency_key="k")
    other = (await make(shared, "issue", key=ours.key))["secret"]
    stranger = await desk_with_app(shared)
    await sql(
        shared, "UPDATE credentials SET caller_id = :c WHERE id = :id", c=await second_caller(ours), id=key_id(other)
    )
    for path, body, given in (
        ("/v1/roles/revoke", GRANT, {}),
        ("/v1/roles/grant", {**GRANT, "role": "agent"}, {}),
        ("/v1/roles/grant", GRANT, {"idempotency_key": "l"}),
        ("/v1/roles/grant", GRANT, {"key": other}),
        ("/v1/roles/grant", GRANT, {"key": stranger.key}),
        ("/v1/roles/grant", GRANT, {"approval": NOWHERE}),
        ("/v1/roles/grant", GRANT, {"approval": "x"}),
    ):
        sent = {"idempotency_key": "k", "approval": approval, **given}
        problem(await ours.post(path, body, **sent), "approval-mismatch")
    problem(await ours.post("/v1/roles/grant", GRANT, idempotency_key="k", approval=approval), "contract-missing")


async def second_caller(ours: Desk) -> Any:
    query = """INSERT INTO callers (id, issuer_id, name) SELECT gen_random_uuid(), c.issuer_id, 'second'
        FROM callers c JOIN credentials k ON k.caller_id = c.id WHERE k.id = :id RETURNING callers.id"""
    (row,) = await sql(ours.world, query, id=key_id(ours.key))
    return row.id


async def test_the_same_request_waits_for_one_approval(shared: World) -> None:
    ours = await desk_with_app(shared)
    first, again = [await ours.asked(REVOKE_ALL, {"reason": "x"}) for _ in range(2)]
    assert first == again


ASK = """INSERT INTO step_ups (id, issuer_id, caller_id, print, message, expires_at)
    SELECT gen_random_uuid(), f.issuer_id, c.id, sha256(n::text::bytea), '{}', now() + :left * interval '1 s'
    FROM second_factors f JOIN credentials k ON k.id = :key JOIN callers c ON c.id = k.caller_id,
        generate_series(1, :count) n WHERE f.id = :id"""


async def ask(ours: Desk, *, count: int, left_s: int) -> None:
    """Have so many other requests wait, or be over for so long."""
    await sql(ours.world, ASK, id=ours.factor, key=key_id(ours.key), count=count, left=left_s)


async def test_a_caller_has_a_hundred_requests_wait_at_most(shared: World) -> None:
    ours = await desk_with_app(shared)
    waiting = await ours.asked(REVOKE_ALL, {"reason": "x"})
    await ask(ours, count=99, left_s=200)
    await ask(ours, count=99, left_s=-1)
    before = await ours.told()
    refused = problem(await ours.post(REVOKE_ALL, {"reason": "y"}), "too-many-approvals")
    assert 150 < refused["retry_after_s"] <= 200
    assert await ours.told() == before
    (row,) = await sql(shared, "SELECT count(*) FROM step_ups WHERE caller_id = :id", id=await caller_of(ours))
    assert row[0] == 1 + 99 + 99
    assert await ours.asked(REVOKE_ALL, {"reason": "x"}) == waiting
    other = (await make(shared, "keys:admin", key=ours.key))["secret"]
    moved = "UPDATE credentials SET caller_id = :c WHERE id = :id"
    await sql(shared, moved, c=await second_caller(ours), id=key_id(other))
    await ours.asked(REVOKE_ALL, {"reason": "y"}, key=other)
    assert (await ours.give(waiting["approval_id"])).status_code == 200
    await ours.asked(REVOKE_ALL, {"reason": "y"})


async def caller_of(ours: Desk) -> Any:
    (row,) = await sql(ours.world, "SELECT caller_id FROM credentials WHERE id = :id", id=key_id(ours.key))
    return row.caller_id


async def test_what_was_over_a_day_ago_is_cleared_a_thousand_at_a_time_and_waited_for_never(shared: World) -> None:
    ours = await desk_with_app(shared)
    await ask(ours, count=1_500, left_s=-86_500)
    old = "FROM step_ups WHERE caller_id = :id AND expires_at < now() - interval '1 day'"
    caller = await caller_of(ours)
    async with shared.db.transaction() as session:
        held = await session.execute(text(f"SELECT id {old} ORDER BY expires_at LIMIT 10 FOR UPDATE"), {"id": caller})
        assert len(held.all()) == 10
        for number, left in ((1, 500), (2, 10)):
            await ours.asked(REVOKE_ALL, {"reason": str(number)})
            assert (await sql(shared, f"SELECT count(*) {old}", id=caller))[0][0] == left


@pytest.mark.parametrize(
    ("statement", "condition"),
    [
        (step_approvals.SAME, "((issuer_id = $) AND (print = $))"),
        (step_approvals.ASKED, "((issuer_id = $) AND (expires_at > "),
        (step_approvals.CLEAR, "((issuer_id = $) AND (expires_at < "),
        (step_factors.WITHDRAW, "((issuer_id = $) AND (expires_at > "),
    ],
)
async def test_one_issuers_requests_are_found_by_an_index_of_its_own(
    shared: World, statement: str, condition: str
) -> None:
    given = {**dict.fromkeys(("issuer", "id", "caller"), NOWHERE), "print": b"", "per_key": True}
    async with shared.db.transaction() as session:
        await session.execute(text("SET LOCAL enable_seqscan = off"))
        await session.execute(text("SET LOCAL enable_bitmapscan = off"))
        explain = text(f"EXPLAIN (COSTS OFF) {statement}")
        plan = "\n".join(
            row[0] for row in await session.execute(explain, {**given, **dict.fromkeys(("left", "kept", "count"), 60)})
        )
    bare = re.sub(r"(s|step_ups)\.|::\w+", "", re.sub(r"'[^']*'(::\w+)?|\$\d+(::\w+)?", "$", plan))
    assert f"Index Cond: {condition}" in bare, plan


async def test_an_approval_that_is_over_can_be_neither_given_nor_used(shared: World) -> None:
    ours = await desk_with_app(shared)
    over = "UPDATE step_ups SET expires_at = now() WHERE id = :id"
    asked = (await ours.asked(REVOKE_ALL, {"reason": "x"}))["approval_id"]
    await sql(shared, over, id=asked)
    problem(await ours.give(asked), "step-up-not-found")
    given = await ours.approved(REVOKE_ALL, {"reason": "x"})
    await sql(shared, over, id=given)
    anew = problem(await ours.post(REVOKE_ALL, {"reason": "x"}, approval=given), "step-up-required")
    assert anew["approval_id"] not in (asked, given)


async def test_another_issuers_approval_is_not_there(shared: World) -> None:
    ours, theirs = await desk_with_app(shared), await desk_with_app(shared)
    asked = (await ours.asked(REVOKE_ALL, {"reason": "x"}))["approval_id"]
    problem(await theirs.give(asked), "step-up-not-found")
    problem(await shared.get(f"/v1/approvals/{asked}", key=theirs.key), "step-up-not-found")
    answer = await ours.give(asked, factor_id=theirs.factor, totp=theirs.code())
    problem(answer, "second-factor-not-found")
