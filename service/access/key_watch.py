"""What the dispatcher does for credentials now and then: tell of those that are old or unused, and clear away.

A credential's notice is told once a week at most. Nothing depends on it: states are computed, and notices are listed.
"""

import time
from typing import LiteralString

from sqlalchemy import text

from service import journal
from service.access.key_states import ROTATION_DUE, STALE, STALE_DAYS, UNENDED, Notice
from service.db import Database
from service.journal import Fact
from service.telemetry import logger
from service.workers import Lease

LOOK_INTERVAL_S = 600.0
TOLD_AGAIN_DAYS = 7

USES_KEPT_DAYS = 400
REFUSALS_KEPT_DAYS = 90

AMOUNTS_KEPT_DAYS = 400
"""What a caller's requests named matters on its day; later it is for whoever asks what a key did."""

TOLD_MAX = 500
CLEARED_MAX = 5_000
"""Rows of each table that one step clears away at most."""

_TELL: LiteralString = f"""
WITH seen AS (
    SELECT k.id, k.created_at, k.last_used_at, c.id AS caller_id, c.issuer_id,
        {ROTATION_DUE} AND coalesce(k.rotation_told_at < now() - make_interval(days => {TOLD_AGAIN_DAYS}), true) AS due,
        {STALE} AND coalesce(k.stale_told_at < now() - make_interval(days => {TOLD_AGAIN_DAYS}), true) AS stale
    FROM credentials k JOIN callers c ON c.id = k.caller_id
    WHERE k.revoked_at IS NULL AND k.replaced_by IS NULL AND c.deleted_at IS NULL
        AND k.created_at < now() - make_interval(days => {STALE_DAYS}) AND {UNENDED}
), held AS (
    SELECT id FROM credentials WHERE id IN (SELECT id FROM seen WHERE due OR stale ORDER BY created_at LIMIT :count)
    ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
) UPDATE credentials k SET rotation_told_at = CASE WHEN due THEN now() ELSE k.rotation_told_at END,
    stale_told_at = CASE WHEN stale THEN now() ELSE k.stale_told_at END
FROM held JOIN seen USING (id) WHERE k.id = held.id
RETURNING k.id, seen.caller_id, seen.issuer_id, seen.created_at, seen.last_used_at, due, stale
"""

# Uses are found by credential, and none is older than its credential, so that they need no index by day. What is
# counted in all must not shrink: the sums of cleared days stay, as of a day before all others.
_CLEAR: LiteralString = f"""
WITH uses AS (
    DELETE FROM credential_uses WHERE ctid = ANY (ARRAY(SELECT old.ctid FROM credentials k CROSS JOIN LATERAL (
            SELECT u.ctid FROM credential_uses u WHERE u.credential_id = k.id
                AND u.day < (now() AT TIME ZONE 'utc')::date - {USES_KEPT_DAYS} LIMIT :count) AS old
        WHERE k.created_at < now() - make_interval(days => {USES_KEPT_DAYS}) LIMIT :count)) RETURNING 1
), amounts AS (
    DELETE FROM amounts_taken WHERE ctid = ANY (ARRAY(SELECT ctid FROM amounts_taken
        WHERE day < (now() AT TIME ZONE 'utc')::date - {AMOUNTS_KEPT_DAYS} LIMIT :count)) RETURNING 1
), refusals AS (
    DELETE FROM access_refusals WHERE ctid = ANY (ARRAY(SELECT ctid FROM access_refusals
        WHERE day < (now() AT TIME ZONE 'utc')::date - {REFUSALS_KEPT_DAYS} AND day > '-infinity' LIMIT :count))
    RETURNING reason, count
), kept AS (
    INSERT INTO access_refusals AS r (key_id, reason, day, count)
    SELECT '', reason, '-infinity', sum(count) FROM refusals GROUP BY reason ORDER BY reason
    ON CONFLICT (key_id, reason, day) DO UPDATE SET count = r.count + excluded.count
) SELECT (SELECT count(*) FROM uses) + (SELECT count(*) FROM amounts) + (SELECT count(*) FROM refusals)
"""


class KeyWatch:
    """The dispatcher's step for credentials."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._looked_s = float("-inf")

    async def step(self, lease: Lease) -> int:
        """Tell and clear until there is nothing to do, and look again LOOK_INTERVAL_S later; how much was done."""
        if time.monotonic() - self._looked_s < LOOK_INTERVAL_S:
            return 0
        done = await tell(self._db, lease) + await clear(self._db, lease)
        if done == 0:
            self._looked_s = time.monotonic()
        return done


async def tell(db: Database, lease: Lease) -> int:
    """Record credentials that are due for rotation, and those that nobody uses; how many facts that made."""
    async with db.transaction() as session:
        await lease.hold(session)
        facts = []
        for row in await session.execute(text(_TELL), {"count": TOLD_MAX}):
            named = {"key": row.id, "caller": str(row.caller_id)}
            for notice, told, since in (
                (Notice.ROTATION_DUE, row.due, row.created_at),
                (Notice.STALE, row.stale, row.last_used_at),
            ):
                if told:
                    at = None if since is None else since.isoformat()
                    facts.append(Fact(f"key.{notice}", row.issuer_id, {**named, "since": at}))
        await journal.append(session, facts)
    for fact in facts:
        logger().warning("key_noticed", kind=fact.kind, detail=fact.body["key"])
    return len(facts)


async def clear(db: Database, lease: Lease) -> int:
    """Delete uses, amounts and refusals that are older than they are kept; how many rows."""
    async with db.transaction() as session:
        await lease.hold(session)
        count: int = (await session.execute(text(_CLEAR), {"count": CLEARED_MAX})).scalar_one()
    return count
