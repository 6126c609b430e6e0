"""Idempotency keys: one effect for each caller and key, by a unique constraint.

The row is written in the same DB transaction as the effect, so a key is spent when and only when its effect is stored.
"""

import hashlib
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

import psycopg
import rfc8785
from sqlalchemy import exc as sa_exc
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Base, Database
from service.errors import Problem


class RequestRow(Base):
    """A request that took effect, and what it made."""

    __tablename__ = "requests"

    caller_id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[bytes]
    resource: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class IdempotencyKeyReused(Problem):
    """The idempotency key already belongs to a request with another body or path; both are named."""

    slug, title, status = "idempotency-key-reused", "This idempotency key belongs to another request", 422


class IdempotencyKeyBusy(Problem):
    """Another request of the same idempotency key is under way, and takes long; send this one again later."""

    slug, title, status = "idempotency-key-busy", "A request of this idempotency key is under way", 409


def busy(key: str) -> IdempotencyKeyBusy:
    """What a request is told that has waited long enough for another one of its key."""
    return IdempotencyKeyBusy(
        f"another request with the key {key!r} is under way: send this one again with the same key, "
        "and it is answered with what the other one made",
        retry_after_s=1,
    )


def busy_if_claimed(key: str, error: psycopg.Error) -> Exception:
    """What a lock that was not to be had means: the key's own, or the error itself."""
    # Of a table's own lock, as a migration takes it, Postgres tells no row.
    return busy(key) if '"requests"' in (error.diag.context or "") else error


def fingerprint(route: str, target: str | None, asked: dict[str, Any]) -> bytes:
    """SHA-256 over what is asked of what, however it was spelled. Source: RFC 8785."""
    return hashlib.sha256(rfc8785.dumps({"route": route, "target": target, "body": asked})).digest()


async def first_resource(db: Database, caller_id: UUID, key: str, print_: bytes) -> str | None:
    """What a key made before, or None when it is new.

    Raises:
        IdempotencyKeyReused: it made something of another request.
    """
    rows = await db.fetch(
        "SELECT fingerprint, resource FROM requests WHERE caller_id = %s AND key = %s", (caller_id, key)
    )
    return _same(key, print_, *rows[0]) if rows else None


CLAIM: LiteralString = """INSERT INTO requests (caller_id, key, fingerprint, resource)
    SELECT caller_id, key, fingerprint, resource FROM given ORDER BY caller_id, key
    ON CONFLICT (caller_id, key) DO NOTHING RETURNING resource"""
"""Spends the keys of a relation `given`, as a part of the statement that has their effects: those that were new.

Sorted, so that two such statements wait for one another in one direction only.
"""


async def claim(session: AsyncSession, caller_id: UUID, key: str, print_: bytes, resource: str) -> bool:
    """Spend a key on a new resource; False when the same request did so before.

    Of two requests at once the constraint lets one through; the other waits for its DB transaction.

    Raises:
        IdempotencyKeyReused: the key made something of another request.
        IdempotencyKeyBusy: the other one's DB transaction does not end.
    """
    statement = (
        insert(RequestRow)
        .values(caller_id=caller_id, key=key, fingerprint=print_, resource=resource)
        .on_conflict_do_nothing(index_elements=["caller_id", "key"])
        .returning(RequestRow.resource)
    )
    try:
        created = await session.scalar(statement)
    except sa_exc.OperationalError as error:
        if isinstance(error.orig, psycopg.errors.LockNotAvailable):
            raise busy_if_claimed(key, error.orig) from None
        raise
    if created is None:
        query = select(RequestRow.fingerprint, RequestRow.resource).where(
            RequestRow.caller_id == caller_id, RequestRow.key == key
        )
        _same(key, print_, *(await session.execute(query)).one())
    return created is not None


def _same(key: str, print_: bytes, first_print: bytes, first: str) -> str:
    if first_print != print_:
        raise IdempotencyKeyReused(
            f"the key {key!r} belongs to /v1/{first}, which another request made: "
            "send this request with a new key, or repeat the first one exactly",
            first={"resource": f"/v1/{first}", "fingerprint": first_print.hex()},
            this={"fingerprint": print_.hex()},
        )
    return first
