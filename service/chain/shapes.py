"""The shape of a node's answers: everything it says is checked here, and nowhere above."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median_low
from typing import Any, TypeVar

from service.chain.node import NodeRefused, NodeUnavailable
from service.chain.nodes import Outcome
from service.chain.proofs import BLOOM_BITS, is_proven, receipts_root
from service.chain.reasons import Reason
from service.chain.times import TIMESTAMP_MAX
from service.chain.wire import parse_data, parse_quantity

T = TypeVar("T")

FEE_WEI_MAX = 2**64 - 1
"""More than 18 ether for a unit of gas is a node's mistake."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block's header, as far as we need it."""

    number: int
    hash: bytes
    parent_hash: bytes
    timestamp: int  # seconds since 1970
    logs_bloom: int | None = None  # None where the node tells none
    receipts_root: bytes | None = None
    proven: bool | None = None  # its fields hash to its hash; None where it has other fields than we know


@dataclass(frozen=True, slots=True)
class Log:
    """One event that a contract emitted, and where."""

    block_number: int
    block_hash: bytes
    transaction_hash: bytes
    log_index: int  # counted from the block's first log
    address: bytes
    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a mined transaction."""

    transaction_hash: bytes
    block_number: int
    block_hash: bytes
    succeeded: bool
    gas_used: int
    gas_price_wei: int  # what the block took for a unit of gas


@dataclass(frozen=True, slots=True)
class Head:
    """The newest block, and the newest one past reversal (-1 when there is none yet)."""

    tip: Block
    final_number: int


@dataclass(frozen=True, slots=True)
class Fees:
    """What the next block asks for each unit of gas, and the tip that gets a transaction into it."""

    base_fee_wei: int
    priority_fee_wei: int


@dataclass(frozen=True, slots=True)
class AccountState:
    """How far a signer's nonces are spent, and what it can pay."""

    next_nonce: int  # in the newest block
    final_nonce: int  # in the final block; 0 where the node no longer knows
    balance_wei: int


def granted(answer: Any | NodeRefused) -> Any:
    """The answer, where it is no refusal.

    Raises:
        NodeRefused: it is one.
    """
    if isinstance(answer, NodeRefused):
        raise answer
    return answer


def shaped(parse: Callable[[Any], T], given: Any) -> T:
    """What `parse` makes of an answer.

    Raises:
        NodeUnavailable: the answer has another shape than it takes.
    """
    try:
        return parse(given)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise NodeUnavailable(f"an answer has the wrong shape: {error}") from None


def as_block(given: Any) -> Block:
    """A header as a node writes it.

    Raises:
        ValueError: also for a number or time that no block has.
        KeyError, TypeError: a part is missing, or it is no header.
    """
    number, timestamp = parse_quantity(given["number"]), parse_quantity(given["timestamp"])
    if number >= 2**63 or timestamp > TIMESTAMP_MAX:
        raise ValueError("a block of an impossible number or time")
    bloom, root = given.get("logsBloom"), given.get("receiptsRoot")
    return Block(
        number,
        parse_data(given["hash"], size=32),
        parse_data(given["parentHash"], size=32),
        timestamp,
        logs_bloom=None if bloom is None else int.from_bytes(parse_data(bloom, size=BLOOM_BITS // 8)),
        receipts_root=None if root is None else parse_data(root, size=32),
        proven=is_proven(given),
    )


def as_block_or_none(given: Any) -> Block | None:
    """As `as_block`; None where the node has none."""
    return None if given is None else as_block(given)


def as_data(given: Any) -> bytes:
    """Bytes."""
    return shaped(parse_data, given)


def as_quantity(given: Any) -> int:
    """A number."""
    return shaped(parse_quantity, given)


def each_judged(parse: Callable[[Any], T]) -> Callable[[list[Outcome]], list[T | NodeRefused]]:
    """A reading of answers one by one, in which refusals stay."""
    return lambda answers: [each if isinstance(each, NodeRefused) else shaped(parse, each) for each in answers]


def every(parse: Callable[[Any], T]) -> Callable[[list[Outcome]], list[T]]:
    """A reading of answers one by one, in which a refusal is raised."""
    return lambda answers: [shaped(parse, granted(each)) for each in answers]


def as_account(latest: Outcome, final: Any, balance: Outcome) -> AccountState:
    """A signer's state; `final` is 0 where it is not known.

    Raises:
        NodeUnavailable: the answers contradict each other.
    """
    state = AccountState(
        next_nonce=shaped(parse_quantity, granted(latest)),
        final_nonce=final if final == 0 else shaped(parse_quantity, final),
        balance_wei=shaped(parse_quantity, granted(balance)),
    )
    if state.final_nonce > state.next_nonce:
        raise NodeUnavailable("a signer has more nonces spent in the final block than in the newest")
    return state


def as_fees(answers: list[Outcome]) -> Fees:
    """Fees from a node's history, its advice and its newest block, each of which it may refuse.

    Raises:
        NodeRefused: what is left does not do.
        NodeUnavailable: a fee is above FEE_WEI_MAX.
    """
    history, advice, latest = answers
    if isinstance(history, NodeRefused):
        # A block's base fee is at most an eighth above that of the block before.
        base, paid = shaped(_base_fee, granted(latest)) * 9 // 8 + 1, 0
    else:
        base, paid = shaped(_fee_history, history)
    fees = Fees(base, paid or shaped(parse_quantity, granted(advice)))
    if max(fees.base_fee_wei, fees.priority_fee_wei) > FEE_WEI_MAX:
        raise NodeUnavailable("a fee that no chain can have")
    return fees


def as_known_block(answer: Any | NodeRefused, number: int) -> Block | None:
    """The block that was asked for by number; None when the node has none."""
    if isinstance(answer, NodeRefused) and answer.reason is Reason.BLOCK_UNKNOWN:
        return None
    block = shaped(as_block_or_none, granted(answer))
    if block is not None and block.number != number:
        raise NodeUnavailable(f"block {block.number} came for block {number}")
    return block


def _base_fee(given: Any) -> int:
    return parse_quantity(given["baseFeePerGas"])


def _fee_history(given: Any) -> tuple[int, int]:
    """The next block's base fee, and the median reward of blocks that are not empty: 0 when there is none."""
    base, used, rewards = given["baseFeePerGas"], given["gasUsedRatio"], given.get("reward") or []
    paid = [parse_quantity(reward[0]) for ratio, reward in zip(used, rewards, strict=False) if ratio > 0]
    return parse_quantity(base[-1]), median_low(paid) if paid else 0


def as_logs(given: Any) -> list[Log]:
    """Logs as a node lists them, without those that a reorganisation took back.

    Raises:
        ValueError, KeyError, TypeError: one of them is none.
    """
    if not isinstance(given, list):
        raise TypeError("logs are a list")
    return [_log(entry) for entry in given if not entry.get("removed", False)]


def _log(given: Any) -> Log:
    return Log(
        block_number=parse_quantity(given["blockNumber"]),
        block_hash=parse_data(given["blockHash"], size=32),
        transaction_hash=parse_data(given["transactionHash"], size=32),
        log_index=parse_quantity(given["logIndex"]),
        address=parse_data(given["address"], size=20),
        topics=tuple(parse_data(topic, size=32) for topic in given["topics"]),
        data=parse_data(given["data"]),
    )


def as_block_receipts(given: Any) -> tuple[bytes, list[Log]]:
    """The root and the logs of all receipts of one block, in order.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: they are none.
    """
    if not isinstance(given, list):
        raise TypeError("a block's receipts are a list")
    return receipts_root(given), [_log(entry) for receipt in given for entry in receipt["logs"]]


def as_transaction_hashes(given: Any) -> tuple[bytes, list[bytes]]:
    """A block's hash and those of its transactions, in order.

    Raises:
        ValueError, KeyError, TypeError: it is no block.
    """
    return parse_data(given["hash"], size=32), [parse_data(each, size=32) for each in given["transactions"]]


def as_receipt_or_none(given: Any) -> Receipt | None:
    """A receipt as a node writes it; None for what is in no block.

    Raises:
        ValueError, KeyError, TypeError: it is none.
    """
    if given is None or given["blockHash"] is None:
        return None
    return Receipt(
        transaction_hash=parse_data(given["transactionHash"], size=32),
        block_number=parse_quantity(given["blockNumber"]),
        block_hash=parse_data(given["blockHash"], size=32),
        succeeded=parse_quantity(given["status"]) == 1,
        gas_used=parse_quantity(given["gasUsed"]),
        gas_price_wei=parse_quantity(given["effectiveGasPrice"]),
    )
