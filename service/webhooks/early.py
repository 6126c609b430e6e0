"""Early notices: operations that are mined and may still be undone, and those that were undone.

They are labelled, go to those alone who name them, and are best effort: what comes and goes between two looks is not
told. What is final comes from the journal, whatever was told early.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text

from service.addresses import hex0x
from service.db import Database, ReadConnection
from service.operations import queries as operations
from service.transactions import sightings
from service.transactions.sightings import Sighting
from service.transactions.tables import FINAL, Status
from service.webhooks.events import EARLY, MINED, REORGANISED, instant, wants
from service.webhooks.planning import Listener
from service.webhooks.queueing import Message, enqueue
from service.workers import Lease

LOOK_INTERVAL_S = 1.0

_SEEN_MAX = 5_000

_LISTENERS = """
SELECT id, issuer_id, types, position FROM webhooks
WHERE disabled_at IS NULL AND EXISTS (SELECT FROM unnest(types) AS type WHERE starts_with(type, %s))
"""

_HOLD = text("""
SELECT id FROM webhooks WHERE id = ANY(CAST(:ids AS uuid[])) AND disabled_at IS NULL
ORDER BY id FOR UPDATE SKIP LOCKED
""")

_KEEP = text("""
INSERT INTO webhook_sightings (transaction_id, operation_id, issuer_id, block_number, block_hash)
SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:operations AS uuid[]), CAST(:issuers AS uuid[]),
    CAST(:numbers AS bigint[]), CAST(:hashes AS bytea[]))
ON CONFLICT (transaction_id) DO UPDATE SET block_number = excluded.block_number, block_hash = excluded.block_hash
""")

_FORGET = text("DELETE FROM webhook_sightings WHERE transaction_id = ANY(CAST(:ids AS uuid[]))")


@dataclass(frozen=True, slots=True)
class Told:
    """What was told of a transaction: the block that its operation was in."""

    transaction_id: UUID
    operation_id: UUID
    issuer_id: UUID
    block_number: int
    block_hash: bytes


@dataclass(frozen=True, slots=True)
class News:
    """What is to be told: of which operation, and the block that it is in, or is in no more."""

    type: str
    told: Told
    chain_id: int
    transaction_hash: bytes | None


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be told now, what was told with that, and what nobody needs to be told of again."""

    news: list[News]
    keep: list[Told]
    forget: list[UUID]


def changes(told: Mapping[UUID, Told], now: Mapping[UUID, Sighting], served: Mapping[UUID, UUID]) -> Changes:
    """Compare what was told with how the transactions stand now. Pure.

    Args:
        now: those that are mined, and each that was told of.
        served: operations by transaction.
    """
    found = Changes([], [], [])
    for id_, at in now.items():
        before, operation_id = told.get(id_), served.get(id_)
        same = before is not None and before.block_hash == at.block_hash
        stands = same and (at.status == Status.MINED or at.status in FINAL)
        if before is not None and not stands:
            found.news.append(News(REORGANISED, before, at.chain_id, at.transaction_hash))
        if at.status != Status.MINED:
            found.forget.append(id_)
        elif not same and operation_id is not None and at.block_number is not None and at.block_hash is not None:
            seen = Told(id_, operation_id, at.issuer_id, at.block_number, at.block_hash)
            found.keep.append(seen)
            found.news.append(News(MINED, seen, at.chain_id, at.transaction_hash))
    return found


async def look(db: Database, lease: Lease) -> int:
    """Tell of what was mined or undone since the last look; how many messages that made."""
    async with db.read() as connection:
        wanting = [Listener(*row) for row in await (await connection.execute(_LISTENERS, (EARLY,))).fetchall()]
        issuer_ids = sorted({each.issuer_id for each in wanting})
        told = await _told(connection)
        if not issuer_ids and not told:
            return 0
        known = [each for each in told.values() if each.issuer_id in set(issuer_ids)]
        now, served = await _seen(connection, issuer_ids, known)
    found = changes({each.transaction_id: each for each in known}, now, served)
    unheard = list(told.keys() - {each.transaction_id for each in known})
    if not (found.news or found.forget or unheard):
        return 0
    async with db.transaction() as session:
        await lease.hold(session)
        free = set((await session.scalars(_HOLD, {"ids": [each.id for each in wanting]})).all())
        # Of an issuer with a webhook that somebody holds, all is told at a later look.
        late = {each.issuer_id for each in wanting if each.id not in free}
        messages = [
            message for news in found.news if news.told.issuer_id not in late for message in _messages(news, wanting)
        ]
        keep = [each for each in found.keep if each.issuer_id not in late]
        forget = [id_ for id_ in found.forget if now[id_].issuer_id not in late]
        await session.execute(_FORGET, {"ids": [*forget, *unheard]})
        given = {
            "ids": [each.transaction_id for each in keep],
            "operations": [each.operation_id for each in keep],
            "issuers": [each.issuer_id for each in keep],
            "numbers": [each.block_number for each in keep],
            "hashes": [each.block_hash for each in keep],
        }
        await session.execute(_KEEP, given)
        await enqueue(session, messages)
    return len(messages)


async def _told(connection: ReadConnection) -> dict[UUID, Told]:
    cursor = await connection.execute(
        "SELECT transaction_id, operation_id, issuer_id, block_number, block_hash FROM webhook_sightings"
    )
    return {row[0]: Told(*row) for row in await cursor.fetchall()}


async def _seen(
    connection: ReadConnection, issuer_ids: Sequence[UUID], known: Sequence[Told]
) -> tuple[dict[UUID, Sighting], dict[UUID, UUID]]:
    """How the transactions that are mined, and those that were told of, stand now, and the operations they serve."""
    mined = await sightings.mined(connection, issuer_ids=issuer_ids, count_max=_SEEN_MAX)
    now = {each.id: each for each in reversed(mined)}
    now |= await sightings.seen(connection, [each.transaction_id for each in known if each.transaction_id not in now])
    served = {each.transaction_id: each.operation_id for each in known}
    new = await operations.served_by(connection, [id_ for id_ in now if id_ not in served])
    return now, {**served, **{id_: each.id for id_, each in new.items()}}


def _messages(news: News, wanting: Sequence[Listener]) -> Iterator[Message]:
    told = news.told
    data: dict[str, Any] = {
        "operation": str(told.operation_id),
        "chain": news.chain_id,
        "block": told.block_number,
        "block_hash": hex0x(told.block_hash),
        "transaction_hash": None if news.transaction_hash is None else hex0x(news.transaction_hash),
    }
    notice = {"recorded_at": instant(datetime.now(UTC)), "data": data}
    for each in wanting:
        if each.issuer_id == told.issuer_id and wants(each.types, news.type):
            yield Message(each.id, news.type, f"operation:{told.operation_id}", notice=notice)
