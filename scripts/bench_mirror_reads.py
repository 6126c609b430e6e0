"""The reading half of the mirror's bench: as-of questions in SQL and over HTTP, on a past of millions of transfers."""

import asyncio
import os
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from scripts import bench_mirror_past as pasts
from scripts import local
from scripts.bench_load import Answers, send
from scripts.bench_mirror_numbers import Numbers, percentile
from scripts.bench_mirror_past import PLACES, Past
from scripts.bench_mirror_references import URL
from scripts.bench_system import Issuer, System
from scripts.stack import CHAIN_ID, Stack, free_port
from service.db import ReadConnection

CLIENTS = 32
STATES_KEPT = 128
SUMS_ASKED = 100
"""Fewer than of ours, as the busiest holder's takes so long."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything."""

    rounds: int
    holders: int
    transfers: int
    asked: int
    requests: int


@dataclass(slots=True)
class Reads:
    """A system whose mirror has a long past, and what is asked of it."""

    system: System
    sizes: Sizes
    numbers: Numbers
    past: Sequence[Past]
    accounts: Sequence[bytes]

    async def in_sql(self) -> None:
        """One holding and whole cap tables, at both sizes of the past and at each place of it."""
        db = pasts.open_database(self.system.stack.settings["MUNIMENT_DATABASE_URL"])
        await db.open()
        try:
            for _ in range(self.sizes.rounds):
                for past in self.past:
                    for place in PLACES:
                        async with db.read() as connection:
                            await self._one(connection, past, place)
                            await self._all(connection, past, place)
        finally:
            await db.close()

    async def _one(self, connection: ReadConnection, past: Past, place: str) -> None:
        name = f"{past.transfers:,} transfers, {place}"
        await pasts.one_holding_ms(connection, past, place, self.accounts[:10])
        found = await pasts.one_holding_ms(connection, past, place, self.accounts)
        self.numbers.note(f"one holding, {name}, p50 ms", percentile(found, 50))
        self.numbers.note(f"one holding, {name}, p99 ms", percentile(found, 99))
        sums = await pasts.one_sum_ms(connection, past, place, self.accounts[:SUMS_ASKED])
        self.numbers.note(f"one sum, {name}, p50 ms", percentile(sums, 50))
        self.numbers.note(f"one sum, {name}, p99 ms", percentile(sums[1:], 99))
        self.numbers.note(f"one sum, {name}, busiest holder ms", sums[0])

    async def _all(self, connection: ReadConnection, past: Past, place: str) -> None:
        name = f"{past.transfers:,} transfers, {place}"
        pages = await pasts.pages_ms(connection, past, place)
        self.numbers.note(f"table, {name}, first page ms", pages[0])
        self.numbers.note(f"table, {name}, page p99 ms", percentile(pages, 99))
        self.numbers.note(f"table, {name}, all pages ms", sum(pages))
        self.numbers.note(f"table, {name}, by adding up ms", await pasts.all_sums_ms(connection, past, place))

    def over_http(self, folder: Path) -> None:
        """One holding from the API and from a bare route, taking turns."""
        past, issuer, api = self.past[-1], self.system.issuers[-1], self.system.stack.api_url
        with bare_route(self.system.stack.settings["MUNIMENT_DATABASE_URL"], folder) as route:
            for _ in range(self.sizes.rounds):
                for place in PLACES:
                    block = past.block(place)
                    ours = self._requests(api, f"/v1/tokens/{issuer.token_id}/holders/{{}}?at_block={block}", issuer)
                    bare = self._requests(route, f"/{past.contract_id}/{{}}/{block}", issuer)
                    self._note(f"API, {place}", api, ours)
                    self._note(f"bare route, {place}", route, bare)

    def _requests(self, url: str, path: str, issuer: Issuer) -> list[bytes]:
        head = f"Host: {urlsplit(url).netloc}\r\nAuthorization: Bearer {issuer.key}"
        paths = [path.format(f"0x{account.hex()}") for account in self.accounts]
        made = [f"GET {each} HTTP/1.1\r\n{head}\r\n\r\n".encode() for each in paths]
        return [made[number % len(made)] for number in range(self.sizes.requests)]

    def _note(self, name: str, url: str, requests: Sequence[bytes]) -> None:
        send(url, requests[:200], clients=CLIENTS, status=200)
        together = send(url, requests, clients=CLIENTS, status=200)
        self.numbers.note(f"{name}, 32 clients, a second", len(requests) / together.took_s)
        alone: Answers = send(url, requests[: len(requests) // 10], clients=1, status=200)
        self.numbers.note(f"{name}, one client, p50 ms", alone.latency_ms(50))
        self.numbers.note(f"{name}, one client, p99 ms", alone.latency_ms(99))


def measure(folder: Path, sizes: Sizes, numbers: Numbers) -> None:
    """Boot, make the past, ask everything, and end what was started."""
    stack = Stack(folder / "stack", finality="depth:0", block_time_s=0, throw_away=True, states_kept=STATES_KEPT)
    stack.folder.mkdir()
    try:
        system = System(stack)
        system.start(2)
        for name in ("indexer", "sender", "dispatcher"):
            stack.processes.pop(name).stop()
        with system.database() as connection:
            ids = [
                int(str(row[0]))
                for issuer in system.issuers
                for row in connection.execute(
                    "SELECT id FROM mirror.contracts WHERE address = %s", (bytes.fromhex(issuer.contract[2:]),)
                )
            ]
            past = pasts.make(
                connection, chain_id=CHAIN_ID, contract_ids=ids, holders=sizes.holders, transfers=sizes.transfers
            )
            accounts = pasts.accounts(connection, past[-1], sizes.asked)
        reads = Reads(system, sizes, numbers, past, accounts)
        asyncio.run(reads.in_sql())
        reads.over_http(folder)
    finally:
        stack.stop()


@contextmanager
def bare_route(database: str, folder: Path) -> Iterator[str]:
    """The URL of a route that does nothing but the query."""
    port = free_port()
    command = [sys.executable, "-m", "scripts.bench_mirror_references", "route", "--port", str(port)]
    child = local.spawn("bare route", command, log=folder / "route.log", env={**os.environ, URL: database})
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool | None:
        child.check()
        with suppress(OSError):
            urllib.request.urlopen(f"{url}/0/0x00/0", timeout=5).close()
            return True
        return None

    try:
        local.wait_for(ready, what="the bare route")
        yield url
    finally:
        child.stop()
