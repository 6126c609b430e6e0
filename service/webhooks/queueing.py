"""Messages in line: each is numbered for its webhook and within its subject as it is stored, in one statement."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

# The counters' rows are locked in one order, so that two such statements wait for one another in one direction only.
_ENQUEUE = text("""
WITH given AS (
    SELECT * FROM unnest(CAST(:webhooks AS uuid[]), CAST(:positions AS bigint[]), CAST(:types AS text[]),
        CAST(:subjects AS text[]), CAST(:notices AS jsonb[])) WITH ORDINALITY
        AS given (webhook_id, position, type, subject, notice, place)
), numbered AS (
    UPDATE webhooks SET number = webhooks.number + counts.count
    FROM (SELECT webhook_id, count(*) FROM given GROUP BY webhook_id) AS counts
    WHERE webhooks.id = counts.webhook_id
    RETURNING webhooks.id, webhooks.number - counts.count AS before
), counted AS (
    INSERT INTO webhook_subjects AS held (webhook_id, subject, sequence)
    SELECT webhook_id, subject, count(*) FROM given WHERE webhook_id IN (SELECT id FROM numbered)
    GROUP BY webhook_id, subject ORDER BY webhook_id, subject
    ON CONFLICT (webhook_id, subject) DO UPDATE SET sequence = held.sequence + excluded.sequence
    RETURNING webhook_id, subject, sequence
)
INSERT INTO webhook_deliveries (webhook_id, number, position, type, subject, sequence, notice)
SELECT given.webhook_id, numbered.before + row_number() OVER (PARTITION BY given.webhook_id ORDER BY given.place),
    given.position, given.type, given.subject,
    counted.sequence - row_number() OVER (PARTITION BY given.webhook_id, given.subject ORDER BY given.place DESC) + 1,
    given.notice
FROM given JOIN numbered ON numbered.id = given.webhook_id
JOIN counted ON counted.webhook_id = given.webhook_id AND counted.subject = given.subject
RETURNING webhook_id, number
""")


@dataclass(frozen=True, slots=True)
class Message:
    """One message to one webhook, before it has a number. A journal entry by its position, or else `notice`."""

    webhook_id: UUID
    type: str
    subject: str
    position: int | None = None
    notice: dict[str, Any] | None = None


async def enqueue(session: AsyncSession, messages: Sequence[Message]) -> list[int]:
    """Store messages in their order, in the caller's DB transaction; their numbers, in no order of their own.

    What is for a webhook that is deleted meanwhile is left out.
    """
    if not messages:
        return []
    given = {
        "webhooks": [each.webhook_id for each in messages],
        "positions": [each.position for each in messages],
        "types": [each.type for each in messages],
        "subjects": [each.subject for each in messages],
        "notices": [None if each.notice is None else json.dumps(each.notice) for each in messages],
    }
    return [row.number for row in await session.execute(_ENQUEUE, given)]


def message_id(webhook_id: UUID, number: int) -> str:
    """A message's `webhook-id`, the same however often it is sent."""
    return f"msg_{webhook_id.hex}_{number}"
