"""What never opens again is not kept: values of revoked records, attributes of erased persons. Lists of documents."""

from alembic import op
from sqlalchemy import text

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

RECORDS = """
ALTER TABLE vault.records DROP CONSTRAINT records_check2;
ALTER TABLE vault.records ADD CONSTRAINT records_check2 CHECK (
    erased_at IS NOT NULL OR revoked_at IS NOT NULL OR sealed IS NOT NULL AND fingerprint IS NOT NULL);
UPDATE vault.records SET sealed = NULL, data_version = NULL, sealed_token = NULL, fingerprint = NULL
    WHERE revoked_at IS NOT NULL AND erased_at IS NULL
"""

COMMITMENTS = """
ALTER TABLE vault.commitments ADD COLUMN subject_id uuid
    CONSTRAINT commitments_subject_id_fkey REFERENCES vault.subjects;
ALTER TABLE vault.commitments ADD COLUMN erased_at timestamptz;
ALTER TABLE vault.commitments ALTER COLUMN data_version DROP NOT NULL;
ALTER TABLE vault.commitments ALTER COLUMN sealed DROP NOT NULL;
ALTER TABLE vault.commitments ADD CONSTRAINT commitments_erased_check CHECK (
    (erased_at IS NULL) = (sealed IS NOT NULL) AND (sealed IS NULL) = (data_version IS NULL));
CREATE INDEX commitments_subject_id_idx ON vault.commitments (subject_id) WHERE subject_id IS NOT NULL;
GRANT UPDATE (data_version, sealed, erased_at) ON vault.commitments TO muniment_api
"""

DOCUMENTS = """
CREATE INDEX documents_policy_id_id_idx ON vault.documents (policy_id, id);
CREATE INDEX documents_asset_token_id_id_idx ON vault.documents (asset_token_id, id) WHERE asset_token_id IS NOT NULL
"""

BEFORE = """
DROP INDEX vault.documents_asset_token_id_id_idx;
DROP INDEX vault.documents_policy_id_id_idx;
REVOKE UPDATE (data_version, sealed, erased_at) ON vault.commitments FROM muniment_api;
ALTER TABLE vault.commitments DROP COLUMN subject_id, DROP COLUMN erased_at;
ALTER TABLE vault.commitments ALTER COLUMN data_version SET NOT NULL;
ALTER TABLE vault.commitments ALTER COLUMN sealed SET NOT NULL;
ALTER TABLE vault.records DROP CONSTRAINT records_check2;
UPDATE vault.records SET erased_at = revoked_at, last_four = NULL WHERE sealed IS NULL AND erased_at IS NULL;
ALTER TABLE vault.records ADD CONSTRAINT records_check2 CHECK (
    erased_at IS NOT NULL OR sealed IS NOT NULL AND fingerprint IS NOT NULL)
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for statements in (RECORDS, COMMITMENTS, DOCUMENTS):
        op.execute(statements)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    count = op.get_bind().scalar(text("SELECT count(*) FROM vault.commitments WHERE subject_id IS NOT NULL"))
    if count:
        raise RuntimeError(
            f"{count} commitments are of a subject, whose key an older version would not open them with: "
            "it comes back by restoring a backup"
        )
    op.execute(BEFORE)
