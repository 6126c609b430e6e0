"""Contracts that were expelled are told from those that never were, and rows that were made anew from earlier ones."""

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

# When an expulsion of before came, nobody wrote down: it counts as shown at no moment, as it did.
LEFT = """
ALTER TABLE mirror.deployments ADD COLUMN left_at timestamptz;
UPDATE mirror.deployments SET left_at = deployments.shown_at FROM mirror.blocks
    WHERE hash = block_hash AND blocks.canonical AND NOT deployments.canonical;
ALTER TABLE mirror.deployments ADD CONSTRAINT deployments_left_check CHECK (left_at IS NULL OR NOT canonical)
"""

REBUILT = "ALTER TABLE mirror.contracts ADD COLUMN rebuilt integer NOT NULL DEFAULT 0"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute(LEFT)
    op.execute(REBUILT)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("ALTER TABLE mirror.contracts DROP COLUMN rebuilt")
    op.execute("ALTER TABLE mirror.deployments DROP COLUMN left_at")
