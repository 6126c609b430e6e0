"""Reading policies and records. Another issuer's are not there, and no value is opened."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, LiteralString
from uuid import UUID

from service.db import Database, ReadConnection
from service.vault.policies import Kind, Mapping, Policy
from service.vault.problems import PolicyNotFound
from service.vault.values import DataClass

_POLICY: LiteralString = """id, issuer_id, name, kind, data_class, shape, deterministic, mapping, pointer,
    ttl_max_s, reveal, created_at, changed_at, crowded_at"""

STATE: LiteralString = """CASE WHEN r.erased_at IS NOT NULL THEN 'erased' WHEN r.revoked_at IS NOT NULL THEN 'revoked'
    WHEN r.expires_at <= now() THEN 'expired' ELSE 'active' END"""

_RECORD: LiteralString = f"""r.id, r.index, r.policy_id, r.subject_id, r.asset_token_id, {STATE}, r.last_four,
    r.created_at, r.updated_at, r.expires_at, r.revoked_at, r.erased_at"""

STORED: LiteralString = f"""SELECT {_RECORD}, r.sealed, s.wrapped, s.wrapping_version
    FROM vault.records r LEFT JOIN vault.subjects s ON s.id = r.subject_id
    WHERE r.index = ANY(%b) AND r.issuer_id = %s"""
"""Records with what opens them."""


class State(StrEnum):
    """Whether a record can be revealed."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"
    ERASED = "erased"


# Column by column, since the planner takes an expression's value for a rare one, reads all rows, and sorts them.
_IN_STATE: dict[State, LiteralString] = {
    State.ACTIVE: "r.erased_at IS NULL AND r.revoked_at IS NULL AND (r.expires_at IS NULL OR r.expires_at > now())",
    State.EXPIRED: "r.erased_at IS NULL AND r.revoked_at IS NULL AND r.expires_at <= now()",
    State.REVOKED: "r.erased_at IS NULL AND r.revoked_at IS NOT NULL",
    State.ERASED: "r.erased_at IS NOT NULL",
}


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a record besides its value."""

    id: UUID
    index: bytes
    policy_id: UUID
    subject_id: UUID | None
    asset_token_id: UUID | None
    state: State
    last_four: str | None
    created_at: datetime
    updated_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None
    erased_at: datetime | None


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record as it is stored, with the wrapped key of its subject, which is None where there is none."""

    record: Record
    sealed: bytes | None = field(repr=False)
    subject_wrapped: bytes | None = field(repr=False)
    subject_wrapping_version: int | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records a list is of; None leaves it open."""

    policy_id: UUID | None = None
    subject_index: bytes | None = None
    asset_token_id: UUID | None = None
    state: State | None = None
    older_than: datetime | None = None


def _policy(row: Sequence[Any]) -> Policy:
    id_, issuer_id, name, kind, data_class, shape, deterministic, mapping, *rest = row
    return Policy(
        id_, issuer_id, name, Kind(kind), DataClass(data_class), shape, deterministic, Mapping(mapping), *rest
    )


def _record(row: Sequence[Any]) -> Record:
    id_, index, policy_id, subject_id, asset_token_id, state, *rest = row
    return Record(id_, index, policy_id, subject_id, asset_token_id, State(state), *rest)


async def policy(db: Database, *, issuer_id: UUID, id: UUID) -> Policy:
    """One policy.

    Raises:
        PolicyNotFound: none, or another issuer's.
    """
    found = await policies(db, issuer_id=issuer_id, ids=[id])
    if not found:
        raise _no_policy(id)
    return found[id]


async def policy_held(connection: ReadConnection, *, issuer_id: UUID, id: UUID) -> Policy:
    """One policy, which nobody else changes before the DB transaction ends.

    Raises:
        PolicyNotFound: none, or another issuer's.
    """
    cursor = await connection.execute(
        f"SELECT {_POLICY} FROM vault.policies WHERE id = %s AND issuer_id = %s FOR NO KEY UPDATE", (id, issuer_id)
    )
    row = await cursor.fetchone()
    if row is None:
        raise _no_policy(id)
    return _policy(row)


async def policies(db: Database, *, issuer_id: UUID, ids: Sequence[UUID]) -> dict[UUID, Policy]:
    """Those of these policies that are the issuer's."""
    rows = await db.fetch(
        f"SELECT {_POLICY} FROM vault.policies WHERE id = ANY(%s) AND issuer_id = %s", (list(ids), issuer_id)
    )
    return {row[0]: _policy(row) for row in rows}


async def policies_page(db: Database, *, issuer_id: UUID, before: UUID | None, count_max: int) -> list[Policy]:
    """Newest first."""
    rows = await db.fetch(
        f"""SELECT {_POLICY} FROM vault.policies WHERE issuer_id = %s AND (%s::uuid IS NULL OR id < %s)
        ORDER BY id DESC LIMIT %s""",
        (issuer_id, before, before, count_max),
    )
    return [_policy(row) for row in rows]


def _no_policy(id: UUID) -> PolicyNotFound:
    return PolicyNotFound(f"no policy {id}: make it with POST /v1/vault/policies, or list them with GET there")


async def crowded_count(connection: ReadConnection) -> int:
    """How many policies' formats have used a hundredth of their space or more, of all issuers."""
    cursor = await connection.execute("SELECT count(*) FROM vault.policies WHERE crowded_at IS NOT NULL")
    row = await cursor.fetchone()
    return 0 if row is None else int(row[0])


async def records(db: Database, *, issuer_id: UUID, indexes: Sequence[bytes]) -> dict[bytes, Record]:
    """Those of these records that are the issuer's, by index."""
    rows = await db.fetch(
        f"SELECT {_RECORD} FROM vault.records r WHERE r.index = ANY(%b) AND r.issuer_id = %s",
        (list(indexes), issuer_id),
    )
    return {row[1]: _record(row) for row in rows}


async def stored_records(db: Database, *, issuer_id: UUID, indexes: Sequence[bytes]) -> dict[bytes, StoredRecord]:
    """Those of these records that are the issuer's, with what opens them, by index."""
    rows = await db.fetch(
        STORED,
        (list(indexes), issuer_id),
    )
    return {row[1]: StoredRecord(_record(row[:-3]), *row[-3:]) for row in rows}


async def live_records(
    db: Database, policy: Policy, *, after: UUID | None, count_max: int
) -> list[tuple[StoredRecord, bytes | None]]:
    """The active records of a policy with what opens them, and with their sealed vault tokens, oldest first."""
    # Told apart, since a plan for both would read each page from the policy's first record on.
    later: LiteralString = "" if after is None else "AND r.id > %(after)s"
    rows = await db.fetch(
        f"""SELECT {_RECORD}, r.sealed, s.wrapped, s.wrapping_version, r.sealed_token
        FROM vault.records r LEFT JOIN vault.subjects s ON s.id = r.subject_id
        WHERE r.policy_id = %(policy)s AND r.issuer_id = %(issuer)s {later} AND {_IN_STATE[State.ACTIVE]}
        ORDER BY r.id LIMIT %(most)s""",
        {"policy": policy.id, "issuer": policy.issuer_id, "after": after, "most": count_max},
    )
    return [(StoredRecord(_record(row[:-4]), *row[-4:-1]), row[-1]) for row in rows]


async def records_of_value(db: Database, policy: Policy, fingerprint: bytes, *, count_max: int) -> list[Record]:
    """The records of a policy that hold a value and were not revoked, oldest first."""
    # Told in words that an index of its own has, one for each kind of policy.
    kept: LiteralString = "r.deterministic" if policy.deterministic else "NOT r.deterministic"
    rows = await db.fetch(
        f"""SELECT {_RECORD} FROM vault.records r WHERE r.policy_id = %s AND r.fingerprint = %s AND r.revoked_at IS NULL
        AND {kept} ORDER BY r.id LIMIT %s""",
        (policy.id, fingerprint, count_max),
    )
    return [_record(row) for row in rows]


async def records_page(
    db: Database, *, issuer_id: UUID, wanted: Wanted, after: UUID | None, count_max: int
) -> list[Record]:
    """Oldest first."""
    pieces: list[LiteralString] = ["r.issuer_id = %(issuer)s"]
    if after is not None:
        pieces.append("r.id > %(after)s")
    if wanted.older_than is not None:
        pieces.append("r.id < %(before)s")
    if wanted.asset_token_id is not None:
        pieces.append("r.asset_token_id = %(asset)s")
    if wanted.state is not None:
        pieces.append(_IN_STATE[wanted.state])
    if wanted.subject_index is not None:
        pieces.append(
            """r.subject_id = ANY(ARRAY(
                SELECT id FROM vault.subjects WHERE issuer_id = %(issuer)s AND index = %(subject)s))"""
        )
    where = " AND ".join(pieces)
    query: LiteralString
    if wanted.policy_id is not None or wanted.subject_index is not None or wanted.asset_token_id is not None:
        of_policy: LiteralString = "" if wanted.policy_id is None else "AND r.policy_id = %(policy)s"
        query = f"SELECT {_RECORD} FROM vault.records r WHERE {where} {of_policy} ORDER BY r.id LIMIT %(most)s"
    else:
        # Each policy's rows are in order already, so that no page costs more than its rows from each of them.
        query = f"""SELECT r.* FROM vault.policies p CROSS JOIN LATERAL (
            SELECT {_RECORD} FROM vault.records r WHERE r.policy_id = p.id AND {where} ORDER BY r.id LIMIT %(most)s
            ) r WHERE p.issuer_id = %(issuer)s ORDER BY r.id LIMIT %(most)s"""
    given = {
        "issuer": issuer_id,
        "policy": wanted.policy_id,
        "subject": wanted.subject_index,
        "asset": wanted.asset_token_id,
        "before": None if wanted.older_than is None else _first_id(wanted.older_than),
        "after": after,
        "most": count_max,
    }
    return [_record(row) for row in await db.fetch(query, given)]


def _first_id(moment: datetime) -> UUID:
    """The lowest id of that moment; ids sort by time. Source: RFC 9562 section 5.7."""
    milliseconds = max(0, int(moment.timestamp() * 1000))
    return UUID(int=min(milliseconds, 2**48 - 1) << 80)
