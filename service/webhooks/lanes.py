"""Which webhooks are sent to now, and what: lanes, shared out so that no issuer and no dead receiver takes them all."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from service import journal
from service.db import Database, ReadConnection
from service.journal import Entry
from service.keys.wrapping import KeyAltered
from service.webhooks.events import payload, told
from service.webhooks.sealing import Sealed, Sealer
from service.webhooks.signing import Secrets

STEADY_LANES_MAX, STEADY_LANES_EACH_MAX = 70, 14
"""Webhooks that are sent to at once, and those of one issuer among them."""

SHAKY_LANES_MAX, SHAKY_LANES_EACH_MAX = 30, 6
"""The same of webhooks that fail: they must not take the places of those that live."""

SHAKY_FAILURES = 5
MESSAGES_MAX = 64
"""Of one lane; of a webhook whose last message was not taken one, to see whether it is back."""

# Whoever has the fewest lanes has the next one, so that one who comes late does not wait for those with many.
_DUE = """
WITH ready AS (
    SELECT w.id, w.issuer_id, w.url, w.failures, w.failures >= %(failures)s AS shaky, earliest.due_at,
        w.unreadable_since IS NOT NULL AS unreadable
    FROM webhooks w CROSS JOIN LATERAL (
        SELECT d.due_at FROM webhook_deliveries d
        WHERE d.webhook_id = w.id AND d.state = 'pending' AND d.due_at <= now() ORDER BY d.due_at, d.number LIMIT 1
    ) AS earliest
    WHERE w.disabled_at IS NULL AND w.id <> ALL(%(busy)s)
), taken AS (
    SELECT * FROM unnest(%(issuers)s::uuid[], %(shakies)s::boolean[], %(counts)s::integer[])
        AS taken (issuer_id, shaky, count)
), ranked AS (
    SELECT ready.*, coalesce(taken.count, 0)
        + row_number() OVER (PARTITION BY ready.issuer_id, ready.shaky ORDER BY ready.due_at) AS turn
    FROM ready LEFT JOIN taken ON taken.issuer_id = ready.issuer_id AND taken.shaky = ready.shaky
), placed AS (
    SELECT *, row_number() OVER (PARTITION BY shaky ORDER BY turn, due_at) AS place
    FROM ranked WHERE turn <= CASE WHEN shaky THEN %(shaky_each)s ELSE %(steady_each)s END
)
SELECT placed.id, placed.issuer_id, placed.url, placed.shaky, placed.unreadable, due.*
FROM placed CROSS JOIN LATERAL (
    SELECT d.number, d.due_at, d.failures, d.subject, d.position, d.type, d.sequence, d.notice FROM webhook_deliveries d
    WHERE d.webhook_id = placed.id AND d.state = 'pending' AND d.due_at <= now()
    ORDER BY d.due_at, d.number LIMIT CASE WHEN placed.failures > 0 THEN 1 ELSE %(messages)s END
) AS due
WHERE place <= CASE WHEN shaky THEN %(shaky_free)s ELSE %(steady_free)s END ORDER BY placed.id, due.number
"""

_SECRETS = """
SELECT webhook_id, version, sealed_hmac, sealed_private FROM webhook_secrets
WHERE webhook_id = ANY(%s) AND (ends_at IS NULL OR ends_at > now()) ORDER BY webhook_id, version DESC
"""


@dataclass(frozen=True, slots=True)
class Due:
    """A message that is to be sent now."""

    number: int
    due_at: datetime
    failures: int
    subject: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Lane:
    """What is to be sent to one webhook now.

    Args:
        secrets: None where one of those that sign does not open here: unsigned by it, receivers would refuse.
        unreadable: it was so at the last look.
    """

    webhook_id: UUID
    issuer_id: UUID
    url: str = field(repr=False)
    shaky: bool
    unreadable: bool
    secrets: Sequence[Secrets] | None
    due: Sequence[Due]


async def due_lanes(
    db: Database, sealer: Sealer, *, busy: Sequence[UUID], taken: Mapping[tuple[UUID, bool], int]
) -> list[Lane]:
    """Lanes that may be started now.

    Args:
        busy: webhooks that are to be left alone.
        taken: how many lanes there are already, by issuer and by whether the webhook is shaky.
    """
    shaky_count = sum(count for (_, shaky), count in taken.items() if shaky)
    free = {
        "steady_free": STEADY_LANES_MAX - (sum(taken.values()) - shaky_count),
        "shaky_free": SHAKY_LANES_MAX - shaky_count,
    }
    if max(free.values()) <= 0:
        return []
    given = {
        **{"issuers": [issuer_id for issuer_id, _ in taken], "shakies": [shaky for _, shaky in taken]},
        **{"counts": list(taken.values()), "busy": list(busy), "failures": SHAKY_FAILURES, "messages": MESSAGES_MAX},
        **{"steady_each": STEADY_LANES_EACH_MAX, "shaky_each": SHAKY_LANES_EACH_MAX},
    }
    async with db.read() as connection:
        rows = await (await connection.execute(_DUE, {**given, **free})).fetchall()
        if not rows:
            return []
        entries = await journal.entries_at(connection, sorted({row[9] for row in rows if row[9] is not None}))
        secrets = await _secrets(connection, sealer, {row[0] for row in rows})
    found: dict[UUID, Lane] = {}
    messages: dict[UUID, list[Due]] = {}
    for id_, issuer_id, url, shaky, unreadable, *message in rows:
        due = messages.setdefault(id_, [])
        due.append(_due(message, entries))
        found[id_] = Lane(id_, issuer_id, url, shaky, unreadable, secrets[id_], due)
    return list(found.values())


async def _secrets(connection: ReadConnection, sealer: Sealer, ids: set[UUID]) -> Mapping[UUID, list[Secrets] | None]:
    found: dict[UUID, list[Secrets]] = {id_: [] for id_ in ids}
    closed = set()
    for webhook_id, version, sealed_hmac, sealed_private in await (
        await connection.execute(_SECRETS, (list(ids),))
    ).fetchall():
        try:
            found[webhook_id].append(sealer.open(Sealed(sealed_hmac, sealed_private), webhook_id, version))
        except KeyAltered:
            closed.add(webhook_id)
    return {id_: None if id_ in closed else each for id_, each in found.items()}


def _due(message: Sequence[Any], entries: Mapping[int, Entry]) -> Due:
    number, due_at, failures, subject, position, type_, sequence, notice = message
    if position is not None:
        entry = entries[position]
        recorded_at, data = entry.recorded_at, told(type_, json.loads(entry.body))
    else:
        recorded_at, data = datetime.fromisoformat(notice["recorded_at"]), notice["data"]
    body = payload(type_, recorded_at=recorded_at, subject=subject, sequence=sequence, number=number, data=data)
    return Due(number, due_at, failures, subject, body)
