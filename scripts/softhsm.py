"""Find SoftHSM, or bring Debian's into .local/: the real PKCS#11 module that tests of signers run against."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from scripts import setup

FOLDER = setup.LOCAL / "softhsm"
ROOT = FOLDER / "root"
STAMP = FOLDER / "stamp"
PACKAGES = ("libsofthsm2", "softhsm2")
PLACES = ("usr/lib", "usr/lib64", "usr/lib/*", "usr/local/lib", "opt/homebrew/lib")


class SoftHsmMissing(Exception):
    """There is no SoftHSM, and none can be brought; the message says what to do."""


@dataclass(frozen=True, slots=True)
class SoftHsm:
    """Where its two parts are."""

    module: Path
    util: Path


def find(root: Path = Path("/")) -> SoftHsm | None:
    """A SoftHSM below a folder, by default the one that this machine has installed."""
    modules = [file for place in PLACES for file in root.glob(f"{place}/softhsm/libsofthsm2.so") if file.exists()]
    folders = [root / "usr/bin", root / "usr/local/bin", root / "opt/homebrew/bin"]
    util = shutil.which("softhsm2-util", path=":".join(map(str, folders)))
    return SoftHsm(modules[0], Path(util)) if modules and util else None


def softhsm() -> SoftHsm:
    """The installed one, else the one in .local/, which is brought there first; no right of root is needed.

    Raises:
        SoftHsmMissing: neither is possible.
    """
    found = find()
    if found is not None:
        return found
    if not STAMP.exists():
        with setup.alone():
            if not STAMP.exists():
                _bring()
    found = find(ROOT)
    if found is None:
        raise SoftHsmMissing(f"{FOLDER} is not whole: remove it and try again")
    return found


def _bring() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    ROOT.mkdir(parents=True)
    setup.LOG.write_bytes(b"")
    # Lists of our own, since those of the machine may be absent, old, or root's alone to renew.
    lists = FOLDER / "lists"
    (lists / "partial").mkdir(parents=True)
    own = ["-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={FOLDER}", "-o", "APT::Sandbox::User="]
    try:
        there = setup.run(["apt-get", "download", *PACKAGES], cwd=FOLDER) or (
            setup.run(["apt-get", *own, "update"], cwd=FOLDER)
            and setup.run(["apt-get", *own, "download", *PACKAGES], cwd=FOLDER)
        )
        unpacked = there and all(setup.run(["dpkg", "-x", deb, ROOT]) for deb in sorted(FOLDER.glob("*.deb")))
    except FileNotFoundError:
        unpacked = False
    if not unpacked or find(ROOT) is None:
        raise SoftHsmMissing(f"SoftHSM 2 could not be brought: install it (Debian: softhsm2). The log is {setup.LOG}")
    shutil.rmtree(lists)
    setup.write_stamp(STAMP, " ".join(PACKAGES))


if __name__ == "__main__":
    if sys.argv[1:]:
        print(__doc__)
    else:
        print(softhsm().module)
