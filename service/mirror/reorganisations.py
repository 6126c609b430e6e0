"""Reorganisations as facts: which shown blocks were undone, kept until that is past, and then in the journal, once."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service import journal
from service.addresses import hex0x

RECORDED_MAX = 100
"""Reorganisations that go into the journal in one DB transaction."""

# What is undone in several DB transactions is one reorganisation: the next one begins where the last one stopped.
_GO_ON = text("""
UPDATE mirror.reorganisations SET fork_number = :fork_number, fork_hash = :fork_hash,
    below_final = below_final OR :below_final
WHERE id = (SELECT id FROM mirror.reorganisations WHERE chain_id = :chain_id ORDER BY id DESC LIMIT 1)
    AND recorded_at IS NULL AND fork_number = :tip_number AND fork_hash = :tip_hash
RETURNING id
""")

_BEGIN = text("""
INSERT INTO mirror.reorganisations (chain_id, fork_number, fork_hash, tip_number, below_final)
VALUES (:chain_id, :fork_number, :fork_hash, :tip_number, :below_final) RETURNING id
""")

_UNDONE = text("""
INSERT INTO mirror.undone (reorganisation_id, block_hash, shown_at)
SELECT :id, hash, shown_at FROM mirror.blocks WHERE hash = ANY(:hashes)
""")

_PAST = text("""
UPDATE mirror.reorganisations SET recorded_at = clock_timestamp() WHERE id IN (
    SELECT id FROM mirror.reorganisations
    WHERE chain_id = :chain_id AND recorded_at IS NULL AND tip_number <= :final_number ORDER BY id LIMIT :count_max)
RETURNING id, fork_number, fork_hash, tip_number, below_final
""")

_SHOWN = text("""
SELECT undone.reorganisation_id, blocks.number, blocks.hash, undone.shown_at, showings.undone_at
FROM mirror.undone JOIN mirror.blocks ON blocks.hash = undone.block_hash
JOIN mirror.showings ON showings.block_hash = undone.block_hash AND showings.shown_at = undone.shown_at
WHERE undone.reorganisation_id = ANY(:ids) ORDER BY blocks.number
""")

_STANDING = text("""
SELECT reorganisations.id, blocks.number, blocks.hash
FROM mirror.reorganisations JOIN mirror.blocks ON blocks.chain_id = reorganisations.chain_id AND canonical
    AND blocks.number > fork_number AND blocks.number <= tip_number
WHERE reorganisations.id = ANY(:ids) ORDER BY blocks.number
""")


async def note_undone(
    session: AsyncSession,
    *,
    chain_id: int,
    blocks: Sequence[tuple[int, bytes]],
    fork: tuple[int, bytes | None],
    below_final: bool,
) -> None:
    """Keep, in the DB transaction that undoes them, that these blocks were shown.

    Args:
        blocks: number and hash of each, the newest first; the mirror's own rows of them are still or again there.
        fork: number and hash of the block below them, whose hash is None where the mirror has none.
    """
    tip_number, tip_hash = blocks[0]
    given = {
        "chain_id": chain_id,
        "fork_number": fork[0],
        "fork_hash": fork[1],
        "tip_number": tip_number,
        "below_final": below_final,
    }
    id_ = await session.scalar(_GO_ON, {**given, "tip_hash": tip_hash})
    if id_ is None:
        id_ = await session.scalar(_BEGIN, given)
    await session.execute(_UNDONE, {"id": id_, "hashes": [block_hash for _, block_hash in blocks]})


async def record_past(session: AsyncSession, *, chain_id: int, final_number: int) -> int:
    """Write the reorganisations that nothing can undo any more into the journal, each once; how many.

    Args:
        final_number: the newest final block that the mirror has. A reorganisation is past when a block is final at
            the height of the highest that was undone.
    """
    given = {"chain_id": chain_id, "final_number": final_number, "count_max": RECORDED_MAX}
    past = sorted((await session.execute(_PAST, given)).all(), key=lambda row: row.id)
    ids = {"ids": [row.id for row in past]}
    undone: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for id_, number, block_hash, shown_at, undone_at in await session.execute(_SHOWN, ids):
        times = {"shown_at": shown_at.isoformat(), "undone_at": undone_at.isoformat()}
        undone[id_].append({"block": number, "hash": hex0x(block_hash), **times})
    standing: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for id_, number, block_hash in await session.execute(_STANDING, ids):
        standing[id_].append({"block": number, "hash": hex0x(block_hash)})
    await journal.append(session, [_fact(chain_id, row, undone[row.id], standing[row.id]) for row in past])
    return len(past)


def _fact(
    chain_id: int, row: Any, undone: Sequence[dict[str, Any]], standing: Sequence[dict[str, Any]]
) -> journal.Fact:
    body = {
        "chain": chain_id,
        "fork": {"block": row.fork_number, "hash": None if row.fork_hash is None else hex0x(row.fork_hash)},
        "depth": row.tip_number - row.fork_number,
        "below_final": row.below_final,
        "undone": undone,
        "standing": standing,
    }
    return journal.Fact("mirror.reorganised", None, body)
