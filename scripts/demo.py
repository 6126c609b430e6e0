"""Tell of two houses, a painting and a vote on a real system, and check every number shown against the chain.

Postgres, a chain and the four processes run in a throw-away folder; all of it is gone afterwards. Exit 0 when every
number agrees, 1 when one does not or something failed.
"""

import argparse
import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from scripts import signals
from scripts.client import Client, Refused
from scripts.local import NotInstalled, ProcessDied
from scripts.stack import Stack

if TYPE_CHECKING:
    from scripts.opinion import Opinion

BLOCK_TIME_S = 1.0
FINALITY_DEPTH = 24
"""Deep enough for a slow machine to come to the reorganisation before what it undoes is final."""


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="end with one line of JSON: the verdict")
    parser.add_argument("--no-color", action="store_true", help="plain text, as with NO_COLOR in the environment")
    return parser.parse_args()


def tell(stack: Stack, *, plain: bool) -> "tuple[bool, Opinion]":
    """Boot, tell and judge."""
    start_s = time.monotonic()
    pool = ThreadPoolExecutor(1)
    # web3 takes over a second to import: meanwhile the system boots.
    importing = pool.submit(_import_web3)
    pool.shutdown(wait=False)
    from rich.console import Console

    console = Console(no_color=plain or None, width=None if sys.stdout.isatty() else 110, highlight=False)
    console.print("[bold]Muniment[/bold]: two houses, a painting and a vote, from the first order to the proof")
    with console.status("starting") as status:

        def report(what: str) -> None:
            status.update(what)
            if not console.is_terminal:
                console.print(f"[dim]{time.monotonic() - start_s:4.1f} s  {what}[/dim]")

        stack.start(report)
        opinion_module = importing.result()
    from scripts.chapters import verdict
    from scripts.chapters_council import Council
    from scripts.chapters_past import Past
    from scripts.chapters_regulated import Regulated
    from scripts.story import Story

    took_s = time.monotonic() - start_s
    console.print(f"[green]•[/green] Postgres, a chain, api, sender, indexer and dispatcher run after {took_s:.1f} s")
    opinion: Opinion = opinion_module.ask(stack.settings["MUNIMENT_RPC_URL"])
    client = Client(stack.api_url, stack.api_key())
    story = Story(console, client, stack, opinion, FINALITY_DEPTH)
    story.tell()
    told = len(story.operations)
    regulated = Regulated.after(story)
    regulated.tell()
    council = Council.after(story, regulated=regulated)
    council.tell()
    past = Past.after(story, regulated=regulated, council=council, first=told)
    past.tell()
    past.verify()
    agrees = verdict(console, opinion)
    console.print(f"[dim]told in {time.monotonic() - start_s:.1f} s[/dim]")
    return agrees, opinion


def _import_web3() -> ModuleType:
    from scripts import opinion

    return opinion


def main() -> int:
    """Tell the story; the exit status."""
    asked = arguments()
    signals.listen()
    start_s = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="muniment-demo-"))
    stack = Stack(folder, finality=f"depth:{FINALITY_DEPTH}", block_time_s=BLOCK_TIME_S, throw_away=True)
    try:
        agrees, opinion = tell(stack, plain=asked.no_color)
    except signals.Interrupted as interrupted:
        print("interrupted; everything is stopped and removed", file=sys.stderr)
        return 128 + int(interrupted.args[0])
    except (NotInstalled, ProcessDied, Refused, OSError, RuntimeError) as error:
        print(f"the demo failed: {error}", file=sys.stderr)
        return 1
    finally:
        signals.ignore()
        stack.stop()
    if asked.json:
        rows = opinion.rows
        told = {
            "agrees": agrees,
            "compared": len(rows),
            "differences": [row._asdict() for row in rows if not row.agrees],
            "took_s": round(time.monotonic() - start_s, 1),
        }
        print(json.dumps(told))
    return 0 if agrees else 1


if __name__ == "__main__":
    sys.exit(main())
