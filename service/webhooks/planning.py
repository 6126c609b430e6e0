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
"""Entries read in one step, for all webhooks together, and messages planned of them."""

_EACH_MIN = 20

_PLACES = "SELECT DISTINCT issuer_id, position FROM webhooks WHERE disabled_at IS NULL"

# Where they stand and what they want is read with the lock, so that what was read before is planned for nobody whom
# another moved on, or who wants other types now. Whom somebody holds is left out until the next step.
_HOLD = text("""
SELECT id, issuer_id, types, position FROM webhooks
JOIN unnest(CAST(:issuers AS uuid[]), CAST(:positions AS bigint[])) AS place (issuer_id, position)
    USING (issuer_id, position)
WHERE disabled_at IS NULL ORDER BY id FOR UPDATE OF webhooks SKIP LOCKED
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


async def plan(db: Database, lease: Lease) -> int:
    """Store the messages of the next entries for each webhook, with how far it came; how many entries were planned."""
    async with db.read() as connection:
        places = sorted((row[0], row[1]) for row in await (await connection.execute(_PLACES)).fetchall())
        count_max = max(_EACH_MIN, ENTRIES_MAX // max(len(places), 1))
        found = await journal.entries_of(connection, places, count_max=count_max)
    if not found:
        return 0
    entries: dict[tuple[UUID, int], list[Entry]] = {}
    for place, entry in found:
        entries.setdefault(place, []).append(entry)
    async with db.transaction() as session:
        await lease.hold(session)
        given = {"issuers": [each for each, _ in entries], "positions": [position for _, position in entries]}
        moving = [Listener(*row) for row in await session.execute(_HOLD, given)]
        share = max(_EACH_MIN, ENTRIES_MAX // max(len(moving), 1))
        news = [(each, entries[each.issuer_id, each.position][:share]) for each in moving]
        await enqueue(session, [message for each, new in news for message in _messages(each, new)])
        ends = {"ids": [each.id for each, _ in news], "positions": [new[-1].position for _, new in news]}
        await session.execute(_MOVE_ON, ends)
    return sum(len(new) for _, new in news)


def _messages(listener: Listener, entries: Sequence[Entry]) -> list[Message]:
    return [
        Message(listener.id, each.kind, subject_of(each.kind, json.loads(each.body)), position=each.position)
        for each in entries
        if wants(listener.types, each.kind)
    ]
