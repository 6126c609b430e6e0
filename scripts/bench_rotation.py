"""Rotation under load: two API processes, requests on both, and a key that is rotated again and again.

`python -m scripts.bench_rotation` makes 200 requests a second for a minute and rotates every five seconds; it fails if
a request was refused, or a key opened anything after its end.
"""

import argparse
import asyncio
import base64
import itertools
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
import psycopg

from scripts import local
from scripts.stack import CHAIN_ID, free_port
from service import migrate
from service.access import apikeys, commands
from service.access.apikeys import Scope
from service.db import Database
from service.settings import Settings

PATH = "/v1/whoami"


@dataclass(slots=True)
class Load:
    """What came of it."""

    statuses: Counter[int] = field(default_factory=Counter)
    """Answers to requests with keys that open, by status."""
    rotations: int = 0
    late: Counter[int] = field(default_factory=Counter)
    """Answers to requests with keys whose end was over, by status."""

    @property
    def faultless(self) -> bool:
        """Whether nothing was refused, and nothing was let in late."""
        return set(self.statuses) == {200} and set(self.late) <= {401}


@dataclass(slots=True)
class Ring:
    """The newest version of a key and the one before it, as long as that may be used."""

    newest: str
    former: str | None = None

    def any(self) -> str:
        """One of the two: callers do not all change at one moment."""
        return self.newest if self.former is None else random.choice((self.newest, self.former))


async def rotate_under_load(
    urls: Sequence[str], key: str, *, duration_s: float, interval_s: float, overlap_s: int, requests_per_s: float
) -> Load:
    """Make requests of each process in turn while one key is rotated, and try its former versions after their end.

    Args:
        key: of a caller with the scope `keys:admin`; its family is what is rotated.
        overlap_s: of each rotation, in turn from now on and from the first use on.
    """
    load, ring = Load(), Ring(key)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=30)) for url in urls]
        turn = itertools.cycle(clients)
        rotating = asyncio.create_task(_rotate(load, ring, clients, interval_s, overlap_s))
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        async with asyncio.TaskGroup() as requests:
            for number in range(int(duration_s * requests_per_s)):
                await asyncio.sleep(start_s + number / requests_per_s - loop.time())
                requests.create_task(_ask(next(turn), ring.any(), load.statuses))
                if rotating.done():
                    await rotating
        rotating.cancel()
    return load


async def _ask(client: httpx.AsyncClient, key: str, statuses: Counter[int]) -> None:
    answer = await client.get(PATH, headers={"Authorization": f"Bearer {key}"})
    statuses[answer.status_code] += 1


async def _rotate(
    load: Load, ring: Ring, clients: Sequence[httpx.AsyncClient], interval_s: float, overlap_s: int
) -> None:
    for number in itertools.count():
        await asyncio.sleep(interval_s / 4)
        client, key = clients[number % len(clients)], ring.newest
        key_id = apikeys.find(key)[0].id
        starts = ("now", "first-use")[number % 2]
        order = {"overlap_s": overlap_s, "overlap_starts": starts}
        headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": key_id}
        made = await client.post(f"/v1/keys/{key_id}/rotate", json=order, headers=headers)
        made.raise_for_status()
        ring.newest, ring.former = made.json()["secret"], key
        load.rotations += 1
        await _ask(client, ring.newest, load.statuses)
        told = await client.get(f"/v1/keys/{key_id}", headers={"Authorization": f"Bearer {ring.newest}"})
        left_s = (datetime.fromisoformat(told.json()["retires_at"]) - datetime.now(UTC)).total_seconds()
        # What is under way at the end was sent before it, so nothing is sent in the last moment.
        await asyncio.sleep(left_s / 2)
        ring.former = None
        await asyncio.sleep(max(0.0, left_s / 2))
        for each in clients:
            await _ask(each, key, load.late)
        await asyncio.sleep(max(0.0, interval_s * 3 / 4 - left_s))


@contextmanager
def two_processes(folder: Path) -> Iterator[tuple[list[str], str]]:
    """Two API processes on one Postgres: their addresses, and a key."""
    postgres = local.start_postgres(folder / "postgres", throw_away=True)
    with local.stopping(postgres):
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE bench")
        given = _given(postgres.database("bench"), folder)
        settings = Settings.model_validate(given)
        migrate.upgrade(settings.database_url)
        key = asyncio.run(_key(settings))
        with _api(folder, given) as first, _api(folder, given) as second:
            yield [first, second], key


def _given(database: str, folder: Path) -> dict[str, str]:
    return {
        "database_url": database,
        "rpc_url": "http://127.0.0.1:1",
        "chain_id": str(CHAIN_ID),
        "keystore_dir": str(folder / "keystore"),
        "keystore_password": os.urandom(16).hex(),
        "key_encryption_key": base64.b64encode(os.urandom(32)).decode(),
        "api_key_pepper": os.urandom(16).hex(),
        "factory_address": "0x" + "11" * 20,
        "node_timeout_s": "0.5",
    }


@contextmanager
def _api(folder: Path, given: dict[str, str]) -> Iterator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = {f"MUNIMENT_{name.upper()}": value for name, value in {**given, "api_port": str(port)}.items()}
    command = [sys.executable, "-m", "service.cli", "api"]
    child = local.spawn(f"api-{port}", command, log=folder / f"api-{port}.log", env={**os.environ, **settings})

    def ready() -> bool | None:
        child.check()
        try:
            return httpx.get(f"{url}/v1/time").is_success
        except httpx.TransportError:
            return None

    with local.stopping(child):
        local.wait_for(ready, what=child.name)
        yield url


async def _key(settings: Settings) -> str:
    db = Database(settings.database_url, role=None)
    await db.open()
    try:
        async with db.transaction() as session:
            await commands.create_issuer(session, name="Bench", signer=bytes(20))
            pepper, scopes = settings.api_key_pepper, tuple(Scope)
            made = await commands.create_key(
                session, issuer="Bench", caller="bench", environment="test", pepper=pepper, scopes=scopes
            )
    finally:
        await db.close()
    return made.text


def main() -> None:
    """Run it and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--duration-s", type=float, default=60)
    parser.add_argument("--requests-per-s", type=float, default=200)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, two_processes(Path(folder)) as (urls, key):
        run = rotate_under_load(
            urls, key, duration_s=given.duration_s, interval_s=5, overlap_s=2, requests_per_s=given.requests_per_s
        )
        load = asyncio.run(run)
    print(f"answers {dict(load.statuses)}, rotations {load.rotations}, answers after a key's end {dict(load.late)}")
    sys.exit(0 if load.faultless else 1)


if __name__ == "__main__":
    main()
