"""Any byte that is altered in a table that answers readers is found by `verify`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import Boolean, DateTime, LargeBinary, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from service.addresses import ZERO
from service.db import Database
from service.mirror.tables import BLOCKS, CONTRACTS, EVENTS, RANGED, ranged_state
from service.mirror.verify import Report, Scope, verify
from tests.mirror.world import CHAIN_ID, Ledger, Mirror

OWN_WORDS = {
    *("contracts.id", "contracts.rebuilt"),
    *("blocks.shown_at", "blocks.undone_at", "deployments.shown_at", "deployments.left_at"),
}
"""When this mirror showed something, and how it numbers and rebuilds contracts, is nobody else's to say."""

NEEDS_CHAIN = {"blocks", "pauses", "states"}
"""Tables that no other row of the mirror says the same as: their past is compared with the chain's."""


@pytest.fixture
async def live(mirror: Mirror, ledger: Ledger) -> Mirror:
    """A mirror with rows in every table, each the newest of its kind."""
    one, two = ledger.accounts[1:3]
    token = ledger.deploy()
    deeds = ledger.deploy_deeds()
    with ledger.one_block():
        ledger.mint(token, one, 100)
        ledger.transfer(token, one, two, 30)
        ledger.act("AssetToken", token, "setFrozenTokens", two, 7)
    ledger.issue(deeds, one)
    with ledger.one_block():
        ledger.act("DeedToken", deeds, "forcedTransfer", one, two, 1)
        ledger.pause(token)
    ledger.make("AuditAnchor", ledger.authority)
    await mirror.converge()
    assert (await compared(mirror, history=True)).differences == ()
    return mirror


async def compared(mirror: Mirror, *, history: bool) -> Report:
    scope = Scope(history_from=0 if history else None)
    return await verify(
        mirror.db, mirror.chain, chain_id=CHAIN_ID, factory=mirror.ledger.factory, scope=scope, progress=None
    )


@asynccontextmanager
async def altered(db: Database, table: Table, statement: str) -> AsyncIterator[None]:
    """The table with one row changed, and then as it was."""
    name = f"mirror.{table.name}"
    columns = ", ".join(column.name for column in table.columns)
    async with db.transaction() as session:
        await session.execute(text("DROP TABLE IF EXISTS kept"))
        await session.execute(text(f"CREATE TABLE kept AS SELECT * FROM {name}"))
        await session.execute(text("SET LOCAL session_replication_role = replica"))  # no foreign keys meanwhile
        changed = await session.execute(text(statement))
        assert changed.rowcount == 1  # type: ignore[attr-defined]
    yield
    async with db.transaction() as session:
        await session.execute(text("SET LOCAL session_replication_role = replica"))
        await session.execute(text(f"DELETE FROM {name}"))
        await session.execute(text(f"INSERT INTO {name} ({columns}) SELECT {columns} FROM kept"))


def changed(table: Table, column: str) -> str:
    """A statement that alters one column of one row by as little as there is."""
    kind = table.c[column].type
    to = {
        Boolean: f"NOT {column}",
        DateTime: f"{column} + interval '1 second'",
        JSONB: '\'{"amount": "8"}\'',
        LargeBinary: f"set_byte({column}, length({column}) - 1, get_byte({column}, length({column}) - 1) # 1)",
        Text: f"{column} || '2'",
    }.get(type(kind), f"{column} + {1_000 if column in ('contract_id', 'log_index') else 1}")
    if column == "to_block":
        to = "from_block + 1"
    if (table, column) == (BLOCKS, "canonical"):
        to = "false, undone_at = now()"
    where = f"{column} IS NOT NULL" if column != "to_block" else "to_block IS NULL"
    if table is BLOCKS:
        where = "number = (SELECT min(block_number) FROM mirror.transfers)" if column != "number" else where
    elif table in RANGED:
        where += f" AND to_block IS NULL AND {ranged_state(table)} IS NOT NULL"
    if isinstance(kind, LargeBinary):
        where += f" AND length({column}) > 0"
    newest = {BLOCKS: "number DESC", CONTRACTS: "id"}.get(
        table, "from_block DESC" if table in RANGED else "block_number"
    )
    row = f"(SELECT ctid FROM mirror.{table.name} WHERE {where} ORDER BY {newest} LIMIT 1)"
    return f"UPDATE mirror.{table.name} SET {column} = {to} WHERE ctid = {row}"


async def test_any_altered_column_of_any_table_is_found(live: Mirror, db: Database) -> None:
    unseen: list[str] = []
    for table in (BLOCKS, CONTRACTS, *EVENTS, *RANGED):
        for column in table.columns:
            name = f"{table.name}.{column.name}"
            if name not in OWN_WORDS:
                async with altered(db, table, changed(table, column.name)):
                    if not (await compared(live, history=table.name in NEEDS_CHAIN)).differences:
                        unseen.append(name)
    assert unseen == []
    assert (await compared(live, history=True)).differences == (), "as it was"


async def test_a_missing_row_of_any_table_is_found(live: Mirror, db: Database) -> None:
    unseen: list[str] = []
    for table in (*EVENTS, *RANGED):
        row = f"(SELECT ctid FROM mirror.{table.name} ORDER BY block_hash LIMIT 1)"
        async with altered(db, table, f"DELETE FROM mirror.{table.name} WHERE ctid = {row}"):
            if not (await compared(live, history=table.name in NEEDS_CHAIN)).differences:
                unseen.append(table.name)
    assert unseen == []


async def test_an_invented_transfer_and_holder_are_found_in_the_block_that_they_are_said_to_be_in(
    live: Mirror, db: Database, ledger: Ledger
) -> None:
    three, block = ledger.accounts[3], ledger.height()
    given: dict[str, Any] = {"three": three, "zero": ZERO, "block": block}
    async with db.transaction() as session:
        await session.execute(
            text(
                """INSERT INTO mirror.transfers (block_hash, log_index, contract_id, block_number, transaction_hash,
                    sender, recipient, amount, canonical)
                SELECT hash, 99, (SELECT min(contract_id) FROM mirror.transfers), number, hash, :zero, :three, 5, true
                FROM mirror.blocks WHERE number = :block AND canonical"""
            ),
            given,
        )
        await session.execute(
            text(
                """INSERT INTO mirror.holdings (contract_id, account, from_block, block_hash, amount, canonical)
                SELECT (SELECT min(contract_id) FROM mirror.transfers), :three, number, hash, 5, true
                FROM mirror.blocks WHERE number = :block AND canonical"""
            ),
            given,
        )
    found = {(each.kind, each.account, each.block) for each in (await compared(live, history=False)).differences}
    token = {("sum_of_holdings", None, None), ("holding", three, None)}
    assert found == {*token, ("supply", None, block), ("digest", None, block)}
    found = {(each.kind, each.account, each.block) for each in (await compared(live, history=True)).differences}
    assert found >= {("transfer", None, block), ("holding", three, block)}
