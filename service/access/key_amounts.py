"""Which tokens a credential may touch, and how many units it may name."""

from typing import Any, LiteralString
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service.access.key_limits import read_limits
from service.access.key_problems import LimitExceeded
from service.access.queries import Caller

# A caller's row of a token and day is held from here on until the DB transaction ends, so none is counted twice.
_TAKE: LiteralString = """
INSERT INTO amounts_taken AS t (caller_id, token_id, day, amount)
SELECT :caller, :token, (now() AT TIME ZONE 'utc')::date, CAST(:amount AS numeric)
WHERE CAST(:amount AS numeric) <= CAST(:limit AS numeric)
ON CONFLICT (caller_id, token_id, day) DO UPDATE SET amount = t.amount + excluded.amount
    WHERE t.amount + excluded.amount <= CAST(:limit AS numeric)
RETURNING amount
"""

_TAKEN: LiteralString = """
SELECT amount FROM amounts_taken
WHERE caller_id = :caller AND token_id = :token AND day = (now() AT TIME ZONE 'utc')::date
"""


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


def named_amount(body: dict[str, Any]) -> int:
    """Base units that the JSON of a request names; a batch of shares their sum, and what names none 0."""
    shares = body.get("shares")
    if shares is not None:
        return sum(int(each["amount"]) for each in shares)
    return int(body.get("amount", 0))


def insist_on_amount(caller: Caller, amount: int) -> None:
    """Make sure that one request may name so many base units.

    Raises:
        LimitExceeded: more than `amount_max`.
    """
    most = caller.limits.get("amount_max")
    if most is not None and amount > int(most):
        raise LimitExceeded(f"one request of this key may name {most} base units", limit="amount_max", left=most)


def is_counted(caller: Caller, amount: int) -> bool:
    """Whether `take` has to be asked."""
    return amount > 0 and caller.limits.get("amount_per_day") is not None


async def take(session: AsyncSession, caller: Caller, token_id: UUID | None, amount: int) -> None:
    """Take base units of a token from what the caller's day leaves, in the DB transaction that accepts the request.

    All credentials of a caller take from the same row: another key, or the next version of one, has no second budget.

    Raises:
        LimitExceeded: less is left.
    """
    limit = read_limits(dict(caller.limits)).amount_per_day
    if limit is None or amount == 0 or token_id is None:
        return
    asked = {"caller": caller.id, "token": token_id}
    taken = await session.scalar(text(_TAKE), {**asked, "amount": str(amount), "limit": str(limit)})
    if taken is None:
        left = max(0, limit - int(await session.scalar(text(_TAKEN), asked) or 0))
        raise LimitExceeded(
            f"{left} base units of this token are left to this caller until midnight UTC",
            limit="amount_per_day",
            left=str(left),
        )
