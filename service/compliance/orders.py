"""Request bodies about investors, policies, documents, reserves and previews."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictBool,
    StrictInt,
    StrictStr,
    WithJsonSchema,
    model_validator,
)

from service.addresses import Address
from service.amounts import PositiveAmount
from service.chain import times
from service.tokens.controls import ALICE, BOB, HASH, Uri
from service.web.orders import Bytes32, Order, ShortText, Uint256

INVESTOR = "0x" + "5e" * 32

COUNTRY_MAX = 1023
LOTS_MAX = 16
LOT_MAX = 2**192 - 1
HOLDERS_MAX = 2**32 - 1

COUNTRY_RULES = ("none", "only", "except")
"""The registry's country rules, by their numbers."""

# RFC 3339's own grammar, since parsers of ISO 8601 take much more; the fraction is taken only to be refused by name.
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def _seconds(given: Any) -> int:
    found = _TIME.fullmatch(given) if isinstance(given, str) else None
    if found is None:
        raise ValueError('give an RFC 3339 time with its offset, such as "2027-01-31T00:00:00Z"')
    if found[1]:
        raise ValueError("the chain counts whole seconds: leave the fraction out")
    try:
        seconds = int(datetime.fromisoformat(found[0].upper()).timestamp())
    except (ValueError, OverflowError):
        raise ValueError("there is no such time") from None
    if not 0 < seconds <= times.TIMESTAMP_MAX:
        raise ValueError("give a time between the years 1970 and 9999")
    return seconds


def write_time(seconds: int) -> str:
    """Seconds since 1970 as RFC 3339 in UTC, at most the last second of the year 9999."""
    return times.shown(seconds).isoformat().replace("+00:00", "Z")


Time = Annotated[
    int,
    BeforeValidator(_seconds),
    PlainSerializer(write_time, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2027-01-31T00:00:00Z"]}),
]
"""A time to the second: seconds since 1970 inside, RFC 3339 on the wire, the same for any offset."""

Country = Annotated[
    StrictInt, Field(ge=0, le=COUNTRY_MAX, description="ISO 3166-1 numeric; 0 is unknown.", examples=[756])
]
HoldersMax = Annotated[StrictInt, Field(ge=0, le=HOLDERS_MAX, description="0 for no limit.")]


def _example(**fields: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"example": fields})


Level = Annotated[StrictInt, Field(ge=1, le=255, description="The higher, the more was examined.")]


class IdentityOrder(Order):
    """Say what is attested about an investor. Its id is random and means nothing outside."""

    model_config = _example(investor=INVESTOR, country=756, level=2, expires_at="2027-01-31T00:00:00Z")

    investor: Bytes32
    country: Country
    level: Level
    expires_at: Time | None = Field(None, description="From then on it is void; null for never.")


class PersonIdentityOrder(Order):
    """Say what is attested about an investor: a person of the vault, or an id that is kept elsewhere."""

    model_config = _example(investor=INVESTOR, country=756, level=2, expires_at="2027-01-31T00:00:00Z")

    investor: Bytes32 | None = Field(
        None, description="Random, or a keyed hash. A bare hash of who it is would tell whoever guesses; see `person`."
    )
    person: UUID | None = Field(None, description="Of the vault, in place of the investor's id.")
    country: Country
    level: Level
    expires_at: Time | None = Field(None, description="From then on it is void; null for never.")

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.investor is None) == (self.person is None):
            raise ValueError("give either `investor` or `person`")
        return self


class BlockOrder(Order):
    """Refuse every move by or to an investor, or end that."""

    model_config = _example(investor=INVESTOR, blocked=True, reason_hash=HASH)

    investor: Bytes32 = Field(description="Or the address of a wallet that is linked to nobody, after 12 zero bytes.")
    blocked: StrictBool
    reason_hash: Bytes32 = Field(description="The hash of the reason, which is kept elsewhere.")


class WalletOrder(Order):
    """Say whose wallet a wallet is; null if it is nobody's."""

    model_config = _example(wallet=ALICE, investor=INVESTOR)

    wallet: Address
    investor: Bytes32 | None


def _ascending(countries: list[int]) -> list[int]:
    if len(set(countries)) != len(countries):
        raise ValueError("name each country once")
    return sorted(countries)


class PolicyOrder(Order):
    """Set all rules of a token; 0 switches a limit off. The first policy comes before the first mint."""

    model_config = _example(
        level_min=1,
        country_rule="except",
        countries=[408, 364],
        holders_max=2000,
        country_holders_max=0,
        holding_max="0",
    )

    level_min: Annotated[StrictInt, Field(ge=0, le=255, description="The least level of sender and receiver.")] = 0
    country_rule: Literal["none", "only", "except"] = "none"
    countries: Annotated[
        list[Annotated[StrictInt, Field(ge=1, le=COUNTRY_MAX)]],
        Field(max_length=COUNTRY_MAX, description="ISO 3166-1 numeric.", examples=[[756]]),
        AfterValidator(_ascending),
    ] = Field(default_factory=list)
    holders_max: HoldersMax = 0
    country_holders_max: HoldersMax = 0
    holding_max: Uint256 = Field(0, description="Base units that one investor may hold over all wallets; 0 for any.")

    @model_validator(mode="after")
    def _rule_fits_countries(self) -> Self:
        if (self.country_rule == "none") == bool(self.countries):
            raise ValueError("name countries with the rules `only` and `except`, and none without a rule")
        return self


class CountryLimitOrder(Order):
    """Give one country a limit of its own; 0 for the policy's."""

    model_config = _example(country=756, holders_max=100)

    country: Country
    holders_max: HoldersMax


def _lot(amount: int) -> int:
    if amount > LOT_MAX:
        raise ValueError("a lot is at most 2**192 - 1")
    return amount


class Lot(Order):
    """Base units that an investor may not go below before a time."""

    model_config = _example(amount="1000", unlocks_at="2027-01-31T00:00:00Z")

    amount: Annotated[PositiveAmount, AfterValidator(_lot)]
    unlocks_at: Time


class LotsOrder(Order):
    """Lock up a part of what an investor holds of a token: all lots, in place of those set before."""

    model_config = _example(investor=INVESTOR, lots=[{"amount": "1000", "unlocks_at": "2027-01-31T00:00:00Z"}])

    investor: Bytes32
    lots: Annotated[list[Lot], Field(max_length=LOTS_MAX)]


class DocumentOrder(Order):
    """Publish a version of a document about a token or another contract of the issuer."""

    model_config = _example(
        subject=ALICE,
        name="prospectus",
        uri="https://example.com/prospectus.pdf",
        document_hash=HASH,
        effective_from="2027-01-31T00:00:00Z",
    )

    subject: Address
    name: ShortText
    uri: Uri
    document_hash: Bytes32
    effective_from: Time | None = Field(None, description="Null where the document says so itself.")


class DocumentRemovalOrder(Order):
    """Take a document out of force; its versions stay readable."""

    model_config = _example(subject=ALICE, name="prospectus")

    subject: Address
    name: ShortText


class AttesterOrder(Order):
    """Say who vouches for a token's reserve, null for nobody; what was attested before no longer counts."""

    model_config = _example(attester=BOB)

    attester: Address | None


class ReserveOrder(Order):
    """What an attester is to sign: how many units are backed, and from when until when its word holds."""

    model_config = _example(amount="1000000", issued_at="2026-01-31T00:00:00Z", expires_at="2027-01-31T00:00:00Z")

    amount: Uint256
    issued_at: Time
    expires_at: Time

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if self.expires_at <= self.issued_at:
            raise ValueError("expires_at is not after issued_at")
        return self


class AttestationOrder(ReserveOrder):
    """What the attester signed, and its signature. Anybody may bring it."""

    model_config = _example(
        amount="1000000",
        issued_at="2026-01-31T00:00:00Z",
        expires_at="2027-01-31T00:00:00Z",
        signature="0x" + "5a" * 65,
    )

    signature: Annotated[StrictStr, Field(pattern=r"^0x[0-9a-fA-F]{130}$")] = Field(description="r, s and v: 65 bytes.")


class PreviewOrder(Order):
    """A transfer that may or may not be sent: of an amount, or of a deed."""

    model_config = _example(**{"from": ALICE, "to": BOB, "amount": "250"})

    holder: Address = Field(alias="from")
    to: Address
    amount: PositiveAmount | None = None
    deed_id: Uint256 | None = None
    spender: Address | None = Field(None, description="Who moves it for the holder, by an approval.")

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if (self.amount is None) == (self.deed_id is None):
            raise ValueError("give an amount, or the deed_id of a deed token")
        if self.spender == self.holder:
            raise ValueError("leave spender out: a holder needs no approval")
        return self
