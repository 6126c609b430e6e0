"""What is left of webhooks that were removed: their rows go in stretches, so that no statement is long."""

from typing import Any, cast

from sqlalchemy import CursorResult, text

from service.db import Database
from service.workers import Lease

STRETCH_ROWS = 1_000

_REMOVED = "SELECT id FROM webhooks WHERE removed_at IS NOT NULL ORDER BY removed_at LIMIT 1"

# A webhook's numbers are dense.
_STRETCHES = (
    text("""
DELETE FROM webhook_deliveries WHERE webhook_id = :id
    AND number < :rows + (SELECT min(number) FROM webhook_deliveries WHERE webhook_id = :id)
"""),
    text("""
DELETE FROM webhook_subjects WHERE webhook_id = :id
    AND subject IN (SELECT subject FROM webhook_subjects WHERE webhook_id = :id LIMIT :rows)
"""),
    text("DELETE FROM webhooks WHERE id = :id"),
)


async def sweep(db: Database, lease: Lease) -> int:
    """Delete the next rows of a webhook that was removed, and at last itself; how many."""
    removed = await db.fetch(_REMOVED, ())
    if not removed:
        return 0
    async with db.transaction() as session:
        await lease.hold(session)
        for statement in _STRETCHES:
            done = await session.execute(statement, {"id": removed[0][0], "rows": STRETCH_ROWS})
            if count := cast("CursorResult[Any]", done).rowcount:
                return count
    return 0
