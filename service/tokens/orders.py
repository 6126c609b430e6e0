"""Request bodies: what a caller may ask for, checked before anything else."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt, StrictStr

from service.addresses import Address
from service.amounts import PositiveAmount


def _printable(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise ValueError("use printable characters, not only spaces")
    return text


def _readable(text: str) -> str:
    if not all(character.isprintable() or character in "\n\t" for character in text):
        raise ValueError("use printable characters, line feeds and tabs")
    return text


Name = Annotated[StrictStr, Field(min_length=1, max_length=120), AfterValidator(_printable)]
Label = Annotated[StrictStr, Field(max_length=120), AfterValidator(lambda text: text and _printable(text))]


class Order(BaseModel):
    """A request body: no unknown fields, no change once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def canonical(self) -> dict[str, Any]:
        """The body as JSON under its wire names, the same for any spelling of an address."""
        return self.model_dump(mode="json", by_alias=True)

    def asked(self) -> dict[str, Any]:
        """What of it is not a default: a field that a later version adds leaves it as it is."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)


class AssetOrder(Order):
    """Register the off-chain thing."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"name": "12 Harbour Street", "category": "house", "description": "Land registry folio 4711"}
        }
    )

    name: Name
    category: Literal["house", "shares", "painting", "loyalty", "other"]
    description: Annotated[StrictStr, Field(max_length=2_000), AfterValidator(_readable)] = ""


class AccountOrder(Order):
    """Register an account: with an address, an external one that signs for itself; without, a managed one."""

    model_config = ConfigDict(json_schema_extra={"example": {"label": "Alice"}})

    address: Address | None = None
    label: Label = ""


class TokenOrder(Order):
    """Deploy the token of an asset."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "asset_id": "0199f6b1-0f55-7b3e-9d3e-6a1f5b8e2c01",
                "kind": "fungible",
                "name": "12 Harbour Street",
                "symbol": "HARB12",
                "decimals": 0,
            }
        }
    )

    asset_id: UUID
    kind: Literal["fungible"] = "fungible"
    name: Name
    symbol: Annotated[StrictStr, Field(min_length=1, max_length=16, pattern=r"^[A-Za-z0-9.\-]+$")]
    decimals: Annotated[StrictInt, Field(ge=0, le=18)] = 0


class MintOrder(Order):
    """Create units for a holder."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"to": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8", "amount": "1000"}}
    )

    to: Address
    amount: PositiveAmount


class BurnOrder(Order):
    """Destroy units of a holder."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"from": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8", "amount": "1000"}},
    )

    holder: Address = Field(alias="from")
    amount: PositiveAmount


class TransferOrder(Order):
    """Move units out of a managed account."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "from": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
                "to": "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC",
                "amount": "250",
            }
        },
    )

    sender: Address = Field(alias="from")
    to: Address
    amount: PositiveAmount


class EmptyOrder(Order):
    """No fields: the path says it all."""

    model_config = ConfigDict(json_schema_extra={"example": {}})
