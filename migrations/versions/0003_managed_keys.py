"""Managed accounts' keys at rest: ciphertext only, never changed and never deleted by the service."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.create_table(
        "managed_keys",
        sa.Column("address", sa.LargeBinary(), primary_key=True),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("length(address) = 20", name="address"),
        sa.CheckConstraint("length(ciphertext) = 60", name="ciphertext"),
    )
    op.execute("GRANT SELECT, INSERT ON managed_keys TO muniment_api")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.drop_table("managed_keys")
