"""What callers are told of credentials; a secret only when it is made."""

from dataclasses import asdict
from datetime import date, datetime
from typing import Self
from uuid import UUID

from pydantic import BaseModel, Field

from service.access.key_limits import Limits, read_limits
from service.access.key_orders import Kind, OverlapStarts
from service.access.key_queries import KeyInfo, KeyRefusal, KeyUse
from service.access.key_states import ROTATION_DUE_DAYS, STALE_DAYS, Notice, State
from service.addresses import checksum

KEY_ID = "AxO7whPXdOT"


class KeyView(BaseModel):
    """A credential."""

    id: str = Field(description="Public: it may be written down anywhere.", examples=[KEY_ID])
    family_id: UUID = Field(description="The same for all versions of one credential.")
    version: int = Field(examples=[1])
    caller: str = Field(examples=["settlement desk"])
    environment: str | None = Field(
        description="`live` or `test`; null where only the key's own text tells.", examples=["test"]
    )
    kind: Kind
    name: str = Field(examples=["settlement desk"])
    scopes: list[str] = Field(examples=[["keys:read"]])
    limits: Limits
    state: State
    public_key: str | None = Field(description="Of kind `ed25519`, in hexadecimal.", examples=[None])
    account: str | None = Field(description="Of kind `wallet`.", examples=[None])
    chain_id: int | None = Field(description="Of kind `wallet`.", examples=[None])
    created_at: datetime
    created_by: str | None = Field(
        description="The credential it was made with; null for the command line.", examples=["b7Kq2mZr1xA"]
    )
    activated_at: datetime | None
    not_before: datetime | None
    expires_at: datetime | None
    retires_at: datetime | None = Field(description="When it ends because its successor is in use.")
    overlap_s: int | None = Field(examples=[None])
    overlap_starts: OverlapStarts | None
    replaced_by: str | None = Field(description="Its successor.", examples=[None])
    suspended_at: datetime | None
    suspended_for: str | None = Field(examples=[None])
    revoked_at: datetime | None
    revoked_for: str | None = Field(examples=[None])
    last_used_at: datetime | None = Field(description="A few seconds late.")
    notices: list[Notice] = Field(
        description="What to look at: `straggler`, in use although its successor is; `rotation-due`, older than "
        f"{ROTATION_DUE_DAYS} days; `stale`, not used for {STALE_DAYS}.",
        examples=[[]],
    )

    @classmethod
    def of(cls, key: KeyInfo) -> Self:
        """A credential as it is told."""
        told = asdict(key) | {"limits": read_limits(key.limits)}
        told["public_key"] = None if key.public_key is None else key.public_key.hex()
        told["account"] = None if key.account is None else checksum(key.account)
        return cls.model_validate(told)


class MadeKeyView(KeyView):
    """A credential that was just made."""

    secret: str | None = Field(
        default=None,
        description="Shown now and never again: a whole API key, or of kind `hmac` 32 bytes in hexadecimal.",
        examples=["munsk_test_…"],
        repr=False,
    )


class KeysView(BaseModel):
    """Credentials."""

    data: list[KeyView]


class KeyUseView(BaseModel):
    """How often a credential called an operation from a network on a UTC day."""

    day: date = Field(examples=["2026-11-22"])
    operation: str = Field(description="Its name in the OpenAPI document.", examples=["list_holders"])
    network: str = Field(description="A /24, of IPv6 a /48.", examples=["203.0.113.0/24"])
    count: int = Field(examples=[17])
    failed_count: int = Field(description="Of these, answers with a status from 400 on.", examples=[0])


class KeyRefusalView(BaseModel):
    """How often a credential opened nothing on a UTC day, and why."""

    day: date = Field(examples=["2026-11-22"])
    reason: str = Field(
        description="Callers are told `expired`, `signature-stale`, `nonce-replayed`, `quota-exceeded` alone.",
        examples=["suspended"],
    )
    network: str = Field(description="The last one it came from.", examples=["203.0.113.0/24"])
    count: int = Field(examples=[4])


class KeyUsesView(BaseModel):
    """What a credential was used for, and refused for, the newest day first."""

    data: list[KeyUseView]
    refusals: list[KeyRefusalView]

    @classmethod
    def of(cls, uses: list[KeyUse], refusals: list[KeyRefusal]) -> Self:
        """Uses and refusals as they are told."""
        return cls(
            data=[KeyUseView.model_validate(asdict(each)) for each in uses],
            refusals=[KeyRefusalView.model_validate(asdict(each)) for each in refusals],
        )


class RevokedView(BaseModel):
    """How many credentials were ended."""

    revoked_count: int = Field(examples=[7])


class ReportedView(BaseModel):
    """How many keys were reported; whether any was known is not told."""

    reported_count: int = Field(examples=[1])


class WhoView(BaseModel):
    """Who asks, and with what."""

    caller: str = Field(examples=["settlement desk"])
    caller_id: UUID
    issuer_id: UUID
    role: str | None = Field(description="What the caller is for: nothing opens beyond it.", examples=[None])
    key_id: str = Field(examples=[KEY_ID])
    kind: Kind
    environment: str = Field(examples=["test"])
    scopes: list[str] = Field(examples=[["issue"]])
    limits: Limits
    signed: bool = Field(description="Whether this request was signed.")
    retires_at: datetime | None = Field(description="When the credential ends, its successor being in use.")
    replaced_by: str | None = Field(examples=[None])


class TimeView(BaseModel):
    """Our clock."""

    unix_s: float = Field(description="Seconds since 1970, UTC.", examples=[1_795_300_711.25])
