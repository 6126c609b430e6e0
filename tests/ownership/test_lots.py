"""First in, first out, unit by unit."""

from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from service.mirror.lots import Receipt, newest_lots
from tests.ownership.naive import NAMES, Move, hash_of, held_at, history, time_of, units_of

PARTY = st.integers(0, len(NAMES))
WISHES = st.lists(st.tuples(st.integers(0, 3), PARTY, PARTY, st.integers(0, 12)), max_size=40)


def receipts_of(moves: list[Move], account: bytes, block: int) -> list[Receipt]:
    """What the mirror knows of an account's receipts, newest first."""
    return [
        Receipt(
            account,
            move.block,
            hash_of(move.block),
            time_of(move.block),
            move.log_index,
            bytes(32),
            move.sender,
            move.amount,
        )
        for move in reversed(moves)
        if move.recipient == account and move.block <= block
    ]


def expected(moves: list[Move], account: bytes, block: int) -> list[tuple[int, int, int]]:
    """Block, place and units of each lot, newest first, by replaying every unit."""
    units = units_of(moves, account, block)
    lots = [(*key, len(list(of_one))) for key, of_one in groupby(units, key=lambda move: (move.block, move.log_index))]
    return lots[::-1]


@given(WISHES, st.integers(0, 60))
def test_the_lots_are_the_units_that_are_left_when_the_oldest_go_first(
    wishes: list[tuple[int, int, int, int]], block: int
) -> None:
    moves = history(wishes)
    for account in NAMES:
        held = held_at(moves, block).get(account, 0)
        lots, uncovered = newest_lots(receipts_of(moves, account, block), uncovered=held)
        found = [(lot.receipt.block_number, lot.receipt.log_index, lot.amount) for lot in lots]
        assert (found, uncovered) == (expected(moves, account, block), 0)


@given(WISHES, st.integers(1, 5))
def test_a_page_of_receipts_goes_on_where_the_page_before_ended(
    wishes: list[tuple[int, int, int, int]], size: int
) -> None:
    moves = history(wishes)
    account = NAMES[0]
    receipts = receipts_of(moves, account, 10**6)
    held = held_at(moves, 10**6).get(account, 0)
    whole, _ = newest_lots(receipts, uncovered=held)
    paged, uncovered = [], held
    for first in range(0, len(receipts), size):
        lots, uncovered = newest_lots(receipts[first : first + size], uncovered=uncovered)
        paged += lots
    assert (paged, uncovered) == (whole, 0)


def test_what_no_transfer_explains_is_told() -> None:
    moves = [Move(1, 0, bytes(20), NAMES[0], 10)]
    lots, uncovered = newest_lots(receipts_of(moves, NAMES[0], 1), uncovered=13)
    assert ([lot.amount for lot in lots], uncovered) == ([10], 3)
