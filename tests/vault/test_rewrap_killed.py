"""SIGKILL in the middle of whatever the vault writes, of our process and of Postgres: nothing is lost or left open."""

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncSession

from scripts import local
from service import migrate
from service.db import UNAVAILABLE, Database
from service.vault import checking
from service.vault.document_chunks import CHUNK_BYTES
from tests.vault.desk import Desk, open_desk
from tests.vault.keeping import Keeper, environment, keeper
from tests.vault.test_documents import offset_of, registered, seen, send
from tests.web.answers import problem

POINTS_MAX = 40

Run = Callable[..., bool]


@contextmanager
def vaults(desk: Desk, errors: Path) -> Iterator[Run]:
    """Runs an order in a process of its own; whether it was killed."""
    command = [sys.executable, "-m", "tests.vault.killed_vault"]
    pipe = subprocess.PIPE
    with (
        errors.open("w") as written,
        subprocess.Popen(command, env=environment(desk), stdin=pipe, stdout=pipe, stderr=written, text=True) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def run(**order: Any) -> bool:
            stdin.write(json.dumps(order) + "\n")
            stdin.flush()
            lines = iter(stdout.readline, "")
            told = next((line.split()[1] for line in lines if line.startswith("ended ")), "none")
            assert told in ("0", "-9"), errors.read_text()[-2_000:]
            return told == "-9"

        yield run


async def whole(kept: Keeper) -> None:
    """Nothing is lost, and nothing does not open."""
    assert await kept.revealed() == kept.values
    checked = await checking.check(kept.vault, lambda *_: None)
    assert checked.findings == []


@pytest.mark.asyncio(loop_scope="module")
async def test_a_rewrap_that_is_killed_anywhere_is_gone_on_with(desk: Desk, tmp_path: Path) -> None:
    kept = await keeper(desk, "Killed Keepers", count=60)
    await kept.rotate()
    kills, left = 0, []
    with vaults(desk, tmp_path / "rewraps.log") as run:
        for kill_at in (0, 2, 3, POINTS_MAX):
            killed = run(issuer=str(kept.issuer_id), kill_at=kill_at)
            kills += killed
            await whole(kept)
            left.append(
                len([each for each in await desk.rows("SELECT data_version FROM vault.records") if each < (2,)])
            )
    assert kills == 3
    assert not killed
    assert left == sorted(left, reverse=True)
    assert (left[0], left[-1]) == (60, 0)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_batch_that_is_killed_is_stored_as_a_whole_or_not_at_all(desk: Desk, tmp_path: Path) -> None:
    kept = await keeper(desk, "Killed Batches", count=2)
    with vaults(desk, tmp_path / "batches.log") as run:
        for kill_at, outcome in ((0, {0, 100}), (1, {100}), (POINTS_MAX, {100})):
            values = [f"{kill_at}-{number}@example.org" for number in range(100)]
            batch = {"policy": kept.policy, "items": [{"value": each, "subject": each} for each in values]}
            before = await stored(kept)
            order = {"batch": batch, "key": f"killed-{kill_at}", "issuer": str(kept.issuer_id)}
            assert run(**order, kill_at=kill_at) == (kill_at < POINTS_MAX)
            await idle(desk)
            assert await stored(kept) - before in outcome
            answer = await desk.post("/tokenize", batch, key=kept.key, idempotency_key=f"killed-{kill_at}")
            tokens = [each["token"] for each in answer.json()["data"]]
            kept.values.update(zip(tokens, values, strict=True))
            assert await stored(kept) - before == 100
            await whole(kept)


async def stored(kept: Keeper) -> int:
    ((count,),) = await kept.desk.rows("SELECT count(*) FROM vault.records WHERE issuer_id = %s", kept.issuer_id)
    return int(count)


async def idle(desk: Desk) -> None:
    """Nothing that was killed is still at work in Postgres."""
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE %s AND state = %s"
    while await desk.rows(query, "%INSERT INTO vault.records%", "active") != [(0,)]:
        pass


async def test_postgres_is_killed_in_the_middle_of_a_rewrap_a_batch_an_upload_and_an_erasure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(tempfile.mkdtemp(prefix="muniment-postgres-"))
    server = local.start_postgres(folder, throw_away=True)
    with local.stopping(server):
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE killed")
        url = SecretStr(server.database("killed"))
        migrate.upgrade(url)
        async with open_desk(url, tmp_path) as desk:
            kept = await keeper(desk, "Killed Servers", count=60)
            await kept.rotate()
            with monkeypatch.context() as patched:
                patched.setattr(desk.db, "transaction", killing(desk.db, server.database("postgres"), at=2))
                with pytest.raises(UNAVAILABLE):
                    await kept.rewrap(stretch_blocks=1)
            await answering(desk)
            await whole(kept)
            assert await kept.versions("vault.records") == {1, 2}
            await kept.rewrap()
            assert await kept.versions("vault.records") == {2}

            values = [f"late-{number}@example.org" for number in range(500)]
            batch = {"policy": kept.policy, "items": [{"value": each} for each in values]}
            sent = {"key": kept.key, "idempotency_key": "killed"}
            on_its_way = asyncio.create_task(desk.post("/tokenize", batch, **sent))
            await asyncio.sleep(0.03)
            kill_postgres(server.database("postgres"))
            assert (await on_its_way).status_code in (200, 503)
            await answering(desk)
            assert await stored(kept) in (60, 560)
            answer = await desk.post("/tokenize", batch, **sent)
            kept.values.update(zip((each["token"] for each in answer.json()["data"]), values, strict=True))
            assert await stored(kept) == 560
            await whole(kept)
            await uploaded(desk, monkeypatch, server.database("postgres"))
            await erased(kept, monkeypatch, server.database("postgres"))


async def uploaded(desk: Desk, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """A document at whose second chunk Postgres is killed goes on after the first."""
    content = os.urandom(3 * CHUNK_BYTES + 77)
    id_ = await registered(desk, content)
    with monkeypatch.context() as patched:
        patched.setattr(desk.vault.db, "transaction", killing(desk.vault.db, url, at=1))
        problem(await send(desk, id_, content), "database-unavailable")
    await answering(desk)
    offset = await offset_of(desk, id_)
    assert offset == CHUNK_BYTES
    assert (await send(desk, id_, content[offset:], offset)).json()["whole"]
    assert (await seen(desk, id_)).content == content


async def erased(kept: Keeper, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """An erasure at whose commit Postgres is killed has erased nothing; asked again, it erases all."""
    desk, ada = kept.desk, {"reference": "Ada"}
    with monkeypatch.context() as patched:
        patched.setattr(desk.vault.db, "transaction", killing(desk.vault.db, url, at=0))
        problem(await desk.post("/subjects/erase", ada, key=kept.key), "database-unavailable")
    await answering(desk)
    await whole(kept)
    answer = await desk.post("/subjects/erase", ada, key=kept.key)
    assert answer.json()["records_count"] == 30
    left = [value for value in (await kept.revealed()).values() if value is not None]
    assert len(left) == 530
    assert (await checking.check(kept.vault, lambda *_: None)).findings == []


def killing(db: Database, url: str, *, at: int) -> Any:
    """DB transactions of which one, counted from 0, finds Postgres killed when it is to be committed."""
    begun, real = itertools.count(), db.transaction

    @asynccontextmanager
    async def transaction() -> AsyncIterator[AsyncSession]:
        number = next(begun)
        async with real() as session:
            yield session
            if number == at:
                kill_postgres(url)

    return transaction


async def answering(desk: Desk) -> None:
    """Every pool has found its way back to Postgres."""
    for _ in range(100):
        if (await desk.get("/policies")).status_code == 200:
            return
        await asyncio.sleep(0.1)


def kill_postgres(url: str) -> None:
    """SIGKILL a process of Postgres: all of its others end with it, and it comes back from its log alone."""
    with psycopg.connect(url, autocommit=True) as other, psycopg.connect(url) as connection:
        os.kill(connection.info.backend_pid, signal.SIGKILL)
        with suppress(psycopg.OperationalError):
            while other.execute("SELECT 1"):
                pass

    def back() -> bool | None:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            return None
        return True

    local.wait_for(back, what="Postgres")
