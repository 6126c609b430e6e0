"""The indexer's step: take the mirror towards the node's head, or one block back when the chain left our branch.

Each step writes in one DB transaction, under the worker's lease, with a number of statements that does not depend on
how much happened in its blocks.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise, takewhile

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from service.chain import events
from service.chain.node import AnswerLate, AnswerTooLong, NodeRefused, NodeUnavailable
from service.chain.reader import Block, Chain, Head, Log
from service.chain.reasons import Reason
from service.db import Database, ReadConnection
from service.mirror import projections
from service.mirror.apply import Happened, apply, undo
from service.mirror.tables import HEADS
from service.telemetry import logger
from service.workers import Lease

ADDRESSES_MAX = 500
"""Addresses in one question for logs."""

HEAD_AGE_MAX = timedelta(seconds=1)
"""The node's unchanged head is written again after this, so that readers see the indexer alive."""


class Inconsistent(Exception):
    """Two answers of the node describe different chains: nothing may be built from them."""


@dataclass(frozen=True, slots=True)
class _Mirrored:
    """Where the mirror stands before the step."""

    tip_number: int | None
    tip_hash: bytes | None
    head: tuple[int, int] | None  # head and final number, as last written
    head_fresh: bool
    followed: frozenset[bytes]


async def converge(
    db: Database, chain: Chain, lease: Lease, *, chain_id: int, factory: bytes, start_block: int, blocks_max: int
) -> int:
    """Take one step towards the node's head.

    Args:
        factory: the AssetFactory; its `Deployed` events say which contracts are followed.
        start_block: the mirror's first block; no contract may be older.
        blocks_max: most blocks to apply in one step, 1 or more.

    Returns:
        Blocks applied; 1 too when our newest block was undone; 0 when level, and when the node's answers
        contradict each other (a reorganisation between two questions), which the next step asks about again.

    Raises:
        NodeUnavailable, NodeRefused: the node gave no usable answer; nothing was written.
        LeaseLost: another indexer took over; nothing was written.
        ImpossibleAmount: the chain's events add up to a negative amount; nothing was written.
    """
    async with db.read() as connection:
        mirrored = await _mirrored(connection, chain_id)
    head = await chain.head()
    try:
        new = await _new_blocks(chain, mirrored, head, start_block=start_block, blocks_max=blocks_max)
        if new is None:
            await _undo_tip(db, lease, chain_id=chain_id, mirrored=mirrored, head=head)
            return 1
        if not new:
            await _record_idle_head(db, lease, chain_id=chain_id, mirrored=mirrored, head=head)
            return 0
        new, happened = await _happened(chain, new, factory=factory, followed=mirrored.followed)
    except Inconsistent as error:
        logger().warning("node_inconsistent", reason=str(error), tip_number=mirrored.tip_number)
        return 0
    await _apply(db, lease, chain_id=chain_id, head=head, blocks=new, happened=happened)
    return len(new)


# What the node says


async def _mirrored(connection: ReadConnection, chain_id: int) -> _Mirrored:
    tip = await (
        await connection.execute(
            "SELECT number, hash FROM mirror.blocks WHERE chain_id = %s AND canonical ORDER BY number DESC LIMIT 1",
            (chain_id,),
        )
    ).fetchone()
    head = await (
        await connection.execute(
            "SELECT head_number, final_number, clock_timestamp() - seen_at < %s FROM mirror.heads WHERE chain_id = %s",
            (HEAD_AGE_MAX, chain_id),
        )
    ).fetchone()
    followed = await (
        await connection.execute(
            """SELECT DISTINCT address FROM mirror.contracts JOIN mirror.deployments ON contract_id = id
            WHERE chain_id = %s AND canonical""",
            (chain_id,),
        )
    ).fetchall()
    return _Mirrored(
        tip_number=tip[0] if tip else None,
        tip_hash=tip[1] if tip else None,
        head=(head[0], head[1]) if head else None,
        head_fresh=bool(head and head[2]),
        followed=frozenset(address for (address,) in followed),
    )


async def _new_blocks(
    chain: Chain, mirrored: _Mirrored, head: Head, *, start_block: int, blocks_max: int
) -> list[Block] | None:
    """Blocks that follow our tip, oldest first; None when the chain left our tip."""
    if mirrored.tip_number is None:
        batch = await chain.blocks(first=start_block, count_max=blocks_max) if head.tip.number >= start_block else []
        return [*batch[:1], *_linked(batch)]
    if head.tip.hash == mirrored.tip_hash:
        return []
    # Our own tip again, too: a reorganisation may leave the height as it was, and a rule that looks only at the
    # next block's parent would serve dead balances until that block comes.
    ahead = max(head.tip.number - mirrored.tip_number, 0)
    batch = await chain.blocks(first=mirrored.tip_number, count_max=1 + min(ahead, blocks_max))
    if not batch or batch[0].hash != mirrored.tip_hash:
        return None
    new = _linked(batch)
    if len(batch) > 1 and not new:
        raise Inconsistent("the block after our tip has another parent")
    return new


def _linked(batch: Sequence[Block]) -> list[Block]:
    return [block for _, block in takewhile(lambda pair: pair[1].parent_hash == pair[0].hash, pairwise(batch))]


async def _happened(
    chain: Chain, blocks: list[Block], *, factory: bytes, followed: frozenset[bytes]
) -> tuple[list[Block], Happened]:
    """What happened in the blocks, or in their first part where so long a range is too much for one answer."""
    try:
        logs = await _logs(chain, blocks, [factory, *sorted(followed - {factory})])
        deployments = projections.decode_deployments(logs, factory=factory)
        fresh = {each.contract for each in deployments} - followed - {factory}
        # A contract acts from its first block on, which is one of these.
        of_fresh = await _logs(chain, blocks, sorted(fresh))
        timelocks = projections.decode_timelocks(of_fresh, deployments, known={factory, *followed, *fresh})
        since = {each.contract: each.block_number for each in timelocks}
        of_timelocks = await _logs(chain, blocks, sorted(since))
    except (NodeRefused, NodeUnavailable) as error:
        if isinstance(error, NodeRefused) and error.reason is Reason.BLOCK_UNKNOWN:
            raise Inconsistent("the node no longer has the blocks it showed") from error
        if len(blocks) == 1 or not (_too_much(error) or isinstance(error, AnswerLate)):
            raise
        return await _happened(chain, blocks[: len(blocks) // 2], factory=factory, followed=followed)
    # However the blocks are cut into steps, an address that was there before is followed from the same block on.
    logs += of_fresh + [log for log in of_timelocks if log.block_number >= since[log.address]]
    everyone = followed | fresh | since.keys()
    transfers = projections.decode_transfers(logs, followed=everyone)
    others = projections.decode_others(logs, followed=everyone)
    return blocks, Happened([*deployments, *timelocks], transfers, others)


async def _logs(chain: Chain, blocks: Sequence[Block], addresses: Sequence[bytes]) -> list[Log]:
    """Logs of exactly these blocks, in order within each contract.

    Raises:
        Inconsistent: the node showed logs of another branch, of another contract, or one log twice.
    """
    found: list[Log] = []
    for start in range(0, len(addresses), ADDRESSES_MAX):
        found += await _asked(chain, blocks, addresses[start : start + ADDRESSES_MAX], events.known().topics)
    if len({(log.block_hash, log.log_index) for log in found}) != len(found):
        raise Inconsistent("a log came twice")
    return found


async def _asked(
    chain: Chain, blocks: Sequence[Block], addresses: Sequence[bytes], topics: Sequence[bytes]
) -> list[Log]:
    """Logs of these blocks; those of a single block in as many parts as it takes.

    Whoever may act on one of the contracts may fill a block with its logs, and a block that can't be read would stop
    the mirror for all of them.
    """
    try:
        logs, closing = await chain.logs(
            first=blocks[0].number, last=blocks[-1].number, addresses=addresses, topics=topics
        )
    except (NodeRefused, AnswerTooLong) as error:
        if len(blocks) > 1 or not _too_much(error) or len(addresses) == len(topics) == 1:
            raise
        if len(addresses) > 1:
            halves = [(half, topics) for half in _halves(addresses)]
        else:
            halves = [(addresses, half) for half in _halves(topics)]
        parts = [log for half in halves for log in await _asked(chain, blocks, *half)]
        return sorted(parts, key=lambda log: log.log_index)
    if closing.hash != blocks[-1].hash:
        raise Inconsistent("the chain changed between headers and logs")
    hashes, expected = {block.number: block.hash for block in blocks}, frozenset(addresses)
    if any(hashes.get(log.block_number) != log.block_hash for log in logs):
        raise Inconsistent("a log names a block that is not among the headers")
    if any(log.address not in expected or not log.topics for log in logs):
        raise Inconsistent("a log was not asked for")
    return logs


def _halves(values: Sequence[bytes]) -> tuple[Sequence[bytes], Sequence[bytes]]:
    middle = len(values) // 2
    return values[:middle], values[middle:]


def _too_much(error: Exception) -> bool:
    """Whether the answer was too long, for us or for the node, so that a part of the question may have one."""
    return isinstance(error, AnswerTooLong) or (
        isinstance(error, NodeRefused) and error.reason is Reason.RANGE_TOO_LARGE
    )


# What we write


async def _undo_tip(db: Database, lease: Lease, *, chain_id: int, mirrored: _Mirrored, head: Head) -> None:
    assert mirrored.tip_number is not None
    assert mirrored.tip_hash is not None
    number, block_hash = mirrored.tip_number, mirrored.tip_hash
    final_before = mirrored.head[1] if mirrored.head else -1
    async with db.transaction() as session:
        await lease.hold(session)
        await undo(session, number=number, block_hash=block_hash)
        # Blocks below may be dead too, so nothing new is called final before the branches meet again.
        final = min(final_before, head.final_number, number - 1)
        await _record_head(session, chain_id, head.tip.number, final)
    log = logger().bind(block_number=number, block_hash=block_hash.hex(), head_number=head.tip.number)
    log.info("block_undone")
    if number <= final_before:
        log.error("reorganised_below_final", final_number=final_before)


async def _apply(
    db: Database, lease: Lease, *, chain_id: int, head: Head, blocks: Sequence[Block], happened: Happened
) -> None:
    began = time.perf_counter()
    async with db.transaction() as session:
        await lease.hold(session)
        await apply(session, chain_id=chain_id, blocks=blocks, happened=happened)
        await _record_head(session, chain_id, head.tip.number, head.final_number)
    logger().info(
        "blocks_applied",
        blocks=len(blocks),
        events=len(happened),
        tip_number=blocks[-1].number,
        head_number=head.tip.number,
        duration_ms=round((time.perf_counter() - began) * 1000),
    )


async def _record_idle_head(db: Database, lease: Lease, *, chain_id: int, mirrored: _Mirrored, head: Head) -> None:
    if mirrored.head_fresh and mirrored.head == (head.tip.number, head.final_number):
        return
    async with db.transaction() as session:
        await lease.hold(session)
        await _record_head(session, chain_id, head.tip.number, head.final_number)


async def _record_head(session: AsyncSession, chain_id: int, head_number: int, final_number: int) -> None:
    said = {"head_number": head_number, "final_number": final_number, "seen_at": func.clock_timestamp()}
    await session.execute(
        insert(HEADS).values(chain_id=chain_id, **said).on_conflict_do_update(index_elements=["chain_id"], set_=said)
    )
