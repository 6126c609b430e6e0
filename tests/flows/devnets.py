"""A devnet of a test's own, as a user starts it."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from scripts import local
from scripts.stack import free_port

START_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class Devnet:
    """A devnet that is ready."""

    process: subprocess.Popen[str]
    url: str
    key: str
    folder: Path

    def get(self, path: str, **parameters: Any) -> Any:
        """Read from its API."""
        headers = {"Authorization": f"Bearer {self.key}"}
        answer = httpx.get(f"{self.url}/v1{path}", headers=headers, params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def example(self, name: str, *arguments: str) -> str:
        """What one of the example scripts prints."""
        environment = {**os.environ, "MUNIMENT_URL": self.url, "MUNIMENT_API_KEY": self.key}
        command = [sys.executable, str(local.ROOT / "scripts" / "examples" / name), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def muniment(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A `muniment` command, in a shell that has sourced the settings."""
        command = shlex.join([sys.executable, "-m", "service.cli", *arguments])
        settings = shlex.quote(str(self.folder / "settings.sh"))
        return subprocess.run(
            ["/bin/sh", "-c", f". {settings} && {command}"], cwd=local.ROOT, capture_output=True, text=True, check=False
        )

    def interrupt(self) -> str:
        """Ctrl-C; what it still had to say."""
        self.process.send_signal(signal.SIGINT)
        written, _ = self.process.communicate(timeout=30)
        assert self.process.returncode == 0, written
        return written


def command(folder: Path, *options: str, port: int | None = None) -> list[str]:
    """The command line of a devnet."""
    ports = ["--port", str(port or free_port()), "--chain-port", str(free_port())]
    return [sys.executable, "-m", "scripts.devnet", "--folder", str(folder), *ports, *options]


@contextmanager
def running(folder: Path, *options: str) -> Iterator[Devnet]:
    """A devnet until the end of the block."""
    log = folder.parent / "devnet.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            command(folder, *options), cwd=local.ROOT, stdout=output, stderr=subprocess.STDOUT, text=True
        )

    def ready() -> bool | None:
        assert process.poll() is None, log.read_text()
        return True if "ready" in log.read_text() else None

    try:
        local.wait_for(ready, what="the devnet", timeout_s=START_TIMEOUT_S)
        told = log.read_text()
        url = re.search(r"API +(http\S+)", told)
        key = re.search(r"API key +(\S+)", told)
        assert url
        assert key
        yield Devnet(process, url[1], key[1], folder)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def left(folder: Path) -> list[str]:
    """Processes that run for a folder."""
    return [name for name, _ in local.running(folder)]
