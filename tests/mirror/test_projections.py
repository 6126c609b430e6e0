"""The arithmetic alone: whatever the events, holdings add up, and ranges are what a replay gives."""

import pytest
from eth_hash.auto import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from service.addresses import ZERO
from service.amounts import AMOUNT_MAX
from service.chain import contracts
from service.chain.reader import Log
from service.mirror.projections import (
    TIMELOCK,
    Deployment,
    ImpossibleAmount,
    Transfers,
    closing_amounts,
    closing_titles,
    decode_deployments,
    decode_timelocks,
    decode_transfers,
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
        deed_ids=[None] * len(moves),
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


def word(value: bytes) -> bytes:
    return value.rjust(32, b"\0")


FACTORY, GOVERNOR, STRANGER = (bytes([number]) * 20 for number in (20, 21, 23))
TIMELOCK_MADE = keccak(b"\xd6\x94" + GOVERNOR + b"\x01")[12:]  # the first contract of GOVERNOR, by RLP and EIP-161


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (b"AssetToken".ljust(32, b"\0"), "AssetToken"),
        (b"A" * 32, "A" * 32),
        (bytes(32), "unknown"),
        (b"Asset\0Token".ljust(32, b"\0"), "unknown"),
        ("Größe".encode().ljust(32, b"\0"), "unknown"),
        (b"line\nbreak".ljust(32, b"\0"), "unknown"),
    ],
)
def test_a_kind_is_printable_text(name: bytes, kind: str) -> None:
    topics = (contracts.DEPLOYED, word(GOVERNOR), b"s" * 32, word(STRANGER))
    log = Log(7, b"b" * 32, b"t" * 32, 0, FACTORY, topics, b"h" * 32 + name)
    assert decode_deployments([log], factory=FACTORY) == [
        Deployment(GOVERNOR, 7, b"b" * 32, b"t" * 32, b"s" * 32, STRANGER, kind)
    ]
    assert decode_deployments([log], factory=STRANGER) == []


def test_a_timelock_is_believed_in_its_governors_own_deployment_alone() -> None:
    governor = Deployment(GOVERNOR, 7, b"b" * 32, b"t" * 32, b"s" * 32, STRANGER, "AssetGovernor")

    def announced(timelock: bytes, *, by: bytes = GOVERNOR, transaction: bytes = b"t" * 32) -> Log:
        topic = keccak(b"TimelockChange(address,address)")
        return Log(7, b"b" * 32, transaction, 3, by, (topic,), bytes(32) + word(timelock))

    def found(*logs: Log) -> list[Deployment]:
        return decode_timelocks(logs, [governor], known={FACTORY, GOVERNOR})

    made = Deployment(TIMELOCK_MADE, 7, b"b" * 32, b"t" * 32, bytes(32), GOVERNOR, TIMELOCK)
    assert found(announced(TIMELOCK_MADE), announced(TIMELOCK_MADE)) == [made]
    # A later vote may name any contract of the chain, and whoever holds the votes would decide what is followed.
    assert found(announced(TIMELOCK_MADE, transaction=b"u" * 32)) == []
    assert found(announced(TIMELOCK_MADE, by=STRANGER)) == []
    assert found(announced(STRANGER)) == []
    assert found(announced(ZERO), announced(FACTORY), announced(GOVERNOR)) == []


def test_deeds_are_amounts_of_one_whose_titles_end_with_the_last_holder_of_a_block() -> None:
    def moved(block: int, deed_id: int, sender: bytes, recipient: bytes) -> Log:
        topics = (contracts.TRANSFER, word(sender), word(recipient), deed_id.to_bytes(32))
        return Log(block, b"b" * 32, b"t" * 32, 0, CONTRACTS[0], topics, b"")

    one, two = ACCOUNTS[:2]
    logs = [
        moved(1, 2**256 - 1, ZERO, one),
        moved(1, 7, ZERO, one),
        moved(2, 7, one, two),
        moved(2, 7, two, one),
        moved(2, 2**256 - 1, one, two),
        moved(3, 7, one, ZERO),
    ]
    transfers = decode_transfers(logs, followed=frozenset(CONTRACTS))
    assert transfers.deeds
    assert set(transfers.amounts) == {1}
    assert closing_titles(transfers) == {
        (CONTRACTS[0], 7): {1: one, 2: one, 3: None},
        (CONTRACTS[0], 2**256 - 1): {1: one, 2: two},
    }
    assert [each.state for each in ranges({}, closing_titles(transfers), unset=None)] == [one, two, one, None]
    assert closing_amounts({}, net_holdings(transfers))[CONTRACTS[0], one] == {1: 2, 2: 1, 3: 0}
    assert closing_amounts({}, net_supplies(transfers))[(CONTRACTS[0],)] == {1: 2, 3: 1}
