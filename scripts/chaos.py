"""Break everything while operations are asked for, then prove that each had exactly one effect on the chain.

Boots a whole system of its own, asks for operations over HTTP as a careful client does, and meanwhile kills and pauses
processes, breaks the lines to the chain and to Postgres, reorganises, restarts and starves the chain, and spends the
signer's nonces elsewhere. The plan is drawn from the seed. Exit 0 when nothing is found; 1 with the findings otherwise,
and then the logs are kept.
"""

import argparse
import json
import queue
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from web3 import Web3
from web3.exceptions import Web3Exception

from scripts import chaos_verdict as verdict
from scripts import signals
from scripts.chaos_faults import RICH_WEI, Faults
from scripts.chaos_orders import (
    ANSWER_TIMEOUT_S,
    Asked,
    Ground,
    Insistent,
    NoAnswer,
    own_key_asks,
    own_key_holder,
    place,
    prepare,
    written,
)
from scripts.chaos_plan import Plan, draw
from scripts.client import Client, Refused
from scripts.local import NotInstalled, ProcessDied
from scripts.stack import Stack

CLIENTS = 6
BLOCK_TIME_S = 0.2
FINALITY_DEPTH = 16
"""Above the deepest reorganisation and what a restart loses besides."""

LEVEL_TIMEOUT_S = 60.0
LEVEL_EACH_S = 0.05
"""How long the last operation may take to end once nothing goes wrong any more: a constant, and a part for each."""

UNANSWERED_MAX = 30
"""With more of them waiting, the next faults would meet nothing that is new."""

PAUSE_S = 0.1

LIFE_S = 3_700
"""Longer than what a holder signed is good for: what it may still bring about is decided then."""

Report = Callable[[str, int], None]
"""Hears what is going on, and how many operations were answered."""


@dataclass(slots=True)
class Result:
    """What a run found. An empty list of findings is what is to be shown."""

    plan: Plan
    findings: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    blocks: int = 0
    requests: int = 0
    took_s: float = 0.0
    folder: Path | None = None  # kept when something was found

    @property
    def replay(self) -> str:
        """The command that does the same again."""
        return f".venv/bin/python -m scripts.chaos --operations {len(self.plan.asks)} --seed {self.plan.seed}"

    def __str__(self) -> str:
        told = [f"{len(self.findings)} findings; again: {self.replay}; logs: {self.folder}", *self.findings]
        return "\n".join([*told, "the faults were:", *self.faults])


@dataclass(slots=True)
class Clients:
    """Threads that ask for operations, each until it is answered."""

    stack: Stack
    ground: Ground
    asked: list[Asked] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    _waiting: "queue.SimpleQueue[Asked | None]" = field(default_factory=queue.SimpleQueue)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Begin to ask."""
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def ask(self, asked: Asked) -> None:
        """Have an operation asked for by whoever is free; does not wait."""
        self.asked.append(asked)
        self._waiting.put(asked)

    def finish(self) -> None:
        """Wait until everything is answered."""
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join()

    @property
    def answered(self) -> int:
        """How many operations were accepted or refused."""
        return sum(each.operation_id is not None or each.refusal is not None for each in self.asked)

    def _work(self) -> None:
        with httpx.Client(base_url=self.stack.api_url, timeout=ANSWER_TIMEOUT_S, trust_env=False) as http:
            client = Insistent(http, self.stack.api_key())
            while (asked := self._waiting.get()) is not None:
                try:
                    place(client, asked, self.ground.factory)
                except NoAnswer as error:
                    self.failures.append(str(error))
                except Exception as error:  # an answer that nobody expects is a finding, and ends no thread
                    self.failures.append(f"operation {asked.ask.number} ({asked.ask.kind}): {error!r}")


def run(plan: Plan, report: Report = lambda _what, _answered: None) -> Result:
    """Boot, break, level, judge; the system is gone afterwards, but for its folder when something was found."""
    result, start_s = Result(plan), time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="muniment-chaos-"))
    stack = Stack(folder, f"depth:{FINALITY_DEPTH}", BLOCK_TIME_S, throw_away=True)
    stack.mines = False
    faults = Faults(stack)
    stack.detour = faults.detour
    faults.start_mining()
    try:
        stack.start(lambda what: report(what, 0))
        for finding in _break_and_judge(stack, faults, result, report):
            result.findings.append(finding)
    except (ProcessDied, TimeoutError, OSError, RuntimeError, Refused, Web3Exception) as error:
        result.findings.append(f"the run was cut short: {type(error).__name__}: {error}")
    finally:
        if result.findings:
            stack.throw_away, result.folder = False, folder
        faults.stop()
        stack.stop()
    result.faults, result.took_s = faults.done, time.monotonic() - start_s
    return result


def _break_and_judge(stack: Stack, faults: Faults, result: Result, report: Report) -> Iterator[str]:
    plan, client = result.plan, Client(stack.api_url, stack.api_key())
    report("deploying and minting what it stands on", 0)
    for ask in own_key_asks(plan):
        faults.anvil.ask("anvil_setBalance", own_key_holder(ask), hex(RICH_WEI))
    ground = prepare(client, plan, factory=stack.settings["MUNIMENT_FACTORY_ADDRESS"], mine=lambda: _mine(faults))
    first_block = faults.height() + 1
    clients = Clients(stack, ground)
    clients.start()
    for number, each in enumerate(plan.rounds, start=1):
        for ask in each.asks:
            clients.ask(Asked(ask, written(ask, ground)))
        report(f"{number}/{len(plan.rounds)} {each}", clients.answered)
        faults.meet(each)
        while len(clients.asked) - clients.answered > UNANSWERED_MAX:
            time.sleep(PAUSE_S)
    faults.mend()
    report("waiting for every answer", clients.answered)
    clients.finish()
    yield from clients.failures
    report("waiting for every end", clients.answered)
    yield from _level(client, faults, LEVEL_TIMEOUT_S + LEVEL_EACH_S * len(plan.asks))
    report("judging", clients.answered)
    yield from _judge(stack, faults, clients, result, first_block)


def _mine(faults: Faults) -> None:
    """A few blocks beyond those that come by themselves, at the pace of the workers."""
    faults.anvil.ask("anvil_mine", hex(4))
    time.sleep(PAUSE_S)


def _level(client: Client, faults: Faults, timeout_s: float) -> Iterator[str]:
    """Wait until no operation is pending."""
    end_s, aged = time.monotonic() + timeout_s, False
    while pending := client.get("/operations", status="pending", limit=100)["data"]:
        if time.monotonic() > end_s:
            yield from (f"pending after {timeout_s:.0f} s: {each['id']} {each['transaction']}" for each in pending)
            return
        undecided = all(each["transaction"]["last_error"] == "reverted-so-far" for each in pending)
        if undecided and not aged:
            faults.anvil.ask("evm_increaseTime", LIFE_S)
            aged = True
        if all(each["transaction"]["status"] == "mined" for each in pending):
            _mine(faults)
        time.sleep(PAUSE_S)


def _judge(stack: Stack, faults: Faults, clients: Clients, result: Result, first_block: int) -> Iterator[str]:
    ended = {each["id"]: each for each in Client(stack.api_url, stack.api_key()).pages("/operations", limit=100)[0]}
    assert stack.postgres is not None
    web3, database_url = Web3(Web3.HTTPProvider(faults.anvil.url)), stack.postgres.url
    result.blocks, result.requests = web3.eth.block_number, sum(each.tries for each in clients.asked)
    result.ends = Counter(
        f"{ended[each.operation_id]['transaction']['status']}" if each.operation_id else "refused at the door"
        for each in clients.asked
        if each.operation_id or each.refusal
    )
    answered = [each for each in clients.asked if each.operation_id or each.refusal]
    chain = verdict.read_chain(web3, clients.ground, first_block=first_block)
    yield from verdict.judge_effects(chain, answered, ended)
    yield from verdict.judge_holdings(web3, chain, clients.ground)
    yield from verdict.judge_nonces(web3, chain, faults, database_url)
    yield from verdict.judge_records(database_url, ended)
    yield from verdict.judge_mirror(stack)
    yield from verdict.judge_logs(stack)


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--operations", type=int, default=10_000, metavar="N", help="how many (default %(default)s)")
    parser.add_argument("--seed", type=int, metavar="S", help="what is drawn from (default: a random one, printed)")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON: the verdict")
    asked = parser.parse_args()
    if asked.operations < 1:
        parser.error("--operations must be 1 or more")
    return asked


def tell(result: Result, console: Console) -> None:
    """The table at the end."""
    table = Table(title="faults", title_justify="left", show_header=False, box=None)
    for what, count in sorted(Counter(each.partition(";")[2].strip() for each in result.faults).items()):
        table.add_row(what, str(count))
    for what, count in sorted(Counter(" ".join(each.split()[:2]) for each in result.faults).items()):
        table.add_row(what, str(count))
    ends = ", ".join(f"{count} {end}" for end, count in sorted(result.ends.items()))
    console.print(
        "\n".join(f"  {number:4} {each}" for number, each in enumerate(result.faults, start=1)), highlight=False
    )
    console.print(table)
    console.print(f"{len(result.plan.asks)} operations ({ends}), {result.requests} requests, {result.blocks} blocks")
    for finding in result.findings:
        console.print(f"[red]finding[/red] {finding}", highlight=False, soft_wrap=True)
    verdict_text = "[green]nothing found[/green]" if not result.findings else f"{len(result.findings)} findings"
    console.print(f"{verdict_text} in {result.took_s:.0f} s; the same again: {result.replay}", soft_wrap=True)
    if result.folder is not None:
        console.print(f"logs, chain and database are kept in {result.folder}", soft_wrap=True)


def main() -> int:
    """Run it; the exit status."""
    asked = arguments()
    seed = asked.seed if asked.seed is not None else random.SystemRandom().randrange(2**32)
    console = Console(stderr=asked.json, width=None if sys.stdout.isatty() else 140)
    console.print(f"seed {seed}, {asked.operations} operations", highlight=False)
    signals.listen()
    plan = draw(asked.operations, seed)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=console, transient=True) as progress:
            task = progress.add_task("starting", total=asked.operations)
            result = run(plan, lambda what, answered: progress.update(task, description=what, completed=answered))
    except signals.Interrupted as interrupted:
        console.print("interrupted; everything is stopped and removed")
        return 128 + int(interrupted.args[0])
    except NotInstalled as error:
        console.print(str(error))
        return 1
    tell(result, console)
    if asked.json:
        told = {
            "seed": seed,
            "operations": asked.operations,
            "findings": result.findings,
            "faults": result.faults,
            "ends": result.ends,
            "requests": result.requests,
            "blocks": result.blocks,
            "took_s": round(result.took_s, 1),
        }
        print(json.dumps(told))
    return 1 if result.findings else 0


if __name__ == "__main__":
    sys.exit(main())
