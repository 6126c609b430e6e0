"""Operations: accepted intents, each with the one transaction that carries it out."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.create_table(
        "operations",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("issuer_id", sa.Uuid(), sa.ForeignKey("issuers.id"), nullable=False),
        sa.Column("caller_id", sa.Uuid(), sa.ForeignKey("callers.id"), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("token_id", sa.Uuid(), nullable=False),
        sa.Column("contract", sa.LargeBinary(), nullable=False),
        sa.Column("parameters", JSONB(), nullable=False),
        sa.Column("status", sa.String(), server_default="pending", nullable=False),
        sa.Column("transaction_id", sa.Uuid(), sa.ForeignKey("transactions.id"), nullable=False),
        sa.Column("problem", JSONB()),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("closed_at", sa.DateTime(timezone=True)),
        sa.UniqueConstraint("transaction_id", name="operations_transaction_id_key"),
        sa.CheckConstraint("status IN ('pending', 'succeeded', 'failed')", name="status"),
        sa.CheckConstraint("(status = 'failed') = (problem IS NOT NULL)", name="problem"),
        sa.CheckConstraint("(status = 'pending') = (closed_at IS NULL)", name="closed"),
    )
    op.create_index("operations_issuer_id_idx", "operations", ["issuer_id", "id"])
    op.create_index("operations_issuer_id_status_idx", "operations", ["issuer_id", "status", "id"])
    op.create_index("operations_token_id_idx", "operations", ["token_id", "id"])
    op.execute("GRANT SELECT ON operations TO muniment_api")
    op.execute(
        """GRANT INSERT (id, issuer_id, caller_id, kind, chain_id, token_id, contract, parameters, transaction_id)
        ON operations TO muniment_api"""
    )
    op.execute("GRANT SELECT, UPDATE (status, problem, closed_at) ON operations TO muniment_dispatcher")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.drop_table("operations")
