"""What of a credential was told already: how far into its overlap it was in use, that it is old, that nobody uses it.

The dispatcher tells it, and clears away what is kept of uses and refusals for long enough. Refusals have row security,
and the network that the last one of a day came from.

Whoever names amounts waits while their index is built. Then credentials are locked, and refusals after them, as whoever
counts them does: from there to the end of all migrations nobody is let in, for as long as it takes to add columns and
build the small indexes of these two. Uses, by far the most rows, are not touched: they are found by credential, and a
process that counts reads credentials before it writes them, so that an index of theirs and columns of those would
deadlock. Whoever migrates gives up after a lock's three seconds, and nothing is changed: run it again.
"""

from alembic import op

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None

AMOUNTS = "CREATE INDEX amounts_taken_day_idx ON amounts_taken (day)"

TOLD = """
ALTER TABLE credentials ADD COLUMN straggled_percent smallint NOT NULL DEFAULT 0,
    ADD COLUMN rotation_told_at timestamptz, ADD COLUMN stale_told_at timestamptz;
CREATE INDEX credentials_kept_idx ON credentials (created_at) WHERE revoked_at IS NULL AND replaced_by IS NULL;
ALTER TABLE access_refusals ADD COLUMN network varchar NOT NULL DEFAULT '';
CREATE INDEX access_refusals_day_idx ON access_refusals (day)
"""

SEEN = """id, caller_id, created_at, not_before, activated_at, expires_at, retires_at, suspended_at, revoked_at,
    replaced_by, last_used_at, rotation_told_at, stale_told_at"""

GRANTS = f"""
GRANT UPDATE (straggled_percent) ON credentials TO muniment_api;
GRANT UPDATE (network) ON access_refusals TO muniment_api;
GRANT SELECT ({SEEN}), UPDATE (rotation_told_at, stale_told_at) ON credentials TO muniment_dispatcher;
GRANT SELECT (id, issuer_id, deleted_at) ON callers TO muniment_dispatcher;
GRANT SELECT, DELETE ON credential_uses, amounts_taken TO muniment_dispatcher;
GRANT SELECT, INSERT, UPDATE (count), DELETE ON access_refusals TO muniment_dispatcher
"""

UNGRANTS = f"""
REVOKE SELECT, INSERT, UPDATE (count), DELETE ON access_refusals FROM muniment_dispatcher;
REVOKE SELECT, DELETE ON credential_uses, amounts_taken FROM muniment_dispatcher;
REVOKE SELECT (id, issuer_id, deleted_at) ON callers FROM muniment_dispatcher;
REVOKE SELECT ({SEEN}), UPDATE (rotation_told_at, stale_told_at) ON credentials FROM muniment_dispatcher
"""

# Refusals of ids that nobody has are nobody's; whoever counts acts for all.
RULE = """current_setting('muniment.issuers', true) = '*' OR EXISTS (
    SELECT FROM credentials k JOIN callers c ON c.id = k.caller_id WHERE k.id = key_id AND acting_for(c.issuer_id))"""
OTHERS = "muniment_sender, muniment_indexer, muniment_dispatcher"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for statements in (AMOUNTS, TOLD, GRANTS):
        op.execute(statements)
    op.execute(f"CREATE POLICY confined ON access_refusals TO muniment_api USING ({RULE}) WITH CHECK ({RULE})")
    op.execute(f"CREATE POLICY whole ON access_refusals TO {OTHERS} USING (true) WITH CHECK (true)")
    op.execute("ALTER TABLE access_refusals ENABLE ROW LEVEL SECURITY")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute(UNGRANTS)
    op.execute("DROP INDEX amounts_taken_day_idx")
    op.execute("DROP INDEX credentials_kept_idx")
    for column in ("straggled_percent", "rotation_told_at", "stale_told_at"):
        op.execute(f"ALTER TABLE credentials DROP COLUMN {column}")
    op.execute("ALTER TABLE access_refusals DISABLE ROW LEVEL SECURITY")
    for policy in ("whole", "confined"):
        op.execute(f"DROP POLICY {policy} ON access_refusals")
    op.execute("DROP INDEX access_refusals_day_idx")
    op.execute("ALTER TABLE access_refusals DROP COLUMN network")
