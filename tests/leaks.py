"""Fails every test in which a secret is written where people look: captured output, logs, standard error of processes.

A pytest plugin, which conftest.py loads. It reads what pytest captured of a test, what tests read of standard error by
themselves (`capsys`, `communicate`, whoever calls `look`), and what was added to the logs of processes that they
started. A finding names the test and the kind of secret, never the secret; what was captured with it is left out.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Generator
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from scripts.stack import DEV_KEYS
from service.settings import Settings

KINDS = {
    "API key": r"munsk_(?:live|test)_[0-9A-Za-z]{60}",
    "webhook secret": r"whs(?:ec|k)_[A-Za-z0-9+/]{16,}",
    "signature": r"\b(?:sig\w*|eth)=:[A-Za-z0-9+/]{40,}={0,2}:",
    # 65 bytes; the one of the documents' examples is nobody's.
    "wallet's signature": r"\b0x(?!(?:5a){65})[0-9a-fA-F]{130}\b",
    "webhook signature": r"\bv1a?,[A-Za-z0-9+/]{40,}={0,2}",
    "authenticator secret": r"otpauth://|\bsecret=[A-Z2-7]{16,}",
    "private key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
    "database password": r"postgres(?:ql)?://[^\s:/@]*:(?!password@)[^\s/@]+@",
}
SETTING = "secret setting"
_SECRET = re.compile("|".join(f"(?P<k{number}>{each})" for number, each in enumerate(KINDS.values())))

SHOWING = ("anvil", "scripts.devnet", "keys-")
"""Programs, and logs of `muniment keys`, that show keys to whoever starts them: what they print is not read."""

URLS = {"database_url", "replica_url", "rpc_url", "rpc_ws_url", "web3signer_url"}
"""Of these settings only a password is secret, which `KINDS` knows."""

NAMES = {
    name for name, field in Settings.model_fields.items() if "SecretStr" in repr(field.annotation) and name not in URLS
}
LENGTH_MIN = 12
"""Shorter values are words that anything may say."""

_values = set(DEV_KEYS)
_found: list[str] = []
_read_bytes: dict[Path, int] = {}
_folders: set[Path] = set()
_patched = pytest.MonkeyPatch()


def know(settings: dict[str, Any]) -> None:
    """Count the secret ones of these settings as secrets from now on, under their names or those of the environment."""
    for name, value in settings.items():
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if name.removeprefix("MUNIMENT_").lower() in NAMES and isinstance(text, str) and len(text) >= LENGTH_MIN:
            _values.add(text)


def know_secret(secret: str) -> None:
    """Count one that is told by no form of its own as a secret from now on."""
    _values.add(secret)


def kinds_in(text: str) -> list[str]:
    """The kinds of secrets that a text holds."""
    found = {list(KINDS)[int(str(match.lastgroup)[1:])] for match in _SECRET.finditer(text)}
    if any(value in text for value in _values):
        found.add(SETTING)
    return sorted(found)


def look(text: str | bytes | None, where: str) -> None:
    """Have the running test fail where a text holds a secret.

    Args:
        where: whose output it is, for the finding.
    """
    told = text.decode("latin-1") if isinstance(text, bytes) else text or ""
    _found.extend(f"{where} tells a secret: {kind}" for kind in kinds_in(told))


def look_at_logs() -> None:
    """Look at what was added to logs since this was asked last."""
    for folder in list(_folders):
        if not folder.is_dir():
            _folders.discard(folder)
            continue
        with suppress(OSError):
            know(json.loads((folder / "secrets.json").read_text()))
        for path in (folder / "log", *folder.glob("logs/*.log")):
            if path.is_file() and not path.name.startswith(SHOWING):
                _read_bytes.setdefault(path, 0)
    for path, start in list(_read_bytes.items()):
        try:
            with path.open("rb") as log:
                # A process that was started anew writes its log from the beginning.
                log.seek(start if start <= path.stat().st_size else 0)
                look(log.read(), path.name)
                _read_bytes[path] = log.tell()
        except OSError:
            del _read_bytes[path]


def _note(command: Any, *, env: Any = None, stdout: Any = None, stderr: Any = None, **_: Any) -> None:
    """Remember where a process that is started writes, and what secrets it is given."""
    know(env or {})
    words = [str(each) for each in ([command] if isinstance(command, str | bytes | Path) else command)]
    _folders.update(path for path in map(Path, words) if path.is_absolute() and path.is_dir())
    if any(word == name or word.endswith(f"/{name}") for word in words for name in SHOWING):
        return
    for stream in (stdout, stderr):
        name = getattr(stream, "name", None)
        if isinstance(name, str) and Path(name).is_file():
            _read_bytes.setdefault(Path(name), 0)


def pytest_configure() -> None:
    """See what is read before pytest sees it."""
    start, communicate, readouterr, rmtree = (
        *(subprocess.Popen.__init__, subprocess.Popen.communicate),
        *(pytest.CaptureFixture.readouterr, shutil.rmtree),
    )

    @wraps(start)
    def started(self: Any, args: Any, *others: Any, **given: Any) -> None:
        _note(args, **given)
        start(self, args, *others, **given)

    @wraps(communicate)
    def communicated(self: Any, *given: Any, **named: Any) -> Any:
        told = communicate(self, *given, **named)
        look(told[1], "a process")
        return told

    @wraps(readouterr)
    def read(self: Any) -> Any:
        told = readouterr(self)
        look(told.err, "standard error")
        return told

    @wraps(rmtree)
    def removed(*given: Any, **named: Any) -> None:
        look_at_logs()
        rmtree(*given, **named)

    _patched.setattr(subprocess.Popen, "__init__", started)
    _patched.setattr(subprocess.Popen, "communicate", communicated)
    _patched.setattr(pytest.CaptureFixture, "readouterr", read)
    _patched.setattr(shutil, "rmtree", removed)


def pytest_unconfigure() -> None:
    """Leave everything as it was."""
    _patched.undo()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None, None, None]:
    """Read logs before their folders go, and what their processes said at their end."""
    look_at_logs()
    yield
    look_at_logs()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Judge a test by all that was written once it is over, and let nobody print what held a secret."""
    report = yield
    if call.when == "teardown":
        for name, text in report.sections:
            look(text, name)
        if _found:
            report.outcome, report.longrepr = "failed", "\n".join(dict.fromkeys(_found))
            _found.clear()
    report.sections = [
        (name, "left out: it tells a secret" if kinds_in(text) else text) for name, text in report.sections
    ]
    return report
