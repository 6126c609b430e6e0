"""A cap table by amount, and the provenance of a deed, are each one walk down an index."""

from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

INDEXES = """
CREATE INDEX holdings_contract_id_amount_idx ON mirror.holdings (contract_id, amount, account)
    WHERE to_block IS NULL AND canonical AND amount > 0;
CREATE INDEX transfers_contract_id_deed_id_idx ON mirror.transfers (contract_id, deed_id, block_number, log_index)
    WHERE canonical AND deed_id IS NOT NULL
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute(INDEXES)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("DROP INDEX mirror.transfers_contract_id_deed_id_idx")
    op.execute("DROP INDEX mirror.holdings_contract_id_amount_idx")
