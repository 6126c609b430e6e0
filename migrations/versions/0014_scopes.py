"""What a key may do; how far a signer's rotation is; what transactions came to, without counting them all again."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

NOW = sa.text("now()")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    # Keys that are there do what they did, and no more.
    scopes: sa.Column[list[str]] = sa.Column("scopes", ARRAY(sa.String()), server_default="{issue}", nullable=False)
    op.add_column("api_keys", scopes)
    op.create_check_constraint("scopes", "api_keys", "scopes <@ ARRAY['issue', 'transactions', 'metrics']::varchar[]")
    op.add_column("transactions", sa.Column("gas_price_wei", sa.Numeric(78, 0)))
    rare = "status IN ('reverted', 'refused', 'executed', 'cancelled', 'displaced')"
    op.create_index("transactions_rare_ends_idx", "transactions", ["status", "id"], postgresql_where=rare)
    _rotations()
    _present_signer()
    _totals()


def _rotations() -> None:
    op.create_table(
        "rotations",
        sa.Column("id", sa.Uuid(), primary_key=True),
        sa.Column("issuer_id", sa.Uuid(), sa.ForeignKey("issuers.id"), nullable=False),
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("former", sa.LargeBinary(), nullable=False),
        sa.Column("successor", sa.LargeBinary(), nullable=False),
        sa.Column("factory_grant_id", sa.Uuid(), sa.ForeignKey("transactions.id")),
        sa.Column("grant_id", sa.Uuid(), sa.ForeignKey("transactions.id")),
        sa.Column("switched_at", sa.DateTime(timezone=True)),
        sa.Column("revoke_id", sa.Uuid(), sa.ForeignKey("transactions.id")),
        sa.Column("factory_revoke_id", sa.Uuid(), sa.ForeignKey("transactions.id")),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=NOW, nullable=False),
        sa.CheckConstraint("length(former) = 20 AND length(successor) = 20 AND former <> successor", name="addresses"),
    )
    op.create_index(
        "rotations_unfinished_idx",
        "rotations",
        ["issuer_id", "chain_id"],
        unique=True,
        postgresql_where="finished_at IS NULL",
    )


def _present_signer() -> None:
    """A request that was let in before a rotation's switch must not queue for the former signer after it.

    The switch locks the issuer FOR UPDATE, so it waits for whatever is being accepted, and what comes later sees it.
    """
    op.execute(
        """CREATE FUNCTION transactions_present_signer() RETURNS trigger
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
        BEGIN
            PERFORM FROM issuers WHERE id = NEW.issuer_id AND signer = NEW.signer FOR KEY SHARE;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'the issuer has another signer by now' USING ERRCODE = 'serialization_failure';
            END IF;
            RETURN NEW;
        END $$"""
    )
    op.execute(
        """CREATE TRIGGER transactions_present_signer BEFORE INSERT ON transactions
        FOR EACH ROW WHEN (NEW.origin = 'wish' AND NEW.issuer_id IS NOT NULL)
        EXECUTE FUNCTION transactions_present_signer()"""
    )


def _totals() -> None:
    counts = ("transactions_count", "replacements_count", "cancellations_count")
    op.create_table(
        "transaction_totals",
        sa.Column("chain_id", sa.BigInteger(), nullable=False),
        sa.Column("signer", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in counts),
        sa.Column("gas_used", sa.Numeric(78, 0), nullable=False),
        sa.Column("fees_wei", sa.Numeric(78, 0), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "signer", "status", name="transaction_totals_pkey"),
    )
    # None was ever replaced before this version, and what gas cost was not kept.
    op.execute(
        """INSERT INTO transaction_totals
        SELECT chain_id, CASE WHEN origin = 'given' THEN decode(repeat('00', 20), 'hex') ELSE signer END AS who, status,
            count(*), 0, 0, coalesce(sum(gas_used), 0), 0
        FROM transactions WHERE taken GROUP BY chain_id, who, status"""
    )
    op.execute("GRANT SELECT ON transaction_totals TO muniment_api")
    op.execute("GRANT SELECT, INSERT, UPDATE ON transaction_totals TO muniment_dispatcher")
    op.execute("GRANT SELECT ON attempts TO muniment_dispatcher")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '3s'")
    op.execute("REVOKE SELECT ON attempts FROM muniment_dispatcher")
    op.drop_table("transaction_totals")
    op.execute("DROP TRIGGER transactions_present_signer ON transactions")
    op.execute("DROP FUNCTION transactions_present_signer()")
    op.drop_table("rotations")
    op.drop_index("transactions_rare_ends_idx", "transactions")
    op.drop_column("transactions", "gas_price_wei")
    op.drop_constraint("api_keys_scopes_check", "api_keys")
    op.drop_column("api_keys", "scopes")
