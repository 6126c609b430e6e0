"""Making issuers, callers and keys: operators do this with the `muniment` command."""

from collections.abc import Sequence
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from service import journal
from service.access import apikeys
from service.access.apikeys import Scope
from service.access.tables import CallerRow, CredentialRow, IssuerRow
from service.db import new_id
from service.journal import Fact


class UnknownIssuer(Exception):
    """No issuer has this name."""


async def create_issuer(session: AsyncSession, *, name: str, signer: bytes) -> bool:
    """Add an issuer whose transactions `signer` sends; False when the name is taken already."""
    created = await session.scalar(
        insert(IssuerRow)
        .values(id=new_id(), name=name, signer=signer)
        .on_conflict_do_nothing(index_elements=["name"])
        .returning(IssuerRow.id)
    )
    return created is not None


async def create_key(
    session: AsyncSession,
    *,
    issuer: str,
    caller: str,
    environment: str,
    pepper: SecretStr,
    pepper_version: int = 1,
    scopes: Sequence[Scope] = (Scope.ISSUE,),
) -> apikeys.ApiKey:
    """Make a key for a caller of an issuer; the caller is made when it is new.

    Args:
        scopes: what the key may do.

    Raises:
        UnknownIssuer: no issuer of this name.
    """
    issuer_id = await session.scalar(select(IssuerRow.id).where(IssuerRow.name == issuer))
    if issuer_id is None:
        raise UnknownIssuer(f"there is no issuer {issuer!r}: create it with `muniment issuers create`")
    key = apikeys.make(environment)
    caller_id = await _caller(session, issuer_id, caller)
    session.add(
        CredentialRow(
            id=key.id,
            family_id=new_id(),
            version=1,
            caller_id=caller_id,
            environment=environment,
            kind="bearer",
            name=caller,
            scopes=sorted({*scopes}),
            secret_hmac=key.hashed(pepper),
            pepper_version=pepper_version,
            activated_at=func.now(),
        )
    )
    await session.flush()
    body = {"key": key.id, "by": None, "proves_by": "bearer", "scopes": sorted({*scopes}), "for": str(caller_id)}
    await journal.append(session, [Fact("key.created", issuer_id, body)])
    return key


async def _caller(session: AsyncSession, issuer_id: UUID, name: str) -> UUID:
    await session.execute(
        insert(CallerRow).values(id=new_id(), issuer_id=issuer_id, name=name).on_conflict_do_nothing()
    )
    query = select(CallerRow.id).where(CallerRow.issuer_id == issuer_id, CallerRow.name == name)
    return (await session.scalars(query)).one()
