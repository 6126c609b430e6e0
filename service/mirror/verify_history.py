"""Past blocks: every row that the mirror has of them, against what the chain's headers and logs make of them.

The rows that a run of blocks must have are derived as the indexer derives them, and compared one by one; what held
before the run is taken from the mirror, and was compared with the run before it.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Table, select
from sqlalchemy.ext.asyncio import AsyncSession

from service.addresses import ZERO
from service.chain import events
from service.chain.reader import Block, Chain, Log
from service.db import Database
from service.mirror import projections, proxies
from service.mirror.apply import Happened, Step, ask_opening, derived
from service.mirror.differences import Difference, ReorganisedMeanwhile, Tally
from service.mirror.projections import Deployment
from service.mirror.queries import Contract
from service.mirror.statements import connection_of
from service.mirror.tables import BLOCKS, CONTRACTS, EVENT_LOG, RANGED, TRANSFERS, ranged_key, ranged_state
from service.mirror.verify_deployments import every_log, unlike
from service.mirror.width import ADDRESSES_MAX, Question

BLOCKS_MAX = 200
"""Blocks compared at once."""

LOGS_MAX = 20_000
"""Logs that make the next run shorter, so that memory does not grow with how full blocks are."""

KINDS = {
    "blocks": "block",
    "deployments": "deployment",
    "transfers": "transfer",
    "events": "event",
    "holdings": "holding",
    "supplies": "supply",
    "pauses": "paused",
    "titles": "title",
    "states": "state",
    "digests": "digest",
}
"""What a difference in each table is called."""

_MOVED = ("address", "block_hash", "transaction_hash", "sender", "recipient", "amount", "deed_id")
_SAID = ("address", "block_hash", "transaction_hash", "name", "arguments")

Rows = dict[tuple[Any, ...], dict[str, Any]]
"""Rows by what names them: for a range the contract, its key and its first block; else block number and log index."""


@dataclass(frozen=True, slots=True)
class History:
    """Whose past is compared: the contracts that both the chain and the mirror have."""

    db: Database
    chain: Chain
    chain_id: int
    since: Mapping[bytes, int]  # the first block of each contract
    ids: Mapping[bytes, int]
    tally: Tally


async def compare_run(history: History, first: int, last: int) -> AsyncIterator[Difference]:
    """Compare blocks `first` to `last`, a bounded number at a time."""
    width = min(BLOCKS_MAX, last - first + 1)
    while first <= last:
        blocks = await _blocks(history, first, min(first + width - 1, last))
        happened = await _happened(history, blocks)
        for difference in await _compare(history, blocks, happened):
            yield difference
        history.tally.add(len(blocks))
        first += len(blocks)
        width = min(BLOCKS_MAX, max(1, len(blocks) * LOGS_MAX // max(2 * len(happened), 1)), 2 * width)


async def _blocks(history: History, first: int, last: int) -> list[Block]:
    blocks = await history.chain.blocks(first=first, count_max=last - first + 1)
    if len(blocks) <= last - first:
        raise ReorganisedMeanwhile(f"the node has no block {first + len(blocks)} any more: run verify again")
    return blocks


async def _happened(history: History, blocks: Sequence[Block]) -> Happened:
    first, last = blocks[0].number, blocks[-1].number
    followed = sorted(address for address, since in history.since.items() if since <= last and address in history.ids)
    logs: list[Log] = []
    for start in range(0, len(followed), ADDRESSES_MAX):
        part = followed[start : start + ADDRESSES_MAX]
        logs += await every_log(history.chain, Question(first, last, part, events.known().topics))
    logs = [log for log in logs if log.block_number >= history.since[log.address]]
    if any(log.block_hash != blocks[log.block_number - first].hash for log in logs):
        raise ReorganisedMeanwhile("the chain changed between headers and logs: run verify again")
    everyone = frozenset(followed)
    transfers = projections.decode_transfers(logs, followed=everyone)
    return Happened([], transfers, projections.decode_others(logs, followed=everyone))


async def _compare(history: History, blocks: Sequence[Block], happened: Happened) -> list[Difference]:
    first, last = blocks[0].number, blocks[-1].number
    hashes = {block.number: block.hash for block in blocks}
    async with history.db.transaction() as session:
        pairs = [
            (BLOCKS, await _mirrored_blocks(session, history.chain_id, first, last), _header_rows(blocks)),
            (TRANSFERS, await _mirrored(session, history, TRANSFERS, _MOVED, first, last), _transfer_rows(happened)),
            (EVENT_LOG, await _mirrored(session, history, EVENT_LOG, _SAID, first, last), _event_rows(happened)),
        ]
        ranges = await _derived_rows(session, history, happened, hashes, before=first)
        pairs += [
            (table, await _mirrored_ranges(session, history, table, first, last), ranges.get(table, {}))
            for table in RANGED
        ]
    return [
        _difference(table, place, mirror.get(place), chain.get(place))
        for table, mirror, chain in pairs
        for place in sorted(mirror.keys() | chain.keys(), key=repr)
        if mirror.get(place) != chain.get(place)
    ]


def _difference(
    table: Table, place: tuple[Any, ...], mirror: Mapping[str, Any] | None, chain: Mapping[str, Any] | None
) -> Difference:
    kind, words = KINDS[table.name], unlike(mirror, chain)
    if table not in RANGED:
        contract = (chain or mirror or {}).get("address")
        key = None if table is BLOCKS else place[1].to_bytes(4)
        return Difference(kind, contract, None, *words, key=key, block=place[0])
    contract, *keys, block = place
    if kind == "state":
        kind, key = keys
    else:
        key = keys[0].to_bytes(32) if kind == "title" else keys[0] if keys else None
    account = key if key is not None and len(key) == len(ZERO) else None
    return Difference(kind, contract, account, *words, key=None if kind == "holding" else key, block=block)


# What the chain says


def _header_rows(blocks: Iterable[Block]) -> Rows:
    return {
        (block.number,): {
            "hash": block.hash,
            "parent_hash": block.parent_hash,
            "timestamp": datetime.fromtimestamp(block.timestamp, UTC),
        }
        for block in blocks
    }


def _transfer_rows(happened: Happened) -> Rows:
    moved = happened.transfers
    values = zip(
        moved.contracts,
        moved.block_hashes,
        moved.transaction_hashes,
        moved.senders,
        moved.recipients,
        moved.amounts,
        moved.deed_ids,
        strict=True,
    )
    places = zip(moved.block_numbers, moved.log_indexes, strict=True)
    return {place: dict(zip(_MOVED, row, strict=True)) for place, row in zip(places, values, strict=True)}


def _event_rows(happened: Happened) -> Rows:
    return {
        (log.block_number, log.log_index): {
            "address": log.address,
            "block_hash": log.block_hash,
            "transaction_hash": log.transaction_hash,
            "name": event.name,
            "arguments": event.arguments,
        }
        for log, event in happened.others
    }


async def _derived_rows(
    session: AsyncSession, history: History, happened: Happened, hashes: Mapping[int, bytes], *, before: int
) -> dict[Table, Rows]:
    step = Step(await connection_of(session), history.chain_id, history.ids, hashes)
    found: dict[Table, Rows] = {}
    for each in derived(happened, chain_id=history.chain_id, hashes=hashes):
        opening = await (await ask_opening(step, each.table, each.keys, before=before)).states()
        begun = projections.ranges(opening, each.closings(opening), unset=each.unset)
        state = ranged_state(each.table)
        found[each.table] = {
            (*one.key, one.from_block): {"block_hash": hashes[one.from_block], state: one.state} for one in begun
        }
    return found


# What the mirror says


async def _mirrored_blocks(session: AsyncSession, chain_id: int, first: int, last: int) -> Rows:
    found = await session.execute(
        select(BLOCKS.c.number, BLOCKS.c.hash, BLOCKS.c.parent_hash, BLOCKS.c.timestamp).where(
            BLOCKS.c.chain_id == chain_id, BLOCKS.c.canonical, BLOCKS.c.number.between(first, last)
        )
    )
    names = ("hash", "parent_hash", "timestamp")
    return {(number,): dict(zip(names, row, strict=True)) for number, *row in found}


async def _mirrored(
    session: AsyncSession, history: History, table: Table, names: Sequence[str], first: int, last: int
) -> Rows:
    columns = [CONTRACTS.c.address if name == "address" else table.c[name] for name in names]
    found = await session.execute(
        select(BLOCKS.c.number, table.c.log_index, *columns)
        .join_from(BLOCKS, table, table.c.block_hash == BLOCKS.c.hash)
        .join(CONTRACTS, CONTRACTS.c.id == table.c.contract_id)
        .where(
            *(BLOCKS.c.chain_id == history.chain_id, BLOCKS.c.canonical, BLOCKS.c.number.between(first, last)),
            *(table.c.canonical, table.c.contract_id.in_(history.ids.values())),
        )
    )
    return {(number, index): dict(zip(names, row, strict=True)) for number, index, *row in found}


async def _mirrored_ranges(session: AsyncSession, history: History, table: Table, first: int, last: int) -> Rows:
    keys, state = ranged_key(table)[1:], ranged_state(table)
    found = await session.execute(
        select(
            CONTRACTS.c.address,
            *(table.c[name] for name in keys),
            table.c.from_block,
            table.c.block_hash,
            table.c[state],
        )
        .join(CONTRACTS, CONTRACTS.c.id == table.c.contract_id)
        .where(
            table.c.from_block.between(first, last), table.c.canonical, table.c.contract_id.in_(history.ids.values())
        )
    )
    return {tuple(place): {"block_hash": block_hash, state: value} for *place, block_hash, value in found}


def followed(on_chain: Iterable[Deployment], found: Iterable[Contract], *, last: int) -> dict[bytes, int]:
    """The contracts whose logs the mirror has at a block, and the first block of each.

    Args:
        found: those of the mirror, among which are the adopted ones.
    """
    adopted = {each.address: each.deployed_block for each in found if each.kind in proxies.OTHERS}
    return adopted | {each.contract: each.block_number for each in on_chain if each.block_number <= last}
