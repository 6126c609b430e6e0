"""Who a key belongs to."""

from dataclasses import dataclass
from uuid import UUID

from service.db import Database


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated API client."""

    id: UUID
    issuer_id: UUID
    signer: bytes


@dataclass(frozen=True, slots=True)
class StoredKey:
    """What is known of a key."""

    caller: Caller
    secret_hmac: bytes
    usable: bool


async def stored_key(db: Database, key_id: str) -> StoredKey | None:
    """Look a key up by its public id."""
    rows = await db.fetch(
        """SELECT c.id, i.id, i.signer, k.secret_hmac, k.revoked_at IS NULL
               FROM api_keys k JOIN callers c ON c.id = k.caller_id JOIN issuers i ON i.id = c.issuer_id
               WHERE k.id = %s""",
        (key_id,),
    )
    if not rows:
        return None
    caller_id, issuer_id, signer, secret_hmac, usable = rows[0]
    return StoredKey(Caller(caller_id, issuer_id, signer), secret_hmac, usable)
