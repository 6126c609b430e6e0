"""How much of a token a caller's requests named on a day, where its credentials are held to so much; its auditors."""

from alembic import op

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None

AMOUNTS = """
CREATE TABLE amounts_taken (
    caller_id uuid NOT NULL CONSTRAINT amounts_taken_caller_id_fkey REFERENCES callers,
    token_id uuid NOT NULL,
    day date NOT NULL,
    amount numeric(78, 0) NOT NULL,
    PRIMARY KEY (caller_id, token_id, day)
);
GRANT SELECT, INSERT, UPDATE (amount) ON amounts_taken TO muniment_api
"""

# An issuer makes its own auditors; which roles those may have, the service says.
CALLERS = "INSERT (id, issuer_id, name, role) ON callers"

RULE = "EXISTS (SELECT FROM callers c WHERE c.id = caller_id AND acting_for(c.issuer_id))"
OTHERS = "muniment_sender, muniment_indexer, muniment_dispatcher"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute(AMOUNTS)
    op.execute(f"GRANT {CALLERS} TO muniment_api")
    op.execute(f"CREATE POLICY confined ON amounts_taken TO muniment_api USING ({RULE}) WITH CHECK ({RULE})")
    op.execute(f"CREATE POLICY whole ON amounts_taken TO {OTHERS} USING (true) WITH CHECK (true)")
    op.execute("ALTER TABLE amounts_taken ENABLE ROW LEVEL SECURITY")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute(f"REVOKE {CALLERS} FROM muniment_api")
    op.execute("DROP TABLE amounts_taken")
