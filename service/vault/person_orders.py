"""What callers ask of persons and are told of them."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from service.addresses import Address
from service.vault.orders import Reference, VaultToken
from service.vault.persons import ACCOUNTS_MAX, Person
from service.web.orders import Bytes32, Order

_ALICE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


def _different(accounts: list[bytes]) -> list[bytes]:
    if len(set(accounts)) != len(accounts):
        raise ValueError("name each account once")
    return accounts


class PersonOrder(Order):
    """A subject of the vault that is to be known on chain."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"reference": "investor-17", "name": "tok_test_4nC6hTTUmIZv6v3oTbWsdX"}}
    )

    reference: Reference = Field(repr=False, description="As it was told when values of the person were tokenized.")
    name: VaultToken | None = Field(
        default=None, repr=False, description="Of a record of the same person; null leaves it as it is."
    )


class AccountsOrder(Order):
    """All accounts of a person; what is left out is no longer the person's."""

    model_config = ConfigDict(json_schema_extra={"example": {"accounts": [_ALICE]}})

    accounts: Annotated[list[Address], Field(max_length=ACCOUNTS_MAX, repr=False), AfterValidator(_different)]


class PersonView(BaseModel):
    """A person as the chain knows it."""

    id: UUID
    investor_id: Bytes32 = Field(description="The `investor` of identities and wallets; it says nothing outside.")
    named: bool = Field(description="A cap table with names has one for it.")
    created_at: datetime
    erased_at: datetime | None

    @classmethod
    def of(cls, person: Person) -> Self:
        """A person as it is told."""
        return cls.model_validate(person, from_attributes=True)


class AccountsView(BaseModel):
    """The accounts of a person, in no order that means anything."""

    accounts: list[Address]
