"""The node or Postgres goes away and comes back, under a running API."""

import asyncio
import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from pydantic import SecretStr

from scripts import local
from service import db, migrate, status
from service.chain.node import NodeUnavailable
from tests.rpc import rpc
from tests.web.answers import problem
from tests.world import World, make_settings, open_world

STRANGER = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"


async def reads_answer(world: World, token_id: str, holder: str, amount: int, block: int) -> None:
    problem(await world.get("/v1/tokens/0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01"), "token-not-found")
    for path in ("", "/holders", f"/holders/{holder}", f"/holders/{holder}/history", "/transfers"):
        answer = await world.get(f"/v1/tokens/{token_id}{path}")
        assert answer.status_code == 200
        assert answer.json()["at"]["block"] == block
        assert answer.json()["at"]["lag"] >= 0
    assert await world.holding(token_id, holder) == amount


async def test_while_the_node_is_away_reads_answer_and_writes_are_sent_later_and_once(
    database_url: SecretStr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--state", str(tmp_path / "chain.json"))
    anvil = local.start_anvil(tmp_path / "anvil.log", *options)
    settings = make_settings(database_url, anvil.url, tmp_path / "keystore", node_timeout_s=2.0)
    try:
        async with open_world(settings) as world:
            token_id, holder = await world.token(), await world.account()
            await world.mint(token_id, holder, 100)
            await world.finish()
            tip = (await world.get("/v1/status")).json()["chain"]["tip"]
            assert (await world.get("/v1/status")).json()["chain"]["node"] == "answering"

            anvil.child.process.send_signal(signal.SIGSTOP)  # takes connections and never answers
            hung = await world.mint(token_id, holder, 1)
            anvil.child.process.send_signal(signal.SIGCONT)
            assert hung.status_code == 202

            anvil.stop()
            monkeypatch.setattr(status, "SILENT_AFTER_S", 0.05)
            await asyncio.sleep(0.1)
            now = (await world.get("/v1/status")).json()
            assert (now["chain"]["node"], now["chain"]["tip"]) == ("silent", tip)
            assert now["chain"]["seen_age_s"] >= 0.1
            await reads_answer(world, token_id, holder, 100, tip)

            accepted = [
                await world.mint(token_id, holder, 5, idempotency_key="while-away"),
                await world.mint(token_id, holder, 5, idempotency_key="while-away"),
                await world.transfer(token_id, holder, STRANGER, 40),
                await world.post(f"/v1/tokens/{token_id}/burn", {"from": holder, "amount": "1000"}),
                await world.post("/v1/tokens", {"asset_id": await world.asset(), "name": "Mill", "symbol": "MILL"}),
            ]
            assert [answer.status_code for answer in accepted] == [202] * 5
            for step in (world.send, world.index):
                with pytest.raises(NodeUnavailable):
                    await step()
            waiting = (await world.get("/v1/status")).json()["transactions"]
            assert (waiting["queued"], waiting["submitted"]) == (5, 0)
            assert waiting["oldest_unmined_s"] >= 0

            monkeypatch.undo()
            port = int(anvil.url.rpartition(":")[2])
            anvil = local.start_anvil(tmp_path / "anvil-again.log", *options, port=port)
            await world.finish()
            assert (await world.get("/v1/status")).json()["chain"]["node"] == "answering"
            ends = [(await world.operation(answer.json()["id"])) for answer in accepted]
            assert [end["status"] for end in ends] == ["succeeded"] * 3 + ["failed", "succeeded"]
            assert ends[3]["problem"]["type"] == "/problems/insufficient-balance"
            assert await world.holding(token_id, holder) == 100 + 1 + 5 - 40
            assert await world.holding(token_id, STRANGER) == 40
            shown = (await world.get(f"/v1/tokens/{token_id}/transfers")).json()["data"]
            assert [(move["kind"], move["amount"]) for move in shown] == [
                ("transfer", "40"),
                ("mint", "5"),
                ("mint", "1"),
                ("mint", "100"),
            ]
            signer = ends[0]["transaction"]["signer"]
            # Factory, authority, token, three mints, transfer, second token; the burn took no nonce.
            assert int(rpc(anvil.url, "eth_getTransactionCount", signer, "latest"), 16) == 8
    finally:
        anvil.stop()


async def test_while_postgres_is_away_requests_are_told_to_come_back_and_later_it_all_goes_on(
    chain_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "CONNECT_TIMEOUT_S", 1)
    # A socket's path has at most about 100 bytes, which pytest's folders may be longer than.
    data = Path(tempfile.mkdtemp(prefix="muniment-outage-"))
    postgres = local.start_postgres(data)
    try:
        migrate.upgrade(SecretStr(postgres.url))
        settings = make_settings(SecretStr(postgres.url), chain_url, tmp_path / "keystore")
        async with open_world(settings) as world:
            token_id, holder = await world.token(), await world.account()
            await world.mint(token_id, holder, 100)
            await world.finish()

            postgres.stop()
            for answer in await asyncio.gather(
                world.get("/v1/status"),
                world.get(f"/v1/tokens/{token_id}/holders"),
                world.mint(token_id, holder, 5, idempotency_key="away"),
                world.post("/v1/accounts", {}, idempotency_key="away-too"),
            ):
                problem(answer, "database-unavailable")
                assert int(answer.headers["retry-after"]) >= 1
            assert (await world.client.get("/problems")).status_code == 200
            assert (await world.client.get("/problems/database-unavailable")).status_code == 200
            assert (await world.client.get("/openapi.json")).status_code == 200
            problem(await world.client.get("/v1/status"), "unauthorized")
            problem(await world.get("/v1/nothing"), "route-not-found")
            await asyncio.sleep(1.2)  # longer than the pools try by themselves
            problem(await world.get("/v1/status"), "database-unavailable")

            again = local.start_postgres(data)
            assert again.url == postgres.url
            postgres = again
            await reads_answer(world, token_id, holder, 100, (await world.get("/v1/status")).json()["chain"]["tip"])
            for _ in range(2):
                answer = await world.mint(token_id, holder, 5, idempotency_key="away")
                assert answer.status_code == 202
            await world.finish()
            assert await world.holding(token_id, holder) == 105
            assert len((await world.get("/v1/accounts")).json()["data"]) == 1
    finally:
        postgres.stop()
        shutil.rmtree(data)
