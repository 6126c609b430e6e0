"""A first sync fills bare tables and builds their indexes once, which takes a third of the work of keeping them.

What is staged is served to nobody. The two functions run with the owner's rights, since only an owner may drop an
index, and the first of them refuses once any block was shown: nothing that was shown is deleted.
"""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

READERS = "muniment_api, muniment_sender, muniment_indexer, muniment_dispatcher"
WRITER = "muniment_indexer"

# Unlogged tables are empty after a crash of Postgres, and so is the mark, which then says that nothing is staged.
STAGING = """
CREATE SCHEMA staging;
CREATE TABLE staging.blocks (
    number bigint NOT NULL,
    hash bytea NOT NULL,
    parent_hash bytea NOT NULL,
    timestamp timestamptz NOT NULL,
    CONSTRAINT blocks_pkey PRIMARY KEY (number)
);
CREATE TABLE staging.deployments (
    contract_id integer NOT NULL,
    block_number bigint NOT NULL,
    block_hash bytea NOT NULL,
    salt bytea NOT NULL,
    operator bytea NOT NULL,
    kind text NOT NULL,
    CONSTRAINT deployments_pkey PRIMARY KEY (contract_id, block_number)
);
CREATE UNLOGGED TABLE staging.transfers (
    block_number bigint NOT NULL,
    log_index integer NOT NULL,
    contract_id integer NOT NULL,
    transaction_hash bytea NOT NULL,
    sender bytea NOT NULL,
    recipient bytea NOT NULL,
    amount numeric(78, 0) NOT NULL,
    deed_id numeric(78, 0)
);
CREATE UNLOGGED TABLE staging.events (
    block_number bigint NOT NULL,
    log_index integer NOT NULL,
    contract_id integer NOT NULL,
    transaction_hash bytea NOT NULL,
    first_topic bytea NOT NULL,
    name text NOT NULL,
    signature text NOT NULL,
    arguments jsonb NOT NULL
);
CREATE UNLOGGED TABLE staging.digests (
    contract_id integer NOT NULL,
    block_number bigint NOT NULL,
    digest bytea NOT NULL
);
CREATE UNLOGGED TABLE staging.marks (
    work text NOT NULL,
    staged_to bigint NOT NULL,
    events bigint NOT NULL,
    CONSTRAINT marks_pkey PRIMARY KEY (work)
);
CREATE TABLE mirror.backfills (
    work text NOT NULL,
    chain_id bigint NOT NULL,
    first_block bigint NOT NULL,
    last_block bigint NOT NULL,
    reached_block bigint NOT NULL,
    staged_block bigint NOT NULL,
    events bigint NOT NULL,
    events_per_s double precision,
    indexes_late boolean NOT NULL,
    begun_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    told_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    CONSTRAINT backfills_pkey PRIMARY KEY (work),
    CONSTRAINT backfills_span_check CHECK (last_block >= first_block),
    CONSTRAINT backfills_reached_check CHECK (reached_block BETWEEN first_block - 1 AND last_block)
);
CREATE TABLE mirror.late_indexes (
    name text NOT NULL,
    statement text NOT NULL,
    CONSTRAINT late_indexes_pkey PRIMARY KEY (name)
)
"""

# Indexes of open rows stay: few rows enter them, and each range of blocks looks there for what it builds on.
BEGIN = """
CREATE FUNCTION mirror.begin_first_sync() RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found record;
BEGIN
    LOCK TABLE mirror.blocks IN EXCLUSIVE MODE;
    IF EXISTS (SELECT FROM mirror.blocks) THEN
        RAISE EXCEPTION 'blocks were shown: nothing of them may be thrown away';
    END IF;
    TRUNCATE mirror.transfers, mirror.events, mirror.holdings, mirror.supplies, mirror.pauses, mirror.titles,
        mirror.states, mirror.digests;
    FOR found IN
        SELECT tables.relname AS table_name, indexes.relname AS name, bound.conname AS bound,
            CASE WHEN bound.oid IS NULL THEN pg_get_indexdef(indexes.oid)
                ELSE format('ALTER TABLE mirror.%I ADD CONSTRAINT %I %s', tables.relname, bound.conname,
                    pg_get_constraintdef(bound.oid)) END AS statement
        FROM pg_index
        JOIN pg_class AS indexes ON indexes.oid = indexrelid
        JOIN pg_class AS tables ON tables.oid = indrelid
        LEFT JOIN pg_constraint AS bound ON bound.conindid = indexes.oid AND bound.conrelid = tables.oid
        WHERE tables.relnamespace = 'mirror'::regnamespace AND tables.relname IN ('transfers', 'holdings', 'titles')
            AND coalesce(pg_get_expr(indpred, indrelid), '') NOT LIKE '%to_block IS NULL%'
    LOOP
        INSERT INTO mirror.late_indexes VALUES (found.name, found.statement);
        IF found.bound IS NULL THEN
            EXECUTE format('DROP INDEX mirror.%I', found.name);
        ELSE
            EXECUTE format('ALTER TABLE mirror.%I DROP CONSTRAINT %I', found.table_name, found.bound);
        END IF;
    END LOOP;
END $$
"""

BUILD = """
CREATE FUNCTION mirror.build_late_index() RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET maintenance_work_mem = '256MB' AS $$
DECLARE
    found record;
BEGIN
    DELETE FROM mirror.late_indexes WHERE name = (SELECT name FROM mirror.late_indexes ORDER BY name LIMIT 1)
        RETURNING * INTO found;
    IF found.statement IS NOT NULL THEN
        EXECUTE found.statement;
    END IF;
    RETURN found.name;
END $$
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute(STAGING)
    op.execute(BEGIN)
    op.execute(BUILD)
    op.execute("REVOKE ALL ON FUNCTION mirror.begin_first_sync(), mirror.build_late_index() FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION mirror.begin_first_sync(), mirror.build_late_index() TO {WRITER}")
    op.execute(f"GRANT USAGE ON SCHEMA staging TO {WRITER}")
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA staging TO {WRITER}")
    op.execute(f"GRANT SELECT ON mirror.backfills, mirror.late_indexes TO {READERS}")
    op.execute(f"GRANT INSERT, UPDATE ON mirror.backfills TO {WRITER}")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("DO $$ BEGIN PERFORM mirror.build_late_index() FROM mirror.late_indexes; END $$")
    op.execute("DROP FUNCTION mirror.build_late_index()")
    op.execute("DROP FUNCTION mirror.begin_first_sync()")
    op.execute("DROP TABLE mirror.late_indexes, mirror.backfills")
    op.execute("DROP SCHEMA staging CASCADE")
