"""What is left of each decision: counts, facts and metrics, never a secret; and what deserves an alarm gives one."""

import io
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import psycopg
import pytest

from service.access import key_queries, key_watch
from service.access.apikeys import make as new_key
from service.access.key_watch import KeyWatch, clear, tell
from service.access.rates import Quota
from service.db import Database
from service.workers import Lease, LeaseLost
from tests.access.desk import kinds, make, notices, rotate, sql, use
from tests.access.signing import Signing, new_signing, register
from tests.web.answers import problem
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

Scrape = dict[str, float]


async def written(world: World) -> None:
    """What the process counted, in the database."""
    await world.app.state.admission.traffic.write()


async def scrape(world: World) -> Scrape:
    """Every sample of a scrape, once all that was counted is written."""
    await written(world)
    lines = (await world.get("/metrics")).text.splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}


async def usage(world: World, id: str) -> dict[str, Any]:
    """What a credential was used and refused for, by operation and reason."""
    await written(world)
    told = (await world.get(f"/v1/keys/{id}/usage")).json()
    uses = {each["operation"]: (each["count"], each["failed_count"]) for each in told["data"]}
    return {"uses": uses, "refusals": {each["reason"]: each["count"] for each in told["refusals"]}}


@asynccontextmanager
async def elsewhere(world: World, address: str = "203.0.113.9") -> AsyncIterator[httpx.AsyncClient]:
    """A client at another address."""
    transport = httpx.ASGITransport(app=world.app, client=(address, 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        yield client


@asynccontextmanager
async def dispatcher(world: World) -> AsyncIterator[Database]:
    """The database with the dispatcher's rights."""
    db = Database(world.settings.database_url, role="muniment_dispatcher", connections_max=1)
    await db.open()
    yield db
    await db.close()


async def signing(world: World) -> Signing:
    """A credential to sign with."""
    made = new_signing()
    await register(world.db, world.settings, made, like_key=world.key.split("_")[2][:11])
    return made


# Decisions


async def test_what_is_let_in_is_counted_for_every_kind_and_role_and_so_is_what_then_fails(shared: World) -> None:
    signed = await signing(shared)
    for path in ("/v1/whoami", "/v1/keys/none"):
        await shared.client.get(path, headers=signed.headers("GET", path))
    assert await usage(shared, signed.key_id) == {"uses": {"who_am_i": (1, 0), "read_key": (1, 1)}, "refusals": {}}
    name = f"auditors {secrets.token_hex(4)}"
    auditor = await make(shared, "read", caller=name, role="auditor")
    problem(await shared.post("/v1/assets", {"name": "x", "category": "house"}, key=auditor["secret"]), "scope-missing")
    assert (await usage(shared, auditor["id"]))["uses"] == {"register_asset": (1, 1)}


async def test_what_fails_without_an_answer_is_counted_as_failed(
    shared: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await make(shared)

    async def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("a fault")

    with monkeypatch.context() as faulty:
        faulty.setattr(key_queries, "stragglers", fails)
        assert (await shared.get("/v1/keys/stragglers", key=made["secret"])).status_code == 500
    assert (await usage(shared, made["id"]))["uses"] == {"list_stragglers": (1, 1)}


async def suspended(world: World) -> tuple[str, dict[str, str]]:
    made = await make(world)
    await world.post(f"/v1/keys/{made['id']}/suspend", {"reason": "x"})
    return made["id"], bearer(made["secret"])


async def revoked(world: World) -> tuple[str, dict[str, str]]:
    made = await make(world)
    await world.post(f"/v1/keys/{made['id']}/revoke", {"reason": "x"})
    return made["id"], bearer(made["secret"])


async def expired(world: World) -> tuple[str, dict[str, str]]:
    made = await make(world)
    await sql(world, "UPDATE credentials SET expires_at = clock_timestamp() WHERE id = :id", id=made["id"])
    return made["id"], bearer(made["secret"])


async def of_another_environment(world: World) -> tuple[str, dict[str, str]]:
    made = await make(world)
    await sql(world, "UPDATE credentials SET environment = 'live' WHERE id = :id", id=made["id"])
    return made["id"], bearer(made["secret"])


async def of_another_network(world: World) -> tuple[str, dict[str, str]]:
    made = await make(world, limits={"networks": ["203.0.113.0/24"]})
    return made["id"], bearer(made["secret"])


async def with_another_secret(world: World) -> tuple[str, dict[str, str]]:
    made = await make(world)
    wrong = new_key("test")
    await sql(world, "UPDATE credentials SET id = :wrong WHERE id = :id", wrong=wrong.id, id=made["id"])
    return wrong.id, bearer(wrong.text)


async def unknown(world: World) -> tuple[str, dict[str, str]]:
    del world
    return "", bearer(new_key("test").text)


async def malformed(world: World) -> tuple[str, dict[str, str]]:
    del world
    return "", bearer("munsk_test_nonsense")


async def missing(world: World) -> tuple[str, dict[str, str]]:
    del world
    return "", {}


async def tampered(world: World) -> tuple[str, dict[str, str]]:
    signed = await signing(world)
    headers = signed.headers("GET", "/v1/whoami")
    return signed.key_id, {**headers, "signature": signed.headers("GET", "/v1/time")["signature"]}


async def stale(world: World) -> tuple[str, dict[str, str]]:
    signed = await signing(world)
    return signed.key_id, signed.headers("GET", "/v1/whoami", at=int(time.time()) - 600)


async def replayed(world: World) -> tuple[str, dict[str, str]]:
    signed = await signing(world)
    headers = signed.headers("GET", "/v1/whoami")
    assert (await world.client.get("/v1/whoami", headers=headers)).status_code == 200
    return signed.key_id, headers


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


Refused = Callable[[World], Awaitable[tuple[str, dict[str, str]]]]

REFUSALS: dict[str, Refused] = {
    "suspended": suspended,
    "revoked": revoked,
    "expired": expired,
    "environment": of_another_environment,
    "network": of_another_network,
    "secret-wrong": with_another_secret,
    "unknown": unknown,
    "malformed": malformed,
    "missing": missing,
    "signature": tampered,
    "signature-stale": stale,
    "nonce-replayed": replayed,
}


@pytest.mark.parametrize("reason", REFUSALS)
async def test_what_is_refused_is_counted_with_its_reason_and_told(
    shared: World, log: io.StringIO, reason: str
) -> None:
    key_id, headers = await REFUSALS[reason](shared)
    await written(shared)
    sample = f'muniment_access_refusals_total{{reason="{reason}"}}'
    before = (await scrape(shared)).get(sample, 0)
    assert (await shared.client.get("/v1/whoami", headers=headers)).status_code == 401
    assert (await scrape(shared))[sample] == before + 1
    if key_id:
        assert (await usage(shared, key_id))["refusals"] == {reason: 1}
        ((kind, told),) = [(each["kind"], each) for each in await notices(shared, key_id)]
        assert kind == ("key.used-after-expiry" if reason == "expired" else "key.refused")
        assert (told["reason"], told["count"], told["network"]) == (reason, 1, "127.0.0.0/24")
        (row,) = (await shared.get(f"/v1/keys/{key_id}/usage")).json()["refusals"]
        assert row["network"] == "127.0.0.0/24"
    for secret in (headers.get("Authorization", "munsk_none")[-49:], headers.get("signature", "sig1=:none")[6:40]):
        assert secret not in log.getvalue()
        assert await sql(shared, "SELECT 1 FROM journal_entries WHERE strpos(body, :s) > 0", s=secret) == []


async def test_an_address_that_is_not_looked_at_is_counted(shared: World) -> None:
    before = shared.app.state.quotas
    shared.app.state.quotas = replace(before, address=Quota("address", 1))
    async with elsewhere(shared) as client:
        for status in (401, 429):
            assert (await client.get("/v1/whoami")).status_code == status
    shared.app.state.quotas = before
    assert (await scrape(shared))['muniment_access_refusals_total{reason="address-failures"}'] == 1


async def test_a_key_in_a_url_is_counted(shared: World) -> None:
    sample, key = 'muniment_access_refusals_total{reason="key-in-url"}', new_key("test").text
    before = (await scrape(shared)).get(sample, 0)
    problem(await shared.client.get(f"/v1/whoami?key={key}"), "key-in-url")
    assert (await scrape(shared))[sample] == before + 1


# Alerts


async def test_a_replay_storm_gives_an_alarm(shared: World, log: io.StringIO) -> None:
    before = await scrape(shared)
    signed = await signing(shared)
    headers = signed.headers("GET", "/v1/whoami")
    for _ in range(4):
        await shared.client.get("/v1/whoami", headers=headers)
    now = await scrape(shared)
    assert now["muniment_nonce_replays_total{}"] == before["muniment_nonce_replays_total{}"] + 3
    assert now["muniment_nonce_replays_alarming_keys{}"] == before["muniment_nonce_replays_alarming_keys{}"] + 1
    assert [each["detail"] for each in lines(log, "nonces_replayed")] == [signed.key_id]


async def test_a_straggler_gives_an_alarm_until_it_is_gone(shared: World, log: io.StringIO) -> None:
    before = await scrape(shared)
    old = await make(shared)
    await use(shared, (await rotate(shared, old["id"]))["secret"])
    assert await growth(shared, before, 'keys_noticed{notice="straggler"}') == 0
    await use(shared, old["secret"])
    assert await growth(shared, before, 'keys_noticed{notice="straggler"}') == 1
    assert await growth(shared, before, "retiring_key_uses_total{}") == 1
    assert (await shared.get(f"/v1/keys/{old['id']}")).json()["notices"] == ["straggler"]
    assert [each["kind"] for each in lines(log, "key_noticed")] == ["key.straggler"]
    await sql(shared, "UPDATE credentials SET retires_at = clock_timestamp() WHERE id = :id", id=old["id"])
    assert await growth(shared, before, 'keys_noticed{notice="straggler"}') == 0


async def test_use_after_expiry_gives_an_alarm(shared: World, log: io.StringIO) -> None:
    before = await scrape(shared)
    assert 'muniment_access_refusals_total{reason="expired"}' in before
    _, headers = await expired(shared)
    await shared.client.get("/v1/whoami", headers=headers)
    assert await growth(shared, before, 'access_refusals_total{reason="expired"}') == 1
    assert [each["kind"] for each in lines(log, "key_noticed")] == ["key.used-after-expiry"]


async def test_a_new_network_gives_an_alarm_once(shared: World, log: io.StringIO) -> None:
    made = await make(shared)
    before = await scrape(shared)
    await use(shared, made["secret"])
    assert await growth(shared, before, "new_networks_total{}") == 0
    async with elsewhere(shared) as client:
        for _ in range(2):
            await client.get("/v1/whoami", headers=bearer(made["secret"]))
            assert await growth(shared, before, "new_networks_total{}") == 1
    assert (await usage(shared, made["id"]))["refusals"] == {}
    assert [(each["kind"], each["detail"]) for each in lines(log, "key_noticed")] == [("key.new-network", made["id"])]


async def test_a_new_network_that_could_not_be_written_is_told_later(
    shared: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await make(shared)
    await use(shared, made["secret"])
    await written(shared)
    async with elsewhere(shared) as client:
        await client.get("/v1/whoami", headers=bearer(made["secret"]))
    with monkeypatch.context() as cut:
        cut.setattr("service.access.key_traffic.journal.append", _cut)
        with pytest.raises(psycopg.OperationalError):
            await written(shared)
    await written(shared)
    assert kinds(await notices(shared, made["id"])) == ["key.new-network"]


async def _cut(*_: Any) -> None:
    raise psycopg.OperationalError("the connection was cut")


async def growth(world: World, before: Scrape, name: str) -> float:
    """By how much a metric has grown."""
    return (await scrape(world))[f"muniment_{name}"] - before[f"muniment_{name}"]


def lines(log: io.StringIO, event: str) -> list[dict[str, Any]]:
    """Log lines of an event."""
    told = [json.loads(line) for line in log.getvalue().splitlines()]
    return [each for each in told if each["event"] == event]


# Told again


async def test_a_straggler_is_told_again_at_shares_of_its_overlap(shared: World) -> None:
    old = await make(shared)
    await use(shared, (await rotate(shared, old["id"], overlap_s=1_000))["secret"])
    for over_s in (10, 490, 510, 790, 960, 990):
        await sql(
            shared,
            """WITH moved AS (
                UPDATE credentials SET retires_at = clock_timestamp() + make_interval(secs => 1000 - :over)
                WHERE id = :id RETURNING replaced_by
            ) UPDATE credentials SET activated_at = clock_timestamp() - make_interval(secs => :over)
            FROM moved WHERE id = moved.replaced_by""",
            id=old["id"],
            over=over_s,
        )
        await use(shared, old["secret"])
        await written(shared)
    told = await notices(shared, old["id"])
    assert [each.get("overlap_percent") or each["count"] for each in told] == [1, 2, 50, 4, 95]
    assert kinds(told) == ["key.straggler"] * 5


async def test_old_and_unused_credentials_are_told_once_a_week_and_listed(shared: World) -> None:
    ages = {"old": (100, 1), "unused": (40, None), "both": (100, 31), "young": (29, None), "used": (89, 29)}
    ids = {name: (await make(shared))["id"] for name in ages}
    for name, (days, used_days) in ages.items():
        await sql(
            shared,
            """UPDATE credentials SET created_at = now() - make_interval(days => :days),
                last_used_at = now() - make_interval(days => :used) WHERE id = :id""",
            id=ids[name],
            days=days,
            used=used_days,
        )
    rotated, done, gone = await make(shared), await make(shared), await make(shared)
    await rotate(shared, rotated["id"])
    await shared.post(f"/v1/keys/{gone['id']}/revoke", {"reason": "x"})
    await shared.post(f"/v1/keys/{done['id']}/suspend", {"reason": "x"})
    aged = "UPDATE credentials SET created_at = now() - interval '1 year' WHERE id = ANY(:ids)"
    await sql(shared, aged, ids=[rotated["id"], gone["id"], done["id"]])
    lease = await shared.lease("keys")
    async with dispatcher(shared) as db:
        watch = KeyWatch(db)
        assert await watch.step(lease) >= 4
        assert await watch.step(lease) == 0
    told = {name: sorted(kinds(await notices(shared, each))) for name, each in ids.items()}
    due, unused = "key.rotation-due", "key.stale"
    assert told == {"old": [due], "unused": [unused], "both": [due, unused], "young": [], "used": []}
    assert not [each for each in (rotated, done, gone) if await notices(shared, each["id"])]
    listed = {name: (await shared.get(f"/v1/keys/{each}")).json()["notices"] for name, each in ids.items()}
    assert listed == {name: [kind.removeprefix("key.") for kind in kinds] for name, kinds in told.items()}
    for days, again in ((6, False), (7, True)):
        await sql(
            shared,
            """UPDATE credentials SET rotation_told_at = now() - make_interval(days => :days, secs => 9),
                stale_told_at = now() - make_interval(days => :days, secs => 9)""",
            days=days,
        )
        assert (await tell(shared.db, lease) > 0) == again


# Kept


async def test_uses_amounts_and_refusals_are_cleared_away_in_time_and_their_sums_stay(
    shared: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, lease = await make(shared), await shared.lease("keys")
    await written(shared)
    await sql(shared, "UPDATE credentials SET created_at = now() - interval '2 years' WHERE id = :id", id=made["id"])
    await sql(
        shared,
        """INSERT INTO credential_uses
        SELECT :id, current_date - 398 - n, 'mint', '', 1, 0 FROM generate_series(1, 5) n""",
        id=made["id"],
    )
    await sql(
        shared,
        """INSERT INTO access_refusals SELECT :id, 'expired', current_date - 88 - n, 10 FROM generate_series(1, 5) n""",
        id=made["id"],
    )
    await sql(
        shared,
        """INSERT INTO amounts_taken SELECT c.caller_id, gen_random_uuid(), current_date - 399 - n, 1
        FROM credentials c, generate_series(1, 2) n WHERE c.id = :id""",
        id=made["id"],
    )
    before = await scrape(shared)
    monkeypatch.setattr(key_watch, "CLEARED_MAX", 2)
    async with dispatcher(shared) as db:
        assert [await clear(db, lease) for _ in range(3)] == [5, 2, 0]
    uses = await sql(shared, "SELECT min(day) > current_date - 401 FROM credential_uses")
    rows = await sql(shared, "SELECT current_date - day AS age FROM access_refusals WHERE key_id = :id", id=made["id"])
    assert (uses[0][0], sorted(row.age for row in rows)) == (True, [89, 90])
    assert await growth(shared, before, 'access_refusals_total{reason="expired"}') == 0


async def test_whoever_has_lost_the_lease_tells_and_clears_nothing(shared: World) -> None:
    made, lease = await make(shared), Lease("keys of others", ttl_s=60)
    await sql(shared, "UPDATE credentials SET created_at = now() - interval '1 year' WHERE id = :id", id=made["id"])
    for work in (tell, clear):
        assert await lease.take(shared.db)
        await Lease(lease.name, ttl_s=0).seize(shared.db)
        with pytest.raises(LeaseLost):
            await work(shared.db, lease)
    assert await notices(shared, made["id"]) == []
