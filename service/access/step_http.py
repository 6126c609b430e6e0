"""What critical routes ask for: the approval of a second factor."""

from typing import Annotated, Any

from fastapi import Depends, Header, Request

from service.access.apikeys import Scope
from service.access.http import WRITES, Anyone, require
from service.access.queries import Caller
from service.access.signed_requests import SignedRequests
from service.access.step_approvals import PER_KEY, Approval, Rule
from service.access.step_factors import StepUps
from service.access.step_messages import Asked, Place
from service.settings import Settings

_NAME, _CHARS_MAX = "Muniment-Approval", 64
_TOLD = "The id that a 403 `step-up-required` named, once it is approved; a signature covers it."
_Named = Annotated[str | None, Header(alias=_NAME, max_length=_CHARS_MAX, description=_TOLD)]

APPROVABLE: dict[str, Any] = {
    "parameters": [
        {
            "name": _NAME,
            "in": "header",
            "required": False,
            "description": _TOLD,
            "schema": {"type": "string", "maxLength": _CHARS_MAX},
        }
    ]
}
"""What the OpenAPI document adds to routes where the amount decides: no dependency, which would cost every request."""


def _step_ups(request: Request) -> StepUps:
    settings: Settings = request.app.state.settings
    signed: SignedRequests = request.app.state.signed_requests
    place = Place(settings.chain_id, settings.factory)
    live = settings.environment == "live"
    return StepUps(request.app.state.db, signed.wallets, place, live, settings.key_encryption_key)


async def step_ups(request: Request) -> StepUps:
    """What the process judges second factors with."""
    return _step_ups(request)


StepUpsDep = Annotated[StepUps, Depends(step_ups)]


def approval_of(request: Request, caller: Caller) -> Approval:
    """The approval of a request: the same one for all that insist on it."""
    known: Approval | None = getattr(request.state, "approval", None)
    if known is not None:
        return known

    async def asked() -> Asked:
        query = request.scope["query_string"].decode("latin-1")
        path = request.scope["raw_path"].decode("latin-1") + (f"?{query}" if query else "")
        return Asked(request.method, path, await request.body(), request.headers.get("idempotency-key", ""))

    made = Approval(_step_ups(request), caller, asked, request.headers.get(_NAME))
    request.state.approval = made
    return made


async def _step_up(request: Request, caller: Anyone, _named: _Named = None) -> Approval:
    return approval_of(request, caller)


SteppingUp = Annotated[Approval, Depends(_step_up)]
"""Insists on an approval, for routes where it is the body that tells whether it is critical."""


def critical(scope: Scope, rule: Rule = PER_KEY) -> list[Any]:
    """The dependencies of a critical route: the scope first, so that nobody has anything approved in vain."""

    async def insist(approval: SteppingUp) -> None:
        await approval.insist(rule)

    return [Depends(require(scope, signed=WRITES)), Depends(insist)]
