"""The journal, append-only by trigger and by role: what audits and webhooks read must never change behind them."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.create_table(
        "journal_entries",
        sa.Column("position", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("issuer_id", sa.Uuid()),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("body", sa.String(), nullable=False),
        sa.Column(
            "recorded_at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("position > 0", name="position"),
    )
    op.create_index("journal_entries_issuer_id_idx", "journal_entries", ["issuer_id"])
    op.create_table(
        "journal_end",
        sa.Column("one", sa.Boolean(), primary_key=True),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("one", name="one"),
    )
    op.execute("INSERT INTO journal_end (one, position) VALUES (true, 0)")
    op.execute(
        """CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation';
        END $$"""
    )
    op.execute(
        """CREATE TRIGGER journal_entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON journal_entries
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"""
    )
    # Logical replication and restores run with triggers off; this one stays on for them too.
    op.execute("ALTER TABLE journal_entries ENABLE ALWAYS TRIGGER journal_entries_append_only")
    op.execute("GRANT SELECT, INSERT ON journal_entries TO muniment_dispatcher")
    op.execute("GRANT SELECT, UPDATE ON journal_end TO muniment_dispatcher")
    op.execute("GRANT SELECT ON journal_entries TO muniment_api")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.drop_table("journal_entries")
    op.drop_table("journal_end")
    op.execute("DROP FUNCTION refuse_change")
