"""What is staged, and how far each backfill came: the DB transactions' bookkeeping, which survives any end.

A work is one backfill of a run of blocks. Its rows go into the schema `staging` in one DB transaction with its mark,
and from there into the served tables in one DB transaction with `reached_block`; so it resumes where it was cut.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection, sql
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service.mirror.staged_rows import COPIED, Rows
from service.mirror.statements import connection_of

_BULK = ("transfers", "events", "digests")
_SHOWN_LAST = ("blocks", "deployments")


@dataclass(slots=True)
class Work:
    """A backfill of blocks `first` to `last`."""

    name: str
    chain_id: int
    first: int
    last: int
    reached: int  # rows up to here are in the served tables
    staged: int  # rows up to here are there or in staging
    events: int
    waiting: int  # of those events, the ones in staging
    late: bool  # it fills bare tables, whose indexes are built at its end, and shows nothing before

    def afresh(self) -> "Work":
        """The same from where the served tables stand, or from the beginning where they show nothing yet."""
        reached = self.first - 1 if self.late else self.reached
        return Work(self.name, self.chain_id, reached + 1, self.last, reached, reached, 0, 0, self.late)


async def begin(session: AsyncSession, work: Work) -> None:
    """Begin a work afresh: nothing is staged, and whatever else was is thrown away."""
    if work.late:
        await session.execute(text("SELECT mirror.begin_first_sync()"))
    await _truncate(session, (*_BULK, *_SHOWN_LAST, "marks"))
    await session.execute(
        text(
            """INSERT INTO mirror.backfills
            (work, chain_id, first_block, last_block, reached_block, staged_block, events, indexes_late)
            VALUES (:name, :chain_id, :first, :last, :reached, :reached, 0, :late)
            ON CONFLICT (work) DO UPDATE SET first_block = :first, last_block = :last, reached_block = :reached,
                staged_block = :reached, events = 0, events_per_s = NULL, indexes_late = :late,
                begun_at = clock_timestamp(), told_at = clock_timestamp(), finished_at = NULL"""
        ),
        {
            "name": work.name,
            "chain_id": work.chain_id,
            "first": work.first,
            "last": work.last,
            "reached": work.reached,
            "late": work.late,
        },
    )


async def unfinished(session: AsyncSession, name: str) -> Work | None:
    """The work of this name, where it has not ended; what of it was staged is there, or is not counted as staged."""
    found = (
        await session.execute(
            text(
                """SELECT chain_id, first_block, last_block, reached_block, staged_to, backfills.events,
                    coalesce(marks.events, 0), indexes_late
                FROM mirror.backfills LEFT JOIN staging.marks USING (work)
                WHERE work = :name AND finished_at IS NULL"""
            ),
            {"name": name},
        )
    ).one_or_none()
    if found is None:
        return None
    chain_id, first, last, reached, staged, events, waiting, late = found
    if staged is None:
        await _forget_staged(session, reached if late else first - 1)
    staged = reached if staged is None else max(staged, reached)
    return Work(name, chain_id, first, last, reached, staged, events, waiting, late)


async def _forget_staged(session: AsyncSession, reached: int) -> None:
    """Postgres crashed, or another work staged meanwhile: all is gone but what the served tables wait for."""
    await _truncate(session, (*_BULK, "marks"))
    await session.execute(text("DELETE FROM staging.blocks WHERE number > :reached"), {"reached": reached})
    await session.execute(text("DELETE FROM staging.deployments WHERE block_number > :reached"), {"reached": reached})


async def stage(session: AsyncSession, work: Work, pieces: Sequence[Rows]) -> None:
    """Stage rows of blocks that follow what is staged, and count them as staged."""
    connection = await connection_of(session)
    for table in COPIED:
        await _copy(connection, table, (getattr(piece, table) for piece in pieces))
    count = sum(piece.count for piece in pieces)
    work.staged, work.events, work.waiting = pieces[-1].last, work.events + count, work.waiting + count
    await session.execute(
        text(
            """INSERT INTO staging.marks VALUES (:name, :staged, :waiting)
            ON CONFLICT (work) DO UPDATE SET staged_to = :staged, events = :waiting"""
        ),
        {"name": work.name, "staged": work.staged, "waiting": work.waiting},
    )


async def forget(session: AsyncSession, contract: bytes, *, chain_id: int) -> None:
    """Throw away all that is staged of a contract, which is expelled so, unless it was shown before."""
    query = text("SELECT id FROM mirror.contracts WHERE chain_id = :chain_id AND address = :address")
    contract_id = await session.scalar(query, {"chain_id": chain_id, "address": contract})
    # Nobody saw it, so it left when it came.
    await session.execute(
        text(
            """INSERT INTO mirror.deployments
                (contract_id, block_hash, block_number, salt, operator, kind, canonical, left_at)
            SELECT contract_id, block_hash, block_number, salt, operator, kind, false, statement_timestamp()
            FROM staging.deployments WHERE contract_id = :id
            ON CONFLICT (contract_id, block_hash) DO NOTHING"""
        ),
        {"id": contract_id},
    )
    for table in (*_BULK, "deployments"):
        await session.execute(text(f"DELETE FROM staging.{table} WHERE contract_id = :id"), {"id": contract_id})


async def publish(session: AsyncSession, work: Work, *, shown: bool) -> None:
    """Count what was staged as served, and make room; headers and deployments wait on where they are not shown yet."""
    await _truncate(session, (*_BULK, *(_SHOWN_LAST if shown else ()), "marks"))
    await session.execute(
        text("INSERT INTO staging.marks VALUES (:name, :staged, 0)"), {"name": work.name, "staged": work.staged}
    )
    work.reached, work.waiting = work.staged, 0
    await tell(session, work, events_per_s=None)


async def finish(session: AsyncSession, work: Work) -> None:
    """End a work: nothing of it is left in staging."""
    await _truncate(session, (*_BULK, *_SHOWN_LAST, "marks"))
    await session.execute(
        text("UPDATE mirror.backfills SET finished_at = clock_timestamp() WHERE work = :name"), {"name": work.name}
    )


async def tell(session: AsyncSession, work: Work, *, events_per_s: float | None) -> None:
    """Write how far a work came, for readers."""
    await session.execute(
        text(
            """UPDATE mirror.backfills SET reached_block = :reached, staged_block = :staged, events = :events,
                events_per_s = coalesce(:events_per_s, events_per_s), told_at = clock_timestamp() WHERE work = :name"""
        ),
        {
            "name": work.name,
            "reached": work.reached,
            "staged": work.staged,
            "events": work.events,
            "events_per_s": events_per_s,
        },
    )


async def _copy(connection: AsyncConnection[Any], table: str, parts: Iterable[bytes]) -> None:
    parts = [part for part in parts if part]
    if not parts:
        return
    statement = sql.SQL("COPY staging.{} FROM STDIN").format(sql.Identifier(table))
    async with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for part in parts:
            await copy.write(part)


async def _truncate(session: AsyncSession, tables: Sequence[str]) -> None:
    await session.execute(text("TRUNCATE " + ", ".join(f"staging.{table}" for table in tables)))
