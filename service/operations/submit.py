"""Accepting an intent: replay, simulate, then store it with its transaction in one DB transaction."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession

from service.access.queries import Caller
from service.chain.node import NodeRefused, NodeUnavailable
from service.chain.reader import Call, Chain, Reverted
from service.chain.reverts import Revert
from service.db import Database
from service.errors import Problem
from service.operations.tables import OperationRow
from service.telemetry import logger
from service.transactions import commands as transactions
from service.web import idempotency


class CallRefused(Problem):
    """The contract refuses this call; `revert` has its own error and arguments."""

    slug, title, status = "call-refused", "The contract refuses this", 409


@dataclass(frozen=True, slots=True)
class Ledger:
    """What every command needs from outside: Postgres, the chain, the chain's factory, and the key around keys."""

    db: Database
    chain: Chain
    factory: bytes
    key_encryption_key: SecretStr


@dataclass(frozen=True, slots=True)
class Request:
    """A caller's request and the key that makes it happen once."""

    caller: Caller
    idempotency_key: str
    method: str
    path: str
    body: dict[str, Any]

    @property
    def fingerprint(self) -> bytes:
        """What tells this request from another under the same key."""
        return idempotency.fingerprint(self.method, self.path, self.body)

    async def first_id(self, db: Database) -> str | None:
        """The last part of the resource that the key made before, or None."""
        async with db.read() as connection:
            resource = await idempotency.first_resource(
                connection, self.caller.id, self.idempotency_key, self.fingerprint
            )
        return None if resource is None else resource.rpartition("/")[2]

    async def claim(self, session: AsyncSession, resource: str) -> bool:
        """Spend the key on a resource; False when another request of the same body was faster."""
        first = await idempotency.claim(session, self.caller.id, self.idempotency_key, self.fingerprint, resource)
        return first == resource


@dataclass(frozen=True, slots=True)
class Intent:
    """What is to happen on the chain, and how it is to be told."""

    id: UUID
    kind: str
    token_id: UUID
    contract: bytes
    recipient: bytes
    data: bytes


def refused(revert: Revert, problems: Mapping[str, type[Problem]]) -> Problem:
    """The problem that means what a contract's error means."""
    kind = problems.get(revert.name, CallRefused)
    told = {"name": revert.name, "arguments": revert.arguments}
    return kind(f"the contract refuses this with {revert}", revert=told)


async def simulate(chain: Chain, call: Call) -> None:
    """Try a call on the newest block, so that a refusal costs no nonce.

    A node that does not answer proves nothing: the request is accepted, and the sender judges it later.

    Raises:
        Problem: the contract refuses.
    """
    try:
        await chain.call(call)
    except Reverted as error:
        raise refused(error.revert, reverts()) from None
    except (NodeUnavailable, NodeRefused) as error:
        logger().warning("simulation_skipped", error_kind=type(error).__name__)


def reverts() -> dict[str, type[Problem]]:
    """Problems by the contract error that they stand for."""
    return {problem.revert: problem for problem in Problem.registry.values() if problem.revert}


async def submit(session: AsyncSession, ledger: Ledger, request: Request, intent: Intent) -> bool:
    """Store an intent and its transaction. False when the key was spent meanwhile by the same request."""
    if not await request.claim(session, f"operations/{intent.id}"):
        return False
    transaction_id = await transactions.enqueue(
        session,
        chain_id=ledger.chain.chain_id,
        signer=request.caller.signer,
        recipient=intent.recipient,
        data=intent.data,
    )
    await session.execute(
        insert(OperationRow).values(
            id=intent.id,
            issuer_id=request.caller.issuer_id,
            caller_id=request.caller.id,
            kind=intent.kind,
            chain_id=ledger.chain.chain_id,
            token_id=intent.token_id,
            contract=intent.contract,
            parameters=request.body,
            transaction_id=transaction_id,
        )
    )
    return True
