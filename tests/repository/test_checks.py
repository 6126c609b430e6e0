"""`./scripts/test` fails when any of its checks fails, and says which."""

import subprocess
import sys
from pathlib import Path

import pytest

from scripts import checks, forge, setup, slither
from scripts import compile as compiling

GOOD = ("python", "-c", "print('much'); print('9 tests passed')")
BAD = ("python", "-c", "print('1 test failed'); raise SystemExit(1)")
HOLE = "Vault.pay (Vault.sol#7) may be entered again"


def said(words: str, code: int = 0) -> subprocess.Popen[str]:
    """A pytest that says this and ends."""
    program = f"print({words!r}); raise SystemExit({code})"
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Two checks that take no time, and tests that all pass."""
    monkeypatch.setattr(checks, "CHECKS", {"forge": GOOD, "lint": GOOD})
    monkeypatch.setattr(checks, "TELLING", {"forge"})
    monkeypatch.setattr(sys, "argv", ["checks"])
    monkeypatch.setattr(checks, "start_tests", lambda given: said("2 passed"))
    return monkeypatch


@pytest.mark.usefixtures("quick")
def test_a_check_that_passes_is_one_line_and_what_it_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert checks.main() == 0
    told = capsys.readouterr().out
    assert told.count("✓") == 2
    assert told.count("9 tests passed") == 1
    assert "much" not in told


def test_a_check_that_fails_is_told_whole_and_fails_the_run(
    quick: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    quick.setattr(checks, "CHECKS", {"forge": BAD, "lint": GOOD})
    assert checks.main() == 1
    told = capsys.readouterr().out
    assert "✗ forge" in told
    assert "1 test failed" in told


@pytest.mark.usefixtures("quick")
def test_what_pytest_says_comes_last(capsys: pytest.CaptureFixture[str]) -> None:
    assert checks.main() == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 passed"


def test_a_test_that_fails_fails_the_run(quick: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    quick.setattr(checks, "start_tests", lambda given: said("1 test failed", 1))
    assert checks.main() == 1
    assert capsys.readouterr().out.splitlines()[-1] == "1 test failed"


def test_the_run_includes_forge_and_slither() -> None:
    assert {("python", "-m", "scripts.forge"), ("python", "-m", "scripts.slither")} < set(checks.CHECKS.values())


def test_a_missing_forge_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compiling, "npm_compiler", Path)
    monkeypatch.setattr(compiling, "CONTRACTS", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert forge.main() == 1
    assert "forge is not installed: run `python3 scripts/setup.py`" in capsys.readouterr().err


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of contracts with slither's memory of them, empty, and slither itself left out."""
    contracts, memory = tmp_path / "contracts", tmp_path / "memory"
    (contracts / "parts").mkdir(parents=True)
    memory.mkdir()
    for name in ("Vault.sol", "parts/Door.sol", "slither.config.json", "package-lock.json"):
        (contracts / name).write_text("{}")
    monkeypatch.setattr(compiling, "CONTRACTS", contracts)
    monkeypatch.setattr(slither, "PASSED", memory / "passed")
    monkeypatch.setattr(slither, "install", lambda: None)
    monkeypatch.setattr(slither, "findings", list)
    monkeypatch.setattr(sys, "argv", ["slither"])
    return contracts


def test_slither_is_not_asked_twice_about_the_same_sources(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert slither.main() == 0
    hole = {"check": "reentrancy-eth", "impact": "High", "description": HOLE}
    monkeypatch.setattr(slither, "findings", lambda: [hole])
    assert slither.main() == 0
    (checkout / "parts" / "Door.sol").write_text("// open")
    assert slither.main() == 1


@pytest.mark.usefixtures("checkout")
def test_a_finding_fails_and_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hole = {"check": "reentrancy-eth", "impact": "High", "description": HOLE}
    monkeypatch.setattr(slither, "findings", lambda: [hole])
    assert [slither.main(), slither.main()] == [1, 1]
    assert f"[reentrancy-eth, High] {HOLE}" in capsys.readouterr().out


def test_an_answer_that_answers_nothing_is_a_finding(checkout: Path) -> None:
    ours, theirs = checkout / "Vault.sol", checkout / "node_modules" / "Library.sol"
    unused = [{"file": str(file), "line": 3, "unused_detectors": ["timestamp"]} for file in (ours, theirs)]
    told = list(slither.lines({"check": "unused-ignore-directive", "unused_ignores": unused}))
    assert told == ["Vault.sol#3: answers no finding of timestamp"]


def test_an_unreachable_registry_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(lock: Path, python: Path) -> None:
        raise setup.SetupFailed(f"{lock.name}: does `pip download rich` work on this machine?")

    for module, name, value in (
        (setup, "LOCAL", tmp_path),
        (setup, "LOG", tmp_path / "log"),
        (setup, "make_venv", lambda folder: None),
        (setup, "install", refuse),
        (slither, "FOLDER", tmp_path / "slither"),
        (slither, "VENV", tmp_path / "slither" / "venv"),
        (slither, "PASSED", tmp_path / "passed"),
    ):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(sys, "argv", ["slither"])
    assert slither.main() == 1
    assert "error: slither could not be installed: slither.lock: does `pip download" in capsys.readouterr().err
