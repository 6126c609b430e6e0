"""What happened in blocks: their logs, in questions that the node bears, each answer held against the headers."""

import time
from collections.abc import Collection, Sequence

from service.chain import events
from service.chain.node import NodeRefused, NodeUnavailable
from service.chain.reader import Block, Chain, Log
from service.chain.reasons import Reason
from service.mirror import projections
from service.mirror.apply import Happened
from service.mirror.lies import check_logs
from service.mirror.standing import Halt, Waiting
from service.mirror.width import Question, Width, is_too_much


async def happened_in(
    chain: Chain,
    blocks: list[Block],
    *,
    factory: bytes,
    followed: frozenset[bytes],
    width: Width,
    receipts_share: float,
) -> tuple[list[Block], Happened]:
    """What happened in the blocks, or in their first part where so long a range is too much for one answer.

    Raises:
        Waiting: the answers describe different chains.
        NodeLied: a log is missing, invented or changed.
    """
    blocks = blocks[: width.blocks]
    asking = _Asking(chain, blocks, width, receipts_share)
    try:
        logs = await asking.logs([factory, *sorted(followed - {factory})])
        announced = projections.decode_deployments(logs, factory=factory)
        deployments = projections.first_deployments(announced, known=followed)
        fresh = {each.contract for each in deployments} - {factory}
        # A contract acts from its first block on, which is one of these.
        of_fresh = await asking.logs(sorted(fresh))
        timelocks = projections.decode_timelocks(of_fresh, deployments, known={factory, *followed, *fresh})
        since = {each.contract: each.block_number for each in timelocks}
        of_timelocks = await asking.logs(sorted(since))
    except (NodeRefused, NodeUnavailable) as error:
        if isinstance(error, NodeRefused) and error.reason is Reason.BLOCK_UNKNOWN:
            raise Waiting(Halt.NODE_INCONSISTENT, "the node no longer has the blocks it showed") from error
        if len(blocks) == 1 or not is_too_much(error):
            raise
        half = blocks[: len(blocks) // 2]
        return await happened_in(
            chain, half, factory=factory, followed=followed, width=width, receipts_share=receipts_share
        )
    # However the blocks are cut into steps, an address that was there before is followed from the same block on.
    logs += of_fresh + [log for log in of_timelocks if log.block_number >= since[log.address]]
    everyone = followed | fresh | since.keys()
    transfers = projections.decode_transfers(logs, followed=everyone)
    others = projections.decode_others(logs, followed=everyone)
    return blocks, Happened([*deployments, *timelocks], transfers, others)


async def happened_to(
    chain: Chain, blocks: Sequence[Block], *, contracts: Collection[bytes], width: Width, receipts_share: float
) -> Happened:
    """What blocks did to these contracts alone. Raises as `happened_in`, and NodeRefused for a range too long."""
    everyone = frozenset(contracts)
    logs = await _Asking(chain, blocks, width, receipts_share).logs(sorted(everyone))
    transfers = projections.decode_transfers(logs, followed=everyone)
    return Happened([], transfers, projections.decode_others(logs, followed=everyone))


class _Asking:
    """Questions about the logs of the same blocks."""

    def __init__(self, chain: Chain, blocks: Sequence[Block], width: Width, receipts_share: float) -> None:
        self._chain = chain
        self._blocks = blocks
        self._width = width
        self._receipts_share = receipts_share

    async def logs(self, addresses: Sequence[bytes]) -> list[Log]:
        """Logs of exactly these blocks, in order within each contract.

        Raises:
            Waiting: the node showed logs of another branch, of another contract, or one log twice.
            NodeLied: a header says otherwise.
        """
        topics, found = events.known().topics, list[Log]()
        began, start = time.perf_counter(), 0
        while start < len(addresses):
            part = addresses[start : start + self._width.addresses]
            found += await self._asked(Question(self._blocks[0].number, self._blocks[-1].number, part, topics))
            start += len(part)
        if len({(log.block_hash, log.log_index) for log in found}) != len(found):
            raise Waiting(Halt.NODE_INCONSISTENT, "a log came twice")
        if addresses:
            duration_s = time.perf_counter() - began
            self._width.took(blocks=len(self._blocks), logs=len(found), duration_s=duration_s)
            await check_logs(
                self._chain,
                self._blocks,
                found,
                addresses=addresses,
                topics=topics,
                receipts_share=self._receipts_share,
            )
        return found

    async def _asked(self, question: Question) -> list[Log]:
        """Logs of these blocks; those of a single block in as many parts as it takes.

        Whoever may act on one of the contracts may fill a block with its logs, and a block that can't be read would
        stop the mirror for all of them.
        """
        try:
            logs, closing = await self._chain.logs(
                first=question.first, last=question.last, addresses=question.addresses, topics=question.topics
            )
        except (NodeRefused, NodeUnavailable) as error:
            halves = question.halves()
            if is_too_much(error):
                self._width.refused(blocks=question.blocks, addresses=len(question.addresses))
            if question.blocks > 1 or not is_too_much(error) or halves is None:
                raise
            parts = [log for half in halves for log in await self._asked(half)]
            return sorted(parts, key=lambda log: log.log_index)
        if closing.hash != self._blocks[-1].hash:
            raise Waiting(Halt.NODE_INCONSISTENT, "the chain changed between headers and logs")
        hashes, expected = {block.number: block.hash for block in self._blocks}, frozenset(question.addresses)
        if any(hashes.get(log.block_number) != log.block_hash for log in logs):
            raise Waiting(Halt.NODE_INCONSISTENT, "a log names a block that is not among the headers")
        if any(log.address not in expected or not log.topics for log in logs):
            raise Waiting(Halt.NODE_INCONSISTENT, "a log was not asked for")
        return logs
