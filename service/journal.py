"""The journal: the one ordered record of final facts, append-only by trigger and by role.

An entry is written in the same DB transaction as what it records. Positions are dense and in commit order: appending
takes the row lock of the last position, so a reader that has seen position n has seen everything before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString, cast
from uuid import UUID

import rfc8785
from sqlalchemy import BigInteger, CursorResult, Index, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Base, ReadConnection


class JournalEntryRow(Base):
    """One final fact. `body` is canonical JSON, kept as the text that was hashed and signed later."""

    __tablename__ = "journal_entries"
    __table_args__ = (Index("journal_entries_issuer_id_position_idx", "issuer_id", "position"),)

    position: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    issuer_id: Mapped[UUID | None]
    kind: Mapped[str]
    body: Mapped[str]
    recorded_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class JournalEndRow(Base):
    """The last position given out: one row, locked by whoever appends."""

    __tablename__ = "journal_end"

    one: Mapped[bool] = mapped_column(primary_key=True, default=True)
    position: Mapped[int] = mapped_column(BigInteger)


@dataclass(frozen=True, slots=True)
class Fact:
    """What is to be recorded. Numbers beyond 2**53 go in as decimal strings (RFC 8785 section 3.2.2.3)."""

    kind: str
    issuer_id: UUID | None
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """A recorded fact."""

    position: int
    kind: str
    issuer_id: UUID | None
    body: str
    recorded_at: datetime


BEHIND_MAX = 100_000

_ENTRY: LiteralString = "position, kind, issuer_id, body, recorded_at"

# As a range of both columns, or a planner that sees one issuer everywhere walks through all positions for a quiet one.
_FOLLOWING: LiteralString = """(entries.issuer_id, entries.position) > (given.issuer_id, given.position)
    AND (entries.issuer_id, entries.position) <= (given.issuer_id, 9223372036854775807)"""

_APPEND = text("""
WITH ended AS (UPDATE journal_end SET position = position + :count RETURNING position)
INSERT INTO journal_entries (position, issuer_id, kind, body)
SELECT ended.position - :count + given.place, given.issuer_id, given.kind, given.body
FROM ended, unnest(CAST(:issuers AS uuid[]), CAST(:kinds AS text[]), CAST(:bodies AS text[])) WITH ORDINALITY
    AS given (issuer_id, kind, body, place)
""")


END: LiteralString = "UPDATE journal_end SET position = position + 1 FROM allowed RETURNING position"
"""Takes the next place where a relation `allowed` has a row, as part of a statement that also fills it."""


def written(fact: Fact) -> str:
    """A fact as its entry has it. Source: RFC 8785."""
    return rfc8785.dumps({"kind": fact.kind, **fact.body}).decode()


async def append(session: AsyncSession, facts: Sequence[Fact]) -> None:
    """Record facts, in their order, in the caller's DB transaction. Source: RFC 8785 for the form."""
    if not facts:
        return
    # Before the lock, which every other writer waits for.
    given = {
        "count": len(facts),
        "issuers": [fact.issuer_id for fact in facts],
        "kinds": [fact.kind for fact in facts],
        "bodies": [written(fact) for fact in facts],
    }
    stored = cast("CursorResult[Any]", await session.execute(_APPEND, given))
    assert stored.rowcount == len(facts), "the migration makes the one row of journal_end"


async def entries_after(connection: ReadConnection, *, position: int, count_max: int) -> list[Entry]:
    """The next entries in order; 0 is before the first."""
    cursor = await connection.execute(
        f"SELECT {_ENTRY} FROM journal_entries WHERE position > %s ORDER BY position LIMIT %s",
        (position, count_max),
    )
    return [Entry(*row) for row in await cursor.fetchall()]


async def entries_of(
    connection: ReadConnection, after: Sequence[tuple[UUID, int]], *, count_max: int
) -> list[tuple[tuple[UUID, int], Entry]]:
    """The next entries of issuers, each after a position of its own, in order; `count_max` for each of them."""
    cursor = await connection.execute(
        f"""SELECT given.issuer_id, given.position, following.*
        FROM unnest(%s::uuid[], %s::bigint[]) AS given (issuer_id, position) CROSS JOIN LATERAL (
            SELECT {_ENTRY} FROM journal_entries entries
            WHERE {_FOLLOWING} ORDER BY entries.issuer_id, entries.position LIMIT %s) following
        ORDER BY following.position""",
        ([issuer_id for issuer_id, _ in after], [position for _, position in after], count_max),
    )
    return [((row[0], row[1]), Entry(*row[2:])) for row in await cursor.fetchall()]


async def entries_at(connection: ReadConnection, positions: Sequence[int]) -> dict[int, Entry]:
    """The entries at these positions."""
    cursor = await connection.execute(
        f"SELECT {_ENTRY} FROM journal_entries WHERE position = ANY(%s)", (list(positions),)
    )
    return {row[0]: Entry(*row) for row in await cursor.fetchall()}


async def behind(connection: ReadConnection, after: Sequence[tuple[UUID, int]]) -> int:
    """How many entries of their issuers come after these positions: the most of any, counted up to BEHIND_MAX."""
    cursor = await connection.execute(
        f"""SELECT coalesce(max(following.count), 0)
        FROM unnest(%s::uuid[], %s::bigint[]) AS given (issuer_id, position) CROSS JOIN LATERAL (
            SELECT count(*) FROM (
                SELECT 1 FROM journal_entries entries
                WHERE {_FOLLOWING} LIMIT %s) counted
            ) following""",
        ([issuer_id for issuer_id, _ in after], [position for _, position in after], BEHIND_MAX),
    )
    rows = await cursor.fetchall()
    return int(rows[0][0])


async def end(session: AsyncSession) -> int:
    """The last position; whatever is appended later has a higher one."""
    return (await session.scalars(select(JournalEndRow.position))).one()
