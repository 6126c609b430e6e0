"""/v1/second-factors and /v1/approvals: what critical requests are approved with, and by whom."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from service.access import step_adding, step_approvals, step_codes, step_factors, step_messages
from service.access import step_problems as problems
from service.access.apikeys import Scope
from service.access.http import REFUSED, Administering, Anyone, Auditing, insist_on_signature
from service.access.key_problems import SecretAlreadyShown, WalletTaken
from service.access.queries import Caller
from service.access.step_approvals import OPENING, REMOVING, Passed
from service.access.step_http import SteppingUp, StepUpsDep, critical
from service.access.step_views import (
    AddedFactorView,
    ApprovalOrder,
    ApprovalView,
    ProofOrder,
    RemovedFactorView,
    SecondFactorOrder,
    SecondFactorsView,
    SecondFactorView,
)
from service.web.bodies import StrictJsonRoute
from service.web.catalogue import documented
from service.web.http import IdempotencyKey
from service.web.idempotency import IdempotencyKeyReused
from service.web.problems import BodyTooLarge

router = APIRouter(tags=["step-up"], route_class=StrictJsonRoute)


async def _signing(request: Request, caller: Anyone) -> Caller:
    insist_on_signature(request, caller)
    return caller


Approving = Annotated[Caller, Depends(_signing)]
"""Whoever has a credential of the issuer; what counts is the second factor."""


@router.post(
    "/second-factors",
    status_code=201,
    dependencies=critical(Scope.KEYS_ADMIN, OPENING),
    responses=documented(
        *(*REFUSED, BodyTooLarge, IdempotencyKeyReused, SecretAlreadyShown),
        *(*problems.CRITICAL, problems.TooManySecondFactors, WalletTaken),
    ),
)
async def add_second_factor(
    order: SecondFactorOrder,
    caller: Administering,
    key: IdempotencyKey,
    ups: StepUpsDep,
    approval: SteppingUp,
    response: Response,
) -> AddedFactorView:
    """Add a second factor; it counts once it is confirmed, within an hour. The first one needs no approval."""
    factor, secret = await step_adding.add_once(ups, caller, order, approval, key=key)
    response.headers["Location"] = f"/v1/second-factors/{factor.id}"
    shown = None if secret is None else step_codes.uri(secret, issuer="Muniment", name=factor.name)
    signed = factor.account and step_messages.typed_data(ups.place, factor.message(caller.issuer_id)).as_json()
    return AddedFactorView.added(factor, shown, signed or None)


@router.get("/second-factors", responses=documented(*REFUSED))
async def list_second_factors(caller: Auditing, ups: StepUpsDep) -> SecondFactorsView:
    """The issuer's second factors, the oldest first; those that wait to be confirmed, too."""
    found = await step_factors.factors(ups.db, caller.issuer_id)
    return SecondFactorsView(data=[SecondFactorView.of(each) for each in found])


@router.post("/second-factors/{factor_id}/confirm", responses=documented(*REFUSED, BodyTooLarge, *problems.PROOF))
async def confirm_second_factor(
    factor_id: UUID, order: ProofOrder, caller: Administering, ups: StepUpsDep
) -> SecondFactorView:
    """Let a second factor count, which proves itself now. An issuer's first one ends those that wait beside it."""
    await step_factors.confirm(ups, caller, factor_id, order.proof())
    return SecondFactorView.of(await step_factors.factor(ups.db, caller.issuer_id, factor_id))


@router.post(
    "/second-factors/{factor_id}/remove",
    dependencies=critical(Scope.KEYS_ADMIN, REMOVING),
    responses=documented(*REFUSED, *problems.CRITICAL, problems.SecondFactorNotFound),
)
async def remove_second_factor(
    factor_id: UUID, caller: Administering, ups: StepUpsDep, approval: SteppingUp
) -> RemovedFactorView:
    """End a second factor for ever."""
    try:
        await step_factors.remove(ups, caller, factor_id, approved=approval.passed is Passed.APPROVED)
    except step_factors.UnapprovedError:
        await approval.insist_anew(REMOVING)
        await step_factors.remove(ups, caller, factor_id, approved=True)
    return RemovedFactorView(id=factor_id)


@router.get("/approvals/{approval_id}", responses=documented(*REFUSED, problems.StepUpNotFound))
async def read_approval(approval_id: UUID, caller: Anyone, ups: StepUpsDep) -> ApprovalView:
    """A critical request as whoever is to approve it sees it, until its time is over."""
    return ApprovalView.of(await step_approvals.step_up(ups.db, caller.issuer_id, approval_id), ups.place)


@router.post(
    "/approvals/{approval_id}",
    responses=documented(*REFUSED, BodyTooLarge, problems.StepUpNotFound, *problems.PROOF),
)
async def give_approval(approval_id: UUID, order: ApprovalOrder, caller: Approving, ups: StepUpsDep) -> ApprovalView:
    """Approve a critical request by a second factor; then the same request goes through with Muniment-Approval."""
    await step_approvals.give(ups, caller, approval_id, order.factor_id, order.proof())
    return ApprovalView.of(await step_approvals.step_up(ups.db, caller.issuer_id, approval_id), ups.place)
