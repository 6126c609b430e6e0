"""A version is reserved before it is signed; replacements, gaps and the ends that were missing; a signer's standing."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

NOW = sa.text("now()")
LIVE = "status IN ('queued', 'pending', 'submitted', 'mined')"
ENDS = "'confirmed', 'reverted', 'refused', 'executed'"
NEW_ENDS = f"{ENDS}, 'cancelled', 'displaced'"
STATUSES = "'queued', 'pending', 'submitted', 'mined'"

NONCE = "(nonce IS NULL) = (status IN ('queued', 'refused'))"
MINED = "(block_hash IS NOT NULL AND succeeded IS NOT NULL) = (status IN ('mined', 'confirmed', 'reverted'))"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    _transactions()
    _attempts()
    _signers()


def _transactions() -> None:
    for column in (
        sa.Column("issuer_id", sa.Uuid()),
        sa.Column("caller_id", sa.Uuid()),
        sa.Column("origin", sa.String(), server_default="wish", nullable=False),
        sa.Column("cancel_asked_at", sa.DateTime(timezone=True)),
        sa.Column("bump_asked_at", sa.DateTime(timezone=True)),
        sa.Column("approved_at", sa.DateTime(timezone=True)),
        sa.Column("approved_by", sa.String()),
        sa.Column("told", sa.String()),
    ):
        op.add_column("transactions", column)
    op.execute(
        """UPDATE transactions t SET issuer_id = o.issuer_id, caller_id = o.caller_id,
            origin = CASE WHEN t.signer = i.signer THEN 'wish' ELSE 'given' END
        FROM operations o JOIN issuers i ON i.id = o.issuer_id WHERE o.transaction_id = t.id"""
    )
    op.create_check_constraint("origin", "transactions", "origin IN ('wish', 'given', 'filler')")
    _restate(NEW_ENDS, free="status IN ('executed', 'cancelled')")
    op.drop_index("transactions_live_idx", "transactions")
    columns = ["chain_id", "signer", "status", "id"]
    op.create_index("transactions_live_idx", "transactions", columns, postgresql_where=LIVE)
    op.create_index("transactions_issuer_id_id_idx", "transactions", ["issuer_id", "id"])
    op.execute("GRANT INSERT (issuer_id, caller_id, origin) ON transactions TO muniment_api")
    op.execute(
        """GRANT UPDATE (status, cancel_asked_at, bump_asked_at, approved_at, approved_by, retry_at, broadcast_at)
        ON transactions TO muniment_api"""
    )
    op.execute("GRANT INSERT ON transactions TO muniment_sender")


def _restate(ends: str, *, free: str) -> None:
    """The rules of a transaction's states, for these ends; `free` ones may come with or without a nonce and a block."""
    for name in ("status", "nonce", "mined"):
        op.drop_constraint(f"transactions_{name}_check", "transactions")
    op.create_check_constraint("status", "transactions", f"status IN ({STATUSES}, {ends})")
    op.create_check_constraint("nonce", "transactions", f"{free} OR {NONCE}")
    op.create_check_constraint("mined", "transactions", f"{free} OR {MINED}")
    op.drop_index("transactions_to_take_idx", "transactions")
    where = f"status IN ({ends}) AND NOT taken"
    op.create_index("transactions_to_take_idx", "transactions", ["id"], postgresql_where=where)


def _attempts() -> None:
    for column in (
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.Column("kind", sa.String(), server_default="call", nullable=False),
        sa.Column("nonce", sa.BigInteger()),
        sa.Column("gas_limit", sa.BigInteger()),
        sa.Column("tip_number", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("signed_at", sa.DateTime(timezone=True)),
        sa.Column("abandoned_at", sa.DateTime(timezone=True)),
    ):
        op.add_column("attempts", column)
    op.execute(
        """UPDATE attempts a SET nonce = t.nonce, gas_limit = t.gas_limit, signed_at = a.created_at
        FROM transactions t WHERE t.id = a.transaction_id"""
    )
    op.alter_column("attempts", "nonce", nullable=False)
    op.alter_column("attempts", "gas_limit", nullable=False)
    op.drop_constraint("attempts_pkey", "attempts")
    op.create_primary_key("attempts_pkey", "attempts", ["id"])
    op.alter_column("attempts", "hash", nullable=True)
    op.alter_column("attempts", "raw", nullable=True)
    op.create_unique_constraint("attempts_hash_key", "attempts", ["hash"])
    op.create_check_constraint("kind", "attempts", "kind IN ('call', 'cancel')")
    op.create_check_constraint(
        "signed", "attempts", "(hash IS NULL) = (raw IS NULL) AND (raw IS NULL) = (signed_at IS NULL)"
    )
    op.create_check_constraint("abandoned", "attempts", "abandoned_at IS NULL OR raw IS NULL")
    op.create_index(
        "attempts_unsigned_idx",
        "attempts",
        ["transaction_id"],
        postgresql_where="raw IS NULL AND abandoned_at IS NULL",
    )
    op.execute("GRANT UPDATE (hash, raw, signed_at, abandoned_at) ON attempts TO muniment_sender")
    op.execute(
        """CREATE FUNCTION attempts_keep_signed() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'a signed attempt is never changed'; END $$"""
    )
    op.execute(
        """CREATE TRIGGER attempts_keep_signed BEFORE UPDATE ON attempts
        FOR EACH ROW WHEN (OLD.raw IS NOT NULL) EXECUTE FUNCTION attempts_keep_signed()"""
    )


def _signers() -> None:
    op.create_table(
        "signers",
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("address", sa.LargeBinary(), nullable=False),
        sa.Column("next_nonce", sa.BigInteger(), nullable=False),
        sa.Column("balance_wei", sa.Numeric(78, 0), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.Column("halt", sa.String()),
        sa.Column("halt_detail", sa.String()),
        sa.Column("halted_at", sa.DateTime(timezone=True)),
        sa.Column("alert", sa.String()),
        sa.Column("alert_detail", sa.String()),
        sa.Column("alerted_at", sa.DateTime(timezone=True)),
        sa.Column("foreign_nonces", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "address", name="signers_pkey"),
        sa.CheckConstraint("length(address) = 20", name="address"),
        sa.CheckConstraint("(halt IS NULL) = (halted_at IS NULL)", name="halt"),
        sa.CheckConstraint("(alert IS NULL) = (alerted_at IS NULL)", name="alert"),
    )
    op.execute("GRANT SELECT, INSERT, UPDATE ON signers TO muniment_sender")

    op.execute("GRANT SELECT, UPDATE (halt, halt_detail, halted_at, foreign_nonces) ON signers TO muniment_api")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    _refuse_new_ends()
    op.drop_table("signers")
    op.execute("DROP TRIGGER attempts_keep_signed ON attempts")
    op.execute("DROP FUNCTION attempts_keep_signed()")
    op.execute("DELETE FROM attempts WHERE raw IS NULL")
    op.drop_index("attempts_unsigned_idx", "attempts")
    for name in ("kind", "signed", "abandoned"):
        op.drop_constraint(f"attempts_{name}_check", "attempts")
    op.drop_constraint("attempts_hash_key", "attempts")
    op.drop_constraint("attempts_pkey", "attempts")
    op.alter_column("attempts", "raw", nullable=False)
    op.alter_column("attempts", "hash", nullable=False)
    op.create_primary_key("attempts_pkey", "attempts", ["hash"])
    for name in ("id", "kind", "nonce", "gas_limit", "tip_number", "signed_at", "abandoned_at"):
        op.drop_column("attempts", name)
    _restate(ENDS, free="status = 'executed'")
    op.drop_index("transactions_issuer_id_id_idx", "transactions")
    op.drop_index("transactions_live_idx", "transactions")
    op.create_index("transactions_live_idx", "transactions", ["chain_id", "status", "id"], postgresql_where=LIVE)
    op.drop_constraint("transactions_origin_check", "transactions")
    for name in (
        *("issuer_id", "caller_id", "origin", "cancel_asked_at", "bump_asked_at", "approved_at", "approved_by", "told"),
    ):
        op.drop_column("transactions", name)


def _refuse_new_ends() -> None:
    """The version before this one has no words for these, and what an operation was told must not change."""
    query = "SELECT count(*) FROM transactions WHERE status IN ('cancelled', 'displaced')"
    count = op.get_bind().scalar(sa.text(query))
    if count:
        raise RuntimeError(
            f"{count} transactions were cancelled or displaced, which versions before 0011 cannot tell: nothing was "
            "changed; go back by restoring a backup of that version instead"
        )
