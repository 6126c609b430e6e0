"""Steering transactions: raise a fee, take back, consent, with a problem where it is too late."""

from collections.abc import Awaitable, Callable
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncSession

from service.addresses import checksum
from service.operators.problems import ApprovalByRequester, TransactionNotInState
from service.transactions import commands as transactions
from service.transactions.overview import Transaction

Act = Callable[[AsyncSession, Transaction], Awaitable[None]]
"""Does one thing to a transaction, in the caller's DB transaction, or raises a Problem."""


async def bump(session: AsyncSession, found: Transaction) -> None:
    """Have a better fee offered for a transaction that has a nonce and is not mined.

    Raises:
        TransactionNotInState: it has no nonce yet, it is mined or ended, or an outsider signed it.
    """
    if not (await transactions.bump(session, [found.id])).get(found.id):
        raise _elsewhere(found, "only what has a nonce and is not mined can be offered more for")


async def cancel(session: AsyncSession, found: Transaction) -> None:
    """Take a transaction back: at once where it was never signed, else once an empty one has taken its nonce.

    Raises:
        TransactionNotInState: it is mined or ended, or an outsider signed it.
    """
    if not (await transactions.cancel(session, [found.id])).get(found.id):
        raise _elsewhere(found, "only what is not mined yet can be taken back")


def approving(*, by: str, caller_id: UUID | None) -> Act:
    """The second consent of a caller, or of an operator at the command line (`caller_id` is None).

    Raises:
        ApprovalByRequester: the caller asked for it itself.
        TransactionNotInState: it is past the queue.
    """

    async def approve(session: AsyncSession, found: Transaction) -> None:
        if caller_id is not None and found.caller_id == caller_id:
            raise ApprovalByRequester("have another caller of the issuer approve it, with a key of its own")
        if not await transactions.approve(session, found.id, by=by, caller_id=caller_id):
            raise _elsewhere(found, "only what is queued can be approved")

    return approve


def _elsewhere(found: Transaction, rule: str) -> TransactionNotInState:
    told = f"it is {found.status}" if found.origin != "given" else f"{checksum(found.signer)} signed it itself"
    return TransactionNotInState(f"{told}: {rule}", transaction_status=found.status)
