"""Metrics: what a scrape says is what Postgres and the chain say, and it names no issuer."""

import re

import pytest
from sqlalchemy import text

from service.access import commands as access
from service.access.apikeys import Scope
from service.addresses import checksum
from service.operators.metrics import written
from service.transactions.sender import watch
from tests.rpc import rpc
from tests.web.answers import problem
from tests.web.shared import log, shared
from tests.world import PEPPER, World

__all__ = ["log", "shared"]

pytestmark = pytest.mark.asyncio(loop_scope="module")

Scrape = dict[str, int | float]


async def scrape(world: World) -> Scrape:
    """Every sample of a scrape, by name and labels."""
    answer = await world.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "Harbour" not in answer.text
    found: Scrape = {}
    for line in answer.text.splitlines():
        if line.startswith("#"):
            assert re.fullmatch(r"# (HELP muniment_\w+ \S.*\.|TYPE muniment_\w+ (gauge|counter))", line), line
            continue
        name, value = re.fullmatch(r"muniment_(\w+\{.*\}) (\S+)", line, re.ASCII).groups()  # type: ignore[union-attr]
        assert name not in found
        found[name] = float(value) if "." in value else int(value)
    return found


def of(world: World, name: str, **labels: str) -> str:
    """The name of a sample of the world's signer."""
    told = {"signer": checksum(world.signer), **labels}
    return name + "{" + ",".join(f'{label}="{text}"' for label, text in told.items()) + "}"


async def test_live_transactions_and_the_mirror_are_told_as_they_stand(shared: World) -> None:
    token_id, holder = await shared.token(), await shared.account()
    await shared.finish()
    before = await scrape(shared)
    assert of(shared, "transactions_live", status="queued") not in before
    for amount in (1, 2, 3):
        await shared.mint(token_id, holder, amount)
    now = await scrape(shared)
    assert now[of(shared, "transactions_live", status="queued")] == 3
    assert now[of(shared, "nonces_in_flight")] == 0
    assert now[of(shared, "transactions_oldest_unmined_seconds")] > 0
    await shared.finish()
    ended = of(shared, "transactions_total", status="confirmed")
    after = await scrape(shared)
    assert after[ended] == before[ended] + 3
    status = (await shared.get("/v1/status")).json()["chain"]
    told = {name: after[f"mirror_{name}_block{{}}"] for name in ("tip", "head", "final")}
    assert told == {name: status[name] for name in told}
    assert after["mirror_lag_blocks{}"] == 0
    holder_name = re.compile(r'lease_held\{lease="sender:31337:0x[0-9a-fA-F]{40}",holder="\S+"\}')
    assert [value for name, value in after.items() if holder_name.fullmatch(name)] == [1]


async def test_what_mined_transactions_cost_is_what_the_chain_took(shared: World) -> None:
    await shared.finish()
    await watch(shared.sender.means)
    now = await scrape(shared)
    async with shared.db.transaction() as session:
        hashes = await session.scalars(text("SELECT transaction_hash FROM transactions WHERE block_hash IS NOT NULL"))
        receipts = [rpc(shared.chain_url, "eth_getTransactionReceipt", "0x" + each.hex()) for each in hashes]
    gas, price = ([int(each[name], 16) for each in receipts] for name in ("gasUsed", "effectiveGasPrice"))
    assert now[of(shared, "gas_used_total")] == sum(gas)
    assert now[of(shared, "fees_wei_total")] == sum(used * wei for used, wei in zip(gas, price, strict=True))
    balance = int(rpc(shared.chain_url, "eth_getBalance", checksum(shared.signer), "latest"), 16)
    assert now[of(shared, "signer_balance_wei")] == balance
    assert now[of(shared, "signer_next_nonce")] == len(receipts)


async def test_replacements_and_cancellations_count_up_before_and_after_their_end(shared: World) -> None:
    token_id, holder = await shared.token(), await shared.account()
    before = await scrape(shared)
    rpc(shared.chain_url, "evm_setAutomine", False)
    await shared.mint(token_id, holder, 1)
    await shared.send()
    id_ = (await shared.get("/v1/transactions", limit=1)).json()["data"][0]["id"]
    for act in ("bump", "cancel"):
        assert (await shared.post(f"/v1/transactions/{id_}/{act}")).status_code == 202
        await shared.send()
    rpc(shared.chain_url, "evm_setAutomine", True)
    live = await scrape(shared)
    assert live[of(shared, "nonces_in_flight")] == 1
    shared.mine()
    await shared.finish()
    for now in (live, await scrape(shared)):
        assert now[of(shared, "replacements_total")] == before[of(shared, "replacements_total")] + 2
        assert now[of(shared, "cancellations_total")] == before[of(shared, "cancellations_total")] + 1
    assert (await scrape(shared))[of(shared, "transactions_total", status="cancelled")] == 1


async def test_halts_are_told_by_name(shared: World) -> None:
    signer = checksum(shared.signer)
    rpc(shared.chain_url, "anvil_setBalance", signer, "0x0")
    await shared.post("/v1/contracts", {"kind": "documents"})
    await shared.send()
    assert (await scrape(shared))[of(shared, "signer_halt", halt="no-funds")] == 1
    rpc(shared.chain_url, "anvil_setBalance", signer, hex(10**20))
    await shared.post(f"/v1/signers/{signer}/resume")
    await shared.finish()
    assert of(shared, "signer_halt", halt="no-funds") not in await scrape(shared)


async def test_only_a_key_with_the_scope_reads_them(shared: World) -> None:
    problem(await shared.client.get("/metrics"), "unauthorized")
    async with shared.db.transaction() as session:
        made = await access.create_key(
            session,
            issuer="Harbour Estates",
            caller="prometheus",
            environment="test",
            pepper=PEPPER,
            scopes=[Scope.METRICS],
        )
    assert (await shared.get("/metrics", key=made.text)).status_code == 200
    problem(await shared.get("/v1/assets", key=made.text), "scope-missing")


async def test_a_label_cannot_break_out_of_its_line() -> None:
    told = written("x", "gauge", "An x.", [({"holder": 'a"b\\c\nd'}, 1)])
    assert told.splitlines()[2] == r'muniment_x{holder="a\"b\\c\nd"} 1'
