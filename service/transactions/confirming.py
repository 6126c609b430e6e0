"""What became of what is on its way: receipts, blocks that are gone, nonces that others took, and what is final."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from service.chain.reader import Receipt
from service.telemetry import logger
from service.transactions import attempts, moves, standing
from service.transactions.judging import judge_doubtful, revert_reasons
from service.transactions.lanes import Lane, Means, Seen
from service.transactions.moves import Unmined
from service.transactions.standing import Halt, Halted
from service.workers import Lease


@dataclass(frozen=True, slots=True)
class News:
    """What a look at the chain has found."""

    receipts: Mapping[UUID, Receipt]
    displaced: Sequence[Unmined]  # a final block has counted their nonces, and no version of them is mined
    lost: Sequence[bytes]  # blocks that are gone
    final: Sequence[bytes]  # blocks that are past reversal

    def __bool__(self) -> bool:
        return bool(self.receipts or self.displaced or self.lost or self.final)


async def confirm(means: Means, lane: Lane, lease: Lease, seen: Seen) -> int:
    """Look for what the chain has counted, and for what has become of the blocks; how many transactions moved."""
    news = await _look(means, lane, seen)
    if not news:
        return 0
    refusals = await _refusals(means, news.receipts)
    async with means.db.transaction() as session:
        doubtful = await moves.doubtful(session, lane, news.final, [each.id for each in news.displaced])
    executed, undecided = await judge_doubtful(means.chain, doubtful, final_number=seen.head.final_number)
    displaced = [each for each in news.displaced if each.id not in executed]
    # A wish of ours gets another nonce, and is judged again; what came signed has no other.
    out = [each.id for each in displaced if each.origin != "given" or each.id not in undecided]
    async with means.db.transaction() as session:
        await lease.hold(session)
        unmined = await moves.store_lost(session, news.lost)
        await moves.store_executed(session, executed)
        moved, undone = await moves.store_displaced(session, out)
        moved += await moves.store_starved(session, lane, news.final, executed)
        ended, changed = await moves.store_final(session, lane, news.final, executed, undecided)
        await moves.store_mined(session, news.receipts, refusals)
        await _note(session, lane, len(displaced), [*undone, *changed])
    if unmined:
        logger().warning("transactions_unmined", worker=lane.lease_name, count=unmined)
    return unmined + len(news.receipts) + moved + ended


async def _look(means: Means, lane: Lane, seen: Seen) -> News:
    counts = {signer: state.next_nonce for signer, state in seen.accounts.items()}
    async with means.db.transaction() as session:
        counted = await moves.counted(session, lane, counts, count_max=attempts.ROWS_MAX)
        blocks = await moves.mined_blocks(session, lane)
    owners = {hash_: each.id for each in counted for hash_ in each.hashes}
    found = await means.chain.receipts(list(owners)) if owners else []
    receipts = {owners[receipt.transaction_hash]: receipt for receipt in found if receipt is not None}
    past = [each for each in counted if each.id not in receipts and seen.is_past(each.signer, each.nonce)]
    displaced = await _displaced(means, past)
    hashes = await means.chain.block_hashes(sorted(set(blocks.values()))) if blocks else {}
    lost = [hash_ for hash_, number in blocks.items() if hashes[number] != hash_]
    final = [hash_ for hash_, number in blocks.items() if hashes[number] == hash_ and number <= seen.head.final_number]
    return News(receipts, displaced, lost, final)


async def _displaced(means: Means, past: Sequence[Unmined]) -> list[Unmined]:
    """Those of which no version is mined: where endpoints disagree on that, nothing is concluded until they agree."""
    hashes = [hash_ for each in past for hash_ in each.hashes]
    unmined = dict(zip(hashes, await means.chain.unmined(hashes), strict=True)) if hashes else {}
    return [each for each in past if all(unmined[hash_] for hash_ in each.hashes)]


async def _refusals(means: Means, receipts: Mapping[UUID, Receipt]) -> dict[UUID, dict[str, Any]]:
    failed = [id_ for id_, receipt in receipts.items() if not receipt.succeeded]
    if not failed:
        return {}
    async with means.db.transaction() as session:
        calls = await moves.calls(session, failed)
    return await revert_reasons(means.chain, calls, receipts)


async def _note(session: AsyncSession, lane: Lane, displaced_count: int, changed: Sequence[UUID]) -> None:
    """Make visible what the operator of this signer should know."""
    if lane.signer is None:
        return
    if displaced_count:
        logger().error("nonces_spent_elsewhere", worker=lane.lease_name, count=displaced_count)
        await standing.count_foreign(session, lane.chain_id, lane.signer, displaced_count)
    if changed:
        told = ", ".join(str(id_) for id_ in changed[:5])
        logger().error("effect_changed", worker=lane.lease_name, count=len(changed), detail=told)
        halted = Halted(Halt.EFFECT_CHANGED, f"sent again, these ended otherwise than their operations told: {told}")
        await standing.store_halt(session, lane.chain_id, lane.signer, halted)
