"""Webhooks: what each issuer wants to be told and where; each message is a row, so that none is lost and none is new.

The journal's index gains the position: a webhook asks for what follows its own, at every step.
"""

from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

WEBHOOKS = """
CREATE TABLE webhooks (
    id uuid PRIMARY KEY,
    issuer_id uuid NOT NULL CONSTRAINT webhooks_issuer_id_fkey REFERENCES issuers,
    url varchar NOT NULL,
    description varchar NOT NULL,
    types varchar[] NOT NULL CHECK (cardinality(types) > 0),
    position bigint NOT NULL CHECK (position >= 0),
    number bigint NOT NULL DEFAULT 0 CHECK (number >= 0),
    failures bigint NOT NULL DEFAULT 0 CHECK (failures >= 0),
    failing_since timestamptz,
    disabled_at timestamptz,
    disabled_for varchar CHECK (disabled_for IN ('caller', 'failing', 'gone')),
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK ((disabled_at IS NULL) = (disabled_for IS NULL)),
    CHECK ((failures = 0) = (failing_since IS NULL))
);
CREATE INDEX webhooks_issuer_id_id_idx ON webhooks (issuer_id, id);
CREATE TABLE webhook_secrets (
    webhook_id uuid NOT NULL CONSTRAINT webhook_secrets_webhook_id_fkey REFERENCES webhooks ON DELETE CASCADE,
    version bigint NOT NULL CHECK (version > 0),
    sealed_hmac bytea NOT NULL,
    sealed_private bytea NOT NULL,
    public_key bytea NOT NULL CHECK (length(public_key) = 32),
    created_at timestamptz NOT NULL DEFAULT now(),
    ends_at timestamptz,
    PRIMARY KEY (webhook_id, version)
);
CREATE TABLE webhook_subjects (
    webhook_id uuid NOT NULL CONSTRAINT webhook_subjects_webhook_id_fkey REFERENCES webhooks ON DELETE CASCADE,
    subject varchar NOT NULL,
    sequence bigint NOT NULL CHECK (sequence > 0),
    PRIMARY KEY (webhook_id, subject)
)
"""

DELIVERIES = """
CREATE TABLE webhook_deliveries (
    webhook_id uuid NOT NULL CONSTRAINT webhook_deliveries_webhook_id_fkey REFERENCES webhooks ON DELETE CASCADE,
    number bigint NOT NULL CHECK (number > 0),
    position bigint CHECK (position > 0),
    type varchar NOT NULL,
    subject varchar NOT NULL,
    sequence bigint NOT NULL CHECK (sequence > 0),
    notice jsonb,
    state varchar NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'dead')),
    failures smallint NOT NULL DEFAULT 0 CHECK (failures >= 0),
    tries jsonb NOT NULL DEFAULT '[]',
    due_at timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (webhook_id, number),
    CHECK ((position IS NULL) = (notice IS NOT NULL))
);
CREATE INDEX webhook_deliveries_pending_idx ON webhook_deliveries (webhook_id, due_at, number) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_dead_idx ON webhook_deliveries (webhook_id, number) WHERE state = 'dead';
CREATE TABLE webhook_sightings (
    transaction_id uuid PRIMARY KEY,
    operation_id uuid NOT NULL,
    issuer_id uuid NOT NULL,
    block_number bigint NOT NULL,
    block_hash bytea NOT NULL CHECK (length(block_hash) = 32)
)
"""

JOURNAL = """
CREATE INDEX journal_entries_issuer_id_position_idx ON journal_entries (issuer_id, position);
DROP INDEX journal_entries_issuer_id_idx
"""

GRANTS = """
GRANT SELECT, INSERT, DELETE ON webhooks, webhook_secrets TO muniment_api;
GRANT UPDATE (url, description, types, number, failures, failing_since, disabled_at, disabled_for)
    ON webhooks TO muniment_api;
GRANT UPDATE (ends_at) ON webhook_secrets TO muniment_api;
GRANT SELECT, INSERT ON webhook_subjects, webhook_deliveries TO muniment_api, muniment_dispatcher;
GRANT UPDATE (sequence) ON webhook_subjects TO muniment_api, muniment_dispatcher;
GRANT UPDATE (state, failures, tries, due_at) ON webhook_deliveries TO muniment_api, muniment_dispatcher;
GRANT SELECT ON webhooks, webhook_secrets TO muniment_dispatcher;
GRANT UPDATE (position, number, failures, failing_since, disabled_at, disabled_for) ON webhooks TO muniment_dispatcher;
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_sightings TO muniment_dispatcher
"""

TABLES = ("webhook_sightings", "webhook_deliveries", "webhook_subjects", "webhook_secrets", "webhooks")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for statements in (WEBHOOKS, DELIVERIES, JOURNAL, GRANTS):
        op.execute(statements)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for table in TABLES:
        op.execute(f"DROP TABLE {table}")
    op.execute("CREATE INDEX journal_entries_issuer_id_idx ON journal_entries (issuer_id)")
    op.execute("DROP INDEX journal_entries_issuer_id_position_idx")
