"""How much of it no second factor approved, where a caller's credentials are held to so much."""

from alembic import op

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("ALTER TABLE amounts_taken ADD COLUMN unapproved numeric(78, 0) NOT NULL DEFAULT 0")
    op.execute("GRANT UPDATE (unapproved) ON amounts_taken TO muniment_api")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("ALTER TABLE amounts_taken DROP COLUMN unapproved")
