"""One transaction from the command line while no sender runs: on the sender's own road, under its lease."""

import asyncio
import time

from service.addresses import checksum
from service.chain.reader import Chain
from service.db import Database
from service.keys.signers import Keystore, UnknownSigner
from service.transactions import queries
from service.transactions.commands import Wish, enqueue
from service.transactions.sender import Sender
from service.workers import Lease

MINED_TIMEOUT_S = 120.0
_POLL_S = 0.1


class SenderRunning(Exception):
    """A sender holds the lease, and two may not send at once."""


class NoEther(Exception):
    """The signer has nothing to pay gas with."""


class NotMined(Exception):
    """The transaction is not mined yet, or the contract refused it."""


def lease_name(chain_id: int) -> str:
    """The name of the lease that whoever sends on a chain holds."""
    return f"sender:{chain_id}"


async def send_directly(db: Database, chain: Chain, keystore: Keystore, wish: Wish, *, lease_ttl_s: float) -> int:
    """Store a wish and be the sender until it is mined; the number of its block.

    Raises:
        UnknownSigner: no key for the signer.
        NoEther: the signer can pay for nothing.
        SenderRunning: stop the sender first.
        NotMined: refused, or not in a block in time; in that case the next sender goes on with it.
    """
    if wish.signer not in keystore.addresses:
        raise UnknownSigner(f"the keystore holds no key for {checksum(wish.signer)}")
    if await chain.balance(wish.signer) == 0:
        raise NoEther(f"{checksum(wish.signer)} has no ether on chain {chain.chain_id}: fund it, and run this again")
    lease = Lease(lease_name(chain.chain_id), ttl_s=lease_ttl_s)
    if not await lease.take(db):
        raise SenderRunning("a sender is running on this chain: stop it, run this again, and start it again")
    sender = Sender(db, chain, keystore, transactions_max=100, resend_after_s=5.0)
    try:
        async with db.transaction() as session:
            id_ = await enqueue(session, wish)
        end_s = time.monotonic() + MINED_TIMEOUT_S
        while time.monotonic() < end_s:
            await sender.step(lease)
            await lease.keep(db)
            async with db.read() as connection:
                progress = (await queries.progress(connection, [id_]))[id_]
            if progress.status in ("refused", "reverted"):
                raise NotMined("the contract refuses it")
            if progress.block_number is not None:
                return progress.block_number
            await asyncio.sleep(_POLL_S)
        raise NotMined(f"not in a block yet ({progress.last_error or progress.status}): a sender will go on with it")
    finally:
        await lease.release(db)
