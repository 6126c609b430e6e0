"""Run the whole system on this machine until Ctrl-C: Postgres, a chain, api, sender, indexer and dispatcher.

What it holds stays in .local/devnet for the next start, unless --fresh is given.
"""

import argparse
import fcntl
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from scripts import local, signals
from scripts.local import LOCAL, NotInstalled, ProcessDied
from scripts.stack import CHAIN_ID, DEV_ADDRESSES, DEV_KEYS, Stack

CHECK_INTERVAL_S = 0.2
SAVE_INTERVAL_S = 2.0
SAVE_SHARE_MAX = 0.05
"""Of the time, at most so much goes into saving the chain."""


class CannotStart(Exception):
    """Something is in the way; the message says what to do."""


def arguments() -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/devnet", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fresh", action="store_true", help="begin with an empty chain and an empty database")
    parser.add_argument("--port", type=int, default=8000, help="of the API (default %(default)s)")
    parser.add_argument("--chain-port", type=int, default=8545, help="of the chain's JSON-RPC (default %(default)s)")
    parser.add_argument(
        "--block-time", type=float, default=1.0, metavar="SECONDS", help="an empty block after so long (default 1)"
    )
    parser.add_argument(
        "--folder", type=Path, default=LOCAL / "devnet", help="where it is kept (default .local/devnet)"
    )
    asked = parser.parse_args()
    if asked.block_time < 0.1:
        parser.error("--block-time must be 0.1 or more")
    return asked


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """The folder for ourselves alone, with nothing of an earlier run at work in it.

    Raises:
        CannotStart: another devnet runs on it.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStart(
                f"another devnet runs on {folder}: stop it first, or give this one a --folder of its own "
                "(and its own --port and --chain-port)"
            ) from None
        yield


def check_port(port: int, option: str) -> None:
    """Raise CannotStart when something listens on a port already."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise CannotStart(f"port {port} cannot be used ({error}): choose another one with {option}") from None


def start(asked: argparse.Namespace, stack: Stack) -> None:
    """Start everything, after what an earlier run left behind has been ended."""
    folder: Path = stack.folder
    ended = local.stop_leftovers(folder, chain_state=None if asked.fresh else stack.chain_state)
    if ended:
        print(f"an earlier devnet was killed: ended its {', '.join(sorted(set(ended)))}", flush=True)
    if asked.fresh:
        shutil.rmtree(folder, ignore_errors=True)
    check_port(asked.port, "--port")
    check_port(asked.chain_port, "--chain-port")
    stack.start(lambda what: print(f"  {what}", flush=True), port=asked.port, chain_port=asked.chain_port)


def introduce(stack: Stack) -> None:
    """Print all that is needed to use it."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    table = Table(box=None, show_header=False, padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    assert stack.anvil is not None
    table.add_row("API", stack.api_url)
    table.add_row("interactive docs", f"{stack.api_url}/docs")
    table.add_row("API key", stack.api_key())
    table.add_row("chain", f"{stack.anvil.url}  (JSON-RPC, chain id {CHAIN_ID})")
    table.add_row("logs", str(stack.logs))
    table.add_section()
    for number, (address, key) in enumerate(zip(DEV_ADDRESSES, DEV_KEYS, strict=True)):
        table.add_row(f"account {number}", f"{address}  0x{key}")
    console.print()
    console.print(table, soft_wrap=True)
    console.print(
        "\n[yellow]The accounts hold test ether. Their private keys are public: worthless on any real chain.[/yellow]\n"
        "Account 0 signs for the issuer; send from the others.\n\n"
        f"  export MUNIMENT_URL={stack.api_url} MUNIMENT_API_KEY={stack.api_key()}\n"
        "  .venv/bin/python scripts/examples/tokenize_house.py\n"
        f"  . {stack.settings_file} && .venv/bin/muniment verify\n\n"
        "[bold green]ready[/bold green]; Ctrl-C ends it",
        soft_wrap=True,
    )


def supervise(stack: Stack) -> NoReturn:
    """Watch the processes and save the chain now and then, until a process dies or a signal comes."""
    next_save_s = time.monotonic() + SAVE_INTERVAL_S
    while True:
        stack.check()
        if time.monotonic() > next_save_s:
            start_s = time.monotonic()
            stack.save_chain()
            took_s = time.monotonic() - start_s
            next_save_s = time.monotonic() + max(SAVE_INTERVAL_S, took_s / SAVE_SHARE_MAX)
        time.sleep(CHECK_INTERVAL_S)


def main() -> int:
    """Run it; the exit status is 0 after Ctrl-C, and 1 when something failed."""
    asked = arguments()
    signals.listen()
    stack = Stack(asked.folder.resolve(), block_time_s=asked.block_time)
    try:
        with owned(stack.folder):
            try:
                start(asked, stack)
                introduce(stack)
                supervise(stack)
            finally:
                signals.ignore()
                stack.stop()
    except signals.Interrupted:
        print("\nstopped; the next start goes on from here", file=sys.stderr)
        return 0
    except (CannotStart, NotInstalled, ProcessDied, RuntimeError, OSError) as error:
        print(f"devnet: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
