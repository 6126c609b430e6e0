"""Where a credential stands, computed from its times by Postgres' clock whenever it is asked for.

Nothing has to run for a key to end: there is no stored state that a dead worker could leave behind.
"""

from enum import StrEnum
from typing import LiteralString


class State(StrEnum):
    """Where a credential stands."""

    PENDING = "pending"  # nobody has used it yet, or its time has not come
    ACTIVE = "active"
    RETIRING = "retiring"  # its successor is in use, and it ends soon
    SUSPENDED = "suspended"  # opens nothing until it is resumed
    EXPIRED = "expired"
    REVOKED = "revoked"  # for ever


OPENS = frozenset({State.PENDING, State.ACTIVE, State.RETIRING})
"""A credential in one of these may open something; a pending one only once its time has come, and is active then."""

ENDED = frozenset({State.EXPIRED, State.REVOKED})
"""A credential in one of these opens nothing any more, whatever is done."""

STATE: LiteralString = """CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked'
    WHEN least(k.expires_at, k.retires_at) <= clock_timestamp() THEN 'expired'
    WHEN k.suspended_at IS NOT NULL THEN 'suspended'
    WHEN k.activated_at IS NULL OR k.not_before > clock_timestamp() THEN 'pending'
    WHEN k.retires_at IS NOT NULL THEN 'retiring' ELSE 'active' END"""
"""The state of a row `k` of credentials, in SQL. `least` leaves out what is null."""

UNENDED: LiteralString = """(k.revoked_at IS NULL
    AND coalesce(least(k.expires_at, k.retires_at) > clock_timestamp(), true))"""
"""Whether a row `k` of credentials is in none of ENDED, in SQL; for queries that look at all there are."""


class Notice(StrEnum):
    """What whoever keeps a credential should look at."""

    STRAGGLER = "straggler"  # its successor is in use, and so is it
    ROTATION_DUE = "rotation-due"
    STALE = "stale"


ROTATION_DUE_DAYS = 90
"""A credential that is older is due for rotation."""

STALE_DAYS = 30
"""A credential that nobody has used for longer is stale."""

STRAGGLES: LiteralString = f"""({STATE} = 'retiring' AND EXISTS (
    SELECT FROM credentials s WHERE s.id = k.replaced_by AND k.last_used_at > s.activated_at))"""

# One with a successor is told of by its successor, where nobody uses that.
_STANDS: LiteralString = f"k.revoked_at IS NULL AND k.replaced_by IS NULL AND {STATE} IN ('pending', 'active')"

ROTATION_DUE: LiteralString = f"""({_STANDS}
    AND k.created_at < now() - make_interval(days => {ROTATION_DUE_DAYS}))"""

STALE: LiteralString = f"""({_STANDS} AND k.created_at < now() - make_interval(days => {STALE_DAYS})
    AND greatest(k.not_before, k.last_used_at, k.created_at) < now() - make_interval(days => {STALE_DAYS}))"""

NOTICES: LiteralString = f"""array_remove(ARRAY[CASE WHEN {STRAGGLES} THEN 'straggler' END,
    CASE WHEN {ROTATION_DUE} THEN 'rotation-due' END, CASE WHEN {STALE} THEN 'stale' END], NULL)"""
"""The notices of a row `k` of credentials, in SQL."""
