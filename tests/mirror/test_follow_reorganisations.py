"""A reorganisation that undid shown blocks is a fact: in the journal once it is past, exactly once."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from service.addresses import hex0x
from service.cli.command import app
from tests.mirror.test_restart import Killed, Mortal
from tests.mirror.test_undo import busy
from tests.mirror.world import CHAIN_ID, Ledger, Mirror
from tests.world import make_settings


async def facts(mirror: Mirror, database: Any) -> list[dict[str, Any]]:
    """The bodies of the journal's entries, read with every right."""
    rows = await database.fetch("SELECT kind, issuer_id, body FROM journal_entries ORDER BY position", ())
    assert all((kind, issuer) == ("mirror.reorganised", None) for kind, issuer, _ in rows)
    return [json.loads(body) for _, _, body in rows]


async def test_it_is_told_once_its_blocks_are_past(mirror: Mirror, ledger: Ledger, db: Any) -> None:
    busy(ledger, blocks=5)
    await mirror.converge()
    height = ledger.height()
    undone = [ledger.hash_of(number) for number in (height - 1, height)]
    ledger.reorg(2)
    await mirror.converge()
    assert await facts(mirror, db) == [], "the new branch is not final yet"
    ledger.mine(1)
    await mirror.converge()
    assert await facts(mirror, db) == []
    ledger.mine(1)
    await mirror.converge()
    (fact,) = await facts(mirror, db)
    assert fact["chain"] == CHAIN_ID
    assert (fact["depth"], fact["below_final"]) == (2, False)
    assert fact["fork"] == {"block": height - 2, "hash": hex0x(ledger.hash_of(height - 2))}
    assert [each["hash"] for each in fact["undone"]] == [hex0x(each) for each in undone]
    assert all(each["shown_at"] < each["undone_at"] for each in fact["undone"])
    new = [{"block": number, "hash": hex0x(ledger.hash_of(number))} for number in (height - 1, height)]
    assert fact["standing"] == new
    ledger.mine(4)
    await mirror.converge()
    assert await facts(mirror, db) == [fact]


async def test_one_that_takes_several_db_transactions_is_one_fact(
    mirror: Mirror, ledger: Ledger, db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.mirror.branches.UNDONE_MAX", 2)
    busy(ledger, blocks=8)
    await mirror.converge()
    height = ledger.height()
    ledger.reorg(7)
    await mirror.converge()
    ledger.mine(3)
    await mirror.converge()
    (fact,) = await facts(mirror, db)
    assert (fact["fork"]["block"], fact["depth"], fact["below_final"]) == (height - 7, 7, True)
    assert [each["block"] for each in fact["undone"]] == list(range(height - 6, height + 1))


async def test_a_branch_that_comes_back_is_two_facts(mirror: Mirror, ledger: Ledger, db: Any) -> None:
    ledger.mine(6)
    await mirror.converge()
    for _ in range(2):
        ledger.reorg(2)
        await mirror.converge()
    ledger.mine(4)
    await mirror.converge()
    first, second = await facts(mirror, db)
    assert first["fork"] == second["fork"]
    assert first["standing"] == second["standing"]
    assert first["undone"] != second["undone"]


@pytest.mark.parametrize("committed", [False, True], ids=["before-commit", "after-commit"])
async def test_killed_between_any_two_transactions_it_is_told_once(
    mirror: Mirror, ledger: Ledger, database_url: SecretStr, db: Any, committed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.mirror.branches.UNDONE_MAX", 1)
    mortal = Mortal(database_url, role="muniment_indexer")
    mortal.committed = committed
    await mortal.open()
    ledger.mine(6)
    await mirror.converge()
    try:
        alive, mirror.db = mirror.db, mortal
        for life in range(1, 5):
            ledger.reorg(2)
            ledger.mine(4)
            mortal.left = life
            with pytest.raises(Killed):
                await mirror.converge()
            mortal.left = 0
            await mirror.converge()
    finally:
        mirror.db = alive
        await mortal.close()
    ledger.mine(4)
    await mirror.converge()
    told = await facts(mirror, db)
    assert len(told) == 4
    assert [each["depth"] for each in told] == [2, 2, 2, 2]
    assert [len(each["undone"]) for each in told] == [2, 2, 2, 2]


async def test_an_operator_sees_the_halt_and_resumes_on_the_command_line(
    mirror: Mirror,
    ledger: Ledger,
    database_url: SecretStr,
    chain_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = make_settings(database_url, chain_url, tmp_path)
    for name in ("database_url", "rpc_url", "keystore_password", "key_encryption_key", "api_key_pepper"):
        monkeypatch.setenv(f"MUNIMENT_{name.upper()}", getattr(settings, name).get_secret_value())
    monkeypatch.setenv("MUNIMENT_CHAIN_ID", str(CHAIN_ID))
    monkeypatch.setenv("MUNIMENT_KEYSTORE_DIR", str(tmp_path))

    async def muniment(*arguments: str) -> str:
        ended = await asyncio.to_thread(CliRunner().invoke, app, ["mirror", *arguments])
        assert ended.exit_code == 0, ended.output
        return ended.stdout

    ledger.mine(6)
    await mirror.converge()
    assert "nothing asks for it" in await muniment("resume")
    ledger.reorg(4)
    assert await mirror.step() == 0
    told = json.loads(await muniment("status", "--json"))
    assert told["halt"] == "reorganised-below-final"
    assert "muniment mirror resume" in told["halt_detail"]
    assert f"back to block {ledger.height() - 4}" in await muniment("resume")
    assert await mirror.step() == 4
    await mirror.converge()
    assert "halt        -" in await muniment("status")
