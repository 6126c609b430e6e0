"""Reading webhooks and their deliveries."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from service import journal
from service.db import Database, ReadConnection
from service.webhooks.problems import WebhookNotFound
from service.webhooks.tables import State

# Of each index one look, so that a webhook with a long past costs no more than a new one.
_WEBHOOK: LiteralString = """
SELECT w.id, w.issuer_id, w.url, w.description, w.types, w.number, w.failures, w.failing_since, w.disabled_at,
    w.disabled_for, w.created_at,
    ARRAY(SELECT s.public_key FROM webhook_secrets s
        WHERE s.webhook_id = w.id AND (s.ends_at IS NULL OR s.ends_at > now()) ORDER BY s.version DESC),
    (SELECT count(*) FROM (SELECT 1 FROM webhook_deliveries d
        WHERE d.webhook_id = w.id AND d.state = 'pending' LIMIT 10001) AS waiting),
    (SELECT count(*) FROM (SELECT 1 FROM webhook_deliveries d
        WHERE d.webhook_id = w.id AND d.state = 'dead' LIMIT 10001) AS given_up)
FROM webhooks w
"""


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook, and how it does; its counts stop above 10,000."""

    id: UUID
    issuer_id: UUID
    url: str = field(repr=False)
    description: str
    types: list[str]
    number: int
    failures: int
    failing_since: datetime | None
    disabled_at: datetime | None
    disabled_for: str | None
    created_at: datetime
    public_keys: list[bytes]
    pending_count: int
    dead_count: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message to a webhook and what came of it."""

    webhook_id: UUID
    number: int
    type: str
    subject: str
    sequence: int
    state: str
    failures: int
    tries: list[dict[str, Any]]
    due_at: datetime
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Totals:
    """How all webhooks of the deployment do together."""

    lag_entries: int
    oldest_pending_s: float
    enabled: int
    disabled: int
    failing: int
    unreadable: int
    pending: int
    dead: int


async def webhook(db: Database, *, issuer_id: UUID, id: UUID) -> Webhook:
    """One webhook of an issuer.

    Raises:
        WebhookNotFound: none, or another issuer's.
    """
    rows = await db.fetch(f"{_WEBHOOK} WHERE w.id = %s AND w.issuer_id = %s AND w.removed_at IS NULL", (id, issuer_id))
    if not rows:
        raise missing()
    return Webhook(*rows[0])


async def webhooks_page(db: Database, *, issuer_id: UUID, before: UUID | None, count_max: int) -> list[Webhook]:
    """Webhooks of an issuer, newest first."""
    rows = await db.fetch(
        f"""{_WEBHOOK} WHERE w.issuer_id = %s AND w.removed_at IS NULL AND (%s::uuid IS NULL OR w.id < %s)
        ORDER BY w.id DESC LIMIT %s""",
        (issuer_id, before, before, count_max),
    )
    return [Webhook(*row) for row in rows]


async def deliveries_page(
    db: Database, *, webhook_id: UUID, state: State | None, before: int | None, count_max: int
) -> list[Delivery]:
    """Deliveries of a webhook, newest first."""
    rows = await db.fetch(
        """SELECT webhook_id, number, type, subject, sequence, state, failures, tries, due_at, created_at
        FROM webhook_deliveries
        WHERE webhook_id = %s AND (%s::text IS NULL OR state = %s) AND (%s::bigint IS NULL OR number < %s)
        ORDER BY number DESC LIMIT %s""",
        (webhook_id, state, state, before, before, count_max),
    )
    return [Delivery(*row) for row in rows]


async def totals(connection: ReadConnection) -> Totals:
    """Of all issuers; lag is in journal entries that a webhook's issuer has and the webhook was not given."""
    cursor = await connection.execute(
        """SELECT count(*) FILTER (WHERE disabled_at IS NULL),
            count(*) FILTER (WHERE disabled_at IS NOT NULL AND removed_at IS NULL),
            count(*) FILTER (WHERE disabled_at IS NULL AND failures > 0),
            count(*) FILTER (WHERE disabled_at IS NULL AND unreadable_since IS NOT NULL),
            (SELECT count(*) FROM webhook_deliveries WHERE state = 'pending'
                AND webhook_id NOT IN (SELECT id FROM webhooks WHERE removed_at IS NOT NULL)),
            (SELECT count(*) FROM webhook_deliveries WHERE state = 'dead'
                AND webhook_id NOT IN (SELECT id FROM webhooks WHERE removed_at IS NOT NULL)),
            (SELECT coalesce(extract(epoch FROM now() - min(d.created_at)), 0)::float8 FROM webhook_deliveries d
                JOIN webhooks u ON u.id = d.webhook_id WHERE d.state = 'pending' AND u.disabled_at IS NULL)
        FROM webhooks"""
    )
    rows = await cursor.fetchall()
    *counts, oldest_pending_s = rows[0]
    cursor = await connection.execute("SELECT DISTINCT issuer_id, position FROM webhooks WHERE disabled_at IS NULL")
    lag = await journal.behind(connection, await cursor.fetchall())
    return Totals(lag, round(oldest_pending_s, 3), *counts)


def missing() -> WebhookNotFound:
    """The issuer has no such webhook."""
    return WebhookNotFound("list them with GET /v1/webhooks")
