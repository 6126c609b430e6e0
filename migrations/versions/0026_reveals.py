"""Reveals: what keys spent of their budgets, suspensions, approvals and payments, all counted where rows can be locked.

What is deleted is only who was seen on earlier days, which no limit asks for any more.
"""

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

BUDGETS = """
CREATE TABLE vault.reveal_counts (
    key_id varchar NOT NULL,
    policy_id uuid NOT NULL CONSTRAINT reveal_counts_policy_id_fkey REFERENCES vault.policies,
    day date NOT NULL,
    values_count bigint NOT NULL CHECK (values_count >= 0),
    subjects_count bigint NOT NULL CHECK (subjects_count >= 0),
    PRIMARY KEY (key_id, policy_id, day)
);
CREATE TABLE vault.reveal_subjects (
    key_id varchar NOT NULL,
    policy_id uuid NOT NULL,
    day date NOT NULL,
    subject_id uuid NOT NULL,
    PRIMARY KEY (key_id, policy_id, day, subject_id)
);
CREATE TABLE vault.reveal_refusals (
    key_id varchar NOT NULL,
    reason varchar NOT NULL,
    day date NOT NULL,
    count bigint NOT NULL CHECK (count > 0),
    PRIMARY KEY (key_id, reason, day)
);
CREATE TABLE vault.searches (
    key_id varchar NOT NULL,
    policy_id uuid NOT NULL CONSTRAINT searches_policy_id_fkey REFERENCES vault.policies,
    day date NOT NULL,
    count bigint NOT NULL CHECK (count > 0),
    PRIMARY KEY (key_id, policy_id, day)
);
CREATE TABLE vault.suspensions (
    id uuid PRIMARY KEY,
    issuer_id uuid NOT NULL,
    caller_id uuid NOT NULL,
    key_id varchar NOT NULL,
    policy_id uuid NOT NULL CONSTRAINT suspensions_policy_id_fkey REFERENCES vault.policies,
    reason varchar NOT NULL,
    suspended_at timestamptz NOT NULL DEFAULT now(),
    lifted_at timestamptz,
    lifted_by uuid,
    CHECK ((lifted_at IS NULL) = (lifted_by IS NULL))
);
CREATE UNIQUE INDEX suspensions_caller_id_key ON vault.suspensions (caller_id) WHERE lifted_at IS NULL;
CREATE INDEX suspensions_issuer_id_id_idx ON vault.suspensions (issuer_id, id)
"""

APPROVALS = """
CREATE TABLE vault.approvals (
    id uuid PRIMARY KEY,
    issuer_id uuid NOT NULL,
    caller_id uuid NOT NULL,
    print bytea NOT NULL CHECK (length(print) = 32),
    policy_ids uuid[] NOT NULL,
    record_ids uuid[] NOT NULL,
    values_count bigint NOT NULL CHECK (values_count > 0),
    purpose varchar NOT NULL,
    reason varchar NOT NULL,
    view varchar NOT NULL,
    approvals_needed bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    spent_at timestamptz
);
CREATE TABLE vault.approvers (
    approval_id uuid NOT NULL CONSTRAINT approvers_approval_id_fkey REFERENCES vault.approvals,
    caller_id uuid NOT NULL,
    approved_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (approval_id, caller_id)
)
"""

PAYMENTS = """
CREATE TABLE vault.payments (
    id uuid PRIMARY KEY,
    issuer_id uuid NOT NULL,
    caller_id uuid NOT NULL,
    record_id uuid,
    processor varchar NOT NULL,
    amount numeric(78, 0) NOT NULL CHECK (amount > 0),
    currency varchar NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    reference varchar NOT NULL,
    state varchar NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'accepted', 'declined')),
    processor_reference varchar,
    code varchar,
    created_at timestamptz NOT NULL DEFAULT now(),
    settled_at timestamptz,
    CHECK ((state = 'pending') = (settled_at IS NULL))
)
"""

TABLES = (
    *("payments", "approvers", "approvals", "suspensions", "searches"),
    *("reveal_refusals", "reveal_subjects", "reveal_counts"),
)

GRANTS = """
GRANT UPDATE (values_count, subjects_count) ON vault.reveal_counts TO muniment_api;
GRANT DELETE ON vault.reveal_subjects TO muniment_api;
GRANT UPDATE (count) ON vault.reveal_refusals TO muniment_api;
GRANT UPDATE (count) ON vault.searches TO muniment_api;
GRANT UPDATE (lifted_at, lifted_by) ON vault.suspensions TO muniment_api;
GRANT UPDATE (spent_at) ON vault.approvals TO muniment_api;
GRANT UPDATE (state, processor_reference, code, settled_at) ON vault.payments TO muniment_api
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for statements in (BUDGETS, APPROVALS, PAYMENTS):
        op.execute(statements)
    for table in TABLES:
        op.execute(f"GRANT SELECT, INSERT ON vault.{table} TO muniment_api")
    op.execute(GRANTS)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for table in TABLES:
        op.execute(f"DROP TABLE vault.{table}")
