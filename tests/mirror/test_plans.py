"""The questions asked most are answered from an index, however much there is beside the answer."""

from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from service.mirror import facts, moments, queries, transfer_queries
from service.mirror.past import Branch, rewritten

ACCOUNTS = 2_000
CHANGES = 10

FILL = f"""
INSERT INTO mirror.blocks SELECT sha256(n::text::bytea), 1, n, sha256((n - 1)::text::bytea), now(), true
    FROM generate_series(0, {ACCOUNTS * CHANGES}) AS n;
INSERT INTO mirror.contracts (chain_id, address) SELECT 1, substr(sha256(n::text::bytea), 1, 20)
    FROM generate_series(1, 20) AS n;
INSERT INTO mirror.holdings (contract_id, account, amount, from_block, to_block, block_hash, canonical)
    SELECT 1 + a % 2, substr(sha256(a::text::bytea), 1, 20), c * 10, a + c * {ACCOUNTS},
        CASE WHEN c < {CHANGES - 1} THEN a + (c + 1) * {ACCOUNTS} END,
        sha256((a + c * {ACCOUNTS})::text::bytea), true
    FROM generate_series(0, {ACCOUNTS - 1}) AS a, generate_series(0, {CHANGES - 1}) AS c;
INSERT INTO mirror.transfers
    SELECT sha256(n::text::bytea), n % 7, 1 + n % 2, n, sha256(n::text::bytea),
        substr(sha256((n % {ACCOUNTS})::text::bytea), 1, 20),
        substr(sha256((n % 97)::text::bytea), 1, 20), n, true
    FROM generate_series(1, {ACCOUNTS * CHANGES}) AS n;
INSERT INTO mirror.events
    SELECT sha256(n::text::bytea), 10 + n % 7, 1 + n % 2, n, sha256(n::text::bytea), 'Event' || n % 11, '{{}}', true
    FROM generate_series(1, {ACCOUNTS * CHANGES}) AS n;
INSERT INTO mirror.titles (contract_id, deed_id, holder, from_block, to_block, block_hash, canonical)
    SELECT 1 + d % 2, d, substr(sha256(((d + c) % 97)::text::bytea), 1, 20), d + c * {ACCOUNTS},
        CASE WHEN c < {CHANGES - 1} THEN d + (c + 1) * {ACCOUNTS} END,
        sha256((d + c * {ACCOUNTS})::text::bytea), true
    FROM generate_series(0, {ACCOUNTS - 1}) AS d, generate_series(0, {CHANGES - 1}) AS c;
INSERT INTO mirror.states (contract_id, aspect, key, state, from_block, to_block, block_hash, canonical)
    SELECT 1 + a % 2, 'aspect' || a % 3, sha256(a::text::bytea), '{{"amount": "1"}}', a + c * {ACCOUNTS},
        CASE WHEN c < {CHANGES - 1} THEN a + (c + 1) * {ACCOUNTS} END,
        sha256((a + c * {ACCOUNTS})::text::bytea), true
    FROM generate_series(0, {ACCOUNTS - 1}) AS a, generate_series(0, {CHANGES - 1}) AS c;
"""

GIVEN = {
    "contract_id": 1,
    "contract_ids": [1, 2, 3],
    "account": bytes.fromhex("5feceb66ffc86f38d952786c6d696c79c2dbc239"),
    "block": ACCOUNTS * CHANGES // 2,
    "after": b"\x40",
    "holder": bytes.fromhex("5feceb66ffc86f38d952786c6d696c79c2dbc239"),
    "deed_id": 500,
    "after_deed": 100,
    "aspect": "aspect1",
    "key": bytes.fromhex("5feceb66ffc86f38d952786c6d696c79c2dbc239"),
    "first_key": b"\x40",
    "end_key": b"\x60",
    "firsts": [b"\x40", b"\x50"],
    "ends": [b"\x48", b"\x58"],
    "names": ["Event3"],
    "after_block": 3,
    "before_block": ACCOUNTS * CHANGES // 2,
    "before_log_index": 0,
    "count_max": 50,
    "chain_id": 1,
    "time": datetime.now(UTC),
    "moment": datetime.now(UTC),
    "block_hash": sha256(b"orphan 2").digest(),
}

FORK = ACCOUNTS * CHANGES * 3 // 4
BRANCH = Branch(FORK, tuple(sha256(b"orphan %d" % number).digest() for number in range(3)), datetime.now(UTC))

# Rows of the branch's three blocks, under the keys of some of the rows that follow the fork.
ORPHANS = f"""
INSERT INTO mirror.blocks (hash, chain_id, number, parent_hash, timestamp, canonical, undone_at)
    SELECT sha256(('orphan ' || n)::bytea), 1, {FORK} + n, sha256(('orphan ' || (n - 1))::bytea), now(), false, now()
    FROM generate_series(0, 2) AS n;
INSERT INTO mirror.showings SELECT hash, shown_at, now() + interval '1 s' FROM mirror.blocks WHERE NOT canonical;
INSERT INTO mirror.holdings (contract_id, account, amount, from_block, block_hash, canonical)
    SELECT contract_id, account, 7, {FORK} + n, sha256(('orphan ' || n)::bytea), false
    FROM mirror.holdings, generate_series(0, 2) AS n WHERE from_block BETWEEN {FORK} AND {FORK} + 9;
INSERT INTO mirror.titles (contract_id, deed_id, holder, from_block, block_hash, canonical)
    SELECT contract_id, deed_id, holder, {FORK} + n, sha256(('orphan ' || n)::bytea), false
    FROM mirror.titles, generate_series(0, 2) AS n WHERE from_block BETWEEN {FORK} AND {FORK} + 9;
INSERT INTO mirror.states (contract_id, aspect, key, state, from_block, block_hash, canonical)
    SELECT contract_id, aspect, key, state, {FORK} + n, sha256(('orphan ' || n)::bytea), false
    FROM mirror.states, generate_series(0, 2) AS n WHERE from_block BETWEEN {FORK} AND {FORK} + 9;
INSERT INTO mirror.transfers (block_hash, log_index, contract_id, block_number, transaction_hash, sender, recipient,
        amount, canonical)
    SELECT sha256(('orphan ' || n)::bytea), log_index, contract_id, {FORK} + n, transaction_hash, sender, recipient,
        1, false
    FROM mirror.transfers, generate_series(0, 2) AS n WHERE block_number = {FORK};
INSERT INTO mirror.events
    SELECT sha256(('orphan ' || n)::bytea), log_index, contract_id, {FORK} + n, transaction_hash, name, arguments, false
    FROM mirror.events, generate_series(0, 2) AS n WHERE block_number = {FORK};
"""

MODES = ("force_custom_plan", "force_generic_plan")

QUESTIONS: dict[str, tuple[LiteralString, set[str]]] = {
    "last change": (queries.LAST_CHANGE, {"transfers_contract_id_idx"}),
    "one holder": (queries.HOLDING, {"holdings_pkey"}),
    "cap table now": (queries.HOLDINGS_NOW, {"holdings_holders_idx"}),
    "cap table then": (queries.HOLDINGS_THEN, {"holdings_open_key", "holdings_pkey"}),
    "holdings of an account": (queries.ACCOUNT_HOLDINGS, {"holdings_pkey"}),
    "history": (queries.HISTORY, {"holdings_pkey", "blocks_pkey"}),
    "transfers": (transfer_queries.TRANSFERS, {"transfers_contract_id_idx", "blocks_pkey"}),
    "transfers of an account": (
        transfer_queries.ACCOUNT_TRANSFERS,
        {"transfers_contract_id_sender_idx", "transfers_contract_id_recipient_idx", "blocks_pkey"},
    ),
    "title": (facts.TITLE, {"titles_pkey"}),
    "titles then": (facts.TITLES_THEN, {"titles_open_key", "titles_pkey"}),
    "titles of a holder now": (facts.HOLDER_TITLES_NOW, {"titles_holder_open_idx"}),
    "titles of a holder then": (facts.HOLDER_TITLES_THEN, {"titles_holder_idx"}),
    "title history": (facts.TITLE_HISTORY, {"titles_pkey"}),
    "state": (facts.STATE, {"states_pkey"}),
    "states of an aspect": (facts.STATES, {"states_open_key", "states_pkey"}),
    "ballots counted": (facts.TALLIES, {"states_pkey"}),
    "state history": (facts.STATE_HISTORY, {"states_pkey"}),
    "events": (facts.EVENTS, {"events_contract_id_idx", "blocks_pkey"}),
    "events of a name": (facts.NAMED_EVENTS, {"events_contract_id_name_idx", "blocks_pkey"}),
}


@pytest.fixture
def filled(database_url: SecretStr) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(database_url.get_secret_value(), autocommit=True) as connection:
        connection.execute(sql.SQL(FILL))
        connection.prepare_threshold = None
        connection.execute("VACUUM ANALYZE")
        yield connection


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


def explain(
    connection: psycopg.Connection[Any], query: LiteralString, mode: str, **changed: Any
) -> list[dict[str, Any]]:
    """The nodes of the plan that a prepared query gets: made for these values, or once for any."""
    given = {**GIVEN, **changed}
    names = [name for name in given if f"%({name})s" in query]
    for position, name in enumerate(names, start=1):
        query = query.replace(f"%({name})s", f"${position}")
    values = sql.SQL(", ").join(sql.Literal(given[name]) for name in names)
    connection.execute("SELECT set_config('plan_cache_mode', %s, false)", (mode,))
    connection.execute(sql.SQL("PREPARE asked AS ") + sql.SQL(query))
    row = connection.execute(
        sql.SQL("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE asked ({})").format(values)
    ).fetchone()
    connection.execute("DEALLOCATE asked")
    assert row is not None
    return list(nodes(row[0][0]["Plan"]))


@pytest.mark.parametrize("mode", MODES)
def test_hot_questions_use_their_indexes(filled: psycopg.Connection[Any], mode: str) -> None:
    for name, (query, indexes) in QUESTIONS.items():
        found = explain(filled, query, mode)
        used = {node["Index Name"] for node in found if "Index Name" in node}
        assert indexes <= used, f"{name} uses {used}"
        scanned = {node["Relation Name"] for node in found if node["Node Type"] == "Seq Scan"}
        assert scanned <= {"contracts"}, f"{name} reads all of {scanned}"
        rows = max(node["Actual Rows"] + node.get("Rows Removed by Filter", 0) for node in found)
        assert rows <= 2_100 if "counted" in name else rows <= 3 * 51, f"{name} touches {rows} rows at once"


@pytest.mark.parametrize("mode", MODES)
def test_questions_as_of_a_branch_that_left_use_indexes(filled: psycopg.Connection[Any], mode: str) -> None:
    filled.execute(sql.SQL(ORPHANS))
    filled.execute("ANALYZE")
    for name, (query, indexes) in QUESTIONS.items():
        if "to_block IS NULL" in query and "known" not in query:
            continue  # what is open now is not asked of a branch
        newest = {"block": FORK + 2, "before_block": FORK + 3, **BRANCH.given}
        found = explain(filled, rewritten(query, whole=True, timed=True), mode, **newest)
        used = {node["Index Name"] for node in found if "Index Name" in node}
        assert indexes <= used, f"{name} uses {used}"
        scanned = {node["Relation Name"] for node in found if node["Node Type"] == "Seq Scan"}
        assert scanned <= {"contracts"}, f"{name} reads all of {scanned}"
        rows = max(node["Actual Rows"] + node.get("Rows Removed by Filter", 0) for node in found)
        assert rows <= 2_100 if "counted" in name else rows <= 3 * 51, f"{name} touches {rows} rows at once"


@pytest.mark.parametrize("mode", MODES)
def test_times_and_moments_are_found_by_indexes(filled: psycopg.Connection[Any], mode: str) -> None:
    filled.execute(sql.SQL(ORPHANS))
    for query, indexes in (
        (moments.BLOCK_AT_TIME, {"blocks_chain_id_timestamp_idx"}),
        (moments.SHOWN_AT, {"blocks_chain_id_shown_at_idx"}),
        (moments.BRANCH, {"blocks_pkey"}),
    ):
        found = explain(filled, query, mode)
        assert indexes <= {node["Index Name"] for node in found if "Index Name" in node}, query
        assert max(node["Actual Rows"] + node.get("Rows Removed by Filter", 0) for node in found) <= 10, query


@pytest.mark.parametrize("mode", MODES)
def test_one_holder_needs_no_table_row(filled: psycopg.Connection[Any], mode: str) -> None:
    for query in (queries.HOLDING, queries.HOLDINGS_NOW):
        kinds = {node["Node Type"] for node in explain(filled, query, mode) if "Relation Name" in node}
        assert kinds == {"Index Only Scan"}, query
    one = explain(filled, queries.HOLDING, mode)
    assert max(node["Shared Hit Blocks"] + node["Shared Read Blocks"] for node in one) <= 6
