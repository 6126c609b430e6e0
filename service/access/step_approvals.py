"""Approvals of critical requests: asked for, given, used; each bound to one request, byte for byte.

A request under an idempotency key has one effect however often it comes, so that its approval may be shown again until
it expires, and is needed no more once the key is spent. Without such a key an approval is spent by its first use.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from typing import Any, LiteralString
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service import journal
from service.access import step_factors, step_messages
from service.access.queries import Caller
from service.access.step_factors import Factor, Proof, StepUps
from service.access.step_messages import Asked, Place
from service.access.step_problems import (
    ApprovalMismatch,
    SecondFactorMissing,
    SecondFactorNotFound,
    StepUpNotFound,
    StepUpRequired,
    TooManyApprovals,
)
from service.access.step_tables import StepUpRow
from service.db import Database, new_id
from service.journal import Fact
from service.web.idempotency import IdempotencyKeyReused

LIFE_S = 300
"""So long after it was asked for an approval can be given and used."""

ASKED_MAX = 100
"""So many requests of one caller wait for approval at a time, and those that come at the very moment of the last."""

_LEFT_S = 60
_KEPT_S = 86_400
_CLEARED_MAX = 1_000


@dataclass(frozen=True, slots=True)
class StepUp:
    """A critical request that waits for its approval."""

    id: UUID
    caller: str
    message: dict[str, Any]
    asked_at: datetime
    expires_at: datetime
    given_at: datetime | None
    given_by: UUID | None
    used_at: datetime | None

    def typed_data(self, place: Place) -> dict[str, Any]:
        """What an approving account signs."""
        return step_messages.typed_data(place, self.message).as_json()


@dataclass(frozen=True, slots=True)
class Rule:
    """What a critical route is held to.

    Args:
        per_key: it has one effect for each idempotency key, by the table `requests`; else each approval opens one
            request.
        opens: it may be used by an issuer that has no second factor yet: else none would ever have one.
    """

    per_key: bool
    opens: bool = False


PER_KEY = Rule(per_key=True)
PER_REQUEST = Rule(per_key=False)
OPENING = Rule(per_key=True, opens=True)
REMOVING = Rule(per_key=False, opens=True)
"""Of second factors: what nobody can approve can be removed by whoever could add it."""


class Passed(Enum):
    """Why a critical request goes on."""

    APPROVED = "a second factor approved it"
    OPEN = "there is nothing that could approve it, and need not be"
    SPENT = "its idempotency key is spent, by itself or by another request: it may be answered, and no more"


@dataclass(slots=True)
class Approval:
    """The approval that one request needs: judged when it is first asked for.

    Args:
        asked: what the request asks.
        named: the approval's id as the request names it.
    """

    ups: StepUps
    caller: Caller
    asked: Callable[[], Awaitable[Asked]]
    named: str | None
    passed: Passed | None = None

    async def insist(self, rule: Rule, moves: str = "") -> None:
        """Make sure that the request was approved, as `insist` says.

        Args:
            moves: what it moves, in words, where it is that which makes it critical.
        """
        if self.passed is None:
            asked = replace(await self.asked(), moves=moves)
            self.passed = await insist(self.ups, self.caller, asked, self.named, rule)

    async def insist_anew(self, rule: Rule) -> None:
        """Judge once more, since what it passed for is not so any longer."""
        self.passed = None
        await self.insist(rule)

    def refuse_spent(self) -> None:
        """Stop what needed no approval since its key is spent, before anything is signed or tried for it.

        Raises:
            IdempotencyKeyReused: whoever made the key's effect is answered with that instead.
        """
        if self.passed is Passed.SPENT:
            raise IdempotencyKeyReused("this key is spent: send this request with a new one")


_STEP_UP: LiteralString = """SELECT s.id, c.name, s.message, s.asked_at, s.expires_at, s.given_at, s.given_by, s.used_at
FROM step_ups s JOIN callers c ON c.id = s.caller_id"""


async def insist(ups: StepUps, caller: Caller, asked: Asked, given: str | None, rule: Rule) -> Passed:
    """Make sure that a critical request was approved, where the issuer has a second factor or the deployment is live.

    Args:
        given: the approval's id as the request names it.

    Raises:
        SecondFactorMissing: there is nothing that could approve it.
        StepUpRequired: nobody has, yet.
        ApprovalMismatch: something else was approved.
        TooManyApprovals: the caller has asked for ASKED_MAX that nobody has given.
    """
    factors = step_factors.confirmed(await step_factors.factors(ups.db, caller.issuer_id))
    if not factors and (rule.opens or not ups.live):
        return Passed.OPEN
    if not factors:
        raise SecondFactorMissing("register one by POST /v1/second-factors, and confirm it")
    if rule.per_key and await _is_spent(ups.db, caller, asked.idempotency_key):
        return Passed.SPENT
    if given is None or not await _use(ups, caller, asked, given, rule):
        raise await _required(ups, caller, asked, factors, rule)
    return Passed.APPROVED


async def step_up(db: Database, issuer_id: UUID, id: UUID) -> StepUp:
    """A request whose time is not over.

    Raises:
        StepUpNotFound: none of the issuer's.
    """
    live = "s.expires_at > clock_timestamp()"
    for row in await db.fetch(f"{_STEP_UP} WHERE s.id = %s AND s.issuer_id = %s AND {live}", (id, issuer_id)):
        return StepUp(*row)
    raise StepUpNotFound("send the critical request again: its answer names a new one")


async def give(ups: StepUps, caller: Caller, id: UUID, factor_id: UUID, proof: Proof) -> None:
    """Approve a request by a second factor; one that is approved stays so.

    Raises:
        StepUpNotFound, SecondFactorNotFound, SecondFactorRefused, SecondFactorLocked, WalletTaken: as their names say.
    """
    found = await step_up(ups.db, caller.issuer_id, id)
    factor = await step_factors.factor(ups.db, caller.issuer_id, factor_id)
    if found.given_at is not None:
        return
    if factor.confirmed_at is None:
        raise SecondFactorNotFound(f"confirm it first: POST /v1/second-factors/{factor_id}/confirm")

    async def approve(session: AsyncSession) -> None:
        done = await session.scalar(
            text(
                """UPDATE step_ups SET given_at = clock_timestamp(), given_by = :factor
                WHERE id = :id AND given_at IS NULL RETURNING id"""
            ),
            {"id": id, "factor": factor_id},
        )
        if done is not None:
            await _record(session, "step-up.given", caller, id, {"factor": str(factor_id)})

    await step_factors.prove(ups, caller, factor, proof, found.message, approve, approval=id)


async def _is_spent(db: Database, caller: Caller, key: str) -> bool:
    """Whether a request under this key took effect: another one is refused, and the same one has no further effect."""
    return bool(await db.fetch("SELECT 1 FROM requests WHERE caller_id = %s AND key = %s", (caller.id, key)))


async def _use(ups: StepUps, caller: Caller, asked: Asked, given: str, rule: Rule) -> bool:
    """Whether an approval opens the request, which uses it; of two at once that may use it once, the row lets one.

    Raises:
        ApprovalMismatch: it is of another request, or there is none.
    """
    named = _id(given)
    parameters = {"id": named, "issuer": caller.issuer_id, "print": asked.print_(caller.id), "per_key": rule.per_key}
    async with ups.db.transaction() as session:
        used = await session.scalar(
            text(
                """UPDATE step_ups SET used_at = clock_timestamp()
                WHERE id = :id AND issuer_id = :issuer AND print = :print AND given_at IS NOT NULL
                    AND expires_at > clock_timestamp() AND (:per_key OR used_at IS NULL)
                RETURNING id"""
            ),
            parameters,
        )
        fits = used or await session.scalar(
            text("SELECT id FROM step_ups WHERE id = :id AND issuer_id = :issuer AND print = :print"), parameters
        )
        if used is not None:
            await _record(session, "step-up.used", caller, used, {})
        elif fits is None:
            told = {"reason": "mismatch", "method": asked.method, "path": asked.path}
            await _record(session, "step-up.refused", caller, named, told)
    if fits is None:
        raise ApprovalMismatch("send the very request that was approved, or one without Muniment-Approval to ask anew")
    return used is not None


def _id(given: str) -> UUID | None:
    try:
        return UUID(given)
    except ValueError:
        return None


async def _required(ups: StepUps, caller: Caller, asked: Asked, factors: list[Factor], rule: Rule) -> StepUpRequired:
    """Have a request wait for its approval, once for all that are the same."""
    found = await _waiting(ups, caller, asked, rule)
    given = found.given_at is not None
    by = f"approve it by POST /v1/approvals/{found.id}, then"
    return StepUpRequired(
        f"{'it is approved:' if given else by} send the same request with the header Muniment-Approval: {found.id}",
        approval_id=str(found.id),
        expires_at=found.expires_at.isoformat(),
        typed_data=found.typed_data(ups.place),
        factors=[{"id": str(each.id), "kind": each.kind, "name": each.name} for each in factors],
    )


# `clock_timestamp()` is volatile, so that no index is looked through by it: what may be long is asked by `now()`.
SAME: LiteralString = f"""{_STEP_UP}
WHERE s.issuer_id = :issuer AND s.print = :print AND (:per_key OR s.used_at IS NULL)
    AND s.expires_at > clock_timestamp() + make_interval(secs => :left) LIMIT 1"""
"""What waits, or is approved, of a request."""

ASKED: LiteralString = """SELECT count(*), ceil(extract(epoch FROM min(expires_at) - now()))::integer
FROM step_ups WHERE issuer_id = :issuer AND expires_at > now() AND caller_id = :caller AND given_at IS NULL"""
"""How many requests of a caller wait, and for how many seconds the first of them does."""

CLEAR: LiteralString = """DELETE FROM step_ups WHERE ctid = ANY (ARRAY(SELECT ctid FROM step_ups
    WHERE issuer_id = :issuer AND expires_at < now() - make_interval(secs => :kept)
    ORDER BY expires_at LIMIT :count FOR UPDATE SKIP LOCKED))"""
"""The oldest that were over a day ago: more at a time than come, so that none are left for long."""


async def _waiting(ups: StepUps, caller: Caller, asked: Asked, rule: Rule) -> StepUp:
    parameters: dict[str, Any] = {"issuer": caller.issuer_id, "caller": caller.id, "print": asked.print_(caller.id)}
    async with ups.db.transaction() as session:
        asked_for = {**parameters, "per_key": rule.per_key, "left": _LEFT_S}
        known = (await session.execute(text(SAME), asked_for)).one_or_none()
        if known is not None:
            return StepUp(*known)
        await _insist_on_room(session, caller)
        now: datetime = (await session.execute(text("SELECT date_trunc('second', clock_timestamp())"))).scalar_one()
        return await _ask(session, caller, asked, now, parameters)


async def _insist_on_room(session: AsyncSession, caller: Caller) -> None:
    """Make sure that a caller does not ask for approvals without end."""
    given = {"issuer": caller.issuer_id, "caller": caller.id}
    count, first_s = (await session.execute(text(ASKED), given)).one()
    if count >= ASKED_MAX:
        told = f"{ASKED_MAX} requests of this caller wait for approval: have one approved, or wait"
        raise TooManyApprovals(told, retry_after_s=max(1, first_s))


async def _ask(
    session: AsyncSession, caller: Caller, asked: Asked, now: datetime, parameters: dict[str, Any]
) -> StepUp:
    approval_id = new_id()
    expires_at_s = int(now.timestamp()) + LIFE_S
    message = asked.message(caller.issuer_id, approval_id, expires_at_s)
    # The journal keeps what they were.
    await session.execute(text(CLEAR), {"issuer": caller.issuer_id, "kept": _KEPT_S, "count": _CLEARED_MAX})
    row = StepUpRow(
        id=approval_id,
        issuer_id=caller.issuer_id,
        caller_id=caller.id,
        print=parameters["print"],
        message=message,
        expires_at=datetime.fromtimestamp(expires_at_s, UTC),
    )
    session.add(row)
    await session.flush()
    told = {name: message[name] for name in ("method", "path", "moves", "bodySha256", "idempotencyKey")}
    await _record(session, "step-up.asked", caller, approval_id, told)
    return StepUp(approval_id, caller.name, message, now, row.expires_at, None, None, None)


async def _record(session: AsyncSession, kind: str, caller: Caller, id: UUID | None, told: dict[str, Any]) -> None:
    by = {"caller": str(caller.id), "key": caller.key_id}
    body = {"approval": None if id is None else str(id), "by": by, **told}
    await journal.append(session, [Fact(kind, caller.issuer_id, body)])
