"""Who a key belongs to."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from service.chain.together import Together
from service.db import UNAVAILABLE, Database


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated API client, and which of its keys it came with."""

    id: UUID
    issuer_id: UUID
    signer: bytes
    scopes: frozenset[str]
    name: str
    key_id: str


@dataclass(frozen=True, slots=True)
class StoredKey:
    """What is known of a key."""

    caller: Caller
    secret_hmac: bytes
    usable: bool


@dataclass(frozen=True, slots=True)
class Issuer:
    """A tenant, and the signer that sends for it."""

    id: UUID
    name: str
    signer: bytes


async def issuers(db: Database) -> list[Issuer]:
    """Every issuer, by name."""
    return [Issuer(*row) for row in await db.fetch("SELECT id, name, signer FROM issuers ORDER BY name", ())]


async def shares_signer(db: Database, caller: Caller) -> bool:
    """Whether another issuer's transactions are sent by the same signer."""
    query = "SELECT 1 FROM issuers WHERE signer = %s AND id <> %s LIMIT 1"
    return bool(await db.fetch(query, (caller.signer, caller.issuer_id)))


StoredKeys = Together[str, StoredKey | None]
"""Looks keys up by their public ids, all that are asked for at once in one query."""


def stored_keys(db: Database) -> StoredKeys:
    """The way to the keys of a database. A look-up begins after it was asked for, so a revoked key is out at once."""

    async def find(ids: Sequence[str]) -> list[StoredKey | None]:
        rows = await db.fetch(
            """SELECT k.id, c.id, i.id, i.signer, k.scopes, c.name, k.secret_hmac, k.revoked_at IS NULL
               FROM api_keys k JOIN callers c ON c.id = k.caller_id JOIN issuers i ON i.id = c.issuer_id
               WHERE k.id = ANY(%s)""",
            (list(set(ids)),),
        )
        found = {
            key_id: StoredKey(
                Caller(caller_id, issuer_id, signer, frozenset(scopes), name, key_id), secret_hmac, usable
            )
            for key_id, caller_id, issuer_id, signer, scopes, name, secret_hmac, usable in rows
        }
        return [found.get(key_id) for key_id in ids]

    return Together(find, of_all=UNAVAILABLE, lists_max=2)
