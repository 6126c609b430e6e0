"""Nonces for what is queued: judged first, so that a refusal costs none; reserved and stored before it is signed."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from service.chain.reader import Fees
from service.transactions import attempts, moves, signing, standing
from service.transactions.attempts import Unsigned, Version
from service.transactions.fees import Offer, capped_offer
from service.transactions.judging import Verdicts, judge_doubtful, judge_queued
from service.transactions.lanes import Lane, Means, Seen
from service.transactions.moves import Queued
from service.transactions.recovering import Recovered
from service.transactions.replacing import gas_of_nothing
from service.transactions.standing import Halt, Halted
from service.workers import Lease

Sendable = Sequence[tuple[Queued, int]]
"""Transactions with their gas limits."""


async def claim(means: Means, lane: Lane, lease: Lease, seen: Seen, recovered: Recovered) -> int:
    """Give queued transactions their nonces, sign them and store the bytes; fill what gaps remain; how many moved.

    What halts the signer is stored, and told.
    """
    async with means.db.transaction() as session:
        former = await standing.present_halt(session, lane.chain_id, lane.own)
        withdrawn = await moves.withdrawn(session, lane)
        queued = await moves.queued(session, lane, count_max=means.limits.transactions_max)
        unsigned = former == Halt.PROVIDER_DOWN and await standing.lasts(session, lane, former)
    moved = await _withdraw(means, lease, withdrawn, final_number=seen.head.final_number) if withdrawn else 0
    halted = recovered.halted
    # What a silent provider is to sign waits already: more would only take nonces that nobody can cancel.
    held = former == Halt.EFFECT_CHANGED or unsigned
    if halted is None and not held and (queued or recovered.gaps):
        claimed, halted = await _claim(means, lane, lease, seen, recovered, queued)
        moved += claimed
    if halted is None and former is not None:
        async with means.db.transaction() as session:
            if await standing.lasts(session, lane, former):
                return moved
    if former != (None if halted is None else halted.halt):
        await standing.tell(means.db, lane, lease, halted)
    return moved


async def _withdraw(means: Means, lease: Lease, withdrawn: Sequence[moves.Doubtful], *, final_number: int) -> int:
    """End what was taken back after its nonce had gone to somebody else, once nobody can bring it about any more."""
    executed, undecided = await judge_doubtful(means.chain, withdrawn, final_number=final_number)
    over = [each.id for each in withdrawn if each.id not in executed and each.id not in undecided]
    if not (executed or over):
        return 0
    async with means.db.transaction() as session:
        await lease.hold(session)
        await moves.store_executed(session, executed)
        await moves.store_withdrawn(session, over)
    return len(executed) + len(over)


async def _claim(
    means: Means, lane: Lane, lease: Lease, seen: Seen, recovered: Recovered, queued: Sequence[Queued]
) -> tuple[int, Halted | None]:
    verdicts = await judge_queued(means.chain, means.known_gas, queued, final_number=seen.head.final_number)
    fees = await means.chain.fees()
    price = capped_offer(fees.base_fee_wei, fees.priority_fee_wei, cap_wei=means.limits.fee_max_wei)
    if price is None:
        return await _wait_for_lower_fees(means, lane, lease, verdicts, fees)
    sendable, forbidden = await signing.permitted(means, lane, verdicts.sendable, price)
    payable, halted = await _payable(means, lane, seen, sendable, price)
    unpaid = {each.id: str(Halt.NO_FUNDS) for each, _ in sendable[len(payable) :]}
    empty_gas = await gas_of_nothing(means.chain, lane.own) if recovered.gaps else 0
    async with means.db.transaction() as session:
        await lease.hold(session)
        unsigned = await _reserve(session, lane, seen, recovered, payable, price, empty_gas)
        moved = await _store(means, session, lane, verdicts, {**forbidden, **unpaid})
    refused = await signing.sign(means, lane, lease, unsigned)
    return moved + len(unsigned), refused or halted or signing.halt_of(forbidden)


async def _wait_for_lower_fees(
    means: Means, lane: Lane, lease: Lease, verdicts: Verdicts, fees: Fees
) -> tuple[int, Halted]:
    cap_wei = means.limits.fee_max_wei
    async with means.db.transaction() as session:
        await lease.hold(session)
        words = str(Halt.FEE_CAP)
        moved = await _store(means, session, lane, verdicts, {each.id: words for each, _ in verdicts.sendable})
    detail = f"the next block asks {fees.base_fee_wei} wei for a unit of gas, and the cap is {cap_wei} wei"
    return moved, Halted(Halt.FEE_CAP, detail)


async def _payable(
    means: Means, lane: Lane, seen: Seen, sendable: Sendable, price: Offer
) -> tuple[Sendable, Halted | None]:
    """As many as the signer can pay for on top of what is on its way."""
    if not sendable:
        return sendable, None
    balance_wei = seen.accounts[lane.own].balance_wei
    async with means.db.transaction() as session:
        left_wei = balance_wei - await attempts.committed_wei(session, lane)
    for place, (_, limit) in enumerate(sendable):
        left_wei -= limit * price.max_fee_wei
        if left_wei < 0:
            detail = f"it has {balance_wei} wei and lacks {-left_wei} wei for its next transaction: fund it"
            return sendable[:place], Halted(Halt.NO_FUNDS, detail)
    return sendable, None


async def _reserve(
    session: AsyncSession,
    lane: Lane,
    seen: Seen,
    recovered: Recovered,
    payable: Sendable,
    price: Offer,
    empty_gas: int,
) -> list[Unsigned]:
    """Store nonces and contents, of wishes first and of fillers for the gaps that they leave."""
    free, tip_number = recovered.free_nonces(), seen.head.tip.number
    still = await attempts.lock_queued(session, [each.id for each, _ in payable])
    claims = [
        attempts.reserved(each, Version(each.id, next(free), limit, price))
        for each, limit in payable
        if each.id in still
    ]
    given = {each.version.nonce for each in claims}
    fillers = [signing.filler(lane, nonce, empty_gas, price) for nonce in recovered.gaps if nonce not in given]
    await attempts.reserve(session, [each.version for each in claims], tip_number=tip_number)
    await attempts.fill(session, lane, [each.version for each in fillers], tip_number=tip_number)
    return [*claims, *fillers]


async def _store(
    means: Means, session: AsyncSession, lane: Lane, verdicts: Verdicts, reasons: Mapping[UUID, str]
) -> int:
    """Store what becomes of the others, once it is known what is on its way."""
    last = await moves.last_unmined_nonce(session, lane) if verdicts.refused else None
    ended = await moves.store_refused(session, verdicts.refused, last_unmined_nonce=last)
    await moves.store_executed(session, verdicts.executed)
    await moves.store_trouble(session, {**verdicts.troubled, **reasons}, means.limits.resend_after_s)
    return len(verdicts.executed) + ended
