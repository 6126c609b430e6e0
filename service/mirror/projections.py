"""From events to state: pure arithmetic on what one step read, with no I/O.

Amounts are base units; a deed is an amount of 1. A key names whose state it is: (contract,) for a supply or a pause,
(contract, account) for a holding, (contract, deed) for a title.
"""

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import compress
from typing import Generic, TypeVar

from eth_hash.auto import keccak

from service.addresses import ZERO
from service.amounts import AMOUNT_MAX
from service.chain import contracts
from service.chain.events import Event, decode_event
from service.chain.reader import Log

TIMELOCK_CHANGE = "TimelockChange(address,address)"
TIMELOCK = "TimelockController"
UNKNOWN_KIND = "unknown"

Key = TypeVar("Key", bound=Hashable)
State = TypeVar("State")


class ImpossibleAmount(Exception):
    """The chain's events add up to an amount that no contract can hold: a log is missing, or was invented.

    Args:
        contract: whose they are, where that is known.
    """

    def __init__(self, detail: str, contract: bytes | None = None) -> None:
        super().__init__(detail)
        self.contract = contract


@dataclass(frozen=True, slots=True)
class Deployment:
    """The factory's `Deployed` event, or what stands for it where a deployed contract made another."""

    contract: bytes
    block_number: int
    block_hash: bytes
    transaction_hash: bytes
    salt: bytes
    operator: bytes
    kind: str


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
    deed_ids: list[int | None]

    @property
    def deeds(self) -> bool:
        """Whether any of them moved a deed."""
        return any(deed_id is not None for deed_id in self.deed_ids)

    def without(self, contract: bytes) -> "Transfers":
        """The same but for those of one contract."""
        kept = [each != contract for each in self.contracts]
        return Transfers(**{each.name: list(compress(getattr(self, each.name), kept)) for each in fields(self)})

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
        Deployment(
            contract=log.topics[1][12:],
            block_number=log.block_number,
            block_hash=log.block_hash,
            transaction_hash=log.transaction_hash,
            salt=log.topics[2],
            operator=log.topics[3][12:],
            kind=_kind(log.data[32:]),
        )
        for log in logs
        if log.address == factory
        and log.topics[0] == contracts.DEPLOYED
        and len(log.topics) == 4
        and len(log.data) == 64
    ]


def first_deployments(found: Iterable[Deployment], *, known: Collection[bytes]) -> list[Deployment]:
    """The first deployment of each contract.

    A contract that destroyed itself may be deployed again at its address (EIP-1014): it is one contract all the same,
    followed since its first block.

    Args:
        known: contracts that are followed already.
    """
    first: dict[bytes, Deployment] = {}
    for each in found:
        if each.contract not in known:
            first.setdefault(each.contract, each)
    return list(first.values())


def _kind(name: bytes) -> str:
    text = name.strip(b"\0").decode("latin-1")
    return text if text.isascii() and text.isprintable() and text else UNKNOWN_KIND


def decode_timelocks(logs: Iterable[Log], deployments: Iterable[Deployment], *, known: set[bytes]) -> list[Deployment]:
    """The timelocks that governors made in their constructors.

    Only what a governor made itself is believed: it may name any address, another issuer's token or a stranger's
    contract, as its timelock, and would so decide what the mirror follows. The nonce of a contract begins at 1
    (EIP-161), so the address of the first one it makes is known.

    Args:
        known: contracts that are followed anyway.
    """
    governors = {(each.contract, each.transaction_hash): each for each in deployments}
    found: dict[bytes, Deployment] = {}
    for log in logs:
        governor = governors.get((log.address, log.transaction_hash))
        event = decode_event(log) if governor is not None else None
        if governor is None or event is None or event.signature != TIMELOCK_CHANGE:
            continue
        timelock = bytes.fromhex(event.arguments["newTimelock"][2:])
        if timelock not in known and timelock == first_made_by(log.address):
            made = replace(governor, contract=timelock, salt=bytes(32), operator=log.address, kind=TIMELOCK)
            found.setdefault(timelock, made)
    return list(found.values())


def first_made_by(contract: bytes) -> bytes:
    """The address of the first contract that a contract creates by CREATE: the hash of RLP of itself and nonce 1."""
    return keccak(b"\xd6\x94" + contract + b"\x01")[12:]


def decode_transfers(logs: Iterable[Log], *, followed: frozenset[bytes]) -> Transfers:
    """The transfers of the followed contracts.

    ERC-20 tells an amount in its data; ERC-721 has an event of the same signature with the deed as a fourth topic.
    """
    found = [
        log
        for log in logs
        if log.topics[0] == contracts.TRANSFER
        and (len(log.topics), len(log.data)) in ((3, 32), (4, 0))
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
        amounts=[int.from_bytes(log.data) if log.data else 1 for log in found],
        deed_ids=[None if log.data else int.from_bytes(log.topics[3]) for log in found],
    )


def decode_others(logs: Iterable[Log], *, followed: frozenset[bytes]) -> list[tuple[Log, Event]]:
    """Every other event of the followed contracts; a log that is no event of ours is passed over."""
    others = (log for log in logs if log.topics[0] != contracts.TRANSFER and log.address in followed)
    read = ((log, decode_event(log)) for log in others)
    return [(log, event) for log, event in read if event is not None]


def closing_pauses(others: Iterable[tuple[Log, Event]]) -> dict[tuple[bytes], dict[int, bool]]:
    """Whether each contract was paused at the end of each block that paused or resumed it."""
    closings: dict[tuple[bytes], dict[int, bool]] = defaultdict(dict)
    for log, _ in others:
        if log.topics[0] in (contracts.PAUSED, contracts.UNPAUSED):
            closings[(log.address,)][log.block_number] = log.topics[0] == contracts.PAUSED
    return dict(closings)


def closing_titles(transfers: Transfers) -> dict[tuple[bytes, int], dict[int, bytes | None]]:
    """Who held each deed at the end of each block that moved it; None where it was retired."""
    closings: dict[tuple[bytes, int], dict[int, bytes | None]] = defaultdict(dict)
    moves = zip(transfers.contracts, transfers.deed_ids, transfers.block_numbers, transfers.recipients, strict=True)
    for contract, deed_id, block_number, recipient in moves:
        if deed_id is not None:
            closings[contract, deed_id][block_number] = recipient if recipient != ZERO else None
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
                contract = key[0] if isinstance(key, tuple) else None
                raise ImpossibleAmount(f"block {block_number} closes with {amount}", contract)
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
