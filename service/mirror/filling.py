"""One backfill under way: pieces into staging, staging into the served tables, and at last what is shown of it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service.chain.node import NodeLied
from service.chain.reader import Block, Chain
from service.db import Database
from service.mirror import staging
from service.mirror.apply import register
from service.mirror.derive import ANY_SIZE, derive, show
from service.mirror.pieces import Pieces
from service.mirror.staged_rows import Scope
from service.mirror.staging import Work
from service.mirror.standing import record_head
from service.telemetry import logger
from service.workers import Lease

SHOW_S = 10.0
"""A mirror that shows something already is taken forward this often."""

STEP_S = 5.0
"""How long a step stages rows at most."""

STAGED_BYTES = 4 * 1024 * 1024
"""Rows of one DB transaction into staging."""

EVENT_BYTES = 200
"""What an event takes of them, about."""

TELL_S = 5.0
"""How often the log hears how far it came."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a backfill came."""

    blocks: int
    blocks_total: int
    events: int
    events_per_s: float
    left_s: float | None  # None while nobody can tell


Tell = Callable[[Progress], None]


class Filling:
    """A work, from one step to the next; whatever ends it, another goes on with what is written.

    `rebuilds` says that digests begin anew, and not with what the mirror has.

    Args:
        factory: whose deployments are followed; None where only `contracts` are.
        contracts: what is filled in beside blocks that are mirrored already; none where the blocks come with it.
    """

    rebuilds = False

    def __init__(
        self,
        db: Database,
        chain: Chain,
        work: Work,
        *,
        factory: bytes | None = None,
        contracts: frozenset[bytes] = frozenset(),
        tell: Tell | None = None,
    ) -> None:
        self.work = work
        self.db, self._chain, self._factory, self.contracts, self._tell = db, chain, factory, contracts, tell
        self._pieces: Pieces | None = None
        self._hash: bytes | None = None  # of the last block that is staged
        self._began_s = self._told_s = self._shown_s = time.monotonic()
        self._began_at = (work.staged, work.events)

    async def step(self, lease: Lease, *, events_at_once: int) -> bool:
        """Do a bounded piece of it: stage for a while, and write what has gathered; True at the end of all.

        Raises:
            NodeUnavailable, NodeRefused, LeaseLost, ImpossibleAmount: what was written before stays.
        """
        work = self.work
        if work.late and work.reached == work.last:
            return await self._build(lease)
        began_s = time.monotonic()
        if self._pieces is None:
            self._pieces = await self._open(lease)
        head = await self._chain.head()
        bytes_max = min(STAGED_BYTES, EVENT_BYTES * events_at_once)
        while work.staged < work.last and work.waiting < events_at_once and time.monotonic() - began_s < STEP_S:
            pieces = await self._pieces.take(bytes_max)
            async with self.db.transaction() as session:
                await lease.hold(session)
                await staging.stage(session, work, pieces)
                await staging.tell(session, work, events_per_s=self._progress().events_per_s)
                if work.late:
                    await record_head(
                        session, chain_id=work.chain_id, head_number=head.tip.number, final_number=head.final_number
                    )
            self._hash = pieces[-1].last_hash
            self._report()
        due = not work.late and time.monotonic() - self._shown_s >= SHOW_S
        if work.staged == work.last or work.waiting >= events_at_once or due:
            await self.publish(lease)
            self._shown_s = time.monotonic()
        return work.reached == work.last and not work.late

    async def close(self) -> None:
        """Stop reading ahead."""
        if self._pieces is not None:
            await self._pieces.close()

    async def _open(self, lease: Lease) -> Pieces:
        work = self.work

        async def registered(addresses: set[bytes]) -> Mapping[bytes, int]:
            async with self.db.transaction() as session:
                await lease.hold(session)
                return await register(session, work.chain_id, addresses)

        async def mirrored(first: int, last: int) -> list[Block]:
            rows = await self.db.fetch(
                """SELECT number, hash, parent_hash, extract(epoch FROM timestamp)::bigint FROM mirror.blocks
                WHERE chain_id = %s AND canonical AND number BETWEEN %s AND %s ORDER BY number""",
                (work.chain_id, first, last),
            )
            return [Block(*row) for row in rows]

        followed = dict.fromkeys(self.contracts, work.first)
        ids = await registered(set(followed)) if followed else {}
        scope = Scope(work.chain_id, self._factory, followed, dict(ids))
        async with self.db.transaction() as session:
            if not self.contracts:
                await _load_followed(session, scope)
            await _load_digests(session, scope, mirrored=not self.rebuilds)
            self._hash = await _staged_hash(session, work)
        return Pieces(
            self._chain,
            scope,
            first=work.staged + 1,
            last=work.last,
            parent=self._hash,
            register=registered,
            headers=mirrored if self.contracts else None,
        )

    async def publish(self, lease: Lease) -> None:
        """Write what is staged into the served tables, in one DB transaction."""
        work, began_s = self.work, time.monotonic()
        await self.recheck(lease)
        head = await self._chain.head()
        blocks, events = work.staged - work.reached, work.waiting
        async with self.db.transaction() as session:
            await derive(session, chain_id=work.chain_id, bare=work.late)
            if self.contracts:
                await refuse_undone(session, work.chain_id)
            elif not work.late:
                await show(session, chain_id=work.chain_id, head=head)
            await staging.publish(session, work, shown=not work.late)
            if work.reached == work.last and not work.late:
                await staging.finish(session, work)
            # At the end, since whoever holds it may be waited for: until then another renewal keeps it.
            await lease.hold(session)
        logger().info(
            "backfill_written",
            blocks=blocks,
            events=events,
            block_number=work.reached,
            duration_ms=round((time.monotonic() - began_s) * 1000),
        )

    async def _build(self, lease: Lease) -> bool:
        """Build one index that was left for the end; after the last of them, show all at once."""
        work, began_s = self.work, time.monotonic()
        async with self.db.transaction() as session:
            await session.execute(text(ANY_SIZE))
            name = (await session.execute(text("SELECT mirror.build_late_index()"))).scalar_one()
            await lease.hold(session)
        if name is not None:
            duration_ms = round((time.monotonic() - began_s) * 1000)
            logger().info("late_index_built", detail=name, duration_ms=duration_ms)
            return False
        await self.recheck(lease)
        head = await self._chain.head()
        async with self.db.transaction() as session:
            await session.execute(text(ANY_SIZE))
            await show(session, chain_id=work.chain_id, head=head)
            await staging.finish(session, work)
            await lease.hold(session)
        logger().info("backfill_shown", blocks=work.last - work.first + 1, events=work.events, tip_number=work.last)
        return True

    async def recheck(self, lease: Lease) -> None:
        """Make sure that what is staged is still the chain: its last block names all before it.

        Raises:
            NodeLied: blocks that were called final are gone; all that nobody was shown yet is thrown away.
        """
        work = self.work
        if self._hash is None:
            async with self.db.transaction() as session:
                self._hash = await _staged_hash(session, work)
        hashes = await self._chain.block_hashes([work.staged])
        if hashes[work.staged] == self._hash:
            return
        if hashes[work.staged] is not None:
            async with self.db.transaction() as session:
                await lease.hold(session)
                await staging.begin(session, work.afresh())
            logger().error("backfill_reorganised", block_number=work.staged)
        raise NodeLied(f"block {work.staged}, which was final, is another one now, or gone")

    def _progress(self) -> Progress:
        staged_before, events_before = self._began_at
        work, passed_s = self.work, max(time.monotonic() - self._began_s, 1e-3)
        blocks_per_s = (work.staged - staged_before) / passed_s
        return Progress(
            blocks=work.staged - work.first + 1,
            blocks_total=work.last - work.first + 1,
            events=work.events,
            events_per_s=round((work.events - events_before) / passed_s, 1),
            left_s=(work.last - work.staged) / blocks_per_s if blocks_per_s > 0 else None,
        )

    def _report(self) -> None:
        progress = self._progress()
        if self._tell is not None:
            self._tell(progress)
        if time.monotonic() - self._told_s >= TELL_S:
            self._told_s = time.monotonic()
            left = "unknown" if progress.left_s is None else f"{progress.left_s:.0f} s"
            logger().info(
                "backfill_progress",
                blocks=progress.blocks,
                events=progress.events,
                block_number=self.work.staged,
                final_number=self.work.last,
                detail=f"{progress.events_per_s:.0f} events/s, left: {left}",
            )


async def _load_followed(session: AsyncSession, scope: Scope) -> None:
    """Every contract that is followed, and from which block on."""
    found = await session.execute(
        text(
            """SELECT address, id, min(begun.block_number) FROM mirror.contracts JOIN (
                SELECT contract_id, block_number FROM mirror.deployments WHERE canonical
                UNION ALL SELECT contract_id, block_number FROM staging.deployments) AS begun ON contract_id = id
            WHERE chain_id = :chain_id GROUP BY address, id"""
        ),
        {"chain_id": scope.chain_id},
    )
    for address, contract_id, since in found:
        scope.followed[address], scope.ids[address] = since, contract_id


async def _load_digests(session: AsyncSession, scope: Scope, *, mirrored: bool) -> None:
    """The digest of each contract as of the last block that is staged."""
    found = await session.execute(
        text(
            """SELECT contract_id, digest FROM mirror.digests WHERE to_block IS NULL AND canonical
                AND contract_id = ANY(:ids) AND :mirrored
            UNION ALL SELECT * FROM (
                SELECT DISTINCT ON (contract_id) contract_id, digest FROM staging.digests
                ORDER BY contract_id, block_number DESC) AS staged"""
        ),
        {"ids": list(scope.ids.values()), "mirrored": mirrored},
    )
    addresses = {contract_id: address for address, contract_id in scope.ids.items()}
    scope.digests.update({(addresses[contract_id],): digest for contract_id, digest in found})


async def _staged_hash(session: AsyncSession, work: Work) -> bytes | None:
    """The hash of the last block that is staged, or mirrored where nothing is; None before the mirror's first."""
    found = await session.execute(
        text(
            """SELECT hash FROM staging.blocks WHERE number = :number
            UNION ALL SELECT hash FROM mirror.blocks WHERE chain_id = :chain_id AND number = :number AND canonical"""
        ),
        {"chain_id": work.chain_id, "number": work.staged},
    )
    found_hash: bytes | None = found.scalars().first()
    return found_hash


async def refuse_undone(session: AsyncSession, chain_id: int) -> None:
    """Make sure that staged blocks are the mirror's own.

    Raises:
        NodeLied: one is not, any more.
    """
    undone = await session.execute(
        text(
            """SELECT FROM staging.blocks AS staged WHERE NOT EXISTS (
                SELECT FROM mirror.blocks WHERE hash = staged.hash AND chain_id = :chain_id AND canonical) LIMIT 1"""
        ),
        {"chain_id": chain_id},
    )
    if undone.first() is not None:
        raise NodeLied("a block that is filled in was undone meanwhile")
