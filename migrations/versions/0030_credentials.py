"""Credentials in place of API keys: several kinds, versions of one family, a life; their uses, and what was refused.

Whoever keeps one in memory is notified of changes, except of when it was last used. A key of before says in its text
alone which environment it is for, so that is left open for it.
"""

from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

CREDENTIALS = """
CREATE TABLE credentials (
    id varchar PRIMARY KEY CHECK (id ~ '^[0-9A-Za-z]{11}$'),
    family_id uuid NOT NULL,
    version integer NOT NULL CHECK (version > 0),
    caller_id uuid NOT NULL CONSTRAINT credentials_caller_id_fkey REFERENCES callers,
    environment varchar CHECK (environment IN ('live', 'test')),
    kind varchar NOT NULL CHECK (kind IN ('bearer', 'ed25519', 'hmac', 'wallet')),
    name varchar NOT NULL,
    scopes varchar[] NOT NULL,
    limits jsonb NOT NULL DEFAULT '{}',
    secret_hmac bytea CHECK (length(secret_hmac) = 32),
    pepper_version integer CHECK (pepper_version > 0),
    public_key bytea CHECK (length(public_key) = 32),
    sealed_secret bytea,
    account bytea CHECK (length(account) = 20),
    chain_id bigint,
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by varchar CONSTRAINT credentials_created_by_fkey REFERENCES credentials,
    activated_at timestamptz,
    not_before timestamptz,
    expires_at timestamptz,
    retires_at timestamptz,
    overlap_s integer CHECK (overlap_s >= 0),
    overlap_starts varchar CHECK (overlap_starts IN ('now', 'first-use')),
    suspended_at timestamptz,
    suspended_for varchar,
    revoked_at timestamptz,
    revoked_for varchar,
    replaced_by varchar CONSTRAINT credentials_replaced_by_fkey REFERENCES credentials,
    last_used_at timestamptz,
    CONSTRAINT credentials_family_id_version_key UNIQUE (family_id, version),
    CHECK ((kind = 'bearer') = (secret_hmac IS NOT NULL)),
    CHECK ((kind = 'bearer') = (pepper_version IS NOT NULL)),
    CHECK ((kind = 'ed25519') = (public_key IS NOT NULL)),
    CHECK ((kind = 'hmac') = (sealed_secret IS NOT NULL)),
    CHECK ((kind = 'wallet') = (account IS NOT NULL)),
    CHECK ((kind = 'wallet') = (chain_id IS NOT NULL)),
    CHECK (kind = 'bearer' OR environment IS NOT NULL),
    CHECK (replaced_by <> id)
);
CREATE INDEX credentials_caller_id_idx ON credentials (caller_id);
CREATE INDEX credentials_account_idx ON credentials (account, chain_id) WHERE account IS NOT NULL
"""

USES = """
CREATE TABLE credential_uses (
    credential_id varchar NOT NULL CONSTRAINT credential_uses_credential_id_fkey REFERENCES credentials,
    day date NOT NULL,
    operation varchar NOT NULL,
    network varchar NOT NULL,
    count bigint NOT NULL,
    failed_count bigint NOT NULL,
    PRIMARY KEY (credential_id, day, operation, network)
);
CREATE TABLE access_refusals (
    key_id varchar NOT NULL,
    reason varchar NOT NULL,
    day date NOT NULL,
    count bigint NOT NULL,
    PRIMARY KEY (key_id, reason, day)
)
"""

CHANGES = """
CREATE FUNCTION credentials_changed() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    NOTIFY muniment_credentials;
    RETURN NULL;
END $$;
CREATE TRIGGER credentials_changed AFTER DELETE OR UPDATE OF secret_hmac, scopes, limits, activated_at, not_before,
    expires_at, retires_at, suspended_at, revoked_at, replaced_by ON credentials
    FOR EACH STATEMENT EXECUTE FUNCTION credentials_changed();
CREATE TRIGGER credentials_changed AFTER UPDATE ON callers FOR EACH STATEMENT EXECUTE FUNCTION credentials_changed();
CREATE TRIGGER credentials_changed AFTER UPDATE ON issuers FOR EACH STATEMENT EXECUTE FUNCTION credentials_changed()
"""

MOVE = """
INSERT INTO credentials (id, family_id, version, caller_id, kind, name, scopes, secret_hmac, pepper_version,
    created_at, activated_at, revoked_at)
SELECT k.id, gen_random_uuid(), 1, k.caller_id, 'bearer', c.name, k.scopes, k.secret_hmac, 1,
    k.created_at, k.created_at, k.revoked_at
FROM api_keys k JOIN callers c ON c.id = k.caller_id
"""

GRANTS = """
GRANT SELECT, INSERT ON credentials, credential_uses, access_refusals TO muniment_api;
GRANT UPDATE (secret_hmac, pepper_version, name, scopes, limits, activated_at, retires_at, overlap_s, overlap_starts,
    suspended_at, suspended_for, revoked_at, revoked_for, replaced_by, last_used_at) ON credentials TO muniment_api;
GRANT UPDATE (count, failed_count) ON credential_uses TO muniment_api;
GRANT UPDATE (count) ON access_refusals TO muniment_api
"""

API_KEYS = """
CREATE TABLE api_keys (
    id varchar PRIMARY KEY,
    caller_id uuid NOT NULL REFERENCES callers,
    secret_hmac bytea NOT NULL CONSTRAINT secret_hmac CHECK (length(secret_hmac) = 32),
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz,
    scopes varchar[] NOT NULL DEFAULT '{issue}'
);
ALTER TABLE api_keys ADD CONSTRAINT api_keys_scopes_check CHECK (scopes <@ ARRAY[
    'issue', 'transactions', 'metrics', 'vault:tokenize', 'vault:reveal', 'vault:search', 'vault:policy']::varchar[]);
GRANT SELECT ON api_keys TO muniment_api
"""

MOVE_BACK = """
INSERT INTO api_keys (id, caller_id, secret_hmac, created_at, scopes, revoked_at)
SELECT k.id, k.caller_id, k.secret_hmac, k.created_at,
    ARRAY(SELECT scope FROM unnest(k.scopes) scope WHERE scope IN ('issue', 'transactions', 'metrics',
        'vault:tokenize', 'vault:reveal', 'vault:search', 'vault:policy')),
    CASE WHEN k.revoked_at IS NOT NULL THEN k.revoked_at
        WHEN k.activated_at IS NULL OR k.suspended_at IS NOT NULL OR k.expires_at IS NOT NULL
            OR k.retires_at IS NOT NULL OR k.limits <> '{}' OR c.deleted_at IS NOT NULL THEN now() END
FROM credentials k JOIN callers c ON c.id = k.caller_id WHERE k.kind = 'bearer'
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("ALTER TABLE callers ADD COLUMN role varchar, ADD COLUMN deleted_at timestamptz")
    for statements in (CREDENTIALS, USES, CHANGES, MOVE, GRANTS):
        op.execute(statements)
    op.execute("DROP TABLE api_keys")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute(API_KEYS)
    # An older version knows neither ends nor limits: a key that has one comes back revoked, so that none opens more.
    op.execute(MOVE_BACK)
    for table in ("access_refusals", "credential_uses", "credentials"):
        op.execute(f"DROP TABLE {table}")
    for table in ("issuers", "callers"):
        op.execute(f"DROP TRIGGER credentials_changed ON {table}")
    op.execute("DROP FUNCTION credentials_changed")
    op.execute("ALTER TABLE callers DROP COLUMN role, DROP COLUMN deleted_at")
