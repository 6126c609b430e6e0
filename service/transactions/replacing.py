"""Better offers for what is stuck, and empty transactions in the place of what is to be cancelled."""

from collections.abc import Sequence
from uuid import UUID

from service.chain.node import NodeRefused
from service.chain.reader import Call, Chain, Fees
from service.transactions import attempts, moves, signing
from service.transactions.attempts import CANCEL, Version, Waiting
from service.transactions.fees import capped_offer, gas_limit, is_adequate, raised
from service.transactions.lanes import Lane, Means, Seen
from service.transactions.standing import Halt
from service.workers import Lease

STUCK_BLOCKS = 3
"""Blocks that pass a transaction by before more is offered: without blocks, no offer helps."""


async def replace(means: Means, lane: Lane, lease: Lease, seen: Seen, *, look_for_stuck: bool) -> int:
    """Reserve and sign the versions that are due: what was asked for, and, if told to look, what is stuck; how many."""
    next_nonce, tip_number = seen.accounts[lane.own].next_nonce, seen.head.tip.number
    limits = means.limits
    async with means.db.transaction() as session:
        waiting = await attempts.waiting(
            session,
            lane,
            next_nonce,
            replace_after_s=limits.replace_after_s if look_for_stuck else None,
            count_max=limits.transactions_max,
        )
    if not waiting:
        return 0
    fees = await means.chain.fees()
    stuck = [each for each in waiting if _needs_more(each, fees, next_nonce, tip_number)]
    if not stuck:
        return 0
    empty_gas = await gas_of_nothing(means.chain, lane.own) if any(each.cancel_asked for each in stuck) else 0
    versions, capped = _better(stuck, fees, empty_gas, cap_wei=limits.fee_max_wei)
    async with means.db.transaction() as session:
        await lease.hold(session)
        await attempts.abandon_calls(session, [each.transaction_id for each in stuck if each.cancel_asked])
        await attempts.add(session, versions, tip_number=tip_number)
        await moves.store_trouble(session, dict.fromkeys(capped, str(Halt.FEE_CAP)), limits.resend_after_s)
        unsigned = await attempts.unsigned(session, lane, count_max=limits.transactions_max)
    await signing.sign(means, lane, lease, unsigned)
    return len(versions)


async def gas_of_nothing(chain: Chain, signer: bytes) -> int:
    """The gas limit of a transaction that does nothing, on this chain.

    Raises:
        NodeRefused: the node can't tell.
    """
    (estimate,) = await chain.estimate_gas([Call(to=signer, data=b"", sender=signer)])
    if isinstance(estimate, NodeRefused):
        raise estimate
    return gas_limit(estimate)


def _needs_more(waiting: Waiting, fees: Fees, next_nonce: int, tip_number: int) -> bool:
    """Asked for, or outbid; or passed by in several blocks although it was the signer's next, or too cheap."""
    if waiting.cancel_asked or waiting.bump_asked:
        return True
    if waiting.outbid:
        # At most once a block: the word of one node alone must not drive an offer up to the cap.
        return tip_number > waiting.tip_number
    if tip_number - waiting.tip_number < STUCK_BLOCKS:
        return False
    return waiting.nonce == next_nonce or not is_adequate(
        waiting.version.offer, fees.base_fee_wei, fees.priority_fee_wei
    )


def _better(stuck: Sequence[Waiting], fees: Fees, empty_gas: int, *, cap_wei: int) -> tuple[list[Version], list[UUID]]:
    """The next version of each, and those for which the cap allows none."""
    market = capped_offer(fees.base_fee_wei, fees.priority_fee_wei, cap_wei=cap_wei)
    versions, capped = [], []
    for each in stuck:
        better = raised(each.version.offer, market, cap_wei=cap_wei)
        if better is None:
            capped.append(each.transaction_id)
            continue
        kind = CANCEL if each.cancel_asked else each.version.kind
        limit = empty_gas if each.cancel_asked else each.version.gas_limit
        versions.append(Version(each.transaction_id, each.nonce, limit, better, kind))
    return versions, capped
