"""Senders that end themselves by SIGKILL at a chosen point, each forked from a process of the fault tests' own.

The points are every moment at which the outside world has just changed: after each DB transaction that wrote, and just
after each broadcast. Between two of them nothing durable happens, so a kill there is a kill at the point before.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service.chain.node import Node, NodeRefused
from service.chain.reader import Chain, Finality
from service.db import Database
from service.keys.guard import Guard
from service.keys.signers import open_signers
from service.settings import read_settings
from service.transactions.lanes import Limits, Means, busy_lanes
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
    """Reports every DB transaction that wrote something: those that hold the lease, and the audit of signatures."""

    points: Points

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """A DB transaction, and a point after it when it wrote."""
        async with super().transaction() as session:
            yield session
            wrote = await session.scalar(text("SELECT pg_current_xact_id_if_assigned() IS NOT NULL"))
        if wrote:
            self.points.reached()


class KillableChain(Chain):
    """Reports every broadcast."""

    points: Points

    async def broadcast(self, raws: Sequence[bytes]) -> list[NodeRefused | None]:
        """A broadcast, and a point after it."""
        answers = await super().broadcast(raws)
        self.points.reached()
        return answers


async def main(kill_at: int) -> None:
    """Send what is queued until it is final, unless killed before."""
    settings = read_settings()
    points, url = Points(kill_at), settings.rpc_url.get_secret_value()
    db = KillableDatabase(settings.database_url, role="muniment_sender", connections_max=2)
    chain = KillableChain(Node(url), chain_id=settings.chain_id, finality=Finality.parse(settings.finality))
    db.points = chain.points = points
    await db.open()
    async with open_signers(settings) as signers:
        means = Means(db, chain, Guard(db, signers), Limits.of(settings))
        sender, leases = Sender(means), dict[str, Lease]()
        for _ in range(ROUNDS):
            while await round_of(sender, leases):
                pass
            rpc(url, "anvil_mine", "0x2")
    for lease in leases.values():
        await lease.release(db)
    await chain.close()
    await db.close()


async def round_of(sender: Sender, leases: dict[str, Lease]) -> int:
    """One step of every lane that has something to do."""
    means, moved = sender.means, 0
    for lane in await busy_lanes(means.db, means.chain.chain_id, means.guard.signers.addresses):
        lease = leases.setdefault(lane.lease_name, Lease(lane.lease_name, ttl_s=LEASE_TTL_S))
        assert lease.epoch is not None or await lease.take(means.db), "the lease is taken"
        moved += await sender.step(lane, lease)
        await lease.keep(means.db)
    return moved


def serve() -> None:
    """Fork a sender for each number of stdin, the point to kill it at, and tell how it ended; importing is slow."""
    for line in iter(sys.stdin.readline, ""):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                asyncio.run(main(int(line)))
                code = 0
            finally:
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"ended {os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
