"""What the mirror answers about who owned how much: ranks, spread and changes, always as of one block.

As in `queries`: connection first, the rest by keyword; pages go by key; every function reads inside the caller's
read-only DB transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

from service.db import ReadConnection
from service.mirror.queries import Holding, changed_after

NARROW_TRANSFERS_MAX = 5_000
"""Up to so many transfers between two blocks, what changed is looked up from them; beyond, from the accounts."""

BANDS_PPM = (100_000, 10_000, 1_000, 100, 0)
"""Lower ends of the size bands, in millionths of the supply, largest first."""

TOP = (1, 10, 100)
"""Of how many of the largest holders the sum is told."""

PERIODS = {"day": "1 day", "week": "1 week", "month": "1 month"}


@dataclass(frozen=True, slots=True)
class Band:
    """How many hold so much, and what they hold together in base units."""

    holders: int
    amount: int


@dataclass(frozen=True, slots=True)
class Concentration:
    """How unevenly a supply is spread. `squares` is the sum of the squares of all holdings."""

    holders: int
    squares: int
    top: list[int]  # base units of as many of the largest holders as TOP says
    bands: list[Band]  # as BANDS_PPM


@dataclass(frozen=True, slots=True)
class Change:
    """What an account held at the end of one block and of a later one."""

    account: bytes
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Period:
    """How many accounts came to hold something in a period, and ceased to; and how many held something at its end."""

    start: datetime
    gained: int
    lost: int
    holders: int


# Whom the units belonged to, whole

HELD_NOW: LiteralString = """
SELECT account, amount FROM mirror.holdings
WHERE contract_id = %(contract_id)s AND to_block IS NULL AND canonical AND amount > 0
"""

# Each account has exactly one open row, so the open rows list the accounts, however long their histories are.
HELD_THEN: LiteralString = """
SELECT known.account, held.amount
FROM mirror.holdings AS known CROSS JOIN LATERAL (
    SELECT amount FROM mirror.holdings AS past
    WHERE past.contract_id = known.contract_id AND past.account = known.account
        AND past.from_block <= %(block)s AND past.canonical
    ORDER BY past.from_block DESC LIMIT 1) AS held
WHERE known.contract_id = %(contract_id)s AND known.to_block IS NULL AND known.canonical AND held.amount > 0
"""

BY_AMOUNT_NOW: LiteralString = (
    HELD_NOW
    + """AND (amount, account) < (%(below_amount)s::numeric, %(below_account)s::bytea)
ORDER BY amount DESC, account DESC LIMIT %(count_max)s
"""
)

RANKED: LiteralString = "SELECT string_agg(account, ''::bytea ORDER BY amount DESC, account DESC) FROM ({}) AS held"

AMOUNTS: LiteralString = """
SELECT wanted.account, held.amount
FROM unnest(%(accounts)s::bytea[]) WITH ORDINALITY AS wanted (account, rank) CROSS JOIN LATERAL (
    SELECT amount FROM mirror.holdings
    WHERE contract_id = %(contract_id)s AND account = wanted.account AND from_block <= %(block)s AND canonical
    ORDER BY from_block DESC LIMIT 1) AS held
ORDER BY wanted.rank
"""

COUNT: LiteralString = "SELECT count(*) FROM ({}) AS held"

CONCENTRATION: LiteralString = """
WITH held AS MATERIALIZED ({}),
bands AS (
    SELECT width_bucket(amount, %(floors)s::numeric[]) AS band,
        count(*) AS holders, sum(amount) AS amount, sum(amount * amount) AS squares
    FROM held GROUP BY 1)
SELECT array_agg(band), array_agg(holders), array_agg(amount), array_agg(squares),
    (SELECT array_agg(amount ORDER BY amount DESC)
        FROM (SELECT amount FROM held ORDER BY amount DESC LIMIT %(top_max)s) AS largest)
FROM bands
"""


async def largest_now_page(
    connection: ReadConnection, *, contract_id: int, below: Holding | None, count_max: int
) -> list[Holding]:
    """One page of who holds something in the mirror's newest block, largest first, equals by address downwards.

    Args:
        below: the last holding of the page before.
    """
    given = {
        "contract_id": contract_id,
        "below_amount": 2**256 if below is None else below.amount,
        "below_account": b"" if below is None else below.account,
        "count_max": count_max,
    }
    return [Holding(*row) for row in await _all(connection, BY_AMOUNT_NOW, given)]


async def ranked_accounts(connection: ReadConnection, *, contract_id: int, block: int) -> bytes:
    """The addresses of all who held something at the end of `block`, 20 bytes each, in the order of `largest_now_page`.

    It reads every account; whoever pages through the order keeps the answer.
    """
    row = await _one(connection, RANKED.format(HELD_THEN), {"contract_id": contract_id, "block": block})
    assert row is not None
    return row[0] or b""


async def amounts_of(
    connection: ReadConnection, *, contract_id: int, block: int, accounts: Sequence[bytes]
) -> list[Holding]:
    """What each of the accounts held at the end of `block`, in the order given; those that never held anything are not
    among them.
    """
    given = {"contract_id": contract_id, "block": block, "accounts": list(accounts)}
    return [Holding(*row) for row in await _all(connection, AMOUNTS, given)]


async def holders_count(connection: ReadConnection, *, contract_id: int, block: int) -> int:
    """How many accounts held something at the end of `block`."""
    held = await _held(connection, contract_id, block)
    row = await _one(connection, COUNT.format(held), {"contract_id": contract_id, "block": block})
    assert row is not None
    return int(row[0])


async def concentration(connection: ReadConnection, *, contract_id: int, block: int, supply: int) -> Concentration:
    """How unevenly the base units were spread at the end of `block`."""
    held = await _held(connection, contract_id, block)
    floors = [-(-supply * ppm // 1_000_000) for ppm in reversed(BANDS_PPM[:-1])]
    given = {"contract_id": contract_id, "block": block, "floors": floors, "top_max": max(TOP)}
    row = await _one(connection, CONCENTRATION.format(held), given)
    assert row is not None
    *bands, largest = (each or [] for each in row)
    by_band = {band: tuple(map(int, told)) for band, *told in zip(*bands, strict=True)}
    counted = [by_band.get(band, (0, 0, 0)) for band in reversed(range(len(BANDS_PPM)))]
    return Concentration(
        holders=sum(holders for holders, _, _ in counted),
        squares=sum(squares for _, _, squares in counted),
        top=[int(sum(largest[:count])) for count in TOP],
        bands=[Band(holders, amount) for holders, amount, _ in counted],
    )


async def _held(connection: ReadConnection, contract_id: int, block: int) -> LiteralString:
    return HELD_THEN if await changed_after(connection, contract_id, block) else HELD_NOW


# What changed between two blocks

_THEN_AND_BEFORE: LiteralString = """
CROSS JOIN LATERAL (
    SELECT from_block, amount FROM mirror.holdings AS past
    WHERE past.contract_id = %(contract_id)s AND past.account = known.account
        AND past.from_block <= %(block)s AND past.canonical
    ORDER BY past.from_block DESC LIMIT 1) AS later
LEFT JOIN LATERAL (
    SELECT amount FROM mirror.holdings AS past
    WHERE past.contract_id = %(contract_id)s AND past.account = known.account
        AND past.from_block <= %(from_block)s AND past.canonical
    ORDER BY past.from_block DESC LIMIT 1) AS earlier ON true
WHERE later.from_block > %(from_block)s AND coalesce(earlier.amount, 0) <> later.amount
    AND (%(gained)s::boolean IS NULL
        OR CASE WHEN %(gained)s::boolean THEN coalesce(earlier.amount, 0) = 0 ELSE later.amount = 0 END)
ORDER BY known.account LIMIT %(count_max)s
"""

CHANGES_OF_ACCOUNTS: LiteralString = (
    """
SELECT known.account, coalesce(earlier.amount, 0), later.amount
FROM (
    SELECT known.account FROM mirror.holdings AS known
    WHERE known.contract_id = %(contract_id)s AND known.account > %(after)s AND known.to_block IS NULL
        AND known.canonical
    ORDER BY known.account) AS known
"""
    + _THEN_AND_BEFORE
)

CHANGES_OF_TRANSFERS: LiteralString = (
    """
SELECT known.account, coalesce(earlier.amount, 0), later.amount
FROM (
    SELECT DISTINCT party AS account
    FROM mirror.transfers CROSS JOIN LATERAL (VALUES (sender), (recipient)) AS parties (party)
    WHERE contract_id = %(contract_id)s AND canonical
        AND block_number > %(from_block)s AND block_number <= %(block)s AND party > %(after)s
    ORDER BY party) AS known
"""
    + _THEN_AND_BEFORE
)

TRANSFERS_BETWEEN: LiteralString = """
SELECT count(*) FROM (
    SELECT FROM mirror.transfers
    WHERE contract_id = %(contract_id)s AND canonical
        AND block_number > %(from_block)s AND block_number <= %(block)s
    LIMIT %(count_max)s) AS found
"""

# The first blocks of the periods: what was before the first one counts to it.
PERIOD_STARTS: LiteralString = """
SELECT start AT TIME ZONE 'UTC', 1 + coalesce((
    SELECT number FROM mirror.blocks
    WHERE chain_id = %(chain_id)s AND canonical AND timestamp < start AT TIME ZONE 'UTC'
    ORDER BY timestamp DESC, number DESC LIMIT 1), -1)
FROM (SELECT min(timestamp) AS first, max(timestamp) AS last FROM mirror.blocks
    WHERE chain_id = %(chain_id)s AND canonical AND number IN (%(first_block)s, %(block)s)) AS span
CROSS JOIN LATERAL generate_series(
    date_trunc(%(period)s, span.first AT TIME ZONE 'UTC'), span.last AT TIME ZONE 'UTC', %(step)s::interval) AS start
ORDER BY start
"""

# An account gains and loses by turns, so what these add up to says what became of it in the period.
PERIOD_CHANGES: LiteralString = """
WITH turns AS (
    SELECT account, from_block, (amount > 0)::integer
        - (coalesce(lag(amount) OVER (PARTITION BY account ORDER BY from_block), 0) > 0)::integer AS turn
    FROM mirror.holdings
    WHERE contract_id = %(contract_id)s AND from_block <= %(block)s AND canonical),
net AS (
    SELECT account, width_bucket(from_block, %(starts)s::bigint[]) AS period, sum(turn) AS net
    FROM turns WHERE turn <> 0 GROUP BY 1, 2)
SELECT period, count(*) FILTER (WHERE net > 0), count(*) FILTER (WHERE net < 0) FROM net GROUP BY 1 ORDER BY 1
"""


async def changes_page(
    connection: ReadConnection,
    *,
    contract_id: int,
    from_block: int,
    block: int,
    gained: bool | None,
    after: bytes | None,
    count_max: int,
) -> list[Change]:
    """One page of the accounts that held another amount at the end of `block` than of `from_block`, in address order.

    Args:
        gained: True for those that held nothing before, False for those that hold nothing after, None for all.
    """
    given = {
        "contract_id": contract_id,
        "from_block": from_block,
        "block": block,
        "gained": gained,
        "after": after or b"",
        "count_max": count_max,
    }
    between = await _one(connection, TRANSFERS_BETWEEN, {**given, "count_max": NARROW_TRANSFERS_MAX + 1})
    narrow = between is not None and between[0] <= NARROW_TRANSFERS_MAX
    return [
        Change(*row) for row in await _all(connection, CHANGES_OF_TRANSFERS if narrow else CHANGES_OF_ACCOUNTS, given)
    ]


async def periods(
    connection: ReadConnection, *, chain_id: int, contract_id: int, first_block: int, block: int, period: str
) -> list[Period]:
    """The periods up to the end of `block` in which anybody gained or lost a first unit, oldest first.

    Args:
        first_block: the contract's first one.
        period: one of PERIODS; they begin at midnight UTC, a week on Monday.
    """
    given = {"chain_id": chain_id, "contract_id": contract_id, "first_block": first_block, "block": block}
    starts = await _all(connection, PERIOD_STARTS, {**given, "period": period, "step": PERIODS[period]})
    # Thresholds must not fall, and do not: a chain's time does not run backwards.
    changes = await _all(connection, PERIOD_CHANGES, {**given, "starts": [first for _, first in starts]})
    found, holders = [], 0
    for place, gained, lost in changes:
        holders += gained - lost
        if gained or lost:
            found.append(Period(starts[max(place, 1) - 1][0], gained, lost, holders))
    return found


async def _all(connection: ReadConnection, query: LiteralString, given: dict[str, Any]) -> list[tuple[Any, ...]]:
    return await (await connection.execute(query, given)).fetchall()


async def _one(connection: ReadConnection, query: LiteralString, given: dict[str, Any]) -> tuple[Any, ...] | None:
    return await (await connection.execute(query, given)).fetchone()
