"""How fast does the mirror fill, follow and answer, beside a peer indexer and beside what can't be done without?

Ours is the process `muniment indexer`, the peer is Ponder at its fast setting, and both write to one Postgres what one
chain announces; their rows are compared one by one. The ceiling fetches, decodes and COPYs the same events and derives
nothing. One JSON line for each question comes last.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg

from scripts import bench_mirror_chain, bench_mirror_peer, bench_mirror_reads, local, signals
from scripts import bench_mirror_ours as mirror
from scripts.bench_mirror_chain import EVENTS_IN_A_BLOCK, HOLDERS, Fixture
from scripts.bench_mirror_costs import Cost, Watch
from scripts.bench_mirror_numbers import Numbers, percentile
from scripts.bench_mirror_ours import OURS, PEERS, Databases
from scripts.bench_mirror_peer import Peer, PeerMissing
from scripts.bench_mirror_references import BLOCKS_IN_A_REQUEST, URL
from scripts.local import NotInstalled, ProcessDied

CEILING_TIMEOUT_S = 900
HALVES = ("writes", "reads")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything."""

    rounds: int
    blocks: int
    blocks_later: int | None
    """The size at which ours and the ceiling are measured once more; None for never."""
    caught_up: int
    visible: int
    reads: bench_mirror_reads.Sizes


FULL = Sizes(3, 4_000, 40_000, 300, 150, bench_mirror_reads.Sizes(3, 200_000, 5_000_000, 1_000, 10_000))
QUICK = Sizes(1, 1_000, None, 50, 10, bench_mirror_reads.Sizes(1, 20_000, 100_000, 200, 1_000))


@dataclass(slots=True)
class Writes:
    """The writing half: a chain, a Postgres, and who fills it."""

    folder: Path
    sizes: Sizes
    numbers: Numbers
    fixture: Fixture
    databases: Databases
    peer: Peer | None

    def run(self) -> None:
        """Everything, in rounds."""
        warm = self.databases.fresh()
        self._ceiling(warm, note="warm-up, ceiling")
        self.databases.drop(warm)
        for _ in range(self.sizes.rounds):
            database = self.databases.fresh()
            self._ceiling(database, note="ceiling")
            self._ours(database, note="ours")
            with mirror.indexer(database, self.fixture, self.folder) as child:
                self._caught_up("ours", child, database, OURS)
                self._visible("ours", child, database, OURS)
            with mirror.indexer(database, self.fixture, self.folder, woken=False) as child:
                self._visible("ours by polling", child, database, OURS)
            if self.peer is not None:
                self._peers(self.peer, database)
                self._compare(database)
            self.databases.drop(database)
        if self.sizes.blocks_later is not None:
            self.fixture.extend(self.sizes.blocks_later - self.sizes.blocks)
            database = self.databases.fresh()
            self._ceiling(database, note="later, ceiling")
            self._ours(database, note="later, ours")
            self.databases.drop(database)

    def _ours(self, database: str, *, note: str) -> None:
        postgres_s = self.databases.cpu_s()
        cost = mirror.backfill(database, self.fixture, self.folder)
        self._cost(note, cost, self.fixture.events, self.databases.cpu_s() - postgres_s)
        self.numbers.note(f"{note}, disk bytes an event", mirror.disk_bytes(database, "mirror") / self.fixture.events)

    def _cost(self, note: str, cost: Cost, events: int, postgres_s: float) -> None:
        self.numbers.note(f"{note}, events a second", events / cost.took_s)
        self.numbers.note(f"{note}, events a second of work", events / cost.working_s)
        self._processor(note, cost.cpu_s, postgres_s, events)
        self.numbers.note(f"{note}, peak MB", cost.peak_mb)

    def _processor(self, note: str, own_s: float, postgres_s: float, events: int) -> None:
        self.numbers.note(f"{note}, own CPU s", own_s)
        self.numbers.note(f"{note}, Postgres's CPU s", postgres_s)
        self.numbers.note(f"{note}, CPU µs an event", (own_s + postgres_s) / events * 1e6)

    def _ceiling(self, database: str, *, note: str) -> None:
        fixture = self.fixture
        command = [sys.executable, "-m", "scripts.bench_mirror_references", "ceiling", "--node", fixture.url]
        command += ["--first", str(fixture.first), "--last", str(fixture.head)]
        command += ["--address", fixture.token, "--address", fixture.deed]
        log, postgres_s = self.folder / "ceiling.log", self.databases.cpu_s()
        child = local.spawn("ceiling", command, log=log, env={**os.environ, URL: database})
        try:
            with Watch(child.process.pid) as watch:
                child.process.wait(CEILING_TIMEOUT_S)
            if child.process.returncode:
                raise ProcessDied(local.epitaph("ceiling", child.process.returncode, log))
        finally:
            child.stop()
        done = json.loads(log.read_text().splitlines()[-1])
        if done["events"] != fixture.events:
            raise RuntimeError(f"the chain has {done['events']} events, not {fixture.events}")
        self.numbers.note(f"{note}, events a second of work", done["events"] / done["took_s"])
        self._processor(note, done["cpu_s"], self.databases.cpu_s() - postgres_s, fixture.events)
        self.numbers.note(f"{note}, peak MB", watch.peak_mb)

    def _peers(self, peer: Peer, database: str) -> None:
        with peer.running(self.fixture, database, self.folder / "ponder.log") as running:
            pid, postgres_s = running.child.process.pid, self.databases.cpu_s()
            with Watch(pid) as watch:
                started_s = running.started_s
                ready_s = running.wait_until_ready()
                cost = watch.cost(took_s=ready_s - started_s, working_s=ready_s - started_s)
                postgres_s = self.databases.cpu_s() - postgres_s
            with psycopg.connect(database) as connection:
                row = connection.execute("SELECT count(*) FROM peer.transfer").fetchone()
            assert row is not None
            self._cost("Ponder", cost, int(row[0]), postgres_s)
            self.numbers.note("Ponder, disk bytes an event", mirror.disk_bytes(database, "peer") / row[0])
            raw = mirror.disk_bytes(database, "peer", "ponder_sync") / row[0]
            self.numbers.note("Ponder, disk bytes an event with its raw cache", raw)
            self._caught_up("Ponder", running.child, database, PEERS)
            self._visible("Ponder", running.child, database, PEERS)

    def _caught_up(self, name: str, child: local.Child, database: str, query: LiteralString) -> None:
        caught_up = mirror.catch_up(child, database, query, self.fixture, self.sizes.caught_up)
        self.numbers.note(f"{name}, catching up, events a second", caught_up)

    def _visible(self, name: str, child: local.Child, database: str, query: LiteralString) -> None:
        visible = mirror.latencies_ms(child, database, query, self.fixture, self.sizes.visible)
        self.numbers.note(f"{name}, mined to visible, p50 ms", percentile(visible, 50))
        self.numbers.note(f"{name}, mined to visible, p99 ms", percentile(visible, 99))

    def _compare(self, database: str) -> None:
        with (
            mirror.indexer(database, self.fixture, self.folder) as child,
            psycopg.connect(database, autocommit=True) as connection,
        ):
            mirror.wait_for_row(connection, OURS, self.fixture.head, child)
        for name, count in bench_mirror_peer.compare(database).items():
            self.numbers.note(f"equal {name}", count)

    def verdict(self) -> Iterator[dict[str, Any]]:
        """One JSON object for each question."""
        settings = {
            "rounds": self.sizes.rounds,
            "events": HOLDERS + self.sizes.blocks * EVENTS_IN_A_BLOCK,
            "events_in_a_block": EVENTS_IN_A_BLOCK,
            "ceiling_blocks_in_a_request": BLOCKS_IN_A_REQUEST,
            "ponder_ways": bench_mirror_peer.WAYS,
            "finality": f"depth:{mirror.FINALITY_DEPTH}",
        }
        yield self._told_filled(settings)
        yield from self._told_costs(settings)
        yield from self._told_followed(settings)

    def _told_filled(self, settings: dict[str, Any]) -> dict[str, Any]:
        numbers = self.numbers
        told = numbers.told(
            "How many events a second does an empty mirror take in?",
            unit="events a second, from the start of the process",
            ours="ours, events a second",
            references={"Ponder": "Ponder, events a second"},
            settings=settings,
        )
        ours, ceiling = (numbers.median(f"{name}, events a second of work") for name in ("ours", "ceiling"))
        told["references"]["ceiling, from the start of the work"] = {
            "value": round(ceiling, 3),
            "ratio": round(ours / ceiling, 3),
        }
        if numbers.has("later, ours, events a second of work"):
            cpu = numbers.median("later, ours, CPU µs an event") / numbers.median("ours, CPU µs an event")
            told["growth"] = {
                "events": self.fixture.events,
                "time_an_event": round(ours / numbers.median("later, ours, events a second of work"), 3),
                "cpu_an_event": round(cpu, 3),
            }
        return told | {"medians": numbers.medians("ours", "Ponder", "ceiling", "later", "equal")}

    def _told_costs(self, settings: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield self.numbers.told(
            "How much processor time does an event take into an empty mirror, that of Postgres included?",
            unit="µs an event",
            ours="ours, CPU µs an event",
            references={"Ponder": "Ponder, CPU µs an event", "ceiling": "ceiling, CPU µs an event"},
            less_is_better=True,
            settings=settings,
        )
        yield self.numbers.told(
            "How many bytes of disk does an event take, with every index and every state?",
            unit="bytes an event",
            ours="ours, disk bytes an event",
            references={
                "Ponder": "Ponder, disk bytes an event",
                "Ponder with its raw cache": "Ponder, disk bytes an event with its raw cache",
            },
            less_is_better=True,
            settings=settings,
        )

    def _told_followed(self, settings: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield self.numbers.told(
            "How many events a second does a mirror catch up?",
            unit="events a second, after a standstill",
            ours="ours, catching up, events a second",
            references={"Ponder": "Ponder, catching up, events a second"},
            settings={**settings, "blocks": self.sizes.caught_up},
        )
        for percent in ("p50", "p99"):
            yield self.numbers.told(
                f"How long after a block of {EVENTS_IN_A_BLOCK} events was mined are its rows there, {percent}?",
                unit="ms",
                ours=f"ours, mined to visible, {percent} ms",
                references={
                    "Ponder, woken by the node too": f"Ponder, mined to visible, {percent} ms",
                    "ours by polling": f"ours by polling, mined to visible, {percent} ms",
                },
                less_is_better=True,
                settings={
                    **settings,
                    "blocks": self.sizes.visible,
                    "poll_interval_s": mirror.FOLLOW_INTERVAL_S,
                },
            )


def told_reads(sizes: bench_mirror_reads.Sizes, numbers: Numbers) -> Iterator[dict[str, Any]]:
    """One JSON object for each question of the reading half."""
    settings = {"rounds": sizes.rounds, "transfers": sizes.transfers, "holders": sizes.holders}
    size, smaller = f"{sizes.transfers:,} transfers", f"{sizes.transfers // 10:,} transfers"
    yield numbers.told(
        "How long does one holding take as of a block in the middle, in SQL, p99?",
        unit="ms",
        ours=f"one holding, {size}, middle, p99 ms",
        references={
            "a tenth of the transfers": f"one holding, {smaller}, middle, p99 ms",
            "adding up transfers, p99": f"one sum, {size}, middle, p99 ms",
            "adding up the busiest holder's transfers": f"one sum, {size}, middle, busiest holder ms",
        },
        less_is_better=True,
        settings=settings,
    ) | {"medians": numbers.medians("one holding", "one sum")}
    yield numbers.told(
        "How long does the full cap table take as of a block in the middle, in pages?",
        unit="ms, all pages",
        ours=f"table, {size}, middle, all pages ms",
        references={
            "a tenth of the transfers": f"table, {smaller}, middle, all pages ms",
            "adding up all transfers": f"table, {size}, middle, by adding up ms",
        },
        less_is_better=True,
        settings=settings,
    ) | {"medians": numbers.medians("table")}
    yield numbers.told(
        "How many reads of one holding a second does the API answer, as of the head?",
        unit="answers a second, 32 clients",
        ours="API, head, 32 clients, a second",
        references={"bare FastAPI route": "bare route, head, 32 clients, a second"},
        settings=settings,
    ) | {"medians": numbers.medians("API", "bare route")}


def write(folder: Path, sizes: Sizes, numbers: Numbers) -> list[dict[str, Any]]:
    """Measure the writing half, and end what was started."""
    try:
        peer = bench_mirror_peer.install()
    except PeerMissing as error:
        print(f"  without the peer: {error}", file=sys.stderr)
        peer = None
    with ExitStack() as started:
        postgres = local.start_postgres(folder / "postgres", throw_away=True)
        started.callback(postgres.stop)
        fixture = bench_mirror_chain.start(folder, sizes.blocks)
        started.callback(fixture.stop)
        writes = Writes(folder, sizes, numbers, fixture, Databases(postgres), peer)
        writes.run()
        return list(writes.verdict())


def main() -> int:
    """Measure; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small round, under a minute on an idle machine")
    parser.add_argument("--only", choices=HALVES, help="one half of the questions")
    asked = parser.parse_args()
    sizes, numbers = QUICK if asked.quick else FULL, Numbers()
    signals.listen()
    try:
        with tempfile.TemporaryDirectory(prefix="muniment-bench-", ignore_cleanup_errors=True) as name:
            lines: list[dict[str, Any]] = []
            if asked.only != "reads":
                lines += write(Path(name), sizes, numbers)
            if asked.only != "writes":
                bench_mirror_reads.measure(Path(name), sizes.reads, numbers)
                lines += told_reads(sizes.reads, numbers)
        for line in lines:
            print(json.dumps(line, ensure_ascii=False))
        return 0
    except signals.Interrupted:
        return 130
    except (NotInstalled, ProcessDied, TimeoutError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
