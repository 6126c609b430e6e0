"""Accepting an intent: replay, simulate, then store it with its transaction in one DB transaction."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from service.access import key_amounts
from service.access.key_amounts import Moved
from service.access.queries import Caller
from service.access.step_approvals import Approval
from service.addresses import checksum
from service.chain.node import NodeRefused, NodeUnavailable
from service.chain.reader import Call, Chain, Reverted
from service.chain.reverts import Revert
from service.db import Database, new_id
from service.errors import Problem
from service.operations import queries
from service.operations.accepting import Acceptance
from service.operations.queries import Operation
from service.operations.tables import OperationRow, Status
from service.telemetry import logger
from service.transactions import commands as transactions
from service.transactions import wishes
from service.transactions.commands import Given, Wish
from service.transactions.queries import Progress, progress_of, queued
from service.web import idempotency


class CallRefused(Problem):
    """The contract refuses this call; `revert` has its own error and arguments."""

    slug, title, status = "call-refused", "The contract refuses this", 409


class NonceTaken(Problem):
    """Another transaction of the same signer and nonce was submitted before: only one of them can ever be mined."""

    slug, title, status = "nonce-taken", "This nonce belongs to another transaction", 409


@dataclass(frozen=True, slots=True)
class Ledger:
    """What every command needs from outside: Postgres, the chain, the chain's factory, and the key around keys."""

    db: Database
    chain: Chain
    factory: bytes
    key_encryption_key: SecretStr
    problems: Mapping[str, type[Problem]]  # by the contract's error of the same meaning
    acceptance: Acceptance = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "acceptance", Acceptance(self.db))


@dataclass(frozen=True, slots=True)
class Request:
    """A caller's request and the key that makes it happen once."""

    caller: Caller
    idempotency_key: str
    route: str  # method and path template
    target: str | None  # what the path names
    body: dict[str, Any]
    asked: dict[str, Any]  # the body without its defaults
    approval: Approval

    @property
    def effect_id(self) -> UUID:
        """What the contract burns, so that it happens once.

        It is made of what a retry brings again: after the database was restored from an older backup, the chain still
        refuses the second execution.
        """
        digest = hashlib.sha256(b"muniment.effect" + self.caller.id.bytes + self.idempotency_key.encode()).digest()
        return UUID(bytes=digest[:16])

    @property
    def fingerprint(self) -> bytes:
        """What tells this request from another under the same key."""
        return idempotency.fingerprint(self.route, self.target, self.asked)

    def moved(self, kind: str, token_id: UUID | None) -> Moved:
        """The base units that it names, where its operation is of a kind that moves any."""
        amount = key_amounts.named_amount(self.body) if self.caller.limits and kind.startswith("token.") else 0
        return Moved(self.caller, self.approval, token_id, amount)

    async def first_id(self, db: Database) -> str | None:
        """The last part of the resource that the key made before, or None."""
        resource = await idempotency.first_resource(db, self.caller.id, self.idempotency_key, self.fingerprint)
        return None if resource is None else resource.rpartition("/")[2]

    async def claim(self, session: AsyncSession, resource: str) -> bool:
        """Spend the key on a resource; False when the same request did so before."""
        return await idempotency.claim(session, self.caller.id, self.idempotency_key, self.fingerprint, resource)


@dataclass(frozen=True, slots=True)
class Intent:
    """What is to happen on the chain, and how it is to be told.

    `proof` is a call (recipient and data) that answers true once it has happened; until `effect_until`, whoever has
    seen `data` may make it happen.
    """

    kind: str
    token_id: UUID | None
    contract: bytes
    recipient: bytes
    data: bytes = field(repr=False)
    proof: tuple[bytes, bytes] | None
    effect_until: datetime | None = None
    given: Given | None = None  # signed by an outsider already, instead of by the issuer's signer
    id: UUID = field(default_factory=new_id)


def refused(revert: Revert, problems: Mapping[str, type[Problem]]) -> Problem:
    """The problem that means what a contract's error means."""
    kind = problems.get(revert.name, CallRefused)
    told = {"name": revert.name, "arguments": revert.arguments}
    return kind(
        **{"detail": f"the contract refuses this with {revert}", "revert": told, **kind.explained(revert.arguments)}
    )


async def simulate(ledger: Ledger, call: Call) -> None:
    """Try a call on the newest block, so that a refusal costs no nonce.

    A node that does not answer proves nothing: the request is accepted, and the sender judges it later.

    Raises:
        Problem: the contract refuses.
    """
    try:
        await ledger.chain.call(call)
    except Reverted as error:
        raise refused(error.revert, ledger.problems) from None
    except (NodeUnavailable, NodeRefused) as error:
        logger().warning("simulation_skipped", error_kind=type(error).__name__)


async def once(ledger: Ledger, request: Request, make: Callable[[], Awaitable[Operation]]) -> Operation:
    """The operation of a request's key: the one that it made before, or else what `make` makes now.

    `make` ends in `submit`, which knows a key that is spent.
    """
    try:
        request.approval.refuse_spent()
        return await make()
    except Problem:
        # The same request may have come before, and the refusal may be its effect.
        if first := await first_operation(ledger, request):
            return first
        raise


async def first_operation(ledger: Ledger, request: Request) -> Operation | None:
    """The operation that a request's key made before, or None.

    Raises:
        IdempotencyKeyReused: another request spent the key.
    """
    first = await request.first_id(ledger.db)
    if first is None:
        return None
    async with ledger.db.read() as connection:
        return await queries.operation(connection, issuer_id=request.caller.issuer_id, id=UUID(first))


async def submit(
    ledger: Ledger, request: Request, intent: Intent, *more: Callable[[AsyncSession], Awaitable[None]]
) -> Operation:
    """Store an intent and its transaction, and whatever `more` writes, in one DB transaction.

    Where the same request was faster under the same key, nothing is stored and its operation is the answer.

    Raises:
        LimitExceeded: the caller's credential may not touch the token, or not move so much.
        StepUpRequired: not without the approval of a second factor.
    """
    key_amounts.insist_on_token(request.caller, intent.token_id)
    moved = request.moved(intent.kind, intent.token_id)
    await moved.insist_alone()
    if intent.given is None and not more and not moved.is_counted:
        transaction_id = new_id()
        created_at = await ledger.acceptance.accept(_record(ledger, request, intent, transaction_id))
        if created_at is not None:
            return _pending(ledger, request, intent, queued(transaction_id, request.caller.signer), created_at)
    else:

        async def store() -> Operation | None:
            async with ledger.db.transaction() as session:
                if not await request.claim(session, f"operations/{intent.id}"):
                    return None
                stored = await _store(session, ledger, request, intent)
                for write in more:
                    await write(session)
                await moved.take(session)
                return stored

        if stored := await moved.accepted(ledger.db, store):
            return stored
    first = await first_operation(ledger, request)
    assert first is not None, "the key was spent a moment ago"
    return first


def _record(ledger: Ledger, request: Request, intent: Intent, transaction_id: UUID) -> dict[str, Any]:
    """An intent and its key as JSON that Postgres reads."""
    caller = request.caller
    return {
        "id": str(intent.id),
        "issuer_id": str(caller.issuer_id),
        "caller_id": str(caller.id),
        "key_id": caller.key_id,
        "kind": intent.kind,
        "chain_id": ledger.chain.chain_id,
        "token_id": None if intent.token_id is None else str(intent.token_id),
        "contract": wishes.hex_text(intent.contract),
        "parameters": request.body,
        "key": request.idempotency_key,
        "fingerprint": wishes.hex_text(request.fingerprint),
        "resource": f"operations/{intent.id}",
        **wishes.record(transaction_id, _wish(ledger, request, intent)),
    }


def _wish(ledger: Ledger, request: Request, intent: Intent) -> Wish:
    caller = request.caller
    return Wish(
        ledger.chain.chain_id,
        caller.signer,
        intent.recipient,
        intent.data,
        intent.proof,
        intent.effect_until,
        issuer_id=caller.issuer_id,
        caller_id=caller.id,
    )


async def _hand_over(session: AsyncSession, ledger: Ledger, request: Request, intent: Intent) -> UUID:
    if intent.given is None:
        return await transactions.enqueue(session, _wish(ledger, request, intent))
    id_ = await transactions.enqueue_given(
        session,
        intent.given,
        proof=intent.proof,
        issuer_id=request.caller.issuer_id,
        caller_id=request.caller.id,
    )
    if id_ is None:
        raise NonceTaken(
            f"nonce {intent.given.nonce} of {checksum(intent.given.signer)} belongs to another transaction here: "
            "prepare again, and sign with the nonce that it names",
            nonce=intent.given.nonce,
        )
    return id_


async def _store(session: AsyncSession, ledger: Ledger, request: Request, intent: Intent) -> Operation:
    caller, chain_id = request.caller, ledger.chain.chain_id
    transaction_id = await _hand_over(session, ledger, request, intent)
    given = intent.given
    progress = queued(transaction_id, caller.signer) if given is None else progress_of(transaction_id, given)
    created_at = await session.scalar(
        insert(OperationRow)
        .values(
            id=intent.id,
            issuer_id=caller.issuer_id,
            caller_id=caller.id,
            key_id=caller.key_id,
            kind=intent.kind,
            chain_id=chain_id,
            token_id=intent.token_id,
            contract=intent.contract,
            parameters=request.body,
            transaction_id=transaction_id,
        )
        .returning(OperationRow.created_at)
    )
    assert created_at is not None
    return _pending(ledger, request, intent, progress, created_at)


def _pending(ledger: Ledger, request: Request, intent: Intent, progress: Progress, created_at: datetime) -> Operation:
    return Operation(
        id=intent.id,
        key_id=request.caller.key_id,
        kind=intent.kind,
        chain_id=ledger.chain.chain_id,
        token_id=intent.token_id,
        contract=intent.contract,
        parameters=request.body,
        status=Status.PENDING,
        problem=None,
        created_at=created_at,
        closed_at=None,
        transaction=progress,
    )
