"""Large amounts: what a credential moves only with the approval of a second factor."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import psycopg
import pytest
import pytest_asyncio
from eth_account import Account
from eth_account.messages import encode_typed_data

from service.access.key_amounts import Moved
from service.addresses import checksum
from service.chain.reader import Chain
from service.keys import managed
from service.web import idempotency
from tests.access import desk
from tests.access.approving import Desk
from tests.access.test_sign_required import signing_like
from tests.web.answers import problem
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOLDER = Account.from_key("0x" + "5b" * 32)
MANY = {"amount_unapproved_max": "100"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def token_id(shared: World) -> str:
    """A token that may be minted."""
    return await shared.token()


@pytest_asyncio.fixture(loop_scope="module")
async def ours(shared: World) -> AsyncIterator[Desk]:
    """The world's issuer, while it has an authenticator app."""
    made = await Desk(shared, shared.key).with_app()
    yield made
    await desk.sql(shared, "UPDATE second_factors SET removed_at = now() WHERE id = :id", id=made.factor)


async def held_to(world: World, **limits: Any) -> str:
    """A key that is held to limits."""
    return str((await desk.make(world, limits=limits))["secret"])


def moves(token_id: str, amount: int) -> str:
    """How an approval tells it."""
    return f"{amount} base units of token {token_id}"


async def passes(ours: Desk, path: str, body: Any, told: str, **given: str) -> httpx.Response:
    """Have a request refused, approved and let through."""
    asked = await ours.asked(path, body, **given)
    assert asked["typed_data"]["message"]["moves"] == told
    shown = (await ours.world.get(f"/v1/approvals/{asked['approval_id']}")).json()
    assert shown["moves"] == told
    assert (await ours.give(asked["approval_id"])).status_code == 200
    await ours.forget_code()
    answer = await ours.post(path, body, approval=asked["approval_id"], **given)
    assert answer.status_code == 202, answer.text
    return answer


async def test_a_mint_above_the_amount_passes_once_it_is_approved_and_once_in_all(ours: Desk, token_id: str) -> None:
    key, path = await held_to(ours.world, **MANY), f"/v1/tokens/{token_id}/mint"
    to = await ours.world.account()
    assert (await ours.post(path, {"to": to, "amount": "100"}, key=key, idempotency_key="at")).status_code == 202
    body = {"to": to, "amount": "101"}
    first = await passes(ours, path, body, moves(token_id, 101), key=key, idempotency_key="above")
    again = await ours.post(path, body, key=key, idempotency_key="above")
    assert again.json() == first.json()
    answer = await ours.post(path, {"to": to, "amount": "102"}, key=key, idempotency_key="above")
    problem(answer, "idempotency-key-reused")
    asked = [each["moves"] for each in await ours.told() if each["kind"] == "step-up.asked"]
    assert moves(token_id, 101) in asked
    free = await held_to(ours.world)
    assert (await ours.post(path, body, key=free, idempotency_key="free")).status_code == 202


async def test_an_approval_is_of_one_amount_and_needed_before_anything_is_tried_on_the_chain(
    ours: Desk, token_id: str
) -> None:
    key, path = await held_to(ours.world, **MANY), f"/v1/tokens/{token_id}/transfer"
    body = {"from": await ours.world.account(), "to": HOLDER.address, "amount": "101"}
    given = {"key": key, "idempotency_key": "poor"}
    approval = await ours.approved(path, body, **given)
    answer = await ours.post(path, {**body, "amount": "1000"}, approval=approval, **given)
    problem(answer, "approval-mismatch")
    problem(await ours.post(path, body, approval=approval, **given), "insufficient-balance")
    assert not await desk.sql(ours.world, "SELECT FROM requests WHERE key = 'poor'")


async def test_a_batch_counts_as_its_sum_and_so_do_its_rows_when_they_are_sent_again(ours: Desk, token_id: str) -> None:
    world, path = ours.world, f"/v1/tokens/{token_id}"
    key, to = await held_to(world, **MANY), [await world.account() for _ in range(2)]
    rows = [{"to": each, "amount": amount} for each, amount in zip(to, ("60", "41"), strict=True)]
    told, given = moves(token_id, 101), {"key": key, "idempotency_key": "shares"}
    await passes(ours, f"{path}/batch-mint", {"shares": rows}, told, **given)
    sheet = b"to,amount\r\n" + b"".join(f"{row['to']},{row['amount']}\r\n".encode() for row in rows)
    headers = {"authorization": f"Bearer {key}", "content-type": "text/csv", "idempotency-key": "sheet"}
    answer = await world.client.post(f"{path}/batches/mint", headers=headers, content=sheet)
    assert problem(answer, "step-up-required")["typed_data"]["message"]["moves"] == told
    given["idempotency_key"] = "rows"
    batch = (await passes(ours, f"{path}/batches/mint", {"rows": rows}, told, **given)).json()
    await ours.post(f"/v1/batches/{batch['id']}/cancel", key=key, idempotency_key="stop")
    await world.finish()
    given["idempotency_key"] = "again"
    await passes(ours, f"/v1/batches/{batch['id']}/resume", {}, told, **given)


async def test_what_a_holder_signed_tells_its_approver_how_much_it_moves(ours: Desk, token_id: str) -> None:
    world, key = ours.world, await held_to(ours.world, **MANY)
    assert (await world.mint(token_id, HOLDER.address, 500)).status_code == 202
    await world.finish()
    body = {"from": HOLDER.address, "to": await world.account(), "amount": "101"}
    answer = await world.post(f"/v1/tokens/{token_id}/transfer/prepare", body, key=key)
    message = encode_typed_data(full_message=answer.json()["typed_data"])
    signed = {"signed": "0x" + HOLDER.sign_message(message).signature.hex().removeprefix("0x")}
    path = f"/v1/prepared/{answer.json()['id']}/submit"
    asked = await ours.asked(path, signed, key=key, idempotency_key="signed")
    shown = (await world.get(f"/v1/approvals/{asked['approval_id']}", key=key)).text
    kept = await desk.sql(
        world, "SELECT message::text AS message FROM step_ups WHERE id = :id", id=asked["approval_id"]
    )
    assert signed["signed"] not in shown + kept[0].message + json.dumps(asked)
    await passes(ours, path, signed, moves(token_id, 101), key=key, idempotency_key="signed")


async def test_what_is_scheduled_counts_when_it_is_scheduled(ours: Desk, token_id: str) -> None:
    key, given = await held_to(ours.world, **MANY), {"idempotency_key": "freeze"}
    slow = {"role": "compliance", "account": checksum(ours.world.signer), "delay_s": 3_600}
    await passes(ours, "/v1/roles/grant", slow, "", idempotency_key="slow")
    await ours.world.finish()
    body = {"account": HOLDER.address, "expected": "0", "amount": "101"}
    answer = await passes(ours, f"/v1/tokens/{token_id}/freeze", body, moves(token_id, 101), key=key, **given)
    assert answer.json()["kind"] == "token.freeze.schedule"


async def test_what_is_critical_anyhow_takes_one_approval(ours: Desk, token_id: str) -> None:
    key, path = await held_to(ours.world, **MANY), f"/v1/tokens/{token_id}/burn"
    holder = await ours.world.account()
    assert (await ours.world.mint(token_id, holder, 200)).status_code == 202
    await ours.world.finish()
    await passes(ours, path, {"from": holder, "amount": "200"}, "", key=key, idempotency_key="burn")


async def test_of_twenty_at_once_as_many_pass_without_approval_as_the_day_lets(ours: Desk, token_id: str) -> None:
    world, path = ours.world, f"/v1/tokens/{token_id}/mint"
    key, to = await held_to(world, amount_unapproved_per_day="70", amount_per_day="1000"), await world.account()
    caller = (await world.get("/v1/whoami", key=key)).json()["caller_id"]
    await desk.sql(world, "DELETE FROM amounts_taken")
    body = {"to": to, "amount": "10"}
    given = [{"key": key, "idempotency_key": f"at-once-{number}"} for number in range(20)]
    answers = await asyncio.gather(*(ours.post(path, body, **each) for each in given))
    assert sorted(answer.status_code for answer in answers) == [202] * 7 + [403] * 13
    late = next(number for number, answer in enumerate(answers) if answer.status_code == 403)
    problem(answers[late], "step-up-required")
    passed = next(number for number, answer in enumerate(answers) if answer.status_code == 202)
    assert (await ours.post(path, body, **given[passed])).json() == answers[passed].json()
    # What was approved counts for the day, and takes nothing of what passes without.
    await passes(ours, path, body, moves(token_id, 10), **given[late])
    query = "SELECT amount, unapproved FROM amounts_taken WHERE caller_id = :caller"
    assert [(int(row[0]), int(row[1])) for row in await desk.sql(world, query, caller=caller)] == [(80, 70)]
    # Another key of the same caller, and a batch, have no such day of their own.
    second = await held_to(world, amount_unapproved_per_day="75")
    batch = {"rows": [{"to": to, "amount": "3"}, {"to": to, "amount": "3"}]}
    batches = f"/v1/tokens/{token_id}/batches/mint"
    await ours.asked(batches, batch, key=second, idempotency_key="six")
    batch["rows"].pop()
    assert (await ours.post(batches, batch, key=second, idempotency_key="three")).status_code == 202


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was signed by a managed key or shown to the node, in its order."""
    told: list[str] = []

    def watch(owner: Any, name: str) -> None:
        plain = getattr(owner, name)

        async def watched(*given: Any) -> Any:
            told.append(name)
            return await plain(*given)

        monkeypatch.setattr(owner, name, watched)

    for owner, name in ((managed, "sign_digest"), (managed, "sign_digests"), (Chain, "call"), (Chain, "calls")):
        watch(owner, name)
    return told


def above(token_id: str, holder: str, amount: str) -> list[tuple[str, Any]]:
    """Requests of every road that move so much of a managed holder's."""
    order = {"from": holder, "to": HOLDER.address, "amount": amount}
    path = f"/v1/tokens/{token_id}"
    return [
        (f"{path}/transfer", order),
        (f"{path}/batches/transfer", {"rows": [order]}),
        (f"{path}/mint", {"to": holder, "amount": amount}),
        (f"{path}/batches/mint", {"rows": [{"to": holder, "amount": amount}]}),
    ]


async def test_a_spent_key_has_nothing_signed_or_tried_that_nobody_approved(
    ours: Desk, token_id: str, shown: list[str]
) -> None:
    key, holder = await held_to(ours.world, **MANY), await ours.world.account()
    asset = {"name": "Mill", "category": "house"}
    assert (await ours.post("/v1/assets", asset, key=key, idempotency_key="of-an-asset")).status_code == 201
    burn = f"/v1/tokens/{token_id}/burn", {"from": holder, "amount": "101"}
    for path, body in (*above(token_id, holder, "101"), burn):
        problem(await ours.post(path, body, key=key, idempotency_key="of-an-asset"), "idempotency-key-reused")
    assert shown == []


async def test_a_spent_key_has_nothing_signed_that_the_day_does_not_count(
    ours: Desk, token_id: str, shown: list[str]
) -> None:
    key, holder = await held_to(ours.world, amount_per_day="1000000"), await ours.world.account()
    asset = {"name": "Mill", "category": "house"}
    assert (await ours.post("/v1/assets", asset, key=key, idempotency_key="of-a-mill")).status_code == 201
    for path, body in above(token_id, holder, "1")[:2]:
        problem(await ours.post(path, body, key=key, idempotency_key="of-a-mill"), "idempotency-key-reused")
    assert shown == []


async def test_a_key_that_is_spent_a_moment_after_it_was_looked_for_opens_nothing_either(
    ours: Desk, token_id: str, shown: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    key, holder = await held_to(ours.world, **MANY), await ours.world.account()
    asset = {"name": "Mill", "category": "house"}
    assert (await ours.post("/v1/assets", asset, key=key, idempotency_key="of-a-quay")).status_code == 201
    plain, early = idempotency.first_resource, [True]

    async def first_resource(*given: Any) -> str | None:
        return None if early and early.pop() else await plain(*given)

    monkeypatch.setattr(idempotency, "first_resource", first_resource)
    for path, body in above(token_id, holder, "101")[1::2]:
        early[:] = [True]
        problem(await ours.post(path, body, key=key, idempotency_key="of-a-quay"), "idempotency-key-reused")
    assert shown == []


async def test_a_day_that_is_held_up_keeps_only_its_own_requests_waiting(ours: Desk, token_id: str) -> None:
    world, path = ours.world, f"/v1/tokens/{token_id}"
    key, to = await held_to(world, amount_per_day="1000000"), await world.account()
    other, asset = await world.new_issuer("Weir Estates"), {"name": "Mill", "category": "house"}
    first = await ours.post(f"{path}/mint", {"to": to, "amount": "1"}, key=key, idempotency_key="first-of-the-day")
    assert first.status_code == 202
    url = world.settings.database_url.get_secret_value()
    async with await psycopg.AsyncConnection.connect(url) as holder:
        await holder.execute("SELECT FROM amounts_taken FOR UPDATE")
        asked = [("mint", {"to": to, "amount": "1"}), ("batches/mint", {"rows": [{"to": to, "amount": "1"}]})]
        held_up = [
            asyncio.create_task(ours.post(f"{path}/{name}", body, key=key, idempotency_key=f"held-up-{name}-{number}"))
            for name, body in asked
            for number in range(6)
        ]
        await asyncio.sleep(0.5)
        async with asyncio.timeout(2):
            for each in (other, world.key):
                assert (await world.post("/v1/assets", asset, key=each)).status_code == 201
        assert not any(each.done() for each in held_up)
        await holder.rollback()
        assert {answer.status_code for answer in await asyncio.gather(*held_up)} == {202}


async def test_a_day_is_held_no_longer_than_it_takes_to_count(
    ours: Desk, token_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, after = Moved.take, []

    async def take(moved: Moved, session: Any) -> None:
        await plain(moved, session)
        execute = session.execute

        async def told(*given: Any, **more: Any) -> Any:
            after.append(str(given[0]))
            return await execute(*given, **more)

        session.execute = told

    monkeypatch.setattr(Moved, "take", take)
    key, to = await held_to(ours.world, amount_per_day="1000000"), await ours.world.account()
    path, row = f"/v1/tokens/{token_id}", {"to": to, "amount": "1"}
    batch = await ours.post(f"{path}/batches/mint", {"rows": [row]}, key=key, idempotency_key="counted-rows")
    assert batch.status_code == 202
    stopped = f"/v1/batches/{batch.json()['id']}"
    assert (await ours.post(f"{stopped}/cancel", key=key, idempotency_key="counted-stop")).status_code == 202
    await ours.world.finish()
    assert (await ours.post(f"{stopped}/resume", key=key, idempotency_key="counted-again")).status_code == 202
    assert (await ours.post(f"{path}/mint", row, key=key, idempotency_key="counted-one")).status_code == 202
    assert after == []


async def test_of_two_limits_the_one_that_no_approval_opens_comes_first(ours: Desk, token_id: str) -> None:
    path, body = f"/v1/tokens/{token_id}/mint", {"to": HOLDER.address, "amount": "300"}
    for limit in ("amount_max", "amount_per_day"):
        key = await held_to(ours.world, **MANY, **{limit: "299"})
        answer = await ours.post(path, body, key=key, idempotency_key=limit)
        assert problem(answer, "limit-exceeded")["limit"] == limit


async def test_zero_lets_nothing_move_without_an_approval(ours: Desk, token_id: str) -> None:
    path, body = f"/v1/tokens/{token_id}/mint", {"to": HOLDER.address, "amount": "1"}
    for limit in ("amount_unapproved_max", "amount_unapproved_per_day"):
        key = await held_to(ours.world, **{limit: "0"})
        await passes(ours, path, body, moves(token_id, 1), key=key, idempotency_key=limit)


async def test_no_key_is_made_changed_or_rotated_to_move_more_without_approval(shared: World) -> None:
    tight = {"amount_unapproved_max": "5", "amount_unapproved_per_day": "9"}
    made = await desk.make(shared, limits=tight)
    for change in ({"amount_unapproved_max": "6"}, {"amount_unapproved_per_day": None}):
        limits = {name: value for name, value in {**tight, **change}.items() if value is not None}
        body = {"name": "x", "scopes": ["read"], "limits": limits}
        answer = await shared.post("/v1/keys", body, key=made["secret"])
        assert problem(answer, "key-exceeds-grantor")["exceeds"] == ["limits"]
        answer = await desk.patch(shared, made["id"], {"limits": limits})
        assert problem(answer, "key-limits-widened")["exceeds"] == ["limits"]
    assert (await desk.patch(shared, made["id"], {"limits": {**tight, "amount_unapproved_max": "0"}})).is_success
    rotated = await desk.rotate(shared, made["id"])
    assert rotated["limits"] == {**made["limits"], "amount_unapproved_max": "0"}
    free = await desk.make(shared)
    assert (await desk.patch(shared, free["id"], {"limits": tight})).is_success


async def test_without_a_second_factor_a_live_deployment_refuses_it_and_one_for_tests_does_not(
    shared: World, token_id: str, request: pytest.FixtureRequest
) -> None:
    path, body = f"/v1/tokens/{token_id}/mint", b'{"to": "%s", "amount": "101"}' % HOLDER.address.encode()
    key = await held_to(shared, **MANY)
    answer = await shared.post(path, {"to": HOLDER.address, "amount": "101"}, key=key)
    assert answer.status_code == 202, answer.text
    live: World = request.getfixturevalue("live")
    signing = await signing_like(live, shared.key, limits=MANY)
    headers = signing.headers("POST", path, body, headers={"idempotency-key": "live"})
    problem(await live.client.post(path, headers=headers, content=body), "second-factor-missing")
    assert not await desk.sql(shared, "SELECT FROM requests WHERE key = 'live'")
