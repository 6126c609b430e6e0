"""Assets, accounts and tokens: what we decided; what the chain decided is in the mirror."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, UniqueConstraint, func, text
from sqlalchemy.orm import Mapped, mapped_column

from service.access.tables import IssuerRow
from service.db import Base
from service.mirror.adoptions import AdoptionRow
from service.operations.tables import OperationRow


class AssetRow(Base):
    """The off-chain thing."""

    __tablename__ = "assets"
    __table_args__ = (Index("assets_issuer_id_idx", "issuer_id", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    issuer_id: Mapped[UUID] = mapped_column(ForeignKey(IssuerRow.id))
    name: Mapped[str]
    category: Mapped[str]
    description: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class AccountRow(Base):
    """An address that an issuer knows. A managed one's key is in our keeping."""

    __tablename__ = "accounts"
    __table_args__ = (Index("accounts_managed_key", "address", unique=True, postgresql_where=text("managed")),)

    issuer_id: Mapped[UUID] = mapped_column(ForeignKey(IssuerRow.id), primary_key=True)
    address: Mapped[bytes] = mapped_column(primary_key=True)
    managed: Mapped[bool]
    label: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class TokenRow(Base):
    """One contract for one asset. `operation_id` is the newest attempt to deploy it.

    One that was there before us has the newest attempt to adopt it instead, and no asset.
    """

    __tablename__ = "tokens"
    __table_args__ = (
        UniqueConstraint("asset_id", "kind"),
        Index("tokens_issuer_id_idx", "issuer_id", "id"),
        Index(
            "tokens_adopted_key",
            "issuer_id",
            "chain_id",
            "address",
            unique=True,
            postgresql_where=text("adoption_id IS NOT NULL"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    issuer_id: Mapped[UUID] = mapped_column(ForeignKey(IssuerRow.id))
    asset_id: Mapped[UUID | None] = mapped_column(ForeignKey(AssetRow.id))
    kind: Mapped[str]
    artifact: Mapped[str]
    name: Mapped[str]
    symbol: Mapped[str]
    decimals: Mapped[int]
    terms: Mapped[dict[str, Any]]
    chain_id: Mapped[int] = mapped_column(BigInteger)
    address: Mapped[bytes]
    operation_id: Mapped[UUID | None] = mapped_column(ForeignKey(OperationRow.id))
    adoption_id: Mapped[UUID | None] = mapped_column(ForeignKey(AdoptionRow.id))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class PreparedRow(Base):
    """What a holder with its own key was given to sign. `operation_id` is what became of it, once."""

    __tablename__ = "prepared"
    __table_args__ = (Index("prepared_issuer_id_idx", "issuer_id", "id"),)

    id: Mapped[UUID] = mapped_column(primary_key=True)
    issuer_id: Mapped[UUID] = mapped_column(ForeignKey(IssuerRow.id))
    kind: Mapped[str]
    road: Mapped[str]
    token_id: Mapped[UUID | None]
    contract: Mapped[bytes]
    account: Mapped[bytes]
    calldata: Mapped[bytes]
    signature_at: Mapped[int | None]
    signature_form: Mapped[str | None]
    digest: Mapped[bytes | None]
    proof: Mapped[bytes | None]
    typed_data: Mapped[dict[str, Any] | None]
    transaction: Mapped[dict[str, Any] | None]
    parameters: Mapped[dict[str, Any]]
    valid_until: Mapped[datetime]
    operation_id: Mapped[UUID | None] = mapped_column(ForeignKey(OperationRow.id))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
