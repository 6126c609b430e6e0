"""The demo tells the truth, and leaves nothing behind however it ends."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import local
from tests.flows import devnets

COMMAND = [sys.executable, "-m", "scripts.demo", "--json"]


def test_every_number_that_the_demo_shows_is_the_chain_s(place: Path) -> None:
    done = subprocess.run(
        COMMAND, cwd=local.ROOT, env=_environment(place), capture_output=True, text=True, check=False, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["agrees"] is True
    assert told["differences"] == []
    assert told["compared"] > 300
    assert "\x1b" not in done.stdout
    assert _left(place) == []


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (signal.SIGINT, "starting Postgres"),
        (signal.SIGTERM, "starting api"),
        (signal.SIGINT, "The chain reorganises"),
    ],
)
def test_an_interrupted_demo_leaves_no_process_and_no_folder(place: Path, number: signal.Signals, moment: str) -> None:
    demo, log = _demo_at(moment, place)
    demo.send_signal(number)
    assert demo.wait(timeout=30) == 128 + number
    assert "interrupted" in log.read_text()
    assert _left(place) == []


def test_even_a_killed_demo_leaves_no_process_and_no_folder(place: Path) -> None:
    demo, _ = _demo_at("dispatcher run after", place)
    demo.kill()
    demo.wait()
    local.wait_for(lambda: None if _left(place) else True, what="the end of all processes", timeout_s=30)


def _demo_at(moment: str, folder: Path) -> tuple[subprocess.Popen[bytes], Path]:
    """A demo that has just said something, and its log."""
    log = folder / "demo.log"
    with log.open("w") as output:
        demo = subprocess.Popen(
            COMMAND, cwd=local.ROOT, env=_environment(folder), stdout=output, stderr=subprocess.STDOUT
        )

    def said() -> bool | None:
        written = log.read_text()
        assert demo.poll() is None, written
        return True if moment in written else None

    try:
        local.wait_for(said, what=moment, timeout_s=60)
    except BaseException:
        demo.terminate()
        demo.wait()
        raise
    return demo, log


def _environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(folder), "PYTHONUNBUFFERED": "1"}


def _left(folder: Path) -> list[str]:
    """Folders of demos, and processes at work for one."""
    return [str(each) for each in folder.glob("muniment-demo-*")] + devnets.left(folder)
