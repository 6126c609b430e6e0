"""Persons as the chain knows them, their accounts, and indexes of the records that ended.

What is deleted is an account that is taken off a person.
"""

from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

PERSONS = """
CREATE TABLE vault.persons (
    id uuid PRIMARY KEY,
    issuer_id uuid NOT NULL CONSTRAINT persons_issuer_id_fkey REFERENCES issuers,
    subject_id uuid CONSTRAINT persons_subject_id_fkey REFERENCES vault.subjects,
    investor_id bytea NOT NULL CHECK (length(investor_id) = 32),
    sealed_name bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    erased_at timestamptz,
    CHECK ((subject_id IS NULL) = (erased_at IS NOT NULL)),
    CHECK (erased_at IS NULL OR sealed_name IS NULL)
);
CREATE UNIQUE INDEX persons_subject_id_key ON vault.persons (subject_id);
CREATE TABLE vault.accounts (
    issuer_id uuid NOT NULL,
    index bytea NOT NULL CHECK (length(index) = 32),
    person_id uuid NOT NULL CONSTRAINT accounts_person_id_fkey REFERENCES vault.persons,
    sealed bytea,
    linked_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (issuer_id, index)
);
CREATE INDEX accounts_person_id_idx ON vault.accounts (person_id)
"""

STATES = """
CREATE INDEX records_expires_idx ON vault.records (policy_id, id) WHERE expires_at IS NOT NULL;
CREATE INDEX records_revoked_idx ON vault.records (policy_id, id) WHERE revoked_at IS NOT NULL;
CREATE INDEX records_erased_idx ON vault.records (policy_id, id) WHERE erased_at IS NOT NULL
"""

GRANTS = """
GRANT SELECT, INSERT ON vault.persons, vault.accounts TO muniment_api;
GRANT UPDATE (subject_id, sealed_name, erased_at) ON vault.persons TO muniment_api;
GRANT UPDATE (person_id, sealed, linked_at) ON vault.accounts TO muniment_api;
GRANT DELETE ON vault.accounts TO muniment_api
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for statements in (PERSONS, STATES, GRANTS):
        op.execute(statements)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for index in ("records_erased_idx", "records_revoked_idx", "records_expires_idx"):
        op.execute(f"DROP INDEX vault.{index}")
    op.execute("DROP TABLE vault.accounts")
    op.execute("DROP TABLE vault.persons")
