"""The mirror's tables, in the Postgres schema `mirror`. Only the indexer writes them, and nothing is ever deleted."""

from datetime import datetime
from typing import Any, cast

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Base, Uint256

SCHEMA = "mirror"


def _bytes_long(column: str, length: int) -> CheckConstraint:
    return CheckConstraint(f"octet_length({column}) = {length}", name=f"{column}_length")


class BlockRow(Base):
    """A block that was shown, now or once: since `shown_at`, until `undone_at`. Source of earlier times: ShowingRow."""

    __tablename__ = "blocks"
    __table_args__ = (
        Index("blocks_chain_id_number_key", "chain_id", "number", unique=True, postgresql_where=text("canonical")),
        Index("blocks_chain_id_timestamp_idx", "chain_id", "timestamp", "number", postgresql_where=text("canonical")),
        Index("blocks_chain_id_shown_at_idx", "chain_id", "shown_at", "number", postgresql_where=text("canonical")),
        _bytes_long("hash", 32),
        _bytes_long("parent_hash", 32),
        CheckConstraint("number >= 0", name="number"),
        CheckConstraint("canonical = (undone_at IS NULL)", name="undone_at"),
        {"schema": SCHEMA},
    )

    hash: Mapped[bytes] = mapped_column(primary_key=True)
    chain_id: Mapped[int] = mapped_column(BigInteger)
    number: Mapped[int] = mapped_column(BigInteger)
    parent_hash: Mapped[bytes]
    timestamp: Mapped[datetime]
    canonical: Mapped[bool]
    shown_at: Mapped[datetime] = mapped_column(server_default=func.statement_timestamp())
    undone_at: Mapped[datetime | None]


class ShowingRow(Base):
    """A time that a block was shown for and that is over: it was undone, and perhaps shown again later."""

    __tablename__ = "showings"
    __table_args__ = (
        PrimaryKeyConstraint("block_hash", "shown_at"),
        Index("showings_span_idx", text("tstzrange(shown_at, undone_at)"), postgresql_using="gist"),
        _bytes_long("block_hash", 32),
        # A clock that is set back must not stop the indexer, so what writes this row keeps it so.
        CheckConstraint("undone_at >= shown_at", name="span"),
        {"schema": SCHEMA},
    )

    block_hash: Mapped[bytes]
    shown_at: Mapped[datetime]
    undone_at: Mapped[datetime]


class ContractRow(Base):
    """An address that the factory ever deployed to, on any branch of the chain.

    `rebuilt` counts how often its rows were made anew: what is remembered of a block's rows belongs to one such count.
    """

    __tablename__ = "contracts"
    __table_args__ = (
        Index("contracts_chain_id_address_key", "chain_id", "address", unique=True),
        _bytes_long("address", 20),
        {"schema": SCHEMA},
    )

    id: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True)
    chain_id: Mapped[int] = mapped_column(BigInteger)
    address: Mapped[bytes]
    rebuilt: Mapped[int] = mapped_column(Integer, server_default=text("0"))


class DeploymentRow(Base):
    """The factory's `Deployed` event, or a governor's word of its timelock: from this block on, it is followed.

    `kind` is what the deployer called it, `unknown` where that is no printable text; it is told, not proven. Nothing of
    the contract was shown before `shown_at`, however old its block is. Where it was expelled, it was shown until
    `left_at`; where nobody ever saw it, or its rows were withdrawn since, both times are one.
    """

    __tablename__ = "deployments"
    __table_args__ = (
        PrimaryKeyConstraint("contract_id", "block_hash"),
        Index(None, "block_hash"),
        _bytes_long("block_hash", 32),
        _bytes_long("salt", 32),
        _bytes_long("operator", 20),
        CheckConstraint("left_at IS NULL OR NOT canonical", name="left"),
        {"schema": SCHEMA},
    )

    contract_id: Mapped[int] = mapped_column(ForeignKey(ContractRow.id))
    block_hash: Mapped[bytes]
    block_number: Mapped[int] = mapped_column(BigInteger)
    salt: Mapped[bytes]
    operator: Mapped[bytes]
    kind: Mapped[str] = mapped_column(Text)
    canonical: Mapped[bool]
    shown_at: Mapped[datetime] = mapped_column(server_default=func.statement_timestamp())
    left_at: Mapped[datetime | None]


def _newest_first(table: str, *columns: str) -> Index:
    key = (*columns, "block_number", "log_index")
    return Index(f"{table}_{'_'.join(columns)}_idx", *key, postgresql_where=text("canonical"))


class TransferRow(Base):
    """A `Transfer` event. Minting comes from the zero address, burning goes to it. A deed is an amount of 1."""

    __tablename__ = "transfers"
    __table_args__ = (
        PrimaryKeyConstraint("block_hash", "log_index"),
        _newest_first("transfers", "contract_id"),
        _newest_first("transfers", "contract_id", "sender"),
        _newest_first("transfers", "contract_id", "recipient"),
        Index(
            "transfers_contract_id_deed_id_idx",
            "contract_id",
            "deed_id",
            "block_number",
            "log_index",
            postgresql_where=text("canonical AND deed_id IS NOT NULL"),
        ),
        _bytes_long("block_hash", 32),
        _bytes_long("transaction_hash", 32),
        _bytes_long("sender", 20),
        _bytes_long("recipient", 20),
        CheckConstraint("amount >= 0", name="amount"),
        CheckConstraint("deed_id >= 0", name="deed_id"),
        {"schema": SCHEMA},
    )

    block_hash: Mapped[bytes]
    log_index: Mapped[int] = mapped_column(Integer)
    contract_id: Mapped[int] = mapped_column(Integer)
    block_number: Mapped[int] = mapped_column(BigInteger)
    transaction_hash: Mapped[bytes]
    sender: Mapped[bytes]
    recipient: Mapped[bytes]
    amount: Mapped[int] = mapped_column(Uint256)
    canonical: Mapped[bool]
    deed_id: Mapped[int | None] = mapped_column(Uint256)


class EventRow(Base):
    """Any other event of a followed contract, as one of our ABIs reads it. Source: service.chain.events."""

    __tablename__ = "events"
    __table_args__ = (
        PrimaryKeyConstraint("block_hash", "log_index"),
        _newest_first("events", "contract_id"),
        _newest_first("events", "contract_id", "name"),
        _bytes_long("block_hash", 32),
        _bytes_long("transaction_hash", 32),
        {"schema": SCHEMA},
    )

    block_hash: Mapped[bytes]
    log_index: Mapped[int] = mapped_column(Integer)
    contract_id: Mapped[int] = mapped_column(Integer)
    block_number: Mapped[int] = mapped_column(BigInteger)
    transaction_hash: Mapped[bytes]
    name: Mapped[str] = mapped_column(Text)
    arguments: Mapped[dict[str, Any]]
    canonical: Mapped[bool]


class Ranged:
    """A closing state and the blocks that it held for: `from_block` up to, not including, `to_block`."""

    from_block: Mapped[int] = mapped_column(BigInteger)
    to_block: Mapped[int | None] = mapped_column(BigInteger)
    block_hash: Mapped[bytes]
    canonical: Mapped[bool]


def _ranged(table: str, key: tuple[str, ...], state: str | None, *more: Any) -> tuple[Any, ...]:
    """Key and indexes of a ranged table; `state` is carried in them, unless it may be too long for an index."""
    standing = text("to_block IS NULL AND canonical")
    carried = [] if state is None else [state]
    return (
        PrimaryKeyConstraint(*key, "from_block", "block_hash", postgresql_include=["to_block", *carried, "canonical"]),
        Index(
            f"{table}_open_key",
            *key,
            unique=True,
            postgresql_include=["from_block", *carried],
            postgresql_where=standing,
        ),
        # Not by number: a plan that follows the numbers down, for a key without rows, reads the whole table.
        Index(None, "block_hash"),
        _bytes_long("block_hash", 32),
        CheckConstraint("to_block > from_block", name="range"),
        # A block is undone after all its successors, so what it began is open again by then.
        CheckConstraint("canonical OR to_block IS NULL", name="undone"),
        *more,
        {"schema": SCHEMA},
    )


class HoldingRow(Ranged, Base):
    """What an account held of a contract. An amount of 0 is a row too: the account held before."""

    __tablename__ = "holdings"
    __table_args__ = _ranged(
        "holdings",
        ("contract_id", "account"),
        "amount",
        Index(
            "holdings_holders_idx",
            "contract_id",
            "account",
            postgresql_include=["amount"],
            postgresql_where=text("to_block IS NULL AND canonical AND amount > 0"),
        ),
        Index(
            "holdings_contract_id_amount_idx",
            "contract_id",
            "amount",
            "account",
            postgresql_where=text("to_block IS NULL AND canonical AND amount > 0"),
        ),
        _bytes_long("account", 20),
        CheckConstraint("amount >= 0", name="amount"),
    )

    contract_id: Mapped[int] = mapped_column(Integer)
    account: Mapped[bytes]
    amount: Mapped[int] = mapped_column(Uint256)


class SupplyRow(Ranged, Base):
    """What a contract had issued."""

    __tablename__ = "supplies"
    __table_args__ = _ranged("supplies", ("contract_id",), "amount", CheckConstraint("amount >= 0", name="amount"))

    contract_id: Mapped[int] = mapped_column(Integer)
    amount: Mapped[int] = mapped_column(Uint256)


class PauseRow(Ranged, Base):
    """Whether a contract refused every change of a balance."""

    __tablename__ = "pauses"
    __table_args__ = _ranged("pauses", ("contract_id",), "paused")

    contract_id: Mapped[int] = mapped_column(Integer)
    paused: Mapped[bool]


class TitleRow(Ranged, Base):
    """Who held a deed; nobody once it is retired."""

    __tablename__ = "titles"
    __table_args__ = _ranged(
        "titles",
        ("contract_id", "deed_id"),
        "holder",
        Index(
            "titles_holder_open_idx",
            "contract_id",
            "holder",
            "deed_id",
            postgresql_where=text("to_block IS NULL AND canonical AND holder IS NOT NULL"),
        ),
        Index(
            "titles_holder_idx",
            "contract_id",
            "holder",
            "deed_id",
            "from_block",
            postgresql_include=["to_block"],
            postgresql_where=text("canonical AND holder IS NOT NULL"),
        ),
        _bytes_long("holder", 20),
        CheckConstraint("deed_id >= 0", name="deed_id"),
    )

    contract_id: Mapped[int] = mapped_column(Integer)
    deed_id: Mapped[int] = mapped_column(Uint256)
    holder: Mapped[bytes | None]


class StateRow(Ranged, Base):
    """What the events left behind under one key of one aspect; null where that is nothing. Source: mirror.aspects."""

    __tablename__ = "states"
    __table_args__ = _ranged(
        "states",
        ("contract_id", "aspect", "key"),
        None,
        Index(
            "states_wallets_idx",
            "contract_id",
            text("(state ->> 'investor')"),
            "key",
            postgresql_where=text("aspect = 'wallet' AND canonical"),
        ),
    )

    contract_id: Mapped[int] = mapped_column(Integer)
    aspect: Mapped[str] = mapped_column(Text)
    key: Mapped[bytes]
    state: Mapped[dict[str, Any] | None]


class DigestRow(Ranged, Base):
    """One hash for all that a contract announced so far. Source: mirror.digests."""

    __tablename__ = "digests"
    __table_args__ = _ranged("digests", ("contract_id",), "digest", _bytes_long("digest", 32))

    contract_id: Mapped[int] = mapped_column(Integer)
    digest: Mapped[bytes]


class ReorganisationRow(Base):
    """Shown blocks that were undone: those above `fork_number`, up to `tip_number`. The journal has it once it is past.

    `fork_hash` is null where not even the mirror's first block stayed.
    """

    __tablename__ = "reorganisations"
    __table_args__ = (
        Index("reorganisations_to_record_idx", "chain_id", "tip_number", postgresql_where=text("recorded_at IS NULL")),
        _bytes_long("fork_hash", 32),
        CheckConstraint("fork_number >= -1", name="fork_number"),
        CheckConstraint("tip_number > fork_number", name="depth"),
        {"schema": SCHEMA},
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    chain_id: Mapped[int] = mapped_column(BigInteger)
    fork_number: Mapped[int] = mapped_column(BigInteger)
    fork_hash: Mapped[bytes | None]
    tip_number: Mapped[int] = mapped_column(BigInteger)
    below_final: Mapped[bool]
    recorded_at: Mapped[datetime | None]


class UndoneRow(Base):
    """A block that a reorganisation undid, and which showing of it that ended."""

    __tablename__ = "undone"
    __table_args__ = (
        PrimaryKeyConstraint("reorganisation_id", "block_hash"),
        _bytes_long("block_hash", 32),
        {"schema": SCHEMA},
    )

    reorganisation_id: Mapped[int] = mapped_column(ForeignKey(ReorganisationRow.id))
    block_hash: Mapped[bytes]
    shown_at: Mapped[datetime]


class HeadRow(Base):
    """What the node last said about a chain, and what the mirror waits for.

    `final_number` is -1 while no block is final. Source of `halt`: service.mirror.standing. `halt_fork` is where the
    branches part when blocks that were final left the chain, and `resumed_fork` is the one that an operator lets the
    mirror go back to.
    """

    __tablename__ = "heads"
    __table_args__ = (
        CheckConstraint("head_number >= 0", name="head_number"),
        CheckConstraint("final_number >= -1", name="final_number"),
        CheckConstraint("(halt IS NULL) = (halted_at IS NULL)", name="halt"),
        CheckConstraint(
            "(halt_fork IS NOT NULL) = (halt IS NOT DISTINCT FROM 'reorganised-below-final')",
            name="halt_fork",
        ),
        {"schema": SCHEMA},
    )

    chain_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    head_number: Mapped[int] = mapped_column(BigInteger)
    final_number: Mapped[int] = mapped_column(BigInteger)
    seen_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    halt: Mapped[str | None] = mapped_column(Text)
    halt_detail: Mapped[str | None] = mapped_column(Text)
    halted_at: Mapped[datetime | None]
    halt_fork: Mapped[int | None] = mapped_column(BigInteger)
    resumed_fork: Mapped[int | None] = mapped_column(BigInteger)


def table_of(row: type[Base]) -> Table:
    """The table beneath a typed row class."""
    return cast(Table, row.__table__)


BLOCKS, SHOWINGS, CONTRACTS, HEADS = map(table_of, (BlockRow, ShowingRow, ContractRow, HeadRow))
DEPLOYMENTS, TRANSFERS, EVENT_LOG = map(table_of, (DeploymentRow, TransferRow, EventRow))
HOLDINGS, SUPPLIES, PAUSES, TITLES, STATES = map(table_of, (HoldingRow, SupplyRow, PauseRow, TitleRow, StateRow))
DIGESTS = table_of(DigestRow)

EVENTS = (DEPLOYMENTS, TRANSFERS, EVENT_LOG)
"""Tables of rows that belong to one block: undo takes back their canonical flag."""

RANGED = (HOLDINGS, SUPPLIES, PAUSES, TITLES, STATES, DIGESTS)
"""Tables of block ranges: undo takes back what a block began, and opens again what it closed."""


def ranged_key(table: Table) -> tuple[str, ...]:
    """The columns that a ranged table has one open row for."""
    return tuple(column.name for column in table.primary_key if column.name not in ("from_block", "block_hash"))


def ranged_state(table: Table) -> str:
    """The column of a ranged table that says what held during the range."""
    apart = {*ranged_key(table), "from_block", "to_block", "block_hash", "canonical"}
    (state,) = (column.name for column in table.columns if column.name not in apart)
    return state
