"""A past for a bench: finished operations in the tables, made by SQL as copies of one that really happened."""

from typing import Any, LiteralString

import psycopg

_MADE_ID: LiteralString = "lpad(to_hex(%(kind)s), 8, '0') || '-0000-7000-8000-' || lpad(to_hex(i), 12, '0')"
"""Ids that sort before those of today: kind 1 for transactions, 2 for operations, 3 for attempts, 4 for signatures."""


def _id(kind: LiteralString) -> LiteralString:
    return _MADE_ID.replace("%(kind)s", kind)


_HASH: LiteralString = "'\\x' || encode(sha256(int8send(i)), 'hex')"
_COPIES: tuple[tuple[LiteralString, LiteralString, LiteralString], ...] = (
    (
        "transactions",
        "original.id = %(transaction_id)s",
        f"'id', {_id('1')}, 'nonce', -i, 'transaction_hash', {_HASH}, 'taken', true",
    ),
    (
        "attempts",
        "original.transaction_id = %(transaction_id)s",
        f"'id', {_id('3')}, 'transaction_id', {_id('1')}, 'nonce', -i, 'hash', {_HASH}",
    ),
    (
        "signatures",
        "original.transaction_id = %(transaction_id)s",
        f"'id', {_id('4')}, 'transaction_id', {_id('1')}, 'attempt_id', {_id('3')}, 'nonce', -i",
    ),
    (
        "operations",
        "original.id = %(operation_id)s",
        f"'id', {_id('2')}, 'transaction_id', {_id('1')}",
    ),
    (
        "requests",
        "original.resource = 'operations/' || %(operation_id)s::text",
        f"'key', 'past-' || i, 'resource', 'operations/' || {_id('2')}",
    ),
    (
        "journal_entries",
        "original.position = (SELECT max(position) FROM journal_entries)",
        "'position', original.position + i - %(first)s + 1",
    ),
)
"""Table, which row is copied, and what is its own in each copy. Negative nonces are nobody's."""


def finished(connection: "psycopg.Connection[Any]") -> int:
    """How many operations are finished."""
    row = connection.execute("SELECT count(*) FROM operations WHERE status <> 'pending'").fetchone()
    assert row is not None
    return int(row[0])


def fill(connection: "psycopg.Connection[Any]", count: int) -> None:
    """Add copies of a finished mint until so many operations are finished. Nothing else may write meanwhile."""
    missing = count - finished(connection)
    if missing <= 0:
        return
    query = """SELECT id, transaction_id FROM operations o WHERE kind = 'token.mint' AND status = 'succeeded'
        AND (SELECT count(*) FROM attempts a WHERE a.transaction_id = o.transaction_id) = 1
        ORDER BY id DESC LIMIT 1"""
    found = connection.execute(query).fetchone()
    assert found is not None, "mint something first"
    made = connection.execute("SELECT count(*) FROM requests WHERE key LIKE 'past-%'").fetchone()
    assert made is not None
    first = int(made[0]) + 1
    given = {"operation_id": found[0], "transaction_id": found[1], "first": first, "last": first + missing - 1}
    with connection.transaction():
        for table, which, own in _COPIES:
            connection.execute(
                f"""INSERT INTO {table} SELECT copy.* FROM {table} AS original
                CROSS JOIN generate_series(%(first)s::bigint, %(last)s) AS i
                CROSS JOIN LATERAL jsonb_populate_record(original, jsonb_build_object({own})) AS copy WHERE {which}""",
                given,
            )
        connection.execute("UPDATE journal_end SET position = (SELECT max(position) FROM journal_entries)")
    connection.execute("VACUUM ANALYZE")
