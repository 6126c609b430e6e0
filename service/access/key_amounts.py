"""Which tokens a credential may touch, and how many units it may name, by itself or with an approval."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, LiteralString, TypeVar
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service.access.apikeys import Scope
from service.access.key_limits import Limits, read_limits
from service.access.key_problems import LimitExceeded
from service.access.queries import Caller
from service.access.step_approvals import PER_KEY, Approval
from service.db import Database, Turns

MOVING = frozenset({Scope.TOKENS_WRITE, Scope.BATCHES_WRITE})
"""Scopes whose requests name amounts, among those that a key opens."""

COUNTING_PATIENCE_S = 10.0
"""As long as for any lock."""

T = TypeVar("T")

# A caller's row of a token and day is held from here on until the DB transaction ends, so none is counted twice.
_TAKE: LiteralString = """
INSERT INTO amounts_taken AS t (caller_id, token_id, day, amount, unapproved)
SELECT :caller, :token, (now() AT TIME ZONE 'utc')::date, CAST(:amount AS numeric), CAST(:unapproved AS numeric)
WHERE CAST(:amount AS numeric) <= CAST(:most AS numeric)
    AND CAST(:unapproved AS numeric) <= CAST(:unapproved_most AS numeric)
ON CONFLICT (caller_id, token_id, day) DO UPDATE
    SET amount = t.amount + excluded.amount, unapproved = t.unapproved + excluded.unapproved
    WHERE (excluded.amount = 0 OR t.amount + excluded.amount <= CAST(:most AS numeric))
        AND (excluded.unapproved = 0 OR t.unapproved + excluded.unapproved <= CAST(:unapproved_most AS numeric))
RETURNING amount
"""

_TAKEN: LiteralString = """SELECT amount, unapproved FROM amounts_taken
WHERE caller_id = %s AND token_id = %s AND day = (now() AT TIME ZONE 'utc')::date"""


_COUNTING = Turns(1, patience_s=COUNTING_PATIENCE_S)


class _NotTakenError(Exception):
    """Other requests took meanwhile what was left."""


def insist_on_token(caller: Caller, token_id: UUID | str | None) -> None:
    """Make sure that a caller's credential may touch a token.

    Args:
        token_id: None for what is no token's, which a credential that is held to some may not touch either.

    Raises:
        LimitExceeded: it may not, whether there is such a token or not.
    """
    tokens = caller.limits.get("tokens")
    if tokens is not None and (token_id is None or str(token_id).lower() not in tokens):
        raise LimitExceeded("this key is held to some tokens, and this is not about one of them", limit="tokens")


def held_tokens(caller: Caller) -> list[UUID] | None:
    """The tokens that lists must stay with; None where a caller's credential may see all of its issuer's."""
    tokens = caller.limits.get("tokens")
    return None if tokens is None else [UUID(each) for each in tokens]


def named_amount(body: dict[str, Any]) -> int:
    """Base units that the JSON of a request names; a batch of shares their sum, and what names none 0."""
    shares = body.get("shares")
    if shares is not None:
        return sum(int(each["amount"]) for each in shares)
    return int(body.get("amount", 0))


@dataclass(frozen=True)
class Moved:
    """Base units of a token that one request names, and what may let it name so many."""

    caller: Caller
    approval: Approval
    token_id: UUID | None
    amount: int

    @property
    def is_counted(self) -> bool:
        """Whether `take` has to be asked."""
        if not self._is_held or self.token_id is None:
            return False
        return self._limits.amount_per_day is not None or self._unapproved_per_day is not None

    async def insist(self, db: Database) -> None:
        """Make sure that the request may name so much, before anything is tried or stored.

        Raises:
            LimitExceeded: more than `amount_max`, or than the day leaves.
            StepUpRequired, SecondFactorMissing, ApprovalMismatch: more than passes without an approval.
            IdempotencyKeyReused: so, and the key is spent.
        """
        if not self._is_held:
            return
        self._refuse_above_max()
        if self.is_counted:
            await self._insist_on_day(db)
        await self.insist_alone()

    async def insist_alone(self) -> None:
        """As `insist`, as far as other requests have nothing to do with it."""
        if not self._is_held:
            return
        self._refuse_above_max()
        most = self._limits.amount_unapproved_max
        if most is not None and self.amount > most:
            await self._approve()

    async def accepted(self, db: Database, store: Callable[[], Awaitable[T]]) -> T:
        """What `store` answers, which opens a DB transaction and takes in it: at last, since it holds the day's row.

        Raises:
            LimitExceeded, StepUpRequired, SecondFactorMissing, ApprovalMismatch: others took meanwhile what was left.
        """
        if not self.is_counted:
            return await store()
        while True:
            try:
                # Those that wait for one row wait here, and not each with a connection to Postgres.
                async with _COUNTING.turn((self.caller.id, self.token_id)):
                    return await store()
            except _NotTakenError:
                await self.insist(db)

    async def take(self, session: AsyncSession) -> None:
        """Take it from what the caller's day leaves, in the DB transaction that accepts the request.

        All credentials of a caller take from the same row: another key, or the next version of one, has no second
        budget. What was approved takes nothing of what passes without an approval.
        """
        if not self.is_counted:
            return
        most, unapproved_most = self._limits.amount_per_day, self._unapproved_per_day
        amount, unapproved = (0 if each is None else self.amount for each in (most, unapproved_most))
        parameters = {
            "caller": self.caller.id,
            "token": self.token_id,
            "amount": str(amount),
            "most": str(most or 0),
            "unapproved": str(unapproved),
            "unapproved_most": str(unapproved_most or 0),
        }
        if await session.scalar(text(_TAKE), parameters) is None:
            raise _NotTakenError

    def _refuse_above_max(self) -> None:
        most = self._limits.amount_max
        if most is not None and self.amount > most:
            told = f"one request of this key may name {most} base units"
            raise LimitExceeded(told, limit="amount_max", left=str(most))

    async def _insist_on_day(self, db: Database) -> None:
        rows = await db.fetch(_TAKEN, (self.caller.id, self.token_id))
        amount, unapproved = (int(rows[0][0]), int(rows[0][1])) if rows else (0, 0)
        most, unapproved_most = self._limits.amount_per_day, self._unapproved_per_day
        if most is not None and amount + self.amount > most:
            left = max(0, most - amount)
            told = f"{left} base units of this token are left to this caller until midnight UTC"
            raise LimitExceeded(told, limit="amount_per_day", left=str(left))
        if unapproved_most is not None and unapproved + self.amount > unapproved_most:
            await self._approve()

    async def _approve(self) -> None:
        await self.approval.insist(PER_KEY, f"{self.amount} base units of token {self.token_id}")
        self.approval.refuse_spent()

    @property
    def _is_held(self) -> bool:
        return bool(self.caller.limits) and self.amount > 0

    @cached_property
    def _limits(self) -> Limits:
        return read_limits(dict(self.caller.limits))

    @property
    def _unapproved_per_day(self) -> int | None:
        """What may still be taken without an approval; None where there is no such limit for this request."""
        return None if self.approval.passed else self._limits.amount_unapproved_per_day
