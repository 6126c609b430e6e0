"""The indexer's step: take the mirror towards the node's head, or back to where the chain left our branch.

Each step writes in one DB transaction, under the worker's lease, with a number of statements that does not depend on
how much happened in its blocks. Whatever speaks against the node's answers is waited out: nothing is written meanwhile.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from service.addresses import checksum
from service.chain import artifacts
from service.chain.node import NodeLied
from service.chain.reader import Block, Chain, Head
from service.db import Database
from service.mirror import adoptions, branches, reorganisations, standing
from service.mirror.apply import Happened, apply, write_expelled
from service.mirror.happenings import happened_in
from service.mirror.lies import RECEIPTS_SHARE
from service.mirror.projections import Deployment, ImpossibleAmount
from service.mirror.standing import Halt, Place, Waiting
from service.mirror.width import Width
from service.telemetry import logger
from service.workers import Lease

BLOCKS_MAX = 2_000
"""Most blocks that a step may be set to take."""


@dataclass(slots=True)
class Gear:
    """What is learnt from step to step, and may be lost with the process.

    Args:
        receipts_share: of blocks that nothing speaks against, so many are compared with their receipts, 0 to 1.
    """

    receipts_share: float = RECEIPTS_SHARE
    width: Width = field(default_factory=lambda: Width(BLOCKS_MAX, blocks=BLOCKS_MAX))
    told: dict[str, float] = field(default_factory=dict)  # when each halt was last logged, by name


async def converge(
    db: Database,
    chain: Chain,
    lease: Lease,
    *,
    chain_id: int,
    factory: bytes,
    start_block: int,
    blocks_max: int,
    gear: Gear | None = None,
) -> int:
    """Take one step towards the node's head.

    Args:
        factory: the AssetFactory; its `Deployed` events say which contracts are followed.
        start_block: the mirror's first block; no contract may be older.
        blocks_max: most blocks to apply in one step, 1 or more.
        gear: what earlier steps learnt.

    Returns:
        Blocks applied, or undone, or 1 for a contract that is followed no longer; 0 when level, and when the mirror
        waits: `standing.present_halt` says for what.

    Raises:
        NodeUnavailable, NodeRefused: the node gave no usable answer; nothing was written.
        LeaseLost: another indexer took over; nothing was written.
        ImpossibleAmount: the events of a contract of ours add up to a negative amount; nothing was written.
    """
    gear = gear or Gear()
    place = await standing.place(db, chain_id=chain_id)
    try:
        head = await chain.head()
        await _record_past(db, lease, place, chain_id=chain_id)
        new = await _new_blocks(chain, place, head, start_block=start_block, blocks_max=blocks_max)
        if new is None:
            fork = await branches.find_fork(db, chain, place, head, chain_id=chain_id)
            return await branches.undo_to(db, lease, place, head, chain_id=chain_id, fork=fork)
        if not new:
            await _record_idle_head(db, lease, place, head, chain_id=chain_id)
            return 0
        followed = await _followed(db, chain_id)
        new, happened = await happened_in(
            chain,
            new,
            factory=factory,
            followed=followed,
            width=gear.width,
            receipts_share=gear.receipts_share,
        )
    except NodeLied as lie:
        chain.distrust(str(lie))
        waiting = Waiting(Halt.NODE_LIED, str(lie))
    except Waiting as found:
        waiting = found
    else:
        return await _apply_possible(db, chain, lease, chain_id=chain_id, head=head, blocks=new, happened=happened)
    await standing.wait(db, lease, waiting, chain_id=chain_id, before=place, told=gear.told)
    return 0


async def _new_blocks(
    chain: Chain, place: Place, head: Head, *, start_block: int, blocks_max: int
) -> list[Block] | None:
    """Blocks that follow our tip, oldest first; None where the node's branch is not seen to hold our tip.

    Raises:
        Waiting: the node's answers describe different chains.
    """
    if place.tip_number is None:
        batch = await chain.blocks(first=start_block, count_max=blocks_max) if head.tip.number >= start_block else []
        return [*batch[:1], *branches.linked(batch)]
    if head.tip.hash == place.tip_hash:
        return []
    if head.tip.parent_hash == place.tip_hash:
        return [head.tip]
    if head.tip.number <= place.tip_number + 1:
        return None
    # Our own tip again, too: a rule that looks only at the next block's parent would take a block whose parent is dead.
    ahead = head.tip.number - place.tip_number
    batch = await chain.blocks(first=place.tip_number, count_max=1 + min(ahead, blocks_max))
    if not batch:
        raise Waiting(Halt.NODE_INCONSISTENT, "the node does not have the blocks below the newest it spoke of")
    if batch[0].hash != place.tip_hash:
        return None
    new = branches.linked(batch)
    if len(batch) > 1 and not new:
        raise Waiting(Halt.NODE_INCONSISTENT, "the block after our tip has another parent")
    return new


async def _followed(db: Database, chain_id: int) -> frozenset[bytes]:
    rows = await db.fetch(
        """SELECT DISTINCT address FROM mirror.contracts JOIN mirror.deployments ON contract_id = id
        WHERE chain_id = %s AND canonical""",
        (chain_id,),
    )
    return frozenset(address for (address,) in rows)


async def _apply_possible(
    db: Database, chain: Chain, lease: Lease, *, chain_id: int, head: Head, blocks: Sequence[Block], happened: Happened
) -> int:
    """Apply blocks, but for contracts of this very step that log what none can hold and have none of our code.

    Returns:
        Blocks applied, or 1 for a contract that was followed before and is followed no longer.
    """
    left: list[Deployment] = []
    while True:
        try:
            await _apply(db, lease, chain_id=chain_id, head=head, blocks=blocks, happened=happened, left=left)
        except ImpossibleAmount as impossible:
            liar = impossible.contract
            # Ours says nothing impossible, so a log is missing; whoever may deploy can have anything else deployed.
            if liar is None or artifacts.is_code_of_ours(await chain.code(liar)):
                raise
            if await _expel(db, lease, liar, str(impossible), chain_id=chain_id):
                return 1
            lies = [each for each in happened.deployments if each.contract == liar]
            if not lies:
                raise
            left += lies
            logger().error("contract_expelled", detail=checksum(liar), reason=adoptions.IMPOSSIBLE)
            happened = happened.without(liar)
        else:
            return len(blocks)


async def _apply(
    db: Database,
    lease: Lease,
    *,
    chain_id: int,
    head: Head,
    blocks: Sequence[Block],
    happened: Happened,
    left: Sequence[Deployment],
) -> None:
    began = time.perf_counter()
    async with db.transaction() as session:
        await lease.hold(session)
        if left:
            await write_expelled(session, chain_id, left)
        await apply(session, chain_id=chain_id, blocks=blocks, happened=happened)
        await standing.record_head(
            session, chain_id=chain_id, head_number=head.tip.number, final_number=head.final_number
        )
    logger().info(
        "blocks_applied",
        blocks=len(blocks),
        events=len(happened),
        tip_number=blocks[-1].number,
        head_number=head.tip.number,
        duration_ms=round((time.perf_counter() - began) * 1000),
    )


async def _expel(db: Database, lease: Lease, liar: bytes, said: str, *, chain_id: int) -> bool:
    """Leave a contract whose transfers no mirror can hold, rather than stand still for all; False where it is new."""
    detail = f"{said}: its transfers say more than its holders had"
    async with db.transaction() as session:
        await lease.hold(session)
        expelled = await adoptions.expel(
            session, chain_id=chain_id, address=liar, reason=adoptions.IMPOSSIBLE, detail=detail
        )
    if expelled:
        logger().error("contract_expelled", detail=checksum(liar), reason=adoptions.IMPOSSIBLE)
    return expelled


async def _record_idle_head(db: Database, lease: Lease, place: Place, head: Head, *, chain_id: int) -> None:
    if place.head_fresh and place.halt is None and place.head == (head.tip.number, head.final_number):
        return
    async with db.transaction() as session:
        await lease.hold(session)
        await standing.record_head(
            session, chain_id=chain_id, head_number=head.tip.number, final_number=head.final_number
        )


async def _record_past(db: Database, lease: Lease, place: Place, *, chain_id: int) -> None:
    """Tell the journal of reorganisations that are past by what was final before this step."""
    if place.tip_number is None or place.unrecorded_tip is None:
        return
    final_number = min(place.tip_number, place.final_number)
    if place.unrecorded_tip <= final_number:
        async with db.transaction() as session:
            await lease.hold(session)
            await reorganisations.record_past(session, chain_id=chain_id, final_number=final_number)
