"""What is known of an issuer's credentials; never their secrets."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, LiteralString
from uuid import UUID

from service.access.key_problems import KeyNotFound
from service.access.key_states import NOTICES, STATE, STRAGGLES, UNENDED, Notice, State
from service.access.key_traffic import NOTED
from service.db import Database, ReadConnection

USES_MAX = 5_000
"""Rows of uses that are told at most, the newest."""

STRAGGLERS_MAX = 500


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """A credential as its issuer may see it."""

    id: str
    family_id: UUID
    version: int
    caller_id: UUID
    caller: str
    environment: str | None
    kind: str
    name: str
    scopes: list[str]
    limits: dict[str, Any]
    state: State
    public_key: bytes | None
    account: bytes | None
    chain_id: int | None
    created_at: datetime
    created_by: str | None
    activated_at: datetime | None
    not_before: datetime | None
    expires_at: datetime | None
    retires_at: datetime | None
    overlap_s: int | None
    overlap_starts: str | None
    replaced_by: str | None
    suspended_at: datetime | None
    suspended_for: str | None
    revoked_at: datetime | None
    revoked_for: str | None
    last_used_at: datetime | None
    notices: list[str]


@dataclass(frozen=True, slots=True)
class KeyUse:
    """How often a credential called an operation from a network on a UTC day."""

    day: date
    operation: str
    network: str
    count: int
    failed_count: int


@dataclass(frozen=True, slots=True)
class KeyRefusal:
    """How often a credential was refused for a reason on a UTC day."""

    day: date
    reason: str
    network: str
    count: int


COLUMNS: LiteralString = f"""
    k.id, k.family_id, k.version, c.id, c.name, k.environment, k.kind, k.name, k.scopes, k.limits, {STATE},
    k.public_key, k.account, k.chain_id, k.created_at, k.created_by, k.activated_at, k.not_before, k.expires_at,
    k.retires_at, k.overlap_s, k.overlap_starts, k.replaced_by, k.suspended_at, k.suspended_for, k.revoked_at,
    k.revoked_for, k.last_used_at, {NOTICES}"""
"""What `info` reads of a credential `k` and its caller `c`."""


def info(row: Any) -> KeyInfo:
    """A row of COLUMNS."""
    given: list[Any] = [*row[:10], State(row[10]), *row[11:]]
    return KeyInfo(*given)


async def key(db: Database, *, issuer_id: UUID, id: str) -> KeyInfo:
    """One credential.

    Raises:
        KeyNotFound: none of the issuer's.
    """
    rows = await db.fetch(
        f"""SELECT {COLUMNS} FROM credentials k JOIN callers c ON c.id = k.caller_id
        WHERE k.id = %s AND c.issuer_id = %s""",
        (id, issuer_id),
    )
    if not rows:
        raise KeyNotFound("GET /v1/keys lists them all")
    return info(rows[0])


async def keys_page(
    db: Database, *, issuer_id: UUID, state: State | None, before: tuple[UUID, int] | None, count_max: int
) -> list[KeyInfo]:
    """Credentials by family and version, the newest first."""
    family_id, version = before or (None, None)
    rows = await db.fetch(
        f"""SELECT {COLUMNS} FROM credentials k JOIN callers c ON c.id = k.caller_id
        WHERE c.issuer_id = %(issuer)s AND (%(state)s::varchar IS NULL OR {STATE} = %(state)s)
            AND (%(family)s::uuid IS NULL OR (k.family_id, k.version) < (%(family)s, %(version)s::integer))
        ORDER BY k.family_id DESC, k.version DESC LIMIT %(count)s""",
        {"issuer": issuer_id, "state": state, "family": family_id, "version": version, "count": count_max},
    )
    return [info(row) for row in rows]


async def stragglers(db: Database, *, issuer_id: UUID) -> list[KeyInfo]:
    """Retiring credentials that were used after their successors were, those that end first before others."""
    rows = await db.fetch(
        f"""SELECT {COLUMNS} FROM credentials k JOIN callers c ON c.id = k.caller_id
        WHERE c.issuer_id = %s AND {STRAGGLES}
        ORDER BY k.retires_at, k.id LIMIT %s""",
        (issuer_id, STRAGGLERS_MAX),
    )
    return [info(row) for row in rows]


async def uses(db: Database, *, issuer_id: UUID, id: str, days: int) -> list[KeyUse]:
    """What a credential was used for in the last days, the newest first; at most USES_MAX rows.

    Raises:
        KeyNotFound: none of the issuer's.
    """
    found = await key(db, issuer_id=issuer_id, id=id)
    rows = await db.fetch(
        """SELECT day, operation, network, count, failed_count FROM credential_uses
        WHERE credential_id = %s AND day > (now() AT TIME ZONE 'utc')::date - %s::integer
        ORDER BY day DESC, operation, network LIMIT %s""",
        (found.id, days, USES_MAX),
    )
    return [KeyUse(*row) for row in rows]


async def refusals_of(db: Database, *, issuer_id: UUID, id: str, days: int) -> list[KeyRefusal]:
    """What a credential was refused for in the last days, the newest first; at most USES_MAX rows."""
    rows = await db.fetch(
        """SELECT r.day, r.reason, r.network, r.count FROM access_refusals r JOIN credentials k ON k.id = r.key_id
            JOIN callers c ON c.id = k.caller_id
        WHERE k.id = %s AND c.issuer_id = %s AND r.reason <> ALL(%s)
            AND r.day > (now() AT TIME ZONE 'utc')::date - %s::integer
        ORDER BY r.day DESC, r.reason LIMIT %s""",
        (id, issuer_id, sorted(NOTED), days, USES_MAX),
    )
    return [KeyRefusal(*row) for row in rows]


async def issuer_of(db: Database, id: str) -> UUID:
    """Whose a credential is.

    Raises:
        KeyNotFound: there is none of this id.
    """
    query = "SELECT c.issuer_id FROM credentials k JOIN callers c ON c.id = k.caller_id WHERE k.id = %s"
    rows = await db.fetch(query, (id,))
    if not rows:
        raise KeyNotFound(f"there is no key {id}: `muniment keys list` shows an issuer's")
    issuer_id: UUID = rows[0][0]
    return issuer_id


async def refusals(connection: ReadConnection) -> dict[str, int]:
    """How many requests no credential let in, by reason, and what else is counted there (NOTED); of all issuers."""
    cursor = await connection.execute("SELECT reason, sum(count)::bigint FROM access_refusals GROUP BY 1 ORDER BY 1")
    return {row[0]: row[1] for row in await cursor.fetchall()}


async def noticed(connection: ReadConnection) -> dict[Notice, int]:
    """How many credentials of all issuers have a notice."""
    cursor = await connection.execute(
        f"""SELECT notice, count(*) FROM credentials k JOIN callers c ON c.id = k.caller_id
            CROSS JOIN unnest({NOTICES}) AS notice
        WHERE {UNENDED} AND c.deleted_at IS NULL GROUP BY 1"""
    )
    counts: dict[str, int] = dict(await cursor.fetchall())
    return {notice: counts.get(notice, 0) for notice in Notice}
