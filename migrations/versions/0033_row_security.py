"""Row security: the API sees and writes rows of the issuers that it acts for, whatever its statements say.

It names them in the setting `muniment.issuers` of its connection, as an array of ids or `*` for all; where it names
none, there are no rows. The other processes work for all issuers, and who owns the tables is not held back.
"""

from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

ACTING_FOR = """
CREATE FUNCTION acting_for(issuer uuid) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE current_setting('muniment.issuers', true)
        WHEN '*' THEN true
        WHEN '' THEN false
        ELSE issuer = ANY (current_setting('muniment.issuers', true)::uuid[])
    END
$$
"""

OWN = "acting_for(issuer_id)"
ITS_CALLERS = "EXISTS (SELECT FROM callers c WHERE c.id = caller_id AND acting_for(c.issuer_id))"

# What a table's row is an issuer's by. A row of another table is asked for under that table's own policy.
CONFINED = {
    **dict.fromkeys(
        (
            *("accounts", "adoptions", "assets", "batches", "deployments", "journal_entries", "operations"),
            *("prepared", "tokens", "vault.accounts", "vault.approvals", "vault.commitments", "vault.documents"),
            *("vault.keys", "vault.payments", "vault.persons", "vault.policies", "vault.records"),
            *("vault.subjects", "vault.suspensions", "webhooks"),
        ),
        OWN,
    ),
    # Those that nobody asked for over HTTP, such as fillers, are told with the signer that they are of.
    "transactions": f"{OWN} OR issuer_id IS NULL",
    "attempts": "EXISTS (SELECT FROM transactions t WHERE t.id = transaction_id)",
    "batch_packs": "EXISTS (SELECT FROM batches b WHERE b.id = batch_id)",
    "batch_rows": "EXISTS (SELECT FROM batches b WHERE b.id = batch_id)",
    "requests": ITS_CALLERS,
    "vault.approvers": "EXISTS (SELECT FROM vault.approvals a WHERE a.id = approval_id)",
    "vault.document_chunks": "EXISTS (SELECT FROM vault.documents d WHERE d.id = document_id)",
    "credential_uses": "EXISTS (SELECT FROM credentials k JOIN callers c ON c.id = k.caller_id "
    "WHERE k.id = credential_id AND acting_for(c.issuer_id))",
    **dict.fromkeys(
        ("webhook_secrets", "webhook_subjects", "webhook_deliveries"),
        "EXISTS (SELECT FROM webhooks w WHERE w.id = webhook_id)",
    ),
}

# Whoever asks is found here before it is known whom the API acts for, so that reading stays open.
WRITES_CONFINED = {"issuers": "acting_for(id)", "callers": OWN, "credentials": ITS_CALLERS}

OTHERS = "muniment_sender, muniment_indexer, muniment_dispatcher"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute(ACTING_FOR)
    for table, rule in CONFINED.items():
        op.execute(f"CREATE POLICY confined ON {table} TO muniment_api USING ({rule}) WITH CHECK ({rule})")
    for table, rule in WRITES_CONFINED.items():
        op.execute(f"CREATE POLICY found ON {table} FOR SELECT TO muniment_api USING (true)")
        op.execute(f"CREATE POLICY confined_insert ON {table} FOR INSERT TO muniment_api WITH CHECK ({rule})")
        op.execute(f"CREATE POLICY confined ON {table} FOR UPDATE TO muniment_api USING ({rule}) WITH CHECK ({rule})")
    for table in (*CONFINED, *WRITES_CONFINED):
        op.execute(f"CREATE POLICY whole ON {table} TO {OTHERS} USING (true) WITH CHECK (true)")
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for table in (*CONFINED, *WRITES_CONFINED):
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
        op.execute(f"DROP POLICY whole ON {table}")
        op.execute(f"DROP POLICY confined ON {table}")
    for table in WRITES_CONFINED:
        op.execute(f"DROP POLICY found ON {table}")
        op.execute(f"DROP POLICY confined_insert ON {table}")
    op.execute("DROP FUNCTION acting_for(uuid)")
