"""Typed questions to the chain. Everything a node says is checked for shape here, and nowhere above."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from service.chain.node import Node, NodeRefused, NodeUnavailable
from service.chain.reasons import Reason
from service.chain.reverts import Revert
from service.chain.times import TIMESTAMP_MAX
from service.chain.wire import parse_data, parse_quantity, write_data
from service.settings import Settings

T = TypeVar("T")

BLOCK_LOGS_BYTES_MAX = 512 * 1024 * 1024
"""Longest answer about the logs of one contract in one block, of which nothing smaller can be asked.

What a block's gas pays for is far below it: a log without data costs 750 gas and is some 700 bytes of JSON, and a byte
of data costs 8 gas and is two digits, so that a block of 60 million gas is some 60 MB.
"""


@dataclass(frozen=True, slots=True)
class Block:
    """A block's header, as far as we need it."""

    number: int
    hash: bytes
    parent_hash: bytes
    timestamp: int  # seconds since 1970


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


@dataclass(frozen=True, slots=True)
class Head:
    """The newest block, and the newest one past reversal (-1 when there is none yet)."""

    tip: Block
    final_number: int


@dataclass(frozen=True, slots=True)
class Fees:
    """What the next block asks for each unit of gas, and the tip the node advises."""

    base_fee_wei: int
    priority_fee_wei: int


@dataclass(frozen=True, slots=True)
class Finality:
    """When a block is past reversal: `depth` blocks below the tip, or where the node's `finalized` tag is."""

    depth: int | None  # None: the tag

    @classmethod
    def parse(cls, text: str) -> "Finality":
        """Read `depth:8` or `finalized`.

        Raises:
            ValueError: neither.
        """
        if text == "finalized":
            return cls(None)
        kind, _, depth = text.partition(":")
        if kind != "depth" or not (depth.isascii() and depth.isdigit()):
            raise ValueError("finality is `finalized` or `depth:N`")
        return cls(int(depth))


@dataclass(frozen=True, slots=True)
class Call:
    """A message to a contract, or the creation of one (`to` is None)."""

    to: bytes | None
    data: bytes = field(repr=False)  # may hold a holder's authorization
    sender: bytes
    value: int = 0  # wei


class WrongChain(Exception):
    """The node follows another chain than this deployment."""


class Reverted(Exception):
    """A contract refused the call; `revert` is its own name for the reason."""

    def __init__(self, revert: Revert) -> None:
        super().__init__(str(revert))
        self.revert = revert


class Chain:
    """Typed access to one chain. Every question may raise NodeUnavailable, and NodeRefused for a refusal.

    Args:
        chain_id: what the node must report. Source: EIP-155.
    """

    def __init__(self, node: Node, *, chain_id: int, finality: Finality) -> None:
        self.chain_id = chain_id
        self.finality = finality
        self._node = node

    async def check(self) -> None:
        """Make sure that the node follows our chain.

        Raises:
            WrongChain: it reports another id.
        """
        self._check_id(_shaped(parse_quantity, await self._node.ask("eth_chainId")))

    async def head(self) -> Head:
        """The tip and the newest final block's number, in one batch.

        Raises:
            WrongChain: another node answers at this address now; whatever it says is about another chain.
        """
        asked: list[tuple[str, list[Any]]] = [("eth_chainId", []), _block_call("latest")]
        if self.finality.depth is None:
            asked.append(_block_call("finalized"))
        chain_id, latest, *finalized = await self._node.ask_many(asked)
        self._check_id(_shaped(parse_quantity, _given(chain_id)))
        tip = _shaped(_block, _given(latest))
        if self.finality.depth is not None:
            return Head(tip, max(tip.number - self.finality.depth, -1))
        (final,) = finalized
        if isinstance(final, NodeRefused) and final.reason is Reason.BLOCK_UNKNOWN:
            return Head(tip, -1)  # geth and besu say so of a young chain, where others answer null
        found = _shaped(_block_or_none, _given(final))
        # The two answers may come from either side of a new block.
        return Head(tip, -1 if found is None else min(found.number, tip.number))

    def _check_id(self, reported: int) -> None:
        if reported != self.chain_id:
            raise WrongChain(f"this deployment is for chain {self.chain_id}, but the node follows {reported}")

    async def blocks(self, *, first: int, count_max: int) -> list[Block]:
        """Blocks from `first` on, ascending, up to the first that the node does not have.

        They may straddle a reorganisation: the caller checks that each names the one before as its parent.
        """
        numbers = range(first, first + count_max)
        answers = await self._node.ask_many([_block_call(hex(number)) for number in numbers])
        blocks = []
        for number, answer in zip(numbers, answers, strict=True):
            if isinstance(answer, NodeRefused) and answer.reason is Reason.BLOCK_UNKNOWN:
                break
            block = _shaped(_block_or_none, _given(answer))
            if block is None:
                break
            if block.number != number:
                raise NodeUnavailable(f"block {block.number} came for block {number}")
            blocks.append(block)
        return blocks

    async def logs(
        self, *, first: int, last: int, addresses: Sequence[bytes], topics: Sequence[bytes]
    ) -> tuple[list[Log], Block]:
        """Logs of blocks `first` to `last`, in order, and block `last` as it was seen after them.

        `topics` are the alternatives for topic 0. No address or no topic means no logs, never all of them.
        A caller who knows `last` by another hash has seen a reorganisation between its two questions.

        Raises:
            NodeUnavailable: also when the node no longer has block `last`.
            AnswerTooLong, AnswerLate: the answer is beyond a limit, as RANGE_TOO_LARGE is beyond the node's.
            NodeRefused: also with RANGE_TOO_LARGE: ask for fewer blocks, addresses or topics.
        """
        query = {
            "fromBlock": hex(first),
            "toBlock": hex(last),
            "address": [write_data(address) for address in addresses],
            "topics": [[write_data(topic) for topic in topics]],
        }
        wanted = [("eth_getLogs", [query])] if addresses and topics else []
        smallest = first == last and len(addresses) == 1
        answers = await self._node.ask_many(
            [*wanted, _block_call(hex(last))], response_bytes_max=BLOCK_LOGS_BYTES_MAX if smallest else None
        )
        seen = _shaped(_block_or_none, _given(answers[-1]))
        if seen is None or seen.number != last:
            raise NodeUnavailable(f"the node does not have block {last}")
        logs = _shaped(_logs, _given(answers[0])) if wanted else []
        if not all(first <= log.block_number <= last for log in logs):
            raise NodeUnavailable("a log came from a block outside the range")
        return sorted(logs, key=lambda log: (log.block_number, log.log_index)), seen

    async def receipts(self, hashes: Sequence[bytes]) -> list[Receipt | None]:
        """Receipts in the order of `hashes`; None for a transaction that is not mined."""
        answers = await self._node.ask_many(
            [("eth_getTransactionReceipt", [write_data(transaction_hash)]) for transaction_hash in hashes]
        )
        receipts = [_shaped(_receipt_or_none, _given(answer)) for answer in answers]
        for transaction_hash, receipt in zip(hashes, receipts, strict=True):
            if receipt is not None and receipt.transaction_hash != transaction_hash:
                raise NodeUnavailable("a receipt came for another transaction")
        return receipts

    async def call(self, call: Call, *, block: int | None = None) -> bytes:
        """Simulate a call at the newest block, or at `block`; nothing is sent.

        Raises:
            Reverted: the contract refused.
        """
        try:
            return _shaped(parse_data, await self._node.ask("eth_call", _message(call), _at(block)))
        except NodeRefused as refused:
            if refused.revert is None:
                raise
            raise Reverted(refused.revert) from None

    async def calls(self, calls: Sequence[Call], *, block: int | None = None) -> list[bytes | NodeRefused]:
        """Simulate many calls in one batch; each is judged alone."""
        answers = await self._node.ask_many([("eth_call", [_message(call), _at(block)]) for call in calls])
        return [answer if isinstance(answer, NodeRefused) else _shaped(parse_data, answer) for answer in answers]

    async def estimate_gas(self, calls: Sequence[Call]) -> list[int | NodeRefused]:
        """Gas that each call would take now, in one batch; each is judged alone."""
        answers = await self._node.ask_many([("eth_estimateGas", [_message(call)]) for call in calls])
        return [answer if isinstance(answer, NodeRefused) else _shaped(parse_quantity, answer) for answer in answers]

    async def transaction_counts(self, signers: Sequence[bytes]) -> list[int]:
        """How many transactions of each signer are mined: its next nonce, as the newest block has it."""
        answers = await self._node.ask_many(
            [("eth_getTransactionCount", [write_data(signer), "latest"]) for signer in signers]
        )
        return [_shaped(parse_quantity, _given(answer)) for answer in answers]

    async def broadcast(self, raws: Sequence[bytes]) -> list[NodeRefused | None]:
        """Hand signed transactions to the node, in order; None where it took one.

        NodeUnavailable leaves open whether any was taken: sending the same bytes again is always safe.
        """
        answers = await self._node.ask_many([("eth_sendRawTransaction", [write_data(raw)]) for raw in raws])
        return [answer if isinstance(answer, NodeRefused) else None for answer in answers]

    async def fees(self) -> Fees:
        """The next block's base fee and the node's advice for the priority fee. Source: EIP-1559."""
        history, priority = await self._node.ask_many(
            [("eth_feeHistory", ["0x1", "latest", []]), ("eth_maxPriorityFeePerGas", [])]
        )
        return Fees(
            base_fee_wei=_shaped(lambda given: parse_quantity(given["baseFeePerGas"][-1]), _given(history)),
            priority_fee_wei=_shaped(parse_quantity, _given(priority)),
        )

    async def code(self, address: bytes, *, block: int | None = None) -> bytes:
        """The code at an address, empty when there is none."""
        return _shaped(parse_data, await self._node.ask("eth_getCode", write_data(address), _at(block)))

    async def codes(self, addresses: Sequence[bytes]) -> list[bytes]:
        """The code at each address now, empty where there is none, in one batch."""
        answers = await self._node.ask_many([("eth_getCode", [write_data(each), "latest"]) for each in addresses])
        return [_shaped(parse_data, _given(answer)) for answer in answers]

    async def balance(self, address: bytes) -> int:
        """Wei that an address has to pay gas with."""
        return _shaped(parse_quantity, await self._node.ask("eth_getBalance", write_data(address), "latest"))

    async def close(self) -> None:
        """Close the way to the node."""
        await self._node.close()


def open_chain(settings: Settings, *, timeout_max_s: float = math.inf) -> Chain:
    """The way to the node that the settings name."""
    timeout_s = min(settings.node_timeout_s, timeout_max_s)
    node = Node(settings.rpc_url.get_secret_value(), timeout_s=timeout_s, batch_max=settings.node_batch_max)
    return Chain(node, chain_id=settings.chain_id, finality=Finality.parse(settings.finality))


def _block_call(number_or_tag: str) -> tuple[str, list[Any]]:
    return "eth_getBlockByNumber", [number_or_tag, False]


def _at(block: int | None) -> str:
    return "latest" if block is None else hex(block)


def _message(call: Call) -> dict[str, str]:
    message = {"from": write_data(call.sender), "data": write_data(call.data), "value": hex(call.value)}
    if call.to is not None:
        message["to"] = write_data(call.to)
    return message


def _given(answer: Any | NodeRefused) -> Any:
    if isinstance(answer, NodeRefused):
        raise answer
    return answer


def _shaped(parse: Callable[[Any], T], given: Any) -> T:
    try:
        return parse(given)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise NodeUnavailable(f"an answer has the wrong shape: {error}") from None


def _block(given: Any) -> Block:
    number, timestamp = parse_quantity(given["number"]), parse_quantity(given["timestamp"])
    if number >= 2**63 or timestamp > TIMESTAMP_MAX:
        raise ValueError("a block of an impossible number or time")
    return Block(number, parse_data(given["hash"], size=32), parse_data(given["parentHash"], size=32), timestamp)


def _block_or_none(given: Any) -> Block | None:
    return None if given is None else _block(given)


def _logs(given: Any) -> list[Log]:
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


def _receipt_or_none(given: Any) -> Receipt | None:
    if given is None or given["blockHash"] is None:
        return None
    return Receipt(
        transaction_hash=parse_data(given["transactionHash"], size=32),
        block_number=parse_quantity(given["blockNumber"]),
        block_hash=parse_data(given["blockHash"], size=32),
        succeeded=parse_quantity(given["status"]) == 1,
        gas_used=parse_quantity(given["gasUsed"]),
    )
