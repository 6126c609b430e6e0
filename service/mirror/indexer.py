"""The indexer's step: take the mirror towards the node's head, or one block back when the chain left our branch.

Each step writes in one DB transaction, under the worker's lease, with a number of statements that does not depend on
how much happened in its blocks.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise, takewhile
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    String,
    Table,
    and_,
    cast,
    column,
    exists,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from service.chain import contracts
from service.chain.node import NodeRefused
from service.chain.reader import Block, Chain, Head, Log
from service.chain.reasons import Reason
from service.db import Database, ReadConnection
from service.mirror import projections
from service.mirror.projections import Deployment, Range, Transfers
from service.mirror.tables import (
    BLOCKS,
    CONTRACTS,
    DEPLOYMENTS,
    EVENTS,
    HEADS,
    HOLDINGS,
    PAUSES,
    RANGED,
    SUPPLIES,
    TRANSFERS,
    ranged_key,
    ranged_state,
)
from service.telemetry import logger
from service.workers import Lease

ADDRESSES_MAX = 500
"""Addresses in one question for logs."""

HEAD_AGE_MAX = timedelta(seconds=1)
"""The node's unchanged head is written again after this, so that readers see the indexer alive."""

TOPICS = (contracts.TRANSFER, contracts.PAUSED, contracts.UNPAUSED, contracts.DEPLOYED)

Columns = dict[str, Sequence[Any]]
"""Values by column name, each as long as the others."""


class Inconsistent(Exception):
    """Two answers of the node describe different chains: nothing may be built from them."""


@dataclass(frozen=True, slots=True)
class _Mirrored:
    """Where the mirror stands before the step."""

    tip_number: int | None
    tip_hash: bytes | None
    head: tuple[int, int] | None  # head and final number, as last written
    head_fresh: bool
    followed: frozenset[bytes]


@dataclass(frozen=True, slots=True)
class _Events:
    """What a run of blocks did to the factory and the contracts we follow."""

    deployments: list[Deployment]
    transfers: Transfers
    pauses: dict[tuple[bytes], dict[int, bool]]

    @property
    def contracts(self) -> set[bytes]:
        return {
            *(each.contract for each in self.deployments),
            *self.transfers.contracts,
            *(contract for (contract,) in self.pauses),
        }

    def __len__(self) -> int:
        return len(self.deployments) + len(self.transfers) + len(self.pauses)


async def converge(
    db: Database, chain: Chain, lease: Lease, *, chain_id: int, factory: bytes, start_block: int, blocks_max: int
) -> int:
    """Take one step towards the node's head.

    Args:
        factory: the AssetFactory; its `Deployed` events say which contracts are followed.
        start_block: the mirror's first block; no contract may be older.
        blocks_max: most blocks to apply in one step, 1 or more.

    Returns:
        Blocks applied; 1 too when our newest block was undone; 0 when level, and when the node's answers
        contradict each other (a reorganisation between two questions), which the next step asks about again.

    Raises:
        NodeUnavailable, NodeRefused: the node gave no usable answer; nothing was written.
        LeaseLost: another indexer took over; nothing was written.
        ImpossibleAmount: the chain's events add up to a negative amount; nothing was written.
    """
    async with db.read() as connection:
        mirrored = await _mirrored(connection, chain_id)
    head = await chain.head()
    try:
        new = await _new_blocks(chain, mirrored, head, start_block=start_block, blocks_max=blocks_max)
        if new is None:
            await _undo_tip(db, lease, chain_id=chain_id, mirrored=mirrored, head=head)
            return 1
        if not new:
            await _record_idle_head(db, lease, chain_id=chain_id, mirrored=mirrored, head=head)
            return 0
        new, events = await _events(chain, new, factory=factory, followed=mirrored.followed)
    except Inconsistent as error:
        logger().warning("node_inconsistent", reason=str(error), tip_number=mirrored.tip_number)
        return 0
    await _apply(db, lease, chain_id=chain_id, head=head, blocks=new, events=events)
    return len(new)


# What the node says


async def _mirrored(connection: ReadConnection, chain_id: int) -> _Mirrored:
    tip = await (
        await connection.execute(
            "SELECT number, hash FROM mirror.blocks WHERE chain_id = %s AND canonical ORDER BY number DESC LIMIT 1",
            (chain_id,),
        )
    ).fetchone()
    head = await (
        await connection.execute(
            "SELECT head_number, final_number, clock_timestamp() - seen_at < %s FROM mirror.heads WHERE chain_id = %s",
            (HEAD_AGE_MAX, chain_id),
        )
    ).fetchone()
    followed = await (
        await connection.execute(
            """SELECT DISTINCT address FROM mirror.contracts JOIN mirror.deployments ON contract_id = id
            WHERE chain_id = %s AND canonical""",
            (chain_id,),
        )
    ).fetchall()
    return _Mirrored(
        tip_number=tip[0] if tip else None,
        tip_hash=tip[1] if tip else None,
        head=(head[0], head[1]) if head else None,
        head_fresh=bool(head and head[2]),
        followed=frozenset(address for (address,) in followed),
    )


async def _new_blocks(
    chain: Chain, mirrored: _Mirrored, head: Head, *, start_block: int, blocks_max: int
) -> list[Block] | None:
    """Blocks that follow our tip, oldest first; None when the chain left our tip."""
    if mirrored.tip_number is None:
        batch = await chain.blocks(first=start_block, count_max=blocks_max) if head.tip.number >= start_block else []
        return [*batch[:1], *_linked(batch)]
    if head.tip.hash == mirrored.tip_hash:
        return []
    # Our own tip again, too: a reorganisation may leave the height as it was, and a rule that looks only at the
    # next block's parent would serve dead balances until that block comes.
    ahead = max(head.tip.number - mirrored.tip_number, 0)
    batch = await chain.blocks(first=mirrored.tip_number, count_max=1 + min(ahead, blocks_max))
    if not batch or batch[0].hash != mirrored.tip_hash:
        return None
    new = _linked(batch)
    if len(batch) > 1 and not new:
        raise Inconsistent("the block after our tip has another parent")
    return new


def _linked(batch: Sequence[Block]) -> list[Block]:
    return [block for _, block in takewhile(lambda pair: pair[1].parent_hash == pair[0].hash, pairwise(batch))]


async def _events(
    chain: Chain, blocks: list[Block], *, factory: bytes, followed: frozenset[bytes]
) -> tuple[list[Block], _Events]:
    """What happened in the blocks, or in their first part where the node refuses so long a range."""
    try:
        logs = await _logs(chain, blocks, [factory, *sorted(followed - {factory})])
        deployments = projections.decode_deployments(logs, factory=factory)
        fresh = {each.contract for each in deployments} - followed - {factory}
        # A contract acts from its first block on, which is one of these.
        logs += await _logs(chain, blocks, sorted(fresh))
    except NodeRefused as refused:
        if refused.reason is Reason.BLOCK_UNKNOWN:
            raise Inconsistent("the node no longer has the blocks it showed") from refused
        if refused.reason is not Reason.RANGE_TOO_LARGE or len(blocks) == 1:
            raise
        return await _events(chain, blocks[: len(blocks) // 2], factory=factory, followed=followed)
    everyone = followed | fresh
    transfers = projections.decode_transfers(logs, followed=everyone)
    pauses = projections.closing_pauses(logs, followed=everyone)
    return blocks, _Events(deployments, transfers, pauses)


async def _logs(chain: Chain, blocks: Sequence[Block], addresses: Sequence[bytes]) -> list[Log]:
    """Logs of exactly these blocks, in order within each contract.

    Raises:
        Inconsistent: the node showed logs of another branch, of another contract, or one log twice.
    """
    found: list[Log] = []
    hashes = {block.number: block.hash for block in blocks}
    for start in range(0, len(addresses), ADDRESSES_MAX):
        asked = addresses[start : start + ADDRESSES_MAX]
        logs, closing = await chain.logs(first=blocks[0].number, last=blocks[-1].number, addresses=asked, topics=TOPICS)
        if closing.hash != blocks[-1].hash:
            raise Inconsistent("the chain changed between headers and logs")
        if any(hashes.get(log.block_number) != log.block_hash for log in logs):
            raise Inconsistent("a log names a block that is not among the headers")
        expected = frozenset(asked)
        if any(log.address not in expected or not log.topics for log in logs):
            raise Inconsistent("a log was not asked for")
        found += logs
    if len({(log.block_hash, log.log_index) for log in found}) != len(found):
        raise Inconsistent("a log came twice")
    return found


# What we write


async def _undo_tip(db: Database, lease: Lease, *, chain_id: int, mirrored: _Mirrored, head: Head) -> None:
    assert mirrored.tip_number is not None
    assert mirrored.tip_hash is not None
    number, block_hash = mirrored.tip_number, mirrored.tip_hash
    final_before = mirrored.head[1] if mirrored.head else -1
    async with db.transaction() as session:
        await lease.hold(session)
        await undo(session, number=number, block_hash=block_hash)
        # Blocks below may be dead too, so nothing new is called final before the branches meet again.
        final = min(final_before, head.final_number, number - 1)
        await _record_head(session, chain_id, head.tip.number, final)
    log = logger().bind(block_number=number, block_hash=block_hash.hex(), head_number=head.tip.number)
    log.info("block_undone")
    if number <= final_before:
        log.error("reorganised_below_final", final_number=final_before)


async def undo(session: AsyncSession, *, number: int, block_hash: bytes) -> None:
    """Take the mirror's newest block off: its rows stay, no longer canonical, and what they replaced holds again."""
    await session.execute(
        update(BLOCKS).where(BLOCKS.c.hash == block_hash).values(canonical=False, undone_at=func.clock_timestamp())
    )
    for table in EVENTS:
        await session.execute(update(table).where(table.c.block_hash == block_hash).values(canonical=False))
    for table in RANGED:
        begun = table.alias("begun")
        here = and_(begun.c.from_block == number, begun.c.block_hash == block_hash)
        await session.execute(
            update(table).where(table.c.from_block == number, table.c.block_hash == block_hash).values(canonical=False)
        )
        same = [table.c[name] == begun.c[name] for name in ranged_key(table)]
        await session.execute(
            update(table).where(table.c.to_block == number, table.c.canonical, here, *same).values(to_block=None)
        )


async def _apply(
    db: Database, lease: Lease, *, chain_id: int, head: Head, blocks: Sequence[Block], events: _Events
) -> None:
    began = time.perf_counter()
    holdings = projections.net_holdings(events.transfers)
    supplies = projections.net_supplies(events.transfers)
    hashes = {block.number: block.hash for block in blocks}
    async with db.transaction() as session:
        await lease.hold(session)
        await _write_blocks(session, chain_id, blocks)
        if len(events):
            await _write_contracts(session, chain_id, events.deployments)
            ids = await _contract_ids(session, chain_id, events.contracts)
            await _write_deployments(session, ids, events.deployments)
            await _write_transfers(session, ids, events.transfers)
            await _write_amounts(session, HOLDINGS, ids, hashes, holdings)
            await _write_amounts(session, SUPPLIES, ids, hashes, supplies)
            paused = await _opening(session, PAUSES, ids, events.pauses)
            found = projections.ranges(paused, events.pauses, unset=False)
            await _write_ranges(session, PAUSES, ids, hashes, found)
        await _record_head(session, chain_id, head.tip.number, head.final_number)
    logger().info(
        "blocks_applied",
        blocks=len(blocks),
        events=len(events),
        tip_number=blocks[-1].number,
        head_number=head.tip.number,
        duration_ms=round((time.perf_counter() - began) * 1000),
    )


async def _record_idle_head(db: Database, lease: Lease, *, chain_id: int, mirrored: _Mirrored, head: Head) -> None:
    if mirrored.head_fresh and mirrored.head == (head.tip.number, head.final_number):
        return
    async with db.transaction() as session:
        await lease.hold(session)
        await _record_head(session, chain_id, head.tip.number, head.final_number)


async def _record_head(session: AsyncSession, chain_id: int, head_number: int, final_number: int) -> None:
    said = {"head_number": head_number, "final_number": final_number, "seen_at": func.clock_timestamp()}
    await session.execute(
        insert(HEADS).values(chain_id=chain_id, **said).on_conflict_do_update(index_elements=["chain_id"], set_=said)
    )


async def _write_blocks(session: AsyncSession, chain_id: int, blocks: Sequence[Block]) -> None:
    columns: Columns = {
        "hash": [block.hash for block in blocks],
        "number": [block.number for block in blocks],
        "parent_hash": [block.parent_hash for block in blocks],
        "timestamp": [datetime.fromtimestamp(block.timestamp, UTC) for block in blocks],
    }
    await _upsert(session, BLOCKS, columns, {"chain_id": chain_id, "canonical": True}, undone_at=None)


async def _write_contracts(session: AsyncSession, chain_id: int, deployments: Sequence[Deployment]) -> None:
    given = _rows(CONTRACTS, {"address": sorted({each.contract for each in deployments})})
    # Not ON CONFLICT: that spends a number of the identity for each row it then leaves alone.
    known = exists().where(CONTRACTS.c.chain_id == chain_id, CONTRACTS.c.address == given.c.address)
    fresh = select(literal(chain_id, BigInteger), given.c.address).where(~known)
    await session.execute(insert(CONTRACTS).from_select(["chain_id", "address"], fresh))


async def _contract_ids(session: AsyncSession, chain_id: int, addresses: set[bytes]) -> dict[bytes, int]:
    given = _rows(CONTRACTS, {"address": sorted(addresses)})
    found = await session.execute(
        select(CONTRACTS.c.address, CONTRACTS.c.id)
        .join(given, given.c.address == CONTRACTS.c.address)
        .where(CONTRACTS.c.chain_id == chain_id)
    )
    return dict(found.all())


async def _write_deployments(
    session: AsyncSession, ids: Mapping[bytes, int], deployments: Sequence[Deployment]
) -> None:
    columns: Columns = {
        "contract_id": [ids[each.contract] for each in deployments],
        "block_hash": [each.block_hash for each in deployments],
        "block_number": [each.block_number for each in deployments],
        "salt": [each.salt for each in deployments],
        "operator": [each.operator for each in deployments],
    }
    await _upsert(session, DEPLOYMENTS, columns, {"canonical": True})


async def _write_transfers(session: AsyncSession, ids: Mapping[bytes, int], transfers: Transfers) -> None:
    columns: Columns = {
        "block_hash": transfers.block_hashes,
        "log_index": transfers.log_indexes,
        "contract_id": [ids[contract] for contract in transfers.contracts],
        "block_number": transfers.block_numbers,
        "transaction_hash": transfers.transaction_hashes,
        "sender": transfers.senders,
        "recipient": transfers.recipients,
        "amount": transfers.amounts,
    }
    await _upsert(session, TRANSFERS, columns, {"canonical": True})


async def _write_amounts(
    session: AsyncSession,
    table: Table,
    ids: Mapping[bytes, int],
    hashes: Mapping[int, bytes],
    deltas: Mapping[Any, Mapping[int, int]],
) -> None:
    opening = await _opening(session, table, ids, deltas)
    closings = projections.closing_amounts(opening, deltas)
    await _write_ranges(session, table, ids, hashes, projections.ranges(opening, closings, unset=0))


async def _opening(
    session: AsyncSession, table: Table, ids: Mapping[bytes, int], keys: Iterable[tuple[bytes, ...]]
) -> dict[Any, Any]:
    """The open state of each key that has one, in one question."""
    asked = {(ids[key[0]], *key[1:]): key for key in keys}
    names = ranged_key(table)
    touched = _rows(table, {name: [key[i] for key in asked] for i, name in enumerate(names)})
    found = await session.execute(
        select(*(table.c[name] for name in names), table.c[ranged_state(table)])
        .join(touched, and_(*(touched.c[name] == table.c[name] for name in names)))
        .where(table.c.to_block.is_(None), table.c.canonical)
    )
    return {asked[tuple(key)]: state for *key, state in found}


async def _write_ranges(
    session: AsyncSession,
    table: Table,
    ids: Mapping[bytes, int],
    hashes: Mapping[int, bytes],
    found: Sequence[Range[Any, Any]],
) -> None:
    """Close what each key had open at its first change, then begin its new ranges."""
    names = ranged_key(table)
    keys: Columns = {
        name: [ids[each.key[0]] if i == 0 else each.key[i] for each in found] for i, name in enumerate(names)
    }
    columns: Columns = {
        **keys,
        "from_block": [each.from_block for each in found],
        "to_block": [each.to_block for each in found],
        "block_hash": [hashes[each.from_block] for each in found],
        ranged_state(table): [each.state for each in found],
    }
    begun = _rows(table, {name: columns[name] for name in (*names, "from_block")})
    first = (
        select(*(begun.c[name] for name in names), func.min(begun.c.from_block).label("from_block"))
        .group_by(*(begun.c[name] for name in names))
        .subquery("first")
    )
    await session.execute(
        update(table)
        .where(table.c.to_block.is_(None), table.c.canonical, *(table.c[name] == first.c[name] for name in names))
        .values(to_block=first.c.from_block)
    )
    await _upsert(session, table, columns, {"canonical": True}, "to_block")


async def _upsert(
    session: AsyncSession,
    table: Table,
    columns: Columns,
    same: Mapping[str, Any],
    *again: str,
    **reset: Any,
) -> None:
    """Insert rows; those that were shown before and undone become canonical again, with fresh `again` columns."""
    rows = _rows(table, columns)
    constants = [literal(value, table.c[name].type) for name, value in same.items()]
    statement = insert(table).from_select([*columns, *same], select(*rows.c, *constants))
    fresh = {name: statement.excluded[name] for name in again}
    key = [column.name for column in table.primary_key]
    await session.execute(
        statement.on_conflict_do_update(index_elements=key, set_={"canonical": True, **fresh, **reset})
    )


def _rows(table: Table, columns: Columns) -> Any:
    """Columns of values as rows beside the tables: one statement and one parameter a column, however many rows."""
    arrays = [cast(literal(_array(values), String), ARRAY(table.c[name].type)) for name, values in columns.items()]
    typed = [column(name, table.c[name].type) for name in columns]
    return func.unnest(*arrays).table_valued(*typed, name="given").render_derived()


def _array(values: Sequence[Any]) -> str:
    """A Postgres array literal: written at once, since the driver's own takes several times as long."""
    return "{" + ",".join(map(_element, values)) + "}"


def _element(value: Any) -> str:
    if isinstance(value, bytes):
        return f'"\\\\x{value.hex()}"'
    return "NULL" if value is None else str(value)
