"""What is asked about second factors and approvals, and what is told of them."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictStr, model_validator

from service.access.key_orders import Signature
from service.access.step_approvals import StepUp
from service.access.step_factors import Factor, Proof
from service.access.step_messages import Place
from service.addresses import checksum, parse_address
from service.web.orders import Name, Order

ANY_ID = "0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01"
ACCOUNT = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"

FactorKind = Literal["totp", "account"]


class SecondFactorOrder(Order):
    """A second factor to add: an authenticator app, or an account that signs."""

    model_config = ConfigDict(json_schema_extra={"example": {"kind": "totp", "name": "phone of the treasurer"}})

    kind: FactorKind
    name: Name = Field(examples=["phone of the treasurer"])
    account: Annotated[StrictStr, AfterValidator(lambda text: checksum(parse_address(text)))] | None = Field(
        default=None, description="Of kind `account`: with a key of its own, or a contract (ERC-1271)."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.kind == "account") != (self.account is not None):
            raise ValueError("an account, and nothing else, takes account")
        return self

    @property
    def address(self) -> bytes | None:
        """The account, 20 bytes."""
        return None if self.account is None else parse_address(self.account)


class ProofOrder(Order):
    """A second factor's word: one of the two."""

    model_config = ConfigDict(json_schema_extra={"example": {"totp": "123456"}})

    totp: Annotated[StrictStr, Field(pattern="^[0-9]{6}$")] | None = Field(
        default=None, repr=False, description="The code that the app shows."
    )
    signature: Signature | None = Field(default=None, repr=False, description="The account's, of the typed data.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.totp is None) == (self.signature is None):
            raise ValueError("give either totp or signature")
        return self

    def proof(self) -> Proof:
        """What it proves itself by."""
        return Proof(self.totp, None if self.signature is None else bytes.fromhex(self.signature[2:]))


class ApprovalOrder(ProofOrder):
    """A second factor's consent."""

    model_config = ConfigDict(json_schema_extra={"example": {"factor_id": ANY_ID, "totp": "123456"}})

    factor_id: UUID = Field(description="Which second factor gives it.")


class SecondFactorView(BaseModel):
    """A second factor."""

    id: UUID
    kind: FactorKind
    name: str = Field(examples=["phone of the treasurer"])
    account: str | None = Field(description="Of kind `account`.", examples=[ACCOUNT])
    created_at: datetime
    created_by: str = Field(description="The credential it was added with.", examples=["b7Kq2mZr1xA"])
    confirmed_at: datetime | None = Field(description="Since when it counts: once it has proved itself.")

    @classmethod
    def of(cls, factor: Factor) -> Self:
        """A second factor as it is told."""
        return cls.model_validate(_told(factor))


class AddedFactorView(SecondFactorView):
    """A new second factor, and what it takes to confirm it."""

    otpauth_uri: str | None = Field(
        description="Of kind `totp`, shown once: for the app, which reads it as a QR code.",
        examples=["otpauth://totp/Muniment%3Aphone?secret=…"],
    )
    typed_data: dict[str, Any] | None = Field(
        description="Of kind `account`: to be signed with eth_signTypedData_v4.",
        examples=[{"domain": {}, "types": {}, "message": {}}],
    )

    @classmethod
    def added(cls, factor: Factor, otpauth_uri: str | None, typed_data: dict[str, Any] | None) -> Self:
        """A second factor with what is told of it when it is added."""
        return cls.model_validate({**_told(factor), "otpauth_uri": otpauth_uri, "typed_data": typed_data})


class SecondFactorsView(BaseModel):
    """All second factors of an issuer."""

    data: list[SecondFactorView]


class RemovedFactorView(BaseModel):
    """A second factor that is no more."""

    id: UUID
    removed: Literal[True] = True


class ApprovalView(BaseModel):
    """A critical request that waits for its approval, or has it."""

    id: UUID
    caller: str = Field(description="Who asks.", examples=["settlement desk"])
    method: str = Field(examples=["POST"])
    path: str = Field(description="With its query.", examples=["/v1/keys/revoke-all"])
    moves: str = Field(
        description="What it moves, where it is that which makes it critical; else empty.",
        examples=["500 base units of token 0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01"],
    )
    body: str = Field(description="As it was sent; at most 2,000 characters.", examples=['{"reason": "x"}'])
    idempotency_key: str = Field(examples=["grant-2026-0001"])
    typed_data: dict[str, Any] = Field(
        description="What an approving account signs.", examples=[{"domain": {}, "types": {}, "message": {}}]
    )
    asked_at: datetime
    expires_at: datetime
    given_at: datetime | None
    given_by: UUID | None = Field(description="The second factor that approved it.")
    used_at: datetime | None

    @classmethod
    def of(cls, found: StepUp, place: Place) -> Self:
        """A request as it is told."""
        return cls.model_validate(
            {
                **{name: found.message[name] for name in ("method", "path", "body")},
                "id": found.id,
                "moves": found.message.get("moves", ""),
                "caller": found.caller,
                "idempotency_key": found.message["idempotencyKey"],
                "typed_data": found.typed_data(place),
                **{name: getattr(found, name) for name in ("asked_at", "expires_at")},
                **{name: getattr(found, name) for name in ("given_at", "given_by", "used_at")},
            }
        )


def _told(factor: Factor) -> dict[str, Any]:
    names = ("id", "kind", "name", "created_at", "created_by", "confirmed_at")
    account = None if factor.account is None else checksum(factor.account)
    return {**{name: getattr(factor, name) for name in names}, "account": account}
