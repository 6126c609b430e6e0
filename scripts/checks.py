"""Run every check and every test; what is given on the command line goes to pytest.

The checks that need no server run first and together, with one line each as it ends; then pytest, whose closing line is
the last.
"""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = Path(sys.executable).parent
WORKERS = "2"

# The long ones first: both cores then end at about the same time.
CHECKS = {
    "contracts pass forge's tests": ("python", "-m", "scripts.forge"),
    "slither has no finding": ("python", "-m", "scripts.slither"),
    "types": ("mypy",),
    "contracts compile to the artifacts": ("python", "-m", "scripts.compile", "--check"),
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
        [str(PROGRAMS / program), *rest],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return Outcome(name, CHECKS[name], done.returncode == 0, done.stdout, time.monotonic() - start_s)


def main() -> int:
    """Run all; the exit status is 0 when everything passed."""
    given = sys.argv[1:]
    if {"-h", "--help"} & set(given):
        print("usage: scripts/test [PYTEST ARGUMENTS…]\n\n" + (__doc__ or ""))
        return 0
    failed = False
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in as_completed([pool.submit(check, name) for name in CHECKS]):
            print(done.result().told(), flush=True)
            failed = failed or not done.result().passed
    if failed:
        print("a check failed; the tests run all the same", flush=True)
    tests = subprocess.run([sys.executable, "-m", "pytest", "-n", WORKERS, *given], cwd=ROOT, check=False)
    return tests.returncode or int(failed)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
