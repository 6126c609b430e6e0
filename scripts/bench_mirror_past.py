"""A long past for the mirror's bench: two tokens' transfers and holdings, made by SQL in the mirror's own tables.

The second has ten times the first one's history and as many holders. One holder takes part in every fifth transfer.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from pydantic import SecretStr

from service.db import Database, ReadConnection
from service.mirror import queries

EVENTS_IN_A_BLOCK = 100
LOG_INDEXES = 1_000
"""Room for each token's logs in a block, so that no two of them meet."""

PAGE_ROWS = 1_000
PLACES = {"early": 0.05, "middle": 0.5, "head": 1.0}
"""Where in the transfers a question is asked as of."""


@dataclass(frozen=True, slots=True)
class Past:
    """A token's past, from block `first` to `last`; holders are opened up to, not including, block `opened`."""

    contract_id: int
    first: int
    opened: int
    last: int
    holders: int
    transfers: int

    def block(self, place: str) -> int:
        """The block at a place of PLACES."""
        return self.opened + int((self.last - self.opened) * PLACES[place])


_HASH: LiteralString = "sha256(int8send({}))"
_ACCOUNT: LiteralString = "substr(sha256(int8send({})), 1, 20)"
_DRAWN: LiteralString = "((hashint8extended(i, {}) & 9223372036854775807) %% %(holders)s)"

_BLOCKS: LiteralString = f"""
INSERT INTO mirror.blocks (hash, number, parent_hash, timestamp, chain_id, canonical)
SELECT {_HASH.format("n")}, n, {_HASH.format("n - 1")}, %(since)s + make_interval(secs => n), %(chain_id)s, true
FROM generate_series(%(first)s::bigint, %(last)s) AS n"""

_TRANSFERS: LiteralString = f"""
INSERT INTO mirror.transfers (block_hash, log_index, contract_id, block_number, transaction_hash, sender, recipient,
    amount, canonical)
SELECT {_HASH.format("block")}, %(log_index)s + (i - 1) %% {EVENTS_IN_A_BLOCK}, %(contract_id)s, block,
    {_HASH.format("-i")}, sender, recipient, amount, true
FROM generate_series(1, %(holders)s + %(transfers)s::bigint) AS i
CROSS JOIN LATERAL (SELECT %(first)s + (i - 1) / {EVENTS_IN_A_BLOCK} AS block,
    CASE WHEN i <= %(holders)s THEN decode(repeat('00', 20), 'hex')
        WHEN i %% 5 = 0 THEN {_ACCOUNT.format("0::bigint")} ELSE {_ACCOUNT.format(_DRAWN.format(1))} END AS sender,
    CASE WHEN i <= %(holders)s THEN {_ACCOUNT.format("i - 1")} ELSE {_ACCOUNT.format(_DRAWN.format(2))} END
        AS recipient,
    CASE WHEN i <= %(holders)s THEN 10 ^ 18::numeric ELSE 1 + i %% 1000 END AS amount) AS drawn"""

_HOLDINGS: LiteralString = f"""
WITH moves AS (
    SELECT sender AS account, block_number AS block, -amount AS change FROM mirror.transfers
    WHERE contract_id = %(contract_id)s AND sender <> decode(repeat('00', 20), 'hex')
    UNION ALL SELECT recipient, block_number, amount FROM mirror.transfers WHERE contract_id = %(contract_id)s
), changes AS (
    SELECT account, block, sum(change) AS change FROM moves GROUP BY account, block HAVING sum(change) <> 0
)
INSERT INTO mirror.holdings (contract_id, account, from_block, to_block, block_hash, amount, canonical)
SELECT %(contract_id)s, account, block, lead(block) OVER account_blocks, {_HASH.format("block")},
    sum(change) OVER account_blocks, true
FROM changes WINDOW account_blocks AS (PARTITION BY account ORDER BY block)"""

_HEAD: LiteralString = """
UPDATE mirror.heads SET head_number = %(last)s, final_number = %(last)s, seen_at = clock_timestamp()
WHERE chain_id = %(chain_id)s"""


def make(
    connection: "psycopg.Connection[Any]", *, chain_id: int, contract_ids: Sequence[int], holders: int, transfers: int
) -> list[Past]:
    """Give each contract its past, the last one `transfers` transfers and each one before it a tenth of the next."""
    tip = _row(connection, "SELECT max(number) FROM mirror.blocks WHERE canonical", {})[0]
    opened = tip + 1 + -(-holders // EVENTS_IN_A_BLOCK)
    counts = [transfers // 10 ** (len(contract_ids) - 1 - place) for place in range(len(contract_ids))]
    pasts = [
        Past(contract_id, tip + 1, opened, opened + -(-count // EVENTS_IN_A_BLOCK) - 1, holders, count)
        for contract_id, count in zip(contract_ids, counts, strict=True)
    ]
    whole = {"chain_id": chain_id, "first": tip + 1, "last": pasts[-1].last}
    (since,) = _row(connection, "SELECT max(timestamp) FROM mirror.blocks", {})
    connection.execute("SET statement_timeout = 0; SET work_mem = '256MB'; SET maintenance_work_mem = '256MB'")
    connection.execute(_BLOCKS, {**whole, "since": since})
    with _indexed_late(connection, "transfers"):
        for place, past in enumerate(pasts):
            given = {"contract_id": past.contract_id, "holders": past.holders, "transfers": past.transfers}
            connection.execute(_TRANSFERS, {**given, "first": past.first, "log_index": place * LOG_INDEXES})
    with _indexed_late(connection, "holdings"):
        for past in pasts:
            connection.execute(_HOLDINGS, {"contract_id": past.contract_id})
    connection.execute(_HEAD, whole)
    connection.execute("VACUUM (ANALYZE) mirror.blocks, mirror.transfers, mirror.holdings")
    return pasts


@contextmanager
def _indexed_late(connection: "psycopg.Connection[Any]", table: str) -> Iterator[None]:
    """Take a table's indexes away, and build them anew behind what is written meanwhile."""
    name = sql.Identifier("mirror", table)
    found = connection.execute(
        """SELECT i.relname, pg_get_indexdef(i.oid), k.conname, pg_get_constraintdef(k.oid)
        FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
        LEFT JOIN pg_constraint k ON k.conindid = i.oid AND k.contype = 'p'
        WHERE x.indrelid = %s::regclass""",
        (f"mirror.{table}",),
    ).fetchall()
    for index, _, constraint, _ in found:
        if constraint is None:
            connection.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier("mirror", index)))
        else:
            connection.execute(sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(name, sql.Identifier(constraint)))
    yield
    for _, index_told, constraint, told in found:
        if constraint is None:
            connection.execute(index_told)
        else:
            adding = sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {}")
            connection.execute(adding.format(name, sql.Identifier(constraint), sql.SQL(told)))


def accounts(connection: "psycopg.Connection[Any]", past: Past, count: int) -> list[bytes]:
    """Holders at equal distances, the busiest one first."""
    query: LiteralString = f"""SELECT {_ACCOUNT.format("n")}
        FROM generate_series(0, %(holders)s::bigint - 1, %(step)s) AS n LIMIT %(count)s"""
    given = {"holders": past.holders, "step": max(past.holders // count, 1), "count": count}
    return [row[0] for row in connection.execute(query, given).fetchall()]


# The questions, each with the naive way to answer it


_SUM_OF_ONE: LiteralString = """
SELECT coalesce((SELECT sum(amount) FROM mirror.transfers WHERE contract_id = %(contract_id)s AND canonical
        AND recipient = %(account)s AND block_number <= %(block)s), 0)
    - coalesce((SELECT sum(amount) FROM mirror.transfers WHERE contract_id = %(contract_id)s AND canonical
        AND sender = %(account)s AND block_number <= %(block)s), 0)"""

_SUM_OF_ALL: LiteralString = """
SELECT account, sum(change) FROM (
    SELECT recipient AS account, amount AS change FROM mirror.transfers
    WHERE contract_id = %(contract_id)s AND canonical AND block_number <= %(block)s
    UNION ALL SELECT sender, -amount FROM mirror.transfers
    WHERE contract_id = %(contract_id)s AND canonical AND block_number <= %(block)s) AS moves
WHERE account <> decode(repeat('00', 20), 'hex') GROUP BY account HAVING sum(change) > 0"""


def open_database(url: str) -> Database:
    """The way to Postgres that the API has."""
    return Database(SecretStr(url), role="muniment_api", connections_max=2)


async def one_holding_ms(connection: ReadConnection, past: Past, place: str, asked: Sequence[bytes]) -> list[float]:
    """How long each of these accounts' holdings takes, as of a place."""
    found = []
    for account in asked:
        started_s = time.perf_counter()
        await queries.holding(connection, contract_id=past.contract_id, account=account, block=past.block(place))
        found.append((time.perf_counter() - started_s) * 1_000)
    return found


async def one_sum_ms(connection: ReadConnection, past: Past, place: str, asked: Sequence[bytes]) -> list[float]:
    """The same by adding up transfers."""
    found = []
    for account in asked:
        given = {"contract_id": past.contract_id, "account": account, "block": past.block(place)}
        started_s = time.perf_counter()
        await (await connection.execute(_SUM_OF_ONE, given)).fetchone()
        found.append((time.perf_counter() - started_s) * 1_000)
    return found


async def pages_ms(connection: ReadConnection, past: Past, place: str) -> list[float]:
    """How long each page of the whole cap table takes, as of a place.

    Raises:
        RuntimeError: the holders are not all there.
    """
    found, held, after = [], 0, None
    while True:
        started_s = time.perf_counter()
        page = await queries.holdings_page(
            connection, contract_id=past.contract_id, block=past.block(place), after=after, count_max=PAGE_ROWS
        )
        found.append((time.perf_counter() - started_s) * 1_000)
        held += len(page)
        if len(page) < PAGE_ROWS:
            break
        after = page[-1].account
    if held != past.holders:
        raise RuntimeError(f"{held} of {past.holders} holders were told")
    return found


async def all_sums_ms(connection: ReadConnection, past: Past, place: str) -> float:
    """The whole cap table by adding up all transfers in one statement, as of a place."""
    given = {"contract_id": past.contract_id, "block": past.block(place)}
    started_s = time.perf_counter()
    rows = await (await connection.execute(_SUM_OF_ALL, given)).fetchall()
    if len(rows) != past.holders:
        raise RuntimeError(f"{len(rows)} of {past.holders} holders were added up")
    return (time.perf_counter() - started_s) * 1_000


def _row(connection: "psycopg.Connection[Any]", query: LiteralString, given: dict[str, Any]) -> tuple[Any, ...]:
    row = connection.execute(query, given).fetchone()
    assert row is not None
    return tuple(row)
