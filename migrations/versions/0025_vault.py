"""The token vault: policies, wrapped keys, subjects and records. The API may write, and deletes nothing."""

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

POLICIES = """
CREATE TABLE vault.policies (
    id uuid PRIMARY KEY,
    issuer_id uuid NOT NULL CONSTRAINT policies_issuer_id_fkey REFERENCES issuers,
    name varchar NOT NULL,
    kind varchar NOT NULL CHECK (kind IN ('vault', 'vaultless', 'one_way')),
    data_class varchar NOT NULL,
    shape jsonb NOT NULL,
    deterministic boolean NOT NULL CHECK (deterministic OR kind = 'vault'),
    mapping varchar NOT NULL CHECK (mapping IN ('default', 'exportable')),
    pointer boolean NOT NULL CHECK (NOT pointer OR (kind = 'vault' AND NOT deterministic)),
    ttl_max_s bigint CHECK (ttl_max_s > 0),
    reveal jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz,
    crowded_at timestamptz,
    CONSTRAINT policies_issuer_id_name_key UNIQUE (issuer_id, name)
)
"""

KEYS = """
CREATE TABLE vault.keys (
    id uuid PRIMARY KEY,
    issuer_id uuid NOT NULL CONSTRAINT keys_issuer_id_fkey REFERENCES issuers,
    policy_id uuid CONSTRAINT keys_policy_id_fkey REFERENCES vault.policies,
    purpose varchar NOT NULL,
    version bigint NOT NULL CHECK (version BETWEEN 1 AND 4294967295),
    state varchar NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'retired', 'destroyed')),
    kek varchar NOT NULL,
    kek_version varchar NOT NULL,
    wrapped bytea,
    created_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz,
    CHECK ((state = 'destroyed') = (wrapped IS NULL))
);
CREATE UNIQUE INDEX keys_issuer_id_policy_id_purpose_version_key
    ON vault.keys (issuer_id, policy_id, purpose, version) NULLS NOT DISTINCT
"""

SUBJECTS = """
CREATE TABLE vault.subjects (
    id uuid PRIMARY KEY,
    issuer_id uuid NOT NULL CONSTRAINT subjects_issuer_id_fkey REFERENCES issuers,
    index bytea NOT NULL CHECK (length(index) = 32),
    wrapped bytea,
    wrapping_version bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    erased_at timestamptz,
    CHECK ((erased_at IS NULL) = (wrapped IS NOT NULL))
);
CREATE UNIQUE INDEX subjects_live_key ON vault.subjects (issuer_id, index) WHERE erased_at IS NULL;
CREATE INDEX subjects_issuer_id_index_idx ON vault.subjects (issuer_id, index)
"""

RECORDS = """
CREATE TABLE vault.records (
    index bytea PRIMARY KEY CHECK (length(index) = 32),
    id uuid NOT NULL,
    issuer_id uuid NOT NULL,
    policy_id uuid NOT NULL CONSTRAINT records_policy_id_fkey REFERENCES vault.policies,
    subject_id uuid CONSTRAINT records_subject_id_fkey REFERENCES vault.subjects,
    asset_token_id uuid,
    deterministic boolean NOT NULL,
    data_version bigint,
    sealed bytea,
    sealed_token bytea,
    fingerprint bytea CHECK (length(fingerprint) = 32),
    last_four varchar CHECK (length(last_four) = 4),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz,
    expires_at timestamptz,
    revoked_at timestamptz,
    erased_at timestamptz,
    CHECK ((sealed IS NULL) = (data_version IS NULL)),
    CHECK (erased_at IS NULL OR COALESCE(sealed, sealed_token, fingerprint) IS NULL AND last_four IS NULL),
    CHECK (erased_at IS NOT NULL OR sealed IS NOT NULL AND fingerprint IS NOT NULL)
);
CREATE UNIQUE INDEX records_policy_id_fingerprint_key ON vault.records (policy_id, fingerprint)
    WHERE deterministic AND revoked_at IS NULL;
CREATE INDEX records_policy_id_fingerprint_idx ON vault.records (policy_id, fingerprint)
    WHERE NOT deterministic AND revoked_at IS NULL;
CREATE INDEX records_policy_id_id_idx ON vault.records (policy_id, id);
CREATE INDEX records_subject_id_id_idx ON vault.records (subject_id, id) WHERE subject_id IS NOT NULL;
CREATE INDEX records_asset_token_id_id_idx ON vault.records (asset_token_id, id) WHERE asset_token_id IS NOT NULL
"""

ANSWERS = """
CREATE TABLE vault.answers (
    caller_id uuid NOT NULL,
    key varchar NOT NULL,
    sealed bytea NOT NULL,
    subject_ids uuid[],
    created_at timestamptz NOT NULL DEFAULT now(),
    erased_at timestamptz,
    PRIMARY KEY (caller_id, key),
    CHECK (erased_at IS NULL OR sealed = '')
);
CREATE INDEX answers_subject_ids_idx ON vault.answers USING gin (subject_ids) WHERE subject_ids IS NOT NULL
"""

GRANTS = """
GRANT USAGE ON SCHEMA vault TO muniment_api;
GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA vault TO muniment_api;
GRANT UPDATE (ttl_max_s, reveal, changed_at, crowded_at) ON vault.policies TO muniment_api;
GRANT UPDATE (wrapped, erased_at) ON vault.subjects TO muniment_api;
GRANT UPDATE (data_version, sealed, sealed_token, fingerprint, last_four, updated_at, revoked_at, erased_at)
    ON vault.records TO muniment_api;
GRANT UPDATE (sealed, erased_at) ON vault.answers TO muniment_api;
GRANT UPDATE (fingerprint) ON requests TO muniment_api;
GRANT INSERT ON journal_entries TO muniment_api;
GRANT SELECT, UPDATE ON journal_end TO muniment_api
"""


SCOPES = """
ALTER TABLE api_keys DROP CONSTRAINT api_keys_scopes_check;
ALTER TABLE api_keys ADD CONSTRAINT api_keys_scopes_check CHECK (scopes <@ ARRAY[{SCOPES}]::varchar[])
"""

BEFORE = "'issue', 'transactions', 'metrics'"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    vault = "'vault:tokenize', 'vault:reveal', 'vault:search', 'vault:policy'"
    op.execute(SCOPES.replace("{SCOPES}", f"{BEFORE}, {vault}"))
    op.execute("CREATE SCHEMA vault")
    for statements in (POLICIES, KEYS, SUBJECTS, RECORDS, ANSWERS, GRANTS):
        op.execute(statements)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    # An older version does not know the vault's scopes: the keys keep what they may do besides.
    op.execute(
        """UPDATE api_keys SET scopes = ARRAY(SELECT scope FROM unnest(scopes) scope WHERE scope NOT LIKE 'vault:%')
        WHERE array_to_string(scopes, ' ') LIKE '%vault:%'"""
    )
    op.execute(SCOPES.replace("{SCOPES}", BEFORE))
    op.execute("REVOKE UPDATE (fingerprint) ON requests FROM muniment_api")
    op.execute("REVOKE INSERT ON journal_entries FROM muniment_api")
    op.execute("REVOKE ALL ON journal_end FROM muniment_api")
    for table in ("answers", "records", "subjects", "keys", "policies"):
        op.execute(f"DROP TABLE vault.{table}")
    op.execute("DROP SCHEMA vault")
