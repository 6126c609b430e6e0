"""Which block a time means, and what was shown at a moment. Connection first, the rest by keyword."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, LiteralString

from service.db import ReadConnection
from service.errors import Problem
from service.mirror import queries
from service.mirror.past import Branch
from service.mirror.queries import BlockInFuture, BlockNotMirrored, Label, MirrorEmpty


class MomentInFuture(Problem):
    """Nobody knows yet what will be shown at this moment."""

    slug, title, status = "moment-in-future", "The moment is still to come", 422


class NothingShown(Problem):
    """The mirror had no block to show at this moment."""

    slug, title, status = "nothing-shown", "Nothing was shown at this moment", 422


@dataclass(frozen=True, slots=True)
class Sight:
    """A block, and the branch to see it from. Source: service.mirror.past."""

    label: Label
    branch: Branch


# Chains let blocks share a timestamp, and the last of them ends that time.
BLOCK_AT_TIME = """
SELECT number FROM mirror.blocks
WHERE chain_id = %(chain_id)s AND canonical AND timestamp <= %(time)s ORDER BY timestamp DESC, number DESC LIMIT 1
"""

_TIMES = """
SELECT oldest.number, oldest.timestamp, tip.number, tip.timestamp
FROM (SELECT number, timestamp FROM mirror.blocks WHERE chain_id = %(chain_id)s AND canonical
    ORDER BY number LIMIT 1) AS oldest
CROSS JOIN (SELECT number, timestamp FROM mirror.blocks WHERE chain_id = %(chain_id)s AND canonical
    ORDER BY number DESC LIMIT 1) AS tip
"""

# The blocks shown at a moment are a chain, so the highest of them names them all.
SHOWN_AT = """
SELECT shown.hash FROM (
    (SELECT number, hash FROM mirror.blocks
    WHERE chain_id = %(chain_id)s AND canonical AND shown_at <= %(moment)s
    ORDER BY shown_at DESC, number DESC LIMIT 1)
    UNION ALL
    (SELECT blocks.number, blocks.hash FROM mirror.showings JOIN mirror.blocks ON blocks.hash = showings.block_hash
    WHERE tstzrange(showings.shown_at, showings.undone_at) @> %(moment)s::timestamptz AND blocks.chain_id = %(chain_id)s
    ORDER BY blocks.number DESC LIMIT 1)
) AS shown
ORDER BY shown.number DESC LIMIT 1
"""

BRANCH = """
WITH RECURSIVE branch AS (
    SELECT hash, number, parent_hash, timestamp, canonical FROM mirror.blocks
    WHERE hash = %(block_hash)s AND chain_id = %(chain_id)s
    UNION ALL
    SELECT parent.hash, parent.number, parent.parent_hash, parent.timestamp, parent.canonical
    FROM branch JOIN mirror.blocks AS parent ON parent.hash = branch.parent_hash
    WHERE NOT branch.canonical AND NOT parent.canonical
)
SELECT hash, number, timestamp, canonical FROM branch ORDER BY number
"""


async def label_at_time(connection: ReadConnection, *, chain_id: int, time: datetime) -> Label:
    """Name the newest mirrored block whose timestamp is `time` or earlier.

    Raises:
        BlockInFuture: later than the newest mirrored block, so another one may still come before it.
        BlockNotMirrored: earlier than the first mirrored block.
        MirrorEmpty: nothing is mirrored yet.
    """
    given = {"chain_id": chain_id, "time": time}
    rows = await _all(connection, _TIMES, given)
    if not rows:
        raise MirrorEmpty("wait until the indexer has read the chain's first blocks")
    ((oldest, oldest_time, tip, tip_time),) = rows
    if time > tip_time:
        raise BlockInFuture(
            f"the newest block, {tip}, is of {_told(tip_time)}: ask for that time or an earlier one", tip=tip
        )
    found = await _all(connection, BLOCK_AT_TIME, given)
    if not found:
        raise BlockNotMirrored(
            f"the first block, {oldest}, is of {_told(oldest_time)}: ask for that time or a later one",
            oldest=oldest,
        )
    return await queries.label(connection, chain_id=chain_id, at_block=found[0][0])


async def shown_at(connection: ReadConnection, *, chain_id: int, moment: datetime, at_block: int | None) -> Sight:
    """What was shown at a moment: the newest block then, or with `at_block` the block of that height.

    A moment between the statement that shows a block and its COMMIT, some milliseconds later, counts as after both.

    Raises:
        MomentInFuture: not past yet.
        NothingShown: no block had been shown, or all of them had been undone.
        BlockInFuture, BlockNotMirrored, MirrorEmpty: as of `queries.label`.
    """
    ((future,),) = await _all(connection, "SELECT %(moment)s > clock_timestamp()", {"moment": moment})
    if future:
        raise MomentInFuture(f"{_told(moment)} is not past yet: ask for an earlier moment, or leave it out")
    rows = await _all(connection, SHOWN_AT, {"chain_id": chain_id, "moment": moment})
    if not rows:
        raise NothingShown("ask for a later moment, or for a block with at_block")
    given = {"block_hash": rows[0][0], "at_block": at_block, "shown_at": moment}
    found = await sight_of(connection, chain_id=chain_id, **given)
    assert found is not None, "a block that was shown stays"
    return found


async def sight_of(
    connection: ReadConnection,
    *,
    chain_id: int,
    block_hash: bytes,
    at_block: int | None = None,
    shown_at: datetime | None,
) -> Sight | None:
    """A block that was ever shown, canonical or not, or with `at_block` the one of that height beneath it.

    None where no such block was shown. Raises as `queries.label`.

    Args:
        shown_at: contracts that were first shown later are left out.
    """
    rows = await _all(connection, BRANCH, {"chain_id": chain_id, "block_hash": block_hash})
    if not rows:
        return None
    newest = rows[-1][1]
    number = newest if at_block is None else at_block
    if number > newest:
        raise BlockInFuture(f"the newest block then was {newest}: ask for that one or an earlier one", tip=newest)
    hidden = [row for row in rows if not row[3] and row[1] <= number]
    if not hidden:
        label = await queries.label(connection, chain_id=chain_id, at_block=number)
        return Sight(replace(label, shown_at=shown_at), Branch(moment=shown_at))
    now = await queries.label(connection, chain_id=chain_id, at_block=None)
    hash_, number, time, _ = hidden[-1]
    then = {"block": number, "hash": hash_, "time": time.astimezone(UTC), "final": False, "orphaned": True}
    branch = Branch(hidden[0][1], tuple(row[0] for row in hidden), shown_at)
    return Sight(replace(now, **then, shown_at=shown_at), branch)


async def _all(connection: ReadConnection, query: LiteralString, given: dict[str, Any]) -> list[tuple[Any, ...]]:
    return await (await connection.execute(query, given)).fetchall()


def _told(time: datetime) -> str:
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")
