"""/v1/vault: reveals, what others must agree to, keys that passed a limit, and payments."""

from collections.abc import Mapping
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from service.access.http import REFUSED, Governing, Revealing
from service.errors import Problem
from service.vault import approvals, budgets, exporting, payments, problems, reveal_problems, revealing
from service.vault.payment_processors import PaymentProcessor
from service.vault.reveal_orders import ApprovalOrder, ExportOrder, PaymentOrder, RevealOrder
from service.vault.reveal_views import ApprovalView, ExportedView, PaymentView, RevealedView, ShownView, SuspensionView
from service.vault.routes import VaultDep
from service.web.bodies import StrictJsonRoute
from service.web.catalogue import documented
from service.web.http import IdempotencyKey
from service.web.idempotency import IdempotencyKeyReused
from service.web.paging import BadCursor, CursorParameter, Limit, Page, decode_cursor, encode_cursor, page
from service.web.problems import BodyTooLarge

router = APIRouter(prefix="/vault", tags=["vault"], route_class=StrictJsonRoute)

GRANTED: tuple[type[Problem], ...] = (
    reveal_problems.RevealRefused,
    reveal_problems.RevealSuspended,
    reveal_problems.ApprovalMissing,
    reveal_problems.RevealUnrecorded,
)
"""Problems of whatever reveals under a policy's rules."""

_ASK: tuple[type[Problem], ...] = (
    *REFUSED,
    BodyTooLarge,
    problems.VaultKeysUnavailable,
    problems.VaultTokenNotFound,
    problems.NotOfThisPolicy,
    problems.RecordDamaged,
)


async def _processors(request: Request) -> Mapping[str, PaymentProcessor]:
    found: Mapping[str, PaymentProcessor] = request.app.state.processors
    return found


Processors = Annotated[Mapping[str, PaymentProcessor], Depends(_processors)]


@router.post("/reveal", responses=documented(*_ASK, *GRANTED, problems.PolicyNotFound))
async def reveal_values(order: RevealOrder, caller: Revealing, vault: VaultDep) -> RevealedView:
    """See values again, as far as the reveal rules of their policies let: 1 to 500, all under one entry in the journal.

    The entry is there before any value leaves. A vault token that is unknown, another issuer's, expired, revoked or
    erased has the problem `vault-token-not-found`, whichever it is; lookup tells the issuer more of its own.
    """
    found = await revealing.reveal(vault, caller, order)
    return RevealedView(data=[ShownView.of(each) for each in found])


@router.post(
    "/export",
    responses=documented(
        *REFUSED,
        *GRANTED,
        BadCursor,
        BodyTooLarge,
        problems.PolicyNotFound,
        problems.VaultKeysUnavailable,
        reveal_problems.NotExportable,
    ),
)
async def export_vault_tokens(
    order: ExportOrder,
    caller: Revealing,
    vault: VaultDep,
    cursor: CursorParameter = None,
    limit: Limit = 500,
) -> Page[ExportedView]:
    """All active vault tokens of a policy with their values, oldest first, where its mapping mode is exportable.

    Each page is a reveal of its own: under the policy's rules for the view plain, taken off the budgets, and in the
    journal before it leaves. An export that was cut goes on with the cursor of the last page that came whole. A policy
    that wants approvals lets none out. A record that was altered has the problem `record-damaged` in place of its
    value, and those that come after it are told, too.
    """
    of = f"vault-export:{order.policy}"
    after = decode_cursor(cursor, of, UUID)[0] if cursor else None
    found = await exporting.export(vault, caller, order, after=after, count_max=limit)
    next_cursor = None if found.next_after is None else encode_cursor(of, found.next_after)
    return Page(data=[ExportedView.of(each) for each in found.data], next_cursor=next_cursor)


@router.post(
    "/approvals",
    status_code=201,
    responses=documented(*_ASK, IdempotencyKeyReused, problems.PolicyNotFound, reveal_problems.RevealRefused),
)
async def ask_vault_approval(
    order: ApprovalOrder, caller: Revealing, key: IdempotencyKey, vault: VaultDep, response: Response
) -> ApprovalView:
    """Ask others to agree to a reveal: to these tokens, this view, this purpose and this reason, once, within a day."""
    asked = await revealing.ask_approval(vault, caller, key, order)
    response.headers["Location"] = f"/v1/vault/approvals/{asked.id}"
    return ApprovalView.of(asked)


@router.get("/approvals/{approval_id}", responses=documented(*REFUSED, reveal_problems.ApprovalNotFound))
async def read_vault_approval(approval_id: UUID, caller: Governing, vault: VaultDep) -> ApprovalView:
    """What somebody asks others to agree to, and how many did."""
    return ApprovalView.of(await approvals.approval(vault.db, issuer_id=caller.issuer_id, id=approval_id))


@router.post(
    "/approvals/{approval_id}/approve",
    responses=documented(
        *REFUSED,
        reveal_problems.ApprovalNotFound,
        reveal_problems.AnotherCallerNeeded,
        reveal_problems.ApprovalClosed,
    ),
)
async def approve_vault_reveal(approval_id: UUID, caller: Governing, vault: VaultDep) -> ApprovalView:
    """Agree to a reveal that another caller asks for."""
    return ApprovalView.of(await approvals.approve(vault, caller, approval_id))


@router.get("/suspensions", responses=documented(*REFUSED, BadCursor))
async def list_vault_suspensions(
    caller: Governing, vault: VaultDep, cursor: CursorParameter = None, limit: Limit = 50
) -> Page[SuspensionView]:
    """API keys of the issuer that passed a limit, newest first."""
    before = decode_cursor(cursor, "vault-suspensions", UUID)[0] if cursor else None
    rows = await budgets.suspensions_page(vault.db, issuer_id=caller.issuer_id, before=before, count_max=limit + 1)
    views = [SuspensionView.of(row) for row in rows]
    data, next_cursor = page(views, limit=limit, cursor_of=lambda last: encode_cursor("vault-suspensions", last.id))
    return Page(data=data, next_cursor=next_cursor)


@router.post(
    "/suspensions/{suspension_id}/lift",
    responses=documented(*REFUSED, reveal_problems.SuspensionNotFound, reveal_problems.AnotherCallerNeeded),
)
async def lift_vault_suspension(suspension_id: UUID, caller: Governing, vault: VaultDep) -> SuspensionView:
    """Let another caller reveal again; what its keys have spent today stays spent."""
    return SuspensionView.of(await budgets.lift(vault, caller, suspension_id))


@router.post(
    "/payments",
    responses=documented(
        *_ASK,
        *GRANTED,
        IdempotencyKeyReused,
        reveal_problems.ProcessorUnknown,
        reveal_problems.ProcessorUnavailable,
    ),
)
async def pay_from_vault(
    order: PaymentOrder, caller: Revealing, key: IdempotencyKey, vault: VaultDep, processors: Processors
) -> PaymentView:
    """Have a payment processor charge the card behind a vault token; the card goes there, and never to the caller.

    The policy lists the purpose `payment`; its views do not matter, and a policy that wants approvals for one value
    takes no payments.
    """
    return PaymentView.of(await payments.pay(vault, processors, caller, key, order))
