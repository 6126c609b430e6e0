"""Files of who owned what: the same block is the same bytes, and the manifest tells them from any others."""

import asyncio
import csv
import hashlib
import io
import json
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import arro3.io
import pytest
import pytest_asyncio
import sqlalchemy
import uvicorn
from arro3.core import Table

from scripts.stack import CHAIN_ID
from service import cli
from service.mirror import lines
from service.mirror.reindexing import Reindex, targets
from service.operations.reading import PrimaryNeeded
from service.ownership import export_routes, extracts, files
from tests.ownership.test_routes import deed_token
from tests.rpc import rpc
from tests.web.answers import problem
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

STRANGER = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
TABLES = ("cap-table", "transfers", "acquisitions")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def token_id(shared: World) -> AsyncIterator[str]:
    made = await shared.token()
    for number in range(3):
        await shared.mint(made, await shared.account(f"holder {number}"), 10 + number)
    await shared.finish()
    yield made


async def fetched(world: World, token_id: str, table: str, **parameters: Any) -> tuple[bytes, dict[str, Any]]:
    """A file and its manifest, each made anew."""
    path = f"/v1/tokens/{token_id}/exports/{table}"
    answer = await world.get(path, **parameters)
    assert answer.status_code == 200, answer.text
    files._finished.clear()
    link = answer.headers["link"].partition(">")[0].removeprefix("<")
    manifest = await world.client.get(link, headers={"Authorization": f"Bearer {world.key}"})
    assert manifest.status_code == 200, manifest.text
    return answer.content, manifest.json()


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("format", ["csv", "parquet"])
async def test_a_manifest_describes_the_very_bytes(shared: World, token_id: str, table: str, format: str) -> None:
    content, manifest = await fetched(shared, token_id, table, format=format)
    assert manifest["sha256"] == hashlib.sha256(content).hexdigest()
    assert (manifest["size_bytes"], manifest["rows"], manifest["table"]) == (len(content), 3, table)
    again, _ = await fetched(shared, token_id, table, format=format, at_block=manifest["at"]["block"])
    assert again == content


@pytest.mark.parametrize("table", TABLES)
async def test_a_file_does_not_depend_on_the_size_of_its_pages(
    shared: World, token_id: str, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = [(await fetched(shared, token_id, table, format=each))[0] for each in ("csv", "parquet")]
    for size in (1, 2, 3):
        monkeypatch.setattr(extracts, "PAGE_ROWS", size)
        monkeypatch.setattr(extracts, "LOT_PAGE_ROWS", size)
        assert [(await fetched(shared, token_id, table, format=each))[0] for each in ("csv", "parquet")] == whole


@pytest.mark.parametrize("table", TABLES)
async def test_parquet_has_the_rows_of_the_csv_and_types(shared: World, token_id: str, table: str) -> None:
    text, manifest = await fetched(shared, token_id, table)
    packed, _ = await fetched(shared, token_id, table, format="parquet")
    rows = list(csv.DictReader(io.StringIO(text.decode())))
    read = Table.from_arrow(arro3.io.read_parquet(io.BytesIO(packed)))
    assert [column["name"] for column in manifest["columns"]] == read.column_names == list(rows[0])
    for name in read.column_names:
        column = read.column(name)
        values = [column[row].as_py() for row in range(len(column))]
        if name == "time":
            values = [f"{value:%Y-%m-%dT%H:%M:%SZ}" for value in values]
        assert ["" if value is None else str(value) for value in values] == [row[name] for row in rows]


async def test_a_past_block_is_the_same_file_for_ever(shared: World, token_id: str) -> None:
    before = {table: await fetched(shared, token_id, table) for table in TABLES}
    block = before["cap-table"][1]["at"]["block"]
    await shared.mint(token_id, STRANGER, 5)
    await shared.finish()
    for table, (content, _) in before.items():
        assert (await fetched(shared, token_id, table, at_block=block))[0] == content
        assert (await fetched(shared, token_id, table))[0] != content


async def test_a_replica_that_fails_in_the_middle_is_no_end_of_the_file(
    shared: World, token_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _ = await fetched(shared, token_id, "cap-table")
    plain, pages = lines.holding_lines, list[bytes | None]()

    async def failing(*given: Any, **named: Any) -> str:
        pages.append(named["after"])
        if len(pages) == 2:
            raise PrimaryNeeded
        return await plain(*given, **named)

    monkeypatch.setattr(extracts, "PAGE_ROWS", 1)
    monkeypatch.setattr(lines, "holding_lines", failing)
    answer = await shared.get(f"/v1/tokens/{token_id}/exports/cap-table")
    assert answer.content == whole
    assert pages[1] == pages[2]


async def test_no_field_can_begin_a_formula(shared: World, token_id: str) -> None:
    for table in TABLES:
        content, _ = await fetched(shared, token_id, table)
        fields = [field for row in csv.reader(io.StringIO(content.decode())) for field in row if field]
        assert all(field[0].isalnum() for field in fields)


async def test_deeds_have_no_file_of_acquisitions(shared: World) -> None:
    deeds = await deed_token(shared)
    problem(await shared.get(f"/v1/tokens/{deeds}/exports/acquisitions"), "wrong-token-kind")
    assert (await shared.get(f"/v1/tokens/{deeds}/exports/cap-table")).text == "account,amount,share_percent\r\n"


@asynccontextmanager
async def served(world: World) -> AsyncIterator[str]:
    """The world's API behind a real server; its address."""
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(world.app, lifespan="off", log_config=None))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


def names_in(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


async def muniment(*arguments: str) -> int:
    """Run `muniment export`; its exit code."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "argv", ["muniment", "export", *arguments])

        def run() -> int:
            with pytest.raises(SystemExit) as ended:
                cli.main()
            assert isinstance(ended.value.code, int)
            return ended.value.code

        return await asyncio.to_thread(run)


@pytest.fixture
def environment(shared: World, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def set_url(url: str) -> None:
        monkeypatch.setenv("MUNIMENT_URL", url)
        monkeypatch.setenv("MUNIMENT_API_KEY", shared.key)

    return set_url


async def test_the_command_writes_a_file_and_its_manifest_and_nothing_over_them(
    shared: World,
    token_id: str,
    environment: Callable[[str], None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with served(shared) as url:
        environment(url)
        for suffix in ("csv", "parquet"):
            file = tmp_path / f"owners.{suffix}"
            assert await muniment("cap-table", token_id, str(file)) == 0
            manifest = json.loads((tmp_path / f"owners.{suffix}.manifest.json").read_text())
            assert hashlib.sha256(file.read_bytes()).hexdigest() == manifest["sha256"]
            assert await muniment("cap-table", token_id, str(file)) == 2
            assert "is there already" in capsys.readouterr().err
        refused = tmp_path / "refused.csv"
        assert await muniment("cap-table", token_id, str(refused), "--at-block", "999999999") == 1
        assert await muniment("cap-tables", token_id, str(refused)) == 2
        assert "there are cap-table, transfers, acquisitions" in capsys.readouterr().err
        assert await muniment("cap-table", token_id, str(tmp_path / "owners.xls")) == 2
        assert await muniment("cap-table", token_id, str(tmp_path / "nowhere" / "owners.csv")) == 2
    assert names_in(tmp_path) == [
        *("owners.csv", "owners.csv.manifest.json", "owners.parquet", "owners.parquet.manifest.json")
    ]


async def replace_block(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the chain leave the newest block after the first page of whatever is read next."""
    monkeypatch.setattr(extracts, "PAGE_ROWS", 1)
    plain, asked = lines.holding_lines, []

    async def holding_lines(*given: Any, **named: Any) -> str:
        asked.append(named)
        return await plain(*given, **named)

    async def pages(*given: Any) -> AsyncIterator[str]:
        async for text in whole(*given):
            yield text
            if len(asked) == 1:
                # Without a transaction of its own, an empty block would be replaced by its equal.
                account = rpc(world.chain_url, "eth_accounts")[9]
                mark = {"from": account, "to": account, "value": "0x1", "gas": hex(50_000)}
                rpc(world.chain_url, "anvil_reorg", 1, [[mark, 0]])
                world.mine()
                await world.index()

    whole = extracts.pages
    monkeypatch.setattr(lines, "holding_lines", holding_lines)
    monkeypatch.setattr(export_routes, "pages", pages)


@pytest.mark.parametrize("format", ["csv", "parquet"])
async def test_a_file_whose_block_leaves_the_chain_ends_as_failed(
    shared: World,
    token_id: str,
    format: str,
    environment: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shared.mine()
    await shared.index()
    await replace_block(shared, monkeypatch)
    async with served(shared) as url:
        environment(url)
        assert await muniment("cap-table", token_id, str(tmp_path / f"owners.{format}")) == 2
    assert "does not answer" in capsys.readouterr().err
    assert names_in(tmp_path) == []


async def test_a_manifest_whose_block_leaves_the_chain_is_refused(
    shared: World, token_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared.mine()
    await shared.index()
    await replace_block(shared, monkeypatch)
    problem(await shared.get(f"/v1/tokens/{token_id}/exports/cap-table/manifest"), "block-replaced")


async def test_what_is_remembered_of_a_block_is_not_told_once_its_rows_are_made_anew(shared: World) -> None:
    token_id, one, two = await shared.token(), await shared.account("first"), await shared.account("second")
    await shared.mint(token_id, one, 10)
    await shared.finish()
    block = (await shared.get(f"/v1/tokens/{token_id}")).json()["at"]["block"]
    await shared.mint(token_id, two, 30)
    await shared.finish()
    path = f"/v1/tokens/{token_id}"
    contract = bytes.fromhex((await shared.get(path)).json()["address"][2:])
    async with shared.db.transaction() as session:
        await session.execute(
            sqlalchemy.text(
                """UPDATE mirror.holdings SET amount = 7, account = :wrong FROM mirror.contracts
                WHERE id = contract_id AND address = :contract AND account = :one"""
            ),
            {"wrong": b"\xab" * 20, "contract": contract, "one": bytes.fromhex(one[2:])},
        )

    async def asked() -> tuple[Any, Any]:
        table = await shared.get(f"{path}/cap-table", at_block=block)
        manifest = await shared.get(f"{path}/exports/cap-table/manifest", at_block=block)
        return [row["account"] for row in table.json()["data"]], manifest.json()["sha256"]

    before = await asked()
    walk = (await shared.get(f"{path}/cap-table", limit=1)).json()["next_cursor"]
    await rebuilt(shared, contract)
    after = await asked()
    assert before[0] != after[0] == [one]
    whole = await shared.get(f"{path}/exports/cap-table", at_block=block)
    assert before[1] != after[1] == hashlib.sha256(whole.content).hexdigest()
    problem(await shared.get(f"{path}/cap-table", limit=1, cursor=walk), "bad-cursor")


async def test_a_file_whose_rows_are_made_anew_while_it_is_made_ends_early(
    shared: World, token_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = bytes.fromhex((await shared.get(f"/v1/tokens/{token_id}")).json()["address"][2:])
    plain = lines.holding_lines

    async def interrupted(*given: Any, **named: Any) -> str:
        if named["after"] is None:
            await rebuilt(shared, contract)
        return await plain(*given, **named)

    monkeypatch.setattr(extracts, "PAGE_ROWS", 1)
    monkeypatch.setattr(lines, "holding_lines", interrupted)
    files._finished.clear()
    problem(await shared.get(f"/v1/tokens/{token_id}/exports/cap-table/manifest"), "block-replaced")
    assert not files._finished


async def rebuilt(world: World, contract: bytes) -> None:
    """Make a contract's rows anew, as `muniment reindex` does."""
    run = Reindex(world.db, world.chain, await world.lease("indexer"), CHAIN_ID, receipts_share=0)
    given: dict[str, Any] = {"chain_id": CHAIN_ID, "factory": world.settings.factory}
    for target in await targets(world.db, world.chain, **given, final=await run.final()):
        if target.address == contract:
            assert [each async for each in run.rebuild(target) if each is not None]
