"""How many confirmed mints a second do we carry from HTTP to the chain, beside web3.py and beside the bare node?

Postgres, a chain and the four processes run in a throw-away folder. A mint counts from the first request until the last
operation has succeeded; a block is final at once, as the receipt that the web3.py loop waits for is.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Any

from scripts import bench_past, signals
from scripts.bench_load import Answers, post, send
from scripts.bench_references import call_latencies_ms, ceiling, web3_loop
from scripts.bench_system import BLOCK_GAS, Issuer, System
from scripts.local import ROOT, NotInstalled, ProcessDied
from scripts.stack import Stack

CLIENTS = 32
SIGNERS = 4
BULK_ROWS = 10_000
STATES_KEPT = 128
"""Blocks back that the chain knows: anvil copies its state for each, which came to 17 GB with the devnet's 512."""

QUEUE_CLIENTS = 2
QUEUE_REQUESTS = 200


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything."""

    rounds: int
    loop_automine: int
    loop_blocks: int
    mints_automine: int
    mints_blocks: int
    pushed: int
    past: Sequence[int]


FULL = Sizes(3, 60, 5, 1_500, 3_000, 8_000, (10, 10_000, 1_000_000))
QUICK = Sizes(1, 20, 2, 300, 600, 2_000, (10, 10_000))


@dataclass(slots=True)
class Bench:
    """A running system, and all numbers that were measured, by name."""

    system: System
    sizes: Sizes
    found: dict[str, list[float]] = field(default_factory=dict)

    def note(self, name: str, value: float) -> None:
        """Keep a number, and show it."""
        self.found.setdefault(name, []).append(value)
        print(f"  {name:<46} {value:10.2f}", flush=True)

    def mint(self, name: str, issuers: Sequence[Issuer], count: int) -> Answers:
        """Mint so many through HTTP; the rate under this name, and what it cost whom."""
        requests = self.system.mints(issuers, count)
        before = self.system.cpu_s()
        answers = send(self.system.stack.api_url, requests, clients=CLIENTS, status=202)
        end_s = self.system.wait_until_closed()
        after = self.system.cpu_s()
        self.note(name, count / (end_s - answers.started_s))
        for part in sorted(before):
            self.note(f"{name}, {part} CPU ms a mint", (after[part] - before[part]) / count * 1_000)
        self.note(f"{name}, client CPU ms a mint", answers.cpu_s / count * 1_000)
        return answers

    def under_automine(self, outsider: str) -> None:
        """A block for each transaction."""
        self.system.automine()
        one, sizes = self.system.issuers[0], self.sizes
        self.note(
            "web3.py loop, automine", web3_loop(self.system.chain_url, one.contract, outsider, sizes.loop_automine)
        )
        self.mint("one signer, automine", [one], sizes.mints_automine)
        self.mint("four signers, automine", self.system.issuers, sizes.mints_automine)

    def at_blocks(self, outsider: str) -> None:
        """A block a second."""
        self.system.mine_every(1)
        one, sizes = self.system.issuers[0], self.sizes
        self.note("web3.py loop, blocks", web3_loop(self.system.chain_url, one.contract, outsider, sizes.loop_blocks))
        answers = self.mint("one signer, blocks", [one], sizes.mints_blocks)
        self.note("accepted by 32 clients, p50 ms", answers.latency_ms(50))
        self.note("accepted by 32 clients, p99 ms", answers.latency_ms(99))
        self.mint("four signers, blocks", self.system.issuers, sizes.mints_blocks)
        self.note("ceiling, blocks", ceiling(self.system.chain_url, one.contract, outsider, sizes.pushed))

    def while_saturated(self) -> None:
        """Two callers, while the sender has a queue that 32 have left."""
        one, url = self.system.issuers[0], self.system.stack.api_url
        queue = self.system.mints([one], self.sizes.mints_blocks)
        requests = self.system.mints([one], QUEUE_REQUESTS)
        send(url, queue, clients=CLIENTS, status=202)
        done = Event()
        with ThreadPoolExecutor(1) as pool:
            calls = pool.submit(call_latencies_ms, self.system.chain_url, one.contract, done)
            answers = send(url, requests, clients=QUEUE_CLIENTS, status=202)
            done.set()
        at_node = sorted(calls.result())
        self.note("the node alone, one eth_call meanwhile, p99 ms", at_node[int(len(at_node) * 0.99)])
        self.note("accepted while the sender is busy, p50 ms", answers.latency_ms(50))
        self.note("accepted while the sender is busy, p99 ms", answers.latency_ms(99))
        self.system.wait_until_closed()

    def bulk(self) -> None:
        """Recipients a second of one request with 10,000 rows."""
        issuer = self.system.issuers[0]
        rows = [{"to": f"0x{os.urandom(20).hex()}", "amount": "1000"} for _ in range(BULK_ROWS)]
        path = f"/v1/tokens/{issuer.token_id}/batches/mint"
        request = post(self.system.stack.api_url, path, issuer.key, f"bulk-{time.time_ns()}", {"rows": rows})
        answers = send(self.system.stack.api_url, [request], clients=1, status=202)
        end_s = self.system.wait_until_closed()
        self.note("bulk", BULK_ROWS / (end_s - answers.started_s))

    def with_past(self, finished: int) -> None:
        """One signer, with so many finished operations in the tables."""
        with self.system.database() as connection:
            bench_past.fill(connection, finished)
        self.system.mine_every(1)
        for _ in range(self.sizes.rounds):
            self.mint(f"one signer, {finished:,} finished", self.system.issuers[:1], self.sizes.mints_blocks)

    def run(self) -> None:
        """Everything, in rounds."""
        outsider = self.system.outsider(self.system.issuers[0])
        self.system.automine()
        self.mint("warm-up", self.system.issuers, 100)
        for _ in range(self.sizes.rounds):
            # Before the chain's state is large: anvil copies it for each block, and here each mint has its own.
            self.under_automine(outsider)
        first, *later = self.sizes.past
        self.with_past(first)
        for _ in range(self.sizes.rounds):
            self.at_blocks(outsider)
            self.while_saturated()
            self.bulk()
        for finished in later:
            self.with_past(finished)

    def median(self, name: str) -> float:
        """Of all rounds."""
        return statistics.median(self.found[name])

    def ratio(self, value: str, reference: str) -> float:
        """Of two medians."""
        return round(self.median(value) / self.median(reference), 3)

    def verdict(self) -> dict[str, Any]:
        """The one JSON object."""
        ours = "one signer, blocks"
        past = [f"one signer, {finished:,} finished" for finished in self.sizes.past]
        return {
            "question": (__doc__ or "").splitlines()[0],
            "commit": _commit(),
            "unit": "confirmed mints a second: one signer, 32 clients, a block a second",
            "ours": round(self.median(ours), 1),
            "references": {
                name: {"value": round(self.median(name), 2), "ratio": self.ratio(ours, name)}
                for name in ("web3.py loop, blocks", "ceiling, blocks")
            },
            "ratios": {
                "one signer by web3.py loop, automine": self.ratio("one signer, automine", "web3.py loop, automine"),
                "four signers by one, blocks": self.ratio("four signers, blocks", ours),
                "four signers by one, automine": self.ratio("four signers, automine", "one signer, automine"),
                "bulk by single requests": self.ratio("bulk", ours),
                f"{self.sizes.past[-1]:,} finished by {self.sizes.past[0]:,}": self.ratio(past[-1], past[0]),
            },
            "medians": {name: round(statistics.median(values), 2) for name, values in self.found.items()},
            "settings": {
                "clients": CLIENTS,
                "signers": SIGNERS,
                "rounds": self.sizes.rounds,
                "block_gas": BLOCK_GAS,
                "finality": "depth:0",
                "cores": os.cpu_count(),
                "load": round(os.getloadavg()[0], 1),
            },
        }


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def main() -> int:
    """Measure; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small round, under a minute on an idle machine")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="muniment-bench-"))
    stack = Stack(folder, finality="depth:0", block_time_s=0, throw_away=True, states_kept=STATES_KEPT)
    signals.listen()
    try:
        bench = Bench(System(stack), QUICK if asked.quick else FULL)
        bench.system.start(SIGNERS)
        bench.run()
        print(json.dumps(bench.verdict()))
        return 0
    except signals.Interrupted:
        return 130
    except (NotInstalled, ProcessDied) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        stack.stop()


if __name__ == "__main__":
    sys.exit(main())
