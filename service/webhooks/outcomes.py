"""What came of sendings, stored in one DB transaction: the messages, how their webhooks do, and who is disabled."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from yarl import URL

from service import journal
from service.db import Database
from service.journal import Fact
from service.telemetry import logger
from service.webhooks.egress import Answer
from service.webhooks.events import instant
from service.webhooks.retrying import FAILING_DAYS_MAX, GONE, after
from service.workers import Lease

TRIES_KEPT = 20

# Whoever changes messages has their webhook first, so that no two wait for one another.
_HOLD = text("SELECT id FROM webhooks WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR UPDATE")

# Only where it stands as it did when it was sent: a replay, or another process, may have moved it on.
_MESSAGES = text("""
UPDATE webhook_deliveries d SET state = o.state, failures = o.failures,
    tries = CASE WHEN jsonb_array_length(d.tries) < :kept THEN d.tries ELSE d.tries - 0 END || o.try,
    due_at = now() + make_interval(secs => o.wait_s)
FROM unnest(CAST(:ids AS uuid[]), CAST(:numbers AS bigint[]), CAST(:before AS integer[]), CAST(:states AS text[]),
    CAST(:failures AS integer[]), CAST(:waits AS float8[]), CAST(:tries AS jsonb[]))
    AS o (webhook_id, number, before, state, failures, wait_s, try)
WHERE d.webhook_id = o.webhook_id AND d.number = o.number AND d.state = 'pending' AND d.failures = o.before
""")

_WEBHOOKS = text("""
WITH told AS (
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:took AS boolean[]), CAST(:tails AS bigint[]),
        CAST(:gone AS boolean[])) AS told (id, took, tail, gone)
), counted AS (
    SELECT w.id, told.gone, CASE WHEN told.took THEN told.tail ELSE w.failures + told.tail END AS failures,
        CASE WHEN told.tail = 0 THEN NULL WHEN told.took THEN now() ELSE coalesce(w.failing_since, now()) END AS since
    FROM webhooks w JOIN told ON told.id = w.id WHERE w.disabled_at IS NULL
), judged AS (
    SELECT id, failures, since, CASE WHEN gone THEN 'gone'
        WHEN since < now() - make_interval(days => :days) THEN 'failing' END AS disabled_for
    FROM counted
)
UPDATE webhooks w SET failures = judged.failures, failing_since = judged.since, disabled_for = judged.disabled_for,
    disabled_at = CASE WHEN judged.disabled_for IS NOT NULL THEN now() END
FROM judged WHERE w.id = judged.id
RETURNING w.id, w.issuer_id, w.url, w.disabled_for
""")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one sending of a message that had failed `failures` times before."""

    webhook_id: UUID
    number: int
    failures: int
    at: datetime
    answer: Answer
    chance: float


async def record(db: Database, lease: Lease, outcomes: Sequence[Outcome]) -> None:
    """Store outcomes, and disable the webhooks that failed for days or are gone, each with its fact in the journal."""
    async with db.transaction() as session:
        await lease.hold(session)
        nexts = [after(each.answer, failures=each.failures, chance=each.chance) for each in outcomes]
        given: dict[str, Any] = {
            "ids": [each.webhook_id for each in outcomes],
            "numbers": [each.number for each in outcomes],
            "before": [each.failures for each in outcomes],
            "states": [each.state for each in nexts],
            "failures": [each.failures for each in nexts],
            "waits": [each.wait_s for each in nexts],
            "tries": [_try(each) for each in outcomes],
            "kept": TRIES_KEPT,
        }
        await session.execute(_HOLD, {"ids": sorted({each.webhook_id for each in outcomes})})
        await session.execute(_MESSAGES, given)
        disabled = await _judge(session, outcomes)
        await journal.append(session, [fact for fact, _ in disabled])
    for fact, reason in disabled:
        logger().error("webhook_disabled", reason=reason, detail=str(fact.body["webhook"]))


async def _judge(session: AsyncSession, outcomes: Sequence[Outcome]) -> list[tuple[Fact, str]]:
    took: dict[UUID, bool] = {}
    tails: dict[UUID, int] = {}
    for each in outcomes:
        took[each.webhook_id] = took.get(each.webhook_id, False) or each.answer.taken
        tails[each.webhook_id] = 0 if each.answer.taken else tails.get(each.webhook_id, 0) + 1
    gone = {each.webhook_id for each in outcomes if each.answer.status == GONE}
    given = {
        "ids": list(tails),
        "took": [took[id_] for id_ in tails],
        "tails": list(tails.values()),
        "gone": [id_ in gone for id_ in tails],
        "days": FAILING_DAYS_MAX,
    }
    rows = [row for row in await session.execute(_WEBHOOKS, given) if row.disabled_for is not None]
    return [
        (
            Fact(
                "webhook.disabled",
                row.issuer_id,
                {"webhook": str(row.id), "host": URL(row.url).host, "disabled_for": row.disabled_for},
            ),
            row.disabled_for,
        )
        for row in rows
    ]


def _try(outcome: Outcome) -> str:
    answer = outcome.answer
    told = {"at": instant(outcome.at), "status": answer.status, "reason": answer.reason}
    return json.dumps({**told, "duration_ms": answer.duration_ms})
