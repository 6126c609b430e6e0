"""One way to the chain for every write: a call of the issuer's signer that burns what the request brings."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from eth_hash.auto import keccak
from sqlalchemy.ext.asyncio import AsyncSession

from service.addresses import ZERO
from service.chain import contracts
from service.chain.node import NodeRefused, NodeUnavailable
from service.chain.reader import Call, Reverted
from service.db import ReadConnection
from service.deployments import queries
from service.deployments.problems import NotScheduled, OperationAlreadyExecuted
from service.deployments.queries import Target
from service.errors import Problem
from service.operations.queries import Operation
from service.operations.submit import Intent, Ledger, Request, once, simulate, submit

Write = Callable[[AsyncSession], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class RoleCall:
    """What the issuer's signer asks of a contract; the burned 32 bytes follow as the last argument."""

    kind: str
    target: Target
    function: str
    arguments: tuple[Any, ...] = field(repr=False)


async def send_role_call(
    ledger: Ledger, request: Request, read: Callable[[ReadConnection], Awaitable[RoleCall]]
) -> Operation:
    """As `send_call`, for the call that `read` makes of one database state."""

    async def find() -> RoleCall:
        async with ledger.db.read() as connection:
            return await read(connection)

    return await send_call(ledger, request, find)


async def send_call(ledger: Ledger, request: Request, find: Callable[[], Awaitable[RoleCall]]) -> Operation:
    """Submit the call that `find` answers.

    Where the signer's role acts after a delay, the operation schedules the call instead, and its kind ends with
    `.schedule`: execute it with POST /v1/scheduled/{id}/execute once the delay has passed.

    Raises:
        Problem: what `find` raises, or the contract's refusal.

    Source: OpenZeppelin 5.7, AccessManager.
    """

    async def make() -> Operation:
        call = await find()
        await request.moved(call.kind, call.target.token_id).insist(ledger.db)
        try:
            return await send(ledger, request, _direct(request, call))
        except NotScheduled:
            await _refuse_executed(ledger, _direct(request, call))
            async with ledger.db.read() as connection:
                authority = await queries.required(connection, issuer_id=request.caller.issuer_id, kind="authority")
            return await send(ledger, request, _scheduling(request, call, authority))

    return await once(ledger, request, make)


async def _refuse_executed(ledger: Ledger, direct: Intent) -> None:
    """What was done before the role got its delay is not scheduled by a retry after a restore. Silence is no proof."""
    assert direct.proof is not None, "a role call burns what proves it"
    to, data = direct.proof
    try:
        answer = await ledger.chain.call(Call(to=to, data=data, sender=ZERO))
    except (NodeUnavailable, NodeRefused, Reverted):
        return
    if int.from_bytes(answer) == 1:
        raise OperationAlreadyExecuted("the contract has executed this very request: look for its effect")


def _direct(request: Request, call: RoleCall) -> Intent:
    target = call.target
    burned = contracts.operation_nonce(target.chain_id, target.address, request.effect_id)
    data = contracts.encode_call(target.artifact, call.function, *call.arguments, burned)
    return Intent(call.kind, target.token_id, target.address, target.address, data, executed(target, burned, data))


def _scheduling(request: Request, call: RoleCall, authority: Target) -> Intent:
    """Scheduled once, too: after a restore, a retry must not put an executed action on the list again."""
    direct = _direct(request, call)
    inner = contracts.encode_call(authority.artifact, "schedule", direct.recipient, direct.data, 0)
    return performing(request, f"{call.kind}.schedule", authority, inner, token_id=call.target.token_id)


def performing(request: Request, kind: str, authority: Target, *inner: bytes, token_id: UUID | None = None) -> Intent:
    """Calls of the authority on itself, done once all together."""
    burned = contracts.operation_nonce(authority.chain_id, authority.address, request.effect_id)
    data = contracts.encode_call(authority.artifact, "perform", burned, list(inner))
    proof = executed(authority, burned, data)
    return Intent(kind, token_id, authority.address, authority.address, data, proof)


def executed(target: Target, burned: bytes, data: bytes) -> tuple[bytes, bytes]:
    """The call that answers true once a contract has burned these 32 bytes by this very call.

    Who holds a role of its own may burn an id that it sees on its way; that is no effect of ours.
    """
    return target.address, contracts.encode_call(target.artifact, "operationExecutedAs", burned, keccak(data))


async def send_deployment(ledger: Ledger, request: Request, intent: Intent, *more: Write) -> Operation:
    """Send a deployment. One that the chain has already, at the very address, is taken over as done.

    That happens after the database was restored from an older backup: the address is made of all that is asked for.

    Raises:
        Problem: the factory refuses.
    """
    try:
        await simulate(ledger, Call(to=intent.recipient, data=intent.data, sender=request.caller.signer))
    except Problem as refusal:
        if refusal.extensions.get("revert", {}).get("name") != "AlreadyDeployed":
            raise
    return await submit(ledger, request, intent, *more)


async def send(ledger: Ledger, request: Request, intent: Intent, *more: Write) -> Operation:
    """Simulate an intent as the issuer's signer, then store it.

    Raises:
        Problem: the contract refuses.
    """
    await simulate(ledger, Call(to=intent.recipient, data=intent.data, sender=request.caller.signer))
    return await submit(ledger, request, intent, *more)


def deployment_intent(
    ledger: Ledger, request: Request, artifact: str, subject_id: UUID, *arguments: Any, token_id: UUID | None = None
) -> Intent:
    """The deployment of a contract by the chain's factory, at an address that is known from now on.

    One for each issuer, subject and contract: the chain refuses the same deployment a second time.

    Source: EIP-1014 (CREATE2).
    """
    salt = deployment_salt(request.caller.issuer_id, subject_id, artifact)
    code = contracts.creation_code(artifact, *arguments)
    address = contracts.create2_address(ledger.factory, salt, keccak(code))
    data = contracts.encode_call("AssetFactory", "deploy", salt, code, contracts.name32(artifact))
    proof = (ledger.factory, contracts.encode_call("AssetFactory", "deployed", address))
    kind = "token.deploy" if token_id else "contract.deploy"
    return Intent(kind, token_id, address, ledger.factory, data, proof)


def deployment_salt(issuer_id: UUID, subject_id: UUID, artifact: str) -> bytes:
    """One for each issuer, subject and contract, so that the chain refuses the same deployment a second time."""
    return keccak(b"muniment.deployment" + issuer_id.bytes + subject_id.bytes + artifact.encode("ascii"))
