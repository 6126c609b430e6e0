"""Every kind of token, an issuer's other contracts, and what holders with their own keys are given to sign."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

NOW = sa.text("now()")
KINDS = "'authority', 'compliance', 'documents', 'reserve', 'anchor', 'distributor', 'settlement', 'governor'"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.alter_column("operations", "token_id", nullable=True)
    op.add_column("tokens", sa.Column("artifact", sa.String(), server_default="AssetToken", nullable=False))
    op.add_column("tokens", sa.Column("terms", JSONB(), server_default="{}", nullable=False))
    op.alter_column("tokens", "artifact", server_default=None)
    op.alter_column("tokens", "terms", server_default=None)
    op.drop_constraint("tokens_kind_check", "tokens")
    op.create_check_constraint("kind", "tokens", "kind IN ('fungible', 'deed', 'governance', 'utility')")
    op.execute("GRANT UPDATE (artifact, terms) ON tokens TO muniment_api")
    op.create_table(
        "deployments",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("issuer_id", sa.Uuid(), sa.ForeignKey("issuers.id"), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("address", sa.LargeBinary(), nullable=False),
        sa.Column("operation_id", sa.Uuid(), sa.ForeignKey("operations.id"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.UniqueConstraint("issuer_id", "kind", "subject_id", name="deployments_issuer_id_kind_subject_id_key"),
        sa.CheckConstraint("length(address) = 20", name="address"),
        sa.CheckConstraint(f"kind IN ({KINDS})", name="kind"),
    )
    op.create_index("deployments_issuer_id_id_idx", "deployments", ["issuer_id", "id"])
    op.execute("GRANT SELECT, INSERT ON deployments TO muniment_api")
    op.execute("GRANT UPDATE (name, address, operation_id) ON deployments TO muniment_api")
    _prepared()
    # A holder's own transaction comes signed, and the sender carries it on.
    op.execute("GRANT INSERT (status, nonce, gas_limit) ON transactions TO muniment_api")
    op.execute("GRANT INSERT ON attempts TO muniment_api")


def _prepared() -> None:
    op.create_table(
        "prepared",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("issuer_id", sa.Uuid(), sa.ForeignKey("issuers.id"), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("road", sa.String(), nullable=False),
        sa.Column("token_id", sa.Uuid()),
        sa.Column("contract", sa.LargeBinary(), nullable=False),
        sa.Column("account", sa.LargeBinary(), nullable=False),
        sa.Column("calldata", sa.LargeBinary(), nullable=False),
        sa.Column("signature_at", sa.Integer()),
        sa.Column("signature_form", sa.String()),
        sa.Column("digest", sa.LargeBinary()),
        sa.Column("proof", sa.LargeBinary()),
        sa.Column("typed_data", JSONB()),
        sa.Column("transaction", JSONB()),
        sa.Column("parameters", JSONB(), nullable=False),
        sa.Column("valid_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("operation_id", sa.Uuid(), sa.ForeignKey("operations.id")),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.CheckConstraint("road IN ('signature', 'transaction')", name="road"),
        sa.CheckConstraint("length(contract) = 20 AND length(account) = 20", name="addresses"),
        sa.CheckConstraint("(road = 'signature') = (digest IS NOT NULL)", name="digest"),
        sa.CheckConstraint("(road = 'transaction') = (transaction IS NOT NULL)", name="transaction"),
    )
    op.create_index("prepared_issuer_id_idx", "prepared", ["issuer_id", "id"])
    op.execute("GRANT SELECT, INSERT, UPDATE (operation_id) ON prepared TO muniment_api")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("REVOKE INSERT ON attempts FROM muniment_api")
    op.execute("REVOKE INSERT (status, nonce, gas_limit) ON transactions FROM muniment_api")
    op.drop_table("prepared")
    op.drop_table("deployments")
    # What came with this version can't be told by the one before.
    op.execute("DELETE FROM tokens WHERE kind <> 'fungible'")
    op.drop_constraint("tokens_kind_check", "tokens")
    op.create_check_constraint("kind", "tokens", "kind IN ('fungible')")
    op.drop_column("tokens", "terms")
    op.drop_column("tokens", "artifact")
    op.execute("UPDATE operations SET token_id = id WHERE token_id IS NULL")
    op.alter_column("operations", "token_id", nullable=False)
