"""Documents, their chunks, and commitments, in the schema `vault`. No name, content or attribute is in clear."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Base
from service.vault.tables import SCHEMA, PolicyRow, SubjectRow


class DocumentRow(Base):
    """A document, whole or half received. `sealed` holds its key, its name, its media type and its digest.

    `received_bytes` is a multiple of a chunk's size until the document is whole. It is gone after `expires_at`: of a
    half one each chunk puts that off, and a whole one has it from the erasure of its subject on.
    """

    __tablename__ = "documents"
    __table_args__ = (
        Index("documents_issuer_id_id_idx", "issuer_id", "id"),
        Index("documents_expires_at_idx", "expires_at", postgresql_where=text("expires_at IS NOT NULL")),
        Index("documents_subject_id_id_idx", "subject_id", "id", postgresql_where=text("subject_id IS NOT NULL")),
        Index("documents_policy_id_id_idx", "policy_id", "id"),
        Index(
            "documents_asset_token_id_id_idx",
            *("asset_token_id", "id"),
            postgresql_where=text("asset_token_id IS NOT NULL"),
        ),
        {"schema": SCHEMA},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    issuer_id: Mapped[UUID]
    policy_id: Mapped[UUID] = mapped_column(ForeignKey(PolicyRow.id))
    subject_id: Mapped[UUID | None] = mapped_column(ForeignKey(SubjectRow.id))
    asset_token_id: Mapped[UUID | None]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    received_bytes: Mapped[int] = mapped_column(BigInteger, server_default="0")
    data_version: Mapped[int] = mapped_column(BigInteger)
    sealed: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    completed_at: Mapped[datetime | None]


class DocumentChunkRow(Base):
    """A chunk under its document's key; see `document_chunks`."""

    __tablename__ = "document_chunks"
    __table_args__ = {"schema": SCHEMA}  # noqa: RUF012

    document_id: Mapped[UUID] = mapped_column(ForeignKey(DocumentRow.id, ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    sealed: Mapped[bytes]


class CommitmentRow(Base):
    """Attributes under one Merkle root. `sealed` holds their names, values and salts, until their subject is erased."""

    __tablename__ = "commitments"
    __table_args__ = (
        Index("commitments_issuer_id_id_idx", "issuer_id", "id"),
        Index("commitments_subject_id_idx", "subject_id", postgresql_where=text("subject_id IS NOT NULL")),
        {"schema": SCHEMA},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    issuer_id: Mapped[UUID]
    policy_id: Mapped[UUID] = mapped_column(ForeignKey(PolicyRow.id))
    asset_token_id: Mapped[UUID | None]
    root: Mapped[bytes]
    data_version: Mapped[int | None] = mapped_column(BigInteger)
    sealed: Mapped[bytes | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    subject_id: Mapped[UUID | None] = mapped_column(ForeignKey(SubjectRow.id))
    erased_at: Mapped[datetime | None]
