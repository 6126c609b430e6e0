"""`muniment batch`: files of rows from the command line, against a running deployment."""

import csv
import io
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.stack import Stack
from service import cli
from service.addresses import checksum
from tests.flows.test_remote import Ended

Muniment = Callable[..., Ended]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A deployment with all its processes, final after two blocks."""
    running = Stack(
        Path(tempfile.mkdtemp(prefix="muniment-test-")), finality="depth:2", block_time_s=0.1, throw_away=True
    )
    try:
        running.start(lambda _: None)
        yield running
    finally:
        running.stop()


@pytest.fixture
def muniment(stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Muniment:
    """Run the `muniment` command."""
    monkeypatch.setenv("MUNIMENT_URL", stack.api_url)
    monkeypatch.setenv("MUNIMENT_API_KEY", stack.api_key())

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["muniment", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = capsys.readouterr()
        assert stack.api_key() not in told.out + told.err
        assert isinstance(ended.value.code, int)
        return Ended(ended.value.code, told.out, told.err)

    return run


@pytest.fixture
def token(muniment: Muniment) -> str:
    """A deployed token's id."""

    def call(name: str, *values: str) -> Any:
        return muniment("call", name, *values, "--json").json

    if not any(each["kind"] == "authority" for each in call("list_contracts")):
        assert call("deploy_authority")["status"] == "succeeded"
    asset = call("register_asset", "name=House", "category=house")["id"]
    deployed = call("deploy_token", f"asset_id={asset}", "name=Harbour", "symbol=HARB")
    return str(deployed["token_id"])


def stranger(number: int) -> str:
    return checksum(number.to_bytes(4).rjust(20, b"\xab"))


def file_of(folder: Path, count: int, **changed: Any) -> str:
    """A file of mints."""
    path = folder / "rows.csv"
    lines = (f"{stranger(number)},{changed.get(str(number), 5)}" for number in range(1, count + 1))
    path.write_text("\n".join(["to,amount", *lines]) + "\n")
    return str(path)


def supply(muniment: Muniment, token: str) -> int:
    return int(muniment("call", "read_token", f"token_id={token}", "--json").json["total_supply"])


def test_a_file_is_minted_once_however_often_it_is_sent(muniment: Muniment, token: str, tmp_path: Path) -> None:
    file = file_of(tmp_path, 500)
    first = muniment("batch", "mint", token, file)
    assert first.code == 0, first.err
    assert "idempotency key file-" in first.err
    again = muniment("batch", "mint", token, file, "--json").json
    assert (again["state"], again["rows"]["succeeded"]) == ("succeeded", 500)
    assert again["id"] in first.out
    assert supply(muniment, token) == 2_500
    other = muniment("batch", "mint", token, file, "--key", "second-payroll", "--json").json
    assert other["id"] != again["id"]
    assert supply(muniment, token) == 5_000


def test_faulty_rows_are_told_by_row_and_line(muniment: Muniment, token: str, tmp_path: Path) -> None:
    told = muniment("batch", "mint", token, file_of(tmp_path, 5, **{"3": "0", "5": "1.5"}))
    assert (told.code, told.out) == (1, "")
    assert "row 3 (line 4): #/rows/2/amount" in told.err
    assert "row 5 (line 6)" in told.err
    told = muniment("batch", "mint", token, file_of(tmp_path, 5, **{"3": "0"}), "--json")
    assert (told.code, json.loads(told.out)["errors_count"]) == (1, 1)


@pytest.mark.parametrize("file", ["missing.csv", "."])
def test_a_file_that_can_not_be_read_is_one_sentence(muniment: Muniment, token: str, file: str) -> None:
    assert "can't be read" in muniment("batch", "mint", token, file).sentence


def test_a_batch_is_shown_cancelled_resumed_and_given_back(
    muniment: Muniment, token: str, stack: Stack, tmp_path: Path
) -> None:
    sent = muniment("batch", "mint", token, file_of(tmp_path, 40), "--no-wait", "--json").json
    cancelled = muniment("batch", "cancel", sent["id"], "--json")
    assert cancelled.code == 0, cancelled.err
    assert muniment("batch", "show", sent["id"], "--json").json["state"] in ("cancelled", "succeeded")
    resumed = muniment("batch", "resume", sent["id"], "--json").json
    assert (resumed["state"], resumed["rows"]["succeeded"]) == ("succeeded", 40)
    assert supply(muniment, token) == 200
    rows = list(csv.DictReader(io.StringIO(muniment("batch", "rows", sent["id"], "--status", "succeeded").out)))
    assert [row["to"] for row in rows] == [stranger(number) for number in range(1, 41)]


def test_a_batch_that_is_not_there_is_told(muniment: Muniment) -> None:
    told = muniment("batch", "show", "0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01")
    assert told.code == 1
    assert "No such batch" in told.err


def test_a_batch_can_be_called_like_all_else(muniment: Muniment, token: str) -> None:
    rows = json.dumps([{"to": stranger(1), "amount": "5"}])
    told = muniment("call", "mint_batch", f"token_id={token}", f"rows={rows}", "--json").json
    assert told["state"] == "succeeded"
