"""At a million transfers and 200,000 holders, every question that a route can ask reads its answer and little more."""

import importlib
import inspect
import pkgutil
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import chain
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection, AsyncCursor, sql

import service.mirror
from scripts import local
from service.db import _configure_read
from service.mirror import (
    adoptions,
    digest_queries,
    facts,
    lines,
    moments,
    movements,
    ownership,
    proxies,
    queries,
    standing,
    transfer_queries,
)
from service.mirror import backfill as backfills
from tests.conftest import TEMPLATE

BLOCKS = 100_000
TRANSFERS = 1_000_000
HOLDERS = 200_000
DEEDS = 50_000
PAGE = 51

FIRST, MIDDLE, HEAD = 40, BLOCKS // 2, BLOCKS

TREASURY, HOLDER = sha256(b"0").digest()[:20], sha256(b"77").digest()[:20]
GENESIS = datetime(2026, 1, 1, tzinfo=UTC)

# One contract with nearly all holders, one with an account that changed in every block, one of deeds, one of wallets.
WHALE, BUSY, DEEDED, REGISTRY, GOVERNOR = 1, 2, 3, 4, 5

TABLES = ("blocks", "transfers", "events", "holdings", "supplies", "pauses", "titles", "states", "digests")

FILL = f"""
INSERT INTO mirror.heads (chain_id, head_number, final_number) VALUES (1, {BLOCKS}, {BLOCKS - 10});
INSERT INTO mirror.contracts (chain_id, address) SELECT 1, substr(sha256(n::text::bytea), 1, 20)
    FROM generate_series(1, 20) AS n;
INSERT INTO mirror.blocks (hash, chain_id, number, parent_hash, timestamp, canonical, shown_at)
    SELECT sha256(n::text::bytea), 1, n, sha256((n - 1)::text::bytea), '{GENESIS}'::timestamptz + n * interval '12 s',
        true, '{GENESIS}'::timestamptz + n * interval '12 s'
    FROM generate_series(0, {BLOCKS}) AS n;
INSERT INTO mirror.deployments (contract_id, block_hash, block_number, salt, operator, kind, canonical, shown_at)
    SELECT id, sha256('0'), 0, sha256(address), address, 'token', true, '{GENESIS}'::timestamptz FROM mirror.contracts;
INSERT INTO mirror.transfers (block_hash, log_index, contract_id, block_number, transaction_hash, sender, recipient,
        amount, canonical, deed_id)
    SELECT blocks.hash, n, CASE WHEN n < 7 THEN {WHALE} WHEN n < 9 THEN {BUSY} ELSE {DEEDED} END, number, blocks.hash,
        CASE WHEN n % 2 = 0 THEN '\\x{TREASURY.hex()}'::bytea
            ELSE substr(sha256((number * 2 - n)::text::bytea), 1, 20) END,
        substr(sha256((number * 2 + n)::text::bytea), 1, 20), 1, true, CASE WHEN n = 9 THEN number / 2 END
    FROM mirror.blocks, generate_series(0, {TRANSFERS // BLOCKS - 1}) AS n WHERE number > 0;
INSERT INTO mirror.events (block_hash, log_index, contract_id, block_number, transaction_hash, name, arguments,
        canonical)
    SELECT hash, 10, 1 + number % 20, number, hash, 'Event' || number % 7, '{{}}', true FROM mirror.blocks;
INSERT INTO mirror.holdings (contract_id, account, amount, from_block, to_block, block_hash, canonical)
    SELECT {WHALE}, substr(sha256(a::text::bytea), 1, 20), (a * 7919) % 100003 + c, a / 4 + c * {BLOCKS // 2},
        CASE c WHEN 0 THEN a / 4 + {BLOCKS // 2} END, sha256((a / 4 + c * {BLOCKS // 2})::text::bytea), true
    FROM generate_series(0, {HOLDERS - 1}) AS a, generate_series(0, 1) AS c
    UNION ALL
    SELECT {BUSY}, '\\x{TREASURY.hex()}'::bytea, number, number, nullif(number + 1, {BLOCKS + 1}), hash, true
    FROM mirror.blocks;
INSERT INTO mirror.titles (contract_id, deed_id, holder, from_block, to_block, block_hash, canonical)
    SELECT {DEEDED}, d, substr(sha256((d % 1000 + c)::text::bytea), 1, 20), d * 2 + c, CASE c WHEN 0 THEN d * 2 + 1 END,
        sha256((d * 2 + c)::text::bytea), true
    FROM generate_series(0, {DEEDS - 1}) AS d, generate_series(0, 1) AS c;
INSERT INTO mirror.states (contract_id, aspect, key, state, from_block, to_block, block_hash, canonical)
    SELECT {WHALE}, 'frozen', substr(sha256(a::text::bytea), 1, 20), '{{"amount": "1"}}', a + c * {BLOCKS // 2},
        CASE c WHEN 0 THEN a + {BLOCKS // 2} END, sha256((a + c * {BLOCKS // 2})::text::bytea), true
    FROM generate_series(0, {BLOCKS // 2 - 1}) AS a, generate_series(0, 1) AS c
    UNION ALL
    SELECT {REGISTRY}, 'wallet', substr(sha256(a::text::bytea), 1, 20),
        jsonb_build_object('investor', '0x' || encode(sha256((a / 3)::text::bytea), 'hex')), a, NULL::bigint,
        sha256(a::text::bytea), true
    FROM generate_series(0, {BLOCKS // 6}) AS a
    UNION ALL
    SELECT {GOVERNOR}, 'ballot', decode(lpad(to_hex(a / 100), 64, '0'), 'hex') || substr(sha256(a::text::bytea), 1, 20),
        '{{"support": 1, "weight": "5"}}', a, NULL::bigint, sha256(a::text::bytea), true
    FROM generate_series(0, {BLOCKS // 6}) AS a;
INSERT INTO mirror.supplies (contract_id, amount, from_block, to_block, block_hash, canonical)
    SELECT {WHALE}, number, number, nullif(number + 2, {BLOCKS + 2}), hash, true
    FROM mirror.blocks WHERE number % 2 = 0;
INSERT INTO mirror.pauses (contract_id, paused, from_block, to_block, block_hash, canonical)
    SELECT {WHALE}, number % 2 = 0, number, nullif(number + 1, {BLOCKS + 1}), hash, true
    FROM mirror.blocks WHERE number > {BLOCKS - 100};
INSERT INTO mirror.digests (contract_id, digest, from_block, to_block, block_hash, canonical)
    SELECT {WHALE}, hash, number, nullif(number + 2, {BLOCKS + 2}), hash, true
    FROM mirror.blocks WHERE number % 2 = 0;
"""

ACCOUNT = {"contract_id": WHALE, "account": HOLDER}

Case = tuple[Callable[..., Awaitable[Any]], dict[str, Any]]


def cases(block: int) -> Iterator[Case]:
    """Every question about contracts, holdings and transfers, as of a block."""
    contract = queries.Contract(WHALE, sha256(b"1").digest()[:20], 0, "token", 0)
    at, page = {"block": block}, {"block": block, "count_max": PAGE}
    whale, deeds = {"contract_id": WHALE}, {"contract_id": DEEDED}
    every, addresses = list(range(1, 21)), [sha256(str(n).encode()).digest()[:20] for n in range(1, 21)]
    yield queries.label, {"chain_id": 1, "at_block": block}
    yield queries.status, {"chain_id": 1}
    yield queries.contract, {"chain_id": 1, "address": contract.address, **at}
    yield queries.contracts_page, {"chain_id": 1, "after": None, **page}
    yield queries.contracts_of_kind, {"chain_id": 1, "kinds": ["token"], "after": None, **page}
    yield queries.contract_states, {"chain_id": 1, "addresses": [contract.address], **at}
    yield queries.contract_states, {"chain_id": 1, "addresses": addresses, **at}
    for contract_id in (WHALE, BUSY):
        yield queries.supply, {"contract_id": contract_id, **at}
        yield queries.paused, {"contract_id": contract_id, **at}
    for account in (HOLDER, TREASURY):
        for contract_id in (WHALE, BUSY):
            yield queries.holding, {"contract_id": contract_id, "account": account, **at}
            yield queries.history_page, {"contract_id": contract_id, "account": account, "after_block": None, **page}
        yield queries.account_holdings_page, {"contract_ids": every, "account": account, "after": None, **page}
        yield transfer_queries.transfers_page, {"contract_ids": every, "account": account, "before": None, **page}
        yield movements.holder_transfers_page, {**whale, "account": account, "after": None, **page}
        yield movements.receipts_page, {**whale, "account": account, "before": None, **page}
    for after in (None, b"\x80", b"\xff\xf0"):
        yield queries.holdings_page, {**whale, "after": after, **page}
        yield lines.holding_lines, {**whale, "supply": 10**9, "after": after, **page}
    yield queries.changed_after, {**whale, **at}
    yield queries.is_early, {**whale, **at}
    yield transfer_queries.transfers_page, {"contract_ids": every, "account": None, "before": None, **page}
    yield transfer_queries.transfers_page, {"contract_ids": [7], "account": None, "before": (block, 3), **page}
    yield lines.transfer_lines, {**whale, "after": (block // 2, 0), **page}
    yield movements.deed_transfers_page, {**deeds, "deed_id": block // 4, "after": None, **page}
    yield movements.all_receipts_page, {**whale, "before": (b"\xff" * 21, 0, 0), **page}
    yield ownership.largest_now_page, {**whale, "below": queries.Holding(HOLDER, 50_000), "count_max": PAGE}
    yield ownership.amounts_of, {**whale, "accounts": [HOLDER, TREASURY], **at}
    yield ownership.changes_page, {**whale, "from_block": max(block - 100, 0), "gained": None, "after": None, **page}


def more_cases(block: int) -> Iterator[Case]:
    """Every question about titles, states, events, times and digests, as of a block."""
    contract = queries.Contract(WHALE, sha256(b"1").digest()[:20], 0, "token", 0)
    label = queries.Label(1, block, sha256(str(block).encode()).digest(), GENESIS, final=True, lag=0)
    time = GENESIS + timedelta(seconds=12 * block)
    at, page = {"block": block}, {"block": block, "count_max": PAGE}
    deeds, states, every = {"contract_id": DEEDED}, {"contract_id": WHALE, "aspect": "frozen"}, list(range(1, 21))
    yield facts.title, {**deeds, "deed_id": block // 4, **at}
    for holder in (None, TREASURY):
        yield facts.titles_page, {**deeds, "holder": holder, "after": None, **page}
    yield facts.title_history_page, {**deeds, "deed_id": block // 4, "after_block": None, **page}
    yield facts.state, {**states, "key": HOLDER, **at}
    yield facts.states_of_keys, {**states, "keys": [HOLDER, TREASURY], **at}
    yield facts.states_page, {**states, "prefix": b"\x40", "after": None, **page}
    yield facts.state_history_page, {**states, "key": HOLDER, "after_block": None, **page}
    yield facts.wallets_of, {"contract_id": REGISTRY, "investor": sha256(str(block // 20).encode()).digest(), **at}
    yield facts.tallies, {"contract_id": GOVERNOR, "proposal_ids": [block // 2_000], **at}
    for names in (None, ["Event3", "Event5"]):
        yield facts.events_page, {"contract_ids": every, "names": names, "before": None, **page}
    yield moments.label_at_time, {"chain_id": 1, "time": time}
    yield moments.shown_at, {"chain_id": 1, "moment": time, "at_block": None}
    yield moments.sight_of, {"chain_id": 1, "block_hash": label.hash, "shown_at": None}
    yield digest_queries.contract_digest, {"contract": contract, "label": label}
    yield digest_queries.mirror_digest, {"label": label}
    yield standing.present_halt, {"chain_id": 1}
    yield backfills.present_backfill, {"chain_id": 1}
    yield adoptions.adoptions, {"issuer_id": uuid.UUID(int=1), "ids": [uuid.UUID(int=2)]}
    yield adoptions.is_ours, {"chain_id": 1, "address": contract.address}
    yield adoptions.marks, {"chain_id": 1, "addresses": [contract.address]}
    yield proxies.behind, {"contract_ids": every, "block": block}
    yield proxies.beacons, {"contract_id": every[0], "block": block}


WHOLE = {"ranked_accounts", "holders_count", "concentration", "periods", "state_digest"}
"""Questions whose answers are made of all holders, which no index can spare: asked once, and not for each page."""

ASKED_BY_ROUTES = (
    adoptions,
    backfills,
    digest_queries,
    facts,
    lines,
    moments,
    movements,
    ownership,
    proxies,
    queries,
    standing,
    transfer_queries,
)


class Recorder(AsyncCursor[Any]):
    """Keeps what it was asked."""

    asked: list[tuple[str, dict[str, Any]]] = []  # noqa: RUF012

    async def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
        if isinstance(params, Sequence):
            names = [f"given_{number}" for number, _ in enumerate(params)]
            self.asked.append((query % tuple(f"%({name})s" for name in names), dict(zip(names, params, strict=True))))
        else:
            self.asked.append((query, dict(params or {})))
        return await super().execute(query, params, **options)


@pytest.fixture(scope="module")
def grown(postgres: local.Postgres) -> Iterator[str]:
    """The address of a large mirror, its indexes made last."""
    name = sql.Identifier(f"grown_{uuid.uuid4().hex}")
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(name, sql.Identifier(TEMPLATE)))
        url = postgres.database(name._obj[0])
        with psycopg.connect(url, autocommit=True) as filling:
            fill(filling)
        yield url
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def fill(connection: psycopg.Connection[Any]) -> None:
    later: list[str] = []
    for table in TABLES:
        for constraint, definition in connection.execute(
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass "
            "AND contype IN ('p', 'c')",
            (f"mirror.{table}",),
        ).fetchall():
            connection.execute(f"ALTER TABLE mirror.{table} DROP CONSTRAINT {constraint}".encode())
            if definition.startswith("PRIMARY"):
                later.append(f"ALTER TABLE mirror.{table} ADD CONSTRAINT {constraint} {definition}")
        for index, definition in connection.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'mirror' AND tablename = %s", (table,)
        ).fetchall():
            connection.execute(f"DROP INDEX mirror.{index}".encode())
            later.append(definition)
        connection.execute(f"ALTER TABLE mirror.{table} SET UNLOGGED".encode())
    connection.execute("SET maintenance_work_mem = '256MB'; SET max_parallel_maintenance_workers = 0")
    connection.execute(FILL.encode())
    for statement in later:
        connection.execute(statement.encode())
    connection.execute("VACUUM (ANALYZE, INDEX_CLEANUP off)")


async def ask(url: str, asked: Iterator[Case]) -> list[tuple[str, str, dict[str, Any]]]:
    """What the questions send: the function's name, the statement and its parameters."""
    sent = []
    async with await AsyncConnection.connect(url, autocommit=True) as connection:
        await _configure_read(connection)
        connection.cursor_factory = Recorder
        for function, given in asked:
            Recorder.asked.clear()
            await function(connection, **given)
            sent += [(function.__name__, query, given) for query, given in Recorder.asked]
    return sent


def plan_of(connection: psycopg.Connection[Any], mode: str, query: str, given: dict[str, Any]) -> tuple[int, set[str]]:
    """Buffers that a prepared query touches, and the tables that it reads whole."""
    names = [name for name in given if f"%({name})s" in query]
    for position, name in enumerate(names, start=1):
        query = query.replace(f"%({name})s", f"${position}")
    connection.execute("SELECT set_config('plan_cache_mode', %s, false)", (mode,))
    connection.execute(f"PREPARE asked AS {query}".encode())
    values = sql.SQL(", ").join(sql.Literal(given[name]) for name in names)
    execute = sql.SQL("asked ({})").format(values) if names else sql.SQL("asked")
    row = connection.execute(
        sql.SQL("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) EXECUTE {}").format(execute)
    ).fetchone()
    connection.execute("DEALLOCATE asked")
    assert row is not None
    plan = row[0][0]["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"], set(scanned(plan))


def scanned(plan: dict[str, Any]) -> Iterator[str]:
    if plan["Node Type"] == "Seq Scan" and plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0) > 100:
        yield plan["Relation Name"]
    for part in plan.get("Plans", ()):
        yield from scanned(part)


BUFFERS_MAX = 4_000
"""Of 8 KiB; transfers alone have 22,000. A plan for any values reads the most, for a page of an early block."""


@pytest.mark.parametrize("block", [FIRST, MIDDLE, HEAD])
async def test_a_question_reads_little_more_than_its_answer(grown: str, block: int) -> None:
    sent = await ask(grown, chain(cases(block), more_cases(block)))
    found = []
    with psycopg.connect(grown, autocommit=True) as connection:
        for mode in ("force_custom_plan", "force_generic_plan"):
            for name, query, given in sent:
                if "mirror." not in query:
                    continue
                buffers, tables = plan_of(connection, mode, query, given)
                if buffers > BUFFERS_MAX or tables:
                    found.append((name, mode, buffers, tables, given))
    assert found == []


def test_every_question_that_takes_a_connection_is_asked() -> None:
    questions = {
        name
        for module in ASKED_BY_ROUTES
        for name, function in vars(module).items()
        if inspect.iscoroutinefunction(function)
        and function.__module__ == module.__name__
        and not name.startswith("_")
        and next(iter(inspect.signature(function).parameters)) == "connection"
    }
    assert questions - {function.__name__ for function, _ in chain(cases(HEAD), more_cases(HEAD))} == WHOLE


def test_every_module_with_questions_is_among_them() -> None:
    found = [
        importlib.import_module(f"service.mirror.{each.name}") for each in pkgutil.iter_modules(service.mirror.__path__)
    ]
    with_questions = {
        module
        for module in found
        for name, function in vars(module).items()
        if inspect.iscoroutinefunction(function)
        and function.__module__ == module.__name__
        and not name.startswith("_")
        and next(iter(inspect.signature(function).parameters), "") == "connection"
    }
    assert with_questions == set(ASKED_BY_ROUTES)
