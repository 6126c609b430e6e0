"""Waiting for transactions at the command line: for the running senders, or as the sender where none runs."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from uuid import UUID

from service.mirror import queries as mirror
from service.transactions import overview
from service.transactions.lanes import Lane, Means, busy_lanes
from service.transactions.sender import Sender
from service.transactions.tables import LIVE
from service.workers import Lease, LeaseLost

_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Ended:
    """How a transaction ended, past reversal."""

    status: str
    reason: str | None


@dataclass(slots=True)
class Waiting:
    """Keeps transactions moving while something is waited for. Leases that were free are given back at the end."""

    means: Means
    lease_ttl_s: float
    _leases: dict[Lane, Lease] = field(default_factory=dict)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for lease in self._leases.values():
            await lease.release(self.means.db)

    async def until(self, left: Callable[[], Awaitable[str | None]], tell: Callable[[str], None]) -> None:
        """Wait until nothing is left; `tell` hears what is, whenever that changes."""
        told = None
        while (now := await left()) is not None:
            if now != told:
                tell(now)
                told = now
            await self._move()
            await asyncio.sleep(_POLL_S)

    async def final(self, id: UUID, tell: Callable[[str], None]) -> Ended:
        """Wait until a transaction is past reversal."""
        ended: Ended | None = None

        async def left() -> str | None:
            nonlocal ended
            async with self.means.db.read() as connection:
                now = await overview.transaction(connection, chain_id=self.means.chain.chain_id, owner=None, id=id)
            assert now is not None, "a stored transaction stays"
            if now.status not in LIVE:
                ended = Ended(now.status, now.refusal["name"] if now.refusal else now.last_error)
                return None
            where = f" in block {now.block_number}, which is not final" if now.block_number is not None else ""
            return f"{now.status}{where}" + (f" ({now.last_error})" if now.last_error else "")

        await self.until(left, tell)
        assert ended is not None
        return ended

    async def mirrored(self, block: int, tell: Callable[[str], None]) -> None:
        """Wait until the mirror has a block."""

        async def left() -> str | None:
            async with self.means.db.read() as connection:
                seen = await mirror.status(connection, chain_id=self.means.chain.chain_id)
            if seen.tip is not None and seen.tip >= block:
                return None
            return f"the mirror is at block {seen.tip}, and block {block} is needed: is the indexer running?"

        await self.until(left, tell)

    async def _move(self) -> None:
        """Take a step for each signer that has something on its way and whose lease is free."""
        sender = Sender(self.means)
        lanes = await busy_lanes(self.means.db, self.means.chain.chain_id, self.means.guard.signers.addresses)
        for lane in lanes:
            lease = self._leases.setdefault(lane, Lease(lane.lease_name, ttl_s=self.lease_ttl_s))
            if lease.epoch is None and not await lease.take(self.means.db):
                continue
            try:
                await sender.step(lane, lease)
                await lease.keep(self.means.db)
            except LeaseLost:
                continue
