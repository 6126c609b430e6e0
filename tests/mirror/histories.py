"""Made-up histories, written by `apply` and `undo` as the indexer does: blocks come, leave, return, or are replaced."""

import random
from collections import Counter
from dataclasses import dataclass, field
from hashlib import sha256

from sqlalchemy import insert

from service.addresses import ZERO, checksum
from service.chain import contracts
from service.chain.events import Event
from service.chain.reader import Block, Log
from service.db import Database
from service.mirror.apply import Happened, apply, undo
from service.mirror.projections import Deployment, Transfers
from service.mirror.tables import HEADS

ACCOUNTS = [bytes([number]) * 20 for number in range(1, 5)]
FIRST = 5


@dataclass(frozen=True, slots=True)
class Page:
    """A block and what happened in it."""

    block: Block
    happened: Happened


@dataclass(slots=True)
class History:
    """A chain of its own, by its id, and the branch of it that is mirrored."""

    chain_id: int
    pages: list[Page] = field(default_factory=list)
    undone: list[Page] = field(default_factory=list)  # the last of them is the next to return

    @property
    def token(self) -> bytes:
        """A contract of units, deployed in the first block."""
        return self._digest("token")[:20]

    async def begin(self, db: Database) -> None:
        """What the node is said to have told, and the first block."""
        async with db.transaction() as session:
            await session.execute(insert(HEADS).values(chain_id=self.chain_id, head_number=10**6, final_number=0))
        await self.grow(db, [0])

    @property
    def deeds(self) -> bytes:
        """A contract of deeds, deployed in one block or another, and perhaps not at all."""
        return self._digest("deeds")[:20]

    def _digest(self, *parts: object) -> bytes:
        return sha256(repr((self.chain_id, *parts)).encode()).digest()

    async def grow(self, db: Database, seeds: list[int]) -> None:
        """New blocks in one DB transaction."""
        for seed in seeds:
            self.pages.append(self._page(seed))
        self.undone.clear()
        await self._show(db, self.pages[-len(seeds) :])

    async def shrink(self, db: Database, depth: int) -> None:
        """The newest blocks leave, in one DB transaction."""
        for _ in range(min(depth, len(self.pages) - 1)):
            page = self.pages.pop()
            self.undone.append(page)
            async with db.transaction() as session:
                await undo(session, number=page.block.number, block_hash=page.block.hash)

    async def regrow(self, db: Database, count: int) -> None:
        """Blocks that left return."""
        back = [self.undone.pop() for _ in range(min(count, len(self.undone)))]
        self.pages += back
        if back:
            await self._show(db, back)

    async def _show(self, db: Database, pages: list[Page]) -> None:
        gathered = Happened(
            [each for page in pages for each in page.happened.deployments],
            _joined([page.happened.transfers for page in pages]),
            [each for page in pages for each in page.happened.others],
        )
        async with db.transaction() as session:
            await apply(session, chain_id=self.chain_id, blocks=[page.block for page in pages], happened=gathered)

    def _page(self, seed: int) -> Page:
        chosen = random.Random(seed)
        number = FIRST + len(self.pages)
        parent = self.pages[-1].block.hash if self.pages else bytes(32)
        block_hash = self._digest(number, parent, seed)
        # Blocks may share a time.
        block = Block(number, block_hash, parent, 1_700_000_000 + number // 2)
        deployments = []
        if number == FIRST:
            deployments.append(self._deployment(block, self.token))
        if not self._deployed(self.deeds) and chosen.random() < 0.4:
            deployments.append(self._deployment(block, self.deeds))
        deeds = self._deployed(self.deeds) or any(each.contract == self.deeds for each in deployments)
        moves = [self._move(chosen) for _ in range(chosen.randrange(3))]
        moves += [self._issue(chosen)] if deeds and chosen.random() < 0.7 else []
        columns = list(zip(*moves, strict=True)) or [()] * 5
        tokens, senders, recipients, amounts, ids = map(list, columns)
        count = len(moves)
        transfers = Transfers(
            tokens,
            [number] * count,
            [block_hash] * count,
            list(range(count)),
            [self._digest("transaction", block_hash, index) for index in range(count)],
            senders,
            recipients,
            amounts,
            ids,
        )
        others = [self._other(chosen, block, count + index) for index in range(chosen.randrange(3))]
        return Page(block, Happened(deployments, transfers, others))

    def _deployed(self, contract: bytes) -> bool:
        return any(each.contract == contract for page in self.pages for each in page.happened.deployments)

    def _deployment(self, block: Block, contract: bytes) -> Deployment:
        kind = "DeedToken" if contract == self.deeds else "AssetToken"
        return Deployment(contract, block.number, block.hash, block.hash, bytes(32), ACCOUNTS[0], kind)

    def _move(self, chosen: random.Random) -> tuple[bytes, bytes, bytes, int, int | None]:
        # What a block moves is minted in it or long there, so no order within it is impossible.
        held: Counter[bytes] = Counter()
        for page in self.pages:
            moved = page.happened.transfers
            for contract, _, sender, recipient, amount in moved.moves():
                if contract == self.token:
                    held[sender] -= amount
                    held[recipient] += amount
        sender, recipient = chosen.sample(ACCOUNTS, 2)
        if held[sender] < 3 or chosen.random() < 0.3:
            return self.token, ZERO, recipient, chosen.randrange(10), None
        return self.token, sender, chosen.choice((recipient, ZERO)), held[sender] // 3, None

    def _issue(self, chosen: random.Random) -> tuple[bytes, bytes, bytes, int, int | None]:
        holders: dict[int, bytes] = {}
        for page in self.pages:
            moved = page.happened.transfers
            moved_to = zip(moved.deed_ids, moved.recipients, strict=True)
            holders |= {deed_id: recipient for deed_id, recipient in moved_to if deed_id is not None}
        deed_id = chosen.randrange(3)
        sender = holders.get(deed_id, ZERO)
        recipient = chosen.choice([each for each in (ZERO, *ACCOUNTS) if each != sender])
        return self.deeds, sender, recipient, 1, deed_id

    def _other(self, chosen: random.Random, block: Block, index: int) -> tuple[Log, Event]:
        account = checksum(chosen.choice(ACCOUNTS))
        frozen = {"account": account, "amount": str(chosen.randrange(3))}
        topic, event = chosen.choice(
            (
                (bytes(32), Event("Frozen", "Frozen(address,uint256)", frozen)),
                (contracts.PAUSED, Event("Paused", "Paused(address)", {"account": account})),
                (contracts.UNPAUSED, Event("Unpaused", "Unpaused(address)", {"account": account})),
            )
        )
        transaction = self._digest("transaction", block.hash, index)
        return Log(block.number, block.hash, transaction, index, self.token, (topic,), b""), event


def _joined(given: list[Transfers]) -> Transfers:
    columns = [[value for each in given for value in getattr(each, name)] for name in Transfers.__slots__]
    return Transfers(*columns)
