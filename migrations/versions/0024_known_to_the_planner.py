"""A first sync ends with statistics: until autovacuum came by, plans were made for tables that were thought empty.

ANALYZE belongs to a table's owner, as building its indexes does, so the same function does both.
"""

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

BUILD = """
CREATE OR REPLACE FUNCTION mirror.build_late_index() RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET maintenance_work_mem = '256MB' AS $$
DECLARE
    found record;
BEGIN
    DELETE FROM mirror.late_indexes WHERE name = (SELECT name FROM mirror.late_indexes ORDER BY name LIMIT 1)
        RETURNING * INTO found;
    IF found.statement IS NOT NULL THEN
        EXECUTE found.statement;
    {ELSE_ANALYZE}END IF;
    RETURN found.name;
END $$
"""

ANALYZE = """ELSE
        ANALYZE mirror.transfers, mirror.events, mirror.holdings, mirror.supplies, mirror.pauses, mirror.titles,
            mirror.states, mirror.digests;
    """


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute(BUILD.replace("{ELSE_ANALYZE}", ANALYZE))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute(BUILD.replace("{ELSE_ANALYZE}", ""))
