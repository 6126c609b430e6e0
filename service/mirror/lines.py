"""Pages of rows as lines of CSV, made in Postgres: a million rows cost this process hardly more than their bytes.

Nothing in them was written by anybody: addresses and hashes are lower-case hex, times UTC, amounts base units. So no
field needs quotes, and none can begin a formula. A line begins with the key that the next page goes on from.
"""

from typing import Any, LiteralString

from service.db import ReadConnection
from service.mirror.queries import HOLDINGS_OF_TRANSFERS, changed_after, is_early

_HELD_LINES: LiteralString = """
SELECT string_agg('0x' || encode(account, 'hex') || ',' || amount::text || ','
    || ((div(amount * 200000000 + %(supply)s::numeric, 2 * %(supply)s::numeric) * 0.000001)::text) || E'\\r\\n',
    '' ORDER BY account)
FROM ({}) AS held
"""

HELD_LINES_NOW: LiteralString = _HELD_LINES.format("""
    SELECT account, amount FROM mirror.holdings
    WHERE contract_id = %(contract_id)s AND account > %(after)s AND to_block IS NULL AND canonical AND amount > 0
    ORDER BY account LIMIT %(count_max)s
""")

HELD_LINES_THEN: LiteralString = _HELD_LINES.format("""
    SELECT known.account, held.amount
    FROM mirror.holdings AS known CROSS JOIN LATERAL (
        SELECT amount FROM mirror.holdings AS past
        WHERE past.contract_id = known.contract_id AND past.account = known.account
            AND past.from_block <= %(block)s AND past.canonical
        ORDER BY past.from_block DESC LIMIT 1) AS held
    WHERE known.contract_id = %(contract_id)s AND known.account > %(after)s AND known.to_block IS NULL
        AND known.canonical AND held.amount > 0
    ORDER BY known.account LIMIT %(count_max)s
""")

HELD_LINES_EARLY: LiteralString = _HELD_LINES.format(HOLDINGS_OF_TRANSFERS)

TRANSFER_LINES: LiteralString = """
SELECT string_agg(moved.block_number::text || ',' || moved.log_index::text || ','
    || to_char((SELECT timestamp FROM mirror.blocks WHERE hash = moved.block_hash) AT TIME ZONE 'UTC',
        'YYYY-MM-DD"T"HH24:MI:SS"Z"') || ','
    || CASE WHEN moved.sender = %(nobody)s THEN 'mint' WHEN moved.recipient = %(nobody)s THEN 'burn'
        ELSE 'transfer' END || ','
    || CASE WHEN moved.sender = %(nobody)s THEN '' ELSE '0x' || encode(moved.sender, 'hex') END || ','
    || CASE WHEN moved.recipient = %(nobody)s THEN '' ELSE '0x' || encode(moved.recipient, 'hex') END || ','
    || moved.amount::text || ',' || coalesce(moved.deed_id::text, '') || ','
    || '0x' || encode(moved.transaction_hash, 'hex') || ',0x' || encode(moved.block_hash, 'hex') || E'\\r\\n',
    '' ORDER BY moved.block_number, moved.log_index)
FROM (
    SELECT * FROM mirror.transfers
    WHERE contract_id = %(contract_id)s AND canonical AND block_number <= %(block)s
        AND (block_number, log_index) > (%(after_block)s::bigint, %(after_log_index)s::bigint)
    ORDER BY block_number, log_index LIMIT %(count_max)s
) AS moved
"""


async def holding_lines(
    connection: ReadConnection, *, contract_id: int, block: int, supply: int, after: bytes | None, count_max: int
) -> str:
    """Account, base units and percent of `supply` of the next holders at the end of `block`, in address order."""
    given = {
        "contract_id": contract_id,
        "block": block,
        "supply": supply,
        "after": after or b"",
        "count_max": count_max,
    }
    if not await changed_after(connection, contract_id, block):
        query = HELD_LINES_NOW
    elif await is_early(connection, contract_id, block):
        query = HELD_LINES_EARLY
    else:
        query = HELD_LINES_THEN
    return await _lines(connection, query, given)


async def transfer_lines(
    connection: ReadConnection, *, contract_id: int, block: int, after: tuple[int, int] | None, count_max: int
) -> str:
    """The next transfers up to `block`, oldest first: block, log index, time, kind, from, to, base units, deed,
    transaction and block hash.

    Args:
        after: block number and log index that the page before ended with.
    """
    after_block, after_log_index = after or (-1, -1)
    given = {
        "contract_id": contract_id,
        "block": block,
        "nobody": bytes(20),
        "after_block": after_block,
        "after_log_index": after_log_index,
        "count_max": count_max,
    }
    return await _lines(connection, TRANSFER_LINES, given)


async def _lines(connection: ReadConnection, query: LiteralString, given: dict[str, Any]) -> str:
    row = await (await connection.execute(query, given)).fetchone()
    assert row is not None
    return row[0] or ""
