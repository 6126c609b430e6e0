"""Who a credential belongs to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from service.access.key_states import STATE, State
from service.chain.together import Together
from service.db import UNAVAILABLE, Database


@dataclass(frozen=True, slots=True)
class Retiring:
    """A credential whose successor is in use."""

    since: datetime
    ends_at: datetime
    replaced_by: str


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated API client, and which of its credentials it came with."""

    id: UUID
    issuer_id: UUID
    signer: bytes
    scopes: frozenset[str]
    name: str
    key_id: str
    kind: str = "bearer"
    environment: str = "test"
    limits: Mapping[str, Any] = field(default_factory=dict)
    signed: bool = False
    """Whether the request was signed with the credential, and not just named it."""
    role: str | None = None
    retiring: Retiring | None = None


@dataclass(frozen=True, slots=True)
class StoredKey:
    """What is known of a credential."""

    caller: Caller
    state: State
    asked_at: datetime
    """Postgres' clock at the look-up."""
    ends_in_s: float | None
    """Seconds from then until it ends."""
    begins: bool
    """Whether a pending one's time has come, so that its first use makes it active."""
    replaced_by: str | None
    environment: str | None
    """None where the key's own text tells it: it was made before this was kept."""
    secret_hmac: bytes | None = field(repr=False)
    pepper_version: int | None
    public_key: bytes | None
    sealed_secret: bytes | None = field(repr=False)
    account: bytes | None
    chain_id: int | None


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
"""Looks credentials up by their public ids, all that are asked for at once in one query."""

STORED: LiteralString = f"""
SELECT k.id, c.id, i.id, i.signer, k.scopes, c.name, k.kind, k.environment, k.limits, c.role,
    CASE WHEN c.deleted_at IS NOT NULL THEN 'revoked' ELSE {STATE} END, clock_timestamp(),
    extract(epoch FROM least(k.expires_at, k.retires_at) - clock_timestamp())::double precision,
    k.not_before IS NULL OR k.not_before <= clock_timestamp(), k.replaced_by, successor.activated_at, k.retires_at,
    k.secret_hmac, k.pepper_version, k.public_key, k.sealed_secret, k.account, k.chain_id
FROM credentials k JOIN callers c ON c.id = k.caller_id JOIN issuers i ON i.id = c.issuer_id
    LEFT JOIN credentials successor ON successor.id = k.replaced_by AND k.retires_at IS NOT NULL
"""
"""Of every credential `k`, what `stored_key` reads: a WHERE clause goes after it."""


def stored_keys(db: Database) -> StoredKeys:
    """The way to the credentials of a database. A look-up begins after it was asked for: one revoked is out at once."""

    async def find(ids: Sequence[str]) -> list[StoredKey | None]:
        rows = await db.fetch(f"{STORED} WHERE k.id = ANY(%s)", (list(set(ids)),))
        found = {row[0]: stored_key(row) for row in rows}
        return [found.get(key_id) for key_id in ids]

    return Together(find, of_all=UNAVAILABLE, lists_max=2)


def stored_key(row: Sequence[Any]) -> StoredKey:
    """A row of STORED."""
    key_id, caller_id, issuer_id, signer, scopes, name, kind, environment, limits, role, state, *rest = row
    asked_at, ends_in_s, begins, replaced_by, since, ends_at, *proofs = rest
    retiring = None if since is None or ends_at is None else Retiring(since, ends_at, replaced_by)
    caller = Caller(
        caller_id,
        issuer_id,
        signer,
        frozenset(scopes),
        name,
        key_id,
        kind,
        environment or "test",
        limits,
        role=role,
        retiring=retiring,
    )
    return StoredKey(caller, State(state), asked_at, ends_in_s, begins, replaced_by, environment, *proofs)
