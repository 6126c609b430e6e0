"""Delivery: what receivers are told, in which order, how often, and what becomes of what they do not take."""

import asyncio
import base64
import io
import json
from typing import Any

import pytest
from aiohttp import web
from psycopg import AsyncCursor
from pydantic import SecretStr

from service.webhooks import delivering, outcomes, planning, queries
from service.webhooks.delivering import open_deliverer
from service.webhooks.events import BODY_BYTES_MAX
from service.webhooks.retrying import SCHEDULE_S
from service.webhooks.sealing import Sealer
from service.webhooks.tables import State
from service.workers import Lease, LeaseLost
from tests.webhooks.office import Office, Tenant
from tests.webhooks.receiver import saying

pytestmark = pytest.mark.asyncio(loop_scope="module")


def operation(number: int, token: str = "t-1", **more: Any) -> dict[str, Any]:
    return {"operation": f"o-{number}", "token": token, "parameters": {"amount": str(number)}, **more}


async def deliveries(office: Office, tenant: Tenant, id_: str, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await office.read(tenant, f"/{id_}/deliveries?limit=500{query}"))["data"]
    return found


async def test_what_the_journal_has_comes_in_its_order_with_a_dense_sequence_for_each_subject(
    office: Office, tenant: Tenant
) -> None:
    await office.webhook(tenant)
    bodies = [operation(number, f"t-{number % 3}") for number in range(30)]
    await office.tell(tenant, "operation.succeeded", *bodies[:7])
    await office.deliver()
    await office.tell(tenant, "operation.failed", *bodies[7:])
    await office.deliver()
    told = [each.told for each in office.receiver.heard]
    assert sorted(each["number"] for each in told if each["type"].startswith("operation")) == list(range(2, 32))
    for token in ("t-0", "t-1", "t-2"):
        of_token = [each for each in told if each["subject"] == f"token:{token}"]
        assert [each["sequence"] for each in of_token] == list(range(1, 11))
        assert [each["data"]["operation"] for each in of_token] == [
            each["operation"] for each in bodies if each["token"] == token
        ]
    assert all(each["final"] for each in told)


async def test_a_webhook_hears_of_its_issuer_alone_and_of_the_types_it_wants(office: Office, tenant: Tenant) -> None:
    other = await office.issuer()
    await office.webhook(tenant, "/some", types=["operation.failed", "vault.*"])
    await office.webhook(other, "/other", types=["operation.*", "vault.*", "mirror.*"])
    for kind in ("operation.failed", "operation.succeeded", "vault.policy-created"):
        await office.tell(tenant, kind, operation(1))
    await office.tell(None, "mirror.reorganised", {"chain": 1})
    await office.deliver()
    assert [each.told["type"] for each in office.receiver.at("/some")] == ["operation.failed", "vault.policy-created"]
    assert office.receiver.at("/other") == []


async def test_a_webhook_begins_now_or_at_the_beginning(office: Office, tenant: Tenant) -> None:
    await office.tell(tenant, "operation.succeeded", operation(1))
    await office.webhook(tenant, "/now", types=["operation.*"])
    await office.webhook(tenant, "/beginning", types=["operation.*"], since="beginning")
    await office.tell(tenant, "operation.succeeded", operation(2))
    await office.deliver()
    for path, expected in (("/now", ["o-2"]), ("/beginning", ["o-1", "o-2"])):
        assert [each.told["data"]["operation"] for each in office.receiver.at(path)] == expected


async def test_of_what_is_sensitive_only_ids_leave(office: Office, tenant: Tenant) -> None:
    await office.webhook(tenant, types=["vault.*", "key.*"])
    secret = {"purpose": "canary", "reason": "canary", "accounts": ["canary"], "reference": "canary", "name": "canary"}
    await office.tell(tenant, "vault.accounts-revealed", {"person": "p-1", "caller": "c-1", **secret})
    await office.tell(tenant, "key.revoked", {"credential": "k-1", **secret})
    await office.deliver()
    assert [each.told["data"] for each in office.receiver.heard] == [
        {"person": "p-1", "caller": "c-1"},
        {"credential": "k-1"},
    ]
    assert all(b"canary" not in each.body for each in office.receiver.heard)


async def test_a_body_stays_below_20_kb_and_says_when_it_was_thinned(office: Office, tenant: Tenant) -> None:
    await office.webhook(tenant, types=["operation.*"])
    await office.tell(tenant, "operation.succeeded", operation(1, parameters={"shares": ["é" * 100] * 200}))
    await office.deliver()
    (heard,) = office.receiver.heard
    assert len(heard.body) <= BODY_BYTES_MAX
    assert heard.told["thin"]
    assert heard.told["data"] == {"operation": "o-1", "token": "t-1"}


async def test_what_is_not_taken_is_sent_again_as_the_same_message_until_it_is(office: Office, tenant: Tenant) -> None:
    made = await office.webhook(tenant, types=["operation.*"])
    office.receiver.behaviours["/hook"] = saying(500)
    await office.tell(tenant, "operation.succeeded", operation(1))
    await office.deliver()
    assert len(office.receiver.heard) == 1, "not at once"
    (waiting,) = await deliveries(office, tenant, made["id"])
    assert (waiting["state"], [each["status"] for each in waiting["tries"]]) == ("pending", [500])
    await office.later(SCHEDULE_S[1] * 1.2)
    await office.deliver()
    del office.receiver.behaviours["/hook"]
    await office.later(SCHEDULE_S[2] * 1.2)
    await office.deliver()
    assert len(office.receiver.heard) == 3
    assert len({(each.id, each.body) for each in office.receiver.heard}) == 1
    (done,) = await deliveries(office, tenant, made["id"])
    assert (done["state"], [each["status"] for each in done["tries"]]) == ("delivered", [500, 500, 204])
    told = await office.read(tenant, f"/{made['id']}")
    assert (told["failures"], told["failing_since"], told["pending"]) == (0, None, 0)


async def test_after_the_schedule_a_message_is_given_up_kept_and_can_be_replayed(
    office: Office, tenant: Tenant
) -> None:
    made = await office.webhook(tenant, types=["operation.*"])
    office.receiver.behaviours["/hook"] = saying(302, Location="/elsewhere")
    await office.tell(tenant, "operation.succeeded", operation(1))
    for wait_s in SCHEDULE_S:
        await office.later(wait_s * 1.2 + 1)
        await office.deliver()
    assert len(office.receiver.heard) == len(SCHEDULE_S) == 10
    await office.later(200_000)
    await office.deliver()
    assert len(office.receiver.heard) == 10
    (dead,) = await deliveries(office, tenant, made["id"], "&state=dead")
    assert (dead["due_at"], len(dead["tries"])) == (None, 10)
    del office.receiver.behaviours["/hook"]
    answer = await office.ask(tenant, "POST", f"/{made['id']}/replay", {"from": 1, "only": "dead"})
    assert answer.json() == {"replayed": 1, "next": None}
    await office.deliver()
    assert len({(each.id, each.body) for each in office.receiver.heard}) == 1
    assert [each["state"] for each in await deliveries(office, tenant, made["id"])] == ["delivered"]


async def test_the_last_sendings_are_kept_and_no_more(
    office: Office, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "TRIES_KEPT", 2)
    made = await office.webhook(tenant, types=["operation.*"])
    await office.tell(tenant, "operation.succeeded", operation(1))
    for status in (500, 501, 502, 503):
        office.receiver.behaviours["/hook"] = saying(status)
        await office.deliver()
        await office.later(100_000)
    (found,) = await deliveries(office, tenant, made["id"])
    assert [each["status"] for each in found["tries"]] == [502, 503]


async def test_no_log_line_has_a_secret_a_url_or_a_body(office: Office, tenant: Tenant, log: io.StringIO) -> None:
    made = await office.webhook(tenant, "/path-canary?token=query-canary", types=["operation.*"])
    await office.tell(tenant, "operation.succeeded", operation(1, parameters={"label": "body-canary"}))
    for behaviour in (saying(500), saying(410)):
        office.receiver.behaviours["/path-canary"] = behaviour
        await office.deliver()
        await office.later(100)
    told = log.getvalue()
    assert "webhook_disabled" in told
    assert "canary" not in told
    assert made["secret"] not in told


async def test_a_replay_from_a_number_sends_the_same_messages_again(office: Office, tenant: Tenant) -> None:
    made = await office.webhook(tenant, types=["operation.*"])
    await office.tell(tenant, "operation.succeeded", *(operation(number) for number in range(5)))
    await office.deliver()
    first = {each.id: each.body for each in office.receiver.heard}
    office.receiver.heard.clear()
    answer = await office.ask(tenant, "POST", f"/{made['id']}/replay", {"from": 3})
    assert answer.json() == {"replayed": 3, "next": None}
    await office.deliver()
    assert [each.told["number"] for each in office.receiver.heard] == [3, 4, 5]
    assert all(first[each.id] == each.body for each in office.receiver.heard)


async def test_a_receiver_that_asks_for_time_gets_it(office: Office, tenant: Tenant) -> None:
    await office.webhook(tenant, types=["operation.*"])
    office.receiver.behaviours["/hook"] = saying(429, Retry_After="3600")
    await office.tell(tenant, "operation.succeeded", operation(1))
    await office.deliver()
    await office.later(3_500)
    await office.deliver()
    assert len(office.receiver.heard) == 1
    await office.later(101)
    await office.deliver()
    assert len(office.receiver.heard) == 2


async def test_who_is_gone_is_left_alone_until_enabled_and_then_has_all(
    office: Office, tenant: Tenant, log: io.StringIO
) -> None:
    made = await office.webhook(tenant, types=["operation.*"])
    await office.webhook(tenant, "/notice", types=["webhook.disabled"])
    office.receiver.behaviours["/hook"] = saying(410)
    await office.tell(tenant, "operation.succeeded", operation(1))
    await office.deliver()
    await office.tell(tenant, "operation.succeeded", operation(2))
    await office.later(100_000)
    await office.deliver()
    assert len(office.receiver.at("/hook")) == 1
    told = await office.read(tenant, f"/{made['id']}")
    assert (told["enabled"], told["disabled_for"]) == (False, "gone")
    (notice,) = office.receiver.at("/notice")
    assert notice.told["data"] == {"webhook": made["id"], "host": "127.0.0.1", "disabled_for": "gone"}
    (line,) = [json.loads(each) for each in log.getvalue().splitlines() if "webhook_disabled" in each]
    assert (line["level"], line["reason"]) == ("error", "gone")
    del office.receiver.behaviours["/hook"]
    await office.ask(tenant, "PATCH", f"/{made['id']}", {"enabled": True})
    await office.deliver()
    heard = office.receiver.at("/hook")[1:]
    assert [each.told["sequence"] for each in heard] == [1, 2]


async def test_who_fails_for_five_days_is_disabled_and_one_success_begins_anew(office: Office, tenant: Tenant) -> None:
    made = await office.webhook(tenant, types=["operation.*"])
    for status, days, enabled in ((503, 4, True), (200, 1, True), (503, 5, True), (503, 1, False)):
        office.receiver.behaviours["/hook"] = saying(status)
        for _ in range(days * 3):
            await office.tell(tenant, "operation.succeeded", operation(1), operation(2))
            await office.deliver()
            await office.later(86_400 / 3)
        assert (await office.read(tenant, f"/{made['id']}"))["enabled"] is enabled
    facts = [each for each in await office.facts("webhook.disabled") if each["webhook"] == made["id"]]
    assert [each["disabled_for"] for each in facts] == ["failing"]


async def test_who_failed_long_ago_and_had_nothing_to_take_since_is_not_disabled_for_one_bad_minute(
    office: Office, tenant: Tenant
) -> None:
    made = await office.webhook(tenant, types=["operation.*"])
    office.receiver.behaviours["/hook"] = saying(503)
    for days in (60, 0):
        for _ in range(6):
            await office.tell(tenant, "operation.succeeded", operation(1), operation(2))
            await office.deliver()
            await office.later(delivering.PROBE_PAUSE_S)
        await office.later(days * 86_400)
    assert (await office.read(tenant, f"/{made['id']}"))["failures"] >= 12
    assert (await office.read(tenant, f"/{made['id']}"))["enabled"]


async def test_who_failed_a_few_times_over_days_is_not_disabled(office: Office, tenant: Tenant) -> None:
    made = await office.webhook(tenant, types=["operation.*"])
    office.receiver.behaviours["/hook"] = saying(503, Retry_After="86400")
    await office.tell(tenant, "operation.succeeded", operation(1))
    for _ in range(8):
        await office.deliver()
        await office.later(86_401)
    told = await office.read(tenant, f"/{made['id']}")
    assert (told["enabled"], told["failures"]) == (True, 8)


async def test_secrets_that_do_not_open_here_count_against_no_receiver_and_are_tried_again(
    office: Office, tenant: Tenant, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await office.webhook(tenant, types=["operation.*"])
    await office.tell(tenant, "operation.succeeded", operation(1))
    opener = office.deliverer._sealer
    monkeypatch.setattr(office.deliverer, "_sealer", Sealer(SecretStr(base64.b64encode(bytes(32)).decode())))
    for _ in range(3):
        await office.step()
    assert (len(office.receiver.heard), log.getvalue().count("webhook_secret_unreadable")) == (0, 1)
    assert await unreadable(office) == 1
    told = await office.read(tenant, f"/{made['id']}")
    assert (told["enabled"], told["failures"], told["pending"]) == (True, 0, 1)
    monkeypatch.setattr(office.deliverer, "_sealer", opener)
    await office.deliver()
    assert office.receiver.heard == [], "not at every step"
    await office.later(delivering.UNREADABLE_PAUSE_S)
    await office.deliver()
    assert [each["tries"][0]["status"] for each in await deliveries(office, tenant, made["id"])] == [204]
    assert await unreadable(office) == 0


async def unreadable(office: Office) -> int:
    async with office.db.read() as connection:
        return (await queries.totals(connection)).unreadable


async def test_a_slow_receiver_holds_up_no_other_and_one_message_holds_up_no_other(
    office: Office, tenant: Tenant
) -> None:
    release = asyncio.Event()

    async def slow(_: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.Response()

    async def picky(request: web.Request) -> web.StreamResponse:
        poison = (await request.json())["data"]["operation"] == "o-0"
        return web.Response(status=500 if poison else 200)

    office.receiver.behaviours |= {"/slow": slow, "/picky": picky}
    slow_one = await office.webhook(tenant, "/slow", types=["operation.*"])
    picky_one = await office.webhook(tenant, "/picky", types=["operation.*"])
    await office.tell(tenant, "operation.succeeded", *(operation(number, f"t-{number}") for number in range(10)))
    for _ in range(200):
        await office.deliverer.step(office.lease)
        done = await deliveries(office, tenant, picky_one["id"], "&state=delivered")
        if len(done) == 9:
            break
        await asyncio.sleep(0.01)
    assert len(done) == 9
    assert len(office.receiver.at("/slow")) == delivering.SENDING_MAX
    release.set()
    await office.deliver()
    assert {each["state"] for each in await deliveries(office, tenant, slow_one["id"])} == {"delivered"}


async def test_what_was_taken_but_not_stored_is_sent_again_as_the_same_message(office: Office, tenant: Tenant) -> None:
    made = await office.webhook(tenant, types=["operation.*"])
    await office.tell(tenant, "operation.succeeded", operation(1))
    await office.step()
    office.deliverer._outcomes.clear()  # what a process knew that was killed
    await office.deliver()
    assert len(office.receiver.heard) == 2
    assert len({(each.id, each.body) for each in office.receiver.heard}) == 1
    assert [each["state"] for each in await deliveries(office, tenant, made["id"])] == ["delivered"]


async def test_postgres_away_for_a_moment_makes_nothing_be_sent_again(
    office: Office, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    await office.webhook(tenant, types=["operation.*"])
    await office.tell(tenant, "operation.succeeded", operation(1))
    await office.step()

    async def away(*_: Any) -> None:
        raise ConnectionError

    with monkeypatch.context() as patched:
        patched.setattr(delivering, "record", away)
        with pytest.raises(ConnectionError):
            await office.step()
    await office.deliver()
    assert len(office.receiver.heard) == 1


@pytest.mark.parametrize("status", [204, 500, 410])
async def test_an_outcome_that_comes_late_changes_nothing_that_was_replayed(
    office: Office, tenant: Tenant, status: int
) -> None:
    made = await office.webhook(tenant, types=["operation.*"])
    office.receiver.behaviours["/hook"] = saying(status)
    await office.tell(tenant, "operation.succeeded", operation(1))
    await office.step()
    await office.ask(tenant, "POST", f"/{made['id']}/replay", {"from": 1})
    await outcomes.record(office.db, office.lease, list(office.deliverer._outcomes))
    office.deliverer._outcomes.clear()
    (found,) = await deliveries(office, tenant, made["id"])
    assert (found["state"], found["tries"]) == (State.PENDING, [])
    told = await office.read(tenant, f"/{made['id']}")
    assert (told["enabled"], told["failures"]) == (True, 0)


@pytest.mark.parametrize("kept", [204, 410])
async def test_what_a_dispatcher_kept_while_another_had_its_place_overwrites_nothing(
    office: Office, tenant: Tenant, kept: int
) -> None:
    made = await office.webhook(tenant, types=["operation.*"])
    office.receiver.behaviours["/hook"] = saying(kept)
    await office.tell(tenant, "operation.succeeded", operation(1))
    await office.step()
    other = Lease("webhooks", ttl_s=600)
    await other.seize(office.db)
    with pytest.raises(LeaseLost):
        await office.step()
    office.receiver.behaviours["/hook"] = saying(500)
    async with open_deliverer(office.settings, office.db) as second:
        for _ in range(2):
            await second.step(other)
            await second.rest()
    await office.lease.seize(office.db)
    await office.step()
    (found,) = await deliveries(office, tenant, made["id"])
    assert (found["state"], [each["status"] for each in found["tries"]]) == (State.PENDING, [500])
    told = await office.read(tenant, f"/{made['id']}")
    assert (told["enabled"], told["failures"]) == (True, 1)


async def test_numbers_and_sequences_are_dense_whoever_stores_at_once(office: Office, tenant: Tenant) -> None:
    made = await office.webhook(tenant)

    async def plan() -> None:
        await planning.plan(office.db, office.lease)

    async def ask(number: int) -> None:
        await office.tell(tenant, "operation.succeeded", operation(number))
        answer = await office.ask(tenant, "POST", f"/{made['id']}/test", {})
        assert answer.status_code == 201, answer.text

    await asyncio.gather(*(ask(number) for number in range(12)), *(plan() for _ in range(6)))
    await plan()
    found = (await deliveries(office, tenant, made["id"]))[::-1]
    assert [each["number"] for each in found] == list(range(1, 26))
    for subject, count in ((f"webhook:{made['id']}", 13), ("token:t-1", 12)):
        assert [each["sequence"] for each in found if each["subject"] == subject] == list(range(1, count + 1))
    assert len({each["id"] for each in found}) == 25


async def test_replays_changes_and_outcomes_at_once_wait_for_one_another_in_one_direction(
    office: Office, tenant: Tenant
) -> None:
    made = [(await office.webhook(tenant, f"/{number}", types=["operation.*"]))["id"] for number in range(3)]
    await office.tell(tenant, "operation.succeeded", *(operation(number) for number in range(30)))
    await office.step()

    async def disturb(id_: str) -> None:
        for enabled in (False, True):
            answers = [
                await office.ask(tenant, "POST", f"/{id_}/replay", {"from": 1}),
                await office.ask(tenant, "PATCH", f"/{id_}", {"enabled": enabled}),
            ]
            assert all(each.status_code in (200, 409) for each in answers)

    await asyncio.gather(*(disturb(id_) for id_ in made), *(office.deliverer.step(office.lease) for _ in range(1)))
    await office.deliver()
    for id_ in made:
        assert {each["state"] for each in await deliveries(office, tenant, id_)} == {"delivered"}


async def test_twenty_webhooks_cost_hardly_more_statements_than_one(
    office: Office, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts, execute, count = [], AsyncCursor.execute, 0

    async def counted(cursor: Any, *given: Any, **named: Any) -> Any:
        nonlocal count
        count += 1
        return await execute(cursor, *given, **named)

    for webhooks in (1, 19):
        for number in range(webhooks):
            await office.webhook(tenant, f"/{webhooks}/{number}", types=["operation.*"])
        await office.tell(tenant, "operation.succeeded", *(operation(number) for number in range(3)))
        with monkeypatch.context() as patched:
            patched.setattr(AsyncCursor, "execute", counted)
            await office.step()
            await office.step()
        counts.append(count)
        count = 0
    assert len(office.receiver.heard) == 3 + 20 * 3
    assert counts[1] < counts[0] + 10  # other tasks of the process ask something now and then
