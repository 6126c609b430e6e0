"""What was shown when, and undone when: what this service answered at any moment can be answered again."""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

READERS = "muniment_api, muniment_sender, muniment_indexer, muniment_dispatcher"
WRITER = "muniment_indexer"

SHOWINGS = """
CREATE TABLE mirror.showings (
    block_hash bytea NOT NULL CONSTRAINT showings_block_hash_length_check CHECK (octet_length(block_hash) = 32),
    shown_at timestamptz NOT NULL,
    undone_at timestamptz NOT NULL,
    CONSTRAINT showings_pkey PRIMARY KEY (block_hash, shown_at),
    CONSTRAINT showings_span_check CHECK (undone_at >= shown_at)
);
CREATE INDEX showings_span_idx ON mirror.showings USING gist (tstzrange(shown_at, undone_at));
INSERT INTO mirror.showings
    SELECT hash, shown_at, greatest(undone_at, shown_at) FROM mirror.blocks WHERE NOT canonical
"""

# One time for all blocks of a statement: a moment between two of them would be one that nobody ever saw.
TIMES = """
ALTER TABLE mirror.blocks ALTER COLUMN shown_at SET DEFAULT statement_timestamp();
ALTER TABLE mirror.deployments ADD COLUMN shown_at timestamptz;
UPDATE mirror.deployments SET shown_at = blocks.shown_at FROM mirror.blocks WHERE hash = block_hash;
ALTER TABLE mirror.deployments
    ALTER COLUMN shown_at SET NOT NULL, ALTER COLUMN shown_at SET DEFAULT statement_timestamp();
CREATE INDEX blocks_chain_id_timestamp_idx ON mirror.blocks (chain_id, timestamp, number) WHERE canonical;
CREATE INDEX blocks_chain_id_shown_at_idx ON mirror.blocks (chain_id, shown_at, number) WHERE canonical
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute(SHOWINGS)
    op.execute(TIMES)
    op.execute(f"GRANT SELECT ON mirror.showings TO {READERS}")
    op.execute(f"GRANT INSERT ON mirror.showings TO {WRITER}")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("DROP INDEX mirror.blocks_chain_id_shown_at_idx")
    op.execute("DROP INDEX mirror.blocks_chain_id_timestamp_idx")
    op.execute("ALTER TABLE mirror.deployments DROP COLUMN shown_at")
    op.execute("ALTER TABLE mirror.blocks ALTER COLUMN shown_at SET DEFAULT clock_timestamp()")
    op.execute("DROP TABLE mirror.showings")
