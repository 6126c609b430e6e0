"""A function with its owner's rights reads no temporary table in place of the one that it names.

Unless a search path names `pg_temp` last, it comes first: whoever runs statements of its choice in the API's role could
have a view of its own read, with functions that then ran with the owner's rights.
"""

from alembic import op

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("ALTER FUNCTION transactions_present_signer() SET search_path = pg_catalog, public, pg_temp")
    op.execute("REVOKE ALL ON FUNCTION transactions_present_signer() FROM PUBLIC")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("GRANT EXECUTE ON FUNCTION transactions_present_signer() TO PUBLIC")
    op.execute("ALTER FUNCTION transactions_present_signer() SET search_path = pg_catalog, public")
