"""Batches: rows that are accepted as a whole, and packed into few operations."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.create_table(
        "batches",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("issuer_id", sa.Uuid(), sa.ForeignKey("issuers.id"), nullable=False),
        sa.Column("caller_id", sa.Uuid(), sa.ForeignKey("callers.id"), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("token_id", sa.Uuid()),
        sa.Column("contract", sa.LargeBinary(), nullable=False),
        sa.Column("effect_id", sa.Uuid(), nullable=False),
        sa.Column("rows_count", sa.Integer(), nullable=False),
        sa.Column("packs_count", sa.Integer(), nullable=False),
        sa.Column("cancelled_at", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("kind IN ('mint', 'transfer', 'freeze', 'identity')", name="kind"),
        sa.CheckConstraint("length(contract) = 20", name="contract"),
        sa.CheckConstraint("packs_count BETWEEN 1 AND rows_count", name="counts"),
    )
    op.create_index("batches_issuer_id_idx", "batches", ["issuer_id", "id"])
    op.create_table(
        "batch_packs",
        sa.Column("batch_id", sa.Uuid(), sa.ForeignKey("batches.id"), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("operation_id", sa.Uuid(), sa.ForeignKey("operations.id"), nullable=False),
        sa.Column("rows_count", sa.Integer(), nullable=False),
        sa.Column("cancel_asked_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("batch_id", "number", "round", name="batch_packs_pkey"),
        sa.UniqueConstraint("operation_id", name="batch_packs_operation_id_key"),
    )
    op.create_table(
        "batch_rows",
        sa.Column("batch_id", sa.Uuid(), sa.ForeignKey("batches.id"), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("pack", sa.Integer(), nullable=False),
        sa.Column("parameters", JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("batch_id", "number", name="batch_rows_pkey"),
    )
    op.execute("GRANT SELECT, INSERT ON batches, batch_packs, batch_rows TO muniment_api")
    op.execute("GRANT UPDATE (cancelled_at) ON batches TO muniment_api")
    op.execute("GRANT UPDATE (cancel_asked_at) ON batch_packs TO muniment_api")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for table in ("batch_rows", "batch_packs", "batches"):
        op.drop_table(table)
