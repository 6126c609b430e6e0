"""Rebuilding contracts of the mirror from the chain, while it is read: each is swapped in one DB transaction.

This alone deletes rows of the mirror, so it needs the rights of the tables' owner, which no process has. Blocks, when
they were shown, and rows of blocks that the chain has left stay as they are.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from sqlalchemy import Table, text
from sqlalchemy.ext.asyncio import AsyncSession

from service.addresses import ZERO, checksum
from service.chain import artifacts
from service.chain.node import NodeLied
from service.chain.reader import Chain
from service.db import Database
from service.mirror import adoptions, staging
from service.mirror.apply import register
from service.mirror.derive import ANY_SIZE, derive
from service.mirror.filling import Filling, Progress, refuse_undone
from service.mirror.joining import Gap, count_rebuilt
from service.mirror.projections import Deployment, ImpossibleAmount
from service.mirror.staging import Work
from service.mirror.tables import DEPLOYMENTS, EVENT_LOG, RANGED, TRANSFERS
from service.mirror.verify_deployments import deployed
from service.telemetry import logger
from service.workers import Lease

REBUILT = (TRANSFERS, EVENT_LOG, *RANGED)
"""The tables whose rows are made anew."""

ALL_AT_ONCE = 2**62
"""Events of one DB transaction: a contract is swapped as a whole."""


@dataclass(frozen=True, slots=True)
class Target:
    """A contract to rebuild; `deployment` is None for one that was adopted."""

    address: bytes
    first: int
    deployment: Deployment | None


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A contract that was swapped, and which tables had other rows than the chain makes."""

    address: bytes
    events: int
    differed: tuple[str, ...]
    digest_before: bytes | None  # None: nothing was announced
    digest_after: bytes | None


@dataclass(frozen=True, slots=True)
class _Rows:
    """What a table has of a contract: how many rows, and a sum that any other row would change."""

    count: int
    sum: int


class NotMirrored(Exception):
    """The mirror follows no such contract, or it is too young for its blocks to be final."""


async def targets(db: Database, chain: Chain, *, chain_id: int, factory: bytes, final: int) -> list[Target]:
    """Every contract whose first block is final: those that the factory announced on the chain, and adopted ones."""
    query = "SELECT min(number) FROM mirror.blocks WHERE chain_id = %s AND canonical"
    ((oldest,),) = await db.fetch(query, (chain_id,))
    found = {
        each.contract: Target(each.contract, each.block_number, each)
        for each in await deployed(chain, factory=factory, first=oldest, last=final)
    }
    adopted = await db.fetch(
        """SELECT address, block_number FROM mirror.contracts JOIN mirror.deployments ON contract_id = id
        WHERE chain_id = %s AND canonical AND operator = %s AND block_number <= %s""",
        (chain_id, ZERO, final),
    )
    found |= {address: Target(address, first, None) for address, first in adopted}
    return sorted(found.values(), key=lambda target: target.address)


@dataclass(slots=True)
class Reindex:
    """One rebuilding of the mirror, or of one contract of it, under the indexer's lease.

    Args:
        tell: hears how far the contract at work is.
        receipts_share: as `converge` has it.
    """

    db: Database
    chain: Chain
    lease: Lease
    chain_id: int
    receipts_share: float
    tell: Callable[[Target, Progress], None] = field(default=lambda target, progress: None)

    async def final(self) -> int:
        """The newest block that is mirrored and final.

        Raises:
            NotMirrored: none is.
        """
        rows = await self.db.fetch(
            """SELECT number FROM mirror.blocks WHERE chain_id = %s AND canonical
                AND number <= (SELECT final_number FROM mirror.heads WHERE chain_id = %s)
            ORDER BY number DESC LIMIT 1""",
            (self.chain_id, self.chain_id),
        )
        if not rows:
            raise NotMirrored("no mirrored block is final yet: let the indexer work first")
        return int(rows[0][0])

    async def remaining(self, wanted: list[Target], *, whole: bool) -> list[Target]:
        """What an earlier run of the same kind, which was cut short, has left.

        Args:
            whole: the mirror as a whole is rebuilt, and not contracts by themselves.
        """
        if not whole:
            return wanted
        name = f"reindex:{self.chain_id}"
        async with self.db.transaction() as session:
            await self.lease.hold(session)
            await session.execute(
                text(
                    """INSERT INTO mirror.backfills
                    (work, chain_id, first_block, last_block, reached_block, staged_block, events, indexes_late)
                    VALUES (:name, :chain_id, 0, 0, 0, 0, 0, false)
                    ON CONFLICT (work) DO UPDATE SET begun_at = clock_timestamp(), finished_at = NULL
                    WHERE backfills.finished_at IS NOT NULL"""
                ),
                {"name": name, "chain_id": self.chain_id},
            )
            done = await session.execute(
                text(
                    """SELECT work FROM mirror.backfills WHERE work = ANY(:names)
                    AND finished_at > (SELECT begun_at FROM mirror.backfills WHERE work = :name)"""
                ),
                {"name": name, "names": [self._name(target) for target in wanted]},
            )
            over = set(done.scalars())
        return [target for target in wanted if self._name(target) not in over]

    async def finish(self) -> None:
        """The mirror as a whole is rebuilt: the next run begins anew."""
        async with self.db.transaction() as session:
            await session.execute(
                text("UPDATE mirror.backfills SET finished_at = clock_timestamp() WHERE work = :name"),
                {"name": f"reindex:{self.chain_id}"},
            )

    async def rebuild(self, target: Target) -> AsyncIterator[Rebuilt | None]:
        """Rebuild one contract, a few seconds at a time: None while there is more to do, so that others may work.

        One whose transfers no mirror can hold, and whose code is none of ours, is passed over: it stays as it is.

        Raises:
            NodeUnavailable, NodeRefused, LeaseLost, ImpossibleAmount: nothing is swapped; what was staged stays.
        """
        filling = _Rebuilding(self, target, await self._work(target))
        try:
            while not await filling.step(self.lease, events_at_once=ALL_AT_ONCE):
                yield None
            assert filling.rebuilt is not None
            yield filling.rebuilt
        except ImpossibleAmount:
            if artifacts.is_code_of_ours(await self.chain.code(target.address)):
                raise
            async with self.db.transaction() as session:
                await self.lease.hold(session)
                await staging.finish(session, filling.work)
            logger().error("contract_not_rebuilt", detail=checksum(target.address), reason=adoptions.IMPOSSIBLE)
        finally:
            await filling.close()

    def _name(self, target: Target) -> str:
        return f"reindex:{self.chain_id}:{target.address.hex()}"

    async def _work(self, target: Target) -> Work:
        name, last = self._name(target), await self.final()
        async with self.db.transaction() as session:
            await self.lease.hold(session)
            work = await staging.unfinished(session, name)
            if work is None or work.first != target.first:
                before = target.first - 1
                work = Work(name, self.chain_id, target.first, last, before, before, 0, 0, late=False)
                await staging.begin(session, work)
        return work


class _Rebuilding(Filling):
    """A contract's whole history into staging, and then in place of what the served tables have of it."""

    rebuilds = True

    def __init__(self, run: Reindex, target: Target, work: Work) -> None:
        super().__init__(
            run.db,
            run.chain,
            work,
            contracts=frozenset((target.address,)),
            tell=lambda progress: run.tell(target, progress),
        )
        self._run, self._target = run, target
        self.rebuilt: Rebuilt | None = None

    async def publish(self, lease: Lease) -> None:
        """Swap, once all is staged: in one DB transaction, so that readers see the old rows or the new ones."""
        work, target, run = self.work, self._target, self._run
        if work.staged < work.last:
            return
        await self.recheck(lease)
        gap = Gap(run.chain, target.address, work.last, run.receipts_share)
        ((tip,),) = await run.db.fetch(
            "SELECT max(number) FROM mirror.blocks WHERE chain_id = %s AND canonical", (run.chain_id,)
        )
        await gap.read(tip)
        async with run.db.transaction() as session:
            await session.execute(text(ANY_SIZE))
            contract_id = (await register(session, run.chain_id, {target.address}))[target.address]
            before, digest_before = await _fingerprint(session, contract_id), await _digest(session, contract_id)
            await _delete(session, run.chain_id, contract_id)
            await derive(session, chain_id=run.chain_id, bare=False)
            await refuse_undone(session, run.chain_id)
            if not await gap.write(session, chain_id=run.chain_id):
                raise NodeLied("blocks were undone while the contract was rebuilt")
            if target.deployment is not None:
                await _write_deployment(session, contract_id, target.deployment)
            await count_rebuilt(session, contract_id)
            after = await _fingerprint(session, contract_id)
            differed = tuple(name for name in before if before[name] != after[name])
            digest_after = await _digest(session, contract_id)
            await staging.publish(session, work, shown=True)
            await staging.finish(session, work)
            await lease.hold(session)
        self.rebuilt = Rebuilt(target.address, work.events, differed, digest_before, digest_after)


async def _write_deployment(session: AsyncSession, contract_id: int, given: Deployment) -> None:
    """What the factory announced, and nothing else."""
    place = {"contract_id": contract_id, "block_hash": given.block_hash}
    await session.execute(
        text(
            """UPDATE mirror.deployments SET canonical = false
            WHERE contract_id = :contract_id AND block_hash <> :block_hash AND canonical"""
        ),
        place,
    )
    await session.execute(
        text(
            """INSERT INTO mirror.deployments (contract_id, block_hash, block_number, salt, operator, kind, canonical)
            VALUES (:contract_id, :block_hash, :block_number, :salt, :operator, :kind, true)
            ON CONFLICT (contract_id, block_hash) DO UPDATE SET block_number = excluded.block_number,
                salt = excluded.salt, operator = excluded.operator, kind = excluded.kind, canonical = true,
                left_at = NULL"""
        ),
        {
            **place,
            "block_number": given.block_number,
            "salt": given.salt,
            "operator": given.operator,
            "kind": given.kind,
        },
    )


async def _fingerprint(session: AsyncSession, contract_id: int) -> dict[str, _Rows]:
    return {table.name: await _rows(session, table, contract_id) for table in (DEPLOYMENTS, *REBUILT)}


async def _rows(session: AsyncSession, table: Table, contract_id: int) -> _Rows:
    query = f"""SELECT count(*), coalesce(sum(hashtextextended(held::text, 0)::numeric), 0)::text
        FROM mirror.{table.name} AS held WHERE contract_id = :contract_id AND canonical"""
    count, total = (await session.execute(text(query), {"contract_id": contract_id})).one()
    return _Rows(count, int(total))


async def _digest(session: AsyncSession, contract_id: int) -> bytes | None:
    found: bytes | None = await session.scalar(
        text("SELECT digest FROM mirror.digests WHERE contract_id = :contract_id AND to_block IS NULL AND canonical"),
        {"contract_id": contract_id},
    )
    return found


async def _delete(session: AsyncSession, chain_id: int, contract_id: int) -> None:
    """Take away what the mirror has of a contract in blocks of the chain, and what lies in the staged rows' place."""
    given = {"contract_id": contract_id, "chain_id": chain_id}
    for table in REBUILT:
        mine = f"DELETE FROM mirror.{table.name} WHERE contract_id = :contract_id AND "
        standing = "SELECT hash FROM mirror.blocks WHERE chain_id = :chain_id AND canonical"
        await session.execute(text(mine + "canonical"), {"contract_id": contract_id})
        await session.execute(text(mine + f"NOT canonical AND block_hash IN ({standing})"), given)
    for table in (TRANSFERS, EVENT_LOG):
        await session.execute(
            text(
                f"""DELETE FROM mirror.{table.name} AS held USING staging.{table.name} AS staged, staging.blocks
                WHERE blocks.number = staged.block_number AND held.block_hash = blocks.hash
                    AND held.log_index = staged.log_index"""
            )
        )
