"""Blocks that leave the chain: nothing shown is deleted, and what stands is what the chain says."""

from contextlib import suppress
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.chain.node import NodeUnavailable
from service.chain.reader import Chain
from tests.mirror.world import Ledger, Mirror, way_to


def busy(ledger: Ledger, *, blocks: int) -> bytes:
    """A token with a change in each of so many blocks, its deployment the first."""
    token = ledger.deploy()
    one, two = ledger.accounts[1:3]
    for number in range(1, blocks):
        if number % 4 == 1:
            ledger.mint(token, one, 100 + number)
        elif number % 4 == 2:
            ledger.transfer(token, one, two, number)
        elif number % 4 == 3:
            ledger.pause(token)
        else:
            ledger.unpause(token)
    return token


@pytest.mark.parametrize("depth", range(1, 9))
async def test_a_reorganisation_is_undone_block_by_block(mirror: Mirror, ledger: Ledger, depth: int) -> None:
    ledger.mine(2)
    token = busy(ledger, blocks=8)
    await mirror.converge()
    await mirror.agrees_everywhere()
    shown = await mirror.rows("SELECT count(*) FROM mirror.transfers")

    ledger.reorg(depth)
    assert await mirror.converge() == 2, "a step for all undone blocks, and one for the new ones"
    await mirror.agrees_everywhere()
    assert await mirror.rows("SELECT count(*) FROM mirror.transfers") == shown
    undone = await mirror.rows("SELECT count(*) FROM mirror.blocks WHERE undone_at IS NOT NULL AND NOT canonical")
    assert undone == [(depth,)]
    if depth == 8:
        assert await mirror.contract(token, ledger.height()) is None, "its deployment was undone too"


async def test_a_new_tip_of_the_same_height_is_noticed_at_once(mirror: Mirror, ledger: Ledger) -> None:
    token = ledger.deploy()
    ledger.mint(token, ledger.accounts[1], 5)
    await mirror.converge()
    height = ledger.height()
    ledger.reorg(1)
    assert ledger.height() == height
    await mirror.converge()
    await mirror.agrees(height)
    assert await mirror.holders(token, height) == {}


async def test_a_shorter_chain_is_followed_once_it_is_another_branch_and_stays(
    mirror: Mirror, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = busy(ledger, blocks=6)
    await mirror.converge()
    height = ledger.height()
    ledger.rollback(3)
    assert ledger.height() == height - 3
    assert await mirror.converge() == 0
    assert await mirror.halt() == "node-behind"
    assert (await mirror.label()).block == height, "nothing that the node says contradicts it"
    ledger.mint(token, ledger.accounts[3], 8)
    assert await mirror.converge() == 0
    assert await mirror.halt() == "node-on-shorter-branch"
    monkeypatch.setattr("service.mirror.branches.SHORTER_S", 0)
    assert await mirror.converge() == 2
    await mirror.agrees_everywhere()
    assert await mirror.halt() is None


async def test_a_branch_that_returns_is_the_same_rows_again(mirror: Mirror, ledger: Ledger) -> None:
    token = ledger.deploy()
    deeds = ledger.deploy_deeds()
    one, two = ledger.accounts[1:3]
    ledger.mint(token, one, 100)
    now = int(ledger.rpc("eth_getBlockByNumber", "latest", False)["timestamp"], 16)

    def branch() -> list[bytes]:
        ledger._operations = 1_000
        first = ledger.height() + 1
        for number, amount in enumerate((10, 20, 30), start=1):
            with ledger.one_block(now + 100 * number):  # of one sender, whose nonces fix the order
                ledger.mint(token, one, amount)
                ledger.mint(token, two, amount)
            with ledger.one_block(now + 100 * number + 50):
                ledger.transfer(token, one, two, amount)
        with ledger.one_block(now + 900):
            ledger.act("AssetToken", token, "setFrozenTokens", two, 7)
        with ledger.one_block(now + 950):
            ledger.act("AssetToken", token, "setFrozenTokens", two, 0)
            ledger.act_once("DeedToken", deeds, "mintDeed", one, 3, "ipfs://three", bytes(32))
        with ledger.one_block(now + 980):
            ledger.act_once("DeedToken", deeds, "retire", 3, "lost")
        with ledger.one_block(now + 1_000):
            ledger.pause(token)
        with ledger.one_block(now + 1_100):
            ledger.deploy()
        return [ledger.hash_of(number) for number in range(first, ledger.height() + 1)]

    fork = ledger.rpc("evm_snapshot")
    ledger.revert(fork)
    fork = ledger.rpc("evm_snapshot")
    hashes = branch()
    await mirror.converge()
    first_time = await mirror.contents()

    ledger.revert(fork)
    fork = ledger.rpc("evm_snapshot")
    with ledger.one_block(now + 50):
        ledger.transfer(token, one, two, 1)
    ledger.mine(10)
    await mirror.converge()
    await mirror.agrees_everywhere()

    ledger.revert(fork)
    assert branch() == hashes, "the very same blocks"
    await mirror.converge()
    await mirror.agrees_everywhere()
    again = await mirror.contents()
    for name, rows in first_time.items():
        assert [row for row in again[name] if row[-1]] == rows, f"{name} stand as they did"
    times = "SELECT count(*) FROM mirror.blocks WHERE hash = ANY(%s) AND canonical AND undone_at IS NULL"
    assert await mirror.rows(times, (hashes,)) == [(len(hashes),)]


async def test_all_of_it_may_be_undone_and_begin_anew(mirror: Mirror, ledger: Ledger) -> None:
    busy(ledger, blocks=7)
    await mirror.converge()
    height = ledger.height()
    ledger.rollback(ledger.height() - ledger.first + 1)
    anew = Ledger(ledger.url)
    anew.mine(height - anew.height())
    assert await mirror.step() == 0
    assert await mirror.resume() == ledger.first - 1
    assert await mirror.step() == height - ledger.first + 1
    for table in ("blocks", "holdings", "supplies", "pauses", "events", "transfers", "deployments"):
        counts = f"SELECT count(*) FILTER (WHERE canonical), count(*) > 0 FROM mirror.{table}"
        assert await mirror.rows(counts) == [(0, True)]

    assert anew.factory == ledger.factory, "the same account and nonce"
    busy(anew, blocks=5)
    mirror.ledger = anew
    await mirror.converge()
    await mirror.agrees_everywhere()


async def test_below_the_final_block_is_told_as_an_error(mirror: Mirror, ledger: Ledger, chain_url: str) -> None:
    node, hasty = way_to(chain_url, depth=1)
    try:
        mirror.chain = hasty
        ledger.mine(4)
        await mirror.converge()
        final = ledger.height() - 1
        assert (await mirror.label(final)).final
        ledger.reorg(3)
        with capture_logs() as logs:
            assert [await mirror.step() for _ in range(3)] == [0, 0, 0]
        assert await mirror.halt() == "reorganised-below-final"
        assert (await mirror.label(final)).hash != ledger.hash_of(final), "served as before"
        ledger.mine()
        assert await mirror.step() == 0
        assert await mirror.resume() == final - 2
        assert await mirror.step() == 3
        assert await mirror.step() == 4
        assert await mirror.halt() is None
    finally:
        await node.close()
    errors = [entry for entry in logs if entry["log_level"] == "error"]
    assert [(entry["event"], entry["final_number"]) for entry in errors] == [("reorganised_below_final", final)]


async def test_no_dead_block_is_called_final_on_the_way(
    mirror: Mirror, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.mine(6)
    await mirror.converge()
    monkeypatch.setattr("service.mirror.branches.UNDONE_MAX", 1)
    final_before = ledger.height() - 2
    ledger.reorg(2)
    ledger.mine(20)
    dead = 0
    while await mirror.step() > 0:
        label = await mirror.label()
        if ledger.hash_of(label.block) != label.hash:
            assert label.block > final_before
            assert not label.final, "the node's final block is far above, but this one is not the node's"
            dead += 1
    assert dead == 1
    assert (await mirror.label(ledger.height() - 2)).final


class Between(Chain):
    """The real chain, on which something happens between two questions."""

    def __init__(self, real: Chain, happens: Any, *, before: str) -> None:
        super().__init__(real._node, chain_id=real.chain_id, finality=real.finality)
        self.happens, self.before = happens, before

    def _happen(self, question: str) -> None:
        if self.before == question:
            self.before = ""
            self.happens()

    async def blocks(self, *, first: int, count_max: int) -> Any:
        self._happen("blocks")
        return await super().blocks(first=first, count_max=count_max)

    async def logs(self, **asked: Any) -> Any:
        self._happen("logs")
        return await super().logs(**asked)


@pytest.mark.parametrize("question", ["blocks", "logs"])
@pytest.mark.parametrize("kind", ["reorg", "rollback"])
async def test_a_reorganisation_between_two_questions_writes_nothing_dead(
    mirror: Mirror, ledger: Ledger, question: str, kind: str
) -> None:
    await mirror.converge()
    token = busy(ledger, blocks=5)
    before = await mirror.contents()

    def happens() -> None:
        (ledger.reorg if kind == "reorg" else ledger.rollback)(3)

    with suppress(NodeUnavailable):  # the node's own word for blocks that it lost
        await mirror.step(Between(mirror.chain, happens, before=question))
    if question == "logs":
        assert await mirror.contents() == before
    await mirror.converge()
    await mirror.agrees_everywhere()
    assert await mirror.contract(token, ledger.height()) is not None
