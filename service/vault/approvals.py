"""Approvals: others agree to one reveal, exactly as it is asked, once, and within a day."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from service import journal
from service.access.queries import Caller
from service.db import Database, ReadConnection, new_id
from service.journal import Fact
from service.vault.keys import Vault
from service.vault.masks import View
from service.vault.reveal_problems import AnotherCallerNeeded, ApprovalClosed, ApprovalNotFound
from service.web import idempotency

TTL_S = 86_400


@dataclass(frozen=True, slots=True)
class Approval:
    """A reveal that others are asked to agree to, and how many did."""

    id: UUID
    caller_id: UUID
    policy_ids: Sequence[UUID]
    record_ids: Sequence[UUID]
    values_count: int
    purpose: str
    reason: str
    view: View
    approvals_needed: int
    created_at: datetime
    expires_at: datetime
    spent_at: datetime | None
    approvals_count: int


@dataclass(frozen=True, slots=True)
class Plea:
    """What others are asked to agree to.

    Args:
        print_: a keyed hash of the whole request: 32 bytes.
    """

    print_: bytes
    policy_ids: Sequence[UUID]
    record_ids: Sequence[UUID]
    values_count: int
    purpose: str
    reason: str
    view: View
    approvals_needed: int


async def ask(vault: Vault, caller: Caller, key: str, plea: Plea) -> Approval:
    """Write down what others are asked to agree to; the same key and plea are the same approval again.

    Raises:
        IdempotencyKeyReused: the key belongs to another request.
    """
    id_ = new_id()
    async with vault.transaction() as (session, connection):
        if await idempotency.claim(session, caller.id, key, plea.print_, f"vault/approvals/{id_}"):
            await connection.execute(
                """INSERT INTO vault.approvals (id, issuer_id, caller_id, print, policy_ids, record_ids, values_count,
                    purpose, reason, view, approvals_needed, expires_at)
                VALUES (%s, %s, %s, %b, %s, %s, %s, %s, %s, %s, %s, now() + %s * interval '1 second')""",
                (
                    *(id_, caller.issuer_id, caller.id, plea.print_, list(plea.policy_ids), list(plea.record_ids)),
                    *(plea.values_count, plea.purpose, plea.reason, plea.view.value, plea.approvals_needed, TTL_S),
                ),
            )
            body = {"approval": str(id_), "caller": str(caller.id), "purpose": plea.purpose, "reason": plea.reason}
            body |= {"view": plea.view.value, "count": str(plea.values_count)}
            await journal.append(session, [Fact("vault.approval-asked", caller.issuer_id, body)])
    first = await idempotency.first_resource(vault.db, caller.id, key, plea.print_)
    assert first is not None, "the key was spent a moment ago"
    return await approval(vault.db, issuer_id=caller.issuer_id, id=UUID(first.rpartition("/")[2]))


async def approve(vault: Vault, caller: Caller, id: UUID) -> Approval:
    """Agree to a reveal; to agree twice counts once.

    Raises:
        ApprovalNotFound: none of the issuer's.
        AnotherCallerNeeded: it is the caller's own.
        ApprovalClosed: spent or expired.
    """
    async with vault.transaction() as (session, connection):
        cursor = await connection.execute(
            """SELECT caller_id, spent_at IS NOT NULL OR expires_at <= now() FROM vault.approvals
            WHERE id = %s AND issuer_id = %s FOR UPDATE""",
            (id, caller.issuer_id),
        )
        row = await cursor.fetchone()
        if row is None:
            raise missing()
        if row[0] == caller.id:
            raise AnotherCallerNeeded("agree with a key of another caller that has the scope vault:policy")
        if row[1]:
            raise ApprovalClosed("ask again with POST /v1/vault/approvals")
        cursor = await connection.execute(
            """INSERT INTO vault.approvers (approval_id, caller_id) VALUES (%s, %s)
            ON CONFLICT DO NOTHING RETURNING approval_id""",
            (id, caller.id),
        )
        if await cursor.fetchone():
            body = {"approval": str(id), "caller": str(caller.id)}
            await journal.append(session, [Fact("vault.reveal-approved", caller.issuer_id, body)])
    return await approval(vault.db, issuer_id=caller.issuer_id, id=id)


async def approval(db: Database, *, issuer_id: UUID, id: UUID) -> Approval:
    """One request for approval.

    Raises:
        ApprovalNotFound: none, or another issuer's.
    """
    rows = await db.fetch(
        """SELECT id, caller_id, policy_ids, record_ids, values_count, purpose, reason, view, approvals_needed,
            created_at, expires_at, spent_at, (SELECT count(*) FROM vault.approvers WHERE approval_id = a.id)
        FROM vault.approvals a WHERE id = %s AND issuer_id = %s""",
        (id, issuer_id),
    )
    if not rows:
        raise missing()
    id_, caller_id, policies, records, count, purpose, reason, view, *rest = rows[0]
    return Approval(id_, caller_id, policies, records, count, purpose, reason, View(view), *rest)


async def spend(connection: ReadConnection, caller: Caller, id: UUID, print_: bytes, *, needed: int) -> bool:
    """Use an approval up, if it is one of this very request with enough others behind it."""
    cursor = await connection.execute(
        """UPDATE vault.approvals SET spent_at = now()
        WHERE id = %s AND issuer_id = %s AND caller_id = %s AND print = %b AND spent_at IS NULL AND expires_at > now()
        AND (SELECT count(*) FROM vault.approvers WHERE approval_id = id) >= %s RETURNING id""",
        (id, caller.issuer_id, caller.id, print_, needed),
    )
    return await cursor.fetchone() is not None


def missing() -> ApprovalNotFound:
    """No such request for approval, and what to do."""
    return ApprovalNotFound("take its id from the answer to POST /v1/vault/approvals")
