"""Idempotency keys: one effect for each caller and key, by a unique constraint.

The row is written in the same DB transaction as the effect, so a key is spent when and only when its effect is stored.
"""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import rfc8785
from cryptography.hazmat.primitives import hashes
from fastapi import Header
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Base, ReadConnection
from service.errors import Problem

IdempotencyKey = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=128,
        pattern=r"^[\x21-\x7e]+$",
        description="Your own name for this request, for instance a UUID: 1 to 128 visible ASCII characters. "
        "Sent again with the same body, the request answers with its first result.",
        examples=["mint-2026-0001"],
    ),
]


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


def fingerprint(method: str, path: str, body: dict[str, Any]) -> bytes:
    """SHA-256 over the canonical request. Source: RFC 8785."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(rfc8785.dumps({"method": method, "path": path, "body": body}))
    return digest.finalize()


async def first_resource(connection: ReadConnection, caller_id: UUID, key: str, print_: bytes) -> str | None:
    """What a key made before, or None when it is new.

    Raises:
        IdempotencyKeyReused: it made something of another request.
    """
    row = await (
        await connection.execute(
            "SELECT fingerprint, resource FROM requests WHERE caller_id = %s AND key = %s", (caller_id, key)
        )
    ).fetchone()
    return None if row is None else _same(key, print_, row[0], row[1])


async def claim(session: AsyncSession, caller_id: UUID, key: str, print_: bytes, resource: str) -> str:
    """Spend a key on a new resource; the answer is the resource that the key names from now on.

    Of two requests at once the constraint lets one through; the other waits for its DB transaction and gets its
    resource.

    Raises:
        IdempotencyKeyReused: the key made something of another request.
    """
    created: str | None = await session.scalar(
        insert(RequestRow)
        .values(caller_id=caller_id, key=key, fingerprint=print_, resource=resource)
        .on_conflict_do_nothing(index_elements=["caller_id", "key"])
        .returning(RequestRow.resource)
    )
    if created is not None:
        return created
    query = select(RequestRow.fingerprint, RequestRow.resource).where(
        RequestRow.caller_id == caller_id, RequestRow.key == key
    )
    first_print, first = (await session.execute(query)).one()
    return _same(key, print_, first_print, first)


def _same(key: str, print_: bytes, first_print: bytes, first: str) -> str:
    if first_print != print_:
        raise IdempotencyKeyReused(
            f"the key {key!r} belongs to /v1/{first}, which another request made: "
            "send this request with a new key, or repeat the first one exactly",
            first={"resource": f"/v1/{first}", "fingerprint": first_print.hex()},
            this={"fingerprint": print_.hex()},
        )
    return first
