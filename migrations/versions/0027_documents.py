"""Documents in encrypted chunks, and commitments to attributes. A half upload that expired is the one thing deleted."""

from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

DOCUMENTS = """
CREATE TABLE vault.documents (
    id uuid PRIMARY KEY,
    issuer_id uuid NOT NULL,
    policy_id uuid NOT NULL CONSTRAINT documents_policy_id_fkey REFERENCES vault.policies,
    subject_id uuid CONSTRAINT documents_subject_id_fkey REFERENCES vault.subjects,
    asset_token_id uuid,
    size_bytes bigint NOT NULL CHECK (size_bytes BETWEEN 1 AND 1073741824),
    received_bytes bigint NOT NULL DEFAULT 0 CHECK (received_bytes BETWEEN 0 AND size_bytes),
    data_version bigint NOT NULL,
    sealed bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    completed_at timestamptz,
    CHECK (completed_at IS NOT NULL OR expires_at IS NOT NULL),
    CHECK ((completed_at IS NOT NULL) = (received_bytes = size_bytes))
);
CREATE INDEX documents_issuer_id_id_idx ON vault.documents (issuer_id, id);
CREATE INDEX documents_expires_at_idx ON vault.documents (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX documents_subject_id_id_idx ON vault.documents (subject_id, id) WHERE subject_id IS NOT NULL
"""

# Ciphertext does not compress, and trying costs more than the encryption.
CHUNKS = """
CREATE TABLE vault.document_chunks (
    document_id uuid NOT NULL
        CONSTRAINT document_chunks_document_id_fkey REFERENCES vault.documents ON DELETE CASCADE,
    number integer NOT NULL CHECK (number >= 0),
    sealed bytea STORAGE EXTERNAL NOT NULL,
    PRIMARY KEY (document_id, number)
)
"""

COMMITMENTS = """
CREATE TABLE vault.commitments (
    id uuid PRIMARY KEY,
    issuer_id uuid NOT NULL,
    policy_id uuid NOT NULL CONSTRAINT commitments_policy_id_fkey REFERENCES vault.policies,
    asset_token_id uuid,
    root bytea NOT NULL CHECK (length(root) = 32),
    data_version bigint NOT NULL,
    sealed bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX commitments_issuer_id_id_idx ON vault.commitments (issuer_id, id)
"""

GRANTS = """
GRANT SELECT, INSERT ON vault.documents, vault.document_chunks, vault.commitments TO muniment_api;
GRANT UPDATE (received_bytes, data_version, sealed, expires_at, completed_at) ON vault.documents TO muniment_api;
GRANT DELETE ON vault.documents, vault.document_chunks TO muniment_api
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for statements in (DOCUMENTS, CHUNKS, COMMITMENTS, GRANTS):
        op.execute(statements)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for table in ("commitments", "document_chunks", "documents"):
        op.execute(f"DROP TABLE vault.{table}")
