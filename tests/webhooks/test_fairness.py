"""No issuer holds up another: not by what it asks for, not by how many webhooks it has, not by how slow they are."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiohttp import web
from sqlalchemy import text

from service import journal
from service.db import ReadConnection
from service.transactions.sightings import Sighting
from service.transactions.tables import Status
from service.webhooks import commands, delivering, early, lanes, planning, queries, removing
from service.webhooks.events import MINED
from tests.webhooks.office import Office, Tenant
from tests.webhooks.receiver import Behaviour, saying

pytestmark = pytest.mark.asyncio(loop_scope="module")


def operation(number: int, token: str | None = None) -> dict[str, Any]:
    return {"operation": f"o-{number}", "token": token or f"t-{number}"}


def waiting_for(release: asyncio.Event) -> Behaviour:
    async def answer(_: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.Response()

    return answer


@asynccontextmanager
async def held(office: Office, made: dict[str, Any]) -> AsyncIterator[None]:
    """A webhook that somebody's long statement holds."""
    async with office.db.transaction() as session:
        await session.execute(text("SELECT 1 FROM webhooks WHERE id = :id FOR UPDATE"), {"id": made["id"]})
        yield


async def states(office: Office, tenant: Tenant, made: dict[str, Any]) -> list[tuple[str, int]]:
    """Of a webhook's messages, in order, and how often each was sent."""
    found = (await office.read(tenant, f"/{made['id']}/deliveries?limit=500"))["data"]
    return [(each["state"], len(each["tries"])) for each in found[::-1]]


async def test_whoever_holds_one_issuers_webhook_holds_up_no_other(office: Office, tenant: Tenant) -> None:
    other = await office.issuer()
    one = await office.webhook(tenant, "/one", types=["operation.*"])
    await office.webhook(other, "/other", types=["operation.*"])
    await office.tell(tenant, "operation.succeeded", operation(1))
    await office.step()
    async with held(office, one):
        await office.tell(tenant, "operation.succeeded", operation(2))
        await office.tell(other, "operation.succeeded", operation(3))
        await asyncio.wait_for(office.deliver(), timeout=30)
        assert [len(office.receiver.at(path)) for path in ("/one", "/other")] == [1, 1]
    await office.deliver()
    assert await states(office, tenant, one) == [("delivered", 1), ("delivered", 1)]


async def test_early_notices_of_an_issuer_whose_webhook_is_held_are_told_later(
    office: Office, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, operation_id = await office.issuer(), uuid4()
    made = await office.webhook(tenant, "/one", types=["unfinal.*"])
    await office.webhook(other, "/other", types=["unfinal.*"])
    mined = {
        id_: Sighting(id_, each.id, 1, Status.MINED, 7, b"a" * 32, b"t" * 32)
        for id_, each in ((uuid4(), tenant), (uuid4(), other))
    }

    async def seen(*_: Any) -> tuple[dict[UUID, Sighting], dict[UUID, UUID]]:
        return mined, dict.fromkeys(mined, operation_id)

    monkeypatch.setattr(early, "_seen", seen)
    monkeypatch.setattr(early, "LOOK_INTERVAL_S", 0.0)
    async with held(office, made):
        await asyncio.wait_for(office.deliver(), timeout=30)
        assert [each.path for each in office.receiver.heard] == ["/other"]
    await office.deliver()
    assert [(each.path, each.told["type"]) for each in office.receiver.heard] == [("/other", MINED), ("/one", MINED)]


async def test_a_message_of_types_that_change_while_a_step_plans_is_told(
    office: Office, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, entries_of = await office.webhook(tenant, types=["vault.*"]), journal.entries_of

    async def changed_meanwhile(*given: Any, **named: Any) -> Any:
        await office.ask(tenant, "PATCH", f"/{made['id']}", {"types": ["operation.*"]})
        return await entries_of(*given, **named)

    await office.tell(tenant, "operation.succeeded", operation(1))
    with monkeypatch.context() as patched:
        patched.setattr(journal, "entries_of", changed_meanwhile)
        await planning.plan(office.db, office.lease)
    await office.deliver()
    assert [each.told["type"] for each in office.receiver.heard] == ["operation.succeeded"]


async def test_a_step_plans_so_many_messages_however_many_webhooks_are_behind(
    office: Office, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(planning, "ENTRIES_MAX", 12)
    monkeypatch.setattr(planning, "_EACH_MIN", 1)
    for number in range(4):
        await office.webhook(tenant, f"/{number}", types=["operation.*"])
    await office.deliver()
    await office.tell(tenant, "operation.succeeded", *(operation(number) for number in range(10)))
    planned = [await planning.plan(office.db, office.lease) for _ in range(5)]
    assert planned == [12, 12, 12, 4, 0]
    await office.deliver()
    assert len(office.receiver.heard) == 40


async def test_quiet_issuers_cost_one_look_each_however_much_another_has_in_the_journal(
    office: Office, tenant: Tenant
) -> None:
    await office.tell(tenant, "operation.succeeded", *(operation(number) for number in range(5_000)))
    async with office.db.transaction() as session:
        await session.execute(text("ANALYZE journal_entries"))
    places = [(uuid4(), 0) for _ in range(50)]
    async with office.db.read() as connection:
        before = await rows_read(connection)
        assert await journal.entries_of(connection, places, count_max=20) == []
        assert await journal.behind(connection, places) == 0
        assert await rows_read(connection) == before
        found = await journal.entries_of(connection, [(tenant.id, 0), *places], count_max=20)
        assert [each.position for _, each in found] == sorted(each.position for _, each in found)
        assert len(found) == 20
        assert await journal.behind(connection, [(tenant.id, 0)]) >= 5_000


async def rows_read(connection: ReadConnection) -> int:
    """Rows of the journal that this connection has looked at."""
    cursor = await connection.execute(
        """SELECT coalesce(sum(seq_tup_read), 0) + coalesce(sum(idx_tup_fetch), 0) FROM pg_stat_xact_user_tables
        WHERE relname = 'journal_entries'"""
    )
    return int((await cursor.fetchall())[0][0])


async def test_a_replay_takes_so_many_messages_and_says_where_to_go_on(
    office: Office, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "REPLAYED_MAX", 2)
    made = await office.webhook(tenant, types=["operation.*"])
    await office.tell(tenant, "operation.succeeded", *(operation(number) for number in range(5)))
    await office.deliver()
    async with office.db.transaction() as session:
        await session.execute(text("UPDATE webhook_deliveries SET state = 'dead' WHERE number <> 4"))
    for only, answers in (("dead", [(2, 3), (2, None)]), ("all", [(2, 3), (2, 5), (1, None)])):
        following: int | None = 1
        for expected in answers:
            order = {"from": following, "only": only}
            answer = (await office.ask(tenant, "POST", f"/{made['id']}/replay", order)).json()
            following = answer["next"]
            assert (answer["replayed"], following) == expected
    office.receiver.heard.clear()
    await office.deliver()
    assert sorted(each.told["number"] for each in office.receiver.heard) == [1, 2, 3, 4, 5]


async def test_who_is_enabled_anew_is_sent_one_message_first_and_then_all_in_stretches(
    office: Office, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "STRETCH_ROWS", 2)
    made = await office.webhook(tenant, types=["operation.*"])
    office.receiver.behaviours["/hook"] = saying(410, Retry_After="3600")
    await office.tell(tenant, "operation.succeeded", *(operation(number) for number in range(5)))
    await office.deliver()
    for status, count in ((500, 1), (200, 5)):
        office.receiver.behaviours["/hook"] = saying(status)
        office.receiver.heard.clear()
        before = (await office.read(tenant, f"/{made['id']}"))["failures"]
        for enabled in (False, True):
            await office.ask(tenant, "PATCH", f"/{made['id']}", {"enabled": enabled})
        told = await office.read(tenant, f"/{made['id']}")
        assert (told["enabled"], told["failures"]) == (True, before)
        await office.later(delivering.PROBE_PAUSE_S)
        await office.step()
        assert len(office.receiver.heard) == 1
        await office.deliver()
        assert len({each.id for each in office.receiver.heard}) == count, "one that failed is left alone for a moment"


async def test_a_removed_webhook_is_gone_at_once_and_its_rows_in_stretches(
    office: Office, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removing, "STRETCH_ROWS", 2)
    monkeypatch.setattr(early, "LOOK_INTERVAL_S", 0.0)
    made = await office.webhook(tenant, types=["operation.*"])
    await office.tell(tenant, "operation.succeeded", *(operation(number) for number in range(5)))
    office.receiver.behaviours["/hook"] = saying(500)
    await office.step()
    assert (await office.ask(tenant, "DELETE", f"/{made['id']}")).status_code == 200
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("GET", "/deliveries")):
        assert (await office.ask(tenant, method, f"/{made['id']}{path}", {})).status_code == 404
    assert (await office.read(tenant, ""))["data"] == []
    async with office.db.read() as connection:
        totals = await queries.totals(connection)
    assert (totals.enabled, totals.disabled, totals.pending, totals.dead) == (0, 0, 0, 0)
    assert await left(office, made) == [5, 5, 0, 1]
    steps = []
    while (found := await left(office, made))[3]:
        await office.step()
        steps.append(found[0])
    assert steps[:4] == [5, 3, 1, 0]
    assert found == [0, 0, 0, 0]


async def left(office: Office, made: dict[str, Any]) -> list[int]:
    """How many rows a webhook has of each kind."""
    names = ("webhook_deliveries", "webhook_subjects", "webhook_secrets")
    async with office.db.transaction() as session:
        counts = [
            await session.scalar(text(f"SELECT count(*) FROM {name} WHERE webhook_id = :id"), {"id": made["id"]})
            for name in names
        ]
        own = await session.scalar(text("SELECT count(*) FROM webhooks WHERE id = :id"), {"id": made["id"]})
    return [int(each or 0) for each in (*counts, own)]


async def test_an_issuer_has_its_share_of_the_lanes_and_who_comes_late_is_next(
    office: Office, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "STEADY_LANES_MAX", 4)
    monkeypatch.setattr(lanes, "STEADY_LANES_EACH_MAX", 3)
    release, others = asyncio.Event(), [await office.issuer() for _ in range(2)]
    office.receiver.behaviours |= {f"/slow/{number}": waiting_for(release) for number in range(5)}
    for number in range(5):
        await office.webhook(tenant, f"/slow/{number}", types=["operation.*"])
    await office.tell(tenant, "operation.succeeded", operation(1))
    await office.deliverer.step(office.lease)
    for number, each in enumerate(others):
        await office.webhook(each, f"/late/{number}", types=["operation.*"])
        await office.tell(each, "operation.succeeded", operation(1))
        await office.deliverer.step(office.lease)
        while not office.receiver.at(f"/late/{number}"):
            await asyncio.sleep(0.01)
            await office.deliverer.step(office.lease)
    assert len({each.path for each in office.receiver.heard}) == 3 + 2
    release.set()
    await office.deliver()
    assert len({each.path for each in office.receiver.heard}) == 5 + 2


async def test_of_those_that_are_due_together_each_issuer_has_one_before_any_has_two(
    office: Office, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "STEADY_LANES_MAX", 2)
    other = await office.issuer()
    for each, paths in ((tenant, ("/1", "/2", "/3")), (other, ("/other",))):
        for path in paths:
            await office.webhook(each, path, types=["operation.*"])
        await office.tell(each, "operation.succeeded", operation(1))
    await office.step()
    assert sorted(len({each.path} & {"/other"}) for each in office.receiver.heard) == [0, 1]


async def test_receivers_that_fail_get_few_lanes_and_one_message_each(
    office: Office, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "SHAKY_LANES_MAX", 3)
    monkeypatch.setattr(lanes, "SHAKY_LANES_EACH_MAX", 2)
    other = await office.issuer()
    made = [await office.webhook(tenant, f"/{number}", types=["operation.*"]) for number in range(4)]
    await office.webhook(other, "/other", types=["operation.*"])
    async with office.db.transaction() as session:
        await session.execute(text("UPDATE webhooks SET failures = 5, failing_since = now()"))
    await office.webhook(tenant, "/well", types=["operation.*"])
    for each in (tenant, other):
        await office.tell(each, "operation.succeeded", *(operation(number) for number in range(3)))
    await office.step()
    assert len(office.receiver.at("/well")) == 3
    assert sorted(len(office.receiver.at(f"/{number}")) for number in range(4)) == [0, 0, 1, 1]
    assert len(office.receiver.at("/other")) == 1
    await office.deliver()
    for webhook in made:
        assert await states(office, tenant, webhook) == [("delivered", 1)] * 3


async def test_a_lane_ends_with_the_first_failure_and_the_next_has_one_message_after_a_pause(
    office: Office, tenant: Tenant
) -> None:
    made = await office.webhook(tenant, types=["operation.*"])
    office.receiver.behaviours["/hook"] = saying(500)
    await office.tell(tenant, "operation.succeeded", *(operation(number) for number in range(30)))
    counts = []
    for pause_s in (0.0, 0.0, 0.0, delivering.PROBE_PAUSE_S):
        await office.later(pause_s)
        await office.step()
        counts.append(len(office.receiver.heard))
    assert counts[0] == delivering.SENDING_MAX
    assert [after - before for before, after in itertools.pairwise(counts)] == [1, 0, 1]
    del office.receiver.behaviours["/hook"]
    await office.later(10)
    await office.deliver()
    assert {state for state, _ in await states(office, tenant, made)} == {"delivered"}


async def test_a_receiver_that_takes_its_time_keeps_a_lane_for_so_long_and_no_longer(
    office: Office, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivering, "LANE_S", 0.05)

    async def slow(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.06)
        return web.Response()

    office.receiver.behaviours["/hook"] = slow
    made = await office.webhook(tenant, types=["operation.*"])
    await office.tell(tenant, "operation.succeeded", *(operation(number, "t-1") for number in range(4)))
    await office.step()
    assert len(office.receiver.heard) == 1
    await office.deliver()
    assert [each.told["sequence"] for each in office.receiver.heard] == [1, 2, 3, 4]
    assert await states(office, tenant, made) == [("delivered", 1)] * 4
