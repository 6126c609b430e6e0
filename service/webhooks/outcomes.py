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
from service.webhooks.retrying import FAILING_DAYS_MAX, FAILURES_MIN, GONE, PAUSE_DAYS_MAX, after
from service.workers import Lease

TRIES_KEPT = 20

# Whoever changes messages has their webhook first, so that no two wait for one another; those of a webhook that
# somebody else has are put off, so that one issuer's long statement does not hold up the others.
_PUT_OFF = text("""
WITH held AS (
    SELECT id FROM webhooks WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR UPDATE SKIP LOCKED
)
SELECT id FROM webhooks WHERE id = ANY(CAST(:ids AS uuid[])) AND id NOT IN (SELECT id FROM held)
""")

# Only where it waits as it did when it was sent, which whatever changes it ends: an outcome, a replay, being enabled.
_MESSAGES = text("""
UPDATE webhook_deliveries d SET state = o.state, failures = o.failures,
    tries = CASE WHEN jsonb_array_length(d.tries) < :kept THEN d.tries ELSE d.tries - 0 END || o.try,
    due_at = now() + make_interval(secs => o.wait_s)
FROM unnest(CAST(:ids AS uuid[]), CAST(:numbers AS bigint[]), CAST(:dues AS timestamptz[]), CAST(:states AS text[]),
    CAST(:failures AS integer[]), CAST(:waits AS float8[]), CAST(:tries AS jsonb[]))
    AS o (webhook_id, number, due_at, state, failures, wait_s, try)
WHERE d.webhook_id = o.webhook_id AND d.number = o.number AND d.state = 'pending' AND d.due_at = o.due_at
RETURNING d.webhook_id, d.number
""")

_WEBHOOKS = text("""
WITH told AS (
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:took AS boolean[]), CAST(:tails AS bigint[]),
        CAST(:gone AS boolean[])) AS told (id, took, tail, gone)
), counted AS (
    SELECT w.id, told.gone, CASE WHEN told.took THEN told.tail ELSE w.failures + told.tail END AS failures,
        CASE WHEN told.tail = 0 THEN NULL
            WHEN told.took OR w.failed_at < now() - make_interval(days => :pause_days) THEN now()
            ELSE coalesce(w.failing_since, now()) END AS since
    FROM webhooks w JOIN told ON told.id = w.id WHERE w.disabled_at IS NULL
), judged AS (
    SELECT id, failures, since, CASE WHEN gone THEN 'gone'
        WHEN failures >= :failures_min AND since < now() - make_interval(days => :days) THEN 'failing' END
        AS disabled_for
    FROM counted
)
UPDATE webhooks w SET failures = judged.failures, failing_since = judged.since, disabled_for = judged.disabled_for,
    failed_at = CASE WHEN judged.failures > 0 THEN now() END,
    disabled_at = CASE WHEN judged.disabled_for IS NOT NULL THEN now() END
FROM judged WHERE w.id = judged.id
RETURNING w.id, w.issuer_id, w.url, w.disabled_for
""")

_UNREADABLE = text("""
UPDATE webhooks SET unreadable_since = CASE WHEN id = ANY(CAST(:unreadable AS uuid[])) THEN now() END
WHERE id IN (
    SELECT id FROM webhooks WHERE id = ANY(CAST(:unreadable AS uuid[]) || CAST(:readable AS uuid[]))
    ORDER BY id FOR UPDATE SKIP LOCKED
)
""")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one sending of a message that was due at `due_at` and had failed `failures` times before."""

    webhook_id: UUID
    number: int
    due_at: datetime
    failures: int
    at: datetime
    answer: Answer
    chance: float


async def record(db: Database, lease: Lease, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Store outcomes, and disable the webhooks that failed for days or are gone, each with its fact in the journal.

    Those that are put off, since somebody holds their webhook, are what it answers.
    """
    async with db.transaction() as session:
        await lease.hold(session)
        asked = {"ids": sorted({each.webhook_id for each in outcomes})}
        late = set((await session.scalars(_PUT_OFF, asked)).all())
        storing = [each for each in outcomes if each.webhook_id not in late]
        stored = {(row.webhook_id, row.number) for row in await session.execute(_MESSAGES, _changed(storing))}
        # What changed nothing says nothing of how its webhook does now either.
        disabled = await _judge(session, [each for each in storing if (each.webhook_id, each.number) in stored])
        await journal.append(session, [fact for fact, _ in disabled])
    for fact, reason in disabled:
        logger().error("webhook_disabled", reason=reason, detail=str(fact.body["webhook"]))
    return [each for each in outcomes if each.webhook_id in late]


async def note_unreadable(db: Database, lease: Lease, *, unreadable: Sequence[UUID], readable: Sequence[UUID]) -> None:
    """Store whose secrets have begun not to open, and whose open again."""
    if unreadable or readable:
        async with db.transaction() as session:
            await lease.hold(session)
            await session.execute(_UNREADABLE, {"unreadable": list(unreadable), "readable": list(readable)})


def _changed(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    nexts = [after(each.answer, failures=each.failures, chance=each.chance) for each in outcomes]
    return {
        "ids": [each.webhook_id for each in outcomes],
        "numbers": [each.number for each in outcomes],
        "dues": [each.due_at for each in outcomes],
        "states": [each.state for each in nexts],
        "failures": [each.failures for each in nexts],
        "waits": [each.wait_s for each in nexts],
        "tries": [_try(each) for each in outcomes],
        "kept": TRIES_KEPT,
    }


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
        "failures_min": FAILURES_MIN,
        "pause_days": PAUSE_DAYS_MAX,
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
