"""Schema `vault`: policies, wrapped keys, subjects, records, and sealed answers. No value is there in clear."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, UniqueConstraint, Uuid, func, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from service.access.tables import IssuerRow
from service.db import Base

SCHEMA = "vault"


class PolicyRow(Base):
    """What an issuer decided about one kind of value. Only `ttl_max_s`, `reveal` and the times ever change.

    `shape` is the token format and a custom class's rule. `crowded_at` is when the vault first saw that a hundredth of
    the format's space is used.
    """

    __tablename__ = "policies"
    __table_args__ = (UniqueConstraint("issuer_id", "name"), {"schema": SCHEMA})

    id: Mapped[UUID] = mapped_column(primary_key=True)
    issuer_id: Mapped[UUID] = mapped_column(ForeignKey(IssuerRow.id))
    name: Mapped[str]
    kind: Mapped[str]
    data_class: Mapped[str]
    shape: Mapped[dict[str, Any]]
    deterministic: Mapped[bool]
    mapping: Mapped[str]
    pointer: Mapped[bool]
    ttl_max_s: Mapped[int | None] = mapped_column(BigInteger)
    reveal: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    changed_at: Mapped[datetime | None]
    crowded_at: Mapped[datetime | None]


class KeyRow(Base):
    """One version of a key of an issuer, or of one of its policies; `wrapped` is null once it is destroyed."""

    __tablename__ = "keys"
    __table_args__ = (
        Index(
            "keys_issuer_id_policy_id_purpose_version_key",
            *("issuer_id", "policy_id", "purpose", "version"),
            unique=True,
            postgresql_nulls_not_distinct=True,
        ),
        {"schema": SCHEMA},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    issuer_id: Mapped[UUID] = mapped_column(ForeignKey(IssuerRow.id))
    policy_id: Mapped[UUID | None] = mapped_column(ForeignKey(PolicyRow.id))
    purpose: Mapped[str]
    version: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(server_default="active")
    kek: Mapped[str]
    kek_version: Mapped[str]
    wrapped: Mapped[bytes | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    changed_at: Mapped[datetime | None]


class SubjectRow(Base):
    """A person whose records share one key; `wrapped` is null once the person is erased.

    `index` is the HMAC of the issuer's own reference. Whoever comes back after an erasure is a new subject.
    """

    __tablename__ = "subjects"
    __table_args__ = (
        Index("subjects_live_key", "issuer_id", "index", unique=True, postgresql_where=text("erased_at IS NULL")),
        Index("subjects_issuer_id_index_idx", "issuer_id", "index"),
        {"schema": SCHEMA},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    issuer_id: Mapped[UUID] = mapped_column(ForeignKey(IssuerRow.id))
    index: Mapped[bytes]
    wrapped: Mapped[bytes | None]
    wrapping_version: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    erased_at: Mapped[datetime | None]


class RecordRow(Base):
    """A value under both layers of the envelope, found by the HMAC of its vault token, which is not stored.

    `sealed_token` is there where the token must be told again: sealed under the value itself for a deterministic
    policy, under the policy's record key for an exportable one. A revoked record has no value any more, and an erased
    one keeps its ids and times alone.
    """

    __tablename__ = "records"
    __table_args__ = (
        Index(
            "records_policy_id_fingerprint_key",
            *("policy_id", "fingerprint"),
            unique=True,
            postgresql_where=text("deterministic AND revoked_at IS NULL"),
        ),
        Index(
            "records_policy_id_fingerprint_idx",
            *("policy_id", "fingerprint"),
            postgresql_where=text("NOT deterministic AND revoked_at IS NULL"),
        ),
        Index("records_policy_id_id_idx", "policy_id", "id"),
        # Few where all else is many: none costs anything while its column is null.
        Index("records_expires_idx", "policy_id", "id", postgresql_where=text("expires_at IS NOT NULL")),
        Index("records_revoked_idx", "policy_id", "id", postgresql_where=text("revoked_at IS NOT NULL")),
        Index("records_erased_idx", "policy_id", "id", postgresql_where=text("erased_at IS NOT NULL")),
        Index("records_subject_id_id_idx", "subject_id", "id", postgresql_where=text("subject_id IS NOT NULL")),
        Index(
            "records_asset_token_id_id_idx", "asset_token_id", "id", postgresql_where=text("asset_token_id IS NOT NULL")
        ),
        {"schema": SCHEMA},
    )

    index: Mapped[bytes] = mapped_column(primary_key=True)
    id: Mapped[UUID]
    issuer_id: Mapped[UUID]
    policy_id: Mapped[UUID] = mapped_column(ForeignKey(PolicyRow.id))
    subject_id: Mapped[UUID | None] = mapped_column(ForeignKey(SubjectRow.id))
    asset_token_id: Mapped[UUID | None]
    deterministic: Mapped[bool]
    data_version: Mapped[int | None] = mapped_column(BigInteger)
    sealed: Mapped[bytes | None]
    sealed_token: Mapped[bytes | None]
    fingerprint: Mapped[bytes | None]
    last_four: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    erased_at: Mapped[datetime | None]


class AnswerRow(Base):
    """What a batch was answered, sealed under its own request: only who sends the same again can open it.

    `subject_ids` are whom the request held; null for nobody. A document's registration has them alone, and no answer.
    """

    __tablename__ = "answers"
    __table_args__ = (
        Index(
            "answers_subject_ids_idx",
            "subject_ids",
            postgresql_using="gin",
            postgresql_where=text("subject_ids IS NOT NULL"),
        ),
        {"schema": SCHEMA},
    )

    caller_id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    sealed: Mapped[bytes]
    subject_ids: Mapped[list[UUID] | None] = mapped_column(ARRAY(Uuid))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    erased_at: Mapped[datetime | None]
