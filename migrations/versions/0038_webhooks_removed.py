"""Webhooks that are removed in stretches; when one failed last; one whose secrets do not open here, our own fault."""

from alembic import op
from sqlalchemy import text

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
ALTER TABLE webhooks DROP removed_at, DROP failed_at, DROP unreadable_since
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute(COLUMNS)
    op.execute(GRANTS)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    _refuse_removed()
    op.execute(REVOKED)


def _refuse_removed() -> None:
    """An older version would send to them again, and a statement that deletes all their messages has no bound."""
    op.execute("LOCK TABLE webhooks IN ACCESS EXCLUSIVE MODE")
    count = op.get_bind().scalar(text("SELECT count(*) FROM webhooks WHERE removed_at IS NOT NULL"))
    if count:
        raise RuntimeError(
            f"{count} webhooks are removed, and what is left of them is not cleared away yet: nothing was changed; "
            "let the dispatcher run until SELECT count(*) FROM webhooks WHERE removed_at IS NOT NULL is 0, then go back"
        )
