"""What a sender asks before it sends: nonces, wei, fees, and whether a block is still there."""

from typing import Any

import pytest
from aiohttp import web

from service.chain.node import NodeRefused, NodeUnavailable
from service.chain.reader import AccountState, Chain, Fees, Finality
from tests.chain.conftest import Lying, OpenNode, World

REFUSED = {"error": {"code": -32601, "message": "Method not found"}}
LATEST = {"number": "0x5", "hash": "0x" + "11" * 32, "parentHash": "0x" + "22" * 32, "timestamp": "0x6"}


def told(*answers: Any) -> Any:
    """What a node answers to the calls of one batch, in order."""
    return lambda calls: web.json_response(
        [{"id": call["id"], **answer} for call, answer in zip(calls, answers, strict=True)]
    )


def given(result: Any) -> dict[str, Any]:
    return {"result": result}


async def test_a_signers_nonces_at_the_tip_and_at_the_final_block_and_its_wei(chain: Chain, world: World) -> None:
    sender, other = world.accounts[:2]
    (before,) = await chain.transaction_counts([sender])
    final_number = int(world.rpc("eth_blockNumber"), 16)
    world.send(other, b"", sender=sender)
    busy, idle = await chain.accounts([sender, bytes(19) + b"\x77"], final_number=final_number)
    assert busy == AccountState(before + 1, before, await chain.balance(sender))
    assert idle == AccountState(0, 0, 0)


async def test_no_nonce_is_final_where_no_block_is(chain: Chain, world: World) -> None:
    world.send(world.accounts[1], b"", sender=world.accounts[0])
    (state,) = await chain.accounts(world.accounts[:1], final_number=-1)
    assert state.next_nonce > 0
    assert state.final_nonce == 0


async def test_no_signers_are_no_question(chain: Chain) -> None:
    assert await chain.accounts([], final_number=5) == []


async def test_nothing_is_concluded_from_state_that_the_node_has_pruned(open_node: OpenNode, lying: Lying) -> None:
    pruned = {"error": {"code": -32000, "message": "missing trie node 1f (path 02) state 0x2a is not available"}}
    async with lying(told(given("0x7"), pruned, given("0x9"))) as url:
        chain = Chain(open_node(url), chain_id=1, finality=Finality(1))
        assert await chain.accounts([bytes(20)], final_number=4) == [AccountState(7, 0, 9)]


async def test_more_nonces_at_the_final_block_than_at_the_tip_tell_nothing(open_node: OpenNode, lying: Lying) -> None:
    async with lying(told(given("0x7"), given("0x8"), given("0x9"))) as url:
        chain = Chain(open_node(url), chain_id=1, finality=Finality(1))
        with pytest.raises(NodeUnavailable, match="final block"):
            await chain.accounts([bytes(20)], final_number=4)


async def test_hashes_of_blocks_that_are_there_and_of_one_that_is_not(chain: Chain, world: World) -> None:
    world.mine(3)
    tip = (await chain.head()).tip
    found = await chain.block_hashes([tip.number - 1, tip.number, tip.number + 1])
    assert found == {tip.number - 1: tip.parent_hash, tip.number: tip.hash, tip.number + 1: None}


async def test_the_hash_of_another_block_tells_nothing(open_node: OpenNode, lying: Lying) -> None:
    async with lying(told(given(LATEST))) as url:
        chain = Chain(open_node(url), chain_id=1, finality=Finality(1))
        with pytest.raises(NodeUnavailable, match="block 5 came for block 6"):
            await chain.block_hashes([6])


def history(*blocks: tuple[float, int], base: int = 7) -> dict[str, Any]:
    """A fee history: of each block how full it was and what its middle transaction paid."""
    return given(
        {
            "oldestBlock": "0x1",
            "baseFeePerGas": [hex(base + 1)] * len(blocks) + [hex(base)],
            "gasUsedRatio": [ratio for ratio, _ in blocks],
            "reward": [[hex(paid)] for _, paid in blocks],
        }
    )


NO_REWARDS = given({"oldestBlock": "0x1", "baseFeePerGas": ["0x8", "0x7"], "gasUsedRatio": [0.5]})


@pytest.mark.parametrize(
    ("answers", "fees"),
    [
        ((history((0.5, 3), (0.2, 9), (1, 4)), given("0x63"), given(LATEST)), Fees(7, 4)),
        ((history((0, 0), (0.2, 9), (0, 0)), given("0x63"), given(LATEST)), Fees(7, 9)),
        ((history((0, 0), (0, 5)), given("0x63"), given(LATEST)), Fees(7, 99)),
        ((history((0.5, 0), (0.5, 0)), given("0x63"), given(LATEST)), Fees(7, 99)),
        ((NO_REWARDS, given("0x63"), given(LATEST)), Fees(7, 99)),
        ((history((0.5, 3)), REFUSED, REFUSED), Fees(7, 3)),
        ((REFUSED, given("0x63"), given(LATEST | {"baseFeePerGas": "0x10"})), Fees(19, 99)),
    ],
    ids=["median", "empty blocks", "all empty", "nobody paid", "no rewards", "no advice", "no history"],
)
async def test_fees_are_what_recent_transactions_paid_or_else_the_nodes_advice(
    open_node: OpenNode, lying: Lying, answers: Any, fees: Fees
) -> None:
    async with lying(told(*answers)) as url:
        assert await Chain(open_node(url), chain_id=1, finality=Finality(1)).fees() == fees


async def test_a_fee_that_no_chain_can_have_tells_nothing(open_node: OpenNode, lying: Lying) -> None:
    for absurd in (history((0.5, 2**64)), history((0.5, 1), base=2**64)):
        async with lying(told(absurd, given("0x1"), given(LATEST))) as url:
            with pytest.raises(NodeUnavailable, match="no chain can have"):
                await Chain(open_node(url), chain_id=1, finality=Finality(1)).fees()


async def test_a_node_that_knows_neither_fees_nor_advice_is_a_refusal(open_node: OpenNode, lying: Lying) -> None:
    async with lying(told(history((0, 0)), REFUSED, given(LATEST))) as url:
        with pytest.raises(NodeRefused):
            await Chain(open_node(url), chain_id=1, finality=Finality(1)).fees()
