"""What routes that write share: the ledger, the intention of a request, and the answer 202."""

from typing import Annotated, Any, Protocol
from uuid import UUID

from fastapi import Depends, Request, Response

from service.access.apikeys import Scope
from service.access.http import REFUSED, WRITES, require
from service.access.queries import Caller
from service.access.step_http import approval_of
from service.errors import Problem
from service.mirror.queries import MirrorEmpty
from service.operations.queries import Operation
from service.operations.submit import CallRefused, Ledger
from service.operations.submit import Request as Intention
from service.operations.views import OperationView
from service.web.http import IdempotencyKey
from service.web.idempotency import IdempotencyKeyReused
from service.web.orders import Order
from service.web.problems import BodyTooLarge


async def _ledger(request: Request) -> Ledger:
    ledger: Ledger = request.app.state.ledger
    return ledger


LedgerDep = Annotated[Ledger, Depends(_ledger)]


class Asking(Protocol):
    """Makes the intention that an idempotency key names of a body, and of what the path names."""

    def __call__(self, order: Order) -> Intention: ...


def _canonical(part: str) -> str:
    """What the path names, however it was spelled: an id, an address, a hash or a number."""
    try:
        return str(UUID(part))
    except ValueError:
        return part.lower()


def asking(request: Request, caller: Caller, key: str) -> Asking:
    """What makes a caller's intentions under an idempotency key."""

    def ask(order: Order) -> Intention:
        route = f"{request.method} {request.scope['route'].path}"
        target = "/".join(map(_canonical, request.path_params.values())) or None
        approval = approval_of(request, caller)
        return Intention(caller, key, route, target, order.canonical(), order.asked(), approval)

    return ask


def asking_with(scope: Scope) -> Any:
    """A dependency: what makes a caller's intentions, whose key must have this scope."""

    async def ask(
        request: Request, caller: Annotated[Caller, Depends(require(scope, signed=WRITES))], key: IdempotencyKey
    ) -> Asking:
        return asking(request, caller, key)

    return Depends(ask)


TokensAsking = Annotated[Asking, asking_with(Scope.TOKENS_WRITE)]
ComplianceAsking = Annotated[Asking, asking_with(Scope.COMPLIANCE_WRITE)]
GovernanceAsking = Annotated[Asking, asking_with(Scope.GOVERNANCE_WRITE)]
ContractsAsking = Annotated[Asking, asking_with(Scope.CONTRACTS_WRITE)]
BatchesAsking = Annotated[Asking, asking_with(Scope.BATCHES_WRITE)]

WRITE: tuple[type[Problem], ...] = (*REFUSED, IdempotencyKeyReused, BodyTooLarge)
"""Problems of every write."""

CALL: tuple[type[Problem], ...] = (*WRITE, MirrorEmpty, CallRefused)
"""Problems of every write that reaches the chain."""


def accepted(operation: Operation, response: Response) -> OperationView:
    """The answer to a write that reaches the chain: where to poll."""
    response.headers["Location"] = f"/v1/operations/{operation.id}"
    return OperationView.of(operation)
