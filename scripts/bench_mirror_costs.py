"""What a process of a bench costs: processor time and memory, with all that it started. Source: proc(5)."""

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SAMPLE_INTERVAL_S = 0.2
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TICKS_IN_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cost:
    """What filling a database took."""

    took_s: float  # from the start of the process
    working_s: float  # from the start of its work
    cpu_s: float
    peak_mb: float


@dataclass(slots=True)
class Watch:
    """Keeps an eye on a process as long as its block lasts."""

    pid: int
    _peak_bytes: int = 0
    _done: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> "Watch":
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        assert self._thread is not None
        self._thread.join()

    def cost(self, *, took_s: float, working_s: float) -> Cost:
        """Up to now."""
        return Cost(took_s, working_s, cpu_s(self.pid), self.peak_mb)

    @property
    def peak_mb(self) -> float:
        """The most memory that was seen in use at one moment."""
        return self._peak_bytes / 1e6

    def _look(self) -> None:
        while not self._done.wait(SAMPLE_INTERVAL_S):
            resident = sum(int(told[21]) for told in _family(self.pid)) * _PAGE_BYTES
            self._peak_bytes = max(self._peak_bytes, resident)


def cpu_s(pid: int) -> float:
    """Processor time so far of a process, of those that it started, and of those of them that have ended."""
    return sum(int(ticks) for told in _family(pid) for ticks in told[11:15]) / _TICKS_IN_S


def _family(pid: int) -> Iterator[list[str]]:
    """What the machine tells of a process and all beneath it, each from its third field on."""
    told = {int(entry.name): fields for entry in Path("/proc").glob("[0-9]*") if (fields := _fields(entry))}
    wanted = {pid}
    while more := {each for each, fields in told.items() if int(fields[1]) in wanted} - wanted:
        wanted |= more
    return (told[each] for each in wanted if each in told)


def _fields(entry: Path) -> list[str]:
    try:
        return (entry / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
