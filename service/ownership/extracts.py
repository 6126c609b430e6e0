"""What can be exported: tables of rows, made page by page as lines of CSV, each page by one short read.

A page is read at the block of the first one, by its hash. Where the chain leaves that block meanwhile, the rest is
refused: no file has rows of two states.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal
from uuid import UUID

from service.addresses import ZERO, hex0x
from service.mirror import lines, movements
from service.mirror import queries as mirror
from service.mirror.lots import Lot, Receipt, newest_lots
from service.mirror.queries import Label
from service.operations.labels import Pin
from service.operations.reading import PrimaryNeeded, Reading
from service.ownership.problems import BlockReplaced
from service.ownership.seen import Seen, seen

PAGE_ROWS = 10_000
"""Rows of one read: some megabytes of text."""

LOT_PAGE_ROWS = 5_000
"""Receipts of one read: they become lots in this process."""

END = "\r\n"
"""The end of a line. Source: RFC 4180."""

NOBODY = "Empty where there is none."

Position = tuple[Any, ...]
"""Where a page ended."""

Made = tuple[str, Position | None]
"""A page's lines, and where the next page begins; None after the last page."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a file. `amounts` are decimal strings: no number of a spreadsheet or of Parquet holds a uint256."""

    name: str
    type: Literal["text", "integer", "time"]
    description: str
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Extract:
    """A table that can be exported. `deeds` False is for tokens other than deeds."""

    name: str
    summary: str
    columns: tuple[Column, ...]
    page: Callable[[Seen, Position | None], Awaitable[Made]]
    example: str
    deeds: bool | None = None

    @property
    def header(self) -> str:
        """The first line."""
        return ",".join(column.name for column in self.columns) + END


async def pages(extract: Extract, reading: Reading, token_id: UUID, label: Label, rebuilt: int) -> AsyncIterator[str]:
    """The lines of a table as of a label's block, a page at a time, without the header.

    Args:
        rebuilt: of the contract, as it was when the label was read.

    Raises:
        BlockReplaced: the chain left the block after the label was read, or its rows were made anew.
    """
    pinned = replace(reading, pin=Pin(label.hash, label.shown_at), min_block=None)
    position: Position | None = None
    while True:
        try:
            async with seen(pinned, token_id) as found:
                if found.label.orphaned != label.orphaned:
                    raise BlockReplaced(f"block {label.block} is not what it was: ask for the whole file again")
                if found.contract.rebuilt != rebuilt:
                    raise BlockReplaced("the token's rows were made anew: ask for the whole file again")
                text, position = await extract.page(found, position)
        except PrimaryNeeded:
            # What is sent can't be taken back and asked for again, as other answers are.
            pinned = replace(pinned, replica=None)
            continue
        if text:
            yield text
        if position is None:
            return


async def _cap_table(found: Seen, position: Position | None) -> Made:
    block, contract_id = found.label.block, found.contract.id
    text = await lines.holding_lines(
        found.connection,
        contract_id=contract_id,
        block=block,
        supply=await mirror.supply(found.connection, contract_id=contract_id, block=block),
        after=None if position is None else position[0],
        count_max=PAGE_ROWS,
    )
    return _made(text, lambda account, *_: (bytes.fromhex(account[2:]),))


async def _transfers(found: Seen, position: Position | None) -> Made:
    text = await lines.transfer_lines(
        found.connection,
        contract_id=found.contract.id,
        block=found.label.block,
        after=None if position is None else (position[0], position[1]),
        count_max=PAGE_ROWS,
    )
    return _made(text, lambda block, log_index, *_: (int(block), int(log_index)))


def _made(text: str, key_of: Callable[..., Position]) -> Made:
    """A page, and the key in its last line where there may be more."""
    if text.count(END) < PAGE_ROWS:
        return text, None
    last = text[text.rfind(END, 0, -len(END)) + len(END) :] if text.count(END) > 1 else text
    return text, key_of(*last.rstrip().split(","))


async def _lots(found: Seen, position: Position | None) -> Made:
    above_all = (b"\xff" * (len(ZERO) + 1), 0, 0)
    rows = await movements.all_receipts_page(
        found.connection,
        contract_id=found.contract.id,
        block=found.label.block,
        before=above_all if position is None else (position[0], position[1], position[2]),
        count_max=LOT_PAGE_ROWS,
    )
    return await asyncio.to_thread(lots_of, rows, position, page_rows=LOT_PAGE_ROWS)


def lots_of(rows: Sequence[tuple[Receipt, int]], position: Position | None, *, page_rows: int) -> Made:
    """The lots of a page of `all_receipts_page`, as lines; an account may go on in the next page.

    Args:
        position: where the page before ended: account, block, log index, and what is not covered of the account.
        page_rows: fewer rows than these are the last page.
    """
    told: list[str] = []
    uncovered, account = 0, ZERO
    for account, of_account in groupby(rows, key=lambda row: row[0].account):
        receipts = list(of_account)
        goes_on = position is not None and position[0] == account
        uncovered = position[3] if position is not None and goes_on else receipts[0][1]
        lots, uncovered = newest_lots((receipt for receipt, _ in receipts), uncovered=uncovered)
        told += map(_lot_line, lots)
    if len(rows) < page_rows:
        return "".join(told), None
    last = rows[-1][0]
    # What is older than the last lot is no account's any more, so it is not even read.
    at = (last.block_number, last.log_index) if uncovered else (-1, -1)
    return "".join(told), (account, *at, uncovered)


def _lot_line(lot: Lot) -> str:
    receipt = lot.receipt
    fields = (
        hex0x(receipt.account),
        str(lot.amount),
        str(receipt.amount),
        str(receipt.block_number),
        str(receipt.log_index),
        f"{receipt.block_time:%Y-%m-%dT%H:%M:%SZ}",
        "" if receipt.sender == ZERO else hex0x(receipt.sender),
        hex0x(receipt.transaction_hash),
        hex0x(receipt.block_hash),
    )
    return ",".join(fields) + END


_BLOCK = Column("block", "integer", "Its block.")
_LOG_INDEX = Column("log_index", "integer", "Its place in the block.")
_TIME = Column("time", "time", "The block's time, UTC.")
_TRANSACTION = Column("transaction_hash", "text", "Its transaction.")
_BLOCK_HASH = Column("block_hash", "text", "Its block's hash.")
_ALICE, _HASH = "0x70997970c51812dc3a010c7d01b50e0d17dc79c8", "0x" + "8f" * 32

EXTRACTS = (
    Extract(
        "cap-table",
        "Who holds the token, with percentages, in address order.",
        (
            Column("account", "text", "Who holds."),
            Column("amount", "text", "Base units, as decimal digits."),
            Column("share_percent", "text", "Percentage of the supply, six digits after the point, rounded half up."),
        ),
        _cap_table,
        f"account,amount,share_percent\r\n{_ALICE},1050,100.000000\r\n",
    ),
    Extract(
        "transfers",
        "Mints, transfers and burns of the token, oldest first.",
        (
            _BLOCK,
            _LOG_INDEX,
            _TIME,
            Column("kind", "text", "mint, transfer or burn."),
            Column("from", "text", f"Who gave. {NOBODY}", optional=True),
            Column("to", "text", f"Who received. {NOBODY}", optional=True),
            Column("amount", "text", "Base units, as decimal digits; 1 for a deed."),
            Column("deed_id", "text", f"Which deed, as decimal digits. {NOBODY}", optional=True),
            _TRANSACTION,
            _BLOCK_HASH,
        ),
        _transfers,
        "block,log_index,time,kind,from,to,amount,deed_id,transaction_hash,block_hash\r\n"
        f"42,1,2027-01-31T00:00:00Z,mint,,{_ALICE},1050,,{_HASH},{_HASH}\r\n",
    ),
    Extract(
        "acquisitions",
        "When every holder acquired what it holds; each gives its oldest units away first (FIFO).",
        (
            Column("account", "text", "Who holds; the highest address first, and its newest lot first."),
            Column("amount", "text", "Base units still held, as decimal digits."),
            Column("received", "text", "Base units that came then."),
            _BLOCK,
            _LOG_INDEX,
            _TIME,
            Column("from", "text", f"Who gave. {NOBODY}", optional=True),
            _TRANSACTION,
            _BLOCK_HASH,
        ),
        _lots,
        "account,amount,received,block,log_index,time,from,transaction_hash,block_hash\r\n"
        f"{_ALICE},40,100,42,1,2027-01-31T00:00:00Z,,{_HASH},{_HASH}\r\n",
        deeds=False,
    ),
)
"""Every table that can be exported."""
