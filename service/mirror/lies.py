"""Logs against what their blocks' headers commit to: what is missing, invented or changed shows before it is written.

Every log is looked for in its header's bloom, and every address without logs too, since an address that is not in the
bloom has none. A bloom says no for sure and yes perhaps, so where it says yes and no log came, and for a share of all
other blocks, the block's receipts are asked for: their root is in the header, and they hold every log there is.
"""

import random
from collections import defaultdict
from collections.abc import Sequence

from service.chain.node import AnswerTooLong, NodeLied
from service.chain.proofs import BLOOM_BITS, bloom_mask
from service.chain.reader import Block, Chain, Log
from service.telemetry import logger

RECEIPTS_SHARE = 0.02
"""Of the blocks with logs, and of those whose bloom says nothing, so many are compared with their receipts."""

BLOCKS_MAX = 8
"""Blocks whose receipts are asked for at once."""

CHANCE_MAX = 0.5
"""A bloom that would name one of our addresses by chance more often than this says nothing of an empty answer."""

_draw = random.SystemRandom().random  # a node must not know which blocks are compared


async def check_logs(
    chain: Chain,
    blocks: Sequence[Block],
    logs: Sequence[Log],
    *,
    addresses: Sequence[bytes],
    topics: Sequence[bytes],
    receipts_share: float,
) -> None:
    """Hold the logs of blocks against the blocks' headers.

    Args:
        logs: all that the node told of these addresses and first topics in these blocks.
        receipts_share: 0 to 1; of blocks that nothing speaks against, so many are compared with their receipts.

    Raises:
        NodeLied: a log is missing, invented or changed.
        NodeUnavailable: the node gave no usable answer about the receipts.
    """
    told: dict[int, list[Log]] = defaultdict(list)
    for log in logs:
        told[log.block_number].append(log)
    doubted = []
    for block in blocks:
        _check_bloom(block, told[block.number])
        if _may_lack(block, told[block.number], addresses, topics) or (
            (block.logs_bloom != 0 or told[block.number]) and _draw() < receipts_share
        ):
            doubted.append(block)
    asked, first = (frozenset(addresses), frozenset(topics)), 0
    while first < len(doubted):
        await _compare(chain, doubted[first : first + BLOCKS_MAX], told, *asked)
        first += BLOCKS_MAX


def _check_bloom(block: Block, logs: Sequence[Log]) -> None:
    if block.logs_bloom is None:
        return
    for log in logs:
        if any(bloom_mask(each) & ~block.logs_bloom for each in (log.address, *log.topics)):
            raise NodeLied(f"log {log.log_index} of block {block.number} is not in the bloom of its header")


def _may_lack(block: Block, logs: Sequence[Log], addresses: Sequence[bytes], topics: Sequence[bytes]) -> bool:
    """Whether the bloom speaks of an address that no log came of, and hardly by chance."""
    bloom = block.logs_bloom
    if not bloom or not any(bloom_mask(topic) & bloom == bloom_mask(topic) for topic in topics):
        return False
    silent = set(addresses) - {log.address for log in logs}
    chance = len(silent) * (bloom.bit_count() / BLOOM_BITS) ** 3
    return chance <= CHANCE_MAX and any(bloom_mask(each) & bloom == bloom_mask(each) for each in silent)


async def _compare(
    chain: Chain,
    blocks: Sequence[Block],
    told: dict[int, list[Log]],
    addresses: frozenset[bytes],
    topics: frozenset[bytes],
) -> None:
    try:
        proven = await chain.block_logs(blocks)
    except AnswerTooLong:
        if len(blocks) > 1:
            for block in blocks:
                await _compare(chain, [block], told, addresses, topics)
            return
        proven = [None]
    for block, logs in zip(blocks, proven, strict=True):
        if logs is None:
            logger().info("receipts_missing", block_number=block.number)
            continue
        ours = [log for log in logs if log.address in addresses and log.topics and log.topics[0] in topics]
        if ours != sorted(told[block.number], key=lambda log: log.log_index):
            raise NodeLied(f"the logs of block {block.number} are not those of its receipts")
