"""Making issuers, callers and keys: operators do this with the `muniment` command."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from service import journal
from service.access import apikeys
from service.access.apikeys import Scope
from service.access.key_limits import NO_LIMITS, Limits
from service.access.key_turns import in_turn, insist_on_room
from service.access.roles import SCOPES, Role, life_s, within
from service.access.tables import CallerRow, CredentialRow, IssuerRow
from service.db import new_id
from service.journal import Fact


class UnknownIssuer(Exception):
    """No issuer has this name."""


class RoleUnfit(Exception):
    """The caller has another role, or its role does not go so far."""


async def create_issuer(session: AsyncSession, *, name: str, signer: bytes) -> bool:
    """Add an issuer whose transactions `signer` sends; False when the name is taken already."""
    created = await session.scalar(
        insert(IssuerRow)
        .values(id=new_id(), name=name, signer=signer)
        .on_conflict_do_nothing(index_elements=["name"])
        .returning(IssuerRow.id)
    )
    return created is not None


@dataclass(frozen=True, slots=True)
class Grant:
    """What a new credential opens, as `create_key` has it."""

    environment: str
    scopes: Sequence[Scope] | None = None
    role: Role | None = None
    limits: Limits = NO_LIMITS
    expires_in_s: int | None = None


async def create_key(
    session: AsyncSession,
    *,
    issuer: str,
    caller: str,
    environment: str,
    pepper: SecretStr,
    pepper_version: int = 1,
    scopes: Sequence[Scope] | None = None,
    role: Role | None = None,
    limits: Limits = NO_LIMITS,
    expires_in_s: int | None = None,
    operator: str | None = None,
) -> apikeys.ApiKey:
    """Make a key for a caller of an issuer; the caller is made when it is new.

    Args:
        scopes: what the key may do; unless told all that its caller's role opens, and without a role `issue`.
        role: the caller's; None for the one that it has.
        expires_in_s: its life in seconds; unless told what is usual for the role, without one for ever.
        operator: who makes it, as the journal names them.

    Raises:
        UnknownIssuer: no issuer of this name.
        RoleUnfit: the caller has another role, or the key would go beyond it.
        TooManyKeys: the issuer has as many as it may.
    """
    key = apikeys.make(environment)
    proof = {"kind": "bearer", "secret_hmac": key.hashed(pepper), "pepper_version": pepper_version}
    grant = Grant(environment, scopes, role, limits, expires_in_s)
    await _add(session, key.id, proof, issuer=issuer, caller=caller, grant=grant, operator=operator)
    return key


async def register_key(
    session: AsyncSession, public_key: bytes, *, issuer: str, caller: str, grant: Grant, operator: str | None = None
) -> str:
    """Make a credential of an Ed25519 public key, 32 bytes, for a caller as of `create_key`; the credential's id.

    Raises:
        UnknownIssuer, RoleUnfit, TooManyKeys: as of `create_key`.
    """
    key_id = apikeys.new_public_id()
    proof = {"kind": "ed25519", "public_key": public_key}
    await _add(session, key_id, proof, issuer=issuer, caller=caller, grant=grant, operator=operator)
    return key_id


async def _add(
    session: AsyncSession,
    key_id: str,
    proof: dict[str, Any],
    *,
    issuer: str,
    caller: str,
    grant: Grant,
    operator: str | None,
) -> None:
    issuer_id = await session.scalar(select(IssuerRow.id).where(IssuerRow.name == issuer))
    if issuer_id is None:
        raise UnknownIssuer(f"there is no issuer {issuer!r}: create it with `muniment issuers create`")
    await in_turn(session, issuer_id)
    await insist_on_room(session, issuer_id)
    caller_id, has = await _caller(session, issuer_id, caller, grant.role)
    named = _scopes(caller, has, grant.role, grant.scopes)
    try:
        lasts_s = life_s(has, grant.expires_in_s)
    except ValueError as error:
        raise RoleUnfit(str(error)) from None
    session.add(
        CredentialRow(
            id=key_id,
            family_id=new_id(),
            version=1,
            caller_id=caller_id,
            environment=grant.environment,
            name=caller,
            scopes=named,
            limits=grant.limits.stored(),
            activated_at=func.now(),
            expires_at=None if lasts_s is None else func.now() + timedelta(seconds=lasts_s),
            **proof,
        )
    )
    await session.flush()
    body: dict[str, Any] = {"key": key_id, "by": None, "operator": operator}
    body |= {"proves_by": proof["kind"], "scopes": named}
    body |= {"for": str(caller_id), "limits": grant.limits.stored(), "role": has}
    await journal.append(session, [Fact("key.created", issuer_id, body)])


def _scopes(caller: str, has: str | None, role: Role | None, asked: Sequence[Scope] | None) -> list[Scope]:
    """Raises: RoleUnfit."""
    if role is not None and has != role:
        told = "no role" if has is None else f"the role {has}"
        raise RoleUnfit(f"the caller {caller!r} has {told}: name another caller for the role {role}")
    if has is None:
        return sorted({*(asked or [Scope.ISSUE])})
    beyond = {*(asked or [])} - within(has)
    if beyond:
        raise RoleUnfit(f"the role {has} of the caller {caller!r} does not open {', '.join(sorted(beyond))}")
    return sorted({*(asked or SCOPES[Role(has)])})


async def _caller(session: AsyncSession, issuer_id: UUID, name: str, role: Role | None) -> tuple[UUID, str | None]:
    """A caller, made where it is new, and the role that it has."""
    await session.execute(
        insert(CallerRow).values(id=new_id(), issuer_id=issuer_id, name=name, role=role).on_conflict_do_nothing()
    )
    query = select(CallerRow.id, CallerRow.role).where(CallerRow.issuer_id == issuer_id, CallerRow.name == name)
    found = (await session.execute(query)).one()
    return found.id, found.role
