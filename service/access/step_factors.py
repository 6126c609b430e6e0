"""Second factors of an issuer: added, confirmed, removed; and whether one confirms something."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, LiteralString
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from service import journal
from service.access import signing_secrets, step_codes, step_messages, wallet_claims
from service.access.key_problems import WalletTaken
from service.access.queries import Caller
from service.access.step_codes import SECRET_BYTES
from service.access.step_messages import Asked, Place
from service.access.step_problems import (
    SecondFactorLocked,
    SecondFactorNotFound,
    SecondFactorRefused,
    StepUpNotFound,
    TooManySecondFactors,
)
from service.access.step_tables import SecondFactorRow
from service.access.wallets import Wallet, Wallets
from service.addresses import checksum
from service.db import Database, new_id, take_turn
from service.journal import Fact
from service.telemetry import logger

FACTORS_MAX = 20
CONFIRM_S = 3_600
"""A new one proves itself within this time, or has to be added again."""

FAILURES_MAX = 5
FAILURES_S = 86_400
"""So many wrong codes in this time, and none is looked at for a while: `step_codes.lock_s`."""

APPROVAL_FAILURES_MAX = 3
"""So many wrong codes end the approval that they were given for."""


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


_STANDS_IN_SESSION: LiteralString = _STANDS.replace("%s", ":life")

_CONFIRMED_ONE: LiteralString = """SELECT id FROM second_factors
WHERE issuer_id = :issuer AND confirmed_at IS NOT NULL AND removed_at IS NULL LIMIT 1"""

WITHDRAW: LiteralString = """UPDATE step_ups SET given_at = NULL, given_by = NULL
WHERE issuer_id = :issuer AND expires_at > now() AND given_by = :id"""
"""What a second factor has approved waits again, as far as its time is not over."""

_END_UNAPPROVED: LiteralString = """UPDATE second_factors SET removed_at = clock_timestamp()
WHERE issuer_id = :issuer AND id <> :id AND confirmed_at IS NULL AND removed_at IS NULL AND NOT EXISTS (
    SELECT FROM second_factors f WHERE f.issuer_id = :issuer AND f.confirmed_at IS NOT NULL AND f.removed_at IS NULL)
RETURNING id"""


class UnapprovedError(Exception):
    """Nothing could approve the request when it was let in, and now something can."""


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
    session: AsyncSession,
    kek: SecretStr,
    caller: Caller,
    *,
    kind: str,
    name: str,
    account: bytes | None,
    approved: bool,
) -> tuple[UUID, bytes | None]:
    """A new second factor, and the secret of a generator of codes: it is shown now and never again.

    Args:
        approved: whether another one approved it, rather than that there was none.

    Raises:
        UnapprovedError: the first one was confirmed meanwhile.
        TooManySecondFactors: the issuer has FACTORS_MAX.
        WalletTaken: the account is a credential of the issuer's.
    """
    factor_id = new_id()
    await _insist_on_approval(session, caller.issuer_id, approved=approved)
    if account is not None:
        await wallet_claims.insist_on_no_credential(session, caller.issuer_id, account)
    count = await session.scalar(
        text(f"SELECT count(*) FROM second_factors WHERE issuer_id = :issuer AND {_STANDS_IN_SESSION}"),
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


async def insist_on_none(session: AsyncSession, issuer_id: UUID, account: bytes) -> None:
    """Make sure that an account is no second factor of an issuer's, and none that waits to be confirmed.

    Raises:
        WalletTaken: it is: one account would be both factors.
    """
    found = await session.execute(
        text(
            f"SELECT id FROM second_factors WHERE issuer_id = :issuer AND account = :account AND {_STANDS_IN_SESSION}"
        ),
        {"issuer": issuer_id, "account": account, "life": CONFIRM_S},
    )
    for row in found.all():
        raise WalletTaken("the account is a second factor: remove it first, or use another one", other=str(row.id))


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

    async def count(session: AsyncSession) -> None:
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

    await prove(ups, caller, found, proof, found.message(caller.issuer_id), count)


async def remove(ups: StepUps, caller: Caller, id: UUID, *, approved: bool) -> None:
    """End a second factor for ever; what it has approved waits for another's approval.

    Args:
        approved: whether one approved it, rather than that there was none.

    Raises:
        UnapprovedError: the first one was confirmed meanwhile.
        SecondFactorNotFound: none of the issuer's, or removed before.
    """
    async with ups.db.transaction() as session:
        await _insist_on_approval(session, caller.issuer_id, approved=approved)
        await _end(session, id, issuer_id=caller.issuer_id)
        await _record(session, "second-factor.removed", caller, id, {})


async def remove_lost(session: AsyncSession, id: UUID, reason: str, *, operator: str) -> None:
    """End a second factor for ever on behalf of whoever owns the database, since its issuer has no other to approve it.

    Args:
        operator: who does it, as the journal names them.

    Raises:
        SecondFactorNotFound: there is none, or it was removed before.
    """
    issuer_id = await _end(session, id, issuer_id=None)
    told = {"factor": str(id), "by": None, "operator": operator, "reason": reason}
    await journal.append(session, [Fact("second-factor.removed", issuer_id, told)])


async def _end(session: AsyncSession, id: UUID, *, issuer_id: UUID | None) -> UUID:
    """End a second factor of an issuer, or of any; whose it was."""
    whose: UUID | None = await session.scalar(
        text(
            """UPDATE second_factors SET removed_at = clock_timestamp()
            WHERE id = :id AND issuer_id = coalesce(:issuer, issuer_id) AND removed_at IS NULL RETURNING issuer_id"""
        ),
        {"id": id, "issuer": issuer_id},
    )
    if whose is None:
        raise SecondFactorNotFound("GET /v1/second-factors lists them all")
    await session.execute(text(WITHDRAW), {"id": id, "issuer": whose})
    return whose


async def prove(
    ups: StepUps,
    caller: Caller,
    found: Factor,
    proof: Proof,
    message: dict[str, Any],
    then: Callable[[AsyncSession], Awaitable[None]],
    *,
    approval: UUID | None = None,
) -> None:
    """Make sure that a second factor confirms a message: by a code that is taken once, or by its signature.

    Args:
        then: what follows from it, in the DB transaction that takes the code, while the factor can't be removed.
        approval: what the code is given for, which ends with too many wrong ones.

    Raises:
        SecondFactorNotFound: it was removed meanwhile.
        SecondFactorRefused: it does not.
        SecondFactorLocked: too many wrong codes came.
        StepUpNotFound: the approval is over.
        WalletTaken: the account is a credential of the issuer's.
        WalletUnanswered: it is a contract, and nobody can say now.
    """
    reason, wait_s = None, 0
    if found.kind == "account":
        # The chain may take seconds: no connection to Postgres waits for it.
        reason = await _judge_signature(ups, caller, found, proof.signature or b"", message)
    if reason is None:
        async with ups.db.transaction() as session:
            held = await _hold(session, caller.issuer_id, found, approval)
            if found.kind == "totp":
                reason, wait_s = await _spend_code(session, ups.kek, held, proof.totp or "", approval)
            if reason is None:
                await then(session)
                return
    async with ups.db.transaction() as session:
        told = {"approval": message["approval"], "reason": reason}
        await _record(session, "step-up.refused", caller, found.id, told)
    if reason == "locked":
        raise SecondFactorLocked("wait so long, or use another second factor", retry_after_s=wait_s)
    if found.kind == "account":
        raise SecondFactorRefused("give the account's signature of the typed data")
    ends = f"{APPROVAL_FAILURES_MAX} wrong ones end an approval, {FAILURES_MAX} lock the app's factor for a while"
    raise SecondFactorRefused(f"give the code that the app shows now; one is good once, {ends}")


async def _judge_signature(
    ups: StepUps, caller: Caller, found: Factor, signature: bytes, message: dict[str, Any]
) -> str | None:
    """Why a signature does not confirm, or None."""
    assert found.account is not None, "an account has an address"
    async with ups.db.transaction() as session:
        await wallet_claims.insist_on_no_credential(session, caller.issuer_id, found.account)
    wallet, digest = Wallet(ups.place.chain_id, found.account), step_messages.typed_data(ups.place, message).digest()
    return None if await ups.wallets.proves_digest(wallet, signature, digest) else "signature"


_HELD: LiteralString = """SELECT id, sealed_secret, last_step, extract(epoch FROM clock_timestamp())::bigint AS now_s,
    locked_count, ceil(extract(epoch FROM locked_until - clock_timestamp()))::integer AS locked_s,
    CASE WHEN failed_since > clock_timestamp() - make_interval(secs => :since) THEN failed_count ELSE 0 END AS failures
FROM second_factors WHERE id = :id AND removed_at IS NULL FOR NO KEY UPDATE"""

_FAILED: LiteralString = """UPDATE second_factors SET failed_count = :failures,
    failed_since = CASE WHEN :failures = 1 THEN clock_timestamp() ELSE failed_since END WHERE id = :id"""

_LOCKED: LiteralString = """UPDATE second_factors SET failed_count = 0, failed_since = NULL,
    locked_count = locked_count + 1, locked_until = clock_timestamp() + make_interval(secs => :lock) WHERE id = :id"""

_TAKEN: LiteralString = """UPDATE second_factors SET last_step = :step, failed_count = 0, failed_since = NULL,
    locked_count = 0, locked_until = NULL WHERE id = :id"""

_APPROVAL_FAILED: LiteralString = """UPDATE step_ups SET failed_count = failed_count + 1,
    expires_at = CASE WHEN failed_count + 1 >= :most THEN clock_timestamp() ELSE expires_at END WHERE id = :approval"""


async def _hold(session: AsyncSession, issuer_id: UUID, found: Factor, approval: UUID | None) -> Row[Any]:
    """A second factor, and then what it approves, as they stay until the DB transaction ends.

    Raises:
        SecondFactorNotFound, StepUpNotFound: as their names say.
    """
    if found.confirmed_at is None:
        # Before the row: whoever is alone ends those that wait.
        await _alone(session, issuer_id)
    row = (await session.execute(text(_HELD), {"id": found.id, "since": FAILURES_S})).one_or_none()
    if row is None:
        raise SecondFactorNotFound("GET /v1/second-factors lists them all")
    if approval is not None:
        await _insist_on_waiting(session, approval)
    return row


async def _spend_code(
    session: AsyncSession, kek: SecretStr, held: Row[Any], given: str, approval: UUID | None
) -> tuple[str | None, int]:
    """Why a code does not confirm, or None, and how long to wait; of two at once the rows let one through."""
    if held.locked_s is not None and held.locked_s > 0:
        return "locked", held.locked_s
    try:
        secret = signing_secrets.opened(kek, _context(held.id), held.sealed_secret)
    except signing_secrets.SecretUnreadable:
        logger().error("second_factor_unreadable", detail=str(held.id))
        return "unreadable", 0
    step = step_codes.step_of(secret, given, now_s=held.now_s, after=held.last_step)
    if step is not None:
        await session.execute(text(_TAKEN), {"step": step, "id": held.id})
        return None, 0
    failures = held.failures + 1
    statement = _LOCKED if failures >= FAILURES_MAX else _FAILED
    lock_s = step_codes.lock_s(held.locked_count)
    await session.execute(text(statement), {"failures": failures, "lock": lock_s, "id": held.id})
    if approval is not None:
        await session.execute(text(_APPROVAL_FAILED), {"most": APPROVAL_FAILURES_MAX, "approval": approval})
    return "code", 0


async def _insist_on_waiting(session: AsyncSession, approval: UUID) -> None:
    """Make sure that an approval is not over, and ends beside no code that is judged for it."""
    live = text("SELECT 1 FROM step_ups WHERE id = :id AND expires_at > clock_timestamp() FOR UPDATE")
    if (await session.scalar(live, {"id": approval})) is None:
        raise StepUpNotFound("send the critical request again: its answer names a new one")


async def _alone(session: AsyncSession, issuer_id: UUID) -> None:
    """One after the other for each issuer, until the DB transaction ends."""
    await take_turn(session, f"second factors {issuer_id}")


async def _insist_on_approval(session: AsyncSession, issuer_id: UUID, *, approved: bool) -> None:
    """Make sure, alone, that what nobody approved still needs no approval."""
    await _alone(session, issuer_id)
    if not approved and await session.scalar(text(_CONFIRMED_ONE), {"issuer": issuer_id}) is not None:
        raise UnapprovedError


def _context(factor_id: UUID) -> str:
    return f"second factor {factor_id}"


async def _record(session: AsyncSession, kind: str, caller: Caller, factor_id: UUID, told: dict[str, Any]) -> None:
    by = {"caller": str(caller.id), "key": caller.key_id}
    await journal.append(session, [Fact(kind, caller.issuer_id, {"factor": str(factor_id), "by": by, **told})])
