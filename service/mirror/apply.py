"""What a step writes: the rows of the blocks that came, or the way back over the newest one.

The number of statements depends on how many tables are touched, and never on how many rows.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Table, and_, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from service.chain.events import Event
from service.chain.reader import Block, Log
from service.mirror import aspects, digests, projections, statements
from service.mirror.projections import Deployment, Range, Transfers
from service.mirror.statements import Columns, Connection, Cursor, connection_of
from service.mirror.tables import (
    BLOCKS,
    CONTRACTS,
    DEPLOYMENTS,
    DIGESTS,
    EVENT_LOG,
    EVENTS,
    HOLDINGS,
    PAUSES,
    RANGED,
    SHOWINGS,
    STATES,
    SUPPLIES,
    TITLES,
    TRANSFERS,
    ranged_key,
    ranged_state,
)

# A key's open row is one look into an index whose pages are in memory; at the usual price of such a look the planner
# reads whole tables that are not huge, which takes ten times as long.
_LOOK_UP = "SET LOCAL random_page_cost = 1"

# Not ON CONFLICT: that spends a number of the identity for each row it then leaves alone.
_NEW_CONTRACTS = f"""
INSERT INTO mirror.contracts (chain_id, address)
SELECT %(chain_id)s, given.address FROM {statements.given(CONTRACTS, ("address",))} WHERE NOT EXISTS (
    SELECT FROM mirror.contracts AS known WHERE known.chain_id = %(chain_id)s AND known.address = given.address)
"""

_CONTRACT_IDS = f"""
SELECT contracts.address, contracts.id FROM {statements.given(CONTRACTS, ("address",))}
JOIN mirror.contracts ON contracts.address = given.address AND contracts.chain_id = %(chain_id)s
"""


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

    def without(self, contract: bytes) -> "Happened":
        """The same but for all that happened to one contract."""
        return Happened(
            [each for each in self.deployments if each.contract != contract],
            self.transfers.without(contract),
            [(log, event) for log, event in self.others if log.address != contract],
        )

    def digested(self) -> tuple[digests.Columns, ...]:
        """What the digests cover of it."""
        moved, logs = self.transfers, [log for log, _ in self.others]
        words, kinds = digests.words(moved.amounts, moved.deed_ids)
        transfers = digests.transfer_rows(
            moved.log_indexes, moved.transaction_hashes, moved.senders, moved.recipients, words, kinds
        )
        others = digests.event_rows(
            [log.log_index for log in logs],
            [log.transaction_hash for log in logs],
            [event.name for _, event in self.others],
            [event.arguments for _, event in self.others],
        )
        return (
            (moved.contracts, moved.block_numbers, transfers),
            ([log.address for log in logs], [log.block_number for log in logs], others),
        )

    def __len__(self) -> int:
        return len(self.deployments) + len(self.transfers) + len(self.others)


@dataclass(frozen=True, slots=True)
class Derived:
    """What events change in one ranged table."""

    table: Table
    keys: Collection[Any]  # that are touched
    closings: Callable[
        [Mapping[Any, Any]], Mapping[Any, Mapping[int, Any]]
    ]  # by key and block, from the opening states
    unset: Any  # the state of a key that has none yet


def derived(happened: Happened, *, chain_id: int, hashes: Mapping[int, bytes]) -> list[Derived]:
    """What the events of a run of blocks change in each ranged table. Pure.

    Args:
        hashes: of the blocks, by number.
    """
    held, issued = projections.net_holdings(happened.transfers), projections.net_supplies(happened.transfers)
    titles, pauses = projections.closing_titles(happened.transfers), projections.closing_pauses(happened.others)
    changes = [
        change
        for log, event in happened.others
        for change in aspects.changes(log.address, log.block_number, event.signature, event.arguments)
    ]
    columns = happened.digested()
    tables = (
        Derived(HOLDINGS, held, lambda opening: projections.closing_amounts(opening, held), 0),
        Derived(SUPPLIES, issued, lambda opening: projections.closing_amounts(opening, issued), 0),
        Derived(TITLES, titles, lambda _: titles, None),
        Derived(PAUSES, pauses, lambda _: pauses, False),
        Derived(
            STATES, {change.place for change in changes}, lambda opening: aspects.closing_states(opening, changes), None
        ),
        Derived(
            DIGESTS,
            {(contract,) for contracts, *_ in columns for contract in contracts},
            lambda opening: digests.closing_digests(chain_id, opening, hashes, *columns),
            None,
        ),
    )
    return [each for each in tables if each.keys]


@dataclass(frozen=True, slots=True)
class Step:
    """What all of a step's writing needs."""

    connection: Connection
    chain_id: int
    ids: Mapping[bytes, int]  # of contracts, by address
    hashes: Mapping[int, bytes]  # of the step's blocks, by number


async def apply(session: AsyncSession, *, chain_id: int, blocks: Sequence[Block], happened: Happened) -> None:
    """Write blocks that follow the mirror's tip, and all that happened in them.

    Raises:
        ImpossibleAmount: the events add up to an amount that no contract can hold.
    """
    if len(happened):
        await write_happened(session, chain_id, blocks, happened)
    # Last, so that `shown_at` is as near as can be to the COMMIT that shows them.
    await write_blocks(session, chain_id, blocks)


async def write_happened(session: AsyncSession, chain_id: int, blocks: Sequence[Block], happened: Happened) -> None:
    """Write all that happened in blocks, and not the blocks.

    Raises:
        ImpossibleAmount: the events add up to an amount that no contract can hold.
    """
    connection = await connection_of(session)
    async with connection.pipeline():
        await connection.execute(_LOOK_UP)
        await _write_contracts(connection, chain_id, {each.contract for each in happened.deployments})
        found = await _ask_contract_ids(connection, chain_id, happened.contracts)
    ids: dict[bytes, int] = dict(await found.fetchall())
    step = Step(connection, chain_id, ids, {block.number: block.hash for block in blocks})
    changes = derived(happened, chain_id=chain_id, hashes=step.hashes)
    # Each statement is under way while the next is made, and the answers are waited for together.
    async with connection.pipeline():
        if happened.deployments:
            await write_deployments(step, happened.deployments)
        if len(happened.transfers):
            await _write_transfers(step, happened.transfers)
        if happened.others:
            await _write_events(step, happened.others)
        asked = [await ask_opening(step, each.table, each.keys) for each in changes]
    await _write_derived(step, changes, asked)


async def _write_derived(step: Step, changes: Sequence[Derived], asked: Sequence["Opening"]) -> None:
    openings = [await each.states() for each in asked]
    async with step.connection.pipeline():
        for change, opening in zip(changes, openings, strict=True):
            begun = projections.ranges(opening, change.closings(opening), unset=change.unset)
            await write_ranges(step, change.table, begun)


async def write_others(step: Step, others: list[tuple[Log, Event]]) -> None:
    """Write events that are no transfers, and the states that they leave behind; not the digests, which need it all."""
    happened = Happened([], projections.decode_transfers([], followed=frozenset()), others)
    changes = derived(happened, chain_id=step.chain_id, hashes=step.hashes)
    changes = [each for each in changes if each.table is not DIGESTS]
    async with step.connection.pipeline():
        await _write_events(step, others)
        asked = [await ask_opening(step, each.table, each.keys) for each in changes]
    await _write_derived(step, changes, asked)


async def register(session: AsyncSession, chain_id: int, addresses: set[bytes]) -> dict[bytes, int]:
    """The ids of contracts, given to those that have none. Nobody is shown a contract without a deployment."""
    connection = await connection_of(session)
    await _write_contracts(connection, chain_id, addresses)
    found = await _ask_contract_ids(connection, chain_id, addresses)
    return dict(await found.fetchall())


async def undo(session: AsyncSession, *, number: int, block_hash: bytes) -> None:
    """Take the mirror's newest block off: its rows stay, no longer canonical, and what they replaced holds again."""
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
    await _end_showing(session, block_hash)


async def _end_showing(session: AsyncSession, block_hash: bytes) -> None:
    now = func.now()  # of the DB transaction: blocks that are undone in one are undone at one time
    here = BLOCKS.c.hash == block_hash
    showing = select(BLOCKS.c.hash, BLOCKS.c.shown_at, func.greatest(BLOCKS.c.shown_at, now)).where(here)
    await session.execute(insert(SHOWINGS).from_select(list(SHOWINGS.c.keys()), showing))
    await session.execute(update(BLOCKS).where(here).values(canonical=False, undone_at=now))


async def write_blocks(session: AsyncSession, chain_id: int, blocks: Sequence[Block]) -> None:
    """Show blocks from now on."""
    columns: Columns = {
        "hash": [block.hash for block in blocks],
        "number": [block.number for block in blocks],
        "parent_hash": [block.parent_hash for block in blocks],
        "timestamp": [datetime.fromtimestamp(block.timestamp, UTC) for block in blocks],
    }
    # A block that was shown before is shown from now on, as a new one is by default.
    connection = await connection_of(session)
    await statements.upsert(
        connection, BLOCKS, columns, same={"chain_id": chain_id}, now=("shown_at",), unset=("undone_at",)
    )


async def _write_contracts(connection: Connection, chain_id: int, addresses: set[bytes]) -> None:
    if addresses:
        await statements.say(connection, _NEW_CONTRACTS, {"address": sorted(addresses)}, {"chain_id": chain_id})


async def _ask_contract_ids(connection: Connection, chain_id: int, addresses: set[bytes]) -> Cursor:
    return await statements.say(connection, _CONTRACT_IDS, {"address": sorted(addresses)}, {"chain_id": chain_id})


async def write_deployments(step: Step, deployments: Sequence[Deployment]) -> None:
    """Let readers see contracts, each from its block on."""
    columns: Columns = {
        "contract_id": [step.ids[each.contract] for each in deployments],
        "block_hash": [each.block_hash for each in deployments],
        "block_number": [each.block_number for each in deployments],
        "salt": [each.salt for each in deployments],
        "operator": [each.operator for each in deployments],
        "kind": [each.kind for each in deployments],
    }
    await statements.upsert(step.connection, DEPLOYMENTS, columns, unset=("left_at",))


_EXPELLED_NAMES = ("address", "block_hash", "block_number", "salt", "operator", "kind")

# Nobody saw them, so they left when they came.
_EXPELLED = f"""
INSERT INTO mirror.deployments (contract_id, block_hash, block_number, salt, operator, kind, canonical, left_at)
SELECT contracts.id, given.block_hash, given.block_number, given.salt, given.operator, given.kind, false,
    statement_timestamp()
FROM unnest(%(address)s::text::bytea[], %(block_hash)s::text::bytea[], %(block_number)s::text::bigint[],
    %(salt)s::text::bytea[], %(operator)s::text::bytea[], %(kind)s::text::text[])
    AS given ({", ".join(_EXPELLED_NAMES)})
JOIN mirror.contracts ON contracts.address = given.address AND contracts.chain_id = %(chain_id)s
ON CONFLICT (contract_id, block_hash) DO UPDATE SET left_at = coalesce(deployments.left_at, deployments.shown_at)
"""


async def write_expelled(session: AsyncSession, chain_id: int, deployments: Sequence[Deployment]) -> None:
    """Note contracts that were left in the very step that brings them: the chain has them, and nobody is shown them."""
    columns: Columns = {
        "address": [each.contract for each in deployments],
        **{name: [getattr(each, name) for each in deployments] for name in _EXPELLED_NAMES[1:]},
    }
    connection = await connection_of(session)
    await _write_contracts(connection, chain_id, {each.contract for each in deployments})
    await statements.say(connection, _EXPELLED, columns, {"chain_id": chain_id})


async def _write_transfers(step: Step, transfers: Transfers) -> None:
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
    await statements.upsert(step.connection, TRANSFERS, columns)


async def _write_events(step: Step, others: Sequence[tuple[Log, Event]]) -> None:
    columns: Columns = {
        "block_hash": [log.block_hash for log, _ in others],
        "log_index": [log.log_index for log, _ in others],
        "contract_id": [step.ids[log.address] for log, _ in others],
        "block_number": [log.block_number for log, _ in others],
        "transaction_hash": [log.transaction_hash for log, _ in others],
        "name": [event.name for _, event in others],
        "arguments": [event.arguments for _, event in others],
    }
    await statements.upsert(step.connection, EVENT_LOG, columns)


@dataclass(frozen=True, slots=True)
class Opening:
    """The question for the state of each key that has one, on its way."""

    table: Table
    cursor: Cursor
    keys: Mapping[tuple[Any, ...], Any]  # by what the table has for them

    async def states(self) -> dict[Any, Any]:
        """The answer, once it has come."""
        return {self.keys[tuple(key)]: state for *key, state in await statements.opening(self.cursor, self.table)}


async def ask_opening(
    step: Step, table: Table, keys: Iterable[tuple[Any, ...]], *, before: int | None = None
) -> Opening:
    """Ask for the state of keys in one question: the open one, or the one before a block."""
    asked = {(step.ids[key[0]], *key[1:]): key for key in keys}
    columns: Columns = {name: [key[i] for key in asked] for i, name in enumerate(ranged_key(table))}
    return Opening(table, await statements.ask_opening(step.connection, table, columns, before=before), asked)


async def write_ranges(step: Step, table: Table, found: Sequence[Range[Any, Any]]) -> None:
    """Close what each key had open at its first change, then begin its new ranges; those of a key are in order."""
    if not found:
        return
    keys = _key_columns(step, table, [each.key for each in found])
    firsts = {each.key: each.from_block for each in reversed(found)}
    closing = {**_key_columns(step, table, list(firsts)), "from_block": list(firsts.values())}
    await statements.close(step.connection, table, closing)
    state = ranged_state(table)
    columns: Columns = {
        **keys,
        "from_block": [each.from_block for each in found],
        "to_block": [each.to_block for each in found],
        "block_hash": [step.hashes[each.from_block] for each in found],
        state: [each.state for each in found],
    }
    # A row that is there already is of the same block, and was undone, or was withdrawn with a contract.
    await statements.upsert(step.connection, table, columns, again=("to_block", state))


def _key_columns(step: Step, table: Table, keys: Sequence[tuple[Any, ...]]) -> Columns:
    names = ranged_key(table)
    return {name: [step.ids[key[0]] if i == 0 else key[i] for key in keys] for i, name in enumerate(names)}
