"""Request bodies: what a caller may ask for, checked before anything else."""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field, StrictBool, StrictInt, StrictStr, model_validator

from service.addresses import Address
from service.amounts import PositiveAmount
from service.web.orders import Bytes32, Label, Name, Order, Prose

Kind = Literal["fungible", "deed", "governance", "utility"]

OPTIONS: dict[str, frozenset[str]] = {
    "fungible": frozenset({"decimals", "compliance", "reserve", "history", "terms_hash"}),
    "deed": frozenset({"compliance", "soulbound", "terms_hash"}),
    "governance": frozenset({"decimals", "cap"}),
    "utility": frozenset({"decimals", "cap"}),
}
"""What each kind of token can be told at its deployment, besides asset, name and symbol."""

BLOCK_MAX = 2**53 - 1

VOTES_MAX = 2**208 - 1
"""Most units that votes are counted for. Source: OpenZeppelin 5.7, ERC20Votes."""


class AssetOrder(Order):
    """Register the off-chain thing."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"name": "12 Harbour Street", "category": "house", "description": "Land registry folio 4711"}
        }
    )

    name: Name
    category: Literal["house", "shares", "painting", "loyalty", "other"]
    description: Prose = ""


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
                "compliance": True,
            }
        }
    )

    asset_id: UUID
    kind: Kind = "fungible"
    name: Name
    symbol: Annotated[StrictStr, Field(min_length=1, max_length=16, pattern=r"^[A-Za-z0-9.\-]+$")]
    decimals: Annotated[StrictInt, Field(ge=0, le=18, description="Not for deeds, which are whole.")] = 0
    compliance: StrictBool = Field(False, description="Ask the issuer's compliance registry about every move.")
    reserve: StrictBool = Field(False, description="Mint no more than a named attester signed for.")
    history: StrictBool = Field(False, description="Keep past balances on the chain; transfers cost more.")
    soulbound: StrictBool = Field(False, description="Deeds that their holders can't transfer. Source: ERC-5192.")
    cap: PositiveAmount | None = Field(None, description="Most units ever; governance and utility tokens need one.")
    terms_hash: Bytes32 | None = Field(None, description="Hash of the document that says what a unit is.")

    @model_validator(mode="after")
    def _fits_its_kind(self) -> "TokenOrder":
        options = {name for kind in OPTIONS.values() for name in kind}
        strange = sorted((self.model_fields_set & options) - OPTIONS[self.kind])
        if strange:
            raise ValueError(f"a {self.kind} token has no {' and no '.join(strange)}")
        if "cap" in OPTIONS[self.kind] and self.cap is None:
            raise ValueError(f"a {self.kind} token needs a cap")
        if self.kind == "governance" and self.cap is not None and self.cap > VOTES_MAX:
            raise ValueError("votes are counted up to 2**208 - 1 units: choose a smaller cap")
        return self

    @property
    def artifact(self) -> str:
        """The contract that is deployed."""
        fungible = "AssetTokenHistory" if self.history else "AssetToken"
        return {"fungible": fungible, "deed": "DeedToken", "governance": "GovernanceToken", "utility": "UtilityToken"}[
            self.kind
        ]

    @property
    def terms(self) -> dict[str, Any]:
        """What was agreed at deployment, for the token's record."""
        names = sorted(OPTIONS[self.kind] - {"decimals"})
        return {name: given for name, given in self.model_dump(mode="json").items() if name in names}


class AdoptionOrder(Order):
    """Adopt a contract that was there before us."""

    model_config = ConfigDict(json_schema_extra={"example": {"address": "0x5FbDB2315678afecb367f032d93F642f64180aa3"}})

    address: Address
    kind: Literal["erc20", "erc721"] | None = Field(None, description="What it must be; left out, it is asked.")
    name: Name | None = Field(None, description="What to call it; left out, what it calls itself.")
    start_block: Annotated[StrictInt, Field(ge=0, le=BLOCK_MAX)] | None = Field(
        None, description="Its first block or an earlier one, for where the node can't tell: no past block's state."
    )
