"""Identities, policies, documents, reserves and previews on the wire: times as RFC 3339, rules and names by name."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from service.addresses import Address
from service.amounts import Amount
from service.chain.times import LAST
from service.chain.typed_data import TypedData
from service.compliance.orders import COUNTRY_RULES, INVESTOR, write_time
from service.operations.labels import LabelView
from service.tokens.controls import ALICE, HASH
from service.web.orders import Bytes32, text32

TIMES = ("expires_at", "issued_at", "effective_from", "unlocks_at")
"""Seconds since 1970 in what the mirror keeps, where 0 means none."""

SINCE = Field(description="It has been so from this block on.", examples=[42])


def told(state: Mapping[str, Any]) -> dict[str, Any]:
    """What the mirror keeps of a registry, as the API tells it."""
    shown = dict(state)
    for name in TIMES:
        if name in shown:
            shown[name] = write_time(shown[name]) if shown[name] else None
    if "country_rule" in shown:
        shown["country_rule"] = COUNTRY_RULES[shown["country_rule"]]
    if "lots" in shown:
        shown["lots"] = [told(lot) for lot in shown["lots"]]
    if "name" in shown:
        shown["name"] = name_text(bytes.fromhex(shown["name"][2:]))
    if "hash" in shown:
        shown["document_hash"] = shown.pop("hash")
    return shown


def name_text(name: bytes) -> str:
    """A contract's 32-byte name as text where it is such text as this API writes, else as 0x and hexadecimal digits."""
    try:
        text = name.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        text = ""
    return text if text.strip() and text.isprintable() and text32(text) == name else f"0x{name.hex()}"


def read_name(text: str) -> bytes:
    """The 32 bytes that `name_text` writes so.

    Raises:
        ValueError: longer than 32 bytes, and not 0x with 64 hexadecimal digits.
    """
    if text.startswith("0x") and len(text) == 66:
        return bytes.fromhex(text[2:])
    name = text32(text)
    if len(name) > 32:
        raise ValueError("at most 32 bytes of UTF-8, or 0x and 64 hexadecimal digits")
    return name


class IdentityView(BaseModel):
    """What is attested about an investor."""

    investor: Bytes32 = Field(examples=[INVESTOR])
    country: int = Field(description="ISO 3166-1 numeric; 0 is unknown.", examples=[756])
    level: int = Field(examples=[2])
    expires_at: datetime | None = Field(description=f"From then on it is void; null for never. {LAST}")
    attester: Address = Field(description="Who said so.", examples=[ALICE])
    since_block: int = SINCE


class AttestedView(BaseModel):
    """What is attested about an investor, without its id."""

    country: int = Field(description="ISO 3166-1 numeric; 0 is unknown.", examples=[756])
    level: int = Field(examples=[2])
    expires_at: datetime | None = Field(description=f"From then on it is void; null for never. {LAST}")
    attester: Address = Field(description="Who said so.", examples=[ALICE])


class InvestorView(BaseModel):
    """All that the registry knows about an investor."""

    investor: Bytes32 = Field(examples=[INVESTOR])
    identity: AttestedView | None = Field(description="Null where nothing is attested.")
    blocked: bool = Field(description="Every move by or to the investor is refused.")
    reason_hash: Bytes32 | None = Field(description="Of the newest block or end of a block.", examples=[HASH])
    wallets: list[Address] = Field(examples=[[ALICE]])
    at: LabelView


class WalletView(BaseModel):
    """Whose wallet a wallet is."""

    wallet: Address = Field(examples=[ALICE])
    investor: Bytes32 = Field(examples=[INVESTOR])
    since_block: int = SINCE


class LabelledWallet(BaseModel):
    """Whose wallet a wallet is, and the block that the answer describes."""

    wallet: Address = Field(examples=[ALICE])
    investor: Bytes32 | None = Field(description="Null where it is nobody's.", examples=[INVESTOR])
    at: LabelView


class CountryLimitView(BaseModel):
    """One country's own limit."""

    country: int = Field(examples=[756])
    holders_max: int = Field(examples=[100])
    since_block: int = SINCE


class PolicyView(BaseModel):
    """The rules of a token; 0 is no limit."""

    level_min: int = Field(examples=[1])
    country_rule: Literal["none", "only", "except"]
    countries: list[int] = Field(examples=[[756]])
    holders_max: int = Field(examples=[2000])
    country_holders_max: int = Field(examples=[0])
    holding_max: Amount = Field(examples=["0"])
    country_limits: list[CountryLimitView] = Field(description="Countries with a limit of their own.")
    at: LabelView


class LotView(BaseModel):
    """Base units that an investor may not go below before a time."""

    amount: Amount = Field(examples=["1000"])
    unlocks_at: datetime | None = Field(description=f"Null where it never bound. {LAST}")


class LotsView(BaseModel):
    """What an investor may not go below yet."""

    investor: Bytes32 = Field(examples=[INVESTOR])
    lots: list[LotView]
    since_block: int = SINCE


class DocumentView(BaseModel):
    """A document in force."""

    subject: Address = Field(examples=[ALICE])
    name: str = Field(description="Text, or 0x and 64 hexadecimal digits.", examples=["prospectus"])
    version: int = Field(examples=[1])
    uri: str = Field(examples=["https://example.com/prospectus.pdf"])
    document_hash: Bytes32 = Field(examples=[HASH])
    effective_from: datetime | None = Field(description=f"Null where the document says so itself. {LAST}")
    since_block: int = SINCE


class AttestedReserveView(BaseModel):
    """What an attester signed for."""

    amount: Amount = Field(examples=["1000000"])
    issued_at: datetime = Field(description=LAST)
    expires_at: datetime | None = Field(description=LAST)
    attester: Address = Field(examples=[ALICE])


class ReserveView(BaseModel):
    """Who vouches for a token's reserve, and the newest word of this attester."""

    attester: Address | None = Field(description="Null for nobody.", examples=[ALICE])
    attestation: AttestedReserveView | None = Field(description="Null where nothing is attested that counts.")
    at: LabelView


class TypedDataView(BaseModel):
    """What an account is to sign with eth_signTypedData_v4."""

    typed_data: dict[str, Any] = Field(examples=[{"primaryType": "ReserveAttestation", "message": {"amount": "7"}}])

    @classmethod
    def of(cls, typed: TypedData) -> "TypedDataView":
        """The view of a message."""
        return cls(typed_data=typed.as_json())


class RevertView(BaseModel):
    """The contract's own error."""

    name: str = Field(examples=["TransferRestricted"])
    arguments: dict[str, str] = Field(examples=[{"code": "22"}])


class RefusalView(BaseModel):
    """The problem that the transfer would be refused with."""

    type: str = Field(examples=["/problems/transfer-restricted"])
    title: str = Field(examples=["A rule forbids this transfer"])
    detail: str = Field(examples=["receiver-blocked (0x70997970C51812dc3A010C7d01b50e0d17dc79C8): blocked"])
    revert: RevertView


class RuleView(BaseModel):
    """The first rule that forbids the transfer, with its data: what `limit` and `actual` count depends on the rule."""

    code: int = Field(examples=[22])
    name: str = Field(examples=["receiver-blocked"])
    text: str = Field(examples=["the receiver's investor is blocked"])
    account: Address | None = Field(description="Whom it concerns; null for nobody in particular.", examples=[ALICE])
    limit: Amount = Field(examples=["0"])
    actual: Amount = Field(examples=["0"])


class PreviewView(BaseModel):
    """Whether a transfer would pass in the state of a block, as the chain itself executes it."""

    allowed: bool
    problem: RefusalView | None = Field(description="Null where it is allowed.")
    rule: RuleView | None = Field(description="Null where no rule forbids it: it may still lack balance or approval.")
    at: LabelView
