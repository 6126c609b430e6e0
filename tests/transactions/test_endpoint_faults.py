"""Endpoints that fail the sender at the worst moments: each transaction has one effect, and no halt stays."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from scripts.stack import CHAIN_ID
from service.chain import nodes
from service.chain.node import Node, NodeUnavailable
from service.chain.nodes import Nodes
from service.chain.reader import Chain
from service.transactions.sender import Sender
from tests.chain.faulty import Fault, Faulty, faulty_endpoint
from tests.rpc import rpc
from tests.transactions.test_lanes import until
from tests.transactions.test_replacing import attempts
from tests.transactions.test_sender import chain_count, rows
from tests.web.shared import log, shared
from tests.world import World

__all__ = ["log", "shared"]

pytestmark = pytest.mark.asyncio(loop_scope="module")

TIMEOUT_S = 2.0


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def token_id(shared: World) -> str:
    """A token."""
    return await shared.token()


@pytest_asyncio.fixture(loop_scope="module")
async def minting(shared: World, token_id: str) -> tuple[str, str]:
    """The token, and a holder that has nothing."""
    return token_id, await shared.account()


@pytest_asyncio.fixture(loop_scope="module")
async def endpoints(shared: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Faulty, Faulty]]:
    """Two endpoints in front of the world's node, by which `reach` lets its sender reach the chain."""
    monkeypatch.setattr(nodes, "LOOK_INTERVAL_S", 0.0)
    former = shared.sender
    async with AsyncExitStack() as stack:
        yield (
            await stack.enter_async_context(faulty_endpoint(shared.chain_url)),
            await stack.enter_async_context(faulty_endpoint(shared.chain_url)),
        )
        await shared.sender.means.chain.close()
    shared.sender = former


def reach(world: World, *endpoints: Faulty, quorum: int = 1) -> Chain:
    """Let the world's sender reach the chain by these endpoints."""
    ways = Nodes([Node(each.url, timeout_s=TIMEOUT_S) for each in endpoints], chain_id=CHAIN_ID, quorum=quorum)
    chain = Chain(ways, chain_id=CHAIN_ID, finality=world.chain.finality)
    world.sender = Sender(replace(world.sender.means, chain=chain))
    return chain


def fail_while_told(monkeypatch: pytest.MonkeyPatch, endpoint: Faulty, during: Fault, after: Fault = "none") -> None:
    """Let an endpoint fail while it is told transactions, and in another way from then on."""
    broadcast = Chain.broadcast

    async def failing(self: Chain, raws: Any) -> Any:
        endpoint.fault = during
        try:
            return await broadcast(self, raws)
        finally:
            endpoint.fault = after
            monkeypatch.setattr(Chain, "broadcast", broadcast)

    monkeypatch.setattr(Chain, "broadcast", failing)


async def status(world: World, operation: str) -> str:
    """Where an operation's transaction stands."""
    return str((await world.operation(operation))["transaction"]["status"])


async def assert_one_effect(world: World, minting: tuple[str, str], operation: str, *, nonces_before: int) -> None:
    """It is final with one version of one nonce, its amount is there once, and its signer goes on."""
    await world.finish()
    done = await world.operation(operation)
    assert (done["status"], done["transaction"]["status"]) == ("succeeded", "confirmed")
    assert len(await attempts(world, operation)) == 1
    assert chain_count(world) == nonces_before + 1
    assert await world.holding(*minting) == 5
    assert await rows(world, "SELECT halt FROM signers WHERE halt IS NOT NULL") == []


@pytest.mark.parametrize("fault", ["late", "twice", "error after", "dies"])
async def test_an_answer_to_a_broadcast_that_is_of_no_use_leaves_one_effect(
    shared: World,
    minting: tuple[str, str],
    endpoints: tuple[Faulty, Faulty],
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault,
) -> None:
    endpoint, _ = endpoints
    reach(shared, endpoint)
    before = chain_count(shared)
    operation = (await shared.mint(*minting, 5)).json()["id"]
    fail_while_told(monkeypatch, endpoint, fault)
    with pytest.raises(NodeUnavailable):
        await shared.step()
    await until(lambda: chain_count(shared) == before + 1)  # the node took it all the same
    assert await status(shared, operation) == "pending"
    await assert_one_effect(shared, minting, operation, nonces_before=before)


async def test_a_refusal_of_what_the_node_took_leaves_one_effect(
    shared: World, minting: tuple[str, str], endpoints: tuple[Faulty, Faulty], monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint, _ = endpoints
    reach(shared, endpoint)
    before = chain_count(shared)
    operation = (await shared.mint(*minting, 5)).json()["id"]
    fail_while_told(monkeypatch, endpoint, "refusal after")
    await shared.step()
    told = (await shared.operation(operation))["transaction"]
    assert (told["status"], told["last_error"]) == ("pending", "unknown")
    await assert_one_effect(shared, minting, operation, nonces_before=before)


async def test_an_endpoint_that_dies_after_a_broadcast_leaves_its_receipt_to_the_next(
    shared: World, minting: tuple[str, str], endpoints: tuple[Faulty, Faulty], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = endpoints
    chain = reach(shared, first, second)
    before = chain_count(shared)
    operation = (await shared.mint(*minting, 5)).json()["id"]
    fail_while_told(monkeypatch, first, "none", after="down")
    await shared.step()
    assert await status(shared, operation) == "submitted"
    asked = second.asked.count("eth_getTransactionReceipt")
    await shared.step()
    assert second.asked.count("eth_getTransactionReceipt") > asked
    assert await status(shared, operation) == "mined"
    await assert_one_effect(shared, minting, operation, nonces_before=before)
    assert [each.healthy for each in chain.health()] == [False, True]


async def test_a_receipt_on_which_endpoints_disagree_is_final_once_they_agree(
    shared: World, minting: tuple[str, str], endpoints: tuple[Faulty, Faulty]
) -> None:
    first, second = endpoints
    chain = reach(shared, first, second, quorum=2)
    before = chain_count(shared)
    operation = (await shared.mint(*minting, 5)).json()["id"]
    await shared.step()
    second.fault = "branch"
    shared.mine(3)
    for _ in range(3):
        await shared.step()
        assert await status(shared, operation) == "submitted"
    assert min(each.disagreements for each in chain.health()) > 0
    second.fault = "none"
    await assert_one_effect(shared, minting, operation, nonces_before=before)


async def test_a_receipt_that_one_endpoint_lacks_is_waited_for(
    shared: World, minting: tuple[str, str], endpoints: tuple[Faulty, Faulty], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "BLOCKS_BEHIND_MAX", 10**6)
    first, second = endpoints
    reach(shared, first, second, quorum=2)
    before = chain_count(shared)
    operation = (await shared.mint(*minting, 5)).json()["id"]
    await shared.step()
    rpc(shared.chain_url, "anvil_mine", hex(15))
    second.fault = "behind"
    for _ in range(3):
        await shared.step()
        assert await status(shared, operation) == "submitted"
    second.fault = "none"
    await assert_one_effect(shared, minting, operation, nonces_before=before)
