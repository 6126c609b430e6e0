"""Webhooks and deliveries on the wire."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, Field

from service.webhooks.queries import Delivery, Webhook
from service.webhooks.queueing import message_id
from service.webhooks.signing import public_text
from service.webhooks.tables import Disabled, State


class WebhookView(BaseModel):
    """A webhook and how it does."""

    id: UUID
    url: str = Field(examples=["https://books.example/muniment"])
    description: str = Field(examples=["the share register"])
    types: list[str] = Field(examples=[["operation.*"]])
    enabled: bool = Field(examples=[True])
    disabled_at: datetime | None
    disabled_for: Disabled | None = Field(
        description="`caller`: as asked; `failing`: it took nothing for 5 days; `gone`: it answered 410."
    )
    public_keys: list[str] = Field(
        description="What `v1a` signatures are verified with, the newest first; an older one is there until it ends.",
        examples=[["whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="]],
    )
    messages: int = Field(description="The number of its newest message.", examples=[7])
    pending: int = Field(
        description="Messages that are to be sent, for the first time or again; 10001 is that or more.", examples=[1]
    )
    dead: int = Field(description="Messages that were given up; a replay sends them again.", examples=[0])
    failures: int = Field(description="Sendings in a row that were not taken.", examples=[0])
    failing_since: datetime | None = Field(
        description="Since when nothing was taken, without two days between two sendings; enabling begins it anew."
    )
    created_at: datetime

    @classmethod
    def told(cls, webhook: Webhook) -> dict[str, Any]:
        """A webhook's fields as they are told."""
        return {
            "id": webhook.id,
            "url": webhook.url,
            "description": webhook.description,
            "types": webhook.types,
            "enabled": webhook.disabled_at is None,
            "disabled_at": webhook.disabled_at,
            "disabled_for": webhook.disabled_for,
            "public_keys": [public_text(each) for each in webhook.public_keys],
            "messages": webhook.number,
            "pending": webhook.pending_count,
            "dead": webhook.dead_count,
            "failures": webhook.failures,
            "failing_since": webhook.failing_since,
            "created_at": webhook.created_at,
        }

    @classmethod
    def of(cls, webhook: Webhook) -> Self:
        """A webhook as it is told."""
        return cls.model_validate(cls.told(webhook))


class SecretWebhookView(WebhookView):
    """A webhook with the secret that was just made for it."""

    secret: str | None = Field(
        repr=False,
        examples=["whsec_…"],
        description="What `v1` signatures are verified with, `whsec_…`. It is shown this once: a repeated request "
        "answers null, and where the first answer was lost, the secret is rotated.",
    )

    @classmethod
    def with_secret(cls, webhook: Webhook, secret: str | None) -> Self:
        """A webhook with its new secret."""
        return cls.model_validate({**cls.told(webhook), "secret": secret})


class TryView(BaseModel):
    """One sending of a message."""

    at: datetime
    status: int | None = Field(description="The HTTP status of the answer.", examples=[204])
    reason: str | None = Field(description="Why there is none, in a word.", examples=["timeout"])
    duration_ms: int = Field(examples=[41])


class DeliveryView(BaseModel):
    """A message to a webhook and what came of it."""

    id: str = Field(description="Its `webhook-id`, the same however often it is sent.", examples=["msg_01a2_7"])
    number: int = Field(description="Counts the webhook's messages from 1.", examples=[7])
    type: str = Field(examples=["operation.succeeded"])
    subject: str = Field(examples=["token:01a200b4-6f3e-7c31-9a5e-5d1f0c8f7a10"])
    sequence: int = Field(description="Counts the webhook's messages of this subject from 1.", examples=[2])
    state: State
    due_at: datetime | None = Field(description="When it is sent next.")
    tries: list[TryView] = Field(description="Its last sendings, the oldest first.")
    created_at: datetime

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        """A delivery as it is told."""
        return cls.model_validate(
            {
                "id": message_id(delivery.webhook_id, delivery.number),
                "number": delivery.number,
                "type": delivery.type,
                "subject": delivery.subject,
                "sequence": delivery.sequence,
                "state": delivery.state,
                "due_at": delivery.due_at if delivery.state == State.PENDING else None,
                "tries": delivery.tries,
                "created_at": delivery.created_at,
            }
        )


class ReplayView(BaseModel):
    """What a replay came to."""

    replayed: int = Field(description="So many messages are to be sent again.", examples=[3])
    next: int | None = Field(description="Where there are more, replay `from` this number on.", examples=[None])
