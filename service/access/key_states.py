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

STATE: LiteralString = """CASE WHEN k.revoked_at IS NOT NULL THEN 'revoked'
    WHEN least(k.expires_at, k.retires_at) <= clock_timestamp() THEN 'expired'
    WHEN k.suspended_at IS NOT NULL THEN 'suspended'
    WHEN k.activated_at IS NULL OR k.not_before > clock_timestamp() THEN 'pending'
    WHEN k.retires_at IS NOT NULL THEN 'retiring' ELSE 'active' END"""
"""The state of a row `k` of credentials, in SQL. `least` leaves out what is null."""
