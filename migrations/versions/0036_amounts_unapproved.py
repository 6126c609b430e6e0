"""How much of it no second factor approved, where a caller's credentials are held to so much; batches by token."""

from alembic import op

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None

# An older version knows neither limit: a key that has one comes back revoked, so that none opens more.
ENDED = """
UPDATE credentials SET limits = limits - 'amount_unapproved_max' - 'amount_unapproved_per_day',
    revoked_at = coalesce(revoked_at, now()), revoked_for = coalesce(revoked_for, 'a limit that is no longer known')
WHERE limits ?| ARRAY['amount_unapproved_max', 'amount_unapproved_per_day']
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    # First, as whoever stores a batch does: the index takes the longest, and amounts are taken after it.
    op.create_index("batches_token_id_idx", "batches", ["token_id", "id"])
    op.execute("ALTER TABLE amounts_taken ADD COLUMN unapproved numeric(78, 0) NOT NULL DEFAULT 0")
    op.execute("GRANT UPDATE (unapproved) ON amounts_taken TO muniment_api")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute(ENDED)
    op.drop_index("batches_token_id_idx")
    op.execute("ALTER TABLE amounts_taken DROP COLUMN unapproved")
