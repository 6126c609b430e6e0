"""Second factors of an issuer: added, confirmed, removed; and whether one confirms something."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service import journal
from service.access import signing_secrets, step_codes, step_messages
from service.access.queries import Caller
from service.access.step_codes import SECRET_BYTES
from service.access.step_messages import Asked, Place
from service.access.step_problems import (
    SecondFactorLocked,
    SecondFactorNotFound,
    SecondFactorRefused,
    TooManySecondFactors,
)
from service.access.step_tables import SecondFactorRow
from service.access.wallets import Wallet, Wallets
from service.addresses import checksum
from service.db import Database, new_id
from service.journal import Fact
from service.telemetry import logger

FACTORS_MAX = 20
CONFIRM_S = 3_600
"""A new one proves itself within this time, or has to be added again."""

FAILURES_MAX = 5
LOCK_S = 600
"""So many wrong codes in this time, and none is looked at until it is over."""


@dataclass(frozen=True, slots=True)
class StepUps:
    """What second factors are judged with.

    Args:
        kek: opens the secrets of generators.
        live: whether critical requests need a second factor even where the issuer has none.
    """

    db: Database
    wallets: Wallets
    place: Place
    live: bool
    kek: SecretStr = field(repr=False)


@dataclass(frozen=True, slots=True)
class Factor:
    """A second factor that was not removed."""

    id: UUID
    kind: str
    name: str
    account: bytes | None
    created_by: str
    created_at: datetime
    confirmed_at: datetime | None
    removed_at: datetime | None

    def message(self, issuer_id: UUID) -> dict[str, Any]:
        """What an account signs to confirm that it is one."""
        asked = Asked("POST", f"/v1/second-factors/{self.id}/confirm", b"", "")
        until = self.created_at + timedelta(seconds=CONFIRM_S)
        return asked.message(issuer_id, self.id, int(until.timestamp()))


@dataclass(frozen=True, slots=True)
class Proof:
    """What is given for an approval: a code, or an account's signature."""

    totp: str | None = field(repr=False)
    signature: bytes | None = field(repr=False)


_FACTOR: LiteralString = "id, kind, name, account, created_by, created_at, confirmed_at, removed_at"

_STANDS: LiteralString = (
    "removed_at IS NULL AND (confirmed_at IS NOT NULL OR created_at > clock_timestamp() - make_interval(secs => %s))"
)


_END_UNAPPROVED: LiteralString = """UPDATE second_factors SET removed_at = clock_timestamp()
WHERE issuer_id = :issuer AND id <> :id AND confirmed_at IS NULL AND removed_at IS NULL AND NOT EXISTS (
    SELECT FROM second_factors f WHERE f.issuer_id = :issuer AND f.confirmed_at IS NOT NULL AND f.removed_at IS NULL)
RETURNING id"""


async def factors(db: Database, issuer_id: UUID) -> list[Factor]:
    """Those that stand, the oldest first; the unconfirmed ones, too."""
    query: LiteralString = f"SELECT {_FACTOR} FROM second_factors WHERE issuer_id = %s AND {_STANDS} ORDER BY id"
    return [Factor(*row) for row in await db.fetch(query, (issuer_id, CONFIRM_S))]


async def factor(db: Database, issuer_id: UUID, id: UUID) -> Factor:
    """One that stands.

    Raises:
        SecondFactorNotFound: none of the issuer's.
    """
    query: LiteralString = f"SELECT {_FACTOR} FROM second_factors WHERE issuer_id = %s AND id = %s AND {_STANDS}"
    for row in await db.fetch(query, (issuer_id, id, CONFIRM_S)):
        return Factor(*row)
    raise SecondFactorNotFound("GET /v1/second-factors lists them all")


def confirmed(found: Sequence[Factor]) -> list[Factor]:
    """Those that can approve."""
    return [each for each in found if each.confirmed_at is not None]


async def add(
    session: AsyncSession, kek: SecretStr, caller: Caller, *, kind: str, name: str, account: bytes | None
) -> tuple[UUID, bytes | None]:
    """A new second factor, and the secret of a generator of codes: it is shown now and never again.

    Raises:
        TooManySecondFactors: the issuer has FACTORS_MAX.
    """
    factor_id = new_id()
    await _alone(session, caller.issuer_id)
    count = await session.scalar(
        text(f"SELECT count(*) FROM second_factors WHERE issuer_id = :issuer AND {_STANDS.replace('%s', ':life')}"),
        {"issuer": caller.issuer_id, "life": CONFIRM_S},
    )
    if (count or 0) >= FACTORS_MAX:
        raise TooManySecondFactors(f"an issuer has at most {FACTORS_MAX}: remove one first")
    secret = signing_secrets.new_secret()[:SECRET_BYTES] if kind == "totp" else None
    session.add(
        SecondFactorRow(
            id=factor_id,
            issuer_id=caller.issuer_id,
            kind=kind,
            name=name,
            account=account,
            created_by=caller.key_id,
            sealed_secret=None if secret is None else signing_secrets.sealed(kek, _context(factor_id), secret),
        )
    )
    await session.flush()
    told = {"account": None if account is None else checksum(account), "name": name, "factor_kind": kind}
    await _record(session, "second-factor.added", caller, factor_id, told)
    return factor_id, secret


async def confirm(ups: StepUps, caller: Caller, id: UUID, proof: Proof) -> None:
    """Let a second factor count from now on, since it has proved itself; one that does so already stays as it is.

    An issuer's first one ends those that wait beside it: nobody approved that they were added, and what was added in
    the same moment is never confirmed.

    Raises:
        SecondFactorNotFound, SecondFactorRefused, SecondFactorLocked: as their names say.
    """
    found = await factor(ups.db, caller.issuer_id, id)
    if found.confirmed_at is not None:
        return
    await prove(ups, caller, found, proof, found.message(caller.issuer_id))
    async with ups.db.transaction() as session:
        await _alone(session, caller.issuer_id)
        ended = await session.scalars(text(_END_UNAPPROVED), {"id": id, "issuer": caller.issuer_id})
        for other in ended.all():
            await _record(session, "second-factor.removed", caller, other, {})
        done = await session.scalar(
            text(
                """UPDATE second_factors f SET confirmed_at = clock_timestamp()
                WHERE f.id = :id AND f.confirmed_at IS NULL AND f.removed_at IS NULL AND NOT EXISTS (
                    SELECT FROM second_factors WHERE issuer_id = f.issuer_id AND removed_at IS NULL
                    HAVING min(confirmed_at) > f.created_at)
                RETURNING f.id"""
            ),
            {"id": id},
        )
        if done is None:
            raise SecondFactorNotFound("it was removed meanwhile, or confirmed: GET /v1/second-factors lists them all")
        await _record(session, "second-factor.confirmed", caller, id, {})


async def remove(ups: StepUps, caller: Caller, id: UUID) -> None:
    """End a second factor for ever; what it has approved waits for another's approval.

    Raises:
        SecondFactorNotFound: none of the issuer's, or removed before.
    """
    async with ups.db.transaction() as session:
        done = await session.scalar(
            text(
                """UPDATE second_factors SET removed_at = clock_timestamp()
                WHERE id = :id AND issuer_id = :issuer AND removed_at IS NULL RETURNING id"""
            ),
            {"id": id, "issuer": caller.issuer_id},
        )
        if done is None:
            raise SecondFactorNotFound("GET /v1/second-factors lists them all")
        withdrawn = "UPDATE step_ups SET given_at = NULL, given_by = NULL WHERE given_by = :id"
        await session.execute(text(withdrawn), {"id": id})
        await _record(session, "second-factor.removed", caller, id, {})


async def prove(ups: StepUps, caller: Caller, found: Factor, proof: Proof, message: dict[str, Any]) -> None:
    """Make sure that a second factor confirms a message: by a code that is taken once, or by its signature.

    Raises:
        SecondFactorRefused: it does not.
        SecondFactorLocked: too many wrong codes came.
        WalletUnanswered: it is a contract, and nobody can say now.
    """
    if found.kind == "totp":
        reason = await _spend_code(ups, found, proof.totp or "")
    else:
        assert found.account is not None, "an account has an address"
        wallet = Wallet(ups.place.chain_id, found.account)
        digest = step_messages.typed_data(ups.place, message).digest()
        signed = await ups.wallets.proves_digest(wallet, proof.signature or b"", digest)
        reason = None if signed else "signature"
    if reason is None:
        return
    async with ups.db.transaction() as session:
        told = {"approval": message["approval"], "reason": reason}
        await _record(session, "step-up.refused", caller, found.id, told)
    if reason == "locked":
        raise SecondFactorLocked(f"wait {LOCK_S // 60} minutes, or use another second factor", retry_after_s=LOCK_S)
    wanted = "the code that the app shows now" if found.kind == "totp" else "the account's signature of the typed data"
    raise SecondFactorRefused(f"give {wanted}; a code is good once")


async def _spend_code(ups: StepUps, found: Factor, given: str) -> str | None:
    """Why a code does not confirm, or None; of two at once the row lets one through."""
    async with ups.db.transaction() as session:
        row = (
            await session.execute(
                text(
                    """SELECT sealed_secret, last_step, extract(epoch FROM clock_timestamp())::bigint AS now_s,
                        CASE WHEN failed_since > clock_timestamp() - make_interval(secs => :lock) THEN failed_count
                            ELSE 0 END AS failed_count
                    FROM second_factors WHERE id = :id AND removed_at IS NULL FOR UPDATE"""
                ),
                {"id": found.id, "lock": LOCK_S},
            )
        ).one_or_none()
        if row is None:
            raise SecondFactorNotFound("GET /v1/second-factors lists them all")
        if row.failed_count >= FAILURES_MAX:
            return "locked"
        try:
            secret = signing_secrets.opened(ups.kek, _context(found.id), row.sealed_secret)
        except signing_secrets.SecretUnreadable:
            logger().error("second_factor_unreadable", detail=str(found.id))
            return "unreadable"
        step = step_codes.step_of(secret, given, now_s=row.now_s, after=row.last_step)
        await session.execute(
            text(
                """UPDATE second_factors SET last_step = coalesce(:step, last_step),
                    failed_count = CASE WHEN :step IS NULL THEN :failures + 1 ELSE 0 END,
                    failed_since = CASE WHEN :step IS NOT NULL THEN NULL
                        WHEN :failures = 0 THEN clock_timestamp() ELSE failed_since END
                WHERE id = :id"""
            ),
            {"step": step, "failures": row.failed_count, "id": found.id},
        )
    return "code" if step is None else None


async def _alone(session: AsyncSession, issuer_id: UUID) -> None:
    """One after the other for each issuer, until the DB transaction ends."""
    query = text("SELECT pg_advisory_xact_lock(hashtextextended('second factors ' || :issuer, 0))")
    await session.execute(query, {"issuer": str(issuer_id)})


def _context(factor_id: UUID) -> str:
    return f"second factor {factor_id}"


async def _record(session: AsyncSession, kind: str, caller: Caller, factor_id: UUID, told: dict[str, Any]) -> None:
    by = {"caller": str(caller.id), "key": caller.key_id}
    await journal.append(session, [Fact(kind, caller.issuer_id, {"factor": str(factor_id), "by": by, **told})])
