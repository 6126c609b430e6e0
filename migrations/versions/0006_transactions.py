"""One transaction for each signer and nonce, by constraint; signed bytes stored before they are broadcast."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STATUSES = "'queued', 'pending', 'submitted', 'mined', 'confirmed', 'reverted', 'refused', 'executed'"
LIVE = "status IN ('queued', 'pending', 'submitted', 'mined')"
FINAL = "status IN ('confirmed', 'reverted', 'refused', 'executed')"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.create_table(
        "transactions",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("signer", sa.LargeBinary(), nullable=False),
        sa.Column("recipient", sa.LargeBinary(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("proof_recipient", sa.LargeBinary()),
        sa.Column("proof_data", sa.LargeBinary()),
        sa.Column("effect_until", sa.DateTime(timezone=True)),
        sa.Column("retry_at", sa.DateTime(timezone=True)),
        sa.Column("status", sa.String(), server_default="queued", nullable=False),
        sa.Column("nonce", sa.BigInteger()),
        sa.Column("gas_limit", sa.BigInteger()),
        sa.Column("waits_for_nonce", sa.BigInteger()),
        sa.Column("broadcast_at", sa.DateTime(timezone=True)),
        sa.Column("block_number", sa.BigInteger()),
        sa.Column("block_hash", sa.LargeBinary()),
        sa.Column("transaction_hash", sa.LargeBinary()),
        sa.Column("succeeded", sa.Boolean()),
        sa.Column("gas_used", sa.BigInteger()),
        sa.Column("refusal", JSONB()),
        sa.Column("last_error", sa.String()),
        sa.Column("taken", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.UniqueConstraint("chain_id", "signer", "nonce", name="transactions_chain_id_signer_nonce_key"),
        sa.CheckConstraint("length(signer) = 20 AND length(recipient) = 20", name="addresses"),
        sa.CheckConstraint(f"status IN ({STATUSES})", name="status"),
        sa.CheckConstraint("status = 'executed' OR (nonce IS NULL) = (status IN ('queued', 'refused'))", name="nonce"),
        sa.CheckConstraint(
            "status = 'executed' OR "
            "(block_hash IS NOT NULL AND succeeded IS NOT NULL) = (status IN ('mined', 'confirmed', 'reverted'))",
            name="mined",
        ),
        sa.CheckConstraint("(proof_recipient IS NULL) = (proof_data IS NULL)", name="proof"),
        sa.CheckConstraint("(status = 'refused') <= (refusal IS NOT NULL)", name="refusal"),
    )
    op.create_index("transactions_live_idx", "transactions", ["chain_id", "status", "id"], postgresql_where=LIVE)
    op.create_index("transactions_to_take_idx", "transactions", ["id"], postgresql_where=f"{FINAL} AND NOT taken")
    op.create_table(
        "attempts",
        sa.Column("hash", sa.LargeBinary(), primary_key=True),
        sa.Column("transaction_id", sa.Uuid(), sa.ForeignKey("transactions.id"), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.Column("max_fee_wei", sa.Numeric(78, 0), nullable=False),
        sa.Column("priority_fee_wei", sa.Numeric(78, 0), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("length(hash) = 32", name="hash"),
        sa.CheckConstraint("priority_fee_wei <= max_fee_wei", name="fees"),
    )
    op.create_index("attempts_transaction_id_idx", "attempts", ["transaction_id"])
    op.execute("GRANT SELECT ON transactions TO muniment_api")
    op.execute(
        """GRANT INSERT (id, chain_id, signer, recipient, data, proof_recipient, proof_data, effect_until)
        ON transactions TO muniment_api"""
    )
    op.execute("GRANT SELECT, UPDATE ON transactions TO muniment_sender")
    op.execute("GRANT SELECT, INSERT ON attempts TO muniment_sender")
    op.execute("GRANT SELECT ON attempts TO muniment_api")
    op.execute("GRANT SELECT, UPDATE (taken) ON transactions TO muniment_dispatcher")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.drop_table("attempts")
    op.drop_table("transactions")
