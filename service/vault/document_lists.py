"""Lists of documents, of which nothing is opened. What a GET does not find is in none."""

from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString
from uuid import UUID

from service.db import Database


@dataclass(frozen=True, slots=True)
class Listed:
    """A document as its row tells it."""

    id: UUID
    policy_id: UUID
    subject_id: UUID | None
    asset_token_id: UUID | None
    size_bytes: int
    received_bytes: int
    created_at: datetime
    expires_at: datetime | None
    completed_at: datetime | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which documents a list is of; None leaves it open."""

    policy_id: UUID | None = None
    subject_index: bytes | None = None
    asset_token_id: UUID | None = None
    whole: bool | None = None


async def documents_page(
    db: Database, *, issuer_id: UUID, wanted: Wanted, after: UUID | None, count_max: int
) -> list[Listed]:
    """Oldest first."""
    pieces: list[LiteralString] = ["issuer_id = %(issuer)s", "(expires_at IS NULL OR expires_at > now())"]
    if after is not None:
        pieces.append("id > %(after)s")
    if wanted.policy_id is not None:
        pieces.append("policy_id = %(policy)s")
    if wanted.asset_token_id is not None:
        pieces.append("asset_token_id = %(asset)s")
    if wanted.whole is not None:
        pieces.append("completed_at IS NOT NULL" if wanted.whole else "completed_at IS NULL")
    if wanted.subject_index is not None:
        pieces.append(
            """subject_id = ANY(ARRAY(
                SELECT id FROM vault.subjects WHERE issuer_id = %(issuer)s AND index = %(subject)s))"""
        )
    query: LiteralString = f"""SELECT id, policy_id, subject_id, asset_token_id, size_bytes, received_bytes,
        created_at, expires_at, completed_at
        FROM vault.documents WHERE {" AND ".join(pieces)} ORDER BY id LIMIT %(most)s"""
    given = {
        "issuer": issuer_id,
        "policy": wanted.policy_id,
        "subject": wanted.subject_index,
        "asset": wanted.asset_token_id,
        "after": after,
        "most": count_max,
    }
    return [Listed(*row) for row in await db.fetch(query, given)]
