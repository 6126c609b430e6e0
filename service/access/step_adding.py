"""A second factor is added once for each idempotency key, with the approval that it needs by then."""

from uuid import UUID

from service.access import step_factors
from service.access.key_problems import SecretAlreadyShown
from service.access.queries import Caller
from service.access.step_approvals import OPENING, Approval, Passed
from service.access.step_factors import Factor, StepUps
from service.access.step_views import SecondFactorOrder
from service.web import idempotency


class _AddedBeforeError(Exception):
    """Undoes what a request added that came twice at one moment."""


async def add_once(
    ups: StepUps, caller: Caller, order: SecondFactorOrder, approval: Approval, *, key: str
) -> tuple[Factor, bytes | None]:
    """The second factor that a request adds or has added, and the secret of a generator of codes, shown now alone.

    Raises:
        SecretAlreadyShown: it was added before, with a secret.
        StepUpRequired: the issuer's first one was confirmed meanwhile.
        Problem: as `step_factors.add` raises.
    """
    print_ = idempotency.fingerprint("add_second_factor", None, order.canonical())
    while (before := await idempotency.first_resource(ups.db, caller.id, key, print_)) is None:
        try:
            factor_id, secret = await _add(ups, caller, order, approval, key, print_)
        except _AddedBeforeError:
            continue
        except step_factors.UnapprovedError:
            await approval.insist_anew(OPENING)
        else:
            return await step_factors.factor(ups.db, caller.issuer_id, factor_id), secret
    factor = await step_factors.factor(ups.db, caller.issuer_id, UUID(before.rpartition("/")[2]))
    if factor.kind == "totp":
        detail = f"this request added {factor.id}: if its secret is lost, remove it and add another"
        raise SecretAlreadyShown(detail, key=str(factor.id))
    return factor, None


async def _add(
    ups: StepUps, caller: Caller, order: SecondFactorOrder, approval: Approval, key: str, print_: bytes
) -> tuple[UUID, bytes | None]:
    async with ups.db.transaction() as session:
        factor_id, secret = await step_factors.add(
            session,
            ups.kek,
            caller,
            kind=order.kind,
            name=order.name,
            account=order.address,
            approved=approval.passed is Passed.APPROVED,
        )
        if not await idempotency.claim(session, caller.id, key, print_, f"second-factors/{factor_id}"):
            raise _AddedBeforeError
    return factor_id, secret
