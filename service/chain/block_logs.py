"""All logs of whole blocks, proven by the root in each header, from a block's receipts or those of its transactions."""

from collections.abc import Sequence
from typing import Any

from service.chain.checks import Check
from service.chain.node import NodeRefused, NodeUnavailable
from service.chain.nodes import Nodes, Outcome, Question
from service.chain.reasons import Reason
from service.chain.shapes import Block, Log, as_block_receipts, as_transaction_hashes, granted, shaped
from service.chain.wire import write_data

_NO_RECEIPTS = frozenset((Reason.METHOD_MISSING, Reason.HISTORY_GONE))


class BlockLogs:
    """What the headers of a chain's blocks say of their logs, from one question to the next."""

    def __init__(self, node: Nodes) -> None:
        self._node = node
        self._receipts = Check("receipts")

    async def read(self, blocks: Sequence[Block]) -> list[list[Log] | None]:
        """All logs of each block; None where the node has no receipts of it, or its receipts are of another make.

        A node that does not offer the receipts of a block is asked for those of its transactions.

        Raises:
            NodeLied: the receipts are not the block's.

        Source: eth_getBlockReceipts and eth_getTransactionReceipt of the execution APIs.
        """

        def read(answers: list[Outcome]) -> list[tuple[bool, list[Log] | None]]:
            return [
                (_lacks(answer, Reason.METHOD_MISSING), None if _lacks(answer) else self._logs(block, granted(answer)))
                for block, answer in zip(blocks, answers, strict=True)
            ]

        asked: list[Question] = [("eth_getBlockReceipts", [hex(block.number)]) for block in blocks]
        found = await self._node.read(asked, read)
        lacking = [block for block, (lacks, _) in zip(blocks, found, strict=True) if lacks]
        pieced = iter(await self._by_transaction(lacking))
        return [next(pieced) if lacks else logs for lacks, logs in found]

    async def _by_transaction(self, blocks: Sequence[Block]) -> list[list[Log] | None]:
        if not blocks:
            return []

        def listed(answers: list[Outcome]) -> list[list[bytes]]:
            told = [shaped(as_transaction_hashes, granted(answer)) for answer in answers]
            if any(block_hash != block.hash for (block_hash, _), block in zip(told, blocks, strict=True)):
                raise NodeUnavailable("the chain changed between a header and its transactions")
            return [hashes for _, hashes in told]

        transactions = await self._node.read(
            [("eth_getBlockByNumber", [hex(block.number), False]) for block in blocks], listed
        )

        def read(answers: list[Outcome]) -> list[list[Log] | None]:
            left, found = iter(answers), list[list[Log] | None]()
            for block, hashes in zip(blocks, transactions, strict=True):
                receipts = [next(left) for _ in hashes]
                silent = any(receipt is None or _lacks(receipt) for receipt in receipts)
                found.append(None if silent else self._logs(block, list(map(granted, receipts))))
            return found

        every: list[Question] = [
            ("eth_getTransactionReceipt", [write_data(each)]) for hashes in transactions for each in hashes
        ]
        return await self._node.read(every, read)

    def _logs(self, block: Block, receipts: Any) -> list[Log] | None:
        root, logs = shaped(as_block_receipts, receipts)
        told = f"the receipts of block {block.number} are not those of its header"
        known = self._receipts.judge(None if block.receipts_root is None else root == block.receipts_root, told)
        return logs if known else None


def _lacks(answer: Outcome, *reasons: Reason) -> bool:
    return isinstance(answer, NodeRefused) and answer.reason in (reasons or _NO_RECEIPTS)
