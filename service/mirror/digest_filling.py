"""Digests for rows that have none: those of a mirror that was filled before there were digests.

The indexer does this before it goes on, each time it has taken the lease: what it adds to builds on what is there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from service.db import Database
from service.mirror import digests, projections
from service.mirror.apply import Step, write_ranges
from service.mirror.statements import connection_of
from service.mirror.tables import DIGESTS
from service.workers import Lease

ROWS_MAX = 20_000
"""Rows of each table that a step reads at most, save for the rest of a block."""

CONTRACTS_MAX = 200
"""Contracts of one step."""

_BEHIND = text("""
SELECT contracts.id, contracts.address, held.digest, coalesce(held.from_block, -1)
FROM mirror.contracts
LEFT JOIN mirror.digests AS held ON held.contract_id = contracts.id AND held.to_block IS NULL AND held.canonical
LEFT JOIN LATERAL (
    SELECT block_number FROM mirror.transfers WHERE contract_id = contracts.id AND canonical
    ORDER BY block_number DESC, log_index DESC LIMIT 1) AS moved ON true
LEFT JOIN LATERAL (
    SELECT block_number FROM mirror.events WHERE contract_id = contracts.id AND canonical
    ORDER BY block_number DESC, log_index DESC LIMIT 1) AS said ON true
WHERE contracts.chain_id = :chain_id
    -- Before a first sync has shown its blocks there are rows without indexes, all with their digests.
    AND EXISTS (SELECT FROM mirror.blocks WHERE chain_id = :chain_id AND canonical)
    AND greatest(moved.block_number, said.block_number) > coalesce(held.from_block, -1)
ORDER BY contracts.id LIMIT :count_max
""")

_HORIZON = text("""
SELECT least(
    (SELECT block_number FROM mirror.transfers WHERE contract_id = :contract_id AND canonical AND block_number > :after
        ORDER BY block_number, log_index OFFSET :rows LIMIT 1),
    (SELECT block_number FROM mirror.events WHERE contract_id = :contract_id AND canonical AND block_number > :after
        ORDER BY block_number, log_index OFFSET :rows LIMIT 1),
    CAST(:last AS bigint))
""")

_NO_BLOCK = 2**63 - 1

_TRANSFERS = text("""
SELECT contract_id, block_number, block_hash, log_index, transaction_hash, sender, recipient, amount, deed_id
FROM mirror.transfers
WHERE contract_id = ANY(:contract_ids) AND canonical AND block_number > :after AND block_number <= :last
""")

_EVENTS = text("""
SELECT contract_id, block_number, block_hash, log_index, transaction_hash, name, arguments FROM mirror.events
WHERE contract_id = ANY(:contract_ids) AND canonical AND block_number > :after AND block_number <= :last
""")


@dataclass(frozen=True, slots=True)
class Covered:
    """Rows of some contracts, whole blocks of them, as their digests cover them."""

    columns: tuple[digests.Columns, ...]
    hashes: dict[int, bytes]  # of the blocks that have any
    count: int


@dataclass(frozen=True, slots=True)
class _Behind:
    """A contract with rows above the block that its digest covers."""

    id: int
    address: bytes
    digest: bytes | None
    block: int  # that the digest covers; -1 where there is none


@dataclass(slots=True)
class Gaps:
    """Rows without a digest, looked for each time the lease was taken: an older version may have written meanwhile."""

    db: Database
    chain_id: int
    _epoch: int | None = None  # in which there were none

    async def step(self, lease: Lease) -> int:
        """Rows digested in one step; 0 when there are none to digest.

        Raises:
            LeaseLost: another indexer took over; nothing was written.
        """
        if lease.epoch is not None and lease.epoch == self._epoch:
            return 0
        done = await fill(self.db, lease, chain_id=self.chain_id)
        if not done:
            self._epoch = lease.epoch
        return done


async def fill(db: Database, lease: Lease, *, chain_id: int) -> int:
    """Take one step: digest the oldest rows that no digest covers.

    Returns:
        Rows digested; 0 when every row is covered.

    Raises:
        LeaseLost: another indexer took over; nothing was written.
    """
    done = 0
    async with db.transaction() as session:
        await lease.hold(session)
        found = await session.execute(_BEHIND, {"chain_id": chain_id, "count_max": CONTRACTS_MAX})
        for row in found.all():
            if done < ROWS_MAX:
                done += await _fill_contract(session, chain_id, _Behind(*row), rows_max=ROWS_MAX - done)
    return done


async def _fill_contract(session: AsyncSession, chain_id: int, behind: _Behind, *, rows_max: int) -> int:
    last = await horizon(session, behind.id, after=behind.block, last=_NO_BLOCK, rows_max=rows_max)
    covered = await read_covered(session, {behind.id: behind.address}, after=behind.block, last=last)
    opening = {} if behind.digest is None else {(behind.address,): behind.digest}
    closings = digests.closing_digests(chain_id, opening, covered.hashes, *covered.columns)
    step = Step(await connection_of(session), chain_id, {behind.address: behind.id}, covered.hashes)
    await write_ranges(step, DIGESTS, projections.ranges(opening, closings, unset=None))
    return covered.count


async def horizon(session: AsyncSession, contract_id: int, *, after: int, last: int, rows_max: int) -> int:
    """The block up to which to read a contract's rows above block `after`: `last`, or an earlier one of many rows."""
    given = {"contract_id": contract_id, "after": after, "last": last, "rows": rows_max}
    found: int = (await session.execute(_HORIZON, given)).scalar_one()
    return found


async def read_covered(session: AsyncSession, addresses: Mapping[int, bytes], *, after: int, last: int) -> Covered:
    """The rows of contracts above block `after`, up to block `last`.

    Args:
        addresses: of the contracts, by id.
    """
    given = {"contract_ids": list(addresses), "after": after, "last": last}
    moved = (await session.execute(_TRANSFERS, given)).all()
    said = (await session.execute(_EVENTS, given)).all()
    return Covered(
        columns=(_columns(addresses, moved, _transfer_rows(moved)), _columns(addresses, said, _event_rows(said))),
        hashes={row.block_number: row.block_hash for row in (*moved, *said)},
        count=len(moved) + len(said),
    )


def _columns(addresses: Mapping[int, bytes], rows: Sequence[Row[Any]], encoded: list[bytes]) -> digests.Columns:
    return [addresses[row.contract_id] for row in rows], [row.block_number for row in rows], encoded


def _transfer_rows(rows: Sequence[Row[Any]]) -> list[bytes]:
    return digests.transfer_rows(
        [row.log_index for row in rows],
        [row.transaction_hash for row in rows],
        [row.sender for row in rows],
        [row.recipient for row in rows],
        *digests.words([int(row.amount) for row in rows], [_whole(row.deed_id) for row in rows]),
    )


def _event_rows(rows: Sequence[Row[Any]]) -> list[bytes]:
    return digests.event_rows(
        [row.log_index for row in rows],
        [row.transaction_hash for row in rows],
        [row.name for row in rows],
        [row.arguments for row in rows],
    )


def _whole(number: Decimal | None) -> int | None:
    return None if number is None else int(number)
