"""The arithmetic alone: whatever the events, holdings add up, and ranges are what a replay gives."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.addresses import ZERO
from service.amounts import AMOUNT_MAX
from service.mirror.projections import (
    ImpossibleAmount,
    Transfers,
    closing_amounts,
    net_holdings,
    net_supplies,
    ranges,
)

CONTRACTS = [bytes([1]) * 20, bytes([2]) * 20]
ACCOUNTS = [bytes([10 + i]) * 20 for i in range(4)]

Move = tuple[bytes, int, bytes, bytes, int]


@st.composite
def histories(draw: st.DrawFn) -> list[Move]:
    """Moves that a contract would allow, in the order of the chain."""
    held: dict[tuple[bytes, bytes], int] = {}
    moves: list[Move] = []
    block = 0
    for _ in range(draw(st.integers(0, 25))):
        block += draw(st.integers(0, 2))
        contract, sender, recipient = (
            draw(st.sampled_from(options)) for options in (CONTRACTS, [ZERO, *ACCOUNTS], [ZERO, *ACCOUNTS])
        )
        supply = sum(amount for (where, _), amount in held.items() if where == contract)
        limit = AMOUNT_MAX - supply if sender == ZERO else held.get((contract, sender), 0)
        amount = draw(st.integers(0, limit))
        for account, change in ((sender, -amount), (recipient, amount)):
            if account != ZERO:
                held[contract, account] = held.get((contract, account), 0) + change
        moves.append((contract, block, sender, recipient, amount))
    return moves


def transfers(moves: list[Move]) -> Transfers:
    unused: list[bytes] = [b""] * len(moves)
    return Transfers(
        contracts=[move[0] for move in moves],
        block_numbers=[move[1] for move in moves],
        block_hashes=unused,
        log_indexes=list(range(len(moves))),
        transaction_hashes=unused,
        senders=[move[2] for move in moves],
        recipients=[move[3] for move in moves],
        amounts=[move[4] for move in moves],
    )


def replay(moves: list[Move], block: int) -> dict[tuple[bytes, bytes], int]:
    """Holdings at the end of a block, one move at a time."""
    held: dict[tuple[bytes, bytes], int] = {}
    for contract, at, sender, recipient, amount in moves:
        if at > block:
            continue
        if sender != ZERO:
            held[contract, sender] = held.get((contract, sender), 0) - amount
        if recipient != ZERO:
            held[contract, recipient] = held.get((contract, recipient), 0) + amount
    return {key: amount for key, amount in held.items() if amount}


@settings(max_examples=200, deadline=None)
@given(histories(), st.integers(0, 30))
def test_ranges_say_at_every_block_what_a_replay_says(moves: list[Move], block: int) -> None:
    found = ranges({}, closing_amounts({}, net_holdings(transfers(moves))), unset=0)
    standing = [each for each in found if each.from_block <= block and (each.to_block is None or block < each.to_block)]
    assert len({each.key for each in standing}) == len(standing), "one range of an account holds at a time"
    assert {each.key: each.state for each in standing if each.state} == replay(moves, block)


@settings(max_examples=200, deadline=None)
@given(histories(), st.integers(0, 30))
def test_supply_is_the_sum_of_holdings(moves: list[Move], block: int) -> None:
    supplies = closing_amounts({}, net_supplies(transfers(moves)))
    for contract in CONTRACTS:
        closings = supplies.get((contract,), {})
        supply = next((closings[at] for at in sorted(closings, reverse=True) if at <= block), 0)
        held = replay(moves, block)
        assert supply == sum(amount for (where, _), amount in held.items() if where == contract)


@settings(max_examples=200, deadline=None)
@given(histories(), st.integers(0, 25))
def test_two_steps_give_what_one_step_gives(moves: list[Move], cut: int) -> None:
    before = [move for move in moves if move[1] < cut]
    after = [move for move in moves if move[1] >= cut]
    first = closing_amounts({}, net_holdings(transfers(before)))
    opening = {key: by_block[max(by_block)] for key, by_block in first.items()}
    second = closing_amounts(opening, net_holdings(transfers(after)))
    begun = [*ranges({}, first, unset=0), *ranges(opening, second, unset=0)]
    whole = ranges({}, closing_amounts({}, net_holdings(transfers(moves))), unset=0)
    told = {(each.key, each.from_block, each.state) for each in begun}
    assert told == {(each.key, each.from_block, each.state) for each in whole}


def test_a_block_that_changes_nothing_begins_no_range() -> None:
    assert ranges({"a": 5}, {"a": {1: 5, 2: 7, 3: 7, 4: 5}, "b": {1: 0}}, unset=0) == ranges(
        {"a": 5}, {"a": {2: 7, 4: 5}}, unset=0
    )


@pytest.mark.parametrize("delta", [-6, AMOUNT_MAX - 4])
def test_an_amount_that_no_contract_can_hold_is_refused(delta: int) -> None:
    with pytest.raises(ImpossibleAmount):
        closing_amounts({"a": 5}, {"a": {1: delta}})
    assert closing_amounts({"a": 5}, {"a": {1: -5, 2: AMOUNT_MAX}}) == {"a": {1: 0, 2: AMOUNT_MAX}}
