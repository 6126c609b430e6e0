"""Having versions signed: by the guard alone, and stored before anything else is done with them."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from service.db import new_id
from service.keys.guard import Failure
from service.keys.policy import Refusal, SigningIntent
from service.keys.unsigned import SignedTransaction, UnsignedTransaction
from service.transactions import attempts
from service.transactions.attempts import Unsigned, Version
from service.transactions.fees import Offer
from service.transactions.lanes import Lane, Means
from service.transactions.moves import Queued
from service.transactions.standing import Halt, Halted
from service.workers import Lease

_FROZEN = Halted(Halt.FROZEN, "its policy freezes it: `muniment signers unfreeze` lets it go on")
_DOWN = Halted(Halt.PROVIDER_DOWN, "whoever keeps its key does not answer, or does not sign with it")


async def permitted(
    means: Means, lane: Lane, sendable: Sequence[tuple[Queued, int]], price: Offer
) -> tuple[Sequence[tuple[Queued, int]], Mapping[UUID, str]]:
    """What the signer's policy lets pass, before it costs a nonce; and why it does not, by transaction."""
    intents = [
        _intent(lane, attempts.reserved(queued, Version(queued.id, 0, limit, price))) for queued, limit in sendable
    ]
    reasons = await means.guard.verdicts(intents)
    pairs = list(zip(sendable, reasons, strict=True))
    return (
        [pair for pair, reason in pairs if reason is None],
        {queued.id: reason for (queued, _), reason in pairs if reason is not None},
    )


def halt_of(reasons: Mapping[UUID, str]) -> Halted | None:
    """The halt that such reasons not to sign amount to, if any."""
    if Refusal.FROZEN in reasons.values():
        return _FROZEN
    return _DOWN if any(reason in set(Failure) for reason in reasons.values()) else None


def _policy_halt(kept: Mapping[UUID, str]) -> Halted | None:
    """What holds a nonce and may not be signed holds up all that come after it."""
    for id_, reason in kept.items():
        if reason in set(Refusal):
            return Halted(Halt.POLICY, f"{reason}: transaction {id_} has a nonce, and its next version is forbidden")
    return None


async def sign(means: Means, lane: Lane, lease: Lease, unsigned: Sequence[Unsigned]) -> Halted | None:
    """Have stored versions signed, and store the signed bytes; what halts the signer, if anything does.

    What a policy forbids in the meantime gives its nonce back when nothing was ever signed for it. A provider that
    does not answer is asked for the same signature again.
    """
    if not unsigned:
        return None
    outcomes = await means.guard.sign([_intent(lane, each) for each in unsigned])
    signed: dict[UUID, SignedTransaction] = {}
    refused: dict[UUID, str] = {}
    for each, outcome in zip(unsigned, outcomes, strict=True):
        if isinstance(outcome, SignedTransaction):
            signed[each.version.id] = outcome
        else:
            refused[each.version.transaction_id] = outcome.reason
    releasable: set[UUID] = set()
    async with means.db.transaction() as session:
        await lease.hold(session)
        await attempts.store_signed(session, signed)
        if refused:
            forbidden = [id_ for id_, reason in refused.items() if reason not in set(Failure)]
            releasable = await attempts.never_signed(session, forbidden)
            retry_after_s = means.limits.resend_after_s
            await attempts.release(session, {id_: refused[id_] for id_ in releasable}, retry_after_s)
            kept = {id_: reason for id_, reason in refused.items() if id_ not in releasable}
            await attempts.postpone(session, kept, retry_after_s)
    return halt_of(refused) or _policy_halt({id_: reason for id_, reason in refused.items() if id_ not in releasable})


def _intent(lane: Lane, unsigned: Unsigned) -> SigningIntent:
    version = unsigned.version
    return SigningIntent(
        attempt_id=version.id,
        transaction_id=version.transaction_id,
        transaction=UnsignedTransaction(
            chain_id=lane.chain_id,
            nonce=version.nonce,
            to=unsigned.recipient,
            data=unsigned.data,
            value=0,
            gas_limit=version.gas_limit,
            max_fee_wei=version.offer.max_fee_wei,
            priority_fee_wei=version.offer.priority_fee_wei,
        ),
        signer=unsigned.signer,
        approved=unsigned.approved,
        purpose=unsigned.purpose,
    )


def filler(lane: Lane, nonce: int, gas_limit: int, price: Offer) -> Unsigned:
    """An empty transaction of our own, for a nonce that nobody has."""
    return Unsigned(Version(new_id(), nonce, gas_limit, price), lane.own, lane.own, b"", False, "filler")
