"""Critical requests: refused until a second factor approves just this one."""

import asyncio
import base64
import json
import re
import secrets
import time
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import httpx
import psycopg
import pytest
from eth_account import Account
from sqlalchemy import text

from service import journal
from service.access import step_approvals, step_codes, step_factors
from service.access.step_messages import Asked
from service.client.signing import Message, profile
from service.web import idempotency
from tests.access.desk import make, sql
from tests.access.test_sign_required import signing_like
from tests.web.answers import problem
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

APPROVER = Account.from_key("0x" + "5a" * 32)
REVOKE_ALL = "/v1/keys/revoke-all"
GRANT = {"role": "enforcer", "account": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"}
NOWHERE = "0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01"
FORCED = {
    "from": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
    "to": "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
    "amount": "10",
    "reason": "Court order 12/2026",
    "document_hash": "0x" + "8f" * 32,
}


@dataclass(slots=True)
class Desk:
    """An issuer of its own, and what approves its critical requests."""

    world: World
    key: str
    factor: str = ""
    secret: bytes = b""

    async def post(
        self, path: str, body: Any = None, *, approval: str | None = None, key: str | None = None, **headers: str
    ) -> httpx.Response:
        """A request, as it is sent before and after it is approved: without `idempotency_key` it has none."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent["authorization"] = f"Bearer {key or self.key}"
        if approval is not None:
            sent["muniment-approval"] = approval
        return await self.world.client.post(path, headers=sent, json={} if body is None else body)

    async def add(self, order: dict[str, Any], **given: str) -> dict[str, Any]:
        """A second factor that waits to be confirmed."""
        answer = await self.post("/v1/second-factors", order, idempotency_key=secrets.token_hex(8), **given)
        assert answer.status_code == 201, answer.text
        added: dict[str, Any] = answer.json()
        return added

    async def with_app(self) -> "Desk":
        """The same with an authenticator app."""
        added = await self.add({"kind": "totp", "name": "phone"})
        self.factor, self.secret = added["id"], secret_of(added)
        answer = await self.post(f"/v1/second-factors/{self.factor}/confirm", {"totp": self.code()})
        assert answer.status_code == 200, answer.text
        await self.forget_code()
        return self

    def code(self, *, later: int = 0) -> str:
        """What the app shows now, or so many steps later."""
        return step_codes.code(self.secret, int(time.time()) // 30 + later)

    def wrong(self) -> str:
        """A code that the app does not show."""
        return f"{(int(self.code()) + 500_000) % 1_000_000:06}"

    async def forget_code(self) -> None:
        """As if half a minute had passed since the last code."""
        await sql(self.world, "UPDATE second_factors SET last_step = 0 WHERE id = :id", id=self.factor)

    async def give(self, approval: str, **order: Any) -> httpx.Response:
        """Approve, by the app unless told."""
        return await self.post(
            f"/v1/approvals/{approval}", {"factor_id": self.factor, **(order or {"totp": self.code()})}
        )

    async def asked(self, path: str, body: Any = None, **headers: str) -> dict[str, Any]:
        """What a critical request is answered that nobody has approved."""
        asked: dict[str, Any] = problem(await self.post(path, body, **headers), "step-up-required")
        return asked

    async def approved(self, path: str, body: Any = None, **headers: str) -> str:
        """The approval of a critical request."""
        approval = str((await self.asked(path, body, **headers))["approval_id"])
        answer = await self.give(approval)
        assert answer.status_code == 200, answer.text
        await self.forget_code()
        return approval

    async def told(self) -> list[dict[str, Any]]:
        """What the journal says of it all, in its order."""
        query = """SELECT e.body FROM journal_entries e JOIN second_factors f USING (issuer_id)
            WHERE f.id = :id AND e.kind ~ '^(step-up|second-factor)' ORDER BY e.position"""
        return [json.loads(row.body) for row in await sql(self.world, query, id=self.factor)]


def secret_of(added: dict[str, Any]) -> bytes:
    (text,) = parse_qs(urlsplit(added["otpauth_uri"]).query)["secret"]
    return base64.b32decode(text + "=" * (-len(text) % 8))


async def desk(world: World) -> Desk:
    return Desk(world, await world.new_issuer(f"issuer {secrets.token_hex(4)}"))


async def desk_with_app(world: World) -> Desk:
    return await (await desk(world)).with_app()


def signed(typed_data: dict[str, Any]) -> str:
    made: str = APPROVER.sign_typed_data(full_message=typed_data).signature.hex()
    return "0x" + made.removeprefix("0x")


# What is critical


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"/v1/tokens/{NOWHERE}/forced-transfer", FORCED),
        (f"/v1/tokens/{NOWHERE}/deeds/1/forced-transfer", {**FORCED, "amount": None}),
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
        shared, "UPDATE credentials SET caller_id = :c WHERE id = :id", c=await second_caller(ours), id=id_of(other)
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


def id_of(key: str) -> str:
    return key.split("_")[2][:11]


async def second_caller(ours: Desk) -> Any:
    query = """INSERT INTO callers (id, issuer_id, name) SELECT gen_random_uuid(), c.issuer_id, 'second'
        FROM callers c JOIN credentials k ON k.caller_id = c.id WHERE k.id = :id RETURNING callers.id"""
    (row,) = await sql(ours.world, query, id=id_of(ours.key))
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
    await sql(ours.world, ASK, id=ours.factor, key=id_of(ours.key), count=count, left=left_s)


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
    await sql(shared, moved, c=await second_caller(ours), id=id_of(other))
    await ours.asked(REVOKE_ALL, {"reason": "y"}, key=other)
    assert (await ours.give(waiting["approval_id"])).status_code == 200
    await ours.asked(REVOKE_ALL, {"reason": "y"})


async def caller_of(ours: Desk) -> Any:
    (row,) = await sql(ours.world, "SELECT caller_id FROM credentials WHERE id = :id", id=id_of(ours.key))
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


# Codes


async def test_a_code_is_taken_once(shared: World) -> None:
    ours = await desk_with_app(shared)
    first = (await ours.asked(REVOKE_ALL, {"reason": "1"}))["approval_id"]
    second = (await ours.asked(REVOKE_ALL, {"reason": "2"}))["approval_id"]
    code = ours.code()
    assert (await ours.give(first, totp=code)).status_code == 200
    problem(await ours.give(second, totp=code), "second-factor-refused")
    problem(await ours.give(second, totp=ours.code(later=-1)), "second-factor-refused")


async def test_of_two_confirmations_at_once_by_one_code_one_counts(shared: World) -> None:
    ours = await desk_with_app(shared)
    asked = [(await ours.asked(REVOKE_ALL, {"reason": str(number)}))["approval_id"] for number in range(4)]
    answers = await asyncio.gather(*(ours.give(each, totp=ours.code()) for each in asked))
    assert sorted(each.status_code for each in answers) == [200, 403, 403, 403]


async def test_an_approval_given_by_many_at_once_is_given_once_and_none_is_kept_waiting(shared: World) -> None:
    ours = await desk_with_app(shared)
    for number in range(3):
        asked = (await ours.asked(REVOKE_ALL, {"reason": str(number)}))["approval_id"]
        code = ours.code()
        answers = await asyncio.gather(*(ours.give(asked, totp=code) for _ in range(3)))
        assert {each.status_code for each in answers} <= {200, 403}
        assert (await shared.get(f"/v1/approvals/{asked}", key=ours.key)).json()["given_by"] == ours.factor
        await ours.forget_code()
    assert [each["kind"] for each in await ours.told()].count("step-up.given") == 3


async def test_a_code_is_spent_when_and_only_when_its_approval_is_stored(
    shared: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = await desk_with_app(shared)
    asked, code = (await ours.asked(REVOKE_ALL, {"reason": "x"}))["approval_id"], ours.code()

    async def cut(*_given: object) -> None:
        raise psycopg.OperationalError("cut")

    with monkeypatch.context() as patched:
        patched.setattr(journal, "append", cut)
        problem(await ours.give(asked, totp=code), "database-unavailable")
    assert (await ours.give(asked, totp=code)).json()["given_by"] == ours.factor


async def test_an_approval_given_twice_is_given_once(shared: World) -> None:
    ours = await desk_with_app(shared)
    approval = await ours.approved(REVOKE_ALL, {"reason": "x"})
    assert (await ours.give(approval)).status_code == 200
    assert [each["kind"] for each in await ours.told()].count("step-up.given") == 1


async def wrong_codes(ours: Desk, count: int) -> None:
    """Wrong codes, each for an approval of its own."""
    for _ in range(count):
        asked = (await ours.asked(REVOKE_ALL, {"reason": secrets.token_hex(4)}))["approval_id"]
        problem(await ours.give(asked, totp=ours.wrong()), "second-factor-refused")


async def locked_s(ours: Desk) -> int:
    """For how long no code is looked at."""
    asked = (await ours.asked(REVOKE_ALL, {"reason": "x"}))["approval_id"]
    return int(problem(await ours.give(asked), "second-factor-locked")["retry_after_s"])


WAITED = "UPDATE second_factors SET locked_until = locked_until - make_interval(secs => :s) WHERE id = :id"


async def test_wrong_codes_lock_a_generator_for_longer_each_time_until_a_right_one(shared: World) -> None:
    ours = await desk_with_app(shared)
    for expected_s in (600, 1_200):
        await wrong_codes(ours, 5)
        assert expected_s - 5 < await locked_s(ours) <= expected_s
        await sql(shared, WAITED, id=ours.factor, s=expected_s)
    await sql(shared, "UPDATE second_factors SET locked_count = 12 WHERE id = :id", id=ours.factor)
    await wrong_codes(ours, 5)
    assert 86_395 < await locked_s(ours) <= 86_400
    await sql(shared, WAITED, id=ours.factor, s=86_400)
    await ours.approved(REVOKE_ALL, {"reason": "right"})
    await wrong_codes(ours, 5)
    assert await locked_s(ours) <= 600


async def test_a_code_that_is_mistyped_now_and_then_locks_nothing(shared: World) -> None:
    ours = await desk_with_app(shared)
    await wrong_codes(ours, 4)
    ago = "UPDATE second_factors SET failed_since = failed_since - interval '1 day' WHERE id = :id"
    await sql(shared, ago, id=ours.factor)
    await wrong_codes(ours, 4)
    await ours.approved(REVOKE_ALL, {"reason": "right"})
    await wrong_codes(ours, 4)
    await ours.approved(REVOKE_ALL, {"reason": "right again"})


async def test_three_wrong_codes_end_an_approval(shared: World) -> None:
    ours = await desk_with_app(shared)
    asked = (await ours.asked(REVOKE_ALL, {"reason": "x"}))["approval_id"]
    for _ in range(2):
        problem(await ours.give(asked, totp=ours.wrong()), "second-factor-refused")
    assert (await shared.get(f"/v1/approvals/{asked}", key=ours.key)).status_code == 200
    problem(await ours.give(asked, totp=ours.wrong()), "second-factor-refused")
    problem(await ours.give(asked), "step-up-not-found")
    anew = problem(await ours.post(REVOKE_ALL, {"reason": "x"}, approval=asked), "step-up-required")
    assert anew["approval_id"] != asked
    assert (await ours.give(anew["approval_id"])).status_code == 200


async def test_of_many_wrong_codes_at_once_three_are_looked_at(shared: World) -> None:
    ours = await desk_with_app(shared)
    asked = (await ours.asked(REVOKE_ALL, {"reason": "x"}))["approval_id"]
    answers = await asyncio.gather(*(ours.give(asked, totp=ours.wrong()) for _ in range(8)))
    assert sorted(each.status_code for each in answers) == [403] * 3 + [404] * 5
    problem(await ours.give(asked), "step-up-not-found")
    (row,) = await sql(shared, "SELECT failed_count FROM second_factors WHERE id = :id", id=ours.factor)
    assert row.failed_count == 3


# Approved by an account


async def test_an_account_approves_what_its_wallet_shows(shared: World) -> None:
    ours = await desk(shared)
    added = await ours.add({"kind": "account", "name": "treasury", "account": APPROVER.address})
    ours.factor = added["id"]
    confirm = f"/v1/second-factors/{ours.factor}/confirm"
    problem(await ours.post(confirm, {"signature": "0x" + "5a" * 65}), "second-factor-refused")
    assert (await ours.post(confirm, {"signature": signed(added["typed_data"])})).status_code == 200
    body = {"reason": "a laptop was stolen"}
    asked = await ours.asked(REVOKE_ALL, body)
    message = asked["typed_data"]["message"]
    assert json.loads(message["body"]) == body
    assert (message["method"], message["path"], message["approval"]) == ("POST", REVOKE_ALL, asked["approval_id"])
    other = {**asked["typed_data"], "message": {**message, "body": "{}"}}
    problem(await ours.give(asked["approval_id"], signature=signed(other)), "second-factor-refused")
    problem(await ours.give(asked["approval_id"], totp="123456"), "second-factor-refused")
    assert (await ours.give(asked["approval_id"], signature=signed(asked["typed_data"]))).status_code == 200
    assert (await ours.post(REVOKE_ALL, body, approval=asked["approval_id"])).status_code == 200


async def test_a_contract_is_asked_whether_it_signed(shared: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = await desk(shared)
    contract = "0x" + "11" * 20
    added = await ours.add({"kind": "account", "name": "council", "account": contract})
    heard: list[bytes] = []

    async def says(_self: object, account: bytes, digest: bytes, signature: bytes) -> bool:
        heard.append(account)
        return signature == b"yes"

    monkeypatch.setattr("service.access.wallets.Wallets._says", says)
    confirm = f"/v1/second-factors/{added['id']}/confirm"
    problem(await ours.post(confirm, {"signature": "0x" + b"no".hex()}), "second-factor-refused")
    assert (await ours.post(confirm, {"signature": "0x" + b"yes".hex()})).status_code == 200
    assert heard == [bytes.fromhex(contract[2:])] * 2


async def contract_desk(shared: World, monkeypatch: pytest.MonkeyPatch) -> tuple[Desk, dict[str, Any]]:
    """An issuer whose approver is a contract that says yes, and a request that waits."""

    async def says(*_given: object) -> bool:
        return True

    monkeypatch.setattr("service.access.wallets.Wallets._says", says)
    ours = await desk(shared)
    ours.factor = (await ours.add({"kind": "account", "name": "council", "account": CONTRACT}))["id"]
    assert (await ours.post(f"/v1/second-factors/{ours.factor}/confirm", {"signature": "0x00"})).status_code == 200
    return ours, await ours.asked(REVOKE_ALL, {"reason": "x"})


CONTRACT = "0x" + "12" * 20


async def test_a_factor_that_is_removed_while_it_approves_approves_nothing(
    shared: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, asked = await contract_desk(shared, monkeypatch)

    async def says(*_given: object) -> bool:
        await sql(shared, "UPDATE second_factors SET removed_at = now() WHERE id = :id", id=ours.factor)
        return True

    monkeypatch.setattr("service.access.wallets.Wallets._says", says)
    problem(await ours.give(asked["approval_id"], signature="0x00"), "second-factor-not-found")
    (row,) = await sql(shared, "SELECT given_at FROM step_ups WHERE id = :id", id=asked["approval_id"])
    assert row.given_at is None


async def test_while_a_contract_is_asked_no_db_transaction_is_open(
    shared: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, asked = await contract_desk(shared, monkeypatch)
    held: list[int] = []

    async def says(*_given: object) -> bool:
        query = """SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
            WHERE d.datname = current_database() AND l.pid <> pg_backend_pid()
            AND l.relation IN ('second_factors'::regclass, 'step_ups'::regclass, 'credentials'::regclass)"""
        held.append((await sql(shared, query))[0][0])
        return True

    monkeypatch.setattr("service.access.wallets.Wallets._says", says)
    assert (await ours.give(asked["approval_id"], signature="0x00")).status_code == 200
    assert held == [0]


# Second factors


async def test_a_factors_secret_is_shown_once_and_kept_sealed(shared: World) -> None:
    ours = await desk(shared)
    order = {"kind": "totp", "name": "phone"}
    first = await ours.post("/v1/second-factors", order, idempotency_key="once")
    again = await ours.post("/v1/second-factors", order, idempotency_key="once")
    assert first.headers["Cache-Control"] == "no-store"
    assert problem(again, "secret-already-shown")["key"] == first.json()["id"]
    secret = secret_of(first.json())
    for table in ("second_factors", "journal_entries", "requests"):
        told = "".join(row[0] for row in await sql(shared, f"SELECT t::text FROM {table} t"))
        assert secret.hex() not in told
        assert base64.b32encode(secret).decode() not in told
    assert base64.b32encode(secret).decode() not in (await shared.get("/v1/second-factors", key=ours.key)).text


async def test_a_factor_that_did_not_prove_itself_asks_nobody_for_anything(shared: World) -> None:
    ours = await desk(shared)
    added = await ours.add({"kind": "totp", "name": "phone"})
    assert (await ours.post(REVOKE_ALL, {"reason": "x"})).status_code == 200
    await sql(
        shared, "UPDATE second_factors SET created_at = now() - interval '61 minutes' WHERE id = :id", id=added["id"]
    )
    ours.secret = secret_of(added)
    answer = await ours.post(f"/v1/second-factors/{added['id']}/confirm", {"totp": ours.code()})
    problem(answer, "second-factor-not-found")


async def test_an_issuers_first_factor_ends_those_that_nobody_approved(shared: World) -> None:
    ours = await desk(shared)
    before = await ours.add({"kind": "account", "name": "somebody's", "account": APPROVER.address})
    await ours.with_app()
    listed = (await shared.get("/v1/second-factors", key=ours.key)).json()["data"]
    assert [each["id"] for each in listed] == [ours.factor]
    proof = {"signature": signed(before["typed_data"])}
    problem(await ours.post(f"/v1/second-factors/{before['id']}/confirm", proof), "second-factor-not-found")


async def test_a_factor_that_was_added_while_the_first_one_was_confirmed_never_counts(shared: World) -> None:
    ours = await desk(shared)
    beside = await ours.add({"kind": "account", "name": "somebody's", "account": APPROVER.address})
    await ours.with_app()
    await sql(shared, "UPDATE second_factors SET removed_at = NULL WHERE id = :id", id=beside["id"])
    proof = {"signature": signed(beside["typed_data"])}
    problem(await ours.post(f"/v1/second-factors/{beside['id']}/confirm", proof), "second-factor-not-found")


async def test_a_factor_that_was_let_in_before_the_first_one_was_confirmed_waits_for_its_approval(
    shared: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, looked = await desk(shared), idempotency.first_resource

    async def meanwhile(*given: Any) -> str | None:
        monkeypatch.undo()
        await ours.with_app()
        return await looked(*given)

    monkeypatch.setattr(idempotency, "first_resource", meanwhile)
    order, given = {"kind": "account", "name": "somebody's", "account": APPROVER.address}, {"idempotency_key": "late"}
    asked = await ours.asked("/v1/second-factors", order, **given)
    listed = (await shared.get("/v1/second-factors", key=ours.key)).json()["data"]
    assert [each["id"] for each in listed] == [ours.factor]
    assert (await ours.give(asked["approval_id"])).status_code == 200
    answer = await ours.post("/v1/second-factors", order, approval=asked["approval_id"], **given)
    assert answer.status_code == 201


async def test_a_factor_that_waits_cannot_approve(shared: World) -> None:
    ours = await desk_with_app(shared)
    order = {"kind": "account", "name": "treasury", "account": APPROVER.address}
    approval = await ours.approved("/v1/second-factors", order, idempotency_key="w")
    added = (await ours.post("/v1/second-factors", order, idempotency_key="w", approval=approval)).json()
    asked = await ours.asked(REVOKE_ALL, {"reason": "x"})
    answer = await ours.give(asked["approval_id"], factor_id=added["id"], signature=signed(asked["typed_data"]))
    problem(answer, "second-factor-not-found")


async def test_the_removal_of_a_factor_is_approved_and_then_it_confirms_nothing(shared: World) -> None:
    ours = await desk_with_app(shared)
    path = f"/v1/second-factors/{ours.factor}/remove"
    waiting = (await ours.asked(REVOKE_ALL, {"reason": "x"}))["approval_id"]
    approval = await ours.approved(path)
    assert (await ours.post(path, approval=approval)).json() == {"id": ours.factor, "removed": True}
    problem(await ours.give(waiting), "second-factor-not-found")
    problem(await ours.post(path), "second-factor-not-found")
    assert (await ours.post(REVOKE_ALL, {"reason": "x"})).status_code == 200


async def test_what_a_removed_factor_approved_waits_for_another(shared: World) -> None:
    ours = await desk_with_app(shared)
    order = {"kind": "account", "name": "treasury", "account": APPROVER.address}
    allowed = await ours.approved("/v1/second-factors", order, idempotency_key="t")
    added = (await ours.post("/v1/second-factors", order, idempotency_key="t", approval=allowed)).json()
    proof = {"signature": signed(added["typed_data"])}
    assert (await ours.post(f"/v1/second-factors/{added['id']}/confirm", proof)).status_code == 200
    approval = await ours.approved(REVOKE_ALL, {"reason": "x"})
    removal = await ours.approved(f"/v1/second-factors/{ours.factor}/remove")
    assert (await ours.post(f"/v1/second-factors/{ours.factor}/remove", approval=removal)).status_code == 200
    asked = problem(await ours.post(REVOKE_ALL, {"reason": "x"}, approval=approval), "step-up-required")
    assert (asked["approval_id"], [each["id"] for each in asked["factors"]]) == (approval, [added["id"]])


async def test_what_a_removed_factor_approved_and_is_over_stays_as_it_was(shared: World) -> None:
    ours = await desk_with_app(shared)
    approval = await ours.approved(REVOKE_ALL, {"reason": "x"})
    await sql(shared, "UPDATE step_ups SET expires_at = now() WHERE id = :id", id=approval)
    removal = await ours.approved(f"/v1/second-factors/{ours.factor}/remove")
    assert (await ours.post(f"/v1/second-factors/{ours.factor}/remove", approval=removal)).status_code == 200
    (row,) = await sql(shared, "SELECT given_by FROM step_ups WHERE id = :id", id=approval)
    assert str(row.given_by) == ours.factor


async def test_an_issuer_has_twenty_factors_at_most(shared: World) -> None:
    ours = await desk(shared)
    for number in range(20):
        await ours.add({"kind": "totp", "name": f"phone {number}"})
    answer = await ours.post("/v1/second-factors", {"kind": "totp", "name": "x"}, idempotency_key="many")
    problem(answer, "too-many-second-factors")


@pytest.mark.parametrize(
    "order",
    [
        {"kind": "totp", "name": "x", "account": APPROVER.address},
        {"kind": "account", "name": "x"},
        {"kind": "account", "name": "x", "account": "0x12"},
        {"kind": "sms", "name": "x"},
    ],
)
async def test_a_factor_that_is_none_is_refused(shared: World, order: dict[str, str]) -> None:
    ours = await desk(shared)
    problem(await ours.post("/v1/second-factors", order, idempotency_key="x"), "invalid-request")


@pytest.mark.parametrize("proof", [{}, {"totp": "12345"}, {"totp": "١٢٣٤٥٦"}, {"totp": "123456", "signature": "0x11"}])
async def test_a_proof_that_is_none_is_refused(shared: World, proof: dict[str, str]) -> None:
    ours = await desk(shared)
    problem(await ours.post(f"/v1/second-factors/{NOWHERE}/confirm", proof), "invalid-request")


async def test_a_factor_whose_secret_does_not_open_confirms_nothing(shared: World) -> None:
    ours = await desk_with_app(shared)
    asked = (await ours.asked(REVOKE_ALL, {"reason": "x"}))["approval_id"]
    await sql(shared, "UPDATE second_factors SET sealed_secret = sealed_secret || 'x' WHERE id = :id", id=ours.factor)
    problem(await ours.give(asked), "second-factor-refused")


async def test_our_client_signs_the_approval() -> None:
    headers = {"idempotency-key": "k", "muniment-approval": NOWHERE}
    assert profile(Message("POST", f"http://api{REVOKE_ALL}", headers, None))[-2:] == tuple(headers)


# The journal


async def test_each_step_is_a_fact_and_no_secret_is_among_them(shared: World) -> None:
    ours = await desk_with_app(shared)
    body, code = {"reason": "x"}, ours.code()
    approval = (await ours.asked(REVOKE_ALL, body))["approval_id"]
    wrong = ours.wrong()
    await ours.give(approval, totp=wrong)
    await ours.give(approval, totp=code)
    await ours.post(REVOKE_ALL, {"reason": "y"}, approval=approval)
    await ours.post(REVOKE_ALL, body, approval=approval)
    told = await ours.told()
    assert [each["kind"] for each in told] == [
        *("second-factor.added", "second-factor.confirmed", "step-up.asked", "step-up.refused"),
        *("step-up.given", "step-up.refused", "step-up.used"),
    ]
    assert [each["reason"] for each in told if each["kind"] == "step-up.refused"] == ["code", "mismatch"]
    assert {each["by"]["key"] for each in told} == {id_of(ours.key)}
    assert code not in (text := json.dumps(told))
    assert wrong not in text
