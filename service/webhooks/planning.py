"""The dispatcher's first part: what the journal has for each webhook becomes messages, in the journal's order."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text

from service import journal
from service.db import Database
from service.journal import Entry
from service.webhooks.events import subject_of, wants
from service.webhooks.queueing import Message, enqueue
from service.workers import Lease

ENTRIES_MAX = 2_000
"""Entries read in one step, for all webhooks together."""

_ENTRIES_EACH_MIN = 20

# What was read for a webhook is planned only if nobody has moved it on since.
_HOLD = text("""
SELECT id FROM webhooks JOIN unnest(CAST(:ids AS uuid[]), CAST(:positions AS bigint[])) AS read (id, position)
    USING (id, position)
WHERE disabled_at IS NULL ORDER BY id FOR UPDATE OF webhooks
""")

_MOVE_ON = text("""
UPDATE webhooks SET position = read.position
FROM unnest(CAST(:ids AS uuid[]), CAST(:positions AS bigint[])) AS read (id, position) WHERE webhooks.id = read.id
""")


@dataclass(frozen=True, slots=True)
class Listener:
    """A webhook that is enabled, as far as planning needs it."""

    id: UUID
    issuer_id: UUID
    types: Sequence[str]
    position: int


async def listeners(db: Database) -> list[Listener]:
    """All that are enabled."""
    rows = await db.fetch("SELECT id, issuer_id, types, position FROM webhooks WHERE disabled_at IS NULL", ())
    return [Listener(*row) for row in rows]


async def plan(db: Database, lease: Lease, listening: Sequence[Listener]) -> int:
    """Store the messages of the next entries for each webhook, with how far it came; how many entries were new."""
    if not listening:
        return 0
    places = sorted({(each.issuer_id, each.position) for each in listening})
    count_max = max(_ENTRIES_EACH_MIN, ENTRIES_MAX // len(places))
    async with db.read() as connection:
        found = await journal.entries_of(connection, places, count_max=count_max)
    if not found:
        return 0
    entries: dict[tuple[UUID, int], list[Entry]] = {}
    for place, entry in found:
        entries.setdefault(place, []).append(entry)
    behind = [each for each in listening if (each.issuer_id, each.position) in entries]
    async with db.transaction() as session:
        await lease.hold(session)
        given = {"ids": [each.id for each in behind], "positions": [each.position for each in behind]}
        held = set((await session.scalars(_HOLD, given)).all())
        moving = [each for each in behind if each.id in held]
        news = [(each, entries[each.issuer_id, each.position]) for each in moving]
        await enqueue(session, [message for each, new in news for message in _messages(each, new)])
        ends = {"ids": [each.id for each, _ in news], "positions": [new[-1].position for _, new in news]}
        await session.execute(_MOVE_ON, ends)
    return len(found)


def _messages(listener: Listener, entries: Sequence[Entry]) -> list[Message]:
    return [
        Message(listener.id, each.kind, subject_of(each.kind, json.loads(each.body)), position=each.position)
        for each in entries
        if wants(listener.types, each.kind)
    ]
