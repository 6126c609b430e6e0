"""Nonces of signed requests: each is taken once, whichever process gets it, whatever crashes, and after a restore.

Postgres' clock alone decides how old a signature is here, so that a process whose own is wrong takes none whose nonce
was cleared away.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import LiteralString
from uuid import UUID, uuid4

from sqlalchemy import BigInteger
from sqlalchemy.orm import Mapped, mapped_column

from service.access.key_limits import WINDOW_MAX_S
from service.access.signatures import SKEW_S
from service.chain.together import Together
from service.db import UNAVAILABLE, Base, Database
from service.telemetry import logger

KEPT_S = WINDOW_MAX_S + 2 * SKEW_S + 60
"""A nonce is kept so long after its signature was made: longer than any is taken."""

CLEAR_INTERVAL_S = 10.0
CLEARED_MAX = 10_000
"""So many nonces are cleared away in one statement, every so often."""

REPLAYS_ALARMING = 3
REPLAYS_WITHIN_S = 300
"""So many replays of one key within such a time are an alarm."""


class NonceRow(Base):
    """A nonce that a key has used; `use_id` tells the request that it let through.

    `key_id` is what signatures name, which of a wallet is no credential's id: it stays the same with the next one.
    """

    __tablename__ = "nonces"

    key_id: Mapped[str] = mapped_column(primary_key=True)
    nonce: Mapped[str] = mapped_column(primary_key=True)
    use_id: Mapped[UUID]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class NonceFenceRow(Base):
    """Where nonces are kept, and which signatures are too old for that: one row.

    `place` and the server's start are None until the first nonce. Where they are not what they were, the newest nonces
    may be missing: after a failover, a restore, or a start from a copy of the files.
    """

    __tablename__ = "nonce_fence"

    one: Mapped[bool] = mapped_column(primary_key=True, server_default="true")
    place: Mapped[str | None]
    started_at: Mapped[datetime | None]
    created_min: Mapped[datetime] = mapped_column(server_default="-infinity")


class NonceReplayRow(Base):
    """How often signatures of a key came again: since a time, and ever."""

    __tablename__ = "nonce_replays"

    key_id: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[datetime]
    count: Mapped[int] = mapped_column(BigInteger)
    total_count: Mapped[int] = mapped_column(BigInteger)


class Spent(StrEnum):
    """What became of a nonce."""

    FRESH = "fresh"  # it was new, and is taken now
    REPLAYED = "replayed"  # another request has it
    STALE = "stale"  # its signature is too old, or of the future
    FENCED = "fenced"  # its signature is from before a failover, a restore or a start of Postgres, or from just after


@dataclass(frozen=True, slots=True)
class Use:
    """A nonce that a request wants to spend; its signature is good from `created` until `until`, seconds since 1970."""

    key_id: str
    nonce: str
    created: int
    until: int
    id: UUID


# The cluster, its timeline (another one after each failover and each restore to a point in time) and the database.
_PLACE: LiteralString = """(SELECT system_identifier FROM pg_control_system()) || '/'
    || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8) || '/'
    || (SELECT oid FROM pg_database WHERE datname = current_database())"""

# A nonce that is lost in a crash could be used again: its COMMIT waits for the disk even where others need not.
# What is given comes from subqueries, so that the plan for any of it costs what one for this does: else Postgres plans
# each time anew, for two thirds of the statement's processor time.
_SPEND: LiteralString = f"""
WITH given AS (
    SELECT * FROM unnest((SELECT %(keys)s::varchar[]), (SELECT %(nonces)s::varchar[]),
        (SELECT %(created)s::double precision[]), (SELECT %(until)s::double precision[]), (SELECT %(ids)s::uuid[]))
        AS given (key_id, nonce, created, until, use_id)
), fence AS MATERIALIZED (
    SELECT (place, started_at) = ({_PLACE}, pg_postmaster_start_time()) AS stands,
        extract(epoch FROM created_min) AS created_min, extract(epoch FROM clock_timestamp()) AS now,
        (SELECT set_config('synchronous_commit', 'on', true)
            WHERE current_setting('synchronous_commit') IN ('off', 'local')) AS durable
    FROM nonce_fence WHERE one LIMIT 1
), judged AS (
    SELECT given.*, fence.stands, fence.durable, coalesce(stands, false) AND created >= created_min AS outside,
        created <= now + {SKEW_S} AND now <= until + {SKEW_S} AS fresh
    FROM given, fence
), cleared AS (
    DELETE FROM nonces WHERE (key_id, nonce) IN (
        SELECT key_id, nonce FROM nonces WHERE expires_at < now()
        ORDER BY expires_at LIMIT (SELECT %(clear)s::bigint) FOR UPDATE SKIP LOCKED)
), kept AS (
    INSERT INTO nonces (key_id, nonce, use_id, expires_at)
    SELECT key_id, nonce, use_id, to_timestamp(created + {KEPT_S}) FROM judged WHERE outside AND fresh
    ORDER BY key_id, nonce
    ON CONFLICT DO NOTHING RETURNING use_id
)
SELECT coalesce(stands, false), judged.use_id, outside, fresh, kept.use_id IS NOT NULL OR coalesce(judged.use_id = (
    SELECT use_id FROM nonces WHERE nonces.key_id = judged.key_id AND nonces.nonce = judged.nonce), false)
FROM judged LEFT JOIN kept USING (use_id)
"""

# What was taken before a start was made SKEW_S after it at the latest; of another place nobody knows when that was.
_FENCE: LiteralString = f"""
UPDATE nonce_fence SET place = here.place, started_at = pg_postmaster_start_time(), created_min = CASE
    WHEN nonce_fence.place IS NULL THEN created_min
    WHEN nonce_fence.place = here.place
        THEN greatest(created_min, pg_postmaster_start_time() + make_interval(secs => {SKEW_S}))
    ELSE clock_timestamp() + make_interval(secs => {SKEW_S}) END
FROM (SELECT {_PLACE} AS place) here
WHERE (nonce_fence.place, started_at) IS DISTINCT FROM (here.place, pg_postmaster_start_time())
RETURNING created_min = '-infinity'
"""

_COUNT: LiteralString = f"""
INSERT INTO nonce_replays AS r (key_id, since, count, total_count)
SELECT given.id, clock_timestamp(), count(*), count(*) FROM unnest(%s::varchar[]) AS given (id)
GROUP BY given.id ORDER BY given.id
ON CONFLICT (key_id) DO UPDATE SET
    since = CASE WHEN r.since < clock_timestamp() - make_interval(secs => {REPLAYS_WITHIN_S})
        THEN excluded.since ELSE r.since END,
    count = excluded.count + CASE WHEN r.since < clock_timestamp() - make_interval(secs => {REPLAYS_WITHIN_S})
        THEN 0 ELSE r.count END,
    total_count = r.total_count + excluded.total_count
RETURNING key_id, count
"""


class Nonces:
    """The nonces of a database. Those of requests that come at one moment are spent in one statement."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._uses = Together(self._spend_all, of_all=UNAVAILABLE, lists_max=2)
        self._replays = Together(self._count, of_all=UNAVAILABLE, lists_max=1)
        self._cleared_s = 0.0

    async def spend(self, key_id: str, nonce: str, *, created: int, until: int) -> Spent:
        """Take a nonce for a request whose signature proved good: of all that ask for it one gets it, for ever.

        When this returns FRESH the nonce is on the disk. A replay is counted, and told to the log when there are many.

        Args:
            created: when the signature was made, in seconds since 1970.
            until: when it ends, at most WINDOW_MAX_S later; SKEW_S is granted on either side.
        """
        spent = await self._uses.ask(Use(key_id, nonce, created, until, uuid4()))
        if spent is Spent.REPLAYED:
            await self._replays.ask(key_id)
        return spent

    async def _spend_all(self, uses: Sequence[Use]) -> list[Spent]:
        """Each in its place. Postgres may be told twice, where the connection is cut: `use_id` knows its own again."""
        clear = time.monotonic() - self._cleared_s >= CLEAR_INTERVAL_S
        if clear:
            self._cleared_s = time.monotonic()
        given = {
            "keys": [use.key_id for use in uses],
            "nonces": [use.nonce for use in uses],
            "created": [float(use.created) for use in uses],
            "until": [float(use.until) for use in uses],
            "ids": [use.id for use in uses],
            "clear": CLEARED_MAX if clear else 0,
        }
        rows = await self._db.fetch(_SPEND, given)
        if not all(stands for stands, *_ in rows):
            await self._raise_fence()
            rows = await self._db.fetch(_SPEND, given)
        found = {use_id: _spent(outside=outside, fresh=fresh, mine=mine) for _, use_id, outside, fresh, mine in rows}
        return [found[use.id] for use in uses]

    async def _raise_fence(self) -> None:
        """Make the nonces at home here; signatures that another place may have taken are stale from now on."""
        for (at_first,) in await self._db.fetch(_FENCE, ()):
            if not at_first:
                logger().warning("nonce_fence_raised")

    async def _count(self, key_ids: Sequence[str]) -> list[None]:
        """Count replays, one for each time that a key is named."""
        rows = await self._db.fetch(_COUNT, (list(key_ids),))
        for key_id, count in rows:
            before = count - key_ids.count(key_id)
            if _alarms(count) > _alarms(before):
                logger().warning("nonces_replayed", detail=key_id, count=count)
        return [None] * len(key_ids)


def _alarms(count: int) -> int:
    """So many alarms are due by so many replays: at three, and whenever there are twice as many."""
    return (count // REPLAYS_ALARMING).bit_length()


def _spent(*, outside: bool, fresh: bool, mine: bool) -> Spent:
    if mine:
        return Spent.FRESH
    if not fresh:
        return Spent.STALE
    return Spent.REPLAYED if outside else Spent.FENCED


@dataclass(frozen=True, slots=True)
class Replays:
    """Replays of all keys: ever, and how many keys have so many now that it is an alarm."""

    total_count: int
    alarming_count: int


async def replays(db: Database) -> Replays:
    """How often signatures came again."""
    rows = await db.fetch(
        """SELECT coalesce(sum(total_count), 0)::bigint, count(*) FILTER (WHERE count >= %s
            AND since > clock_timestamp() - make_interval(secs => %s)) FROM nonce_replays""",
        (REPLAYS_ALARMING, REPLAYS_WITHIN_S),
    )
    return Replays(*rows[0])
