"""What each signer may sign, and an entry before each signature, so that no key is used without a trace."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

NOW = sa.text("now()")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.create_table(
        "signer_policies",
        sa.Column("address", sa.LargeBinary(), primary_key=True),
        sa.Column("policy", JSONB(), server_default="{}", nullable=False),
        sa.Column("frozen", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column("updated_by", sa.String(), nullable=False),
        sa.CheckConstraint("length(address) = 20", name="address"),
    )
    op.create_table(
        "signatures",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column("signer", sa.LargeBinary(), nullable=False),
        sa.Column("provider", sa.String()),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("nonce", sa.BigInteger(), nullable=False),
        sa.Column("recipient", sa.LargeBinary()),
        sa.Column("selector", sa.LargeBinary()),
        sa.Column("value_wei", sa.Numeric(78, 0), nullable=False),
        sa.Column("fee_max_wei", sa.Numeric(78, 0), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("attempt_id", sa.Uuid(), nullable=False),
        sa.Column("transaction_id", sa.Uuid(), nullable=False),
        sa.Column("verdict", sa.String(), nullable=False),
        sa.Column("reason", sa.String()),
        sa.CheckConstraint("verdict IN ('allowed', 'refused')", name="verdict"),
        sa.CheckConstraint("(verdict = 'refused') = (reason IS NOT NULL)", name="reason"),
    )
    op.create_index("signatures_allowed_idx", "signatures", ["signer", "at"], postgresql_where="verdict = 'allowed'")
    op.create_index("signatures_transaction_id_idx", "signatures", ["transaction_id"])
    op.execute(
        """CREATE TRIGGER signatures_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON signatures
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"""
    )
    # Logical replication and restores run with triggers off; this one stays on for them too.
    op.execute("ALTER TABLE signatures ENABLE ALWAYS TRIGGER signatures_append_only")
    op.execute("GRANT SELECT ON signer_policies TO muniment_sender, muniment_api")
    op.execute("GRANT SELECT, INSERT ON signatures TO muniment_sender")
    op.execute("GRANT SELECT ON signatures TO muniment_api")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.drop_table("signatures")
    op.drop_table("signer_policies")
