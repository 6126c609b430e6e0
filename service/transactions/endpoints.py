"""How the chain's endpoints do, as the sender sees them: stored by number and host for operators."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from psycopg.rows import args_row

from service.chain.reader import EndpointHealth
from service.db import Database, ReadConnection

State = Literal["up", "down", "unknown"]

KNOWN_WITHIN_S = 30
"""A running sender tells of its endpoints more often than this, also while one of them does not answer in time."""

_ERROR_CHARS_MAX = 300
_MAY_BE_SECRET = re.compile(r"\S*://\S*|[\w+/=-]{20,}")


@dataclass(frozen=True, slots=True)
class EndpointSeen:
    """How an endpoint did when a sender last told of it."""

    number: int  # its place in the settings, from 1 on
    name: str
    state: State  # unknown: no sender has told of it for KNOWN_WITHIN_S
    failures: int  # questions in a row without a usable answer
    latency_ms: float | None  # of its last answer
    head: int | None
    head_age_s: float | None  # since it spoke of that block
    behind_blocks: int
    wrong_chain: bool
    contradictions: int  # since that sender began
    last_error: str | None
    seen_at: datetime
    seen_age_s: float


async def store(db: Database, chain_id: int, health: Sequence[EndpointHealth]) -> None:
    """Replace what is stored of a chain's endpoints by how they do now; no longer named ones are forgotten."""
    await db.fetch(
        """WITH forgotten AS (DELETE FROM endpoints WHERE chain_id = %s AND number > %s)
        INSERT INTO endpoints (chain_id, number, name, healthy, failures, latency_ms, head, head_seen_at,
            behind_blocks, wrong_chain, contradictions, last_error, seen_at)
        SELECT %s, g.number, g.name, g.healthy, g.failures, g.latency_ms, g.head,
            now() - make_interval(secs => g.head_age_s), g.behind, g.wrong_chain, g.contradictions, g.last_error, now()
        FROM unnest(%s::text[], %s::bool[], %s::bigint[], %s::float8[], %s::bigint[], %s::float8[], %s::bigint[],
            %s::bool[], %s::bigint[], %s::text[]) WITH ORDINALITY AS g(name, healthy, failures, latency_ms, head,
            head_age_s, behind, wrong_chain, contradictions, last_error, number)
        ON CONFLICT (chain_id, number) DO UPDATE SET name = EXCLUDED.name, healthy = EXCLUDED.healthy,
            failures = EXCLUDED.failures, latency_ms = EXCLUDED.latency_ms, head = EXCLUDED.head,
            head_seen_at = EXCLUDED.head_seen_at, behind_blocks = EXCLUDED.behind_blocks,
            wrong_chain = EXCLUDED.wrong_chain, contradictions = EXCLUDED.contradictions,
            last_error = EXCLUDED.last_error, seen_at = EXCLUDED.seen_at
        RETURNING number""",
        (
            *(chain_id, len(health), chain_id),
            [each.name for each in health],
            [each.healthy for each in health],
            [each.failures for each in health],
            [each.latency_ms for each in health],
            [each.head for each in health],
            [each.head_age_s for each in health],
            [each.behind for each in health],
            [each.wrong_chain for each in health],
            [each.disagreements for each in health],
            [_without_secrets(each.last_error) for each in health],
        ),
    )


async def seen(connection: ReadConnection, *, chain_id: int) -> list[EndpointSeen]:
    """How every endpoint of a chain did when a sender last told of it, in the order of the settings."""
    async with connection.cursor(row_factory=args_row(EndpointSeen)) as cursor:
        await cursor.execute(
            """SELECT number, name, CASE WHEN seen_at < now() - make_interval(secs => %s) THEN 'unknown'
                    WHEN healthy THEN 'up' ELSE 'down' END,
                failures, latency_ms, head, extract(epoch FROM now() - head_seen_at)::float8, behind_blocks,
                wrong_chain, contradictions, last_error, seen_at, extract(epoch FROM now() - seen_at)::float8
            FROM endpoints WHERE chain_id = %s ORDER BY number""",
            (KNOWN_WITHIN_S, chain_id),
        )
        return await cursor.fetchall()


def _without_secrets(error: str | None) -> str | None:
    """A node's words may repeat the address or the key that it was asked with."""
    return None if error is None else _MAY_BE_SECRET.sub("(left out)", error)[:_ERROR_CHARS_MAX]
