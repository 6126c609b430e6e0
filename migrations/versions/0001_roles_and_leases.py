"""One role a process, so that each can do its own work and no other's; leases, so that one copy does it."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision: str | None = None
branch_labels = None
depends_on = None

ROLES = ("muniment_api", "muniment_sender", "muniment_indexer", "muniment_dispatcher")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for role in ROLES:
        # Roles belong to the cluster: another database of it may have made them.
        op.execute(
            f"""DO $$ BEGIN CREATE ROLE {role} NOLOGIN;
            EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"""
        )
        op.execute(f"GRANT {role} TO CURRENT_USER")
    op.create_table(
        "leases",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("holder", sa.String(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("epoch >= 0", name="epoch"),
    )
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON leases TO {', '.join(ROLES[1:])}")
    op.execute("GRANT SELECT ON leases TO muniment_api")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.drop_table("leases")
