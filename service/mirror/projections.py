"""From events to state: pure arithmetic on what one step read, with no I/O.

Amounts are base units. A key names whose state it is: (contract,) for a supply or a pause, (contract, account) for
a holding.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from service.addresses import ZERO
from service.amounts import AMOUNT_MAX
from service.chain import contracts
from service.chain.reader import Log

Key = TypeVar("Key", bound=Hashable)
State = TypeVar("State")


class ImpossibleAmount(Exception):
    """The chain's events add up to an amount that no contract can hold: a log is missing, or was invented."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """The factory's `Deployed` event."""

    contract: bytes
    block_number: int
    block_hash: bytes
    salt: bytes
    operator: bytes


@dataclass(frozen=True, slots=True)
class Transfers:
    """`Transfer` events by column, in the order of the chain: row i is the i-th of every column."""

    contracts: list[bytes]
    block_numbers: list[int]
    block_hashes: list[bytes]
    log_indexes: list[int]
    transaction_hashes: list[bytes]
    senders: list[bytes]
    recipients: list[bytes]
    amounts: list[int]

    def moves(self) -> Iterator[tuple[bytes, int, bytes, bytes, int]]:
        """Contract, block number, sender, recipient and amount of each."""
        return zip(self.contracts, self.block_numbers, self.senders, self.recipients, self.amounts, strict=True)

    def __len__(self) -> int:
        return len(self.amounts)


@dataclass(frozen=True, slots=True)
class Range(Generic[Key, State]):
    """A state and the blocks it holds for: `from_block` up to, not including, `to_block`; None is still open."""

    key: Key
    from_block: int
    to_block: int | None
    state: State


def decode_deployments(logs: Iterable[Log], *, factory: bytes) -> list[Deployment]:
    """What the factory deployed; the same event from any other address means nothing."""
    return [
        Deployment(log.topics[1][12:], log.block_number, log.block_hash, log.topics[2], log.topics[3][12:])
        for log in logs
        if log.address == factory and log.topics[0] == contracts.DEPLOYED and len(log.topics) == 4
    ]


def decode_transfers(logs: Iterable[Log], *, followed: frozenset[bytes]) -> Transfers:
    """The ERC-20 transfers of the followed contracts.

    ERC-721 has an event of the same signature with a fourth topic; those move deeds, not amounts, and are left out.
    """
    found = [
        log
        for log in logs
        if log.topics[0] == contracts.TRANSFER
        and len(log.topics) == 3
        and len(log.data) == 32
        and log.address in followed
    ]
    return Transfers(
        contracts=[log.address for log in found],
        block_numbers=[log.block_number for log in found],
        block_hashes=[log.block_hash for log in found],
        log_indexes=[log.log_index for log in found],
        transaction_hashes=[log.transaction_hash for log in found],
        senders=[log.topics[1][12:] for log in found],
        recipients=[log.topics[2][12:] for log in found],
        amounts=[int.from_bytes(log.data) for log in found],
    )


def closing_pauses(logs: Iterable[Log], *, followed: frozenset[bytes]) -> dict[tuple[bytes], dict[int, bool]]:
    """Whether each contract was paused at the end of each block that paused or resumed it."""
    closings: dict[tuple[bytes], dict[int, bool]] = defaultdict(dict)
    for log in logs:
        if log.topics[0] in (contracts.PAUSED, contracts.UNPAUSED) and log.address in followed:
            closings[(log.address,)][log.block_number] = log.topics[0] == contracts.PAUSED
    return dict(closings)


def net_holdings(transfers: Transfers) -> dict[tuple[bytes, bytes], dict[int, int]]:
    """By how much each (contract, account) grew or shrank in each block. The zero address holds nothing."""
    deltas: dict[tuple[bytes, bytes], dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for contract, block_number, sender, recipient, amount in transfers.moves():
        if sender != ZERO:
            deltas[contract, sender][block_number] -= amount
        if recipient != ZERO:
            deltas[contract, recipient][block_number] += amount
    return {key: dict(by_block) for key, by_block in deltas.items()}


def net_supplies(transfers: Transfers) -> dict[tuple[bytes], dict[int, int]]:
    """By how much each contract's supply grew (minted) or shrank (burned) in each block."""
    deltas: dict[tuple[bytes], dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for contract, block_number, sender, recipient, amount in transfers.moves():
        minted, burned = sender == ZERO, recipient == ZERO
        if minted != burned:
            deltas[(contract,)][block_number] += amount if minted else -amount
    return {key: dict(by_block) for key, by_block in deltas.items()}


def closing_amounts(opening: Mapping[Key, int], deltas: Mapping[Key, Mapping[int, int]]) -> dict[Key, dict[int, int]]:
    """The amount of each key at the end of each block that has a delta. A key without an opening amount had 0.

    Raises:
        ImpossibleAmount: a closing amount is negative or beyond uint256.
    """
    closings: dict[Key, dict[int, int]] = {}
    for key, by_block in deltas.items():
        amount = opening.get(key, 0)
        closings[key] = {}
        for block_number in sorted(by_block):
            amount += by_block[block_number]
            if not 0 <= amount <= AMOUNT_MAX:
                raise ImpossibleAmount(f"block {block_number} closes with {amount}")
            closings[key][block_number] = amount
    return closings


def ranges(
    opening: Mapping[Key, State], closings: Mapping[Key, Mapping[int, State]], *, unset: State
) -> list[Range[Key, State]]:
    """One range for each change of state, oldest first within a key; a block that changed nothing begins none.

    Args:
        opening: the state before the first block; `unset` where a key has none.
    """
    found: list[Range[Key, State]] = []
    for key, by_block in closings.items():
        begun = _changes(opening.get(key, unset), by_block)
        ends: Sequence[int | None] = [*(block for block, _ in begun[1:]), None]
        found += (Range(key, block, end, state) for (block, state), end in zip(begun, ends, strict=False))
    return found


def _changes(state: State, by_block: Mapping[int, State]) -> list[tuple[int, State]]:
    changes = []
    for block_number in sorted(by_block):
        if by_block[block_number] != state:
            state = by_block[block_number]
            changes.append((block_number, state))
    return changes
