"""Set up this checkout: `.venv` with the locked packages, and the npm packages of contracts/.

Needs Python 3.11 or later and the package registries, nothing else. A second run finds all in place and ends at once.
Give `--run MODULE ARGUMENTS…` to run a module of this checkout afterwards, in its environment.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
LOCAL = ROOT / ".local"
LOG = LOCAL / "setup.log"
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
LOCK = ROOT / "requirements.lock"
NODE_LOCK = ROOT / "scripts" / "node.lock"
CONTRACTS = ROOT / "contracts"
VENV_STAMP = VENV / "setup-stamp"
NODE_STAMP = CONTRACTS / "node_modules" / ".setup-stamp"
PYTHONS = ("python3.14", "python3.13", "python3.12", "python3.11")
PYTHON_MIN = 0x030B0000
NODE_MAJOR_MIN = 20
TAIL_LINES = 25


_held: list[int] = []  # the lock, passed on to every tool


class SetupFailed(Exception):
    """A stage did not work; the message says what to do."""


def run(command: Sequence[str | Path], *, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> bool:
    """Run a tool with its output in the log; True when it worked.

    It ends with us; where we are killed, it keeps the lock until it has ended by itself.
    """
    with LOG.open("ab") as log:
        log.write(f"\n$ {' '.join(map(str, command))}\n".encode())
        log.flush()
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=None if env is None else {**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=_held,
        )
        try:
            return process.wait() == 0
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise


def fingerprint(*inputs: Path | str) -> str:
    """SHA-256 over files and words, each with its place in the list."""
    digest = hashlib.sha256()
    for each in inputs:
        digest.update(hashlib.sha256(each.read_bytes() if isinstance(each, Path) else each.encode()).digest())
    return digest.hexdigest()


def is_stamped(stamp: Path, wanted: str) -> bool:
    """Whether a stage was finished for these inputs."""
    try:
        return stamp.read_text() == wanted
    except OSError:
        return False


def write_stamp(stamp: Path, wanted: str) -> None:
    """Say that a stage is finished: last of all and in one step, so that a cut leaves no lie behind."""
    part = stamp.with_name(f"{stamp.name}.part")
    part.write_text(wanted)
    part.replace(stamp)


def venv_inputs() -> str:
    """What the virtual environment is made from; its scripts name its folder, so it cannot move."""
    version = "{}.{}.{}".format(*sys.version_info[:3])
    return fingerprint(LOCK, NODE_LOCK, ROOT / "pyproject.toml", version, str(ROOT), platform.machine())


def node_inputs() -> str:
    """What contracts/node_modules is made from."""
    files = [CONTRACTS / name for name in ("package.json", "package-lock.json", ".npmrc")]
    return fingerprint(*files, platform.system(), platform.machine())


@contextmanager
def stage(name: str) -> Iterator[None]:
    """One line of progress: what is being done, then how long it took."""
    back = "\r" if sys.stderr.isatty() else ""
    if back:
        print(f"  … {name}", end="", file=sys.stderr, flush=True)
    start_s = time.monotonic()
    try:
        yield
    except BaseException:
        print(f"{back}  ✗ {name}", file=sys.stderr)
        raise
    print(f"{back}  ✓ {name}  {time.monotonic() - start_s:.1f} s", file=sys.stderr, flush=True)


def make_venv(folder: Path = VENV) -> None:
    """An empty environment, in place of a half-made one."""
    base = getattr(sys, "_base_executable", None) or sys.executable
    if not run([base, "-m", "venv", "--clear", folder]):
        raise SetupFailed(
            "Python could not make a virtual environment: on Debian, `apt install python3-venv` brings it"
        )


def uv_requirement() -> str:
    """The entry of uv in the lock: its pin and its hashes."""
    found = re.search(r"^uv==(?:.*\\\n)*.*\n", LOCK.read_text(), re.MULTILINE)
    if found is None:
        raise SetupFailed("requirements.lock does not name uv: run `scripts/lock`")
    return found[0]


def install_uv() -> bool:
    """Bring uv, which installs in seconds what takes pip a minute; False when this machine cannot run it."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(uv_requirement())
        file.flush()
        pip: list[str | Path] = [
            PYTHON,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--require-hashes",
            "--only-binary",
            ":all:",
            "-r",
            file.name,
        ]
        return run(pip) and run([VENV / "bin" / "uv", "--version"])


def uv_environment() -> dict[str, str]:
    """pip's settings in uv's words, as uv does not read them; what is set for uv itself stays as it is."""
    answer = subprocess.run([PYTHON, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False).stdout
    rows = re.findall(r"^(?:global|install|:env:)\.([a-z-]+)='(.*)'$", answer, re.MULTILINE)
    settings = {name: value.replace("\\n", " ").split() for name, value in rows}
    words = {
        "UV_DEFAULT_INDEX": " ".join(settings.get("index-url", [])),
        "UV_INDEX": " ".join(settings.get("extra-index-url", [])),
        "UV_FIND_LINKS": ",".join(settings.get("find-links", [])),
        "UV_INSECURE_HOST": " ".join(settings.get("trusted-host", [])),
        "UV_NO_INDEX": "1" if settings.get("no-index") in (["true"], ["1"], ["yes"], ["on"]) else "",
        "SSL_CERT_FILE": " ".join(settings.get("cert", [])),
        "ALL_PROXY": " ".join(settings.get("proxy", [])),
        # pip looks at every index for the best version; hashes keep a stranger's package out.
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }
    return {name: value for name, value in words.items() if value and name not in os.environ}


def install(lock: Path, python: Path = PYTHON) -> None:
    """Install what a lock names, by hash, for a Python: with uv, else with pip."""
    uv = VENV / "bin" / "uv"
    if uv.exists():
        command: list[str | Path] = [uv, "pip", "install", "--python", python, "--require-hashes", "-r", lock]
        if run(command, env=uv_environment()):
            return
    if not run([python, "-m", "pip", "install", "--require-hashes", "-r", lock]):
        raise SetupFailed("the Python packages could not be installed: does `pip download rich` work on this machine?")


def install_service() -> None:
    """The service itself, from this folder."""
    options = ["--no-deps", "--no-build-isolation", "-e", "."]
    uv = VENV / "bin" / "uv"
    if uv.exists() and run([uv, "pip", "install", "--offline", "--python", PYTHON, *options]):
        return
    if not run([PYTHON, "-m", "pip", "install", *options]):
        raise SetupFailed("the service could not be installed from this folder")


def node_folder() -> Path | None:
    """Where a Node.js that is new enough is, with npm beside it: on PATH, else in the environment."""
    for name in (shutil.which("node"), str(VENV / "bin" / "node")):
        if name is None or not Path(name).exists() or shutil.which("npm", path=str(Path(name).parent)) is None:
            continue
        version = subprocess.run([name, "--version"], capture_output=True, text=True, check=False).stdout
        found = re.match(r"v(\d+)\.", version)
        if found and int(found[1]) >= NODE_MAJOR_MIN:
            return Path(name).parent
    return None


def install_npm_packages() -> None:
    """contracts/node_modules, by the lock's integrity hashes; `npm ci` refuses a lock with optional packages."""
    folder = node_folder()
    assert folder is not None
    environment = {"PATH": os.pathsep.join([str(folder), os.environ.get("PATH", os.defpath)])}
    command = [str(folder / "npm"), "install", "--prefer-offline", "--no-progress"]
    if not run(command, cwd=CONTRACTS, env=environment):
        raise SetupFailed("npm could not install contracts/package.json: does `npm view solc version` work here?")
    if not is_locked():
        raise SetupFailed("npm changed contracts/package-lock.json: run `scripts/lock` and look at the difference")


def is_locked() -> bool:
    """Whether the installed versions are those of package-lock.json."""
    wanted = json.loads((CONTRACTS / "package-lock.json").read_text())["packages"]
    there = json.loads((CONTRACTS / "node_modules" / ".package-lock.json").read_text())["packages"]
    return all(wanted.get(name, {}).get("version") == each["version"] for name, each in there.items())


def set_up_python() -> None:
    """Everything in .venv, Node.js included where the machine has none."""
    wanted = venv_inputs()
    if is_stamped(VENV_STAMP, wanted):
        return
    with stage("virtual environment"):
        make_venv()
    with stage("uv"):
        install_uv()
    with stage("Python packages"):
        install(LOCK)
    with stage("the service itself"):
        install_service()
    if node_folder() is None:
        with stage("Node.js, which this machine lacks"):
            install(NODE_LOCK)
    write_stamp(VENV_STAMP, wanted)


def set_up_node() -> None:
    """Everything in contracts/node_modules."""
    wanted = node_inputs()
    if is_stamped(NODE_STAMP, wanted):
        return
    if node_folder() is None:
        with stage("Node.js, which this machine lacks"):
            install(NODE_LOCK)
    with stage("npm packages: compiler, OpenZeppelin, anvil, forge"):
        install_npm_packages()
    write_stamp(NODE_STAMP, wanted)


def is_done() -> bool:
    """Whether nothing needs to be done."""
    return is_stamped(VENV_STAMP, venv_inputs()) and is_stamped(NODE_STAMP, node_inputs())


@contextmanager
def alone() -> Iterator[None]:
    """One set-up of this checkout at a time; a second one waits, and then finds the work done."""
    LOCAL.mkdir(exist_ok=True)
    with (LOCAL / "setup.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("  … another set-up of this checkout is at work; waiting for it", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        _held.append(file.fileno())
        yield
        _held.clear()


def set_up() -> None:
    """Do what is missing.

    Raises:
        SetupFailed: says which part and what to do.
    """
    if is_done():
        return
    with alone():
        if is_done():
            return
        LOG.write_bytes(b"")
        print("setting up (once; later runs skip this)", file=sys.stderr)
        start_s = time.monotonic()
        set_up_python()
        set_up_node()
        print(f"  ready after {time.monotonic() - start_s:.0f} s", file=sys.stderr)


def stop(number: int, frame: object) -> NoReturn:
    """End on a signal as on an error, so that the tool at work is ended too."""
    del frame
    sys.exit(128 + number)


def fail(error: SetupFailed) -> NoReturn:
    """Show the end of the log, and what to do."""
    tail = LOG.read_text(errors="replace").splitlines()[-TAIL_LINES:]
    print(*(f"    {line}" for line in tail), sep="\n", file=sys.stderr)
    sys.exit(f"\nset-up failed: {error}\nThe whole log is {LOG}; run the same command again to go on.")


def keep_bytecode() -> None:
    """Have what is started compile each module once and for all, beside the set-up and not in the tree.

    Some machines are told to keep none; then every process would compile every library anew, three seconds each time.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ.setdefault("PYTHONPYCACHEPREFIX", str(LOCAL / "bytecode"))


def insist_on_python() -> None:
    """Go over to a Python that is new enough where this one is not, or say so."""
    if sys.hexversion >= PYTHON_MIN:
        return
    for newer in filter(None, map(shutil.which, PYTHONS)):
        os.execv(newer, [newer, *sys.argv])
    sys.exit("Python 3.11 or later is needed, and {} is {}.{}".format(sys.executable, *sys.version_info[:2]))


def main() -> None:
    """Set up, and run a module when one is given."""
    insist_on_python()
    arguments = sys.argv[1:]
    module = arguments[1:2] if arguments[:1] == ["--run"] else []
    if arguments and not module:
        print(__doc__)
        sys.exit(0 if arguments[0] in ("-h", "--help") else 2)
    rest = arguments[2:]
    if module and not {"-h", "--help"}.isdisjoint(rest):
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-m", *module, "--help"])
    signals: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before: list[Callable[..., object] | int | None] = [signal.signal(each, stop) for each in signals]
    try:
        set_up()
    except SetupFailed as error:
        fail(error)
    for each, handler in zip(signals, before, strict=True):
        signal.signal(each, handler)
    if module:
        os.chdir(ROOT)
        keep_bytecode()
        os.execv(PYTHON, [str(PYTHON), "-m", *module, *rest])


if __name__ == "__main__":
    main()
