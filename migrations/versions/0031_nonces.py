"""Nonces of signed requests, so that each is taken once; where they were kept last; and how often one came again.

Logged and in one piece: an unlogged table is empty after a crash, and the key of a partitioned one must hold what
parts it, so that a request which comes again in the next part would be taken again.
"""

from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

NONCES = """
CREATE TABLE nonces (
    key_id varchar NOT NULL,
    nonce varchar NOT NULL,
    use_id uuid NOT NULL,
    expires_at timestamptz NOT NULL,
    PRIMARY KEY (key_id, nonce)
);
CREATE INDEX nonces_expires_at_idx ON nonces (expires_at);
CREATE TABLE nonce_fence (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    place varchar,
    started_at timestamptz,
    created_min timestamptz NOT NULL DEFAULT '-infinity'
);
INSERT INTO nonce_fence DEFAULT VALUES;
CREATE TABLE nonce_replays (
    key_id varchar PRIMARY KEY,
    since timestamptz NOT NULL,
    count bigint NOT NULL,
    total_count bigint NOT NULL
)
"""

# Whoever locks rows to delete them must be one that may change them.
GRANTS = """
GRANT SELECT, INSERT, DELETE, UPDATE (expires_at) ON nonces TO muniment_api;
GRANT SELECT, UPDATE (place, started_at, created_min) ON nonce_fence TO muniment_api;
GRANT SELECT, INSERT, UPDATE (since, count, total_count) ON nonce_replays TO muniment_api
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for statements in (NONCES, GRANTS):
        op.execute(statements)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for table in ("nonce_replays", "nonce_fence", "nonces"):
        op.execute(f"DROP TABLE {table}")
