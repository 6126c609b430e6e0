"""Workers: one loop drives every step, and a lease lets just one copy of it write.

A step is bounded, is one or few DB transactions, and may be killed at any instruction. Only `run` sleeps, retries
and stops. The lease carries an epoch: each of a step's DB transactions renews it first, so a worker that was paused
while another took over finds its epoch gone and writes nothing.
"""

import asyncio
import os
import secrets
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import BigInteger, func, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from service.db import UNAVAILABLE, Base, Database
from service.telemetry import logger

PAUSE_MAX_S = 5.0
"""Longest pause after repeated failures."""


class LeaseRow(Base):
    """Who may do a named work now."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(primary_key=True)
    holder: Mapped[str]
    epoch: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[datetime]


# As text, since every DB transaction of every worker begins with it: SQLAlchemy takes twice as long over its own form.
_HOLD = text("""
UPDATE leases SET expires_at = clock_timestamp() + make_interval(secs => :ttl_s)
WHERE name = :name AND epoch = :epoch AND holder = :holder RETURNING epoch
""")


class LeaseLost(Exception):
    """Another copy of this worker took over: nothing was written, and this one stands by again."""


@dataclass(slots=True)
class Lease:
    """The right to do a named work, with the epoch that fences off earlier holders."""

    name: str
    ttl_s: float
    holder: str = field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}")
    epoch: int | None = None
    renewed_s: float = 0.0

    async def take(self, db: Database) -> bool:
        """Take the lease when it is free or expired; True when it is held now."""
        fresh = func.now() + text(f"interval '{self.ttl_s} seconds'")
        async with db.transaction() as session:
            await session.execute(
                insert(LeaseRow)
                .values(name=self.name, holder="", epoch=0, expires_at=func.now())
                .on_conflict_do_nothing()
            )
            taken = await session.scalar(
                update(LeaseRow)
                .where(LeaseRow.name == self.name, LeaseRow.expires_at <= func.now())
                .values(holder=self.holder, epoch=LeaseRow.epoch + 1, expires_at=fresh)
                .returning(LeaseRow.epoch)
            )
        # Only now: after a failed COMMIT the epoch would be another worker's too.
        self.epoch = taken
        return taken is not None

    async def seize(self, db: Database) -> None:
        """Take the lease from whoever has it, who stands by from its next DB transaction on: an operator's word."""
        fresh = func.now() + text(f"interval '{self.ttl_s} seconds'")
        async with db.transaction() as session:
            self.epoch = await session.scalar(
                insert(LeaseRow)
                .values(name=self.name, holder=self.holder, epoch=1, expires_at=fresh)
                .on_conflict_do_update(
                    index_elements=["name"],
                    set_={"holder": self.holder, "epoch": LeaseRow.epoch + 1, "expires_at": fresh},
                )
                .returning(LeaseRow.epoch)
            )

    async def hold(self, session: AsyncSession) -> None:
        """Renew inside the DB transaction that is about to write.

        Raises:
            LeaseLost: another epoch has begun; the DB transaction must be abandoned.
        """
        given = {"name": self.name, "epoch": self.epoch, "holder": self.holder, "ttl_s": self.ttl_s}
        if await session.scalar(_HOLD, given) is None:
            self.epoch = None
            raise LeaseLost(f"the lease {self.name!r} passed to another worker")
        self.renewed_s = time.monotonic()

    async def keep(self, db: Database) -> None:
        """Renew a held lease that no step has renewed for a while, so that an idle worker stays in its place."""
        if self.epoch is not None and time.monotonic() - self.renewed_s > self.ttl_s / 3:
            async with db.transaction() as session:
                await self.hold(session)

    async def release(self, db: Database) -> None:
        """Let a standby take over at once."""
        if self.epoch is None:
            return
        async with db.transaction() as session:
            await session.execute(
                update(LeaseRow)
                .where(LeaseRow.name == self.name, LeaseRow.epoch == self.epoch)
                .values(expires_at=func.now())
            )
        self.epoch = None


Step = Callable[[Lease], Awaitable[int]]
"""One bounded piece of work; answers how much was done, 0 when there was nothing to do."""


async def run(
    db: Database,
    lease: Lease,
    step: Step,
    *,
    poll_interval_s: float,
    stop: asyncio.Event,
    retry: Sequence[type[Exception]] = (),
    pace_s: float = 0.0,
    wake: asyncio.Event | None = None,
) -> None:
    """Drive a step until `stop` is set.

    Args:
        pace_s: least time from the beginning of one step to that of the next: under load a step then finds more to do.
        wake: ends the pause of a worker that found nothing to do, when set.
        retry: failures of the outside world (a node that does not answer) that pass with time. Postgres being away
            always is one. Anything else is a bug and ends the process, for a supervisor to see.
    """
    passing: tuple[type[Exception], ...] = (*UNAVAILABLE, *retry)
    failures = 0
    log = logger().bind(worker=lease.name)
    while not stop.is_set():
        pause_s, began_s = poll_interval_s, time.monotonic()
        if wake is not None:
            wake.clear()
        try:
            if lease.epoch is None and await lease.take(db):
                log.info("lease_taken", epoch=lease.epoch)
            if lease.epoch is not None and await _kept(db, lease, step) > 0:
                pause_s = max(began_s + pace_s - time.monotonic(), 0.0)
            await lease.keep(db)
            failures = 0
        except LeaseLost:
            log.warning("lease_lost")
        except passing as error:
            failures += 1
            pause_s = min(poll_interval_s * 2 ** min(failures, 10), PAUSE_MAX_S)
            reason = str(getattr(error, "reason", "")) or None
            log.warning("step_failed", error_kind=type(error).__name__, reason=reason, count=failures)
        await pause(stop, pause_s, wake if failures == 0 else None)
    with suppress(*UNAVAILABLE):
        await lease.release(db)


async def _kept(db: Database, lease: Lease, step: Step) -> int:
    async with kept(db, lease):
        return await step(lease)


@asynccontextmanager
async def kept(db: Database, lease: Lease) -> AsyncIterator[None]:
    """A lease that is renewed meanwhile: a slow node must not make a live worker look dead."""
    keeper = asyncio.create_task(_keep(db, lease))
    try:
        yield
    finally:
        keeper.cancel()
        with suppress(asyncio.CancelledError, LeaseLost, *UNAVAILABLE):
            await keeper


async def _keep(db: Database, lease: Lease) -> None:
    while True:
        await asyncio.sleep(lease.ttl_s / 3)
        await lease.keep(db)


async def pause(stop: asyncio.Event, pause_s: float, wake: asyncio.Event | None = None) -> None:
    """Wait so long, or until `stop` or `wake` is set."""
    if wake is None:
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), timeout=pause_s)
        return
    waiting = [asyncio.ensure_future(each.wait()) for each in (stop, wake)]
    try:
        await asyncio.wait(waiting, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
