"""First in, first out: which of the units that an account received it still holds; pure, no I/O.

Whoever gives units away gives the oldest ones first, so what is left is the newest that came: the lots are the newest
receipts that add up to the holding. That takes no replay of what was given away, however long ago and however often.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Receipt:
    """Units that came to an account: minted for it where the sender is the zero address."""

    account: bytes
    block_number: int
    block_hash: bytes
    block_time: datetime
    log_index: int
    transaction_hash: bytes
    sender: bytes
    amount: int  # base units


@dataclass(frozen=True, slots=True)
class Lot:
    """What an account still holds of one receipt: 1 to all of its base units."""

    receipt: Receipt
    amount: int


def newest_lots(receipts: Iterable[Receipt], *, uncovered: int) -> tuple[list[Lot], int]:
    """The lots of one account, newest first, and the base units that these receipts do not cover.

    What an account sends to itself stays where it was. A contract that moves units without an event may leave units
    uncovered when no receipt is left: where they came from, it never said.

    Args:
        receipts: of one account, newest first.
        uncovered: base units that the account held and that no newer receipt covers, 0 or more.
    """
    lots = []
    for receipt in receipts:
        if uncovered == 0:
            break
        amount = 0 if receipt.sender == receipt.account else min(receipt.amount, uncovered)
        if amount:
            lots.append(Lot(receipt, amount))
            uncovered -= amount
    return lots, uncovered
