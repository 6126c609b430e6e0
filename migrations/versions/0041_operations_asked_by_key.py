"""Which credential asked for an operation: a caller has several, and one of them may have leaked."""

from alembic import op

revision = "0041"
down_revision = "0040"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("ALTER TABLE operations ADD COLUMN key_id varchar")
    op.execute("GRANT INSERT (key_id) ON operations TO muniment_api")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("ALTER TABLE operations DROP COLUMN key_id")
