"""Transfers as of a block, newest first. As in `queries`: connection first, the rest by keyword; pages go by key."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from service.db import ReadConnection


@dataclass(frozen=True, slots=True)
class Transfer:
    """One movement. Minting comes from the zero address, burning goes to it. A deed is an amount of 1."""

    block_number: int
    block_hash: bytes
    block_time: datetime
    log_index: int
    transaction_hash: bytes
    contract: bytes
    sender: bytes
    recipient: bytes
    amount: int
    deed_id: int | None


# Each branch stops after one page, so another contract's or account's long history costs nothing. Names and times are
# looked up row by row, because a plan made before the size of a page is known would read every block instead.

TRANSFERS = """
SELECT moved.block_number, moved.block_hash, (SELECT timestamp FROM mirror.blocks WHERE hash = moved.block_hash),
    moved.log_index, moved.transaction_hash, (SELECT address FROM mirror.contracts WHERE id = moved.contract_id),
    moved.sender, moved.recipient, moved.amount, moved.deed_id
FROM (
    SELECT page.* FROM unnest(%(contract_ids)s::integer[]) AS wanted (id) CROSS JOIN LATERAL (
        SELECT * FROM mirror.transfers
        WHERE contract_id = wanted.id AND canonical
            AND (block_number, log_index) < (%(before_block)s::bigint, %(before_log_index)s::bigint)
        ORDER BY block_number DESC, log_index DESC LIMIT %(count_max)s
    ) AS page
    ORDER BY block_number DESC, log_index DESC LIMIT %(count_max)s
) AS moved
ORDER BY moved.block_number DESC, moved.log_index DESC
"""

ACCOUNT_TRANSFERS = """
SELECT moved.block_number, moved.block_hash, (SELECT timestamp FROM mirror.blocks WHERE hash = moved.block_hash),
    moved.log_index, moved.transaction_hash, (SELECT address FROM mirror.contracts WHERE id = moved.contract_id),
    moved.sender, moved.recipient, moved.amount, moved.deed_id
FROM (
    SELECT page.* FROM unnest(%(contract_ids)s::integer[]) AS wanted (id) CROSS JOIN LATERAL (
        (SELECT * FROM mirror.transfers
        WHERE contract_id = wanted.id AND sender = %(account)s AND canonical
            AND (block_number, log_index) < (%(before_block)s::bigint, %(before_log_index)s::bigint)
        ORDER BY block_number DESC, log_index DESC LIMIT %(count_max)s)
        UNION
        (SELECT * FROM mirror.transfers
        WHERE contract_id = wanted.id AND recipient = %(account)s AND canonical
            AND (block_number, log_index) < (%(before_block)s::bigint, %(before_log_index)s::bigint)
        ORDER BY block_number DESC, log_index DESC LIMIT %(count_max)s)
    ) AS page
    ORDER BY block_number DESC, log_index DESC LIMIT %(count_max)s
) AS moved
ORDER BY moved.block_number DESC, moved.log_index DESC
"""


async def transfers_page(
    connection: ReadConnection,
    *,
    contract_ids: Sequence[int],
    account: bytes | None,
    block: int,
    before: tuple[int, int] | None,
    count_max: int,
) -> list[Transfer]:
    """Transfers of the contracts up to `block`, newest first; with `account`, only those it sent or received.

    Args:
        before: block number and log index that the page before ended with.
    """
    # All of `block` itself: the first place after its last log.
    before_block, before_log_index = min(before, (block + 1, 0)) if before is not None else (block + 1, 0)
    given = {
        "contract_ids": sorted(set(contract_ids)),
        "before_block": before_block,
        "before_log_index": before_log_index,
        "count_max": count_max,
    }
    if account is None:
        rows = await (await connection.execute(TRANSFERS, given)).fetchall()
    else:
        rows = await (await connection.execute(ACCOUNT_TRANSFERS, {**given, "account": account})).fetchall()
    return [Transfer(*row) for row in rows]
