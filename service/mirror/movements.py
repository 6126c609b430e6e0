"""What the mirror answers about single movements: of a holder, of a deed, and what came to whom, as of one block.

As in `queries`: connection first, the rest by keyword; pages go by key; every function reads inside the caller's
read-only DB transaction.
"""

from typing import Any, LiteralString

from service.db import ReadConnection
from service.mirror.lots import Receipt
from service.mirror.queries import HOLDING
from service.mirror.transfer_queries import Transfer

OUT_OF_ORDER = "transfers-out-of-order"
"""The mark of an answer in which an account gave, by the order of a block's logs, what it received only after."""

# Movements

_MOVED: LiteralString = """
SELECT moved.block_number, moved.block_hash, (SELECT timestamp FROM mirror.blocks WHERE hash = moved.block_hash),
    moved.log_index, moved.transaction_hash, (SELECT address FROM mirror.contracts WHERE id = moved.contract_id),
    moved.sender, moved.recipient, moved.amount, moved.deed_id
"""

HOLDER_TRANSFERS: LiteralString = (
    _MOVED
    + """FROM (
    SELECT * FROM (
        (SELECT * FROM mirror.transfers
        WHERE contract_id = %(contract_id)s AND sender = %(account)s AND canonical AND block_number <= %(block)s
            AND (block_number, log_index) > (%(after_block)s::bigint, %(after_log_index)s::bigint)
        ORDER BY block_number, log_index LIMIT %(count_max)s)
        UNION
        (SELECT * FROM mirror.transfers
        WHERE contract_id = %(contract_id)s AND recipient = %(account)s AND canonical AND block_number <= %(block)s
            AND (block_number, log_index) > (%(after_block)s::bigint, %(after_log_index)s::bigint)
        ORDER BY block_number, log_index LIMIT %(count_max)s)
    ) AS both_ways
    ORDER BY block_number, log_index LIMIT %(count_max)s
) AS moved
ORDER BY moved.block_number, moved.log_index
"""
)

# The end of the block before is mirrored; within the block, only its transfers tell.
HELD_AFTER: LiteralString = (
    "SELECT coalesce(("
    + HOLDING.replace("%(block)s", "%(after_block)s - 1")
    + """), 0)
    + coalesce((SELECT sum(amount) FROM mirror.transfers
        WHERE contract_id = %(contract_id)s AND recipient = %(account)s AND canonical
            AND block_number = %(after_block)s AND log_index <= %(after_log_index)s), 0)
    - coalesce((SELECT sum(amount) FROM mirror.transfers
        WHERE contract_id = %(contract_id)s AND sender = %(account)s AND canonical
            AND block_number = %(after_block)s AND log_index <= %(after_log_index)s), 0)
"""
)

DEED_TRANSFERS: LiteralString = (
    _MOVED
    + """FROM mirror.transfers AS moved
WHERE moved.contract_id = %(contract_id)s AND moved.deed_id = %(deed_id)s AND moved.canonical
    AND moved.block_number <= %(block)s
    AND (moved.block_number, moved.log_index) > (%(after_block)s::bigint, %(after_log_index)s::bigint)
ORDER BY moved.block_number, moved.log_index LIMIT %(count_max)s
"""
)


async def holder_transfers_page(
    connection: ReadConnection,
    *,
    contract_id: int,
    account: bytes,
    block: int,
    after: tuple[int, int] | None,
    count_max: int,
) -> list[tuple[Transfer, int | None]]:
    """One page of an account's transfers up to `block`, oldest first, each with what the account held right after it.

    That is None where the contract logged within a block that the account gave more than it had by then: the order of
    its logs is not the one of its balances, and only the end of the block tells what was held.

    Args:
        after: block number and log index that the page before ended with.
    """
    after_block, after_log_index = after or (-1, -1)
    given = {
        "contract_id": contract_id,
        "account": account,
        "block": block,
        "after_block": after_block,
        "after_log_index": after_log_index,
        "count_max": count_max,
    }
    opening = await _one(connection, HELD_AFTER, given)
    assert opening is not None
    held = int(opening[0])
    found = []
    for row in await _all(connection, HOLDER_TRANSFERS, given):
        transfer = Transfer(*row)
        held += transfer.amount * ((transfer.recipient == account) - (transfer.sender == account))
        found.append((transfer, held if held >= 0 else None))
    return found


async def deed_transfers_page(
    connection: ReadConnection,
    *,
    contract_id: int,
    deed_id: int,
    block: int,
    after: tuple[int, int] | None,
    count_max: int,
) -> list[Transfer]:
    """One page of a deed's transfers up to `block`, from the one that issued it on.

    Args:
        after: block number and log index that the page before ended with.
    """
    after_block, after_log_index = after or (-1, -1)
    given = {
        "contract_id": contract_id,
        "deed_id": deed_id,
        "block": block,
        "after_block": after_block,
        "after_log_index": after_log_index,
        "count_max": count_max,
    }
    return [Transfer(*row) for row in await _all(connection, DEED_TRANSFERS, given)]


# What the lots are made of

_RECEIVED: LiteralString = """
SELECT came.recipient, came.block_number, came.block_hash,
    (SELECT timestamp FROM mirror.blocks WHERE hash = came.block_hash),
    came.log_index, came.transaction_hash, came.sender, came.amount
"""

RECEIVED: LiteralString = (
    _RECEIVED
    + """FROM mirror.transfers AS came
WHERE contract_id = %(contract_id)s AND recipient = %(account)s AND canonical
    AND (block_number, log_index) < (%(before_block)s::bigint, %(before_log_index)s::bigint)
ORDER BY block_number DESC, log_index DESC LIMIT %(count_max)s
"""
)

# One range of one index, from the highest address down, and within an account from the newest receipt down.
RECEIVED_BY_ALL: LiteralString = (
    """
WITH came AS MATERIALIZED (
    SELECT * FROM mirror.transfers
    WHERE contract_id = %(contract_id)s AND canonical AND block_number <= %(block)s
        AND (recipient, block_number, log_index)
            < (%(before_account)s::bytea, %(before_block)s::bigint, %(before_log_index)s::bigint)
    ORDER BY recipient DESC, block_number DESC, log_index DESC LIMIT %(count_max)s),
holders AS MATERIALIZED (
    SELECT came.recipient, coalesce((
        SELECT amount FROM mirror.holdings AS past
        WHERE past.contract_id = %(contract_id)s AND past.account = came.recipient
            AND past.from_block <= %(block)s AND past.canonical
        ORDER BY past.from_block DESC LIMIT 1), 0) AS held
    FROM came GROUP BY came.recipient)
"""
    + _RECEIVED
    + """, holders.held
FROM came JOIN holders USING (recipient)
ORDER BY came.recipient DESC, came.block_number DESC, came.log_index DESC
"""
)


async def receipts_page(
    connection: ReadConnection,
    *,
    contract_id: int,
    account: bytes,
    block: int,
    before: tuple[int, int] | None,
    count_max: int,
) -> list[Receipt]:
    """One page of what came to an account up to `block`, newest first, zero amounts and its own transfers included.

    Args:
        before: block number and log index that the page before ended with.
    """
    before_block, before_log_index = before or (block + 1, 0)
    given = {
        "contract_id": contract_id,
        "account": account,
        "before_block": before_block,
        "before_log_index": before_log_index,
        "count_max": count_max,
    }
    return [Receipt(*row) for row in await _all(connection, RECEIVED, given)]


async def all_receipts_page(
    connection: ReadConnection, *, contract_id: int, block: int, before: tuple[bytes, int, int], count_max: int
) -> list[tuple[Receipt, int]]:
    """One page of what came to anybody up to `block`, each with what its account held at the end of `block`.

    From the highest address down, and within an account from the newest receipt down.

    Args:
        before: account, block number and log index below which the page begins.
    """
    before_account, before_block, before_log_index = before
    given = {
        "contract_id": contract_id,
        "block": block,
        "before_account": before_account,
        "before_block": before_block,
        "before_log_index": before_log_index,
        "count_max": count_max,
    }
    return [(Receipt(*row), int(held)) for *row, held in await _all(connection, RECEIVED_BY_ALL, given)]


async def _all(connection: ReadConnection, query: LiteralString, given: dict[str, Any]) -> list[tuple[Any, ...]]:
    return await (await connection.execute(query, given)).fetchall()


async def _one(connection: ReadConnection, query: LiteralString, given: dict[str, Any]) -> tuple[Any, ...] | None:
    return await (await connection.execute(query, given)).fetchone()
