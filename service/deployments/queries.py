"""Reading what an issuer has on the chain. Another issuer's is not there."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from service.db import ReadConnection
from service.deployments.problems import ContractMissing, ContractNotDeployed, GovernorNotFound
from service.mirror import queries as mirror

ARTIFACTS = {
    "authority": "IssuerAuthority",
    "compliance": "ComplianceRegistry",
    "documents": "DocumentRegistry",
    "reserve": "ReserveAttestation",
    "anchor": "AuditAnchor",
    "distributor": "Distributor",
    "settlement": "Settlement",
    "governor": "AssetGovernor",
}
"""The compiled contract of each kind."""

_COLUMNS = "id, kind, subject_id, name, chain_id, address, operation_id, created_at"


@dataclass(frozen=True, slots=True)
class Deployment:
    """A contract of the issuer's; `operation_id` deploys it."""

    id: UUID
    kind: str
    subject_id: UUID
    name: str
    chain_id: int
    address: bytes
    operation_id: UUID
    created_at: datetime

    @property
    def artifact(self) -> str:
        """The name of the compiled contract."""
        return ARTIFACTS[self.kind]


@dataclass(frozen=True, slots=True)
class Target:
    """A contract that is on the chain, and how to speak to it."""

    artifact: str
    chain_id: int
    address: bytes
    token_id: UUID | None = None


async def _rows(connection: ReadConnection, query: str, **parameters: Any) -> list[Deployment]:
    cursor = await connection.execute(f"SELECT {_COLUMNS} FROM deployments WHERE {query}", parameters)
    return [Deployment(*row) for row in await cursor.fetchall()]


async def deployment(
    connection: ReadConnection, *, issuer_id: UUID, kind: str, subject_id: UUID | None = None
) -> Deployment | None:
    """The issuer's contract of a kind, or None; `subject_id` is the token of a governor."""
    found = await _rows(
        connection,
        "issuer_id = %(issuer_id)s AND kind = %(kind)s AND subject_id = %(subject_id)s",
        issuer_id=issuer_id,
        kind=kind,
        subject_id=subject_id or issuer_id,
    )
    return found[0] if found else None


async def deployments(connection: ReadConnection, *, issuer_id: UUID) -> list[Deployment]:
    """Every contract of an issuer but its tokens, newest first: a handful."""
    return await _rows(connection, "issuer_id = %(issuer_id)s ORDER BY id DESC", issuer_id=issuer_id)


async def governor(connection: ReadConnection, *, issuer_id: UUID, id: UUID) -> Deployment:
    """One governor of an issuer.

    Raises:
        GovernorNotFound: none, or another issuer's.
    """
    found = await _rows(
        connection, "issuer_id = %(issuer_id)s AND kind = 'governor' AND id = %(id)s", issuer_id=issuer_id, id=id
    )
    if not found:
        raise GovernorNotFound(f"no governor {id}: deploy one with POST /v1/governors, or list them with GET")
    return found[0]


async def standing(connection: ReadConnection, deployment: Deployment) -> Target:
    """A contract as a target of calls, when the mirror has seen it on the chain.

    Raises:
        ContractNotDeployed: not yet, or its deployment failed.
    """
    label = await mirror.label(connection, chain_id=deployment.chain_id, at_block=None)
    at = await mirror.contract(connection, chain_id=deployment.chain_id, address=deployment.address, block=label.block)
    if at is None:
        raise ContractNotDeployed(
            f"wait for the operation that deploys it: GET /v1/operations/{deployment.operation_id}"
        )
    return Target(deployment.artifact, deployment.chain_id, deployment.address)


async def required(connection: ReadConnection, *, issuer_id: UUID, kind: str) -> Target:
    """The issuer's contract of a kind, on the chain.

    Raises:
        ContractMissing: the issuer has not asked for one.
        ContractNotDeployed: it is on its way.
    """
    return await standing(connection, await asked_for(connection, issuer_id=issuer_id, kind=kind))


async def asked_for(connection: ReadConnection, *, issuer_id: UUID, kind: str) -> Deployment:
    """The issuer's contract of a kind, on the chain or on its way.

    Raises:
        ContractMissing: the issuer has not asked for one.
    """
    found = await deployment(connection, issuer_id=issuer_id, kind=kind)
    if found is None:
        path = "/v1/authority" if kind == "authority" else "/v1/contracts"
        raise ContractMissing(f"this issuer has no {kind} contract: deploy it once with POST {path}", kind=kind)
    return found
