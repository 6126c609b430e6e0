"""Answers that are too long or too late: the mirror asks for less, and no block stops it."""

from collections.abc import AsyncIterator, Sequence

import pytest

from service.chain.node import AnswerLate, AnswerTooLong, Node, NodeRefused, NodeUnavailable
from service.chain.reader import Block, Chain, Finality, Log
from tests.mirror.world import CHAIN_ID, Ledger, Mirror

APPROVALS = 40
BYTES_MAX = 16_000
"""Enough for some headers, and for half of one token's approvals."""


@pytest.fixture
def chain_url(own_chain_url: str) -> str:
    """A chain of its own, whose blocks are large."""
    return own_chain_url


@pytest.fixture
async def narrow(chain_url: str) -> AsyncIterator[Chain]:
    """The chain through a node whose answers are short."""
    node = Node(chain_url, response_bytes_max=BYTES_MAX)
    yield Chain(node, chain_id=CHAIN_ID, finality=Finality(2))
    await node.close()


def approve(ledger: Ledger, tokens: Sequence[bytes]) -> None:
    """A block with many logs of each token."""
    ledger.rpc("evm_setBlockGasLimit", hex(10**9))
    with ledger.one_block():
        for token in tokens:
            for amount in range(APPROVALS):
                ledger.act("AssetToken", token, "approve", ledger.accounts[2], amount, sender=ledger.accounts[1])


async def approvals(mirror: Mirror) -> int:
    """How many are mirrored."""
    ((count,),) = await mirror.rows("SELECT count(*) FROM mirror.events WHERE name = 'Approval' AND canonical")
    return int(count)


async def test_answers_that_are_too_long_are_asked_in_parts(mirror: Mirror, ledger: Ledger, narrow: Chain) -> None:
    tokens = [ledger.deploy() for _ in range(3)]
    ledger.mint(tokens[0], ledger.accounts[1], 5)
    approve(ledger, tokens)
    ledger.mint(tokens[1], ledger.accounts[1], 5)
    mirror.chain, mirror.blocks_max = narrow, 5
    await mirror.converge()
    assert await approvals(mirror) == 3 * APPROVALS
    await mirror.agrees_everywhere()


class Fussy(Chain):
    """A node that answers about one contract and three events of one block, and else not at all."""

    refusal: Exception = NodeUnavailable()

    async def logs(
        self, *, first: int, last: int, addresses: Sequence[bytes], topics: Sequence[bytes]
    ) -> tuple[list[Log], Block]:
        if first != last or len(addresses) > 1 or len(topics) > 3:
            raise self.refusal
        return await super().logs(first=first, last=last, addresses=addresses, topics=topics)


@pytest.mark.parametrize(
    "refusal", [NodeRefused(-32005, "query returned more than 10000 results"), AnswerTooLong(), AnswerLate()]
)
async def test_one_block_is_asked_by_contracts_then_by_events(
    mirror: Mirror, ledger: Ledger, refusal: Exception
) -> None:
    tokens = [ledger.deploy() for _ in range(3)]
    with ledger.one_block():
        for token in tokens:
            ledger.mint(token, ledger.accounts[1], 5)
    real = mirror.chain
    fussy = Fussy(real._node, chain_id=real.chain_id, finality=real.finality)
    fussy.refusal = refusal
    mirror.chain = fussy
    await mirror.converge()
    mirror.chain = real
    await mirror.agrees_everywhere()


async def test_a_range_that_takes_too_long_is_asked_in_parts(mirror: Mirror, ledger: Ledger) -> None:
    ledger.mint(ledger.deploy(), ledger.accounts[1], 5)

    class Slow(Chain):
        async def logs(
            self, *, first: int, last: int, addresses: Sequence[bytes], topics: Sequence[bytes]
        ) -> tuple[list[Log], Block]:
            if first != last:
                raise AnswerLate
            return await super().logs(first=first, last=last, addresses=addresses, topics=topics)

    real = mirror.chain
    mirror.chain = Slow(real._node, chain_id=real.chain_id, finality=real.finality)
    assert await mirror.converge() > 2
    await mirror.agrees_everywhere()


async def test_what_can_be_asked_no_smaller_is_an_error(mirror: Mirror, ledger: Ledger) -> None:
    ledger.mint(ledger.deploy(), ledger.accounts[1], 5)

    class Mute(Chain):
        async def logs(
            self, *, first: int, last: int, addresses: Sequence[bytes], topics: Sequence[bytes]
        ) -> tuple[list[Log], Block]:
            raise AnswerTooLong("always")

    real = mirror.chain
    mirror.chain = Mute(real._node, chain_id=real.chain_id, finality=real.finality)
    with pytest.raises(AnswerTooLong):
        await mirror.step()
    assert await mirror.rows("SELECT count(*) FROM mirror.blocks") == [(0,)]
