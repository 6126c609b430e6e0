"""The statements that a step writes with: one text for each table, made once, and one parameter for each column.

A step says the same dozen statements again and again; building them as expressions each time took most of its time.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, cast

from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import TupleRow
from sqlalchemy import Table
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.ext.asyncio import AsyncSession

from service.db import Uint256
from service.mirror.tables import ranged_key, ranged_state

Columns = dict[str, Sequence[Any]]
"""Values by column name, each as long as the others."""

Names = tuple[str, ...]

Connection = AsyncConnection[TupleRow]
Cursor = AsyncCursor[TupleRow]

_OPEN = "to_block IS NULL AND canonical"
"""Of a key one row at most, found by one look into an index. A join instead of a look for each key has the planner read
all open rows where it knows too little of the table."""

_DIALECT = psycopg.dialect()  # type: ignore[no-untyped-call]


async def connection_of(session: AsyncSession) -> Connection:
    """Psycopg's own connection, inside the session's DB transaction."""
    pooled = await (await session.connection()).get_raw_connection()
    return cast(Connection, pooled.driver_connection)


async def upsert(
    raw: Connection,
    table: Table,
    columns: Columns,
    *,
    same: Mapping[str, Any] | None = None,
    again: Names = (),
    now: Names = (),
    unset: Names = (),
) -> None:
    """Insert rows, all canonical; those that were shown before and undone become canonical again.

    Args:
        same: columns with one value in every row.
        again: columns that a row which is there takes from the new one.
        now: columns that such a row has from this moment.
        unset: columns that such a row has no longer.
    """
    same = {**(same or {}), "canonical": True}
    statement = _upsert(table, tuple(columns), tuple(same), again, now, unset)
    await say(raw, statement, columns, same)


async def ask_opening(raw: Connection, table: Table, keys: Columns, *, before: int | None = None) -> Cursor:
    """Ask for the state of each key that has one, open or before a block: `opening` reads the answer."""
    return await say(raw, _opening(table, before is not None), keys, {"before": before})


async def opening(asked: Cursor, table: Table) -> list[list[Any]]:
    """Of each key that has one, the key's columns and its state."""
    state = table.c[ranged_state(table)]
    rows = [list(row) for row in await asked.fetchall()]
    for number in (i for i, each in enumerate((*ranged_key(table), state.name)) if _is_amount(table, each)):
        for row in rows:
            row[number] = int(row[number])
    return rows


async def close(raw: Connection, table: Table, firsts: Columns) -> None:
    """End what each key has open at the block in which it first changes."""
    await say(raw, _close(table), firsts, {})


async def say(raw: Connection, statement: str, columns: Columns, same: Mapping[str, Any]) -> Cursor:
    """Execute a statement of this module, past all that SQLAlchemy would do with it.

    In a pipeline it is only sent, and its answer comes with those of the others at the pipeline's end.
    """
    given = {**{name: array(values) for name, values in columns.items()}, **same}
    return await raw.execute(statement.encode(), given)


def given(table: Table, names: Names) -> str:
    """Columns of values as rows beside the tables, however many rows: the text after FROM."""
    arrays = ", ".join(f"%({name})s::text::{_type(table, name)}[]" for name in names)
    return f"unnest({arrays}) AS given ({', '.join(names)})"


@cache
def _upsert(table: Table, names: Names, same: Names, again: Names, now: Names, unset: Names) -> str:
    fresh = [
        "canonical = true",
        *(f"{name} = excluded.{name}" for name in again),
        *(f"{name} = statement_timestamp()" for name in now),
        *(f"{name} = NULL" for name in unset),
    ]
    constants = ", ".join(f"%({name})s::{_type(table, name)}" for name in same)
    return f"""INSERT INTO {table.fullname} ({", ".join((*names, *same))})
        SELECT {", ".join(f"given.{name}" for name in names)}, {constants} FROM {given(table, names)}
        ON CONFLICT ({", ".join(column.name for column in table.primary_key)}) DO UPDATE SET {", ".join(fresh)}"""


@cache
def _opening(table: Table, past: bool) -> str:
    names, state = ranged_key(table), ranged_state(table)
    same = " AND ".join(f"held.{name} = given.{name}" for name in names)
    of = "canonical AND from_block < %(before)s ORDER BY from_block DESC" if past else _OPEN
    return f"""SELECT {", ".join(f"given.{name}" for name in names)}, held.{state} FROM {given(table, names)}
        CROSS JOIN LATERAL (SELECT {state} FROM {table.fullname} AS held WHERE {same} AND {of} LIMIT 1) AS held"""


@cache
def _close(table: Table) -> str:
    names = ranged_key(table)
    same = " AND ".join(f"held.{name} = given.{name}" for name in names)
    return f"""UPDATE {table.fullname} AS closed SET to_block = begun.from_block FROM (
            SELECT from_block, place FROM {given(table, (*names, "from_block"))} CROSS JOIN LATERAL
                (SELECT ctid AS place FROM {table.fullname} AS held WHERE {same} AND {_OPEN} LIMIT 1) AS held) AS begun
        WHERE closed.ctid = begun.place"""


def _type(table: Table, name: str) -> str:
    return table.c[name].type.compile(dialect=_DIALECT)


def _is_amount(table: Table, name: str) -> bool:
    return isinstance(table.c[name].type, Uint256)


def array(values: Sequence[Any]) -> str:
    """A Postgres array literal: written at once, since the driver's own takes several times as long."""
    return "{" + ",".join(map(_element, values)) + "}"


def _element(value: Any) -> str:
    if isinstance(value, bytes):
        return f'"\\\\x{value.hex()}"'
    if isinstance(value, int):
        return str(value)
    if isinstance(value, dict):
        return _quoted(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    if isinstance(value, str):
        return _quoted(value)
    return "NULL" if value is None else str(value)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
