"""What callers ask of documents, commitments and disclosures."""

import re
from typing import Annotated
from uuid import UUID

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictInt,
    StrictStr,
    WithJsonSchema,
)

from service.vault.disclosure import ATTRIBUTES_MAX, NAME_CHARS_MAX, VALUE_CHARS_MAX
from service.vault.orders import Reason, Reference
from service.vault.policies import PurposeName
from service.web.orders import Name, Order, Prose

_MEDIA_TYPE = r"^[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}$"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_POLICY = "0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01"


def _digest(given: object) -> bytes:
    if isinstance(given, bytes):
        return given
    if not isinstance(given, str) or not _SHA256.fullmatch(given):
        raise ValueError("give 64 hexadecimal digits in lower case")
    return bytes.fromhex(given)


Sha256 = Annotated[
    bytes,
    BeforeValidator(_digest),
    PlainSerializer(bytes.hex, return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^[0-9a-f]{64}$", "examples": ["8f" * 32]}),
]
"""32 bytes inside, 64 hexadecimal digits on the wire, as sha256sum prints them."""

MediaType = Annotated[StrictStr, Field(pattern=_MEDIA_TYPE, examples=["application/pdf"])]


class DocumentOrder(Order):
    """A document whose content will follow."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "policy": _POLICY,
                "name": "Deed of 12 Harbour Street.pdf",
                "media_type": "application/pdf",
                "size_bytes": 4_194_304,
                "subject": "investor-17",
            }
        }
    )

    policy: UUID = Field(description="Of kind vault and class document.")
    name: Name = Field(repr=False)
    media_type: MediaType
    size_bytes: StrictInt = Field(ge=1, lt=2**53, description="Of the whole content; at most 1 GiB.")
    subject: Reference | None = Field(default=None, repr=False, description="The person whose erasure erases it, too.")
    asset_token_id: UUID | None = Field(default=None, description="The token of the asset that it is about.")
    sha256: Sha256 | None = Field(
        default=None, repr=False, description="The whole content must have it, or is not kept."
    )


class RevealDocumentOrder(Order):
    """Why the content of a document is to be seen."""

    model_config = ConfigDict(json_schema_extra={"example": {"purpose": "audit", "reason": "Annual audit 2026"}})

    purpose: PurposeName
    reason: Reason


def _unlike(names: list[str]) -> list[str]:
    if len(set(names)) != len(names):
        raise ValueError("name each attribute once")
    return names


AttributeName = Annotated[Name, Field(max_length=NAME_CHARS_MAX)]
AttributeValue = Annotated[Prose, Field(max_length=VALUE_CHARS_MAX)]


class CommitmentOrder(Order):
    """Attributes of an asset, to be committed to."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "policy": _POLICY,
                "attributes": {"parcel": "CH-1204-77", "valuation": "1250000"},
            }
        }
    )

    policy: UUID = Field(description="Of kind vault and class document.")
    subject: Reference | None = Field(
        default=None, repr=False, description="The person whose erasure erases them and their salts, too."
    )
    asset_token_id: UUID | None = Field(default=None, description="The token of the asset that they are about.")
    attributes: dict[AttributeName, AttributeValue] = Field(min_length=1, max_length=ATTRIBUTES_MAX, repr=False)


class DisclosureOrder(Order):
    """Attributes to be shown, and why."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "commitment": "0199f6b1-11aa-7c35-8a53-2f6f1a8f5d02",
                "names": ["valuation"],
                "purpose": "audit",
                "reason": "Annual audit 2026",
            }
        }
    )

    commitment: UUID
    names: Annotated[
        list[AttributeName], Field(min_length=1, max_length=ATTRIBUTES_MAX, repr=False), AfterValidator(_unlike)
    ]
    purpose: PurposeName
    reason: Reason
