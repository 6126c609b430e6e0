"""Whoever makes or ends credentials of an issuer does so in turn, and makes no more of them than it may have."""

from typing import LiteralString
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service.access.key_problems import TooManyKeys
from service.access.key_states import UNENDED
from service.db import take_turn

FAMILIES_MAX = 1_000
"""Families of one issuer with a version that has not ended, so that looking at all credentials stays cheap."""

_FAMILIES: LiteralString = f"""SELECT count(DISTINCT k.family_id)
FROM credentials k JOIN callers c ON c.id = k.caller_id WHERE c.issuer_id = :issuer AND {UNENDED}"""


async def in_turn(session: AsyncSession, issuer_id: UUID) -> None:
    """Wait for whoever makes or ends credentials of this issuer: none may be made beside an end of all."""
    await take_turn(session, f"muniment keys {issuer_id}")


async def insist_on_room(session: AsyncSession, issuer_id: UUID) -> None:
    """Make sure, in turn, that an issuer may have another family of credentials.

    Raises:
        TooManyKeys: it has FAMILIES_MAX.
    """
    if (await session.scalar(text(_FAMILIES), {"issuer": issuer_id}) or 0) >= FAMILIES_MAX:
        raise TooManyKeys(f"an issuer has at most {FAMILIES_MAX} that have not ended: revoke one first")
