"""Step-up: what an issuer confirms critical requests with, and the requests that wait for it."""

from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

FACTORS = """
CREATE TABLE second_factors (
    id uuid PRIMARY KEY,
    issuer_id uuid NOT NULL CONSTRAINT second_factors_issuer_id_fkey REFERENCES issuers,
    kind varchar NOT NULL CHECK (kind IN ('totp', 'account')),
    name varchar NOT NULL,
    sealed_secret bytea,
    account bytea CHECK (length(account) = 20),
    created_by varchar NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    confirmed_at timestamptz,
    removed_at timestamptz,
    last_step bigint NOT NULL DEFAULT 0,
    failed_count integer NOT NULL DEFAULT 0,
    failed_since timestamptz,
    CHECK ((kind = 'totp') = (sealed_secret IS NOT NULL) AND (kind = 'account') = (account IS NOT NULL))
);
CREATE INDEX second_factors_issuer_id_idx ON second_factors (issuer_id)
"""

STEPS = """
CREATE TABLE step_ups (
    id uuid PRIMARY KEY,
    issuer_id uuid NOT NULL CONSTRAINT step_ups_issuer_id_fkey REFERENCES issuers,
    caller_id uuid NOT NULL CONSTRAINT step_ups_caller_id_fkey REFERENCES callers,
    print bytea NOT NULL CHECK (length(print) = 32),
    message jsonb NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    given_at timestamptz,
    given_by uuid CONSTRAINT step_ups_given_by_fkey REFERENCES second_factors,
    used_at timestamptz
);
CREATE INDEX step_ups_issuer_id_idx ON step_ups (issuer_id, expires_at)
"""

GRANTS = """
GRANT SELECT, INSERT, UPDATE (confirmed_at, removed_at, last_step, failed_count, failed_since)
    ON second_factors TO muniment_api;
GRANT SELECT, INSERT, DELETE, UPDATE (given_at, given_by, used_at) ON step_ups TO muniment_api
"""

OTHERS = "muniment_sender, muniment_indexer, muniment_dispatcher"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for statements in (FACTORS, STEPS, GRANTS):
        op.execute(statements)
    for table in ("second_factors", "step_ups"):
        rule = "acting_for(issuer_id)"
        op.execute(f"CREATE POLICY confined ON {table} TO muniment_api USING ({rule}) WITH CHECK ({rule})")
        op.execute(f"CREATE POLICY whole ON {table} TO {OTHERS} USING (true) WITH CHECK (true)")
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("DROP TABLE step_ups")
    op.execute("DROP TABLE second_factors")
