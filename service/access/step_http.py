"""What critical routes ask for: the approval of a second factor."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import Depends, Header, Request

from service.access import step_approvals
from service.access.apikeys import Scope
from service.access.http import WRITES, Anyone, require
from service.access.signed_requests import SignedRequests
from service.access.step_approvals import Rule
from service.access.step_factors import StepUps
from service.access.step_messages import Asked, Place
from service.settings import Settings

_Approval = Annotated[
    str | None,
    Header(
        alias="Muniment-Approval",
        max_length=64,
        description="The id that a 403 `step-up-required` named, once it is approved; a signature covers it.",
    ),
]


async def step_ups(request: Request) -> StepUps:
    """What the process judges second factors with."""
    settings: Settings = request.app.state.settings
    signed: SignedRequests = request.app.state.signed_requests
    place = Place(settings.chain_id, settings.factory)
    live = settings.environment == "live"
    return StepUps(request.app.state.db, signed.wallets, place, live, settings.key_encryption_key)


StepUpsDep = Annotated[StepUps, Depends(step_ups)]


StepUp = Callable[[Rule], Awaitable[None]]


async def _step_up(request: Request, caller: Anyone, ups: StepUpsDep, approval: _Approval = None) -> StepUp:
    async def insist(rule: Rule) -> None:
        query = request.scope["query_string"].decode("latin-1")
        path = request.scope["raw_path"].decode("latin-1") + (f"?{query}" if query else "")
        key = request.headers.get("idempotency-key", "")
        asked = Asked(request.method, path, await request.body(), key)
        await step_approvals.insist(ups, caller, asked, approval, rule)

    return insist


SteppingUp = Annotated[StepUp, Depends(_step_up)]
"""Insists on an approval, for routes where it is the body that tells whether it is critical."""


def critical(scope: Scope, *, per_key: bool = True, opens: bool = False) -> list[Any]:
    """The dependencies of a critical route: the scope first, so that nobody has anything approved in vain.

    Args:
        per_key: it has one effect for each idempotency key, by the table `requests`; else each approval opens one
            request.
        opens: an issuer's first second factor comes by it, so that it needs no approval before there is one.
    """
    rule = Rule(per_key=per_key, opens=opens)

    async def insist(step_up: SteppingUp) -> None:
        await step_up(rule)

    return [Depends(require(scope, signed=WRITES)), Depends(insist)]
