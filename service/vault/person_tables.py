"""Persons and their accounts, in the schema `vault`. No name, reference or account is in clear."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, func
from sqlalchemy.orm import Mapped, mapped_column

from service.access.tables import IssuerRow
from service.db import Base
from service.vault.tables import SCHEMA, SubjectRow


class PersonRow(Base):
    """A subject as the chain knows it. An erased one keeps its investor id, and nothing that leads to the subject.

    `sealed_name` is the vault token of the person's name, under the subject's key.
    """

    __tablename__ = "persons"
    __table_args__ = (
        Index("persons_subject_id_key", "subject_id", unique=True),
        {"schema": SCHEMA},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    issuer_id: Mapped[UUID] = mapped_column(ForeignKey(IssuerRow.id))
    subject_id: Mapped[UUID | None] = mapped_column(ForeignKey(SubjectRow.id))
    investor_id: Mapped[bytes]
    sealed_name: Mapped[bytes | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    erased_at: Mapped[datetime | None]


class AccountRow(Base):
    """Whose an account is, found by the account's HMAC; `sealed` is the account, null once the person is erased."""

    __tablename__ = "accounts"
    __table_args__ = (
        Index("accounts_person_id_idx", "person_id"),
        {"schema": SCHEMA},
    )

    issuer_id: Mapped[UUID] = mapped_column(primary_key=True)
    index: Mapped[bytes] = mapped_column(primary_key=True)
    person_id: Mapped[UUID] = mapped_column(ForeignKey(PersonRow.id))
    sealed: Mapped[bytes | None]
    linked_at: Mapped[datetime] = mapped_column(server_default=func.now())
