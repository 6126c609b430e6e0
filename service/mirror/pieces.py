"""A history of final blocks in pieces: asked for ahead of need, checked, decoded by column, told as rows to stage.

Two questions are under way at a time and a bounded number of bytes waits, so that the node, this process and Postgres
work at once and memory does not grow with history. Nothing is written here.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

from service.chain import contracts, events
from service.chain.log_columns import LogColumns
from service.chain.node import NodeLied, NodeRefused, NodeUnavailable
from service.chain.proofs import BLOOM_BITS, bloom_mask
from service.chain.reader import Block, Chain
from service.mirror import projections
from service.mirror.lies import CHANCE_MAX, check_logs
from service.mirror.projections import Deployment
from service.mirror.staged_rows import Rows, Scope, rows_of
from service.mirror.width import Question, Width, is_too_much

LANES = 2
"""Questions under way at a time."""

BYTES_MAX = 48 * 1024 * 1024
"""Rows that may wait to be staged."""

GATHER_S = 0.5
"""Rows wait so long for more of them, so that a DB transaction is worth its round trips."""

BLOCKS_MAX = 2_000
"""Most blocks in one question, since each costs a header."""

RECEIPTS_SHARE = 0.002
"""Of the blocks that nothing speaks against, so many are compared with their receipts."""

_draw = random.SystemRandom().random  # a node must not know which blocks are compared

Register = Callable[[set[bytes]], Awaitable[Mapping[bytes, int]]]
Headers = Callable[[int, int], Awaitable[list[Block]]]


class Pieces:
    """The pieces of blocks `first` to `last`, in order.

    Args:
        parent: the hash of the block before `first`; None where the mirror begins with it.
        register: gives ids to contracts that have none.
        headers: blocks that are known already; None where the node is to tell them.
    """

    def __init__(
        self,
        chain: Chain,
        scope: Scope,
        *,
        first: int,
        last: int,
        parent: bytes | None,
        register: Register,
        headers: Headers | None = None,
    ) -> None:
        self.last = last
        self._chain, self._scope, self._register, self._headers = chain, scope, register, headers
        self._next, self._parent = first, parent
        self._width = Width(BLOCKS_MAX)
        self._masked: frozenset[bytes] = frozenset()
        self._masks: list[tuple[bytes, int]] = []  # what each address that is asked for sets in a bloom
        self._ready: deque[Rows] = deque()
        self._bytes = 0
        self._changed = asyncio.Condition()
        self._work = asyncio.create_task(self._run())

    async def take(self, bytes_max: int) -> list[Rows]:
        """The next pieces, as many as come within a moment, one at least; none after the last.

        Raises:
            NodeUnavailable, NodeRefused: they could not be read; begin anew after the last that was taken.
        """
        taken: list[Rows] = []
        async with self._changed:
            with suppress(TimeoutError):
                async with asyncio.timeout(GATHER_S):
                    await self._changed.wait_for(lambda: self._bytes >= bytes_max or self._work.done())
            await self._changed.wait_for(lambda: self._ready or self._work.done())
            while self._ready and bytes_max > 0:
                taken.append(self._ready.popleft())
                self._bytes -= taken[-1].size
                bytes_max -= taken[-1].size
            self._changed.notify_all()
        if not taken:
            self._work.result()
        return taken

    async def close(self) -> None:
        """Stop reading."""
        self._work.cancel()
        await asyncio.gather(self._work, return_exceptions=True)

    async def _run(self) -> None:
        ahead: deque[tuple[frozenset[bytes], asyncio.Task[tuple[list[Block], LogColumns]]]] = deque()
        first = self._next
        try:
            while ahead or first <= self.last:
                while len(ahead) < LANES and first <= self.last:
                    last = min(first + self._width.blocks - 1, self.last)
                    asked = frozenset(self._asked())
                    ahead.append((asked, asyncio.create_task(self._fetch(first, last, sorted(asked)))))
                    first = last + 1
                asked, task = ahead.popleft()
                await self._put(await self._piece(asked, *await task))
        finally:
            for _, task in ahead:
                task.cancel()
            await asyncio.gather(*(task for _, task in ahead), return_exceptions=True)
            async with self._changed:
                self._changed.notify_all()

    async def _put(self, piece: Rows) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self._bytes < BYTES_MAX)
            self._ready.append(piece)
            self._bytes += piece.size
            self._changed.notify_all()

    def _asked(self) -> set[bytes]:
        factory = set() if self._scope.factory is None else {self._scope.factory}
        return factory | self._scope.followed.keys()

    async def _fetch(self, first: int, last: int, addresses: Sequence[bytes]) -> tuple[list[Block], LogColumns]:
        """Blocks and their logs of the addresses, in as many questions as it takes."""
        blocks: list[Block] | None = None if self._headers is None else await self._headers(first, last)
        logs: LogColumns | None = None
        step = self._width.addresses
        for start in range(0, max(len(addresses), 1), step):
            question = Question(first, last, addresses[start : start + step], events.known().topics)
            told, found = await self._ask(question, headers=blocks is None)
            blocks = blocks or told
            hashes = {block.number: block.hash for block in blocks}
            if any(hashes.get(block.number) != block.hash for block in told):
                raise NodeLied("one height has two blocks among the final ones")
            logs = found if logs is None else logs.and_also(found)
        assert blocks is not None
        assert logs is not None
        return blocks, logs

    async def _ask(self, question: Question, *, headers: bool) -> tuple[list[Block], LogColumns]:
        began = time.monotonic()
        try:
            blocks, logs = await self._chain.log_columns(
                first=question.first,
                last=question.last,
                addresses=question.addresses,
                topics=question.topics,
                headers=headers,
            )
        except (NodeRefused, NodeUnavailable) as error:
            halves = question.halves()
            if halves is None or not is_too_much(error):
                raise
            self._width.refused(blocks=question.blocks, addresses=len(question.addresses))
            (some, earlier), (more, later) = [await self._ask(half, headers=headers) for half in halves]
            return (some + more if question.blocks > 1 else some), earlier.and_also(later)
        self._width.took(blocks=question.blocks, logs=len(logs), duration_s=time.monotonic() - began)
        return blocks, logs

    async def _piece(self, asked: frozenset[bytes], blocks: list[Block], logs: LogColumns) -> Rows:
        scope = self._scope
        self._check(asked, blocks, logs)
        deployments: list[Deployment] = []
        if scope.factory is not None:
            places = [place for place, address in enumerate(logs.addresses) if address == scope.factory]
            announced = projections.decode_deployments(logs.logs(places), factory=scope.factory)
            deployments = projections.first_deployments(announced, known=scope.followed)
        for each in deployments:
            scope.followed.setdefault(each.contract, each.block_number)
        fresh = self._asked() - asked
        if fresh:
            of_fresh = await self._more(blocks, fresh)
            known = {scope.factory or b"", *scope.followed}
            # The timelocks come last: only what was deployed in these very blocks is asked for them.
            timelocks = projections.decode_timelocks(
                of_fresh.logs(range(len(of_fresh))) if deployments else [], deployments, known=known
            )
            logs = logs.and_also(of_fresh)
            if timelocks:
                scope.followed.update({each.contract: each.block_number for each in timelocks})
                deployments = [*deployments, *timelocks]
                logs = logs.and_also(await self._more(blocks, {each.contract for each in timelocks}))
        await self._doubt(frozenset(self._asked()), blocks, logs)
        if missing := scope.followed.keys() - scope.ids.keys():
            scope.ids.update(await self._register(set(missing)))
        self._parent = blocks[-1].hash
        return rows_of(scope, blocks, deployments, logs)

    async def _more(self, blocks: list[Block], addresses: set[bytes]) -> LogColumns:
        """Logs of the same blocks from contracts that were not asked for at first."""
        told, logs = await self._fetch(blocks[0].number, blocks[-1].number, sorted(addresses))
        if told[-1].hash != blocks[-1].hash:
            raise NodeLied("one height has two blocks among the final ones")
        self._check(frozenset(addresses), blocks, logs)
        return logs

    def _check(self, asked: frozenset[bytes], blocks: list[Block], logs: LogColumns) -> None:
        parent = self._parent
        for block in blocks:
            if parent not in (None, block.parent_hash):
                raise NodeLied(f"block {block.number} has another parent than the block before it")
            parent = block.hash
        told = set(zip(logs.block_numbers, logs.block_hashes, strict=True))
        if not told <= {(block.number, block.hash) for block in blocks}:
            raise NodeLied("a log names a block that is not among the headers")
        if not set(logs.addresses) <= asked or not set(logs.first_topics) <= _topics():
            raise NodeLied("a log was not asked for")

    async def _doubt(self, asked: frozenset[bytes], blocks: list[Block], logs: LogColumns) -> None:
        """Compare blocks with their receipts: those whose bloom names a contract that is silent, and a few more.

        Raises:
            NodeLied: a log is missing, invented or changed.
        """
        if asked != self._masked:
            self._masked, self._masks = asked, [(address, bloom_mask(address)) for address in asked]
        spoke: dict[int, set[bytes]] = {}
        for number, address in set(zip(logs.block_numbers, logs.addresses, strict=True)):
            spoke.setdefault(number, set()).add(address)
        doubted = {
            block.number: block
            for block in blocks
            if self._may_lack(block, spoke.get(block.number, set())) or (block.logs_bloom and _draw() < RECEIPTS_SHARE)
        }
        if not doubted:
            return
        places = [
            place
            for place, (number, address) in enumerate(zip(logs.block_numbers, logs.addresses, strict=True))
            if number in doubted and address in asked
        ]
        await check_logs(
            self._chain,
            list(doubted.values()),
            logs.logs(places),
            addresses=list(asked),
            topics=events.known().topics,
            receipts_share=1,
        )

    def _may_lack(self, block: Block, spoke: set[bytes]) -> bool:
        bloom = block.logs_bloom
        if not bloom or len(self._masks) * (bloom.bit_count() / BLOOM_BITS) ** 3 > CHANCE_MAX:
            return False
        return any(bloom & mask == mask and address not in spoke for address, mask in self._masks)


def _topics() -> frozenset[bytes]:
    return frozenset((*events.known().topics, contracts.TRANSFER))
