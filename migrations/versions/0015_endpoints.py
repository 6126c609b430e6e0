"""How each endpoint of the chain does, as the sender sees it."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.create_table(
        "endpoints",
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("healthy", sa.Boolean(), nullable=False),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.Column("latency_ms", sa.Double()),
        sa.Column("head", sa.BigInteger()),
        sa.Column("head_seen_at", sa.DateTime(timezone=True)),
        sa.Column("behind_blocks", sa.BigInteger(), nullable=False),
        sa.Column("wrong_chain", sa.Boolean(), nullable=False),
        sa.Column("contradictions", sa.BigInteger(), nullable=False),
        sa.Column("last_error", sa.String()),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "number", name="endpoints_pkey"),
        sa.CheckConstraint("number > 0", name="number"),
    )
    op.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON endpoints TO muniment_sender")
    op.execute("GRANT SELECT ON endpoints TO muniment_api")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.drop_table("endpoints")
