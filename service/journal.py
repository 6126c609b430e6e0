"""The journal: the one ordered record of final facts, append-only by trigger and by role.

An entry is written in the same DB transaction as what it records. Positions are dense and in commit order: appending
takes the row lock of the last position, so a reader that has seen position n has seen everything before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import rfc8785
from sqlalchemy import BigInteger, CursorResult, func, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Base, ReadConnection


class JournalEntryRow(Base):
    """One final fact. `body` is canonical JSON, kept as the text that was hashed and signed later."""

    __tablename__ = "journal_entries"

    position: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    issuer_id: Mapped[UUID | None] = mapped_column(index=True)
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


_APPEND = text("""
WITH ended AS (UPDATE journal_end SET position = position + :count RETURNING position)
INSERT INTO journal_entries (position, issuer_id, kind, body)
SELECT ended.position - :count + given.place, given.issuer_id, given.kind, given.body
FROM ended, unnest(CAST(:issuers AS uuid[]), CAST(:kinds AS text[]), CAST(:bodies AS text[])) WITH ORDINALITY
    AS given (issuer_id, kind, body, place)
""")


async def append(session: AsyncSession, facts: Sequence[Fact]) -> None:
    """Record facts, in their order, in the caller's DB transaction. Source: RFC 8785 for the form."""
    if not facts:
        return
    # Before the lock, which every other writer waits for.
    given = {
        "count": len(facts),
        "issuers": [fact.issuer_id for fact in facts],
        "kinds": [fact.kind for fact in facts],
        "bodies": [rfc8785.dumps({"kind": fact.kind, **fact.body}).decode() for fact in facts],
    }
    written = cast("CursorResult[Any]", await session.execute(_APPEND, given))
    assert written.rowcount == len(facts), "the migration makes the one row of journal_end"


async def entries_after(connection: ReadConnection, *, position: int, count_max: int) -> list[Entry]:
    """The next entries in order; 0 is before the first."""
    cursor = await connection.execute(
        "SELECT position, kind, issuer_id, body FROM journal_entries WHERE position > %s ORDER BY position LIMIT %s",
        (position, count_max),
    )
    return [Entry(*row) for row in await cursor.fetchall()]
