"""`muniment` commands, each in full and in a process of its own, forked from one that has imported the service."""

import itertools
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from scripts import local
from scripts.local import Child
from scripts.stack import Host

END_TIMEOUT_S = 15


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and all that it wrote to both streams."""

    code: int
    told: str


@dataclass(slots=True)
class Terminal:
    """A shell with no setting of its own."""

    host: Host
    folder: Path
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def start(self, settings: dict[str, str], *arguments: str) -> str:
        """Start a command; the name by which `wait` knows it."""
        name = f"{arguments[0]}-{next(self._numbers)}"
        self.host.ask("start", name=name, arguments=list(arguments), settings=settings)
        return name

    def wait(self, name: str) -> Ended:
        """Wait for a command's end."""
        code = local.wait_for(lambda: self._code(name), what=f"the end of {name}", timeout_s=END_TIMEOUT_S)
        return Ended(code, (self.folder / "logs" / f"{name}.log").read_text())

    def run(self, settings: dict[str, str], *arguments: str) -> Ended:
        """Run a command to its end."""
        return self.wait(self.start(settings, *arguments))

    def _code(self, name: str) -> int | None:
        code: int | None = self.host.ask("codes").get(name)
        return code


@contextmanager
def opened(folder: Path) -> Iterator[Terminal]:
    """A terminal until the end of the block, with its logs in a folder."""
    logs = folder / "logs"
    logs.mkdir()
    with (logs / "host.log").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", local.HOST, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            cwd=local.ROOT,
            start_new_session=True,
        )
    host = Host(Child("host", process, logs / "host.log"))
    with local.stopping(host):
        yield Terminal(host, folder)
