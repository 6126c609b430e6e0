"""Assets, accounts, and one token of a kind for each asset."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

NOW = sa.text("now()")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.create_table(
        "assets",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("issuer_id", sa.Uuid(), sa.ForeignKey("issuers.id"), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("category", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
    )
    op.create_index("assets_issuer_id_idx", "assets", ["issuer_id", "id"])
    op.create_table(
        "accounts",
        sa.Column("issuer_id", sa.Uuid(), sa.ForeignKey("issuers.id"), nullable=False),
        sa.Column("address", sa.LargeBinary(), nullable=False),
        sa.Column("managed", sa.Boolean(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("issuer_id", "address", name="accounts_pkey"),
        sa.CheckConstraint("length(address) = 20", name="address"),
    )
    # A managed key signs for one issuer only.
    op.create_index("accounts_managed_key", "accounts", ["address"], unique=True, postgresql_where="managed")
    op.create_table(
        "tokens",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("issuer_id", sa.Uuid(), sa.ForeignKey("issuers.id"), nullable=False),
        sa.Column("asset_id", sa.Uuid(), sa.ForeignKey("assets.id"), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("symbol", sa.String(), nullable=False),
        sa.Column("decimals", sa.Integer(), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("address", sa.LargeBinary(), nullable=False),
        sa.Column("operation_id", sa.Uuid(), sa.ForeignKey("operations.id"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.UniqueConstraint("asset_id", "kind", name="tokens_asset_id_kind_key"),
        sa.CheckConstraint("length(address) = 20", name="address"),
        sa.CheckConstraint("kind IN ('fungible')", name="kind"),
        sa.CheckConstraint("decimals BETWEEN 0 AND 18", name="decimals"),
    )
    op.create_index("tokens_issuer_id_idx", "tokens", ["issuer_id", "id"])
    op.execute("GRANT SELECT, INSERT ON assets, accounts, tokens TO muniment_api")
    op.execute("GRANT UPDATE (name, symbol, decimals, address, operation_id) ON tokens TO muniment_api")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for table in ("tokens", "accounts", "assets"):
        op.drop_table(table)
