"""How fast are vault tokens made, seen again and told, beside the libraries, and beside bare routes with the same SQL?

A Postgres, the API and the bare routes run in a throw-away folder. At the function level the same functions that the
API's routes call run in this process, eight callers at once on one event loop.
"""

import argparse
import asyncio
import gc
import http.client
import itertools
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvloop

from scripts import signals
from scripts.bench_load import post, send
from scripts.bench_mirror_costs import cpu_s
from scripts.bench_mirror_numbers import Numbers
from scripts.bench_vault_references import cards_a_second
from scripts.bench_vault_system import System, running
from scripts.local import NotInstalled, ProcessDied
from service.vault import opening, revealing, tokenizing
from service.vault.card_ff1 import CardCipher
from service.vault.cards import luhn_sum
from service.vault.document_routes import PARTIAL_UPLOAD
from service.vault.keys import Vault
from service.vault.orders import TokenizeOrder
from service.vault.reveal_orders import RevealOrder

BATCH = 100
FILL_BATCH = 500
CALLERS = 8
CHUNK = os.urandom(2**20)
WHY = {"purpose": "support", "reason": "bench", "view": "plain"}


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything."""

    rounds: int
    singles: int
    batches: int
    stored: int
    document_mib: int


FULL = Sizes(3, 2_000, 200, 10_000_000, 1_024)
QUICK = Sizes(1, 400, 40, 100_000, 32)
WARM_UP = Sizes(1, 50, 10, 0, 8)


@dataclass(slots=True)
class Bench:
    """A running system, and all numbers that were measured, by name."""

    system: System
    bare: str
    api_pid: int
    sizes: Sizes
    numbers: Numbers
    _keys: "itertools.count[int]" = field(default_factory=itertools.count)
    _cards: "itertools.count[int]" = field(default_factory=itertools.count)
    _old: list[str] = field(default_factory=list)

    def cards(self, count: int) -> list[str]:
        """So many card numbers that were never seen before."""
        made = []
        for _ in range(count):
            card = f"4{next(self._cards):014d}0"
            made.append(card[:-1] + str(-luhn_sum(card) % 10))
        return made

    def order(self, policy: str, cards: Sequence[str]) -> dict[str, Any]:
        """A request for vault tokens."""
        return {"policy": str(self.system.policies[policy]), "items": [{"value": each} for each in cards]}

    def of_functions(self) -> None:
        """One round at the function level."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._of_functions())

    async def _of_functions(self) -> None:
        db, vault = self.system.opened()
        await db.open()
        try:
            tokens: list[str] = []
            for size, count, told in ((1, self.sizes.singles, "single"), (BATCH, self.sizes.batches, "batches")):
                for policy in ("random", "deterministic", "ff1"):
                    orders = [self.order(policy, self.cards(size)) for _ in range(count)]
                    made = await self._tokenize(vault, f"function, tokenize {policy}, {told}", orders)
                    tokens = made if policy == "random" else tokens
                    if policy == "deterministic":
                        await self._tokenize(vault, f"function, deterministic lookup, {told}", orders)
                await self._reveal(vault, f"function, reveal, {told}", tokens, size)
                await self._open(vault, f"function, load and open, {told}", tokens, size)
                if self._old:
                    old = random.sample(self._old, min(len(self._old), count * size))
                    await self._reveal(vault, f"function, reveal of any record, {told}", old, size)
        finally:
            await db.close()

    async def _tokenize(self, vault: Vault, name: str, orders: Sequence[dict[str, Any]]) -> list[str]:
        checked = [TokenizeOrder.model_validate(each) for each in orders]
        made: list[str] = []

        async def one(order: TokenizeOrder) -> None:
            outcomes = await tokenizing.tokenize(vault, self.system.caller, f"bench-{next(self._keys)}", order)
            made.extend(each.token or "" for each in outcomes)

        await self._timed(name, one, checked, len(orders[0]["items"]))
        return made

    async def _reveal(self, vault: Vault, name: str, tokens: Sequence[str], size: int) -> None:
        some = [tokens[first : first + size] for first in range(0, len(tokens), size)]
        orders = [RevealOrder.model_validate({"tokens": each, **WHY}) for each in some]

        async def one(order: RevealOrder) -> None:
            await revealing.reveal(vault, self.system.caller, order)

        await self._timed(name, one, orders, size)

    async def _open(self, vault: Vault, name: str, tokens: Sequence[str], size: int) -> None:
        issuer_id = self.system.caller.issuer_id

        async def one(some: Sequence[str]) -> None:
            found = await opening.load(vault, issuer_id, some)
            await opening.opened(vault, issuer_id, [each for each in found if each is not None])

        await self._timed(name, one, [tokens[first : first + size] for first in range(0, len(tokens), size)], size)

    async def _timed(self, name: str, one: Callable[[Any], Awaitable[None]], given: Sequence[Any], size: int) -> None:
        upcoming = iter(given)

        async def caller() -> None:
            for each in upcoming:
                await one(each)

        gc.collect()  # else what was prepared is collected while this is timed
        started_s, spent_s = time.perf_counter(), time.process_time()
        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        count = len(given) * size
        self.numbers.note(name, count / (time.perf_counter() - started_s))
        self.numbers.note(f"{name}, CPU µs each", (time.process_time() - spent_s) / count * 1e6)

    def of_ff1(self) -> None:
        """FF1 over cards in batches, and the libraries one by one."""
        cards, key = self.cards(BATCH * 20), os.urandom(32)
        cipher = CardCipher(key)
        for size in (BATCH, 500):
            started_s = time.perf_counter()
            for first in range(0, len(cards), size):
                cipher.encrypt(cards[first : first + size], b"policy")
            self.numbers.note(f"FF1 cards, batches of {size}", len(cards) / (time.perf_counter() - started_s))
        for name, value in cards_a_second(cards, key).items():
            self.numbers.note(f"FF1 cards, {name}", value)

    def over_http(self) -> None:
        """One round over HTTP, the bare routes in between."""
        for size, count, told in ((1, self.sizes.singles, "single"), (BATCH, self.sizes.batches, "batches")):
            orders = [self.order("random", self.cards(size)) for _ in range(count)]
            self._sent(f"HTTP, tokenize random, {told}", "/v1/vault/tokenize", orders, size)
            self._sent(f"bare route, tokenize, {told}", "/tokenize", orders, size, bare=True)
            orders = [self.order("deterministic", self.cards(size)) for _ in range(count)]
            self._sent(f"HTTP, tokenize deterministic, {told}", "/v1/vault/tokenize", orders, size)
            self._sent(f"HTTP, deterministic lookup, {told}", "/v1/vault/tokenize", orders, size)
            cards = [self.order("ff1", self.cards(size)) for _ in range(count)]
            self._sent(f"HTTP, tokenize ff1, {told}", "/v1/vault/tokenize", cards, size)
            tokens = [self._tokens(size) for _ in range(min(count, 20))]
            asked = [{"tokens": tokens[number % len(tokens)], **WHY} for number in range(count)]
            self._sent(f"HTTP, reveal, {told}", "/v1/vault/reveal", asked, size)
            indexes = [{"indexes": [os.urandom(32).hex() for _ in range(size)]} for _ in range(count)]
            self._sent(f"bare route, reveal, {told}", "/reveal", indexes, size, bare=True)

    def _tokens(self, count: int) -> list[str]:
        answer = self._ask("POST", "/v1/vault/tokenize", self.order("random", self.cards(count)))
        return [each["token"] for each in answer["data"]]

    def _sent(self, name: str, path: str, bodies: Sequence[Any], size: int, *, bare: bool = False) -> None:
        url = self.bare if bare else self.system.url
        requests = [post(url, path, self.system.key, f"bench-{next(self._keys)}", each) for each in bodies]
        before_s = cpu_s(self.api_pid)
        answers = send(url, requests, clients=CALLERS, status=200)
        count = len(bodies) * size
        self.numbers.note(name, count / answers.took_s)
        if not bare:
            self.numbers.note(f"{name}, API CPU µs each", (cpu_s(self.api_pid) - before_s) / count * 1e6)

    def _ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        connection = http.client.HTTPConnection(self.system.url.removeprefix("http://"), timeout=600)
        given = {
            "Authorization": f"Bearer {self.system.key}",
            "Content-Type": "application/json",
            "Idempotency-Key": f"bench-{next(self._keys)}",
            **headers,
        }
        connection.request(method, path, json.dumps(body) if isinstance(body, dict) else body, given)
        answer = connection.getresponse()
        if "reveal" in path and answer.status == 200:
            return sum(len(piece) for piece in iter(lambda: answer.read(2**20), b""))
        told = json.loads(answer.read())
        assert answer.status < 300, told
        return told

    def documents(self) -> None:
        """One document in and out, MB a second."""
        size = self.sizes.document_mib * len(CHUNK)
        order = {"policy": str(self.system.policies["papers"]), "name": "deed", "media_type": "application/pdf"}
        id_ = self._ask("POST", "/v1/vault/documents", {**order, "size_bytes": size})["id"]
        headers = {"Content-Type": PARTIAL_UPLOAD, "Upload-Offset": "0", "Content-Length": str(size)}
        started_s = time.perf_counter()
        content = itertools.repeat(CHUNK, self.sizes.document_mib)
        self._ask("PATCH", f"/v1/vault/documents/{id_}/content", content, **headers)
        self.numbers.note("document in, MB/s", size / 1e6 / (time.perf_counter() - started_s))
        started_s = time.perf_counter()
        why = {"purpose": "support", "reason": "bench"}
        assert self._ask("POST", f"/v1/vault/documents/{id_}/reveal", why) == size
        self.numbers.note("document out, MB/s", size / 1e6 / (time.perf_counter() - started_s))

    def run(self) -> None:
        """Everything, in rounds; then again the first part with many records stored."""
        sizes, self.sizes = self.sizes, WARM_UP
        self._round()
        self.numbers.found.clear()
        self.sizes = sizes
        for _ in range(sizes.rounds):
            self._round()
        few = {name: self.numbers.found.pop(name) for name in MANY}
        self._fill(self.sizes.stored)
        for _ in range(self.sizes.rounds):
            self.of_functions()
        for name, values in few.items():
            self.numbers.found[f"{name}, before"] = values

    def run_stored(self, counts: Sequence[int]) -> None:
        """The first part alone, with few records stored and then with each of these counts."""
        sizes, self.sizes = self.sizes, WARM_UP
        self.of_functions()
        self.sizes = sizes
        stored = 0
        for count in (0, *counts):
            self._fill(count - stored)
            stored = count
            self.numbers.found, kept = {}, self.numbers.found
            for _ in range(sizes.rounds):
                self.of_functions()
            found, self.numbers.found = self.numbers.found, kept
            self.numbers.found |= {f"{name}, {count:,} stored": values for name, values in found.items()}

    def _fill(self, count: int) -> None:
        """Store so many records more; some of them are revealed from now on, too."""
        if count <= 0:
            return
        before, started_s = self.system.disk_bytes(), time.perf_counter()
        batches = (self.cards(min(FILL_BATCH, count - at)) for at in range(0, count, FILL_BATCH))
        tokens = self.system.fill(batches)
        self._old = random.sample(tokens, min(len(tokens), 5_000))
        after = self.system.disk_bytes()
        self.numbers.note("bytes a record", (after[0] - before[0]) / (after[1] - before[1]))
        self.numbers.note("filled with, records a second", count / (time.perf_counter() - started_s))

    def _round(self) -> None:
        self.of_functions()
        self.of_ff1()
        self.over_http()
        self.documents()


MANY = (
    "function, tokenize random, batches",
    "function, deterministic lookup, batches",
    "function, reveal, batches",
)
"""What is measured again when many records are stored."""


def told(numbers: Numbers, sizes: Sizes) -> list[dict[str, Any]]:
    """One JSON object for each question."""
    settings = {"batch": BATCH, "callers": CALLERS, "rounds": sizes.rounds}
    found = []
    for what in ("tokenize random", "reveal", "deterministic lookup", "tokenize ff1"):
        for size in ("single", "batches"):
            references = {"function level": f"function, {what}, {size}"}
            bare = f"bare route, {what.split()[0]}, {size}"
            if numbers.has(bare) and what != "tokenize ff1":
                references["bare route"] = bare
            before = f"function, {what}, {size}, before"
            if numbers.has(before):
                references["function level"] = before
            found.append(
                numbers.told(
                    f"{what}, {size}: vault tokens a second over HTTP",
                    unit="1/s",
                    ours=f"HTTP, {what}, {size}",
                    references=references,
                    settings={**settings, **numbers.medians(f"HTTP, {what}, {size}, API")},
                )
            )
    found.append(
        numbers.told(
            "FF1 over cards in batches of 100",
            unit="1/s",
            ours=f"FF1 cards, batches of {BATCH}",
            references={name: f"FF1 cards, {name}" for name in ("libffx", "fastfpe")},
            settings={**settings, **numbers.medians("FF1 cards, batches of 500")},
        )
    )
    for way in ("in", "out"):
        document = {**settings, "mib": sizes.document_mib}
        question = f"a document {way} over HTTP"
        found.append(
            numbers.told(question, unit="MB/s", ours=f"document {way}, MB/s", references={}, settings=document)
        )
    for name in MANY:
        stored = {**settings, "stored": sizes.stored, **numbers.medians("bytes a record")}
        question = f"{name}, with many stored"
        references = {"few stored": f"{name}, before"}
        found.append(numbers.told(question, unit="1/s", ours=name, references=references, settings=stored))
    return found


def told_stored(numbers: Numbers, sizes: Sizes, counts: Sequence[int]) -> list[dict[str, Any]]:
    """One JSON object for each count of stored records and each thing that was done."""
    settings = {"batch": BATCH, "callers": CALLERS, "rounds": sizes.rounds, **numbers.medians("bytes", "filled")}
    return [
        numbers.told(
            f"{name}, {count:,} stored",
            unit="1/s",
            ours=f"{name}, {count:,} stored",
            references={"few stored": f"{name}, 0 stored"},
            settings=settings,
        )
        for count in counts
        for name in (*MANY, "function, reveal of any record, batches")
    ]


def main() -> None:
    """Measure, and tell each answer as a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small round: under a minute")
    parser.add_argument(
        "--stored",
        type=int,
        nargs="+",
        metavar="COUNT",
        help="only the pace with so many records stored, in rising order",
    )
    given = parser.parse_args()
    sizes = QUICK if given.quick else FULL
    numbers = Numbers()
    signals.listen()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="muniment-bench-") as folder,
            running(Path(folder)) as (system, bare, api_pid),
        ):
            bench = Bench(system, bare, api_pid, sizes, numbers)
            bench.run_stored(given.stored) if given.stored else bench.run()
    except (NotInstalled, ProcessDied, TimeoutError) as error:
        sys.exit(f"bench: {error}")
    except signals.Interrupted:
        sys.exit(130)
    for each in told_stored(numbers, sizes, given.stored) if given.stored else told(numbers, sizes):
        print(json.dumps(each, ensure_ascii=False))


if __name__ == "__main__":
    main()
