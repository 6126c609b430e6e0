"""What the mirror answers, always as of one block. Connection first, the rest by keyword; pages go by key.

Every function reads inside the caller's read-only DB transaction, so that a label and the rows under it are one state.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, LiteralString

from service.db import ReadConnection, Reads
from service.errors import Problem
from service.mirror.past import is_past

POLL_INTERVAL_S = 0.02

EARLY_TRANSFERS_MAX = 2_000
"""Up to so many transfers, a page of holders or titles is made from them; beyond, from the keys of now."""


class BlockInFuture(Problem):
    """The block asked for is not mirrored yet, or does not exist yet."""

    slug, title, status = "block-in-future", "The block is above the mirror's newest one", 422


class BlockNotMirrored(Problem):
    """The block asked for is older than the mirror."""

    slug, title, status = "block-not-mirrored", "The block is below the mirror's first one", 422


class MirrorEmpty(Problem):
    """The indexer has not shown its first block yet."""

    slug, title, status = "mirror-empty", "The mirror has no block yet", 503


class MirrorBehind(Problem):
    """The mirror did not reach `min_block` in time."""

    slug, title, status = "mirror-behind", "The mirror is behind", 503


@dataclass(frozen=True, slots=True)
class Label:
    """Which state an answer describes. `lag` is how many blocks the mirror's newest one is behind the node's.

    The block is `orphaned` when the chain has left it since it was shown; `shown_at` is the moment that was asked for.
    """

    chain: int
    block: int
    hash: bytes
    time: datetime  # of the block, in UTC
    final: bool
    lag: int
    orphaned: bool = False
    shown_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """How far the mirror is. Everything is None before the indexer's first step."""

    tip: int | None
    head: int | None
    final: int | None  # -1 while no block is final
    lag: int | None
    seen_age_s: float | None  # since the indexer last heard from the node


@dataclass(frozen=True, slots=True)
class Contract:
    """A contract that the factory deployed, or a governor's timelock. `kind` is what the deployer called it.

    Rows of two reads with another `rebuilt` may differ, also as of one block: they were made anew between them.
    """

    id: int
    address: bytes
    deployed_block: int
    kind: str
    rebuilt: int


@dataclass(frozen=True, slots=True)
class ContractState(Contract):
    """A contract, the base units in existence, and whether nothing of it may move."""

    supply: int
    paused: bool


@dataclass(frozen=True, slots=True)
class Holding:
    """An account and the base units it holds."""

    account: bytes
    amount: int


@dataclass(frozen=True, slots=True)
class AccountHolding:
    """A contract and the base units that one account holds of it."""

    contract_id: int
    contract: bytes
    amount: int


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """What an account held from one block up to, not including, another; `to_block` None is still so."""

    from_block: int
    from_hash: bytes
    from_time: datetime
    to_block: int | None
    amount: int


# The mirror as a whole

_LABEL = """
SELECT tip.number, oldest.number, asked.number, asked.hash, asked.timestamp, heads.head_number, heads.final_number
FROM (SELECT number FROM mirror.blocks WHERE chain_id = %(chain_id)s AND canonical ORDER BY number DESC LIMIT 1) AS tip
CROSS JOIN (SELECT number FROM mirror.blocks WHERE chain_id = %(chain_id)s AND canonical ORDER BY number LIMIT 1)
    AS oldest
JOIN mirror.heads ON heads.chain_id = %(chain_id)s
LEFT JOIN mirror.blocks AS asked ON asked.chain_id = %(chain_id)s AND asked.canonical
    AND asked.number = coalesce(%(at_block)s::bigint, tip.number)
"""


async def label(connection: ReadConnection, *, chain_id: int, at_block: int | None) -> Label:
    """Name the state that an answer describes; `at_block` None means the mirror's newest block.

    Raises:
        BlockInFuture: above the newest mirrored block.
        BlockNotMirrored: below the first mirrored block.
        MirrorEmpty: nothing is mirrored yet.
    """
    row = await _one(connection, _LABEL, {"chain_id": chain_id, "at_block": _bigint(at_block)})
    if row is None:
        raise MirrorEmpty("wait until the indexer has read the chain's first blocks")
    tip, oldest, number, block_hash, time_, head, final = row
    if number is None and at_block is not None and at_block < oldest:
        raise BlockNotMirrored(f"ask for block {oldest} or a later one", oldest=oldest)
    if number is None:
        raise BlockInFuture(f"ask for block {tip} or an earlier one, or wait for it with min_block", tip=tip)
    return Label(chain_id, number, block_hash, time_.astimezone(UTC), final=number <= final, lag=max(head - tip, 0))


async def status(connection: ReadConnection, *, chain_id: int) -> Status:
    """How far the mirror is, and how long ago the indexer last heard from the node."""
    tip = await _tip(connection, chain_id)
    row = await _one(
        connection,
        """SELECT head_number, final_number, extract(epoch FROM clock_timestamp() - seen_at)::float8
        FROM mirror.heads WHERE chain_id = %(chain_id)s""",
        {"chain_id": chain_id},
    )
    head, final, seen_age_s = row if row is not None else (None, None, None)
    lag = max(head - tip, 0) if head is not None and tip is not None else None
    return Status(tip, head, final, lag, seen_age_s)


async def wait_for_block(reads: Reads, *, chain_id: int, min_block: int, timeout_s: float) -> None:
    """Return once the mirror's newest block is `min_block` or a later one: read your writes.

    Raises:
        MirrorBehind: it did not come within `timeout_s`.
    """
    end_s = time.monotonic() + timeout_s
    while True:
        # Outside any DB transaction: within one, the mirror would stand still.
        ((tip,),) = await reads.fetch(
            "SELECT max(number) FROM mirror.blocks WHERE chain_id = %s AND canonical", (chain_id,)
        )
        if tip is not None and tip >= min_block:
            return
        if time.monotonic() >= end_s:
            raise MirrorBehind("ask again later, or without min_block", tip=tip, min_block=min_block)
        await asyncio.sleep(min(POLL_INTERVAL_S, max(end_s - time.monotonic(), 0)))


async def _tip(connection: ReadConnection, chain_id: int) -> int | None:
    row = await _one(
        connection,
        "SELECT max(number) FROM mirror.blocks WHERE chain_id = %(chain_id)s AND canonical",
        {"chain_id": chain_id},
    )
    assert row is not None
    tip: int | None = row[0]
    return tip


# Contracts

_DEPLOYED = """
SELECT contracts.id, contracts.address, deployments.block_number, deployments.kind, contracts.rebuilt
FROM mirror.contracts JOIN mirror.deployments ON deployments.contract_id = contracts.id AND deployments.canonical
WHERE contracts.chain_id = %(chain_id)s AND deployments.block_number <= %(block)s
"""


async def contract(connection: ReadConnection, *, chain_id: int, address: bytes, block: int) -> Contract | None:
    """The contract at an address, when the factory had deployed it by `block`."""
    row = await _one(
        connection,
        _DEPLOYED + "AND contracts.address = %(address)s",
        {"chain_id": chain_id, "address": address, "block": block},
    )
    return None if row is None else Contract(*row)


async def contracts_page(
    connection: ReadConnection, *, chain_id: int, block: int, after: bytes | None, count_max: int
) -> list[Contract]:
    """Contracts deployed by `block`, in address order."""
    rows = await _all(
        connection,
        _DEPLOYED + "AND contracts.address > %(after)s ORDER BY contracts.address LIMIT %(count_max)s",
        {"chain_id": chain_id, "block": block, "after": after or b"", "count_max": count_max},
    )
    return [Contract(*row) for row in rows]


async def contracts_of_kind(
    connection: ReadConnection,
    *,
    chain_id: int,
    kinds: Sequence[str],
    block: int,
    after: bytes | None,
    count_max: int,
) -> list[Contract]:
    """Contracts of these kinds deployed by `block`, in address order."""
    rows = await _all(
        connection,
        _DEPLOYED
        + """AND deployments.kind = ANY(%(kinds)s) AND contracts.address > %(after)s
        ORDER BY contracts.address LIMIT %(count_max)s""",
        {"chain_id": chain_id, "kinds": list(kinds), "block": block, "after": after or b"", "count_max": count_max},
    )
    return [Contract(*row) for row in rows]


async def contract_states(
    connection: ReadConnection, *, chain_id: int, addresses: Sequence[bytes], block: int
) -> dict[bytes, ContractState]:
    """Those of the contracts that the factory had deployed by `block`, by address, with their state then."""
    rows = await _all(
        connection,
        """SELECT contracts.id, contracts.address, deployments.block_number, deployments.kind, contracts.rebuilt,
            coalesce((SELECT amount FROM mirror.supplies s WHERE s.contract_id = contracts.id
                AND s.from_block <= %(block)s AND s.canonical ORDER BY s.from_block DESC LIMIT 1), 0),
            coalesce((SELECT paused FROM mirror.pauses p WHERE p.contract_id = contracts.id
                AND p.from_block <= %(block)s AND p.canonical ORDER BY p.from_block DESC LIMIT 1), false)
        FROM mirror.contracts
        JOIN mirror.deployments ON deployments.contract_id = contracts.id AND deployments.canonical
        WHERE contracts.chain_id = %(chain_id)s AND contracts.address = ANY(%(addresses)s)
            AND deployments.block_number <= %(block)s""",
        {"chain_id": chain_id, "addresses": list(addresses), "block": block},
    )
    return {row[1]: ContractState(*row) for row in rows}


async def supply(connection: ReadConnection, *, contract_id: int, block: int) -> int:
    """Base units in existence at the end of `block`."""
    row = await _one(
        connection,
        """SELECT amount FROM mirror.supplies
        WHERE contract_id = %(contract_id)s AND from_block <= %(block)s AND canonical
        ORDER BY from_block DESC LIMIT 1""",
        {"contract_id": contract_id, "block": block},
    )
    return 0 if row is None else int(row[0])


async def paused(connection: ReadConnection, *, contract_id: int, block: int) -> bool:
    """Whether the contract refused every change of a balance at the end of `block`."""
    row = await _one(
        connection,
        """SELECT paused FROM mirror.pauses
        WHERE contract_id = %(contract_id)s AND from_block <= %(block)s AND canonical
        ORDER BY from_block DESC LIMIT 1""",
        {"contract_id": contract_id, "block": block},
    )
    return row is not None and bool(row[0])


# Holders

HOLDING = """
SELECT amount FROM mirror.holdings
WHERE contract_id = %(contract_id)s AND account = %(account)s AND from_block <= %(block)s AND canonical
ORDER BY from_block DESC LIMIT 1
"""

LAST_CHANGE = """
SELECT block_number FROM mirror.transfers
WHERE contract_id = %(contract_id)s AND canonical ORDER BY block_number DESC, log_index DESC LIMIT 1
"""

HOLDINGS_NOW = """
SELECT account, amount FROM mirror.holdings
WHERE contract_id = %(contract_id)s AND account > %(after)s AND to_block IS NULL AND canonical AND amount > 0
ORDER BY account LIMIT %(count_max)s
"""

# Each account has exactly one open row, so the open rows list the accounts, however long their histories are.
HOLDINGS_THEN = """
SELECT known.account, held.amount
FROM mirror.holdings AS known CROSS JOIN LATERAL (
    SELECT amount FROM mirror.holdings AS past
    WHERE past.contract_id = known.contract_id AND past.account = known.account
        AND past.from_block <= %(block)s AND past.canonical
    ORDER BY past.from_block DESC LIMIT 1) AS held
WHERE known.contract_id = %(contract_id)s AND known.account > %(after)s AND known.to_block IS NULL AND known.canonical
    AND held.amount > 0
ORDER BY known.account LIMIT %(count_max)s
"""

# Before a contract's first transfers were many, its holders were few, and most accounts came later.
HOLDINGS_OF_TRANSFERS: LiteralString = """
SELECT known.account, held.amount
FROM (
    SELECT DISTINCT recipient AS account FROM mirror.transfers
    WHERE contract_id = %(contract_id)s AND canonical AND block_number <= %(block)s AND recipient > %(after)s
    ORDER BY recipient) AS known
CROSS JOIN LATERAL (
    SELECT amount FROM mirror.holdings AS past
    WHERE past.contract_id = %(contract_id)s AND past.account = known.account
        AND past.from_block <= %(block)s AND past.canonical
    ORDER BY past.from_block DESC LIMIT 1) AS held
WHERE held.amount > 0
ORDER BY known.account LIMIT %(count_max)s
"""

FIRST_TRANSFERS = """
SELECT count(*) FROM (
    SELECT FROM mirror.transfers WHERE contract_id = %(contract_id)s AND canonical AND block_number <= %(block)s
    LIMIT %(count_max)s) AS found
"""

ACCOUNT_HOLDINGS = """
SELECT contracts.id, contracts.address, held.amount
FROM mirror.contracts CROSS JOIN LATERAL (
    SELECT amount FROM mirror.holdings
    WHERE contract_id = contracts.id AND account = %(account)s AND from_block <= %(block)s AND canonical
    ORDER BY from_block DESC LIMIT 1) AS held
WHERE contracts.id = ANY(%(contract_ids)s) AND contracts.address > %(after)s AND held.amount > 0
ORDER BY contracts.address LIMIT %(count_max)s
"""

HISTORY = """
SELECT holdings.from_block, holdings.block_hash,
    (SELECT timestamp FROM mirror.blocks WHERE hash = holdings.block_hash),
    CASE WHEN holdings.to_block <= %(block)s THEN holdings.to_block END, holdings.amount
FROM mirror.holdings
WHERE holdings.contract_id = %(contract_id)s AND holdings.account = %(account)s AND holdings.canonical
    AND holdings.from_block > %(after_block)s AND holdings.from_block <= %(block)s
ORDER BY holdings.from_block LIMIT %(count_max)s
"""


async def holding(connection: ReadConnection, *, contract_id: int, account: bytes, block: int) -> int:
    """Base units that an account held at the end of `block`: one lookup, however long its history."""
    row = await _one(connection, HOLDING, {"contract_id": contract_id, "account": account, "block": block})
    return 0 if row is None else int(row[0])


async def holdings_page(
    connection: ReadConnection, *, contract_id: int, block: int, after: bytes | None, count_max: int
) -> list[Holding]:
    """One page of who held something at the end of `block`, in address order: it stays put while amounts change."""
    if not await changed_after(connection, contract_id, block):
        query = HOLDINGS_NOW
    elif await is_early(connection, contract_id, block):
        query = HOLDINGS_OF_TRANSFERS
    else:
        query = HOLDINGS_THEN
    rows = await _all(
        connection,
        query,
        {"contract_id": contract_id, "block": block, "after": after or b"", "count_max": count_max},
    )
    return [Holding(*row) for row in rows]


async def changed_after(connection: ReadConnection, contract_id: int, block: int) -> bool:
    """Whether what is open now, of holdings and titles, may be another state than the one at the end of `block`."""
    if is_past(connection):
        return True
    # Every change of a holding or a title is a transfer.
    row = await _one(connection, LAST_CHANGE, {"contract_id": contract_id})
    return row is not None and int(row[0]) > block


async def is_early(connection: ReadConnection, contract_id: int, block: int) -> bool:
    """Whether a contract had so few transfers by `block` that they, and not all keys of now, say what was there."""
    given = {"contract_id": contract_id, "block": block, "count_max": EARLY_TRANSFERS_MAX + 1}
    row = await _one(connection, FIRST_TRANSFERS, given)
    return row is not None and int(row[0]) <= EARLY_TRANSFERS_MAX


async def account_holdings_page(
    connection: ReadConnection,
    *,
    contract_ids: Sequence[int],
    account: bytes,
    block: int,
    after: bytes | None,
    count_max: int,
) -> list[AccountHolding]:
    """Which of the contracts an account held something of at the end of `block`, in order of contract address."""
    rows = await _all(
        connection,
        ACCOUNT_HOLDINGS,
        {
            "contract_ids": list(contract_ids),
            "account": account,
            "block": block,
            "after": after or b"",
            "count_max": count_max,
        },
    )
    return [AccountHolding(*row) for row in rows]


async def history_page(
    connection: ReadConnection,
    *,
    contract_id: int,
    account: bytes,
    block: int,
    after_block: int | None,
    count_max: int,
) -> list[HistoryEntry]:
    """What an account held up to `block`, oldest first, one row for each block in which it changed.

    The last row's `to_block` is None even when the amount changed after `block`: as of then, it still held.
    """
    rows = await _all(
        connection,
        HISTORY,
        {
            "contract_id": contract_id,
            "account": account,
            "block": block,
            "after_block": -1 if after_block is None else after_block,
            "count_max": count_max,
        },
    )
    return [HistoryEntry(*row) for row in rows]


async def _all(connection: ReadConnection, query: LiteralString, given: dict[str, Any]) -> list[tuple[Any, ...]]:
    return await (await connection.execute(query, given)).fetchall()


async def _one(connection: ReadConnection, query: LiteralString, given: dict[str, Any]) -> tuple[Any, ...] | None:
    return await (await connection.execute(query, given)).fetchone()


def _bigint(number: int | None) -> int | None:
    # A block number from outside may be beyond what the column holds; no block ever is.
    return None if number is None else max(min(number, 2**63 - 1), -1)
