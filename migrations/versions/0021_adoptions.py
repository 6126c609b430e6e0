"""Contracts that were there before us become tokens: no asset, no deployment of ours, but an adoption."""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

READERS = "muniment_api, muniment_sender, muniment_indexer, muniment_dispatcher"
WRITER = "muniment_indexer"

ADOPTIONS = """
CREATE TABLE adoptions (
    id uuid NOT NULL,
    issuer_id uuid NOT NULL,
    chain_id bigint NOT NULL,
    address bytea NOT NULL,
    kind varchar NOT NULL,
    start_block bigint,
    status varchar NOT NULL DEFAULT 'requested',
    reason varchar,
    detail varchar,
    first_block bigint,
    first_proven boolean NOT NULL DEFAULT false,
    since_block bigint,
    last_block bigint,
    work varchar,
    created_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    CONSTRAINT adoptions_pkey PRIMARY KEY (id),
    CONSTRAINT adoptions_issuer_id_fkey FOREIGN KEY (issuer_id) REFERENCES issuers (id),
    CONSTRAINT adoptions_address_check CHECK (octet_length(address) = 20),
    CONSTRAINT adoptions_kind_check CHECK (kind IN ('erc20', 'erc721')),
    CONSTRAINT adoptions_status_check CHECK (status IN ('requested', 'filling', 'live', 'refused')),
    CONSTRAINT adoptions_ended_check CHECK ((ended_at IS NOT NULL) = (status IN ('live', 'refused'))),
    CONSTRAINT adoptions_reason_check CHECK ((reason IS NOT NULL) = (status = 'refused'))
);
CREATE INDEX adoptions_open_idx ON adoptions (chain_id, id) WHERE ended_at IS NULL;
CREATE INDEX adoptions_chain_id_address_idx ON adoptions (chain_id, address);
CREATE TABLE mirror.marks (
    contract_id integer NOT NULL,
    name text NOT NULL,
    block_number bigint NOT NULL,
    detail text NOT NULL,
    noted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT marks_pkey PRIMARY KEY (contract_id, name),
    CONSTRAINT marks_contract_id_fkey FOREIGN KEY (contract_id) REFERENCES mirror.contracts (id)
)
"""

TOKENS = """
ALTER TABLE tokens
    ALTER COLUMN asset_id DROP NOT NULL,
    ALTER COLUMN operation_id DROP NOT NULL,
    ADD COLUMN adoption_id uuid CONSTRAINT tokens_adoption_id_fkey REFERENCES adoptions (id),
    DROP CONSTRAINT tokens_kind_check,
    DROP CONSTRAINT tokens_decimals_check,
    ADD CONSTRAINT tokens_kind_check
        CHECK (kind IN ('fungible', 'deed', 'governance', 'utility', 'erc20', 'erc721')),
    ADD CONSTRAINT tokens_decimals_check CHECK (decimals BETWEEN 0 AND 255),
    ADD CONSTRAINT tokens_source_check CHECK (
        (adoption_id IS NULL) = (operation_id IS NOT NULL) AND (adoption_id IS NULL) = (asset_id IS NOT NULL));
CREATE UNIQUE INDEX tokens_adopted_key ON tokens (issuer_id, chain_id, address) WHERE adoption_id IS NOT NULL
"""

BACK = """
DELETE FROM tokens WHERE adoption_id IS NOT NULL;
ALTER TABLE tokens
    DROP CONSTRAINT tokens_source_check,
    DROP CONSTRAINT tokens_kind_check,
    DROP CONSTRAINT tokens_decimals_check,
    DROP COLUMN adoption_id,
    ALTER COLUMN asset_id SET NOT NULL,
    ALTER COLUMN operation_id SET NOT NULL,
    ADD CONSTRAINT tokens_kind_check CHECK (kind IN ('fungible', 'deed', 'governance', 'utility')),
    ADD CONSTRAINT tokens_decimals_check CHECK (decimals BETWEEN 0 AND 18)
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute(ADOPTIONS)
    op.execute(TOKENS)
    op.execute(f"GRANT SELECT ON adoptions, mirror.marks TO {READERS}")
    op.execute("GRANT INSERT ON adoptions TO muniment_api")
    op.execute("GRANT UPDATE (adoption_id, kind) ON tokens TO muniment_api")
    op.execute(f"GRANT UPDATE ON adoptions TO {WRITER}")
    op.execute(f"GRANT INSERT, UPDATE ON mirror.marks TO {WRITER}")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    # What an adopted contract's rows say stays in the mirror, and an older version would take it for its own.
    op.execute("UPDATE mirror.deployments SET canonical = false WHERE operator = decode(repeat('00', 20), 'hex')")
    op.execute("REVOKE UPDATE (kind) ON tokens FROM muniment_api")
    op.execute(BACK)
    op.execute("DROP TABLE mirror.marks")
    op.execute("DROP TABLE adoptions")
