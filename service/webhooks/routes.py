"""/v1/webhooks: where an issuer wants to be told what is final, and what came of it."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response

from service.access.apikeys import Scope
from service.access.http import REFUSED, WRITES, require
from service.access.queries import Caller
from service.settings import Settings
from service.web.bodies import StrictJsonRoute
from service.web.catalogue import documented
from service.web.http import IdempotencyKey
from service.web.idempotency import IdempotencyKeyReused
from service.web.paging import BadCursor, CursorParameter, Limit, Page, decode_cursor, encode_cursor, page
from service.web.problems import BodyTooLarge
from service.webhooks import commands, queries
from service.webhooks.commands import Office
from service.webhooks.egress import WebhookUrlRefused
from service.webhooks.orders import ReplayOrder, RotationOrder, TrialOrder, WebhookChange, WebhookOrder
from service.webhooks.problems import TooManyWebhooks, WebhookDisabled, WebhookNotFound
from service.webhooks.sealing import Sealer
from service.webhooks.tables import State
from service.webhooks.views import DeliveryView, ReplayView, SecretWebhookView, WebhookView

router = APIRouter(prefix="/webhooks", tags=["webhooks"], route_class=StrictJsonRoute)

Listening = Annotated[Caller, Depends(require(Scope.WEBHOOKS, signed=WRITES))]
"""Whoever may decide where the issuer's facts are told."""


async def _office(request: Request) -> Office:
    settings: Settings = request.app.state.settings
    return Office(request.app.state.db, Sealer(settings.key_encryption_key), settings.webhooks_private)


OfficeDep = Annotated[Office, Depends(_office)]

_WRITE = (*REFUSED, BodyTooLarge)
_ONE = (*_WRITE, WebhookNotFound)


@router.post(
    "",
    status_code=201,
    responses=documented(*_WRITE, IdempotencyKeyReused, WebhookUrlRefused, TooManyWebhooks),
)
async def create_webhook(
    order: WebhookOrder, caller: Listening, key: IdempotencyKey, office: OfficeDep, response: Response
) -> SecretWebhookView:
    """Have facts of the issuer told to a URL as they become final, signed as Standard Webhooks 1.0 has it.

    Each message comes at least once, with the same `webhook-id` however often it is sent.
    """
    webhook, secret = await commands.create(office, caller, key, order)
    response.headers["Location"] = f"/v1/webhooks/{webhook.id}"
    return SecretWebhookView.with_secret(webhook, secret)


@router.get("", responses=documented(*REFUSED, BadCursor))
async def list_webhooks(
    caller: Listening, office: OfficeDep, cursor: CursorParameter = None, limit: Limit = 50
) -> Page[WebhookView]:
    """The issuer's webhooks, newest first."""
    before = decode_cursor(cursor, "webhooks", UUID)[0] if cursor else None
    rows = await queries.webhooks_page(office.db, issuer_id=caller.issuer_id, before=before, count_max=limit + 1)
    views = [WebhookView.of(row) for row in rows]
    data, next_cursor = page(views, limit=limit, cursor_of=lambda last: encode_cursor("webhooks", last.id))
    return Page(data=data, next_cursor=next_cursor)


@router.get("/{webhook_id}", responses=documented(*REFUSED, WebhookNotFound))
async def read_webhook(webhook_id: UUID, caller: Listening, office: OfficeDep) -> WebhookView:
    """One webhook, and how it does."""
    return WebhookView.of(await queries.webhook(office.db, issuer_id=caller.issuer_id, id=webhook_id))


@router.patch("/{webhook_id}", responses=documented(*_ONE, WebhookUrlRefused))
async def change_webhook(webhook_id: UUID, change: WebhookChange, caller: Listening, office: OfficeDep) -> WebhookView:
    """Change a webhook, disable it or enable it; what is left out stays."""
    return WebhookView.of(await commands.change(office, caller, webhook_id, change))


@router.delete("/{webhook_id}", responses=documented(*REFUSED, WebhookNotFound))
async def delete_webhook(webhook_id: UUID, caller: Listening, office: OfficeDep) -> WebhookView:
    """Delete a webhook with its secrets and what waits for it; it answers how it was."""
    return WebhookView.of(await commands.remove(office, caller, webhook_id))


@router.post("/{webhook_id}/rotate", responses=documented(*_ONE, IdempotencyKeyReused))
async def rotate_webhook_secret(
    webhook_id: UUID,
    order: RotationOrder,
    caller: Listening,
    key: IdempotencyKey,
    office: OfficeDep,
) -> SecretWebhookView:
    """Make a new secret and a new key pair; until the old ones end, every message has the signatures of both."""
    webhook, secret = await commands.rotate(office, caller, key, webhook_id, order)
    return SecretWebhookView.with_secret(webhook, secret)


@router.post("/{webhook_id}/replay", responses=documented(*_ONE, WebhookDisabled))
async def replay_webhook(webhook_id: UUID, order: ReplayOrder, caller: Listening, office: OfficeDep) -> ReplayView:
    """Send messages again from a number on, or those that were given up, each as the message that it was.

    Up to 10,000 of them: where there are more, ask again from `next`.
    """
    replayed, following = await commands.replay(office, caller, webhook_id, order)
    return ReplayView(replayed=replayed, next=following)


@router.post("/{webhook_id}/test", status_code=201, responses=documented(*_ONE, IdempotencyKeyReused, WebhookDisabled))
async def test_webhook(
    webhook_id: UUID, order: TrialOrder, caller: Listening, key: IdempotencyKey, office: OfficeDep
) -> DeliveryView:
    """Send a message of the type `webhook.test`, whatever types the webhook wants."""
    return DeliveryView.of(await commands.send_test(office, caller, key, webhook_id, order))


@router.get("/{webhook_id}/deliveries", responses=documented(*REFUSED, WebhookNotFound, BadCursor))
async def list_webhook_deliveries(
    webhook_id: UUID,
    caller: Listening,
    office: OfficeDep,
    state: Annotated[State | None, Query(description="Only those that stand so.")] = None,
    cursor: CursorParameter = None,
    limit: Limit = 50,
) -> Page[DeliveryView]:
    """A webhook's messages, newest first, with what came of each sending."""
    webhook = await queries.webhook(office.db, issuer_id=caller.issuer_id, id=webhook_id)
    before = decode_cursor(cursor, "webhook-deliveries", int)[0] if cursor else None
    rows = await queries.deliveries_page(
        office.db, webhook_id=webhook.id, state=state, before=before, count_max=limit + 1
    )
    views = [DeliveryView.of(row) for row in rows]
    data, next_cursor = page(
        views, limit=limit, cursor_of=lambda last: encode_cursor("webhook-deliveries", last.number)
    )
    return Page(data=data, next_cursor=next_cursor)
