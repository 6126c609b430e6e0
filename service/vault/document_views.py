"""Documents, commitments and disclosures on the wire."""

from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, Field

from service.vault.commitments import Commitment
from service.vault.document_lists import Listed
from service.vault.documents import Document
from service.web.orders import Bytes32

EXAMPLE_ID = "0199f6b1-11aa-7c35-8a53-2f6f1a8f5d02"


class ListedDocumentView(BaseModel):
    """What is known of a document without opening anything of it."""

    id: UUID = Field(examples=[EXAMPLE_ID])
    policy: UUID
    subject_id: UUID | None = Field(description="Of the person whose erasure erases it.")
    asset_token_id: UUID | None
    size_bytes: int = Field(examples=[4_194_304])
    received_bytes: int = Field(description="The content goes on here.", examples=[1_048_576])
    whole: bool = Field(description="All of it came.")
    created_at: datetime
    expires_at: datetime | None = Field(description="A half document is gone then, if nothing more of it comes.")
    completed_at: datetime | None

    @classmethod
    def listed(cls, found: Listed) -> Self:
        """The view of a document in a list."""
        return cls(**_known(found))


class DocumentView(ListedDocumentView):
    """What is known of a document besides its content, name and digest, which a reveal alone tells."""

    media_type: str = Field(examples=["application/pdf"])

    @classmethod
    def of(cls, found: Document) -> Self:
        """The view of a document."""
        return cls(**_known(found), media_type=found.media_type)


def _known(found: Listed | Document) -> dict[str, Any]:
    return {
        "id": found.id,
        "policy": found.policy_id,
        "subject_id": found.subject_id,
        "asset_token_id": found.asset_token_id,
        "size_bytes": found.size_bytes,
        "received_bytes": found.received_bytes,
        "whole": found.completed_at is not None,
        "created_at": found.created_at,
        "expires_at": found.expires_at,
        "completed_at": found.completed_at,
    }


class CommitmentView(BaseModel):
    """What is known of a commitment besides its attributes."""

    id: UUID = Field(examples=[EXAMPLE_ID])
    policy: UUID
    subject_id: UUID | None = Field(description="Of the person whose erasure erases its attributes.")
    asset_token_id: UUID | None
    root: Bytes32 = Field(description="To be put on chain, as the hash of a document record.")
    created_at: datetime
    erased_at: datetime | None = Field(description="Its attributes and their salts are gone, and nothing is disclosed.")

    @classmethod
    def of(cls, found: Commitment) -> Self:
        """The view of a commitment."""
        return cls(
            id=found.id,
            policy=found.policy_id,
            subject_id=found.subject_id,
            asset_token_id=found.asset_token_id,
            root=found.root,
            created_at=found.created_at,
            erased_at=found.erased_at,
        )


class DisclosedView(BaseModel):
    """One attribute and its way to the root."""

    name: str = Field(examples=["valuation"])
    path: list[str] = Field(
        description="Siblings from the leaf up, each with its side.", examples=[["left:" + "8f" * 32]]
    )
    salt: str = Field(examples=["5e" * 32])
    value: str = Field(examples=["1250000"])


class DisclosureView(BaseModel):
    """A disclosure, whole in itself. `muniment vault check-disclosure` checks these very bytes against the root."""

    attributes: list[DisclosedView]
    form: str = Field(examples=["muniment-disclosure-1"])
