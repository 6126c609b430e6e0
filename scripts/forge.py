"""Run `forge test` over contracts/test; what is given on the command line goes to forge.

Forge finds npm's compiler through contracts/foundry.toml; what it builds and keeps is in .local/forge. Where nothing
has changed since, nothing is compiled.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from scripts import compile as compiling

OUT = compiling.ROOT / ".local" / "forge" / "out"
THREADS = "1"
"""One, as rayon's threads spin for each other where cores are busy: beside the tests two took eight times the CPU.

It stays fixed: each thread draws a share of the fuzzed cases, and another number is other cases, whatever the seed."""


class ForgeMissing(Exception):
    """There is no forge on this machine; the message says what to do."""


def forge_path() -> Path:
    """The forge binary: the npm package's own (its launcher needs install scripts), else the one on PATH.

    Raises:
        ForgeMissing: there is neither.
    """
    pinned = sorted((compiling.CONTRACTS / "node_modules/@foundry-rs").glob("forge-*/bin/forge"))
    if pinned:
        return pinned[0]
    found = shutil.which("forge")
    if found is None:
        raise ForgeMissing("forge is not installed: run `python3 scripts/setup.py`")
    return Path(found)


def main() -> int:
    """Run forge; the exit status is its own, or 1 where it cannot run."""
    try:
        compiling.npm_compiler()  # is there, with Node.js on PATH
        command = [str(forge_path()), "test", *sys.argv[1:]]
    except (ForgeMissing, compiling.CompileError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    # By a way through "..", as foundry.toml can only name it, forge never finds again what it built.
    environment = {**os.environ, "RAYON_NUM_THREADS": THREADS, "FOUNDRY_OUT": str(OUT)}
    return subprocess.run(command, cwd=compiling.CONTRACTS, env=environment, check=False).returncode


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
