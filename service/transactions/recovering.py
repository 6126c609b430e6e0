"""Before anything new: what was reserved and not signed, nonces that nobody has, and ends that the chain took back."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from service.telemetry import logger
from service.transactions import attempts, moves, signing
from service.transactions.attempts import Spent
from service.transactions.lanes import Lane, Means, Seen
from service.transactions.standing import Halt, Halted
from service.workers import Lease

_SENT_AGAIN = "the node does not count nonces {} to {}, which were final: they are sent again"
_ENDED = frozenset({"confirmed", "reverted", "cancelled", "executed", "displaced"})


@dataclass(frozen=True, slots=True)
class Recovered:
    """What a lane's step knows before it claims."""

    halted: Halted | None
    next_nonce: int
    taken: frozenset[int]  # nonces from `next_nonce` on that transactions of ours have
    ended: Sequence[UUID]  # transactions that were final, and whose nonces the chain does not count: to be sent again

    def free_nonces(self) -> Iterator[int]:
        """Nonces that nobody has, lowest first."""
        nonce = self.next_nonce
        while True:
            if nonce not in self.taken:
                yield nonce
            nonce += 1

    @property
    def gaps(self) -> list[int]:
        """Nonces that nobody has, and that hold up a transaction with a higher one."""
        return [nonce for nonce in range(self.next_nonce, max(self.taken, default=0)) if nonce not in self.taken]


async def recover(means: Means, lane: Lane, lease: Lease, seen: Seen) -> Recovered:
    """Sign what was reserved, and find what is missing between the chain's count and our highest nonce."""
    next_nonce = seen.accounts[lane.own].next_nonce
    async with means.db.transaction() as session:
        unsigned = await attempts.unsigned(session, lane, count_max=means.limits.transactions_max)
        spent = await attempts.spent_from(session, lane, next_nonce)
    halted = await signing.sign(means, lane, lease, unsigned)
    ended = [each for each in spent if each.status in _ENDED and each.origin != "given"]
    if ended:
        halted = await _reopen(means, lane, lease, ended)
    elif again := [each for each in spent if each.told is not None and each.status == "submitted"]:
        halted = Halted(Halt.CHAIN_REWOUND, _SENT_AGAIN.format(again[0].nonce, again[-1].nonce))
    ids = [each.transaction_id for each in ended]
    return Recovered(halted, next_nonce, frozenset(each.nonce for each in spent), ids)


async def _reopen(means: Means, lane: Lane, lease: Lease, ended: Sequence[Spent]) -> Halted:
    """What was final is not on the chain, or the node is behind: the same bytes are sent again either way."""
    hashes = await means.chain.block_hashes(sorted({each.block_number for each in ended if each.block_number}))
    gone = [
        each.transaction_id
        for each in ended
        if each.status == "displaced" or (each.block_number and hashes[each.block_number] != each.block_hash)
    ]
    async with means.db.transaction() as session:
        await lease.hold(session)
        reopened = await moves.reopen(session, gone)
    if reopened:
        logger().error("final_transactions_lost", worker=lane.lease_name, count=reopened)
    halt = Halt.NODE_BEHIND if None in hashes.values() else Halt.CHAIN_REWOUND
    first, last = ended[0].nonce, ended[-1].nonce
    return Halted(halt, _SENT_AGAIN.format(first, last))
