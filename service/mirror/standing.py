"""Where the mirror stands, what the node last said, and what keeps the mirror waiting: one row of `heads` for a chain.

A halt lasts as long as its cause does, save `reorganised-below-final`, which ends when the chain has our branch again
or when an operator resumes: what was called final was relied upon, and a person should know before it is taken back.
"""

import time
from collections.abc import MutableMapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from service.db import Database, ReadConnection
from service.telemetry import logger
from service.workers import Lease

HEAD_AGE_MAX = timedelta(seconds=1)
"""The node's unchanged head is written again after this, so that readers see the indexer alive."""

TOLD_AGAIN_S = 60.0
"""A halt that comes and goes, as a load balancer's two heights make it, is logged no more often than this."""


class Halt(StrEnum):
    """What the mirror waits for."""

    NODE_BEHIND = "node-behind"  # the node's newest block is one of ours, and not our newest
    NODE_ON_SHORTER_BRANCH = "node-on-shorter-branch"  # the node has another branch, which ends below our tip
    NODE_INCONSISTENT = "node-inconsistent"  # two answers of the node describe different chains
    NODE_LIED = "node-lied"  # an answer contradicts what the block's header commits to
    ENDPOINTS_DISAGREE = "endpoints-disagree"  # one of the endpoints still has our newest block
    REORGANISED_BELOW_FINAL = "reorganised-below-final"  # the chain left blocks that were called final


class Waiting(Exception):
    """Nothing may be written now: the next step asks again.

    Args:
        detail: what was seen, for an operator.
        fork: the newest block that both branches have, or one below our first; of REORGANISED_BELOW_FINAL alone.
    """

    def __init__(self, halt: Halt, detail: str, *, fork: int | None = None) -> None:
        super().__init__(detail)
        self.halt = halt
        self.detail = detail
        self.fork = fork


@dataclass(frozen=True, slots=True)
class Place:
    """Where the mirror stands before a step."""

    tip_number: int | None
    tip_hash: bytes | None
    head: tuple[int, int] | None  # head and final number, as last written
    head_fresh: bool
    halt: str | None
    halted_s: float  # for so long, 0 where nothing halts it
    resumed_fork: int | None  # the block that an operator lets the mirror go back to, however final those above it were
    unrecorded_tip: int | None  # the lowest tip of a reorganisation that the journal does not have yet

    @property
    def final_number(self) -> int:
        """The newest block that was called final, -1 for none."""
        return self.head[1] if self.head else -1


@dataclass(frozen=True, slots=True)
class MirrorHalt:
    """What keeps the mirror waiting, for those who ask."""

    name: str
    detail: str
    halted_s: float


_PLACE = """
SELECT tip.number, tip.hash, heads.head_number, heads.final_number,
    coalesce(clock_timestamp() - heads.seen_at < %s, false), heads.halt,
    coalesce(extract(epoch FROM clock_timestamp() - heads.halted_at), 0)::float8, heads.resumed_fork,
    (SELECT min(tip_number) FROM mirror.reorganisations WHERE chain_id = chain.id AND recorded_at IS NULL)
FROM (SELECT %s::bigint AS id) AS chain
LEFT JOIN LATERAL (
    SELECT number, hash FROM mirror.blocks WHERE chain_id = chain.id AND canonical ORDER BY number DESC LIMIT 1
) AS tip ON true
LEFT JOIN mirror.heads ON heads.chain_id = chain.id
"""

_RECORD = text("""
INSERT INTO mirror.heads AS h (chain_id, head_number, final_number, seen_at)
VALUES (:chain_id, :head_number, :final_number, clock_timestamp())
ON CONFLICT (chain_id) DO UPDATE SET head_number = EXCLUDED.head_number, final_number = EXCLUDED.final_number,
    seen_at = EXCLUDED.seen_at, halt = NULL, halt_detail = NULL, halted_at = NULL, halt_fork = NULL, resumed_fork = NULL
""")

# What led to it holds until the last block is undone.
_RECORD_UNDOING = text("""
UPDATE mirror.heads SET head_number = :head_number, final_number = :final_number, seen_at = clock_timestamp()
WHERE chain_id = :chain_id
""")

# The head stays what it was: the word of a node that contradicts itself or us is not told on.
_HALT = text("""
INSERT INTO mirror.heads AS h (chain_id, head_number, final_number, seen_at, halt, halt_detail, halted_at, halt_fork)
VALUES (:chain_id, 0, -1, clock_timestamp(), :halt, :detail, clock_timestamp(), :fork)
ON CONFLICT (chain_id) DO UPDATE SET seen_at = EXCLUDED.seen_at, halt = EXCLUDED.halt,
    halt_detail = EXCLUDED.halt_detail, halt_fork = EXCLUDED.halt_fork,
    halted_at = CASE WHEN h.halt = EXCLUDED.halt THEN h.halted_at ELSE EXCLUDED.halted_at END
""")

_RESUME = text("""
UPDATE mirror.heads SET resumed_fork = halt_fork, halt = NULL, halt_detail = NULL, halted_at = NULL, halt_fork = NULL
WHERE chain_id = :chain_id AND halt = 'reorganised-below-final' RETURNING resumed_fork
""")


async def place(db: Database, *, chain_id: int) -> Place:
    """Where the mirror stands, in one round trip."""
    ((number, block_hash, head, final, *rest),) = await db.fetch(_PLACE, (HEAD_AGE_MAX, chain_id))
    return Place(number, block_hash, None if head is None else (head, final), *rest)


async def record_head(
    session: AsyncSession, *, chain_id: int, head_number: int, final_number: int, undoing: bool = False
) -> None:
    """Write what the node said; and that nothing halts the mirror, unless it is on its way back to a fork."""
    said = {"chain_id": chain_id, "head_number": head_number, "final_number": final_number}
    await session.execute(_RECORD_UNDOING if undoing else _RECORD, said)


async def wait(
    db: Database, lease: Lease, waiting: Waiting, *, chain_id: int, before: Place, told: MutableMapping[str, float]
) -> None:
    """Store what the mirror waits for, and log it when that is news.

    Args:
        told: when each halt was last logged, by name; kept from step to step.
    """
    if before.halt == waiting.halt and before.head_fresh:
        return
    async with db.transaction() as session:
        await lease.hold(session)
        given = {"chain_id": chain_id, "halt": waiting.halt, "detail": waiting.detail, "fork": waiting.fork}
        await session.execute(_HALT, given)
    if before.halt == waiting.halt or time.monotonic() - told.get(waiting.halt, -TOLD_AGAIN_S) < TOLD_AGAIN_S:
        return
    told[waiting.halt] = time.monotonic()
    log = logger().bind(detail=waiting.detail, tip_number=before.tip_number)
    if waiting.halt is Halt.REORGANISED_BELOW_FINAL:
        log.error("reorganised_below_final", block_number=waiting.fork, final_number=before.final_number)
    else:
        log.warning(waiting.halt.replace("-", "_"))


async def present_halt(connection: ReadConnection, *, chain_id: int) -> MirrorHalt | None:
    """What keeps the mirror waiting now, or None."""
    cursor = await connection.execute(
        """SELECT halt, halt_detail, extract(epoch FROM clock_timestamp() - halted_at)::float8
        FROM mirror.heads WHERE chain_id = %s AND halt IS NOT NULL""",
        (chain_id,),
    )
    row = await cursor.fetchone()
    return None if row is None else MirrorHalt(*row)


async def resume(session: AsyncSession, *, chain_id: int) -> int | None:
    """Let the mirror leave blocks that were called final; the newest block that stays, None where nothing asks for it.

    A fork that lies deeper by the time that it is followed halts the mirror again.
    """
    fork: int | None = await session.scalar(_RESUME, {"chain_id": chain_id})
    return fork
