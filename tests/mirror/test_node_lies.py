"""A node whose answers contradict each other: nothing is written, and the next step asks again."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from service.chain import contracts
from service.chain.node import NodeRefused
from service.chain.reader import Block, Chain, Log
from service.mirror.projections import ImpossibleAmount
from tests.mirror.world import Ledger, Mirror

Lie = Callable[[list[Log], Block], tuple[list[Log], Block]]


class Lying(Chain):
    """The real chain, except for what it says of logs; and it tells no blooms, which would give it away."""

    def __init__(self, real: Chain, lie: Lie) -> None:
        super().__init__(real._node, chain_id=real.chain_id, finality=real.finality)
        self.lie = lie

    async def logs(
        self, *, first: int, last: int, addresses: Sequence[bytes], topics: Sequence[bytes]
    ) -> tuple[list[Log], Block]:
        return self.lie(*await super().logs(first=first, last=last, addresses=addresses, topics=topics))

    async def blocks(self, *, first: int, count_max: int) -> list[Block]:
        return [replace(block, logs_bloom=None) for block in await super().blocks(first=first, count_max=count_max)]


LIES: dict[str, Lie] = {
    "another closing block": lambda logs, closing: (logs, replace(closing, hash=bytes(32))),
    "a log of another branch": lambda logs, closing: ([replace(log, block_hash=b"x" * 32) for log in logs], closing),
    "a log of another block": lambda logs, closing: ([replace(log, block_number=0) for log in logs], closing),
    "a log of another contract": lambda logs, closing: ([replace(log, address=b"x" * 20) for log in logs], closing),
    "a log without topics": lambda logs, closing: ([replace(log, topics=()) for log in logs], closing),
    "every log twice": lambda logs, closing: (logs + logs, closing),
}


@pytest.mark.parametrize("lie", LIES)
async def test_contradictions_are_not_written(mirror: Mirror, ledger: Ledger, lie: str) -> None:
    token = ledger.deploy()
    ledger.mint(token, ledger.accounts[1], 5)
    with capture_logs() as logs:
        assert await mirror.step(Lying(mirror.chain, LIES[lie])) == 0
    assert [entry["event"] for entry in logs] == ["node_inconsistent"]
    assert await mirror.rows("SELECT count(*) FROM mirror.blocks") == [(0,)]
    await mirror.converge()
    await mirror.agrees_everywhere()


async def test_a_missing_mint_is_an_error_and_not_a_negative_amount(mirror: Mirror, ledger: Ledger) -> None:
    token = ledger.deploy()
    ledger.mint(token, ledger.accounts[1], 5)
    ledger.transfer(token, ledger.accounts[1], ledger.accounts[2], 5)

    def without_mints(logs: list[Log], closing: Block) -> tuple[list[Log], Block]:
        return [log for log in logs if log.topics[:2] != (contracts.TRANSFER, bytes(32))], closing

    with pytest.raises(ImpossibleAmount):
        await mirror.step(Lying(mirror.chain, without_mints))
    assert await mirror.rows("SELECT count(*) FROM mirror.blocks") == [(0,)]


async def test_a_range_too_large_is_asked_in_parts(mirror: Mirror, ledger: Ledger) -> None:
    token = ledger.deploy()
    for account in ledger.accounts[1:8]:
        ledger.mint(token, account, 5)

    class Narrow(Chain):
        async def logs(
            self, *, first: int, last: int, addresses: Sequence[bytes], topics: Sequence[bytes]
        ) -> tuple[list[Log], Block]:
            if last - first >= 3:
                raise NodeRefused(-32602, "query exceeds max block range 3")
            return await super().logs(first=first, last=last, addresses=addresses, topics=topics)

    real = mirror.chain
    mirror.chain = Narrow(real._node, chain_id=real.chain_id, finality=real.finality)
    assert await mirror.converge() > 2
    await mirror.agrees_everywhere()


async def test_a_long_list_of_contracts_is_asked_in_parts(mirror: Mirror, ledger: Ledger) -> None:
    mirror.gear.width.addresses = 2
    tokens = [ledger.deploy() for _ in range(4)]
    for token in tokens:
        ledger.mint(token, ledger.accounts[1], 5)
    asked: list[int] = []

    class Counting(Chain):
        async def logs(
            self, *, first: int, last: int, addresses: Sequence[bytes], topics: Sequence[bytes]
        ) -> tuple[list[Log], Block]:
            asked.append(len(addresses))
            return await super().logs(first=first, last=last, addresses=addresses, topics=topics)

    real = mirror.chain
    mirror.chain = Counting(real._node, chain_id=real.chain_id, finality=real.finality)
    await mirror.converge()
    assert asked == [1, 2, 2]
    ledger.transfer(tokens[3], ledger.accounts[1], ledger.accounts[2], 5)
    await mirror.converge()
    assert asked == [1, 2, 2, 2, 2, 1]
    await mirror.agrees_everywhere()


async def test_a_log_that_no_contract_of_ours_emits_is_passed_over(mirror: Mirror, ledger: Ledger) -> None:
    token = ledger.deploy()
    ledger.mint(token, ledger.accounts[1], 5)

    def with_strange_logs(logs: list[Log], closing: Block) -> tuple[list[Log], Block]:
        strange = []
        for number, log in enumerate(log for log in logs if log.topics[0] == contracts.TRANSFER):
            shapes = ((log.topics[:2], log.data), (log.topics, b""), ((*log.topics, bytes(32)), log.data))
            unknown = ((b"?" * 32,), b""), ((contracts.PAUSED, bytes(32)), b"")
            for place, (topics, data) in enumerate((*shapes, *unknown), start=50 + 10 * number):
                strange.append(replace(log, log_index=place, topics=topics, data=data))
        return logs + strange, closing

    assert await mirror.step(Lying(mirror.chain, with_strange_logs)) > 0
    await mirror.agrees_everywhere()
    assert await mirror.rows("SELECT count(*) FROM mirror.transfers") == [(1,)]
    assert await mirror.rows("SELECT count(*) FROM mirror.events WHERE log_index >= 50") == [(0,)]
