"""What a step writes: the rows of the blocks that came, or the way back over the newest one.

The number of statements depends on how many tables are touched, and never on how many rows.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
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

from service.chain.events import Event
from service.chain.reader import Block, Log
from service.mirror import aspects, projections
from service.mirror.projections import Deployment, Range, Transfers
from service.mirror.tables import (
    BLOCKS,
    CONTRACTS,
    DEPLOYMENTS,
    EVENT_LOG,
    EVENTS,
    HOLDINGS,
    PAUSES,
    RANGED,
    STATES,
    SUPPLIES,
    TITLES,
    TRANSFERS,
    ranged_key,
    ranged_state,
)

Columns = dict[str, Sequence[Any]]
"""Values by column name, each as long as the others."""


@dataclass(frozen=True, slots=True)
class Happened:
    """What a run of blocks did to the contracts that are followed."""

    deployments: list[Deployment]
    transfers: Transfers
    others: list[tuple[Log, Event]]  # every event but transfers, in the order of the chain within a contract

    @property
    def contracts(self) -> set[bytes]:
        """Every contract that anything happened to."""
        return {
            *(each.contract for each in self.deployments),
            *self.transfers.contracts,
            *(log.address for log, _ in self.others),
        }

    def __len__(self) -> int:
        return len(self.deployments) + len(self.transfers) + len(self.others)


@dataclass(frozen=True, slots=True)
class _Step:
    """What all of a step's writing needs."""

    session: AsyncSession
    ids: Mapping[bytes, int]  # of contracts, by address
    hashes: Mapping[int, bytes]  # of the step's blocks, by number


async def apply(session: AsyncSession, *, chain_id: int, blocks: Sequence[Block], happened: Happened) -> None:
    """Write blocks that follow the mirror's tip, and all that happened in them.

    Raises:
        ImpossibleAmount: the events add up to an amount that no contract can hold.
    """
    await _write_blocks(session, chain_id, blocks)
    if not len(happened):
        return
    await _write_contracts(session, chain_id, happened.deployments)
    ids = await _contract_ids(session, chain_id, happened.contracts)
    step = _Step(session, ids, {block.number: block.hash for block in blocks})
    if happened.deployments:
        await _write_deployments(step, happened.deployments)
    if len(happened.transfers):
        await _write_transfers(step, happened.transfers)
        await _write_amounts(step, HOLDINGS, projections.net_holdings(happened.transfers))
        await _write_amounts(step, SUPPLIES, projections.net_supplies(happened.transfers))
        await _write_closings(step, TITLES, projections.closing_titles(happened.transfers), unset=None)
    if happened.others:
        await _write_events(step, happened.others)
        await _write_closings(step, PAUSES, projections.closing_pauses(happened.others), unset=False)
        await _write_states(step, happened.others)


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


async def _write_deployments(step: _Step, deployments: Sequence[Deployment]) -> None:
    columns: Columns = {
        "contract_id": [step.ids[each.contract] for each in deployments],
        "block_hash": [each.block_hash for each in deployments],
        "block_number": [each.block_number for each in deployments],
        "salt": [each.salt for each in deployments],
        "operator": [each.operator for each in deployments],
        "kind": [each.kind for each in deployments],
    }
    await _upsert(step.session, DEPLOYMENTS, columns, {"canonical": True})


async def _write_transfers(step: _Step, transfers: Transfers) -> None:
    columns: Columns = {
        "block_hash": transfers.block_hashes,
        "log_index": transfers.log_indexes,
        "contract_id": [step.ids[contract] for contract in transfers.contracts],
        "block_number": transfers.block_numbers,
        "transaction_hash": transfers.transaction_hashes,
        "sender": transfers.senders,
        "recipient": transfers.recipients,
        "amount": transfers.amounts,
    }
    if transfers.deeds:
        columns["deed_id"] = transfers.deed_ids
    await _upsert(step.session, TRANSFERS, columns, {"canonical": True})


async def _write_events(step: _Step, others: Sequence[tuple[Log, Event]]) -> None:
    columns: Columns = {
        "block_hash": [log.block_hash for log, _ in others],
        "log_index": [log.log_index for log, _ in others],
        "contract_id": [step.ids[log.address] for log, _ in others],
        "block_number": [log.block_number for log, _ in others],
        "transaction_hash": [log.transaction_hash for log, _ in others],
        "name": [event.name for _, event in others],
        "arguments": [event.arguments for _, event in others],
    }
    await _upsert(step.session, EVENT_LOG, columns, {"canonical": True})


async def _write_amounts(step: _Step, table: Table, deltas: Mapping[Any, Mapping[int, int]]) -> None:
    opening = await _opening(step, table, deltas)
    closings = projections.closing_amounts(opening, deltas)
    await _write_ranges(step, table, projections.ranges(opening, closings, unset=0))


async def _write_closings(step: _Step, table: Table, closings: Mapping[Any, Mapping[int, Any]], *, unset: Any) -> None:
    if closings:
        opening = await _opening(step, table, closings)
        await _write_ranges(step, table, projections.ranges(opening, closings, unset=unset))


async def _write_states(step: _Step, others: Sequence[tuple[Log, Event]]) -> None:
    found = [
        change
        for log, event in others
        for change in aspects.changes(log.address, log.block_number, event.signature, event.arguments)
    ]
    if found:
        opening = await _opening(step, STATES, {change.place: None for change in found})
        closings = aspects.closing_states(opening, found)
        await _write_ranges(step, STATES, projections.ranges(opening, closings, unset=None))


async def _opening(step: _Step, table: Table, keys: Iterable[tuple[Any, ...]]) -> dict[Any, Any]:
    """The open state of each key that has one, in one question."""
    asked = {(step.ids[key[0]], *key[1:]): key for key in keys}
    names = ranged_key(table)
    touched = _rows(table, {name: [key[i] for key in asked] for i, name in enumerate(names)})
    found = await step.session.execute(
        select(*(table.c[name] for name in names), table.c[ranged_state(table)])
        .join(touched, and_(*(touched.c[name] == table.c[name] for name in names)))
        .where(table.c.to_block.is_(None), table.c.canonical)
    )
    return {asked[tuple(key)]: state for *key, state in found}


async def _write_ranges(step: _Step, table: Table, found: Sequence[Range[Any, Any]]) -> None:
    """Close what each key had open at its first change, then begin its new ranges."""
    if not found:
        return
    names = ranged_key(table)
    keys: Columns = {
        name: [step.ids[each.key[0]] if i == 0 else each.key[i] for each in found] for i, name in enumerate(names)
    }
    columns: Columns = {
        **keys,
        "from_block": [each.from_block for each in found],
        "to_block": [each.to_block for each in found],
        "block_hash": [step.hashes[each.from_block] for each in found],
        ranged_state(table): [each.state for each in found],
    }
    begun = _rows(table, {name: columns[name] for name in (*names, "from_block")})
    first = (
        select(*(begun.c[name] for name in names), func.min(begun.c.from_block).label("from_block"))
        .group_by(*(begun.c[name] for name in names))
        .subquery("first")
    )
    await step.session.execute(
        update(table)
        .where(table.c.to_block.is_(None), table.c.canonical, *(table.c[name] == first.c[name] for name in names))
        .values(to_block=first.c.from_block)
    )
    await _upsert(step.session, table, columns, {"canonical": True}, "to_block")


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
    if isinstance(value, int):
        return str(value)
    if isinstance(value, dict):
        return _quoted(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
    if isinstance(value, str):
        return _quoted(value)
    return "NULL" if value is None else str(value)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
