"""/v1/authority, /v1/contracts, /v1/roles, /v1/scheduled: an issuer's contracts besides tokens, and who may do what."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response
from fastapi import Path as PathParameter
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from service.access.apikeys import Scope
from service.access.http import REFUSED, Viewing
from service.access.step_http import critical
from service.access.step_problems import CRITICAL
from service.addresses import Address
from service.chain import times
from service.deployments import commands, problems, queries
from service.deployments.commands import ROLES
from service.deployments.orders import AuthorityOrder, ContractOrder, EmptyOrder, GrantOrder, RevokeOrder, Role
from service.operations.facts import FactView, contract_at, facts_page
from service.operations.http import CALL, ContractsAsking, LedgerDep, accepted
from service.operations.labels import LabelledPage
from service.operations.reading import READ, ReadingAt
from service.operations.views import OperationView
from service.web.bodies import StrictJsonRoute
from service.web.catalogue import documented
from service.web.http import Db
from service.web.orders import read_bytes32
from service.web.paging import BadCursor, CursorParameter, Limit

router = APIRouter(route_class=StrictJsonRoute)

Bytes32InPath = Annotated[
    bytes,
    PathParameter(description="0x and 64 hexadecimal digits."),
    BeforeValidator(read_bytes32),
    WithJsonSchema({"type": "string", "pattern": "^0x[0-9a-fA-F]{64}$", "examples": ["0x" + "8f" * 32]}),
]

_NEEDS = (problems.ContractMissing, problems.ContractNotDeployed)
_DEPLOY = (*CALL, problems.ContractExists, problems.SignerLacksRole)
_ROLE = (
    *CALL,
    *_NEEDS,
    problems.SignerLacksRole,
    problems.LastAdmin,
    problems.OperationAlreadyExecuted,
)
_SCHEDULED = (
    *_ROLE,
    problems.ScheduledNotFound,
    problems.ScheduledByAnother,
    problems.NotScheduled,
    problems.NotReady,
    problems.ScheduleExpired,
)


class DeploymentView(BaseModel):
    """A contract of the issuer's that represents no asset."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    kind: Literal["authority", "compliance", "documents", "reserve", "anchor", "distributor", "settlement", "governor"]
    name: str = Field(examples=["House council"], description="A governor's own name; empty for the others.")
    chain_id: int = Field(serialization_alias="chain", examples=[31337])
    address: Address
    operation_id: UUID = Field(description="The operation that deploys it.")
    created_at: datetime


@router.post("/authority", status_code=202, tags=["contracts"], responses=documented(*_DEPLOY))
async def deploy_authority(
    order: AuthorityOrder, ask: ContractsAsking, ledger: LedgerDep, response: Response
) -> OperationView:
    """Deploy the contract that says who may do what on all of the issuer's contracts. The first thing to do."""
    return accepted(await commands.deploy_authority(ledger, ask(order), order), response)


@router.post("/contracts", status_code=202, tags=["contracts"], responses=documented(*_DEPLOY, *_NEEDS))
async def deploy_contract(
    order: ContractOrder, ask: ContractsAsking, ledger: LedgerDep, response: Response
) -> OperationView:
    """Deploy one of the issuer's registries."""
    return accepted(await commands.deploy_contract(ledger, ask(order), order), response)


@router.get("/contracts", tags=["contracts"], responses=documented(*REFUSED))
async def list_contracts(caller: Viewing, db: Db) -> list[DeploymentView]:
    """The issuer's contracts besides its tokens: a handful, newest first."""
    async with db.read() as connection:
        rows = await queries.deployments(connection, issuer_id=caller.issuer_id)
    return [DeploymentView.model_validate(row) for row in rows]


@router.post(
    "/roles/grant",
    status_code=202,
    tags=["roles"],
    dependencies=critical(Scope.CONTRACTS_WRITE),
    responses=documented(*_ROLE, *CRITICAL),
)
async def grant_role(order: GrantOrder, ask: ContractsAsking, ledger: LedgerDep, response: Response) -> OperationView:
    """Give an account a role; of a member it changes the delay."""
    return accepted(await commands.grant_role(ledger, ask(order), order), response)


@router.post(
    "/roles/revoke",
    status_code=202,
    tags=["roles"],
    dependencies=critical(Scope.CONTRACTS_WRITE),
    responses=documented(*_ROLE, *CRITICAL),
)
async def revoke_role(order: RevokeOrder, ask: ContractsAsking, ledger: LedgerDep, response: Response) -> OperationView:
    """Take a role from an account. The last administrator stays."""
    return accepted(await commands.revoke_role(ledger, ask(order), order), response)


@router.get("/roles", tags=["roles"], responses=documented(*READ, problems.ContractMissing, BadCursor))
async def list_roles(
    reading: ReadingAt,
    role: Annotated[Role | None, Query(description="Only this role's members.")] = None,
    cursor: CursorParameter = None,
    limit: Limit = 50,
) -> LabelledPage[FactView]:
    """Who holds which role, now or at a block, with the delay of each."""
    prefix = b"" if role is None else ROLES[role].to_bytes(8)
    names = {str(number): name for name, number in ROLES.items()}
    found = await _authority_facts(reading, "role", prefix=prefix, cursor=cursor, limit=limit, of=(role or "all",))
    for fact in found.data:
        held: dict[str, Any] = fact.__pydantic_extra__ or {}
        held["role"] = names.get(str(held["role"]), str(held["role"]))
    return found


@router.get("/scheduled", tags=["scheduled"], responses=documented(*READ, problems.ContractMissing, BadCursor))
async def list_scheduled(
    reading: ReadingAt, cursor: CursorParameter = None, limit: Limit = 50
) -> LabelledPage[FactView]:
    """Every action that was ever scheduled: whether it waits, was executed or cancelled, and when it is ready.

    As `ready_at`, the last second of the year 9999 stands for any later time.
    """
    found = await _authority_facts(reading, "scheduled", cursor=cursor, limit=limit)
    for fact in found.data:
        told: dict[str, Any] = fact.__pydantic_extra__ or {}
        told["ready_at"] = times.shown(int(told["ready_at"]))
    return found


async def _authority_facts(
    reading: ReadingAt,
    aspect: str,
    *,
    prefix: bytes = b"",
    cursor: str | None,
    limit: int,
    of: tuple[str, ...] = (),
) -> LabelledPage[FactView]:
    async with reading.open() as (connection, label):
        authority = await queries.asked_for(connection, issuer_id=reading.caller.issuer_id, kind="authority")
        contract = await contract_at(connection, chain_id=label.chain, address=authority.address, label=label)
        return await facts_page(
            connection, contract, label, aspect=aspect, prefix=prefix, cursor=cursor, limit=limit, of=of
        )


@router.post(
    "/scheduled/{scheduled_id}/execute", status_code=202, tags=["scheduled"], responses=documented(*_SCHEDULED)
)
async def execute_scheduled(
    scheduled_id: Bytes32InPath, order: EmptyOrder, ask: ContractsAsking, ledger: LedgerDep, response: Response
) -> OperationView:
    """Carry out what the issuer's signer has scheduled, once its delay has passed."""
    return accepted(await commands.execute_scheduled(ledger, ask(order), scheduled_id), response)


@router.post("/scheduled/{scheduled_id}/cancel", status_code=202, tags=["scheduled"], responses=documented(*_SCHEDULED))
async def cancel_scheduled(
    scheduled_id: Bytes32InPath, order: EmptyOrder, ask: ContractsAsking, ledger: LedgerDep, response: Response
) -> OperationView:
    """Take a scheduled action off the list."""
    return accepted(await commands.cancel_scheduled(ledger, ask(order), scheduled_id), response)
