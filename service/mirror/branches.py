"""Another branch of the chain: whether there is one, where it parts from ours, and the way back to that block."""

from collections.abc import Sequence
from itertools import pairwise

from service.chain.reader import Block, Chain, Head
from service.db import Database
from service.mirror import adoptions, reorganisations, standing
from service.mirror.apply import undo
from service.mirror.standing import Halt, Place, Waiting
from service.telemetry import logger
from service.workers import Lease

UNDONE_MAX = 64
"""Blocks undone in one DB transaction."""

ASKED_MAX = 32
"""Blocks asked for at once on the way to the fork."""

EVIDENCE_MAX = 64
"""Headers of the other branch that must follow each other before a block of ours is undone for them."""

SHORTER_S = 60.0
"""A branch that ends below our tip is followed once the node has shown nothing else for so long."""


async def find_fork(db: Database, chain: Chain, place: Place, head: Head, *, chain_id: int) -> int:
    """The newest block that the node's branch shares with ours, or the one below our first where it shares none.

    Raises:
        Waiting: the node's branch is ours, or it is not proved that there is another.
    """
    assert place.tip_number is not None
    top = min(place.tip_number, head.tip.number)
    first = await _first(db, chain_id)
    if top < first:
        raise Waiting(Halt.NODE_BEHIND, f"the node's newest block is {top}, and the mirror begins with {first}")
    fork, above = first - 1, top + 1
    asked = [top, *(top - 2**k for k in range(ASKED_MAX) if top - 2**k >= first)]
    while above - fork > 1:
        ours, theirs = await _ours(db, chain_id, asked), await chain.block_hashes(asked)
        if None in theirs.values():
            raise Waiting(Halt.NODE_INCONSISTENT, "the node does not have all blocks below the newest it spoke of")
        shared = [number for number in asked if ours.get(number) == theirs[number]]
        parted = [number for number in asked if ours.get(number) != theirs[number]]
        fork, above = max([fork, *shared]), min([above, *parted])
        if fork >= above:
            raise Waiting(Halt.NODE_INCONSISTENT, f"the node has our block {fork}, and another block {above} below it")
        asked = _spread(fork, above)
    if fork == top:
        behind = place.tip_number - top
        if behind > 0:
            raise Waiting(Halt.NODE_BEHIND, f"the node is {behind} blocks behind the mirror, on the same branch")
        raise Waiting(Halt.NODE_INCONSISTENT, "the node has our newest block, and above it one with another parent")
    await _prove(db, chain, chain_id=chain_id, fork=fork, first=first, top=top)
    if top < place.tip_number and not _has_stayed(place, fork):
        raise Waiting(
            Halt.NODE_ON_SHORTER_BRANCH, f"the node's branch parts from ours above {fork}, and ends with {top}"
        )
    return fork


def _has_stayed(place: Place, fork: int) -> bool:
    if place.halt == Halt.REORGANISED_BELOW_FINAL or (place.resumed_fork is not None and fork >= place.resumed_fork):
        return True
    return place.halt == Halt.NODE_ON_SHORTER_BRANCH and place.halted_s >= SHORTER_S


def _spread(fork: int, above: int) -> list[int]:
    """Blocks between the two, evenly, so that each round leaves a thirty-third of the way."""
    apart = above - fork
    return sorted({fork + apart * part // (ASKED_MAX + 1) for part in range(1, ASKED_MAX + 1)} - {fork})


async def _first(db: Database, chain_id: int) -> int:
    query = "SELECT number FROM mirror.blocks WHERE chain_id = %s AND canonical ORDER BY number LIMIT 1"
    ((first,),) = await db.fetch(query, (chain_id,))
    return int(first)


async def _ours(db: Database, chain_id: int, numbers: Sequence[int]) -> dict[int, bytes]:
    query = "SELECT number, hash FROM mirror.blocks WHERE chain_id = %s AND canonical AND number = ANY(%s)"
    return dict(await db.fetch(query, (chain_id, list(numbers))))


async def _prove(db: Database, chain: Chain, *, chain_id: int, fork: int, first: int, top: int) -> None:
    """Make sure that the other branch is one: its blocks follow each other from the fork on, and no endpoint has ours.

    Raises:
        Waiting: they do not, or one has.
    """
    begin = max(fork, first)
    count = min(top - begin + 1, EVIDENCE_MAX)
    branch = await chain.blocks(first=begin, count_max=count)
    ours = await _ours(db, chain_id, [begin, top])
    rooted = bool(branch) and (begin > fork or branch[0].hash == ours.get(fork))
    if len(branch) < count or not rooted or len(linked(branch)) < count - 1:
        raise Waiting(Halt.NODE_INCONSISTENT, f"the other branch's blocks do not follow from block {fork}")
    if ours.get(top) in await chain.hashes_everywhere(top):
        raise Waiting(Halt.ENDPOINTS_DISAGREE, f"not every endpoint has left our block {top}")


def linked(blocks: Sequence[Block]) -> list[Block]:
    """The blocks after the first, up to one that does not name the one before as its parent."""
    found = []
    for before, block in pairwise(blocks):
        if block.parent_hash != before.hash:
            break
        found.append(block)
    return found


async def undo_to(db: Database, lease: Lease, place: Place, head: Head, *, chain_id: int, fork: int) -> int:
    """Take the newest blocks above the fork off, in one DB transaction; how many.

    Raises:
        Waiting: blocks above it were called final, and no operator has resumed.
        LeaseLost: another indexer took over; nothing was written.
    """
    if fork < place.final_number and (place.resumed_fork is None or fork < place.resumed_fork):
        detail = (
            f"the chain left blocks {fork + 1} to {place.final_number}, which were called final: find out why, "
            "then `muniment mirror resume`"
        )
        raise Waiting(Halt.REORGANISED_BELOW_FINAL, detail, fork=fork)
    newest = await db.fetch(
        """SELECT number, hash FROM mirror.blocks WHERE chain_id = %s AND canonical AND number > %s
        ORDER BY number DESC LIMIT %s""",
        (chain_id, fork, UNDONE_MAX + 1),
    )
    blocks = [(number, block_hash) for number, block_hash in newest[:UNDONE_MAX]]
    below = newest[UNDONE_MAX] if len(newest) > UNDONE_MAX else await _fork_block(db, chain_id, fork)
    async with db.transaction() as session:
        await lease.hold(session)
        for number, block_hash in blocks:
            await undo(session, number=number, block_hash=block_hash)
        await adoptions.end_undone(session, hashes=[block_hash for _, block_hash in blocks])
        lowest = blocks[-1][0]
        below_final = lowest <= place.final_number
        await reorganisations.note_undone(
            session, chain_id=chain_id, blocks=blocks, fork=(below[0], below[1]), below_final=below_final
        )
        # Blocks below may be dead too, so nothing new is called final before the branches meet again.
        final = min(place.final_number, head.final_number, lowest - 1)
        await standing.record_head(
            session, chain_id=chain_id, head_number=head.tip.number, final_number=final, undoing=True
        )
    logger().info(
        "blocks_undone",
        blocks=len(blocks),
        block_number=lowest,
        block_hash=blocks[-1][1].hex(),
        head_number=head.tip.number,
        final_number=final,
    )
    return len(blocks)


async def _fork_block(db: Database, chain_id: int, fork: int) -> tuple[int, bytes | None]:
    return fork, (await _ours(db, chain_id, [fork])).get(fork)
