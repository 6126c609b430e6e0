"""A sender that ends itself by SIGKILL at a chosen point: run by the fault tests as a process of its own.

The points are every moment at which the outside world has just changed: after each DB transaction that wrote, and just
after each broadcast. Between two of them nothing durable happens, so a kill there is a kill at the point before.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncSession

from service.chain.node import Node, NodeRefused
from service.chain.reader import Chain, Finality
from service.db import Database
from service.keys.signers import Keystore
from service.settings import read_settings
from service.transactions.direct import lease_name
from service.transactions.sender import Sender
from service.workers import Lease
from tests.rpc import rpc

LEASE_TTL_S = 1
ROUNDS = 4


class Points:
    """Counts points and ends the process at one of them."""

    def __init__(self, kill_at: int) -> None:
        self.passed = 0
        self._kill_at = kill_at

    def reached(self) -> None:
        """One more point."""
        if self.passed == self._kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.passed += 1


class KillableDatabase(Database):
    """Reports every DB transaction that wrote something."""

    points: Points

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """A DB transaction, and a point after it when it had renewed the lease: then it wrote."""
        async with super().transaction() as session:
            yield session
        if session.info.get("wrote"):
            self.points.reached()


class KillableChain(Chain):
    """Reports every broadcast."""

    points: Points

    async def broadcast(self, raws: Sequence[bytes]) -> list[NodeRefused | None]:
        """A broadcast, and a point after it."""
        answers = await super().broadcast(raws)
        self.points.reached()
        return answers


class MarkingLease(Lease):
    """Marks the sessions that are about to write."""

    async def hold(self, session: AsyncSession) -> None:
        """Renew, and mark."""
        await super().hold(session)
        session.info["wrote"] = True


async def main(kill_at: int) -> None:
    """Send what is queued until it is final, unless killed before."""
    settings = read_settings()
    points, url = Points(kill_at), settings.rpc_url.get_secret_value()
    db = KillableDatabase(settings.database_url, role="muniment_sender", connections_max=2)
    chain = KillableChain(Node(url), chain_id=settings.chain_id, finality=Finality.parse(settings.finality))
    db.points = chain.points = points
    keystore = Keystore.open(settings.keystore_dir, settings.keystore_password)
    lease = MarkingLease(lease_name(settings.chain_id), ttl_s=LEASE_TTL_S)
    assert await lease.take(db), "the lease is taken"
    sender = Sender(db, chain, keystore, settings.sender_transactions_max, settings.resend_after_s)
    for _ in range(ROUNDS):
        while await sender.step(lease):
            pass
        rpc(url, "anvil_mine", "0x2")
    await lease.release(db)
    await chain.close()
    await db.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
