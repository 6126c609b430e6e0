"""Locks of second factors that grow, and approvals that end after a few wrong codes and are found by what was asked."""

from alembic import op

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    # Factors first, as by whoever approves: the other way round they could wait for one another.
    op.execute(
        """ALTER TABLE second_factors ADD COLUMN locked_count integer NOT NULL DEFAULT 0,
            ADD COLUMN locked_until timestamptz"""
    )
    op.execute("GRANT UPDATE (locked_count, locked_until) ON second_factors TO muniment_api")
    op.execute("ALTER TABLE step_ups ADD COLUMN failed_count integer NOT NULL DEFAULT 0")
    op.execute("GRANT UPDATE (failed_count, expires_at) ON step_ups TO muniment_api")
    op.execute("CREATE INDEX step_ups_print_idx ON step_ups (issuer_id, print)")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("ALTER TABLE second_factors DROP COLUMN locked_count, DROP COLUMN locked_until")
    op.execute("REVOKE UPDATE (expires_at) ON step_ups FROM muniment_api")
    op.execute("ALTER TABLE step_ups DROP COLUMN failed_count")
    op.execute("DROP INDEX step_ups_print_idx")
