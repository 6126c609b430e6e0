"""A token's history as a list of movements: replayed one by one, and written as the mirror would have it."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from typing import Any

import psycopg

from service.addresses import ZERO

CHAIN_ID = 31337
START = datetime(2026, 1, 28, 22, tzinfo=UTC)  # near the end of a day, a week and a month
BLOCK_EVERY = timedelta(hours=9)
NAMES = tuple(sha256(bytes([n])).digest()[:20] for n in range(5))


@dataclass(frozen=True, slots=True)
class Move:
    """One transfer; block and place in it follow from the list."""

    block: int
    log_index: int
    sender: bytes
    recipient: bytes
    amount: int


def hash_of(block: int) -> bytes:
    return sha256(b"block %d" % block).digest()


def time_of(block: int) -> datetime:
    return START + block * BLOCK_EVERY


def history(wishes: Sequence[tuple[int, int, int, int]]) -> list[Move]:
    """Movements that a token could have made: who has too little gives what there is, nobody means mint and burn.

    Args:
        wishes: blocks since the wish before, sender, recipient and amount; one more than there are names is nobody.
    """
    moves: list[Move] = []
    held = dict.fromkeys(NAMES, 0)
    block, log_index = 1, 0
    for skipped, sender, recipient, wish in wishes:
        block, log_index = (block + skipped, 0) if skipped else (block, log_index + 1)
        parties = [*NAMES, ZERO]
        one, other = parties[sender], parties[recipient]
        if one == other == ZERO:
            continue
        amount = wish if one == ZERO else min(wish, held[one])
        if one != ZERO:
            held[one] -= amount
        if other != ZERO:
            held[other] += amount
        moves.append(Move(block, log_index, one, other, amount))
    return moves


def held_at(moves: Sequence[Move], block: int) -> dict[bytes, int]:
    """Who held how much at the end of a block, without those who held nothing."""
    held = dict.fromkeys((*NAMES, ZERO), 0)
    for move in moves:
        if move.block <= block:
            held[move.sender] -= move.amount
            held[move.recipient] += move.amount
    return {account: amount for account, amount in held.items() if account != ZERO and amount}


def units_of(moves: Sequence[Move], account: bytes, block: int) -> list[Move]:
    """For every single unit that an account held at the end of a block, oldest first, the movement that brought it."""
    units: deque[Move] = deque()
    for move in moves:
        if move.block > block or move.sender == move.recipient:
            continue
        if move.sender == account:
            for _ in range(move.amount):
                units.popleft()
        if move.recipient == account:
            units.extend([move] * move.amount)
    return list(units)


def write_blocks(connection: psycopg.Connection[tuple[Any, ...]], count: int) -> None:
    """The blocks that all histories share."""
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO mirror.blocks (hash, chain_id, number, parent_hash, timestamp, canonical) "
            "VALUES (%s, %s, %s, %s, %s, true)",
            [(hash_of(n), CHAIN_ID, n, hash_of(n - 1), time_of(n)) for n in range(count)],
        )
    connection.execute("INSERT INTO mirror.heads VALUES (%s, %s, %s)", (CHAIN_ID, count - 1, count - 1))


def write(connection: psycopg.Connection[tuple[Any, ...]], number: int, moves: Sequence[Move]) -> int:
    """Put a history into the mirror, as a new contract's; its id."""
    address = sha256(b"contract %d" % number).digest()[:20]
    row = connection.execute(
        "INSERT INTO mirror.contracts (chain_id, address) VALUES (%s, %s) RETURNING id", (CHAIN_ID, address)
    ).fetchone()
    assert row is not None
    contract_id: int = row[0]
    transfers = [
        # Log indexes of contracts that share a block are never the same.
        (
            *(hash_of(move.block), number * 1_000 + move.log_index, contract_id, move.block, hash_of(1_000 + place)),
            *(move.sender, move.recipient, move.amount),
        )
        for place, move in enumerate(moves)
    ]
    changed = sorted({move.block for move in moves})
    ranges, supplies = [], []
    closings = [(block, held_at(moves, block)) for block in changed]
    for account in NAMES:
        states = [(0, 0)]
        for block, held in closings:
            if held.get(account, 0) != states[-1][1]:
                states.append((block, held.get(account, 0)))
        ends = [block for _, (block, _) in pairwise(states[1:])]
        ranges += [
            (contract_id, account, amount, block, end, hash_of(block))
            for (block, amount), end in zip(states[1:], [*ends, None], strict=False)
        ]
    for (block, held), end in zip(closings, [*changed[1:], None], strict=False):
        supplies.append((contract_id, sum(held.values()), block, end, hash_of(block)))
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO mirror.transfers (block_hash, log_index, contract_id, block_number, transaction_hash, sender, "
            "recipient, amount, canonical) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, true)",
            transfers,
        )
        cursor.executemany(
            "INSERT INTO mirror.holdings (contract_id, account, amount, from_block, to_block, block_hash, canonical) "
            "VALUES (%s, %s, %s, %s, %s, %s, true)",
            ranges,
        )
        cursor.executemany(
            "INSERT INTO mirror.supplies (contract_id, amount, from_block, to_block, block_hash, canonical) "
            "VALUES (%s, %s, %s, %s, %s, true)",
            supplies,
        )
    return contract_id
