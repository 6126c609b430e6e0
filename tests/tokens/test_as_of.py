"""A read says which block it describes, and says what the chain says of that block."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pydantic import SecretStr
from rich.console import Console
from sqlalchemy import text
from web3 import Web3

from service.chain import artifacts
from service.operations import reading
from service.remote.command import Asked, run
from tests.ownership.test_exports import served
from tests.rpc import rpc
from tests.web.answers import problem
from tests.world import World, make_settings, open_world

pytestmark = pytest.mark.asyncio(loop_scope="module")

STRANGER = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"


@dataclass(frozen=True, slots=True)
class History:
    """A world in which some blocks changed a token."""

    world: World
    token_id: str
    deployed_block: int
    holders: tuple[str, ...]
    contract: Any
    tip: int

    @property
    def paths(self) -> list[str]:
        """Every labelled read."""
        token, account = f"/v1/tokens/{self.token_id}", f"/v1/accounts/{self.holders[0]}"
        return [
            token,
            f"{token}/holders",
            f"{token}/holders/{self.holders[0]}",
            f"{token}/holders/{self.holders[0]}/history",
            f"{token}/transfers",
            f"{account}/transfers",
            f"{account}/holdings",
        ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def history(shared: World) -> AsyncIterator[History]:
    world, token_id = shared, await shared.token()
    one, two = await world.account("one"), await world.account("two")
    path = f"/v1/tokens/{token_id}"
    for move in (
        world.mint(token_id, one, 100),
        world.mint(token_id, two, 50),
        world.transfer(token_id, one, STRANGER, 30),
        world.transfer(token_id, one, two, 70),
        world.post(f"{path}/pause"),
        world.post(f"{path}/unpause"),
        world.post(f"{path}/burn", {"from": two, "amount": "120"}),
        world.mint(token_id, one, 1),
    ):
        assert (await move).status_code == 202
        await world.finish()
    token = (await world.get(path)).json()
    contract = Web3(Web3.HTTPProvider(world.chain_url)).eth.contract(
        Web3.to_checksum_address(token["address"]), abi=list(artifacts.load("AssetToken").abi)
    )
    yield History(world, token_id, token["deployed_block"], (one, two, STRANGER), contract, token["at"]["block"])


def block(world: World, number: int) -> dict[str, Any]:
    found: dict[str, Any] = rpc(world.chain_url, "eth_getBlockByNumber", hex(number), False)
    return found


def told(header: dict[str, Any], offset_s: float = 0) -> str:
    """A block's time, or one that is so much later."""
    time = datetime.fromtimestamp(int(header["timestamp"], 16) + offset_s, UTC)
    return time.isoformat().replace("+00:00", "Z")


async def test_every_read_of_every_block_says_what_the_chain_says(history: History) -> None:
    world, functions = history.world, history.contract.functions
    path = f"/v1/tokens/{history.token_id}"
    for number in range(history.deployed_block, history.tip + 1):
        balances = {holder: functions.balanceOf(holder).call(block_identifier=number) for holder in history.holders}
        token = (await world.get(path, at_block=number)).json()
        assert int(token["total_supply"]) == functions.totalSupply().call(block_identifier=number)
        assert token["paused"] == functions.paused().call(block_identifier=number)
        shown = (await world.get(f"{path}/holders", at_block=number)).json()["data"]
        assert {each["account"]: int(each["amount"]) for each in shown} == {
            holder: amount for holder, amount in balances.items() if amount
        }
        for holder, amount in balances.items():
            assert await world.holding(history.token_id, holder, at_block=number) == amount
        holdings = (await world.get(f"/v1/accounts/{history.holders[0]}/holdings", at_block=number)).json()["data"]
        assert [int(each["amount"]) for each in holdings] == [each for each in [balances[history.holders[0]]] if each]


async def test_a_label_tells_the_block_its_hash_finality_and_lag(history: History) -> None:
    world = history.world
    for number in (history.deployed_block, history.tip - 2, history.tip - 1, history.tip, None):
        chosen = history.tip if number is None else number
        expected = {
            "chain": world.settings.chain_id,
            "block": chosen,
            "hash": block(world, chosen)["hash"],
            "time": told(block(world, chosen)),
            "final": chosen <= history.tip - 2,
            "orphaned": False,
            "lag": 0,
            "shown_at": None,
            "marks": [],
        }
        for path in history.paths:
            parameters: dict[str, Any] = {} if number is None else {"at_block": number}
            answer = await world.get(path, **parameters)
            assert (answer.status_code, answer.json()["at"]) == (200, expected), path
    assert (await world.get("/v1/tokens")).json()["at"]["block"] == history.tip


async def test_history_and_transfers_of_a_holder_add_up(history: History) -> None:
    world, (one, *_) = history.world, history.holders
    entries = (await world.get(f"/v1/tokens/{history.token_id}/holders/{one}/history")).json()["data"]
    assert [each["amount"] for each in entries] == ["100", "70", "0", "1"]
    assert [each["to_block"] for each in entries] == [*(each["from_block"] for each in entries[1:]), None]
    for entry in entries:
        assert entry["from_hash"] == block(world, entry["from_block"])["hash"]
        assert await world.holding(history.token_id, one, at_block=entry["from_block"]) == int(entry["amount"])
        before = await world.holding(history.token_id, one, at_block=entry["from_block"] - 1)
        assert before != int(entry["amount"])
    moves = (await world.get(f"/v1/tokens/{history.token_id}/transfers", account=one)).json()["data"]
    assert sum(int(m["amount"]) * ((m["to"] == one) - (m["from"] == one)) for m in moves) == 1


async def test_a_time_is_answered_like_its_block(history: History) -> None:
    world = history.world
    for number in (history.deployed_block, history.deployed_block + 3, history.tip):
        header = block(world, number)
        last = max(each for each in range(number, history.tip + 1) if told(block(world, each)) == told(header))
        elsewhere = datetime.fromtimestamp(int(header["timestamp"], 16), timezone(timedelta(hours=5, minutes=30)))
        for path in history.paths:
            expected = (await world.get(path, at_block=last)).json()
            for time in (told(header), elsewhere.isoformat()):
                answer = await world.get(path, at_time=time)
                assert (answer.status_code, answer.json()) == (200, expected), path


async def test_a_time_outside_the_mirror_is_refused(history: History) -> None:
    world = history.world
    for path in history.paths:
        late = problem(await world.get(path, at_time="2999-12-31T23:59:59.5Z"), "block-in-future")
        assert late["tip"] == history.tip
        problem(await world.get(path, at_time="1999-12-31T23:59:59Z"), "block-not-mirrored")


@pytest.mark.parametrize("name", ["at_time", "shown_at"])
async def test_a_malformed_time_is_refused(history: History, name: str) -> None:
    for time in (
        "",
        "now",
        "1700000000",
        "2026-05-03",
        "2026-05-03T10:02:00",
        "2026-05-03 10:02:00Z",
        "2026-05-03T10:02:00 02:00",
        "2026-02-30T10:02:00Z",
        "2026-05-03T10:02:60Z",
        "2026-05-03T10:02:00+99:00",
        "1969-12-31T23:59:59Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
    ):
        problem(await history.world.get(history.paths[0], **{name: time}), "invalid-request")


async def test_a_state_is_named_in_one_way(history: History) -> None:
    world, time = history.world, told(block(history.world, history.tip))
    for others in ({"at_block": history.tip}, {"shown_at": time}):
        problem(await world.get(history.paths[0], at_time=time, **others), "moment-ambiguous")


async def test_a_block_in_the_future_is_refused(history: History) -> None:
    for path in history.paths:
        for number in (history.tip + 1, 10**9, 2**63 - 1):
            told = problem(await history.world.get(path, at_block=number), "block-in-future")
            assert told["tip"] == history.tip


async def test_a_block_before_the_token_existed(history: History) -> None:
    world, token = history.world, f"/v1/tokens/{history.token_id}"
    number = history.deployed_block - 1
    for path in ("/holders", f"/holders/{STRANGER}", f"/holders/{STRANGER}/history", "/transfers"):
        told = problem(await world.get(token + path, at_block=number), "token-not-deployed")
        assert str(number) in told["detail"]
    shown = (await world.get(token, at_block=number)).json()
    assert (shown["total_supply"], shown["deployed_block"], shown["at"]["block"]) == (None, None, number)
    for path in ("holdings", "transfers"):
        answer = await world.get(f"/v1/accounts/{history.holders[0]}/{path}", at_block=number)
        assert answer.json()["data"] == []


async def test_the_pages_of_a_cap_table_stay_with_one_block(history: History) -> None:
    world, path = history.world, f"/v1/tokens/{history.token_id}/holders"
    whole = (await world.get(path)).json()
    first = (await world.get(path, limit=1)).json()
    await world.mint(history.token_id, history.holders[1], 5)
    await world.finish()
    rest = (await world.get(path, cursor=first["next_cursor"])).json()
    assert first["data"] + rest["data"] == whole["data"]
    assert rest["at"]["hash"] == first["at"]["hash"]


async def test_min_block_waits_until_the_mirror_has_it(history: History) -> None:
    world = history.world
    tip = (await world.get("/v1/status")).json()["chain"]["tip"]
    for path in (*history.paths, "/v1/tokens"):
        tip += 1
        asking = asyncio.create_task(world.get(path, min_block=tip))
        await asyncio.sleep(0.03)
        assert not asking.done()
        world.mine()
        await world.index()
        answer = await asking
        assert answer.status_code == 200
        assert answer.json()["at"]["block"] >= tip


async def test_min_block_that_does_not_come_is_a_problem(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "WAIT_MAX_S", 0.05)
    tip = (await history.world.get("/v1/status")).json()["chain"]["tip"]
    for number in (tip + 1, 2**63 - 1):
        answer = await history.world.get(history.paths[0], min_block=number)
        told = problem(answer, "mirror-behind")
        assert (told["tip"], told["min_block"]) == (tip, number)
        assert answer.headers["retry-after"] == "1"


async def test_min_block_that_is_there_already_does_not_wait(history: History) -> None:
    answer = await history.world.get(history.paths[0], min_block=0, at_block=history.deployed_block)
    assert answer.json()["at"]["block"] == history.deployed_block


async def test_the_mirrors_lag_is_on_every_label(history: History) -> None:
    world = history.world
    tip = (await world.get("/v1/status")).json()["chain"]["tip"]
    async with world.db.transaction() as session:
        await session.execute(text("UPDATE mirror.heads SET head_number = head_number + 7"))
    for path in history.paths:
        assert (await world.get(path)).json()["at"]["lag"] == 7
    chain = (await world.get("/v1/status")).json()["chain"]
    assert (chain["tip"], chain["head"], chain["lag"]) == (tip, tip + 7, 7)
    await world.index()


async def test_a_block_below_the_mirror_and_a_mirror_without_blocks(
    database_url: SecretStr, chain_url: str, tmp_path: Path
) -> None:
    height = int(rpc(chain_url, "eth_blockNumber"), 16)
    start_block = height + 5
    settings = make_settings(database_url, chain_url, tmp_path / "keystore", start_block=start_block)
    async with open_world(settings, authority=False) as world:
        assert (await world.get("/v1/status")).json()["chain"]["tip"] is None
        problem(await world.get("/v1/tokens"), "mirror-empty")
        assert (await world.get("/v1/tokens")).headers["retry-after"] == "1"
        world.mine(7)
        await world.index()
        await world.authority()
        body = {"asset_id": await world.asset(), "name": "Mill", "symbol": "MILL"}
        token_id = (await world.post("/v1/tokens", body)).json()["token_id"]
        for number in (0, start_block - 1):
            told = problem(await world.get(f"/v1/tokens/{token_id}", at_block=number), "block-not-mirrored")
            assert told["oldest"] == start_block
        assert (await world.get(f"/v1/tokens/{token_id}", at_block=start_block)).status_code == 200


async def test_the_command_line_names_a_time_or_a_moment(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    world, path, elsewhere = history.world, f"/v1/tokens/{history.token_id}/holders", timezone(timedelta(hours=2))
    ((moment,),) = await world.db.fetch(
        "SELECT max(shown_at) FROM mirror.blocks WHERE number = %s", (history.deployed_block + 4,)
    )
    time = datetime.fromtimestamp(int(block(world, history.deployed_block + 4)["timestamp"], 16), elsewhere)
    monkeypatch.setenv("MUNIMENT_API_KEY", world.key)

    async def asked(value: str) -> tuple[int, str]:
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out):
            call = Asked("list_holders", (f"token_id={history.token_id}", value), as_json=True)
            code = await asyncio.to_thread(run, call, Console(file=out), Console(file=err))
        return code, out.getvalue()

    async with served(world) as url:
        monkeypatch.setenv("MUNIMENT_URL", url)
        for name, given in (("at_time", time), ("shown_at", moment.astimezone(elsewhere))):
            expected = (await world.get(path, **{name: given.isoformat()})).json()
            assert await asked(f"{name}={given.isoformat()}") == (0, json.dumps(expected) + "\n"), name
            code, told = await asked(f"{name}=yesterday")
            assert (code, json.loads(told)["type"]) == (1, "/problems/invalid-request")
