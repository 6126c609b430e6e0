"""Typed questions to the chain, over however many endpoints it is reached."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from service.chain.block_logs import BlockLogs
from service.chain.checks import Check
from service.chain.log_columns import LogColumns, as_columns, as_header
from service.chain.node import Node, NodeLied, NodeRefused, NodeUnavailable
from service.chain.nodes import EndpointHealth, Nodes, Outcome, Question, WrongChain
from service.chain.quorum import agreed, most_telling, reached
from service.chain.reasons import Reason
from service.chain.reverts import Revert
from service.chain.shapes import (
    AccountState,
    Block,
    Fees,
    Head,
    Log,
    Receipt,
    as_account,
    as_block,
    as_block_or_none,
    as_data,
    as_fees,
    as_known_block,
    as_logs,
    as_quantity,
    as_receipt_or_none,
    each_judged,
    every,
    granted,
    shaped,
)
from service.chain.together import Together
from service.chain.wire import parse_data, parse_quantity, write_data
from service.settings import Settings

__all__ = [
    "AccountState",
    "Block",
    "Call",
    "Chain",
    "EndpointHealth",
    "Fees",
    "Finality",
    "Head",
    "Log",
    "Receipt",
    "Reverted",
    "WrongChain",
    "open_chain",
]

FEE_BLOCKS = 20
"""Blocks whose fees are looked at: some four minutes of Ethereum."""

BLOCK_LOGS_BYTES_MAX = 512 * 1024 * 1024
"""Longest answer about the logs of one contract in one block, of which nothing smaller can be asked.

What a block's gas pays for is far below it: a log without data costs 750 gas and is some 700 bytes of JSON, and a byte
of data costs 8 gas and is two digits, so that a block of 60 million gas is some 60 MB.
"""


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
    gas: int | None = None  # the most that it may use; None is as much as the node allows


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

    def __init__(self, node: Node | Nodes, *, chain_id: int, finality: Finality) -> None:
        self.chain_id = chain_id
        self.finality = finality
        self._node = node if isinstance(node, Nodes) else Nodes([node], chain_id=chain_id)
        self._eth_calls = Together(self._ask_together)
        self._headers, self._block_logs = Check("header"), BlockLogs(self._node)

    async def check(self) -> None:
        """Make sure that the node follows our chain.

        Raises:
            WrongChain: it reports another id.
        """
        self._check_id(await self._node.read_one(("eth_chainId", []), as_quantity))

    async def head(self) -> Head:
        """The tip and the newest final block's number, in one batch.

        With a quorum, the newest number that so many endpoints call final; the tip is of the one that is asked
        otherwise.

        Raises:
            WrongChain: another node answers at this address now; whatever it says is about another chain.
        """
        asked: list[tuple[str, list[Any]]] = [("eth_chainId", []), _block_call("latest")]
        if self.finality.depth is None:
            asked.append(_block_call("finalized"))
        if self._node.quorum == 1:
            return await self._node.read(asked, self._head)
        heads = [head for _, head in await self._node.read_all(asked, self._head)]
        final_number = reached([head.final_number for head in heads], self._node.quorum)
        return Head(heads[0].tip, min(final_number, heads[0].tip.number))

    def _head(self, answers: list[Outcome]) -> Head:
        chain_id, latest, *finalized = answers
        self._check_id(as_quantity(granted(chain_id)))
        tip = self._proven(shaped(as_block, granted(latest)))
        if self.finality.depth is not None:
            return Head(tip, max(tip.number - self.finality.depth, -1))
        (final,) = finalized
        if isinstance(final, NodeRefused) and final.reason is Reason.BLOCK_UNKNOWN:
            return Head(tip, -1)  # geth and besu say so of a young chain, where others answer null
        found = shaped(as_block_or_none, granted(final))
        # The two answers may come from either side of a new block.
        return Head(tip, -1 if found is None else min(found.number, tip.number))

    def _check_id(self, reported: int) -> None:
        if reported != self.chain_id:
            raise WrongChain(f"this deployment is for chain {self.chain_id}, but the node follows {reported}")

    def _proven(self, block: Block) -> Block:
        self._headers.judge(block.proven, f"the header of block {block.number} has another hash than it is told with")
        return block

    async def blocks(self, *, first: int, count_max: int) -> list[Block]:
        """Blocks from `first` on, ascending, up to the first that the node does not have.

        They may straddle a reorganisation: the caller checks that each names the one before as its parent.
        """
        numbers = range(first, first + count_max)

        def read(answers: list[Outcome]) -> list[Block]:
            blocks: list[Block] = []
            for answer, number in zip(answers, numbers, strict=True):
                block = as_known_block(answer, number)
                if block is None:
                    break
                blocks.append(self._proven(block))
            return blocks

        return await self._node.read([_block_call(hex(number)) for number in numbers], read)

    async def logs(
        self, *, first: int, last: int, addresses: Sequence[bytes], topics: Sequence[bytes]
    ) -> tuple[list[Log], Block]:
        """Logs of blocks `first` to `last`, in order, and block `last` as it was seen after them.

        `topics` are the alternatives for topic 0. No address or no topic means no logs, never all of them.
        A caller who knows `last` by another hash has seen a reorganisation between its two questions.

        Raises:
            NodeUnavailable: also when the node no longer has block `last`.
            NodeLied: logs are out of order.
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

        def read(answers: list[Outcome]) -> tuple[list[Log], Block]:
            seen = shaped(as_block_or_none, granted(answers[-1]))
            if seen is None or seen.number != last:
                raise NodeUnavailable(f"the node does not have block {last}")
            logs = shaped(as_logs, granted(answers[0])) if wanted else []
            if not all(first <= log.block_number <= last for log in logs):
                raise NodeUnavailable("a log came from a block outside the range")
            places = [(log.block_number, log.log_index) for log in logs]
            if places != sorted(places):
                raise NodeLied("logs came out of order")
            return logs, self._proven(seen)

        bytes_max = BLOCK_LOGS_BYTES_MAX if smallest else None
        return await self._node.read([*wanted, _block_call(hex(last))], read, response_bytes_max=bytes_max)

    async def log_columns(
        self, *, first: int, last: int, addresses: Sequence[bytes], topics: Sequence[bytes], headers: bool = True
    ) -> tuple[list[Block], LogColumns]:
        """Logs of blocks `first` to `last` by column, and those blocks' headers, or the last one's alone, in one batch.

        As `logs`, for a reader of long histories: it is the caller who compares block hashes.

        Raises:
            NodeUnavailable: also when the node does not have one of the blocks.
            AnswerTooLong, AnswerLate: the answer is beyond a limit, as RANGE_TOO_LARGE is beyond the node's.
            NodeRefused: also with RANGE_TOO_LARGE: ask for fewer blocks, addresses or topics.
        """
        numbers = range(first, last + 1) if headers else range(last, last + 1)

        def read(answers: list[Outcome]) -> tuple[list[Block], LogColumns]:
            found = as_columns(answers[0])
            if not all(first <= number <= last for number in found.block_numbers):
                raise NodeUnavailable("a log came from a block outside the range")
            return [self._proven(as_header(*each)) for each in zip(answers[1:], numbers, strict=True)], found

        query = {
            "fromBlock": hex(first),
            "toBlock": hex(last),
            "address": [write_data(address) for address in addresses],
            "topics": [[write_data(topic) for topic in topics]],
        }
        smallest = first == last and len(addresses) == 1
        return await self._node.read(
            [("eth_getLogs", [query]), *(_block_call(hex(number)) for number in numbers)],
            read,
            response_bytes_max=BLOCK_LOGS_BYTES_MAX if smallest else None,
            raw=True,
        )

    async def block_logs(self, blocks: Sequence[Block]) -> list[list[Log] | None]:
        """All logs of each block, proven by its header's root; None where the node has no receipts, or of another make.

        Raises:
            NodeLied: the receipts are not the block's.
        """
        return await self._block_logs.read(blocks)

    async def receipts(self, hashes: Sequence[bytes]) -> list[Receipt | None]:
        """Receipts in the order of `hashes`; None for a transaction that is not mined.

        With a quorum, None too where fewer endpoints than that give the same block and status.
        """
        asked, read = _receipt_calls(hashes), _receipts_read(hashes)
        if self._node.quorum == 1:
            return await self._node.read(asked, read)
        said = await self._node.read_all(asked, read)
        found, dissenting = agreed(
            [receipts for _, receipts in said],
            self._node.quorum,
            key=lambda receipt: (receipt.block_hash, receipt.succeeded),
        )
        for place, (endpoint, _) in enumerate(said):
            endpoint.contradicted(place in dissenting)
        return found

    async def unmined(self, hashes: Sequence[bytes]) -> list[bool]:
        """Whether each transaction has no receipt; with a quorum, whether so many endpoints have none.

        Where endpoints disagree, a transaction is neither mined, as `receipts` has it, nor unmined.
        """
        asked, read = _receipt_calls(hashes), _receipts_read(hashes)
        if self._node.quorum == 1:
            return [receipt is None for receipt in await self._node.read(asked, read)]
        said = [receipts for _, receipts in await self._node.read_all(asked, read)]
        return [place.count(None) >= self._node.quorum for place in zip(*said, strict=True)]

    async def call(self, call: Call, *, block: int | None = None) -> bytes:
        """Simulate a call at the newest block, or at `block`; nothing is sent.

        Raises:
            Reverted: the contract refused.
        """
        answer = await self._eth_calls.ask(("eth_call", [_message(call), _at(block)]))
        if isinstance(answer, bytes):
            return answer
        if answer.revert is None:
            raise answer
        raise Reverted(answer.revert)

    async def calls(self, calls: Sequence[Call], *, block: int | None = None) -> list[bytes | NodeRefused]:
        """Simulate many calls in one batch; each is judged alone."""
        return await self._node.read(
            [("eth_call", [_message(call), _at(block)]) for call in calls], each_judged(parse_data)
        )

    async def _ask_together(self, questions: Sequence[Question]) -> list[bytes | NodeRefused]:
        if len(questions) > 1:
            return await self._node.read(questions, each_judged(parse_data))
        try:
            return [await self._node.read_one(questions[0], as_data)]
        except NodeRefused as refused:
            return [refused]

    async def estimate_gas(self, calls: Sequence[Call]) -> list[int | NodeRefused]:
        """Gas that each call would take now, in one batch; each is judged alone."""
        return await self._node.read(
            [("eth_estimateGas", [_message(call)]) for call in calls], each_judged(parse_quantity)
        )

    async def transaction_counts(self, signers: Sequence[bytes]) -> list[int]:
        """How many transactions of each signer are mined: its next nonce, as the newest block has it."""
        asked = [("eth_getTransactionCount", [write_data(signer), "latest"]) for signer in signers]
        return await self._node.read(asked, every(parse_quantity))

    async def broadcast(self, raws: Sequence[bytes]) -> list[NodeRefused | None]:
        """Hand signed transactions to every usable endpoint, in order; None where any took one.

        NodeUnavailable leaves open whether any was taken: sending the same bytes again is always safe.
        """
        said = await self._node.tell([("eth_sendRawTransaction", [write_data(raw)]) for raw in raws])
        return [
            most_telling([answer if isinstance(answer, NodeRefused) else None for answer in answers])
            for answers in zip(*said, strict=True)
        ]

    async def accounts(self, signers: Sequence[bytes], *, final_number: int) -> list[AccountState]:
        """Nonces and wei of each signer, in one batch.

        Args:
            final_number: the newest final block, -1 when there is none: then every `final_nonce` is 0.

        With a quorum, a `final_nonce` is the highest that so many endpoints reach.

        Raises:
            NodeUnavailable: also when more nonces are spent in the final block than in the newest.
        """

        def read(answers: list[Outcome]) -> list[AccountState]:
            return [
                as_account(latest, 0 if final_number < 0 or isinstance(final, NodeRefused) else final, balance)
                for latest, final, balance in zip(answers[::3], answers[1::3], answers[2::3], strict=True)
            ]

        asked: list[Question] = []
        for signer in map(write_data, signers):
            asked.append(("eth_getTransactionCount", [signer, "latest"]))
            asked.append(("eth_getTransactionCount", [signer, hex(max(final_number, 0))]))
            asked.append(("eth_getBalance", [signer, "latest"]))
        if self._node.quorum == 1:
            return await self._node.read(asked, read)
        said = [states for _, states in await self._node.read_all(asked, read)]
        merged = []
        for first, *others in zip(*said, strict=True):
            final = reached([state.final_nonce for state in (first, *others)], self._node.quorum)
            merged.append(replace(first, final_nonce=final, next_nonce=max(first.next_nonce, final)))
        return merged

    async def block_hashes(self, numbers: Sequence[int]) -> dict[int, bytes | None]:
        """The hash of each block of the node's present branch, in one batch; None where it has no such block."""

        def read(answers: list[Outcome]) -> dict[int, bytes | None]:
            blocks = map(as_known_block, answers, numbers)
            return {
                number: None if block is None else block.hash for number, block in zip(numbers, blocks, strict=True)
            }

        return await self._node.read([_block_call(hex(number)) for number in numbers], read)

    async def hashes_everywhere(self, number: int) -> list[bytes | None]:
        """The hash that each usable endpoint has of a block, the one that is asked otherwise first."""

        def read(answers: list[Outcome]) -> bytes | None:
            block = as_known_block(answers[0], number)
            return None if block is None else self._proven(block).hash

        return [block_hash for _, block_hash in await self._node.read_all([_block_call(hex(number))], read)]

    def distrust(self, why: str) -> None:
        """Ask another endpoint from now on, where there is one: the answers of this one contradict each other."""
        self._node.distrust(why)

    async def fees(self) -> Fees:
        """The next block's base fee, and the middle of what recent transactions paid above it.

        The priority fee is the median over the last blocks with a transaction of what the transaction in the middle of
        each block's gas paid; where none paid anything, and where the node refuses its history, the node's advice.

        Raises:
            NodeUnavailable: also for a fee that no chain can have.

        Source: EIP-1559; eth_feeHistory and eth_maxPriorityFeePerGas of the execution APIs.
        """
        asked: list[Question] = [
            ("eth_feeHistory", [hex(FEE_BLOCKS), "latest", [50]]),
            ("eth_maxPriorityFeePerGas", []),
            _block_call("latest"),
        ]
        return await self._node.read(asked, as_fees)

    async def code(self, address: bytes, *, block: int | None = None) -> bytes:
        """The code at an address, empty when there is none."""
        return await self._node.read_one(("eth_getCode", [write_data(address), _at(block)]), as_data)

    async def storage(self, address: bytes, slots: Sequence[bytes], *, block: int) -> list[bytes]:
        """What a contract keeps in slots at the end of a block, 32 bytes each, in one batch.

        Raises:
            NodeRefused: HISTORY_GONE and BLOCK_UNKNOWN where the node does not know that block's state.
        """
        asked: list[Question] = [
            ("eth_getStorageAt", [write_data(address), write_data(slot), _at(block)]) for slot in slots
        ]
        return [word.rjust(32, b"\0") for word in await self._node.read(asked, every(parse_data))]

    async def codes(self, addresses: Sequence[bytes]) -> list[bytes]:
        """The code at each address now, empty where there is none, in one batch."""
        return await self._node.read(
            [("eth_getCode", [write_data(each), "latest"]) for each in addresses], every(parse_data)
        )

    async def balance(self, address: bytes) -> int:
        """Wei that an address has to pay gas with."""
        return await self._node.read_one(("eth_getBalance", [write_data(address), "latest"]), as_quantity)

    def health(self) -> list[EndpointHealth]:
        """How each endpoint does, in the order of the settings."""
        return self._node.health()

    async def close(self) -> None:
        """Close the way to the node."""
        await self._node.close()


def open_chain(settings: Settings, *, timeout_max_s: float = math.inf) -> Chain:
    """The way to the endpoints that the settings name."""
    timeout_s = min(settings.node_timeout_s, timeout_max_s)
    nodes = [Node(url, timeout_s=timeout_s, batch_max=settings.node_batch_max) for url in settings.rpc_urls]
    return Chain(
        Nodes(nodes, chain_id=settings.chain_id, quorum=settings.receipt_quorum),
        chain_id=settings.chain_id,
        finality=Finality.parse(settings.finality),
    )


def _block_call(number_or_tag: str) -> tuple[str, list[Any]]:
    return "eth_getBlockByNumber", [number_or_tag, False]


def _receipt_calls(hashes: Sequence[bytes]) -> list[Question]:
    return [("eth_getTransactionReceipt", [write_data(transaction_hash)]) for transaction_hash in hashes]


def _receipts_read(hashes: Sequence[bytes]) -> Callable[[list[Outcome]], list[Receipt | None]]:
    def read(answers: list[Outcome]) -> list[Receipt | None]:
        receipts = [shaped(as_receipt_or_none, granted(answer)) for answer in answers]
        for transaction_hash, receipt in zip(hashes, receipts, strict=True):
            if receipt is not None and receipt.transaction_hash != transaction_hash:
                raise NodeUnavailable("a receipt came for another transaction")
        return receipts

    return read


def _at(block: int | None) -> str:
    return "latest" if block is None else hex(block)


def _message(call: Call) -> dict[str, str]:
    message = {"from": write_data(call.sender), "data": write_data(call.data), "value": hex(call.value)}
    if call.to is not None:
        message["to"] = write_data(call.to)
    if call.gas is not None:
        message["gas"] = hex(call.gas)
    return message
