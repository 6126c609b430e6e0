"""An investor's wallets are found without reading everybody's, and no plan walks a table by block for one key."""

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

WALLETS = """
CREATE INDEX states_wallets_idx ON mirror.states (contract_id, (state ->> 'investor'), key)
    WHERE aspect = 'wallet' AND canonical
"""

RANGED = ("holdings", "supplies", "pauses", "titles", "states", "digests")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute(WALLETS)
    for table in RANGED:
        op.execute(f"DROP INDEX mirror.{table}_from_block_idx")
        op.execute(f"CREATE INDEX {table}_block_hash_idx ON mirror.{table} (block_hash)")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    for table in RANGED:
        op.execute(f"DROP INDEX mirror.{table}_block_hash_idx")
        op.execute(f"CREATE INDEX {table}_from_block_idx ON mirror.{table} (from_block)")
    op.execute("DROP INDEX mirror.states_wallets_idx")
