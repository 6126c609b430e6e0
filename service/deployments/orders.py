"""Request bodies about an issuer's contracts and roles."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StrictInt, model_validator

from service.addresses import Address
from service.web.orders import Order

Role = Literal["admin", "issuer", "minter", "compliance", "enforcer", "pauser", "attester", "anchor", "guardian"]

DelayS = Annotated[StrictInt, Field(ge=0, le=30 * 86_400)]

ALICE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


class AuthorityOrder(Order):
    """Deploy the issuer's authority: its signer gets every role."""

    model_config = ConfigDict(json_schema_extra={"example": {"enforcer_delay_s": 86400, "guardian": ALICE}})

    enforcer_delay_s: DelayS = Field(0, description="How long the signer's forced transfers wait, in seconds.")
    guardian: Address | None = Field(None, description="May cancel what the enforcer has scheduled.")


class ContractOrder(Order):
    """Deploy one of the issuer's registries."""

    model_config = ConfigDict(json_schema_extra={"example": {"kind": "compliance"}})

    kind: Literal["compliance", "documents", "reserve", "anchor", "distributor", "settlement"]


class GrantOrder(Order):
    """Give an account a role."""

    model_config = ConfigDict(json_schema_extra={"example": {"role": "minter", "account": ALICE, "delay_s": 0}})

    role: Role
    account: Address
    delay_s: DelayS = Field(0, description="How long each of its actions waits after it was scheduled, in seconds.")

    @model_validator(mode="after")
    def _administrators_act_at_once(self) -> "GrantOrder":
        if self.role == "admin" and self.delay_s:
            raise ValueError("an administrator has no delay here: roles are granted and revoked at once")
        return self


class RevokeOrder(Order):
    """Take a role from an account."""

    model_config = ConfigDict(json_schema_extra={"example": {"role": "minter", "account": ALICE}})

    role: Role
    account: Address


class EmptyOrder(Order):
    """No fields: the path says it all."""

    model_config = ConfigDict(json_schema_extra={"example": {}})
