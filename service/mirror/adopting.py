"""Adopting contracts of others, beside the follow gear and under its lease: find the beginning, fill in, judge, join.

Nothing of a contract is shown before all of it is there. What fills it in works in the background; only the last step,
which shows it, waits its turn, so that no block falls between filling and following.
"""

import asyncio
import math
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy import text

from service.addresses import checksum
from service.chain.node import NodeLied, NodeRefused, NodeUnavailable
from service.chain.reader import Block, Chain
from service.chain.reasons import Reason
from service.db import Database
from service.mirror import adoptions, queries
from service.mirror.adoptions import Mark, Span, Wanted
from service.mirror.apply import register, write_blocks
from service.mirror.backfill import fill, fill_name
from service.mirror.differences import Finding
from service.mirror.joining import Gap, linked_to, show, withdraw
from service.mirror.judge import BALANCES, judge
from service.mirror.lies import RECEIPTS_SHARE
from service.mirror.projections import ImpossibleAmount
from service.mirror.proxies import BEACON, announced, next_beacon, says
from service.mirror.queries import Contract
from service.mirror.standing import Waiting
from service.telemetry import logger
from service.workers import Lease

LOOK_S = 0.5
"""How often it is looked whether somebody wants a contract."""

DEFER_S = 10.0
"""A contract whose history can't be read now is tried again after this; others go first."""

GAP_MAX = 500
"""Final blocks that are filled in, rather than read once more before the contract joins."""

HEADERS_AT_ONCE = 500
"""Blocks below the mirror's first one that are shown in one DB transaction."""


class Refused(Exception):
    """The contract can't be adopted.

    Args:
        reason: its stable name.
        detail: what to do about it.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class _Ready:
    """A contract that is filled in, and what came after that."""

    wanted: Wanted
    first: int
    gap: Gap
    marks: tuple[Mark, ...]


class Adopter:
    """What adopts, from one step to the next; killed anywhere, another process goes on with what is written."""

    def __init__(self, db: Database, chain: Chain, *, chain_id: int, receipts_share: float = RECEIPTS_SHARE) -> None:
        self._db, self._chain, self._chain_id, self._receipts_share = db, chain, chain_id, receipts_share
        self._wanted: Wanted | None = None
        self._task: asyncio.Task[_Ready | None] | None = None
        self._epoch: int | None = None
        self._looked_s = -LOOK_S
        self._deferred: dict[bytes, float] = {}  # until when, by contract
        self._sought: dict[bytes, Sought] = {}  # by contract whose first block is not known yet

    @property
    def busy(self) -> bool:
        """Whether a history is being filled in: staging is then its own."""
        return self._task is not None

    async def step(self, lease: Lease) -> int:
        """Begin what is wanted, or show what is ready; at most one contract at a time.

        The mirror must stand still meanwhile: nothing else may write blocks until it returns.

        Returns:
            1 when a contract was shown or refused, 0 otherwise.

        Raises:
            LeaseLost: another indexer took over.
        """
        if self._epoch != lease.epoch:
            await self.aclose()
            self._epoch, self._looked_s, self._sought = lease.epoch, -LOOK_S, {}
        if self._task is None:
            await self._begin(lease)
            return 0
        if not self._task.done():
            return 0
        task, self._task, wanted = self._task, None, self._wanted
        assert wanted is not None
        self._looked_s = -LOOK_S
        try:
            ready = task.result()
            return 0 if ready is None else await self._join(lease, ready)
        except ImpossibleAmount as impossible:
            told = f"its transfers say more than its holders had: {impossible}"
            await self._refuse(lease, wanted, Refused(adoptions.IMPOSSIBLE, told))
        except Refused as refused:
            await self._refuse(lease, wanted, refused)
        except (NodeUnavailable, NodeRefused, Waiting) as error:
            await self._defer(lease, wanted, error)
            return 0
        return 1

    async def aclose(self) -> None:
        """Stop what works in the background."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task

    async def _begin(self, lease: Lease) -> None:
        now_s = time.monotonic()
        if now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        self._deferred = {address: until for address, until in self._deferred.items() if until > now_s}
        self._wanted = await adoptions.next_wanted(self._db, chain_id=self._chain_id, but=list(self._deferred))
        if self._wanted is None:
            but = list(self._deferred)
            self._wanted = await next_beacon(self._db, chain_id=self._chain_id, but=but)
        if self._wanted is not None:
            self._task = asyncio.create_task(self._prepare(lease, self._wanted))

    async def _defer(self, lease: Lease, wanted: Wanted, error: Exception) -> None:
        if isinstance(error, NodeLied):
            self._chain.distrust(str(error))
        self._deferred[wanted.address] = time.monotonic() + DEFER_S
        reason = str(getattr(error, "reason", "")) or type(error).__name__
        logger().warning("adoption_waits", detail=checksum(wanted.address), error_kind=reason)
        async with self._db.transaction() as session:
            await lease.hold(session)
            await adoptions.note(session, wanted, detail=f"waits for the node ({reason}), and goes on by itself")

    async def _refuse(self, lease: Lease, wanted: Wanted, refused: Refused) -> None:
        if wanted.kind == BEACON:
            self._deferred[wanted.address] = math.inf  # nobody asked for it, and nobody asks again
        async with self._db.transaction() as session:
            await lease.hold(session)
            await adoptions.end(session, wanted, reason=refused.reason, detail=str(refused))
        logger().warning("adoption_refused", detail=checksum(wanted.address), reason=refused.reason)

    async def _join(self, lease: Lease, ready: _Ready) -> int:
        """Show a contract with all of its rows, in one DB transaction."""
        wanted, chain_id, address = ready.wanted, self._chain_id, ready.wanted.address
        await ready.gap.read(await _tip(self._db, chain_id))
        async with self._db.transaction() as session:
            await lease.hold(session)
            if not await ready.gap.write(session, chain_id=chain_id):
                return 0  # blocks were undone meanwhile: the next attempt finds all else done
            await show(session, chain_id=chain_id, address=address, kind=wanted.kind, first=ready.first)
            for each in ready.marks:
                await adoptions.mark(session, chain_id=chain_id, address=address, found=each)
            await adoptions.end(session, wanted)
        logger().info("adopted", detail=checksum(wanted.address), block_number=ready.first)
        return 1

    async def _prepare(self, lease: Lease, wanted: Wanted) -> _Ready | None:
        """Fill a contract in; None where it joins in no other way, or must wait."""
        final = await _final(self._db, self._chain_id)
        if final is None or await self._joined(lease, wanted):
            return None
        if wanted.kind == BEACON and await says(self._chain, wanted.address, block=final) is None:
            raise Refused("no-beacon", "a proxy names it as its beacon, and it names no implementation")
        span = wanted.span
        if span is None:
            span = await self._first(lease, wanted, final)
            if span is None:
                self._deferred[wanted.address] = time.monotonic() + LOOK_S
                return None
            await self._note(lease, wanted, span, afresh=True)
            self._sought.pop(wanted.address, None)
        await self._fill(lease, wanted, span)
        while (final := await _final(self._db, self._chain_id) or final) - span.last > GAP_MAX:
            span = replace(span, since=span.last + 1, last=final)
            await self._note(lease, wanted, span)
            await self._fill(lease, wanted, span)
        marks = await self._judged(wanted, span)
        gap = Gap(self._chain, wanted.address, span.last, self._receipts_share)
        await gap.read(await _tip(self._db, self._chain_id))
        return _Ready(wanted, span.first, gap, marks)

    async def _joined(self, lease: Lease, wanted: Wanted) -> bool:
        """Whether another issuer's wish has brought it already; it is live for this one, too."""
        tip = await _tip(self._db, self._chain_id)
        async with self._db.read() as connection:
            found = await queries.contract(connection, chain_id=self._chain_id, address=wanted.address, block=tip)
        if found is None:
            return False
        async with self._db.transaction() as session:
            await lease.hold(session)
            await adoptions.note(session, wanted, first_block=found.deployed_block, last_block=tip, detail=None)
            await adoptions.end(session, wanted)
        self._sought.pop(wanted.address, None)
        return True

    async def _first(self, lease: Lease, wanted: Wanted, final: int) -> Span | None:
        """What is to be filled in at first; None while the contract's first block is not final."""
        try:
            sought = self._sought.setdefault(wanted.address, Sought())
            first, proven = await first_block(self._chain, wanted.address, final=final, sought=sought), True
        except NodeRefused as refused:
            if refused.reason not in (Reason.HISTORY_GONE, Reason.BLOCK_UNKNOWN):
                raise
            oldest, _ = await _oldest(self._db, self._chain_id)
            first, proven = oldest if wanted.start_block is None else wanted.start_block, False
        if first is None or first > final:
            return None
        await extend_below(self._db, self._chain, lease, chain_id=self._chain_id, first=first)
        return Span(first, proven, first, final)

    async def _note(self, lease: Lease, wanted: Wanted, span: Span, *, afresh: bool = False) -> None:
        work = fill_name(
            self._chain_id, [wanted.address], first=span.since, last=span.last, purpose=_purpose(wanted.id)
        )
        async with self._db.transaction() as session:
            if afresh:
                await withdraw(session, chain_id=self._chain_id, address=wanted.address)
            await register(session, self._chain_id, {wanted.address})
            await adoptions.note(
                session,
                wanted,
                status="filling",
                first_block=span.first,
                first_proven=span.proven,
                since_block=span.since,
                last_block=span.last,
                work=work,
                detail=None,
            )
            # Last, since it locks the row that the follow gear's steps renew, and a withdrawal may take long.
            await lease.hold(session)

    async def _fill(self, lease: Lease, wanted: Wanted, span: Span) -> None:
        left = 1
        while left > 0:
            left = await fill(
                self._db,
                self._chain,
                lease,
                chain_id=self._chain_id,
                contracts=[wanted.address],
                first=span.since,
                last=span.last,
                purpose=_purpose(wanted.id),
            )

    async def _judged(self, wanted: Wanted, span: Span) -> tuple[Mark, ...]:
        """What is to be told of a contract from the beginning.

        Raises:
            Refused: its balances contradict a history whose beginning nobody could prove.
        """
        async with self._db.transaction() as session:
            contract_id = (await register(session, self._chain_id, {wanted.address}))[wanted.address]
        contract = Contract(contract_id, wanted.address, span.first, wanted.kind, rebuilt=0)
        silent = await announced(self._db, self._chain, contract=contract, block=span.last)
        if wanted.kind == BEACON:
            return () if silent is None else (silent,)
        finding = await judge(self._db, self._chain, contract=contract, block=span.last)
        if finding is not None and finding.name == BALANCES and not span.proven:
            raise Refused(
                "history-gone",
                "the node does not know the state of past blocks, and balances contradict a history that begins with "
                f"block {span.first}: give start_block, the contract's first block or an earlier one, or use a node "
                "that has its history",
            )
        # A balance of an ERC-20 that came earlier is missing in the supply; deeds that came earlier are in nothing.
        late = None if span.proven or wanted.kind == "erc20" else _unproven(span)
        return tuple(each for each in (_mark(finding), silent, late) if each is not None)


def _purpose(id: UUID) -> str:
    return f"adoption:{id}"


def _unproven(span: Span) -> Mark:
    detail = f"nobody proved that its history begins with block {span.first}: deeds that are older are not here"
    return Mark("history-unproven", span.first, detail)


def _mark(finding: Finding | None) -> Mark | None:
    if finding is None:
        return None
    name = finding.cause if finding.cause not in (None, "unknown") else finding.name
    whose = "in all" if finding.account is None else checksum(finding.account)
    detail = f"{whose}: its transfers say {finding.mirror}, the contract {finding.chain}"
    return Mark(name or finding.name, finding.block, detail)


@dataclass(slots=True)
class Sought:
    """Where a bisection stands: what a final block says of the contract's code, it says for ever."""

    without: int = -1
    with_: int | None = None


async def first_block(chain: Chain, address: bytes, *, final: int, sought: Sought) -> int | None:
    """The first block that has the contract's code, by bisection; None where the final block has none.

    Args:
        sought: what earlier attempts learnt; nothing is asked that it says.

    Raises:
        NodeRefused: HISTORY_GONE and BLOCK_UNKNOWN where the node does not know the state of past blocks.
    """
    if sought.with_ is None:
        if sought.without >= final:
            return None
        if not await chain.code(address, block=final):
            sought.without = final
            return None
        sought.with_ = final
    while sought.with_ - sought.without > 1:
        middle = (sought.without + sought.with_) // 2
        if await chain.code(address, block=middle):
            sought.with_ = middle
        else:
            sought.without = middle
    return sought.with_


# They count as shown since the block above them: the newest block that was shown at a moment is a newer one.
_SHOWN_SINCE = text("""
UPDATE mirror.blocks SET shown_at = (
    SELECT shown_at FROM mirror.blocks WHERE chain_id = :chain_id AND canonical AND number = :oldest)
WHERE chain_id = :chain_id AND canonical AND number >= :first AND number < :oldest
""")


async def extend_below(db: Database, chain: Chain, lease: Lease, *, chain_id: int, first: int) -> None:
    """Mirror the blocks from `first` up to the mirror's first one, newest first: labels of what is older need them.

    Raises:
        NodeLied: they do not lead to the mirror's first block.
        NodeUnavailable, NodeRefused, LeaseLost: what was written stays.
    """
    oldest, parent = await _oldest(db, chain_id)
    while oldest > first:
        count = min(HEADERS_AT_ONCE, oldest - first)
        blocks: list[Block] = await chain.blocks(first=oldest - count, count_max=count)
        if len(blocks) < count or not linked_to(blocks, parent):
            raise NodeLied(f"the blocks below {oldest} do not lead to it")
        async with db.transaction() as session:
            await lease.hold(session)
            await write_blocks(session, chain_id, blocks)
            await session.execute(_SHOWN_SINCE, {"chain_id": chain_id, "oldest": oldest, "first": blocks[0].number})
        oldest, parent = blocks[0].number, blocks[0].parent_hash


async def _oldest(db: Database, chain_id: int) -> tuple[int, bytes]:
    query = "SELECT number, parent_hash FROM mirror.blocks WHERE chain_id = %s AND canonical ORDER BY number LIMIT 1"
    ((number, parent_hash),) = await db.fetch(query, (chain_id,))
    return number, parent_hash


async def _tip(db: Database, chain_id: int) -> int:
    ((tip,),) = await db.fetch("SELECT max(number) FROM mirror.blocks WHERE chain_id = %s AND canonical", (chain_id,))
    return int(tip)


async def _final(db: Database, chain_id: int) -> int | None:
    """The newest block that is mirrored and final; None while there is none."""
    rows = await db.fetch(
        """SELECT number FROM mirror.blocks WHERE chain_id = %s AND canonical
            AND number <= (SELECT final_number FROM mirror.heads WHERE chain_id = %s)
        ORDER BY number DESC LIMIT 1""",
        (chain_id, chain_id),
    )
    return int(rows[0][0]) if rows else None
