"""The whole system on this machine: Postgres, a chain, and the four processes. For devnet, demo and flow tests."""

import base64
import json
import os
import secrets
import select
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts import local
from scripts.local import Anvil, Child, Postgres, ProcessDied

CHAIN_ID = 31337
PROCESSES = ("api", "sender", "indexer", "dispatcher")

DEV_KEYS = (
    "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
)
"""anvil's own accounts, from its public test mnemonic: worth nothing anywhere."""

DEV_ADDRESSES = (
    "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266",
    "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
    "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
)
"""Their addresses. The first one signs for the issuer."""

ANSWER_TIMEOUT_S = 60

Report = Callable[[str], None]


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(slots=True)
class Host:
    """Our end of the line to scripts/host.py, which forks the four processes."""

    child: Child
    _heard: bytes = b""

    def ask(self, do: str, **asked: Any) -> Any:
        """Have something done, and wait for it.

        Raises:
            ProcessDied: the host is gone, or could not do it; the message carries the end of its log.
        """
        assert self.child.process.stdin is not None
        with suppress(BrokenPipeError):
            self.child.process.stdin.write(json.dumps({"do": do, **asked}).encode() + b"\n")
            self.child.process.stdin.flush()
        answer = json.loads(self._line())
        if "error" in answer:
            tail = self.child.log.read_text(errors="replace")[-2_000:]
            raise ProcessDied(f"{do} failed: {answer['error']}\n{tail}")
        return answer["ok"]

    def _line(self) -> bytes:
        assert self.child.process.stdout is not None
        end_s = time.monotonic() + ANSWER_TIMEOUT_S
        while b"\n" not in self._heard:
            if not select.select([self.child.process.stdout], [], [], 0.1)[0]:
                if time.monotonic() > end_s:
                    raise TimeoutError("the parent of the processes does not answer")
                continue
            more = os.read(self.child.process.stdout.fileno(), 65_536)
            if not more:
                self.child.process.wait()
                self.child.check()
            self._heard += more
        line, self._heard = self._heard.split(b"\n", 1)
        return line

    def stop(self) -> None:
        """End it and all that it forked."""
        if self.child.process.poll() is None:
            with suppress(ProcessDied, TimeoutError, OSError):
                self.ask("end")
        self.child.stop()
        for pipe in (self.child.process.stdin, self.child.process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


@dataclass(slots=True)
class Process:
    """One of the four."""

    name: str
    pid: int
    log: Path
    host: Host

    @property
    def code(self) -> int | None:
        """How it ended, a negative number being a signal; None while it runs."""
        ended: int | None = self.host.ask("codes").get(self.name)
        return ended

    def check(self) -> None:
        """Raise ProcessDied when it has ended."""
        code = self.code
        if code is not None:
            raise ProcessDied(local.epitaph(self.name, code, self.log))

    def stop(self) -> None:
        """End it: politely, then for sure."""
        self.host.ask("stop", names=[self.name])

    def kill(self) -> None:
        """End it as a power cut would."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        local.wait_for(lambda: self.code, what=f"the end of {self.name}")


@dataclass(slots=True)
class Stack:
    """A running system. `stop` ends all that was started, and removes the folder if it is to be thrown away."""

    folder: Path
    finality: str = "depth:8"
    block_time_s: float = 1.0
    throw_away: bool = False
    mines: bool = True
    """Mine each transaction at once, besides a block every `block_time_s`; otherwise whoever starts it mines."""
    detour: Callable[[str, str], dict[str, str]] | None = None
    """Given the URLs of Postgres and of the chain, settings in place of the usual ones: for proxies before the two."""
    states_kept: int = local.STATES_KEPT
    """So many blocks back the chain can be asked what was."""
    settings: dict[str, str] = field(default_factory=dict)
    postgres: Postgres | None = None
    anvil: Anvil | None = None
    host: Host | None = None
    processes: dict[str, Process] = field(default_factory=dict)
    api_url: str = ""
    _booting: Future[Postgres] | None = None

    @property
    def logs(self) -> Path:
        """Where the processes write."""
        return self.folder / "logs"

    @property
    def chain_state(self) -> Path:
        """Where the chain is kept between runs."""
        return self.folder / local.CHAIN_STATE

    @property
    def settings_file(self) -> Path:
        """What a shell sources to run `muniment` commands against this system."""
        return self.folder / "settings.sh"

    def start(self, report: Report, *, port: int = 0, chain_port: int = 0) -> None:
        """Start everything and wait until the API answers; `report` hears what is going on."""
        self.folder = self.folder.resolve()
        self.logs.mkdir(parents=True, exist_ok=True)
        report("starting Postgres and the chain")
        self._start_host()
        pool = ThreadPoolExecutor(1)
        self._booting = pool.submit(local.start_postgres, self.folder / "postgres")
        pool.shutdown(wait=False)
        self.start_anvil(chain_port)
        self.postgres = self._booting.result()
        report("preparing tables, signer, factory and key")
        assert self.host is not None
        given = self._settings(port or free_port())
        prepared = self.host.ask("prepare", settings=given, signer_key=DEV_KEYS[0], throw_away=self.throw_away)
        self.settings = prepared["settings"]
        self._write_settings()
        self.api_url = f"http://127.0.0.1:{self.settings['MUNIMENT_API_PORT']}"
        report("starting api, sender, indexer and dispatcher")
        for name in PROCESSES:
            self.start_process(name)
        self.wait_until_ready()

    def start_anvil(self, port: int = 0) -> None:
        """Start the chain, with the state that it had when it was last saved."""
        options = ["--chain-id", str(CHAIN_ID), "--cache-path", str(self.folder / "anvil")]
        if self.chain_state.exists():
            options += ["--load-state", str(local.unpack_chain(self.chain_state))]
        if not self.mines:
            options += ["--no-mining"]
        elif self.block_time_s:
            options += ["--block-time", f"{self.block_time_s:g}", "--mixed-mining"]
        self.anvil = local.start_anvil(self.logs / "anvil.log", *options, port=port, states_kept=self.states_kept)

    def save_chain(self) -> None:
        """Keep the chain's state for the next start."""
        assert self.anvil is not None
        self.anvil.save(self.chain_state)

    def start_process(self, name: str, *arguments: str, **settings: str) -> Process:
        """Start a `muniment` command: one of the four, or another under a name of its own."""
        assert self.host is not None
        pid = self.host.ask("start", name=name, arguments=list(arguments) or [name], settings=settings)["pid"]
        process = Process(name, pid, self.logs / f"{name}.log", self.host)
        if name in PROCESSES:
            self.processes[name] = process
        return process

    def run(self, *arguments: str) -> tuple[int, str]:
        """Run a `muniment` command to its end; its exit code and all that it wrote."""
        process = self.start_process(arguments[0], *arguments)
        code = local.wait_for(lambda: process.code, what=f"muniment {arguments[0]}", timeout_s=60)
        return code, process.log.read_text()

    def check(self) -> None:
        """Raise ProcessDied when a process has ended that should run."""
        assert self.anvil is not None
        assert self.host is not None
        self.anvil.child.check()
        self.host.child.check()
        codes = self.host.ask("codes")
        for name, process in self.processes.items():
            if name in codes:
                raise ProcessDied(local.epitaph(name, codes[name], process.log))

    def wait_until_ready(self) -> None:
        """Wait until the API answers and the mirror is level."""
        key = self.api_key()

        def ready() -> bool | None:
            self.check()
            try:
                return True if self.get("/v1/status", key)["chain"]["lag"] is not None else None
            except (urllib.error.URLError, ConnectionError):
                return None

        local.wait_for(ready, what="the API")

    def get(self, path: str, key: str) -> Any:
        """Read from the API."""
        request = urllib.request.Request(self.api_url + path, headers={"Authorization": f"Bearer {key}"})
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)

    def api_key(self) -> str:
        """The key that was made when this system was first prepared."""
        return (self.folder / "api-key").read_text()

    def stop(self) -> None:
        """End every process that was started."""
        if self.host is not None:
            self.host.stop()
        if self.anvil is not None:
            if not self.throw_away:
                with suppress(OSError, RuntimeError):
                    local.stop_mining(self.anvil.url)
                    self.save_chain()
            self.anvil.stop()
        if self._booting is not None and self._booting.exception() is None:
            self._booting.result().stop()
        if self.throw_away:
            # An interruption may have come between a start and our note of it.
            local.stop_leftovers(self.folder)
            shutil.rmtree(self.folder, ignore_errors=True)

    def _write_settings(self) -> None:
        """For `muniment` commands in another shell."""
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in self.settings.items()]
        self.settings_file.touch(mode=0o600)
        self.settings_file.write_text("".join(lines))

    def _start_host(self) -> None:
        log = self.logs / "host.log"
        command: Sequence[str] = [sys.executable, "-m", local.HOST, str(self.folder)]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                cwd=local.ROOT,
                start_new_session=True,
            )
        self.host = Host(Child("host", process, log))

    def _settings(self, port: int) -> dict[str, str]:
        assert self.postgres is not None
        assert self.anvil is not None
        secrets_file = self.folder / "secrets.json"
        if not secrets_file.exists():
            part = secrets_file.with_suffix(".part")
            part.touch(mode=0o600)
            part.write_text(json.dumps(_fresh_secrets()))
            part.replace(secrets_file)
        return {
            **json.loads(secrets_file.read_text()),
            "MUNIMENT_DATABASE_URL": self.postgres.url,
            "MUNIMENT_RPC_URL": self.anvil.url,
            "MUNIMENT_CHAIN_ID": str(CHAIN_ID),
            "MUNIMENT_FINALITY": self.finality,
            "MUNIMENT_KEYSTORE_DIR": str(self.folder / "keystore"),
            "MUNIMENT_API_PORT": str(port),
            "MUNIMENT_POLL_INTERVAL_S": "0.1",
            "MUNIMENT_RESEND_AFTER_S": "2",
            "MUNIMENT_LEASE_TTL_S": "2",
            "MUNIMENT_WEBHOOKS_PRIVATE": "true",
            **(self.detour(self.postgres.url, self.anvil.url) if self.detour else {}),
        }


def _fresh_secrets() -> dict[str, str]:
    return {
        "MUNIMENT_KEYSTORE_PASSWORD": secrets.token_urlsafe(24),
        "MUNIMENT_KEY_ENCRYPTION_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
        "MUNIMENT_API_KEY_PEPPER": secrets.token_urlsafe(32),
    }
