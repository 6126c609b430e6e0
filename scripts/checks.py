"""Run every check and every test; what is given on the command line goes to pytest.

The checks run beside pytest, on what it leaves of the cores, with one line each as it ends; what pytest says follows
once all have ended, so that its closing line is the last.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = Path(sys.executable).parent
WORKERS = "3"
"""Processes of pytest: two cores, and one more for the time in which tests wait for blocks and processes; with another
one the run takes as long, and what waits within a limit has a quarter less of a core."""
NICE = ("nice", "-n", "10")
"""Tests come first, as they wait for things within a limit; a tenth of a share still ends the checks before them."""

# The longest first, as it keeps one core busy for most of its time.
CHECKS = {
    "contracts pass forge's tests": ("python", "-m", "scripts.forge"),
    "slither has no finding": ("python", "-m", "scripts.slither"),
    "types": ("mypy",),
    "layers": ("lint-imports", "--no-cache"),
    "lint": ("ruff", "check", "."),
    "format": ("ruff", "format", "--check", "."),
}
TELLING = {"contracts pass forge's tests", "slither has no finding"}
"""Checks whose own last line is shown."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a check ended."""

    name: str
    command: tuple[str, ...]
    passed: bool
    written: str
    took_s: float

    def told(self) -> str:
        """What a person reads of it."""
        line = f"  {'✓' if self.passed else '✗'} {self.name}  {self.took_s:.1f} s"
        if not self.passed:
            return f"{line}\n$ {' '.join(self.command)}\n{self.written}"
        own = self.written.strip().splitlines()[-1:] if self.name in TELLING else []
        return "\n".join([line, *(f"      {words}" for words in own)])


def check(name: str) -> Outcome:
    """Run one check."""
    program, *rest = CHECKS[name]
    start_s = time.monotonic()
    done = subprocess.run(
        [*NICE, str(PROGRAMS / program), *rest],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return Outcome(name, CHECKS[name], done.returncode == 0, done.stdout, time.monotonic() - start_s)


def compile_tests() -> None:
    """Compile what pytest compiles of the tests, where nobody has: otherwise each of its processes does all of it."""
    prefix = sys.pycache_prefix
    if prefix is not None and not Path(f"{prefix}{ROOT}/tests").exists():
        command = [sys.executable, "-m", "pytest", "--collect-only", "-qq"]
        subprocess.run(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def start_tests(given: list[str]) -> subprocess.Popen[str]:
    """Pytest, with what it says in a pipe: where that is full, it waits until it is read."""
    colour = ["--color=yes"] if sys.stdout.isatty() else []
    # A module stays in one process, as what it boots is most of its time; in the tree's order the small ones come last.
    spread = ["-n", WORKERS, "--dist", "loadfile", "--no-loadscope-reorder"]
    command = [sys.executable, "-m", "pytest", *spread, *colour, *given]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def all_pass(checks: Iterable[Future[Outcome]]) -> bool:
    """Tell of each check as it ends."""
    passed = True
    for done in as_completed(checks):
        print(done.result().told(), flush=True)
        passed = passed and done.result().passed
    return passed


def main() -> int:
    """Run all; the exit status is 0 when everything passed."""
    given = sys.argv[1:]
    if {"-h", "--help"} & set(given):
        print("usage: scripts/test [PYTEST ARGUMENTS…]\n\n" + (__doc__ or ""))
        return 0
    pool = ThreadPoolExecutor(os.cpu_count())
    checks = [pool.submit(check, name) for name in CHECKS]
    compile_tests()
    with start_tests(given) as tests:
        failed = not all_pass(checks)
        if failed:
            print("a check failed; the tests run all the same", flush=True)
        assert tests.stdout is not None
        for line in tests.stdout:
            print(line, end="", flush=True)
    return tests.wait() or int(failed)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
