"""`muniment indexer` on a terminal: how far a long history came, while there is one."""

import asyncio
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr
from rich.console import Console

from service import processes
from service.cli import frame
from service.cli import processes as commands
from service.mirror.filling import Progress, Tell
from service.settings import Settings
from tests.world import make_settings

REDRAWN_S = 0.25  # the bar is drawn ten times a second

HALF = Progress(blocks=450, blocks_total=900, events=2_000_000, events_per_s=70_123.4, left_s=28.5)
ALL = Progress(blocks=900, blocks_total=900, events=4_000_000, events_per_s=70_000.0, left_s=0.0)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., str]:
    """What the command shows of progress that its indexer tells."""

    def run(*told: Progress, is_terminal: bool = True) -> str:
        async def indexer(_: Settings, tell: Tell) -> None:
            for each in told:
                tell(each)
                await asyncio.sleep(REDRAWN_S)

        screen = io.StringIO()
        monkeypatch.setattr(frame, "err", Console(file=screen, force_terminal=is_terminal, width=120))
        monkeypatch.setattr(processes, "indexer", indexer)
        settings = make_settings(SecretStr("postgresql://nobody"), "http://127.0.0.1:1", tmp_path)
        monkeypatch.setattr(commands, "read_settings", lambda process: settings)
        commands.indexer()
        return screen.getvalue()

    return run


def test_a_terminal_sees_how_much_of_the_history_is_read_and_how_fast(shown: Callable[..., str]) -> None:
    screen = shown(HALF)
    assert "mirroring the chain's history" in screen
    assert "450/900" in screen
    assert "70,123 events/s" in screen


def test_the_bar_is_gone_when_the_history_is_read(shown: Callable[..., str]) -> None:
    last = shown(HALF, ALL).rpartition("450/900")[2]
    assert "900" not in last


def test_there_is_no_bar_without_a_history_and_none_in_a_file(shown: Callable[..., str]) -> None:
    assert "mirroring" not in shown()
    assert shown(HALF, is_terminal=False) == ""
