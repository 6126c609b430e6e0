"""Deploying what an issuer needs besides tokens; granting roles; acting after a delay."""

from typing import Any
from uuid import UUID

from sqlalchemy import update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from service.addresses import ZERO, checksum
from service.chain import contracts, times
from service.db import ReadConnection, new_id
from service.deployments import queries
from service.deployments.calls import deployment_intent, executed, performing, send, send_deployment
from service.deployments.orders import (
    AuthorityOrder,
    ContractOrder,
    GrantOrder,
    RevokeOrder,
)
from service.deployments.problems import ContractExists, NotReady, NotScheduled, ScheduledByAnother, ScheduledNotFound
from service.deployments.queries import ARTIFACTS, Deployment, Target
from service.deployments.tables import DeploymentRow
from service.mirror import facts
from service.mirror import queries as mirror
from service.operations import queries as operations
from service.operations.queries import Operation
from service.operations.submit import Intent, Ledger, Request, once

ROLES = {
    "admin": 0,
    "issuer": 1,
    "minter": 2,
    "compliance": 3,
    "enforcer": 4,
    "pauser": 5,
    "attester": 6,
    "anchor": 7,
    "guardian": 8,
}
"""Role numbers of IssuerAuthority."""


async def deploy_authority(ledger: Ledger, request: Request, order: AuthorityOrder) -> Operation:
    """Ask for the contract that says who may do what on all contracts of the issuer. Every other one needs it.

    Raises:
        ContractExists: deployed, or on its way.
    """
    guardian = order.guardian or ZERO
    arguments = (request.caller.signer, order.enforcer_delay_s, guardian)
    return await deploy(ledger, request, "authority", request.caller.issuer_id, "", arguments)


async def deploy_contract(ledger: Ledger, request: Request, order: ContractOrder) -> Operation:
    """Ask for one of the issuer's registries.

    Raises:
        ContractMissing, ContractNotDeployed: the authority is not there yet.
        ContractExists: deployed, or on its way.
    """

    async def make() -> Operation:
        async with ledger.db.read() as connection:
            authority = await queries.required(connection, issuer_id=request.caller.issuer_id, kind="authority")
        arguments = () if order.kind == "settlement" else (authority.address,)
        return await _deploy(ledger, request, order.kind, request.caller.issuer_id, "", arguments)

    return await once(ledger, request, make)


async def deploy(
    ledger: Ledger, request: Request, kind: str, subject_id: UUID, name: str, arguments: tuple[Any, ...]
) -> Operation:
    """Ask for a contract of a kind, for the issuer itself or for a token (`subject_id`).

    Raises:
        ContractExists: deployed, or on its way.
    """
    return await once(ledger, request, lambda: _deploy(ledger, request, kind, subject_id, name, arguments))


async def _deploy(
    ledger: Ledger, request: Request, kind: str, subject_id: UUID, name: str, arguments: tuple[Any, ...]
) -> Operation:
    async with ledger.db.read() as connection:
        former = await _failed(connection, request.caller.issuer_id, kind, subject_id)
    intent = deployment_intent(ledger, request, ARTIFACTS[kind], subject_id, *arguments)

    async def store(session: AsyncSession) -> None:
        content = {"name": name, "address": intent.contract, "operation_id": intent.id}
        if former is not None:
            stored = await session.scalar(
                update(DeploymentRow)
                .where(DeploymentRow.id == former.id, DeploymentRow.operation_id == former.operation_id)
                .values(**content)
                .returning(DeploymentRow.id)
            )
        else:
            row = {"issuer_id": request.caller.issuer_id, "kind": kind, "subject_id": subject_id}
            stored = await session.scalar(
                upsert(DeploymentRow)
                .values(id=new_id(), chain_id=ledger.chain.chain_id, **row, **content)
                .on_conflict_do_nothing(index_elements=["issuer_id", "kind", "subject_id"])
                .returning(DeploymentRow.id)
            )
        if stored is None:
            raise ContractExists(f"another request asked for the {kind} contract a moment ago: GET /v1/contracts")

    return await send_deployment(ledger, request, intent, store)


async def _failed(connection: ReadConnection, issuer_id: UUID, kind: str, subject_id: UUID) -> Deployment | None:
    former = await queries.deployment(connection, issuer_id=issuer_id, kind=kind, subject_id=subject_id)
    if former is None:
        return None
    attempt = await operations.operation(connection, issuer_id=issuer_id, id=former.operation_id)
    if attempt.status != "failed":
        raise ContractExists(f"there is one already, see GET /v1/operations/{former.operation_id}", kind=kind)
    return former


async def grant_role(ledger: Ledger, request: Request, order: GrantOrder) -> Operation:
    """Give an account a role of the issuer's authority; of a member it changes the delay.

    Raises:
        ContractMissing, ContractNotDeployed: there is no authority yet.
        Problem: the contract refuses.
    """
    arguments = (ROLES[order.role], order.account, order.delay_s)
    return await _perform(ledger, request, "role.grant", "grantRole", *arguments)


async def revoke_role(ledger: Ledger, request: Request, order: RevokeOrder) -> Operation:
    """Take a role from an account. Raises as `grant_role`, and LastAdmin."""
    return await _perform(ledger, request, "role.revoke", "revokeRole", ROLES[order.role], order.account)


async def _perform(ledger: Ledger, request: Request, kind: str, function: str, *arguments: Any) -> Operation:
    async def make() -> Operation:
        async with ledger.db.read() as connection:
            authority = await queries.required(connection, issuer_id=request.caller.issuer_id, kind="authority")
        inner = contracts.encode_call(authority.artifact, function, *arguments)
        return await send(ledger, request, performing(request, kind, authority, inner))

    return await once(ledger, request, make)


async def execute_scheduled(ledger: Ledger, request: Request, scheduled_id: bytes) -> Operation:
    """Carry out what the issuer's signer has scheduled, once its delay has passed.

    It goes through the authority, which strikes it off its list, and which only the issuer's own contracts obey.

    Raises:
        ScheduledNotFound: the authority never scheduled it.
        ScheduledByAnother: another account did, and executes it itself.
        NotReady, NotScheduled, ScheduleExpired: as their names say.
    """

    async def make() -> Operation:
        async with ledger.db.read() as connection:
            authority, state = await _scheduled(connection, request, scheduled_id)
        if state["caller"] != checksum(request.caller.signer):
            raise ScheduledByAnother(f"{state['caller']} scheduled it: that account executes it with its own key")
        if state["status"] != "scheduled":
            raise NotScheduled(f"it is {state['status']}: schedule it again")
        to, data = bytes.fromhex(state["target"][2:]), bytes.fromhex(state["data"][2:])
        inner = contracts.encode_call(authority.artifact, "execute", to, data)
        proof = _proof_of(ledger, to, data)
        intent = Intent("scheduled.execute", None, authority.address, authority.address, inner, proof)
        try:
            return await send(ledger, request, intent)
        except NotReady as refusal:
            ready_at = times.shown(int(state["ready_at"]))
            told = {**refusal.extensions, "ready_at": ready_at.isoformat()}
            raise NotReady(f"wait until {ready_at:%Y-%m-%dT%H:%M:%SZ}", **told) from refusal

    return await once(ledger, request, make)


def _proof_of(ledger: Ledger, to: bytes, data: bytes) -> tuple[bytes, bytes] | None:
    """What answers true once the scheduled call was done; None where it ends with no operation id."""
    found = contracts.operation_of(data)
    if found is None:
        return None
    artifact, burned = found
    return executed(Target(artifact, ledger.chain.chain_id, to), burned, data)


async def cancel_scheduled(ledger: Ledger, request: Request, scheduled_id: bytes) -> Operation:
    """Take a scheduled action off the list: by who scheduled it, an administrator, or the role's guardian.

    Raises:
        ScheduledNotFound: the authority never scheduled it.
        NotScheduled: executed or cancelled before.
    """

    async def make() -> Operation:
        async with ledger.db.read() as connection:
            authority, state = await _scheduled(connection, request, scheduled_id)
        given = (bytes.fromhex(state[name][2:]) for name in ("caller", "target", "data"))
        inner = contracts.encode_call(authority.artifact, "cancel", *given)
        return await send(ledger, request, performing(request, "scheduled.cancel", authority, inner))

    return await once(ledger, request, make)


async def _scheduled(
    connection: ReadConnection, request: Request, scheduled_id: bytes
) -> tuple[Target, dict[str, Any]]:
    authority = await queries.required(connection, issuer_id=request.caller.issuer_id, kind="authority")
    label = await mirror.label(connection, chain_id=authority.chain_id, at_block=None)
    contract = await mirror.contract(
        connection, chain_id=authority.chain_id, address=authority.address, block=label.block
    )
    assert contract is not None, "a required contract is mirrored"
    state = await facts.state(
        connection, contract_id=contract.id, aspect="scheduled", key=scheduled_id, block=label.block
    )
    if state is None:
        raise ScheduledNotFound("no such action: list them with GET /v1/scheduled")
    return authority, state
