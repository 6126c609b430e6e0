"""One transaction from the command line: on the sender's own road, by the running sender or by ourselves."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service.addresses import checksum
from service.chain.reader import open_chain
from service.db import Database
from service.keys.guard import Guard
from service.keys.signers import open_signers
from service.keys.signing import UnknownSigner
from service.settings import Settings
from service.transactions import queries
from service.transactions.commands import Wish, enqueue
from service.transactions.lanes import Lane, Limits, Means
from service.transactions.sender import Sender
from service.workers import Lease

MINED_TIMEOUT_S = 120.0
_POLL_S = 0.1


class NoEther(Exception):
    """The signer has nothing to pay gas with."""


class NotMined(Exception):
    """The transaction is not mined yet, or it has ended without an effect."""


@asynccontextmanager
async def open_means(settings: Settings, db: Database) -> AsyncIterator[Means]:
    """What a command needs to send: the chain, which must be ours, and every signer that is configured.

    Raises:
        WrongChain: the node follows another chain.
    """
    chain = open_chain(settings)
    try:
        await chain.check()
        async with open_signers(settings) as signers:
            yield Means(db, chain, Guard(db, signers), Limits.of(settings))
    finally:
        await chain.close()


async def send_directly(means: Means, wish: Wish, *, lease_ttl_s: float) -> int:
    """Store a wish, and be its signer's sender until it is mined unless one runs; the number of its block.

    Raises:
        UnknownSigner: no key for the signer.
        NoEther: the signer can pay for nothing.
        NotMined: refused, or not in a block in time; in that case the next sender goes on with it.
    """
    if wish.signer not in means.guard.signers.addresses:
        raise UnknownSigner(f"there is no key for {checksum(wish.signer)}")
    if await means.chain.balance(wish.signer) == 0:
        raise NoEther(f"{checksum(wish.signer)} has no ether on chain {wish.chain_id}: fund it, and run this again")
    async with means.db.transaction() as session:
        id_ = await enqueue(session, wish)
    lane, sender = Lane(wish.chain_id, wish.signer), Sender(means)
    lease = Lease(lane.lease_name, ttl_s=lease_ttl_s)
    try:
        end_s = time.monotonic() + MINED_TIMEOUT_S
        while time.monotonic() < end_s:
            if lease.epoch is not None or await lease.take(means.db):
                await sender.step(lane, lease)
                await lease.keep(means.db)
            async with means.db.read() as connection:
                progress = (await queries.progress(connection, [id_]))[id_]
            if progress.status in ("refused", "reverted", "cancelled"):
                raise NotMined(f"it was {progress.status}")
            if progress.block_number is not None:
                return progress.block_number
            await asyncio.sleep(_POLL_S)
        raise NotMined(f"not in a block yet ({progress.last_error or progress.status}): a sender will go on with it")
    finally:
        await lease.release(means.db)
