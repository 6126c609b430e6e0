"""How a contract whose history is filled in joins what is followed, without a gap, and how it leaves."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from service.addresses import ZERO
from service.chain.node import NodeRefused, NodeUnavailable
from service.chain.reader import Block, Chain
from service.mirror.apply import Happened, write_happened
from service.mirror.derive import ANY_SIZE
from service.mirror.happenings import happened_to
from service.mirror.standing import Halt, Waiting
from service.mirror.tables import BLOCKS, CONTRACTS, DEPLOYMENTS, EVENTS, RANGED
from service.mirror.width import Width, is_too_much

BLOCKS_MAX = 200
"""Blocks of one question for what came after the filling."""

_SHOW = text("""
INSERT INTO mirror.deployments (contract_id, block_hash, block_number, salt, operator, kind, canonical)
SELECT contracts.id, hash, number, :no_salt, :nobody, :kind, true FROM mirror.contracts
JOIN mirror.blocks ON blocks.chain_id = contracts.chain_id AND canonical AND number = :first
WHERE contracts.chain_id = :chain_id AND address = :address
ON CONFLICT (contract_id, block_hash) DO UPDATE SET canonical = true, kind = excluded.kind,
    shown_at = statement_timestamp(), left_at = NULL
""")


@dataclass(slots=True)
class Gap:
    """What a contract did in the blocks that are mirrored above the last one of which its rows are written.

    Args:
        since: that last block.
        receipts_share: as `converge` has it.
    """

    chain: Chain
    address: bytes
    since: int
    receipts_share: float
    _parts: list[tuple[list[Block], Happened]] = field(default_factory=list)
    _width: Width = field(default_factory=lambda: Width(BLOCKS_MAX, blocks=BLOCKS_MAX))

    @property
    def blocks(self) -> list[Block]:
        """The blocks that were read, oldest first."""
        return [block for blocks, _ in self._parts for block in blocks]

    async def read(self, last: int) -> None:
        """Read on, up to a block.

        Raises:
            Waiting: the node does not have all of these blocks.
            NodeLied, NodeUnavailable, NodeRefused: as their names say.
        """
        done = self._parts[-1][0][-1].number if self._parts else self.since
        while done < last:
            asked = min(self._width.blocks, last - done)
            blocks = await self.chain.blocks(first=done + 1, count_max=asked)
            if len(blocks) < asked:
                raise Waiting(Halt.NODE_INCONSISTENT, "the node does not have all blocks that are mirrored")
            try:
                happened = await happened_to(
                    self.chain,
                    blocks,
                    contracts=[self.address],
                    width=self._width,
                    receipts_share=self.receipts_share,
                )
            except (NodeRefused, NodeUnavailable) as error:
                if asked == 1 or not is_too_much(error):
                    raise
                continue  # it is asked for fewer by now
            self._parts.append((blocks, happened))
            done = blocks[-1].number

    async def write(self, session: AsyncSession, *, chain_id: int) -> bool:
        """Write it; False where the mirror has other blocks there, and nothing is written.

        Raises:
            ImpossibleAmount: the contract's transfers add up to an amount that none can hold.
        """
        mirrored = await session.execute(
            select(BLOCKS.c.number, BLOCKS.c.hash)
            .where(BLOCKS.c.chain_id == chain_id, BLOCKS.c.canonical, BLOCKS.c.number >= self.since)
            .order_by(BLOCKS.c.number)
        )
        hashes: dict[int, bytes] = {row.number: row.hash for row in mirrored}
        blocks, below = self.blocks, hashes.pop(self.since, None)
        if hashes != {block.number: block.hash for block in blocks} or (blocks and blocks[0].parent_hash != below):
            return False
        for part, happened in self._parts:
            if len(happened):
                await write_happened(session, chain_id, part, happened)
        return True


async def show(session: AsyncSession, *, chain_id: int, address: bytes, kind: str, first: int) -> None:
    """Show a contract that is none of ours, from its first block on."""
    given = {"chain_id": chain_id, "address": address, "kind": kind, "first": first}
    await session.execute(_SHOW, {**given, "no_salt": bytes(32), "nobody": ZERO})


async def withdraw(session: AsyncSession, *, chain_id: int, address: bytes) -> None:
    """Make rows that an earlier attempt left invalid: nobody was shown them, or nobody is any more.

    Without them, what was shown of an expelled contract can't be told again, so it counts as never shown.
    """
    await session.execute(text(ANY_SIZE))
    query = select(CONTRACTS.c.id).where(CONTRACTS.c.chain_id == chain_id, CONTRACTS.c.address == address)
    contract_id = await session.scalar(query)
    if contract_id is None:
        return
    for table in EVENTS:
        mine = update(table).where(table.c.contract_id == contract_id, table.c.canonical)
        await session.execute(mine.values(canonical=False))
    for table in RANGED:
        mine = update(table).where(table.c.contract_id == contract_id, table.c.canonical)
        await session.execute(mine.values(canonical=False, to_block=None))
    await count_rebuilt(session, contract_id)
    gone = update(DEPLOYMENTS).where(DEPLOYMENTS.c.contract_id == contract_id, DEPLOYMENTS.c.left_at.is_not(None))
    await session.execute(gone.values(left_at=DEPLOYMENTS.c.shown_at))


async def count_rebuilt(session: AsyncSession, contract_id: int) -> None:
    """A contract's rows are made anew: whatever a process remembers of them is of no use any more."""
    mine = update(CONTRACTS).where(CONTRACTS.c.id == contract_id)
    await session.execute(mine.values(rebuilt=CONTRACTS.c.rebuilt + 1))


def linked_to(blocks: Sequence[Block], above: bytes) -> bool:
    """Whether blocks, oldest first, name each other as parents, and the last of them is the one of the hash `above`."""
    parents = [*(block.parent_hash for block in blocks[1:]), above]
    return [block.hash for block in blocks] == parents
