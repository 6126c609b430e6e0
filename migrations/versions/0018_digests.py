"""One hash for all that a contract announced, at each block, so that two mirrors are compared in one request.

The indexer gives a mirror that was filled before its digests: their form of JSON is not that of Postgres.
"""

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

READERS = "muniment_api, muniment_sender, muniment_indexer, muniment_dispatcher"
WRITER = "muniment_indexer"

DIGESTS = """
CREATE TABLE mirror.digests (
    contract_id integer NOT NULL,
    digest bytea NOT NULL CONSTRAINT digests_digest_length_check CHECK (octet_length(digest) = 32),
    from_block bigint NOT NULL,
    to_block bigint,
    block_hash bytea NOT NULL CONSTRAINT digests_block_hash_length_check CHECK (octet_length(block_hash) = 32),
    canonical boolean NOT NULL,
    CONSTRAINT digests_pkey PRIMARY KEY (contract_id, from_block, block_hash) INCLUDE (to_block, digest, canonical),
    CONSTRAINT digests_range_check CHECK (to_block > from_block),
    CONSTRAINT digests_undone_check CHECK (canonical OR to_block IS NULL)
);
CREATE UNIQUE INDEX digests_open_key ON mirror.digests (contract_id) INCLUDE (from_block, digest)
    WHERE to_block IS NULL AND canonical;
CREATE INDEX digests_from_block_idx ON mirror.digests (from_block)
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute(DIGESTS)
    op.execute(f"GRANT SELECT ON mirror.digests TO {READERS}")
    op.execute(f"GRANT INSERT, UPDATE ON mirror.digests TO {WRITER}")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("DROP TABLE mirror.digests")
