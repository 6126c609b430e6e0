"""What does a webhook's message cost, planned from the journal, signed, sent and stored? And a step with nothing to do?

A Postgres and a receiver run in a throw-away folder, and the dispatcher's step in this process. Processor time is what
counts: of this process, and of Postgres beside it. Planning is put beside the journal's own appends of the same facts,
and delivering beside bare POSTs of the same bodies to the same receiver, as many at once.
"""

import argparse
import asyncio
import base64
import json
import os
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import psycopg
import uvloop
from aiohttp import web
from pydantic import SecretStr

from scripts import local, signals
from scripts.bench_mirror_costs import cpu_s
from scripts.bench_mirror_numbers import Numbers
from scripts.local import NotInstalled, ProcessDied
from scripts.stack import free_port
from service import journal, migrate
from service.access import commands as access
from service.db import Database, new_id
from service.journal import Fact
from service.webhooks import planning, sealing
from service.webhooks.delivering import SENDING_MAX, Deliverer
from service.webhooks.egress import open_egress
from service.webhooks.sealing import Sealer
from service.workers import Lease

WEBHOOKS = 10
"""Of one issuer, each with an address of its own at the receiver: fewer than its share of the lanes."""

TOKENS = 50
APPENDED_TOGETHER = 100
TYPES = ["operation.*"]

WEBHOOK = """INSERT INTO webhooks (id, issuer_id, url, description, types, position)
VALUES (%s, %s, %s, 'bench', %s, (SELECT position FROM journal_end))"""
SECRET = """INSERT INTO webhook_secrets (webhook_id, version, sealed_hmac, sealed_private, public_key)
VALUES (%s, 1, %s, %s, %s)"""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything: facts of a round, steps with nothing to do, and webhooks that those look at."""

    rounds: int
    facts: int
    steps: int
    idle: int


FULL = Sizes(6, 1_000, 100, 1_000)
QUICK = Sizes(3, 200, 30, 1_000)


@dataclass(slots=True)
class Bench:
    """A database with an issuer and its webhooks, the step, and all numbers that were measured, by name."""

    db: Database
    owner: Database
    deliverer: Deliverer
    lease: Lease
    issuer_id: UUID
    receiver: str
    postgres_pid: int
    sizes: Sizes
    numbers: Numbers

    async def costing(self, name: str, count: int, work: Callable[[], Awaitable[None]]) -> None:
        """Do something and note its processor time for each of `count`, and how many a second that was."""
        began_s, began_cpu_s = time.monotonic(), self._cpu_s()
        await work()
        self.numbers.note(f"{name}, ms", (self._cpu_s() - began_cpu_s) / count * 1_000)
        self.numbers.note(f"{name}, 1/s", count / (time.monotonic() - began_s))

    async def round(self) -> None:
        """Facts appended, planned, delivered; the same bodies posted; steps with nothing to do."""
        messages = self.sizes.facts * WEBHOOKS
        await self.costing("fact appended", self.sizes.facts, self._append)
        await self.costing("message planned", messages, self._plan)
        await self.costing("message delivered", messages, self._deliver)
        await self.costing("bare POST", messages, self._post)
        await self.costing("step with nothing to do", self.sizes.steps, self._idle)
        rows = await self.owner.fetch("SELECT count(*) FROM webhook_deliveries WHERE state <> 'delivered'", ())
        assert rows[0][0] == 0, "a message was not taken"

    async def _append(self) -> None:
        for first in range(0, self.sizes.facts, APPENDED_TOGETHER):
            count = min(APPENDED_TOGETHER, self.sizes.facts - first)
            async with self.owner.transaction() as session:
                facts = [Fact("operation.succeeded", self.issuer_id, _body(first + each)) for each in range(count)]
                await journal.append(session, facts)

    async def _plan(self) -> None:
        while await planning.plan(self.db, self.lease):
            pass

    async def _deliver(self) -> None:
        while True:
            self.deliverer.wake.clear()
            if await self.deliverer.step(self.lease) == 0:
                if not await self.owner.fetch("SELECT 1 FROM webhook_deliveries WHERE state = 'pending' LIMIT 1", ()):
                    return
                await asyncio.wait_for(self.deliverer.wake.wait(), timeout=60)

    async def _post(self) -> None:
        body = json.dumps({"type": "operation.succeeded", "subject": "token:bench", "data": _body(0)}).encode()
        left = iter(range(self.sizes.facts * WEBHOOKS))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

            async def work() -> None:
                for _ in left:
                    async with session.post(f"{self.receiver}/bare", data=body) as response:
                        await response.read()

            await asyncio.gather(*(work() for _ in range(WEBHOOKS * SENDING_MAX)))

    async def _idle(self) -> None:
        for _ in range(self.sizes.steps):
            assert await self.deliverer.step(self.lease) == 0

    def _cpu_s(self) -> float:
        return time.process_time() + cpu_s(self.postgres_pid)


def _body(number: int) -> dict[str, Any]:
    """A mint's, as operations tell it."""
    hash_ = "0x" + "ab" * 32
    return {
        "operation": str(UUID(int=number)),
        "operation_kind": "mint",
        "token": f"token-{number % TOKENS}",
        "parameters": {"recipient": "0x" + "22" * 20, "amount": str(number)},
        "transaction": {"hash": hash_, "block": number, "block_hash": hash_, "fee": "21000000000000"},
    }


@asynccontextmanager
async def opened(
    url: SecretStr, receiver: str, postgres_pid: int, sizes: Sizes, numbers: Numbers
) -> AsyncIterator[Bench]:
    """The bench, with WEBHOOKS that are told and many more whose issuers have nothing to tell."""
    sealer = Sealer(SecretStr(base64.b64encode(os.urandom(32)).decode()))
    owner, db = Database(url, role=None), Database(url, role="muniment_dispatcher", connections_max=3)
    await owner.open()
    await db.open()
    async with owner.transaction() as session:
        for number in range(1 + sizes.idle // WEBHOOKS):
            await access.create_issuer(session, name=f"Bench {number:06}", signer=number.to_bytes(20, "big"))
    issuers = [row[0] for row in await owner.fetch("SELECT id FROM issuers ORDER BY name", ())]
    with psycopg.connect(url.get_secret_value()) as connection:
        for issuer_id in issuers:
            for number in range(WEBHOOKS):
                id_, secrets = new_id(), sealing.make()
                sealed = sealer.seal(secrets, id_, 1)
                connection.execute(WEBHOOK, (id_, issuer_id, f"{receiver}/{number}", TYPES))
                connection.execute(SECRET, (id_, sealed.hmac, sealed.private, secrets.public_key))
    lease = Lease("webhooks", ttl_s=600)
    assert await lease.take(db)
    async with open_egress(private=True) as egress:
        deliverer = Deliverer(db, sealer, egress)
        yield Bench(db, owner, deliverer, lease, issuers[0], receiver, postgres_pid, sizes, numbers)
        await deliverer.close()
    await db.close()
    await owner.close()


async def run(url: SecretStr, receiver: str, postgres_pid: int, sizes: Sizes, numbers: Numbers) -> None:
    """All rounds, after one that is thrown away."""
    async with opened(url, receiver, postgres_pid, sizes, numbers) as bench:
        for number in range(sizes.rounds + 1):
            if number == 1:
                numbers.found.clear()
            print(f"round {number}" if number else "warm-up", flush=True)
            await bench.round()


def told(numbers: Numbers, sizes: Sizes) -> list[dict[str, Any]]:
    """One JSON object for each question."""
    settings = {"rounds": sizes.rounds, "facts": sizes.facts, "webhooks": WEBHOOKS, "idle_webhooks": sizes.idle}
    asked: tuple[tuple[str, str, dict[str, str]], ...] = (
        ("a message planned", "message planned, ms", {"the fact appended": "fact appended, ms"}),
        ("a message delivered", "message delivered, ms", {"a bare POST": "bare POST, ms"}),
        ("a step with nothing to do", "step with nothing to do, ms", {}),
    )
    paces = numbers.medians("message delivered, 1/s", "message planned, 1/s", "bare POST, 1/s")
    return [
        numbers.told(
            question,
            unit="ms of processor",
            ours=ours,
            references=references,
            less_is_better=True,
            settings={**settings, **paces},
        )
        for question, ours, references in asked
    ]


def receive(port: int) -> None:
    """A receiver that takes everything."""

    async def take(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/{tail:.*}", take)
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, print=None, loop=uvloop.new_event_loop())


def _listens(receiver: local.Child, port: int) -> bool | None:
    receiver.check()
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5):
        return True
    return None


def measure(folder: Path, sizes: Sizes) -> Numbers:
    """A Postgres and a receiver, and all rounds."""
    numbers, port = Numbers(), free_port()
    postgres = local.start_postgres(folder / "postgres", throw_away=True)
    with local.stopping(postgres):
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE bench")
        url = SecretStr(postgres.database("bench"))
        migrate.upgrade(url)
        command = [sys.executable, "-m", "scripts.bench_webhooks", "--receive", str(port)]
        receiver = local.spawn("receiver", command, log=folder / "receiver.log")
        with local.stopping(receiver):
            local.wait_for(lambda: _listens(receiver, port), what="the receiver")
            pid = int((folder / "postgres" / "postmaster.pid").read_text().split()[0])
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(run(url, f"http://127.0.0.1:{port}", pid, sizes, numbers))
    return numbers


def main() -> None:
    """Measure, and tell each answer as a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="three small rounds: a minute")
    parser.add_argument("--receive", type=int, metavar="PORT", help="be the receiver, as the bench starts it")
    given = parser.parse_args()
    if given.receive:
        receive(given.receive)
        return
    sizes = QUICK if given.quick else FULL
    signals.listen()
    try:
        with tempfile.TemporaryDirectory(prefix="muniment-bench-") as folder:
            numbers = measure(Path(folder), sizes)
    except (NotInstalled, ProcessDied, TimeoutError) as error:
        sys.exit(f"bench: {error}")
    except signals.Interrupted:
        sys.exit(130)
    for each in told(numbers, sizes):
        print(json.dumps(each, ensure_ascii=False))


if __name__ == "__main__":
    main()
