"""One shown number that the chain contradicts turns the demo's verdict."""

import asyncio
import io
import json
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from rich.console import Console

from scripts import demo, opinion
from scripts.chapters import verdict
from scripts.chapters_regulated import DEED, Regulated
from scripts.client import Client
from scripts.opinion import Opinion
from scripts.stack import Stack
from scripts.story import Story
from tests.world import World


@dataclass(slots=True)
class Told:
    """What the API said, said again: with another amount for an account that is lied about."""

    answers: dict[str, Any]
    lies: dict[str, str] = field(default_factory=dict)  # amount by account

    def get(self, path: str, **_: Any) -> Any:
        """An answer."""
        return self.answers[path]

    def pages(self, path: str, **_: Any) -> tuple[list[Any], dict[str, Any]]:
        """A list's rows and its page."""
        page = self.answers[path]
        return [{**row, "amount": self.lies.get(row["account"], row["amount"])} for row in page["data"]], page


@pytest.fixture
def signals() -> Iterator[None]:
    """The demo changes how this process takes signals; it is as before after the test."""
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


async def test_a_cap_table_with_one_wrong_amount_is_told_with_what_the_chain_says(world: World) -> None:
    token_id, ada, bruno = await world.token(), await world.account("Ada"), await world.account("Bruno")
    contract = (await world.operation((await world.mint(token_id, ada, 500)).json()["id"]))["contract"]
    await world.mint(token_id, bruno, 300)
    await world.finish()
    paths = [f"/tokens/{token_id}", f"/tokens/{token_id}/holders"]
    told = Told({path: (await world.get(f"/v1{path}")).json() for path in paths})

    async def judge() -> tuple[bool, str, Opinion]:
        written, asked = Console(file=io.StringIO(), width=110), opinion.ask(world.chain_url)
        shown = Story(written, cast(Client, told), Stack(Path("nowhere")), asked, 2, {"Ada": ada, "Bruno": bruno})
        await asyncio.to_thread(shown.holders, token_id, contract, "Cap table now")
        agrees = verdict(written, asked)
        assert isinstance(written.file, io.StringIO)
        return agrees, written.file.getvalue(), asked

    agrees, written, _ = await judge()
    assert agrees
    assert "✗" not in written
    assert "Differences" not in written

    told.lies[ada] = "499"
    agrees, written, asked = await judge()
    assert not agrees
    block = told.answers[paths[1]]["at"]["block"]
    differing = [tuple(row) for row in asked.rows if not row.agrees]
    assert differing == [("balanceOf Ada", block, "499", "500"), ("sum of holdings", block, "799", "800")]
    (line,) = [line.split() for line in written.splitlines() if line.strip().startswith("balanceOf Ada")]
    assert line == ["balanceOf", "Ada", str(block), "499", "500"]
    assert "✗" in next(line for line in written.splitlines() if ada in line)
    assert "✓" in next(line for line in written.splitlines() if bruno in line)


async def test_a_deed_that_is_told_to_be_another_s_turns_the_verdict(world: World) -> None:
    ada, bruno, asset = await world.account(), await world.account(), await world.asset()
    kind = {"asset_id": asset, "kind": "deed", "name": "Blue", "symbol": "BLUE"}
    token_id = (await world.post("/v1/tokens", kind)).json()["token_id"]
    await world.finish()
    document = "0x" + "8f" * 32
    issued = await world.post(
        f"/v1/tokens/{token_id}/deeds", {"deed_id": DEED, "to": ada, "uri": "u", "document_hash": document}
    )
    await world.post(f"/v1/tokens/{token_id}/royalty", {"receiver": bruno, "basis_points": 250})
    await world.finish()
    path = f"/tokens/{token_id}/deeds/{DEED}"
    told = Told({path: (await world.get(f"/v1{path}")).json()})

    async def judge() -> list[str]:
        written, asked = Console(file=io.StringIO(), width=110), opinion.ask(world.chain_url)
        shown = Regulated(written, cast(Client, told), Stack(Path("nowhere")), asked, 2)
        shown.painting_id, shown.painting = token_id, issued.json()["contract"]
        await asyncio.to_thread(shown.deed, "The deed")
        assert verdict(written, asked) is all(row.agrees for row in asked.rows)
        return [row.what for row in asked.rows if not row.agrees]

    assert await judge() == []
    told.answers[path] |= {"holder": bruno, "document_hash": "0x" + "8e" * 32}
    assert await judge() == ["deed: holder", "deed: document_hash"]


@pytest.mark.parametrize("kind", ["balanceOf Ada", "paused", "muniment verify: exit code"])
@pytest.mark.usefixtures("signals")
def test_one_difference_makes_the_demo_fail(
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = opinion.ask("http://127.0.0.1:1")
    asked.check("totalSupply", 9, 800, 800)

    def told(stack: Stack, *, plain: bool) -> tuple[bool, Opinion]:
        del stack
        return verdict(Console(no_color=plain), asked), asked

    monkeypatch.setattr(demo, "tell", told)
    monkeypatch.setattr(sys, "argv", ["scripts/demo", "--json", "--no-color"])
    assert demo.main() == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["agrees"] is True

    asked.check(kind, 9, 1, 0)
    assert demo.main() == 1
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (said["agrees"], said["compared"]) == (False, 2)
    assert said["differences"] == [{"what": kind, "block": 9, "shown": "1", "chain": "0"}]


@pytest.mark.usefixtures("signals")
def test_a_demo_that_cannot_be_told_to_its_end_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(stack: Stack, *, plain: bool) -> tuple[bool, Opinion]:
        raise RuntimeError(f"the chain of {stack.finality} is away{'' if plain else '!'}")

    monkeypatch.setattr(demo, "tell", told)
    monkeypatch.setattr(sys, "argv", ["scripts/demo", "--no-color"])
    assert demo.main() == 1
    assert capsys.readouterr().err == f"the demo failed: the chain of depth:{demo.FINALITY_DEPTH} is away\n"
