"""`muniment vault` over the years of a key: rotate, rewrap, minimum-version, destroy; and verify, and report."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from service.cli import frame
from service.cli.command import app
from tests.vault.desk import CARD, Desk
from tests.vault.keeping import environment, keeper
from tests.vault.reveals import limited, reveal

pytestmark = pytest.mark.asyncio(loop_scope="module")

Muniment = Callable[..., Awaitable[Result]]


@pytest.fixture
def muniment(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Muniment:
    """Run `muniment vault`, on the desk's database."""
    for name, value in environment(desk).items():
        monkeypatch.setenv(name, value)

    async def run(*arguments: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, app, ["vault", *arguments])

    return run


def told(ended: Result) -> Any:
    """What a command wrote as JSON, and nothing else."""
    assert ended.exit_code == 0, (ended.output, ended.exception)
    return json.loads(ended.stdout)


async def test_the_life_of_a_key_by_commands(desk: Desk, muniment: Muniment) -> None:
    kept = await keeper(desk, "Commanding Estates")
    issuer = ("--issuer", "Commanding Estates")
    assert told(await muniment("rotate", *issuer, "--json")) == {
        "rotated": [{"issuer": "Commanding Estates", "version": 2}]
    }
    refused = await muniment("minimum-version", "2", *issuer)
    assert isinstance(refused.exception, frame.Refused)
    assert "muniment vault rewrap" in str(refused.exception)
    assert told(await muniment("rewrap", "--json"))["tables"]["vault.records"] == {
        "rewrapped": 4,
        "left": 0,
        "damaged": 0,
    }
    assert (await muniment("rewrap", *issuer)).exit_code == 0
    versions = {"1": "retired", "2": "active"}
    assert told(await muniment("minimum-version", "2", *issuer, "--json"))["versions"] == versions
    await kept.age()
    assert "is destroyed" in (await muniment("destroy", "1", *issuer)).stdout
    assert told(await muniment("destroy", "1", *issuer, "--json"))["before"]
    assert "0 keys are under environment:" in (await muniment("rewrap-keys")).stdout
    assert told(await muniment("rewrap-keys", "--json"))["rewrapped"] == 0
    kept.noticed()
    assert await kept.revealed() == kept.values
    nobody = await muniment("rotate", "--issuer", "Nobody")
    assert "no issuer 'Nobody'" in str(nobody.exception)


async def test_verify_ends_with_1_on_a_finding(desk: Desk, muniment: Muniment) -> None:
    kept = await keeper(desk, "Verified Estates")
    assert "opens" in (await muniment("verify")).stdout
    await desk.alter(f"UPDATE vault.records SET data_version = 9 WHERE issuer_id = '{kept.issuer_id}'")
    ended = await muniment("verify", "--json")
    assert ended.exit_code == 1
    found = json.loads(ended.stdout)
    assert found["findings_count"] == 4
    assert {(each["what"], each["table"]) for each in found["findings"]} == {("key-closed", "vault.records")}
    shown = await muniment("verify")
    assert (shown.exit_code, "key-closed" in shown.stdout) == (1, True)
    left = await muniment("rotate", "--issuer", "Verified Estates")
    assert left.exit_code == 0
    await desk.alter(f"UPDATE vault.records SET data_version = 1 WHERE issuer_id = '{kept.issuer_id}'")
    await desk.alter(f"UPDATE vault.records SET sealed = sealed || '\\x00' WHERE issuer_id = '{kept.issuer_id}'")
    ended = await muniment("rewrap", "--issuer", "Verified Estates", "--json")
    assert ended.exit_code == 1
    assert json.loads(ended.stdout)["tables"]["vault.records"] == {"rewrapped": 0, "left": 4, "damaged": 4}


async def test_the_report_tells_records_keys_space_and_reveals(desk: Desk, muniment: Muniment) -> None:
    policy = await limited(desk, subjects_daily_max=1)
    await desk.tokenize(policy, CARD, CARD)
    one, two = [await desk.token(policy, {"value": CARD, "subject": name}) for name in ("Ada", "Grace")]
    key = await desk.new_key()
    await reveal(desk, one, key=key)
    await reveal(desk, one, key=key, purpose="payment")
    await reveal(desk, two, key=key)
    await desk.post("/revoke", {"tokens": [two]})
    await desk.alter(f"UPDATE vault.records SET created_at = now() - interval '99 days' WHERE policy_id = '{policy}'")
    await desk.policy(kind="vaultless")
    issuers = told(await muniment("report", "--json"))["issuers"]
    (issuer,) = [each for each in issuers if each["issuer"] == "Harbour Estates"]
    (found,) = [each for each in issuer["policies"] if each["id"] == policy]
    assert found["records_by_state"] == {"active": 3, "revoked": 1}
    assert found["records_by_age"] == {"year": 4}
    assert found["space_used"] == pytest.approx(4 / 9e10)
    assert found["reveals"] == [
        {"purpose": "payment", "times": 1, "values": 1},
        {"purpose": "support", "times": 1, "values": 1},
    ]
    assert issuer["suspensions"] == {"active": 1, "lifted": 0}
    assert [(each["version"], each["state"]) for each in issuer["key_versions"]] == [(1, "active")]
    assert issuer["key_versions"][0]["rows"]["vault.records"] == 3
    shown = (await muniment("report")).stdout
    assert "4 vault.records" in shown
    assert "Harbour Estates: 1 suspended now" in shown
