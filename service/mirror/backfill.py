"""The backfill gear: a long history of final blocks at once, where `converge` would take it step by step.

Rows are staged as they come and derived set-based, many blocks in one DB transaction. A mirror that shows nothing yet
is filled bare: its indexes are built at the end, and only then is anything shown.
"""

import time
from collections.abc import Collection
from hashlib import sha256

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service.addresses import checksum
from service.chain import artifacts
from service.chain.node import NodeLied
from service.chain.reader import Chain
from service.db import Database, ReadConnection
from service.mirror import adoptions, staging, standing
from service.mirror.derive import ANY_SIZE
from service.mirror.filling import Filling, Progress, Tell
from service.mirror.projections import ImpossibleAmount
from service.mirror.staging import Work
from service.mirror.standing import Halt, Waiting
from service.telemetry import logger
from service.workers import Lease

BEHIND_MIN = 1_000
"""Final blocks that the mirror must lack for this gear to be worth it."""

EVENTS_AT_ONCE = 500_000
"""Events of one DB transaction into the served tables: some seconds, in which as many were staged again."""

LOOK_S = 60.0
"""How often a mirror that was near the head is looked at again."""


class Backfill:
    """The gear, from one step to the next. A step may be killed anywhere; another process goes on with what is written.

    Args:
        behind_min: final blocks that the mirror must lack.
        events_at_once: events of one DB transaction into the served tables.
        tell: hears how far it came.
    """

    def __init__(
        self,
        db: Database,
        chain: Chain,
        *,
        chain_id: int,
        factory: bytes,
        start_block: int,
        behind_min: int = BEHIND_MIN,
        events_at_once: int = EVENTS_AT_ONCE,
        tell: Tell | None = None,
    ) -> None:
        self._db, self._chain, self._chain_id = db, chain, chain_id
        self._factory, self._start_block, self._behind_min = factory, start_block, behind_min
        self._events_at_once, self._tell = events_at_once, tell
        self._filling: Filling | None = None
        self._epoch: int | None = None
        self._looked_s = -LOOK_S
        self._told: dict[str, float] = {}  # when each halt was last logged

    async def step(self, lease: Lease) -> int:
        """Do a bounded piece of work.

        Returns:
            Blocks done, at least 1 while there is more to do; 0 when the mirror is near enough to the head.

        Raises:
            NodeUnavailable, NodeRefused: the node gave no usable answer; what was staged before stays.
            LeaseLost: another indexer took over.
            ImpossibleAmount: the events of a contract of ours add up to a negative amount, in a first sync.
        """
        if self._epoch != lease.epoch:
            await self.aclose()
            self._epoch, self._looked_s = lease.epoch, -LOOK_S
        try:
            if self._filling is None:
                if time.monotonic() - self._looked_s < LOOK_S:
                    return 0
                work = await self._work(lease)
                if work is None:
                    self._looked_s = time.monotonic()
                    return 0
                self._filling = Filling(self._db, self._chain, work, factory=self._factory, tell=self._tell)
            before = self._filling.work.staged
            ended = await self._filling.step(lease, events_at_once=self._events_at_once)
            done = self._filling.work.staged - before
        except NodeLied as lie:
            await self.aclose()
            self._chain.distrust(str(lie))
            place = await standing.place(self._db, chain_id=self._chain_id)
            waiting = Waiting(Halt.NODE_LIED, str(lie))
            await standing.wait(self._db, lease, waiting, chain_id=self._chain_id, before=place, told=self._told)
            raise
        except ImpossibleAmount as impossible:
            bare = self._filling is not None and self._filling.work.late
            await self.aclose()
            if bare:
                await self._leave(lease, impossible)
                return 1
            self._looked_s = time.monotonic()
            return 0  # the other gear leaves a contract that is none of ours
        except BaseException:
            await self.aclose()
            raise
        if ended:
            await self.aclose()
        return max(done, 1)

    async def _leave(self, lease: Lease, impossible: ImpossibleAmount) -> None:
        """Go on without a contract whose transfers no mirror can hold, where its code is none of ours."""
        liar = impossible.contract
        if liar is None or artifacts.is_code_of_ours(await self._chain.code(liar)):
            raise impossible
        async with self._db.transaction() as session:
            await session.execute(text(ANY_SIZE))
            await staging.forget(session, liar, chain_id=self._chain_id)
            await lease.hold(session)
        # Read anew after what is staged, since what was read ahead still follows it.
        logger().error("contract_expelled", detail=checksum(liar), reason=adoptions.IMPOSSIBLE)

    async def aclose(self) -> None:
        """Stop reading ahead."""
        filling, self._filling = self._filling, None
        if filling is not None:
            await filling.close()

    async def _work(self, lease: Lease) -> Work | None:
        """What is to be done: the rest of what was begun, or all final blocks that the mirror lacks."""
        name = _name(self._chain_id)
        async with self._db.transaction() as session:
            await lease.hold(session)
            work = await staging.unfinished(session, name)
            tip = await _tip(session, self._chain_id)
            bare = not (await session.execute(text("SELECT EXISTS (SELECT FROM mirror.blocks)"))).scalar_one()
        if work is not None and (work.late or (tip is not None and tip[0] == work.reached)):
            return work
        head = await self._chain.head()
        first = self._start_block if tip is None else tip[0] + 1
        if head.final_number - first + 1 < self._behind_min:
            return None
        if tip is not None:
            (hash_now,) = (await self._chain.block_hashes([tip[0]])).values()
            if hash_now != tip[1]:
                return None  # the other gear takes it back to where the branches meet
        last = head.final_number
        work = Work(name, self._chain_id, first, last, first - 1, first - 1, 0, 0, late=bare)
        async with self._db.transaction() as session:
            await staging.begin(session, work)
            await lease.hold(session)
        logger().info("backfill_begun", block_number=first, final_number=last, blocks=last - first + 1)
        return work


async def fill(
    db: Database,
    chain: Chain,
    lease: Lease,
    *,
    chain_id: int,
    contracts: Collection[bytes],
    first: int,
    last: int,
    purpose: str = "",
    tell: Tell | None = None,
    events_at_once: int = EVENTS_AT_ONCE,
) -> int:
    """Do a bounded piece of writing the history of contracts, of blocks that are mirrored without them.

    Nobody is shown any of it until the contracts have a row in `mirror.deployments`. Ask again with the same contracts
    and blocks until nothing is left; whoever asks goes on where the last one ended.

    Args:
        contracts: none of them was ever followed.
        first, last: mirrored blocks, all of them final.
        purpose: tells one filling from another of the same contracts and blocks, whose rows were withdrawn since.

    Returns:
        Blocks that are left; 0 when all is written.

    Raises:
        ValueError: the last block is not mirrored, or not final.
        NodeUnavailable, NodeRefused, LeaseLost, ImpossibleAmount: as `Backfill.step`.
    """
    name = fill_name(chain_id, contracts, first=first, last=last, purpose=purpose)
    async with db.transaction() as session:
        await lease.hold(session)
        if not await _is_final(session, chain_id, last):
            raise ValueError(f"block {last} is not mirrored, or not final")
        if await _is_finished(session, name):
            return 0
        work = await staging.unfinished(session, name)
        if work is None:
            work = Work(name, chain_id, first, last, first - 1, first - 1, 0, 0, late=False)
            await staging.begin(session, work)
    filling = Filling(db, chain, work, contracts=frozenset(contracts), tell=tell)
    try:
        await filling.step(lease, events_at_once=events_at_once)
    finally:
        await filling.close()
    return work.last - work.reached


def fill_name(chain_id: int, contracts: Collection[bytes], *, first: int, last: int, purpose: str = "") -> str:
    """Under which name a filling stands among the backfills."""
    told = sha256(b"".join(sorted(contracts)) + purpose.encode()).hexdigest()[:32]
    return f"fill:{chain_id}:{told}:{first}:{last}"


async def present_backfill(connection: ReadConnection, *, chain_id: int) -> Progress | None:
    """How far the mirror's own backfill came, as last written; None while there is none."""
    cursor = await connection.execute(
        """SELECT staged_block - first_block + 1, last_block - first_block + 1, events, coalesce(events_per_s, 0),
            CASE WHEN staged_block >= first_block THEN extract(epoch FROM told_at - begun_at)::float8
                * (last_block - staged_block) / (staged_block - first_block + 1) END
        FROM mirror.backfills WHERE work = %s AND finished_at IS NULL""",
        (_name(chain_id),),
    )
    row = await cursor.fetchone()
    return None if row is None else Progress(*row)


def _name(chain_id: int) -> str:
    return f"sync:{chain_id}"


async def _tip(session: AsyncSession, chain_id: int) -> tuple[int, bytes] | None:
    found = await session.execute(
        text("SELECT number, hash FROM mirror.blocks WHERE chain_id = :id AND canonical ORDER BY number DESC LIMIT 1"),
        {"id": chain_id},
    )
    tip = found.one_or_none()
    return None if tip is None else (tip[0], tip[1])


async def _is_final(session: AsyncSession, chain_id: int, number: int) -> bool:
    found = await session.execute(
        text(
            """SELECT FROM mirror.blocks JOIN mirror.heads USING (chain_id)
            WHERE chain_id = :chain_id AND number = :number AND canonical AND number <= final_number"""
        ),
        {"chain_id": chain_id, "number": number},
    )
    return found.first() is not None


async def _is_finished(session: AsyncSession, name: str) -> bool:
    found = await session.execute(
        text("SELECT FROM mirror.backfills WHERE work = :name AND finished_at IS NOT NULL"), {"name": name}
    )
    return found.first() is not None
