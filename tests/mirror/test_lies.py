"""A node that lies: it is found out, waited out and never believed, and the mirror goes on when it is honest again."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.chain.node import Node
from service.chain.nodes import Nodes
from service.chain.reader import Chain, Finality
from service.mirror.indexer import Gear
from tests.mirror.liars import Liar, Lie, lying_endpoint
from tests.mirror.test_undo import busy
from tests.mirror.world import CHAIN_ID, Ledger, Mirror, way_to


@pytest.fixture
async def liar(chain_url: str) -> AsyncIterator[Liar]:
    async with lying_endpoint(chain_url) as endpoint:
        yield endpoint


@pytest.fixture
async def lied_to(mirror: Mirror, liar: Liar) -> AsyncIterator[Mirror]:
    """A mirror whose only endpoint may lie; no receipts are compared but where something speaks against the answer."""
    node, mirror.chain = way_to(liar.url)
    mirror.gear = Gear(receipts_share=0)
    yield mirror
    await node.close()


def of_logs(bend: Callable[[list[Any]], list[Any]]) -> Lie:
    """A lie about logs alone."""
    return lambda method, _, told: bend(told) if method == "eth_getLogs" else told


def of_blocks(bend: Callable[[dict[str, Any]], dict[str, Any]]) -> Lie:
    """A lie about every block but the first ones."""

    def lie(method: str, _: list[Any], told: Any) -> Any:
        return bend(told) if method == "eth_getBlockByNumber" and told and int(told["number"], 16) > 8 else told

    return lie


def invented(logs: list[Any]) -> list[Any]:
    """A transfer to somebody who got none."""
    *rest, last = logs
    topics = [*last["topics"][:2], "0x" + "00" * 12 + "77" * 20]
    return [*rest, last, {**last, "topics": topics, "logIndex": hex(int(last["logIndex"], 16) + 1)}]


def altered(logs: list[Any]) -> list[Any]:
    """The newest log with another amount."""
    return [*logs[:-1], {**logs[-1], "data": "0x" + "f" * 64}]


def altered_everywhere(method: str, _: list[Any], told: Any) -> Any:
    """The same in the receipts."""
    if method == "eth_getBlockReceipts":
        return [{**receipt, "logs": altered(receipt["logs"])} if receipt["logs"] else receipt for receipt in told]
    return altered(told) if method == "eth_getLogs" else told


FOUND_OUT: dict[str, tuple[Lie, float]] = {
    "no logs": (of_logs(lambda logs: []), 0),
    "one of several logs is missing": (of_logs(lambda logs: logs[:-1]), 1),
    "a log is invented": (of_logs(invented), 0),
    "an amount is altered": (of_logs(altered), 1),
    "an amount is altered, in the receipts too": (altered_everywhere, 1),
    "logs out of order": (of_logs(lambda logs: logs[::-1]), 0),
    "another hash": (of_blocks(lambda block: {**block, "hash": "0x" + "66" * 32}), 0),
    "another parent": (of_blocks(lambda block: {**block, "parentHash": "0x" + "66" * 32}), 0),
    "another time": (of_blocks(lambda block: {**block, "timestamp": "0x5"}), 0),
    "an empty bloom": (of_blocks(lambda block: {**block, "logsBloom": "0x" + "00" * 256}), 0),
}


async def test_no_lie_is_written_and_each_is_told_once(lied_to: Mirror, ledger: Ledger, liar: Liar) -> None:
    token = busy(ledger, blocks=5)
    ledger.mine(3)
    await lied_to.converge()
    for name, (lie, share) in FOUND_OUT.items():
        before = await lied_to.contents()
        with ledger.one_block():
            ledger.mint(token, ledger.accounts[1], 5)
            ledger.mint(token, ledger.accounts[2], 6)
        liar.lie, lied_to.gear = lie, Gear(receipts_share=share)
        with capture_logs() as logs:
            assert [await lied_to.step() for _ in range(3)] == [0, 0, 0], name
        assert await lied_to.contents() == before, name
        assert await lied_to.halt() == "node-lied", name
        assert [entry["event"] for entry in logs] == ["node_lied"], name
        liar.lie = None
        assert await lied_to.converge() == 1
        assert await lied_to.halt() is None
    await lied_to.agrees_everywhere()


async def test_lies_while_it_catches_up_are_found_out_too(lied_to: Mirror, ledger: Ledger, liar: Liar) -> None:
    busy(ledger, blocks=8)
    ledger.mine(3)
    await lied_to.chain.head()
    for lie, share in FOUND_OUT.values():
        liar.lie, lied_to.gear.receipts_share = lie, share
        assert await lied_to.step() == 0
    assert await lied_to.rows("SELECT count(*) FROM mirror.blocks") == [(0,)]
    liar.lie = None
    await lied_to.converge()
    await lied_to.agrees_everywhere()


async def test_a_bloom_of_other_contracts_asks_for_no_receipts(lied_to: Mirror, ledger: Ledger, liar: Liar) -> None:
    busy(ledger, blocks=8)
    ledger.mine(3)
    await lied_to.converge()
    assert "eth_getBlockReceipts" not in liar.asked


async def test_of_blocks_with_logs_a_share_is_compared(lied_to: Mirror, ledger: Ledger, liar: Liar) -> None:
    lied_to.gear.receipts_share = 1
    busy(ledger, blocks=8)
    ledger.mine(3)
    await lied_to.converge()
    assert liar.asked.count("eth_getBlockReceipts") >= 8
    await lied_to.agrees_everywhere()


async def test_a_node_without_receipts_of_blocks_is_asked_for_those_of_transactions(
    lied_to: Mirror, ledger: Ledger, liar: Liar
) -> None:
    liar.lacks, lied_to.gear.receipts_share = frozenset(("eth_getBlockReceipts",)), 1
    token = busy(ledger, blocks=3)
    with capture_logs() as logs:
        await lied_to.converge()
    assert {entry["event"] for entry in logs} == {"blocks_applied"}
    await lied_to.agrees_everywhere()
    with ledger.one_block():
        for account in ledger.accounts[1:3]:
            ledger.mint(token, account, 5)
    before = await lied_to.contents()
    for name in ("no logs", "one of several logs is missing", "an amount is altered"):
        liar.lie, lied_to.gear.receipts_share = FOUND_OUT[name]
        assert await lied_to.step() == 0, name
        assert await lied_to.halt() == "node-lied", name
        assert await lied_to.contents() == before, name
    liar.lie = None
    await lied_to.converge()
    await lied_to.agrees_everywhere()


async def test_receipts_of_some_of_the_transactions_are_no_proof_of_an_empty_answer(
    lied_to: Mirror, ledger: Ledger, liar: Liar
) -> None:
    token, liar.lacks = ledger.deploy(), frozenset(("eth_getBlockReceipts",))
    lied_to.gear.receipts_share = 1
    await lied_to.converge()
    ledger.mint(token, ledger.accounts[1], 5)

    def without(method: str, params: list[Any], told: Any) -> Any:
        if method == "eth_getBlockByNumber" and told and params[0] != "latest":
            return {**told, "transactions": []}
        return [] if method == "eth_getLogs" else told

    liar.lie = without
    assert await lied_to.step() == 0
    assert await lied_to.halt() == "node-lied"


async def test_a_node_without_any_receipts_is_believed_and_told(lied_to: Mirror, ledger: Ledger, liar: Liar) -> None:
    liar.lacks = frozenset(("eth_getBlockReceipts", "eth_getTransactionReceipt"))
    lied_to.gear.receipts_share = 1
    busy(ledger, blocks=3)
    with capture_logs() as logs:
        await lied_to.converge()
    assert {entry["event"] for entry in logs} == {"blocks_applied", "receipts_missing"}
    await lied_to.agrees_everywhere()


async def test_headers_of_another_make_are_told_once_and_are_no_lie(
    lied_to: Mirror, ledger: Ledger, liar: Liar
) -> None:
    def foreign(method: str, _: list[Any], told: Any) -> Any:
        more = {"difficulty": "0x7", "l1BlockNumber": "0x1"}
        return {**told, **more} if method == "eth_getBlockByNumber" and told else told

    liar.lie = foreign
    with capture_logs() as logs:
        busy(ledger, blocks=4)
        await lied_to.converge()
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["unknown_header"]
    await lied_to.agrees_everywhere()


def behind(blocks: int, ledger: Ledger) -> Lie:
    """A node that is so many blocks late."""

    def lie(method: str, params: list[Any], told: Any) -> Any:
        height = ledger.height() - blocks
        if method == "eth_getBlockByNumber" and told and int(told["number"], 16) > height:
            latest = params[0] == "latest"
            return ledger.rpc("eth_getBlockByNumber", hex(height), False) if latest else None
        return [each for each in told if int(each["blockNumber"], 16) <= height] if method == "eth_getLogs" else told

    return lie


async def test_a_stale_head_is_waited_out_and_told_once(lied_to: Mirror, ledger: Ledger, liar: Liar) -> None:
    busy(ledger, blocks=8)
    await lied_to.converge()
    before, label = await lied_to.contents(), await lied_to.label()
    liar.lie = behind(5, ledger)
    with capture_logs() as logs:
        for _ in range(3):
            assert await lied_to.step() == 0
    assert [entry["event"] for entry in logs] == ["node_behind"]
    assert await lied_to.halt() == "node-behind"
    assert await lied_to.contents() == before
    assert await lied_to.label() == label, "not even what is final has changed"
    liar.lie = None
    assert await lied_to.step() == 0
    assert await lied_to.halt() is None


async def test_two_heights_behind_one_address_undo_nothing(lied_to: Mirror, ledger: Ledger, liar: Liar) -> None:
    """A load balancer: the newest block comes from a node that is level, everything else from one that is late."""
    busy(ledger, blocks=8)
    await lied_to.converge()
    before = await lied_to.contents()
    late = behind(5, ledger)
    token = busy(ledger, blocks=3)

    def balanced(method: str, params: list[Any], told: Any) -> Any:
        return told if params[:1] == ["latest"] else late(method, params, told)

    liar.lie = balanced
    with capture_logs() as logs:
        for _ in range(4):
            assert await lied_to.step() == 0
    assert [entry["event"] for entry in logs] == ["node_inconsistent"]
    assert await lied_to.contents() == before
    liar.lie = None
    await lied_to.converge()
    await lied_to.agrees_everywhere()
    assert await lied_to.contract(token, ledger.height()) is not None


async def test_heads_that_come_and_go_are_logged_once(lied_to: Mirror, ledger: Ledger, liar: Liar) -> None:
    busy(ledger, blocks=8)
    await lied_to.converge()
    with capture_logs() as logs:
        for _ in range(4):
            liar.lie = behind(3, ledger)
            assert await lied_to.step() == 0
            liar.lie = None
            assert await lied_to.step() == 0
    assert [entry["event"] for entry in logs] == ["node_behind"]


async def test_a_second_endpoint_is_asked_before_anything_is_believed(
    mirror: Mirror, ledger: Ledger, liar: Liar, chain_url: str
) -> None:
    lying, honest = Node(liar.url), Node(chain_url)
    nodes = Nodes([lying, honest], chain_id=CHAIN_ID)
    mirror.chain = Chain(nodes, chain_id=CHAIN_ID, finality=Finality(2))
    mirror.gear = Gear(receipts_share=0)
    try:
        busy(ledger, blocks=4)
        liar.lie = of_logs(lambda logs: [])
        with capture_logs() as logs:
            assert await mirror.step() == 0
            assert await mirror.converge() == 1
        assert [entry["event"] for entry in logs if entry["event"].startswith("node")] == ["node_lied"]
        await mirror.agrees_everywhere()
    finally:
        await nodes.close()


async def test_nothing_is_undone_while_an_endpoint_still_has_it(mirror: Mirror, ledger: Ledger) -> None:
    busy(ledger, blocks=4)
    await mirror.converge()
    shown = (await mirror.label()).hash
    ledger.reorg(1)

    class Torn(Chain):
        async def hashes_everywhere(self, number: int) -> list[bytes | None]:
            return [*await super().hashes_everywhere(number), shown]

    real = mirror.chain
    mirror.chain = Torn(real._node, chain_id=CHAIN_ID, finality=Finality(2))
    assert await mirror.step() == 0
    assert await mirror.halt() == "endpoints-disagree"
    assert (await mirror.label()).hash == shown
    mirror.chain = real
    await mirror.converge()
    await mirror.agrees_everywhere()


async def test_a_branch_that_does_not_hang_together_undoes_nothing(mirror: Mirror, ledger: Ledger) -> None:
    busy(ledger, blocks=6)
    await mirror.converge()
    before = await mirror.contents()
    ledger.reorg(2)

    class Loose(Chain):
        async def blocks(self, *, first: int, count_max: int) -> Any:
            *rest, last = await super().blocks(first=first, count_max=count_max)
            return [*rest, replace(last, parent_hash=bytes(32))]

    real = mirror.chain
    mirror.chain = Loose(real._node, chain_id=CHAIN_ID, finality=Finality(2))
    assert await mirror.step() == 0
    assert await mirror.halt() == "node-inconsistent"
    assert await mirror.contents() == before
    mirror.chain = real
    await mirror.converge()
    await mirror.agrees_everywhere()
