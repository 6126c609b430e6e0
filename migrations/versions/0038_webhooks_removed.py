"""Webhooks that are removed in stretches; when one failed last; one whose secrets do not open here, our own fault."""

from alembic import op

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None

COLUMNS = """
ALTER TABLE webhooks ADD removed_at timestamptz, ADD failed_at timestamptz, ADD unreadable_since timestamptz,
    ADD CHECK (removed_at IS NULL OR disabled_at IS NOT NULL);
CREATE INDEX webhooks_removed_at_idx ON webhooks (removed_at) WHERE removed_at IS NOT NULL
"""

GRANTS = """
REVOKE DELETE ON webhooks FROM muniment_api;
GRANT UPDATE (removed_at) ON webhooks TO muniment_api;
GRANT UPDATE (failed_at, unreadable_since) ON webhooks TO muniment_dispatcher;
GRANT DELETE ON webhooks, webhook_subjects, webhook_deliveries TO muniment_dispatcher
"""

REVOKED = """
REVOKE DELETE ON webhooks, webhook_subjects, webhook_deliveries FROM muniment_dispatcher;
GRANT DELETE ON webhooks TO muniment_api;
DELETE FROM webhooks WHERE removed_at IS NOT NULL;
ALTER TABLE webhooks DROP removed_at, DROP failed_at, DROP unreadable_since
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute(COLUMNS)
    op.execute(GRANTS)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute(REVOKED)
