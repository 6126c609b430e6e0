"""The mirror's tables as they stood on a branch that the chain has left, under their own names.

Every query of this package is written for the canonical blocks of now. Seen from a branch, the same query gets each
table that it names as a common table expression of that name: the canonical rows below the fork, and the rows of the
branch's own blocks above it, with ranges that end where they ended then. So no query knows of branches, and a read of
what is canonical is not touched.
"""

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, ClassVar, Self

from psycopg import AsyncCursor
from psycopg.rows import TupleRow
from sqlalchemy import Table

from service.db import ReadConnection
from service.mirror.tables import BLOCKS, DEPLOYMENTS, EVENTS, RANGED, SCHEMA, ranged_key

_NAMED = re.compile(rf"\b{SCHEMA}\.(\w+)( AS known\b)?")


@dataclass(frozen=True, slots=True)
class Branch:
    """Blocks that were shown and are canonical no longer, each the parent of the next; often none.

    Args:
        fork: the number of the first of them; everything canonical is below it where there are none.
        moment: contracts that were first shown later, or had been expelled by then, are left out.
    """

    fork: int = 2**63 - 1
    hashes: tuple[bytes, ...] = ()
    moment: datetime | None = None

    @property
    def given(self) -> dict[str, Any]:
        """The parameters of the expressions."""
        return {
            "past_fork": self.fork,
            "past_top": self.fork + len(self.hashes) - 1,
            "past_hashes": list(self.hashes),
            "past_moment": self.moment,
        }


@contextmanager
def seen_from(connection: ReadConnection, branch: Branch) -> Iterator[None]:
    """Let every query on the connection read the tables as they stood on a branch."""
    before = connection.cursor_factory
    if branch.hashes or branch.moment is not None:
        connection.cursor_factory = type("_Cursor", (_PastCursor,), {"branch": branch})
    try:
        yield
    finally:
        connection.cursor_factory = before


def is_past(connection: ReadConnection) -> bool:
    """Whether the connection sees a branch: what is open now may have been closed there, and the other way round."""
    cursor = connection.cursor_factory
    return issubclass(cursor, _PastCursor) and bool(cursor.branch.hashes)


class _PastCursor(AsyncCursor[TupleRow]):
    branch: ClassVar[Branch]

    async def execute(self, query: Any, params: Any = None, **options: Any) -> Self:
        return await super().execute(*self._seen(query, params), **options)

    def stream(self, query: Any, params: Any = None, **options: Any) -> AsyncIterator[TupleRow]:
        return super().stream(*self._seen(query, params), **options)

    def _seen(self, query: Any, given: Any) -> tuple[Any, Any]:
        if not isinstance(query, str) or f"{SCHEMA}." not in query:
            return query, given
        if not isinstance(given, Mapping):
            raise TypeError("a query of the mirror names its parameters")
        branch = self.branch
        return rewritten(query, whole=bool(branch.hashes), timed=branch.moment is not None), {**given, **branch.given}


@lru_cache(maxsize=1_024)
def rewritten(query: str, *, whole: bool, timed: bool) -> str:
    """A query with the expressions of the tables that it names.

    Args:
        whole: of all tables that know of blocks; else only of the deployments.
        timed: the branch has a moment.
    """
    needed: dict[str, str] = {}

    def named(found: re.Match[str]) -> str:
        table, known = found[1], found[2] or ""
        told = _expression(table, known=bool(known), timed=timed) if whole or table == DEPLOYMENTS.name else None
        if told is None:
            return found[0]
        name = f"known_{table}" if known else table
        needed[name] = told
        return name + known

    seen = _NAMED.sub(named, query)
    told = ", ".join(f"{name} AS NOT MATERIALIZED ({expression})" for name, expression in needed.items())
    return f"WITH {told} ({seen})" if needed else query


def _expression(name: str, *, known: bool, timed: bool) -> str | None:
    """A table as a branch has it; None for one that knows nothing of blocks."""
    if known:
        return next((_known(table) for table in RANGED if table.name == name), None)
    if name == BLOCKS.name:
        return _of_blocks(BLOCKS, number="number", block_hash="hash")
    for table in EVENTS:
        if table.name == name:
            if table is DEPLOYMENTS:
                return _deployments(timed=timed)
            return _of_blocks(table, number="block_number", block_hash="block_hash")
    return next((_ranges(table) for table in RANGED if table.name == name), None)


def _of_blocks(table: Table, *, number: str, block_hash: str) -> str:
    """Rows that each belong to one block."""
    below = f"kept.canonical AND kept.{number} < %(past_fork)s"
    return _arms(table, below, f"kept.{block_hash} = ANY(%(past_hashes)s)", canonical="true")


def _deployments(*, timed: bool) -> str:
    """The contracts that were shown: at the branch's moment, or, without one, those that nobody expelled since."""
    below, ours = "kept.block_number < %(past_fork)s", "kept.block_hash = ANY(%(past_hashes)s)"
    if not timed:
        return _arms(DEPLOYMENTS, f"kept.canonical AND {below}", f"{ours} AND kept.left_at IS NULL", canonical="true")
    since, later = "kept.shown_at <= %(past_moment)s", "kept.left_at > %(past_moment)s"
    return _arms(
        DEPLOYMENTS,
        f"(kept.canonical OR {later}) AND {below} AND {since}",
        f"(kept.left_at IS NULL OR {later}) AND {ours} AND {since}",
        canonical="true",
    )


_OURS = "{0}.from_block BETWEEN %(past_fork)s AND %(past_top)s AND {0}.block_hash = ANY(%(past_hashes)s)"


def _ranges(table: Table) -> str:
    """Ranges: the ones of the branch, and those below its fork, open where they were closed above it.

    A row that was undone is open for ever, so the end of every range above the fork is looked up in the branch.
    """
    successor = (
        f"(SELECT min(later.from_block) FROM {table.fullname} AS later WHERE {_same(table, 'later', 'kept')} "
        f"AND {_OURS.format('later')} AND later.from_block > kept.from_block)"
    )
    ended = f"CASE WHEN kept.to_block < %(past_fork)s THEN kept.to_block ELSE {successor} END"
    below = "kept.canonical AND kept.from_block < %(past_fork)s"
    return _arms(table, below, _OURS.format("kept"), canonical="true", to_block=ended)


def _known(table: Table) -> str:
    """Every key that a row was ever open for, once: those of now, and those that only the branch has.

    Queries that list a table's keys read its open rows under the name `known`. It may list keys that came later.
    """
    now = (
        f"SELECT FROM {table.fullname} AS now WHERE {_same(table, 'now', 'kept')} "
        "AND now.to_block IS NULL AND now.canonical"
    )
    earlier = (
        f"SELECT FROM {table.fullname} AS earlier WHERE {_same(table, 'earlier', 'kept')} "
        f"AND {_OURS.format('earlier')} AND earlier.from_block < kept.from_block"
    )
    standing = "kept.to_block IS NULL AND kept.canonical"
    gone = f"{_OURS.format('kept')} AND NOT EXISTS ({now}) AND NOT EXISTS ({earlier})"
    return _arms(table, standing, gone, canonical="true")


def _arms(table: Table, below: str, ours: str, **instead: str) -> str:
    """Rows of a table that meet one of two conditions, each with its own index, in the order of both if need be.

    Postgres merges the arms of a UNION ALL in order only where they have no condition of their own; told apart by a
    constant, each arm keeps the part of the condition that is its own.
    """
    rows = f"SELECT {{}} AS arm, * FROM {table.fullname}"
    columns = ", ".join(
        f"{instead[column.name]} AS {column.name}" if column.name in instead else f"kept.{column.name}"
        for column in table.columns
    )
    return (
        f"SELECT {columns} FROM ({rows.format(1)} UNION ALL {rows.format(2)}) AS kept "
        f"WHERE (kept.arm = 1 AND {below}) OR (kept.arm = 2 AND {ours})"
    )


def _same(table: Table, one: str, other: str) -> str:
    return " AND ".join(f"{one}.{name} = {other}.{name}" for name in ranged_key(table))
