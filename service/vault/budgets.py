"""What an API key may see in a day: counted exactly, however many ask at once, and a suspension when it is passed.

What is counted is committed with the journal's entry of the same reveal, or not at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import LiteralString
from uuid import UUID

from service import journal
from service.access.queries import Caller
from service.db import Database, ReadConnection, new_id
from service.journal import Fact
from service.telemetry import logger
from service.vault.keys import Vault
from service.vault.reveal_problems import AnotherCallerNeeded, RevealSuspended, SuspensionNotFound

STOPPED: LiteralString = """SELECT k.id AS key_id, s.id AS suspension FROM credentials k
    JOIN vault.suspensions s ON s.caller_id = k.caller_id WHERE s.lifted_at IS NULL"""
"""The API keys that reveal nothing now, each with the suspension of its caller."""

DURABLE: LiteralString = """CASE WHEN current_setting('synchronous_commit') = 'off'
    THEN set_config('synchronous_commit', 'on', true) END"""
"""Makes the DB transaction wait for the disk: a commit that Postgres could lose would let values out without entry."""


class Limit(StrEnum):
    """Which limit was passed."""

    VALUES = "values-daily"
    SUBJECTS = "subjects-daily"


class Overspent(Exception):
    """A limit would be passed: the DB transaction is to be undone, and the key to be suspended."""

    def __init__(self, policy_id: UUID, limit: Limit) -> None:
        super().__init__(limit)
        self.policy_id, self.limit = policy_id, limit


@dataclass(frozen=True, slots=True)
class Spending:
    """What one request takes of one policy's budgets; None for no limit."""

    policy_id: UUID
    values_count: int
    values_max: int | None
    subjects: frozenset[UUID]
    subjects_max: int | None

    @property
    def limited(self) -> bool:
        """Whether anything of it is counted."""
        return self.values_max is not None or self.subjects_max is not None


@dataclass(frozen=True, slots=True)
class Suspension:
    """An API key that passed a limit, for which its caller reveals nothing with any key until it is lifted."""

    id: UUID
    key_id: str
    policy_id: UUID
    reason: str
    suspended_at: datetime
    lifted_at: datetime | None


async def spend(connection: ReadConnection, key_id: str, spendings: Sequence[Spending]) -> None:
    """Take what a request asks for off the budgets of an API key and of this UTC day.

    Raises:
        RevealSuspended: the key is, or another one of its caller.
        Overspent: a limit would be passed.
    """
    limited = sorted((each for each in spendings if each.limited), key=lambda each: each.policy_id)
    cursor = await connection.execute(
        f"SELECT (SELECT suspension FROM ({STOPPED}) AS stopped WHERE key_id = %s), {DURABLE}", (key_id,)
    )
    row = await cursor.fetchone()
    if row is not None and row[0] is not None:
        raise suspended(row[0])
    if not limited:
        return
    spent = await _count(connection, key_id, limited)
    for each in limited:
        values, subjects = spent[each.policy_id]
        if each.values_max is not None and values > each.values_max:
            raise Overspent(each.policy_id, Limit.VALUES)
        if each.subjects_max is not None and subjects > each.subjects_max:
            raise Overspent(each.policy_id, Limit.SUBJECTS)
    if first := [each.policy_id for each in limited if spent[each.policy_id][0] == each.values_count]:
        await connection.execute(
            """DELETE FROM vault.reveal_subjects WHERE key_id = %s AND policy_id = ANY(%s)
            AND day < (now() AT TIME ZONE 'utc')::date""",
            (key_id, first),
        )


async def _count(connection: ReadConnection, key_id: str, limited: Sequence[Spending]) -> dict[UUID, tuple[int, int]]:
    """Values and distinct subjects of the day by policy, with those that are being spent."""
    seen = [(each.policy_id, subject) for each in limited if each.subjects_max is not None for subject in each.subjects]
    # Sorted, and subjects before counts, so that two requests wait for one another in one direction only.
    cursor = await connection.execute(
        """WITH today AS (SELECT (now() AT TIME ZONE 'utc')::date AS day), seen AS (
            INSERT INTO vault.reveal_subjects (key_id, policy_id, day, subject_id)
            SELECT %(key)s, policy_id, day, subject_id
            FROM unnest(%(seen_of)s::uuid[], %(seen)s::uuid[]) AS given (policy_id, subject_id), today
            ORDER BY policy_id, subject_id
            ON CONFLICT DO NOTHING RETURNING policy_id
        ) INSERT INTO vault.reveal_counts AS counted (key_id, policy_id, day, values_count, subjects_count)
        SELECT %(key)s, policy_id, day, count, (SELECT count(*) FROM seen WHERE seen.policy_id = given.policy_id)
        FROM unnest(%(policies)s::uuid[], %(counts)s::bigint[]) AS given (policy_id, count), today
        ORDER BY policy_id
        ON CONFLICT (key_id, policy_id, day) DO UPDATE SET
            values_count = counted.values_count + excluded.values_count,
            subjects_count = counted.subjects_count + excluded.subjects_count
        RETURNING policy_id, values_count, subjects_count""",
        {
            "key": key_id,
            "seen_of": [policy_id for policy_id, _ in seen],
            "seen": [subject for _, subject in seen],
            "policies": [each.policy_id for each in limited],
            "counts": [each.values_count for each in limited],
        },
    )
    return {policy_id: (values, subjects) for policy_id, values, subjects in await cursor.fetchall()}


def suspended(id: UUID) -> RevealSuspended:
    """A suspension as the suspended key is told of it."""
    return RevealSuspended(
        f"this caller passed a limit: have another one lift it with POST /v1/vault/suspensions/{id}/lift",
        suspension=str(id),
    )


async def suspend(vault: Vault, caller: Caller, over: Overspent) -> RevealSuspended:
    """Stop a caller from revealing anything with any key, and alarm the operator; who is stopped stays so."""
    async with vault.transaction() as (session, connection):
        cursor = await connection.execute(
            """INSERT INTO vault.suspensions (id, issuer_id, caller_id, key_id, policy_id, reason)
            VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (caller_id) WHERE lifted_at IS NULL DO NOTHING RETURNING id""",
            (new_id(), caller.issuer_id, caller.id, caller.key_id, over.policy_id, over.limit.value),
        )
        made = await cursor.fetchone()
        if made is not None:
            body = {"suspension": str(made[0]), "key": caller.key_id, "caller": str(caller.id)}
            body |= {"policy": str(over.policy_id), "reason": over.limit.value}
            await journal.append(session, [Fact("vault.reveal-suspended", caller.issuer_id, body)])
        cursor = await connection.execute(
            "SELECT id FROM vault.suspensions WHERE caller_id = %s ORDER BY id DESC LIMIT 1", (caller.id,)
        )
        row = await cursor.fetchone()
    assert row is not None, "it is there, or was there a moment ago"
    if made is not None:
        logger().error("vault_reveal_suspended", reason=over.limit.value, detail=str(row[0]))
    return suspended(row[0])


async def count_refusal(vault: Vault, caller: Caller, reason: str, policy_id: UUID | None, purpose: str) -> None:
    """Write down that a reveal was refused: the first time of a day, and then each time that the number doubles.

    So a flood of them costs the journal, whose end all that is appended waits for, next to nothing.
    """
    async with vault.transaction() as (session, connection):
        cursor = await connection.execute(
            """INSERT INTO vault.reveal_refusals AS refused (key_id, reason, day, count)
            VALUES (%s, %s, (now() AT TIME ZONE 'utc')::date, 1)
            ON CONFLICT (key_id, reason, day) DO UPDATE SET count = refused.count + 1 RETURNING count""",
            (caller.key_id, reason),
        )
        row = await cursor.fetchone()
        count: int = row[0] if row else 0
        if count & (count - 1) == 0:
            body = {
                "key": caller.key_id,
                "caller": str(caller.id),
                "policy": None if policy_id is None else str(policy_id),
                "purpose": purpose,
                "reason": reason,
                "count": count,
            }
            await journal.append(session, [Fact("vault.reveal-refused", caller.issuer_id, body)])


async def suspensions_page(db: Database, *, issuer_id: UUID, before: UUID | None, count_max: int) -> list[Suspension]:
    """Newest first."""
    rows = await db.fetch(
        """SELECT id, key_id, policy_id, reason, suspended_at, lifted_at FROM vault.suspensions
        WHERE issuer_id = %s AND (%s::uuid IS NULL OR id < %s) ORDER BY id DESC LIMIT %s""",
        (issuer_id, before, before, count_max),
    )
    return [Suspension(*row) for row in rows]


async def suspended_count(connection: ReadConnection) -> int:
    """Callers of the whole deployment that must not reveal now."""
    row = await (await connection.execute("SELECT count(*) FROM vault.suspensions WHERE lifted_at IS NULL")).fetchone()
    return int(row[0]) if row else 0


async def lift(vault: Vault, caller: Caller, id: UUID) -> Suspension:
    """Let a suspended caller reveal again; the day's budget stays spent. Lifted before, it stays as it is.

    Raises:
        SuspensionNotFound: none of the issuer's.
        AnotherCallerNeeded: the key is one of the caller's own.
    """
    async with vault.transaction() as (session, connection):
        cursor = await connection.execute(
            """SELECT caller_id, lifted_at FROM vault.suspensions WHERE id = %s AND issuer_id = %s FOR UPDATE""",
            (id, caller.issuer_id),
        )
        row = await cursor.fetchone()
        if row is None:
            raise SuspensionNotFound("list them with GET /v1/vault/suspensions")
        if row[0] == caller.id:
            raise AnotherCallerNeeded("lift it with a key of another caller that has the scope vault:policy")
        if row[1] is None:
            await connection.execute(
                "UPDATE vault.suspensions SET lifted_at = now(), lifted_by = %s WHERE id = %s", (caller.id, id)
            )
            body = {"suspension": str(id), "caller": str(caller.id)}
            await journal.append(session, [Fact("vault.suspension-lifted", caller.issuer_id, body)])
    rows = await vault.db.fetch(
        "SELECT id, key_id, policy_id, reason, suspended_at, lifted_at FROM vault.suspensions WHERE id = %s", (id,)
    )
    return Suspension(*rows[0])
