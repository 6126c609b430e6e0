"""Keys in several processes: none lets one in that has ended, whatever it remembers, and rotation refuses nobody."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import httpx
import psycopg
import pytest
import uvicorn
from fastapi import FastAPI

from scripts.bench_rotation import rotate_under_load
from service.access.key_cache import HEARTBEAT_S, TRUST_S
from service.access.queries import StoredKeys
from service.app import create_app
from tests.access.desk import make, sql, use
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

LISTENERS = "query = 'SELECT' AND datname = current_database() AND pid <> pg_backend_pid()"


class Asked:
    """Counts what Postgres is asked for."""

    def __init__(self, keys: StoredKeys, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        ask = keys.ask

        async def counted(key_id: str) -> object:
            self.count += 1
            return await ask(key_id)

        monkeypatch.setattr(keys, "ask", counted)


@asynccontextmanager
async def another_process(world: World) -> AsyncIterator[httpx.AsyncClient]:
    """The same API once more, with a memory of its own."""
    app = create_app(world.settings)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://other") as client:
            yield client


async def heard(world: World) -> None:
    """Until the process hears of changes."""
    for _ in range(100):
        if time.monotonic() - world.app.state.admission._keys._heard_s < HEARTBEAT_S:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("nobody listens")


async def test_a_key_in_use_is_looked_up_once_and_anew_after_a_change(
    shared: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await make(shared)
    await heard(shared)
    asked = Asked(shared.app.state.keys, monkeypatch)
    start_s = time.monotonic()
    for _ in range(30):
        assert (await use(shared, made["secret"])).status_code == 200
    assert asked.count <= 1 + (time.monotonic() - start_s) / TRUST_S
    await shared.post(f"/v1/keys/{made['id']}/suspend", {"reason": "x"})
    assert (await use(shared, made["secret"])).status_code == 401


async def test_a_revoked_key_is_out_of_every_process_within_a_second(shared: World) -> None:
    made = await make(shared)
    headers = {"Authorization": f"Bearer {made['secret']}"}
    async with another_process(shared) as other:
        await asyncio.sleep(2 * HEARTBEAT_S)
        assert (await other.get("/v1/whoami", headers=headers)).status_code == 200
        await shared.post(f"/v1/keys/{made['id']}/revoke", {"reason": "x"})
        revoked_s, slowest_s, status = time.monotonic(), 0.0, 200
        while status == 200:
            sent_s = time.monotonic()
            status = (await other.get("/v1/whoami", headers=headers)).status_code
            slowest_s = max(slowest_s, time.monotonic() - sent_s)
            assert sent_s - revoked_s < 1 + slowest_s
            await asyncio.sleep(0.01)
        assert status == 401


@pytest.mark.parametrize("ends", ["revoked_at", "suspended_at"])
async def test_a_key_that_is_ended_beside_its_first_use_opens_nothing(shared: World, ends: str) -> None:
    made = await make(shared)
    order = {"overlap_s": 0, "overlap_starts": "first-use"}
    after = (await shared.post(f"/v1/keys/{made['id']}/rotate", order)).json()
    url = shared.settings.database_url.get_secret_value()
    async with await psycopg.AsyncConnection.connect(url) as other:
        await other.execute(f"UPDATE credentials SET {ends} = now() WHERE id = %s", (after["id"],))
        using = asyncio.create_task(use(shared, after["secret"]))
        await asyncio.sleep(0.3)
        assert not using.done()
    assert (await using).status_code == 401
    query = (
        "SELECT activated_at, (SELECT retires_at FROM credentials WHERE id = :former) FROM credentials WHERE id = :id"
    )
    assert await sql(shared, query, id=after["id"], former=made["id"]) == [(None, None)]
    assert (await use(shared, made["secret"])).status_code == 200


async def test_whoever_hears_of_no_changes_asks_each_time(shared: World, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await make(shared)
    await heard(shared)
    asked = Asked(shared.app.state.keys, monkeypatch)
    await use(shared, made["secret"])
    with monkeypatch.context() as deaf:
        deaf.setattr("service.access.key_cache.HEARTBEAT_S", 60)
        (killed,) = await sql(
            shared, f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {LISTENERS}"
        )
        assert killed[0] >= 1
        await asyncio.sleep(TRUST_S)
        before = asked.count
        for _ in range(5):
            await use(shared, made["secret"])
        assert asked.count == before + 5


async def test_no_key_is_kept_beyond_its_end(shared: World) -> None:
    made = await make(shared)
    soon = (
        "UPDATE credentials SET expires_at = clock_timestamp() + interval '0.4 s' WHERE id = :id RETURNING expires_at"
    )
    ((ends_at,),) = await sql(shared, soon, id=made["id"])
    lasted = datetime.now(UTC)
    while (await use(shared, made["secret"])).status_code == 200:
        assert lasted < ends_at
        lasted = datetime.now(UTC)
    assert datetime.now(UTC) >= ends_at


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    """An app over TCP; its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", http="httptools", log_config=None))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await serving


async def test_rotation_under_load_refuses_nobody_and_lets_no_old_key_in(shared: World) -> None:
    made, other = await make(shared), create_app(shared.settings)
    async with other.router.lifespan_context(other), served(shared.app) as first, served(other) as second:
        load = await rotate_under_load(
            [first, second], made["secret"], duration_s=6, interval_s=1.2, overlap_s=1, requests_per_s=20
        )
    assert load.faultless, load
    assert load.rotations >= 2
    assert sum(load.late.values()) >= 2
