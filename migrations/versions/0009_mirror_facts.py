"""The mirror holds all that the contracts announce: kinds, titles, states, and the events themselves."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

READERS = "muniment_api, muniment_sender, muniment_indexer, muniment_dispatcher"
WRITER = "muniment_indexer"

# Deployments of before told no kind.
COLUMNS = """
ALTER TABLE mirror.deployments ADD COLUMN kind text NOT NULL DEFAULT 'unknown';
ALTER TABLE mirror.deployments ALTER COLUMN kind DROP DEFAULT;
ALTER TABLE mirror.transfers ADD COLUMN deed_id numeric(78, 0)
    CONSTRAINT transfers_deed_id_check CHECK (deed_id >= 0)
"""

EVENTS = """
CREATE TABLE mirror.events (
    block_hash bytea NOT NULL CONSTRAINT events_block_hash_length_check CHECK (octet_length(block_hash) = 32),
    log_index integer NOT NULL,
    contract_id integer NOT NULL,
    block_number bigint NOT NULL,
    transaction_hash bytea NOT NULL
        CONSTRAINT events_transaction_hash_length_check CHECK (octet_length(transaction_hash) = 32),
    name text NOT NULL,
    arguments jsonb NOT NULL,
    canonical boolean NOT NULL,
    CONSTRAINT events_pkey PRIMARY KEY (block_hash, log_index)
);
CREATE INDEX events_contract_id_idx ON mirror.events
    (contract_id, block_number, log_index) WHERE canonical;
CREATE INDEX events_contract_id_name_idx ON mirror.events
    (contract_id, name, block_number, log_index) WHERE canonical
"""

# {0} table, {1} key columns, {2} comma and state column where an index can carry it, {3} key and state.
RANGED = """
CREATE TABLE mirror.{0} (
    contract_id integer NOT NULL,
    {3},
    from_block bigint NOT NULL,
    to_block bigint,
    block_hash bytea NOT NULL CONSTRAINT {0}_block_hash_length_check CHECK (octet_length(block_hash) = 32),
    canonical boolean NOT NULL,
    CONSTRAINT {0}_pkey PRIMARY KEY ({1}, from_block, block_hash) INCLUDE (to_block{2}, canonical),
    CONSTRAINT {0}_range_check CHECK (to_block > from_block),
    CONSTRAINT {0}_undone_check CHECK (canonical OR to_block IS NULL)
);
CREATE UNIQUE INDEX {0}_open_key ON mirror.{0} ({1}) INCLUDE (from_block{2})
    WHERE to_block IS NULL AND canonical;
CREATE INDEX {0}_from_block_idx ON mirror.{0} (from_block)
"""

TITLE = """deed_id numeric(78, 0) NOT NULL CONSTRAINT titles_deed_id_check CHECK (deed_id >= 0),
    holder bytea CONSTRAINT titles_holder_length_check CHECK (octet_length(holder) = 20)"""

STATE = """aspect text NOT NULL,
    key bytea NOT NULL,
    state jsonb"""

HOLDERS = """
CREATE INDEX titles_holder_open_idx ON mirror.titles (contract_id, holder, deed_id)
    WHERE to_block IS NULL AND canonical AND holder IS NOT NULL;
CREATE INDEX titles_holder_idx ON mirror.titles (contract_id, holder, deed_id, from_block) INCLUDE (to_block)
    WHERE canonical AND holder IS NOT NULL
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute(COLUMNS)
    op.execute(EVENTS)
    op.execute(RANGED.format("titles", "contract_id, deed_id", ", holder", TITLE))
    op.execute(HOLDERS)
    op.execute(RANGED.format("states", "contract_id, aspect, key", "", STATE))
    op.execute(f"GRANT SELECT ON mirror.events, mirror.titles, mirror.states TO {READERS}")
    op.execute(f"GRANT INSERT, UPDATE ON mirror.events, mirror.titles, mirror.states TO {WRITER}")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for table in ("states", "titles", "events"):
        op.execute(f"DROP TABLE mirror.{table}")
    op.execute("ALTER TABLE mirror.transfers DROP COLUMN deed_id")
    op.execute("ALTER TABLE mirror.deployments DROP COLUMN kind")
