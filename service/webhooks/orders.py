"""What callers ask of webhooks."""

from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from service.web.orders import Label, Order
from service.webhooks.egress import URL_CHARS_MAX
from service.webhooks.events import WANTED

OVERLAP_S, OVERLAP_MAX_S = 86_400, 604_800
TYPES_MAX = 50


def _type(text: str) -> str:
    if not WANTED.fullmatch(text):
        raise ValueError("write a type as operation.succeeded, all of a kind as vault.*, or all that is final as *")
    return text


def _different(types: list[str]) -> list[str]:
    if len(set(types)) != len(types):
        raise ValueError("name each type once")
    return types


Types = Annotated[
    list[Annotated[StrictStr, Field(max_length=80), AfterValidator(_type)]],
    Field(
        min_length=1,
        max_length=TYPES_MAX,
        description="Which facts it is told: their types, `vault.*` for a kind, `*` for all that is final. "
        "`unfinal.*` are early notices of what may still be undone; `*` has none of them.",
    ),
    AfterValidator(_different),
]
Url = Annotated[
    StrictStr,
    Field(
        min_length=1,
        max_length=URL_CHARS_MAX,
        description="https, port 443 or 8443, and a public address. It may hold a secret of yours.",
    ),
]


class WebhookOrder(Order):
    """An address to tell facts to."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"url": "https://books.example/muniment", "types": ["operation.*"]}}
    )

    url: Url = Field(repr=False)
    types: Types = ["*"]  # noqa: RUF012
    description: Label = ""
    since: Literal["now", "beginning"] = Field(
        default="now", description="`beginning`: all that the journal has of the issuer comes first."
    )


class WebhookChange(Order):
    """What is to be changed; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"example": {"enabled": True}})

    url: Url | None = Field(default=None, repr=False)
    types: Types | None = Field(default=None, description="It holds for what is told from now on.")
    description: Label | None = None
    enabled: StrictBool | None = Field(
        default=None, description="While it is false, nothing is sent; what comes up meanwhile is sent afterwards."
    )


class RotationOrder(Order):
    """A new secret and a new key pair."""

    model_config = ConfigDict(json_schema_extra={"example": {"overlap_s": OVERLAP_S}})

    overlap_s: Annotated[StrictInt, Field(ge=0, le=OVERLAP_MAX_S)] = Field(
        default=OVERLAP_S, description="So long the old ones sign, too; 0 where they leaked."
    )


class ReplayOrder(Order):
    """Deliveries that are to be sent again, each as the message that it was."""

    model_config = ConfigDict(json_schema_extra={"example": {"from": 1, "only": "dead"}})

    from_number: Annotated[StrictInt, Field(ge=1, lt=2**53)] = Field(
        alias="from", description="The first of them, by the `number` in its message."
    )
    only: Literal["all", "dead"] = Field(default="all", description="`dead`: those that were given up.")


class TrialOrder(Order):
    """A message of the type `webhook.test`, whatever types the webhook wants."""

    model_config = ConfigDict(json_schema_extra={"example": {}})
