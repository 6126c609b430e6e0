"""The dispatcher's step for webhooks: plan, send, and keep what came of it.

Each webhook with something due has a lane: a task that sends a handful of messages, in order within each subject. The
step only starts lanes and stores what they report, so it never waits for a receiver. Killed at any instruction, what
was sent and not stored is sent again, as the same message.
"""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from service import journal
from service.db import Database, ReadConnection
from service.journal import Entry
from service.keys.wrapping import KeyAltered
from service.settings import Settings
from service.telemetry import logger
from service.webhooks import early, planning
from service.webhooks.egress import Answer, Egress, open_egress
from service.webhooks.events import payload, told
from service.webhooks.outcomes import Outcome, record
from service.webhooks.queueing import message_id
from service.webhooks.sealing import Sealed, Sealer
from service.webhooks.signing import Secrets, signed_headers
from service.workers import Lease

LANES_MAX = 100
"""Webhooks that are sent to at once."""

SHAKY_LANES_MAX = 30
"""Of those, webhooks that fail: slow ones must not take every lane."""

SHAKY_FAILURES = 5
MESSAGES_MAX = 64
"""Of one lane; of a webhook that fails one, to see whether it is back."""

SENDING_MAX = 8
"""Messages under way to one webhook."""

_DUE = """
WITH ready AS (
    SELECT w.id, w.url, w.failures >= %(shaky)s AS shaky, earliest.due_at,
        row_number() OVER (PARTITION BY w.failures >= %(shaky)s ORDER BY earliest.due_at) AS place
    FROM webhooks w CROSS JOIN LATERAL (
        SELECT d.due_at FROM webhook_deliveries d
        WHERE d.webhook_id = w.id AND d.state = 'pending' AND d.due_at <= now() ORDER BY d.due_at, d.number LIMIT 1
    ) AS earliest
    WHERE w.disabled_at IS NULL AND w.id <> ALL(%(busy)s)
)
SELECT ready.id, ready.url, ready.shaky, due.* FROM ready CROSS JOIN LATERAL (
    SELECT d.number, d.position, d.type, d.subject, d.sequence, d.notice, d.failures FROM webhook_deliveries d
    WHERE d.webhook_id = ready.id AND d.state = 'pending' AND d.due_at <= now()
    ORDER BY d.due_at, d.number LIMIT CASE WHEN ready.shaky THEN 1 ELSE %(messages)s END
) AS due
WHERE place <= CASE WHEN shaky THEN %(shaky_lanes)s ELSE %(lanes)s END ORDER BY ready.id, due.number
"""

_SECRETS = """
SELECT webhook_id, version, sealed_hmac, sealed_private FROM webhook_secrets
WHERE webhook_id = ANY(%s) AND (ends_at IS NULL OR ends_at > now()) ORDER BY webhook_id, version DESC
"""


@dataclass(frozen=True, slots=True)
class Due:
    """A message that is to be sent now."""

    number: int
    subject: str
    failures: int
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Lane:
    """What is to be sent to one webhook now."""

    webhook_id: UUID
    url: str = field(repr=False)
    shaky: bool
    secrets: Sequence[Secrets]
    due: Sequence[Due]


class Deliverer:
    """The step, with the lanes that it started. `wake` is set when a lane has something to report."""

    def __init__(self, db: Database, sealer: Sealer, egress: Egress) -> None:
        self.wake = asyncio.Event()
        self._db, self._sealer, self._egress = db, sealer, egress
        self._lanes: dict[UUID, tuple[asyncio.Task[None], bool]] = {}
        self._outcomes: list[Outcome] = []
        self._looked_s = float("-inf")

    async def step(self, lease: Lease) -> int:
        """Store what came of the sendings, plan what is new, and start what is due; how much there was to do."""
        recorded = await self._record(lease)
        listening = await planning.listeners(self._db)
        planned = await planning.plan(self._db, lease, listening)
        if time.monotonic() - self._looked_s >= early.LOOK_INTERVAL_S:
            self._looked_s = time.monotonic()
            planned += await early.look(self._db, lease, listening)
        started = await self._start() if listening else 0
        return recorded + planned + started

    async def rest(self) -> None:
        """Wait until no lane is under way; what they report is not stored yet."""
        await asyncio.gather(*(task for task, _ in self._lanes.values()))

    async def close(self) -> None:
        """Stop every lane; what is under way is sent again."""
        tasks = [task for task, _ in self._lanes.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _record(self, lease: Lease) -> int:
        # Kept until they are stored: what was taken must not be sent again because Postgres was away for a moment.
        outcomes = list(self._outcomes)
        if outcomes:
            await record(self._db, lease, outcomes)
            del self._outcomes[: len(outcomes)]
        return len(outcomes)

    async def _start(self) -> int:
        shaky = sum(1 for _, each in self._lanes.values() if each)
        free = max(0, LANES_MAX - SHAKY_LANES_MAX - (len(self._lanes) - shaky)), max(0, SHAKY_LANES_MAX - shaky)
        # A lane that has ended is still busy until what it reports is stored.
        busy = [*self._lanes, *{each.webhook_id for each in self._outcomes}]
        lanes = await self._due(busy, *free) if any(free) else []
        for lane in lanes:
            task = asyncio.create_task(self._drive(lane))
            self._lanes[lane.webhook_id] = (task, lane.shaky)
        return len(lanes)

    async def _due(self, busy: Sequence[UUID], lanes_max: int, shaky_lanes_max: int) -> list[Lane]:
        given = {"shaky": SHAKY_FAILURES, "lanes": lanes_max, "shaky_lanes": shaky_lanes_max}
        async with self._db.read() as connection:
            cursor = await connection.execute(_DUE, {**given, "busy": list(busy), "messages": MESSAGES_MAX})
            rows = await cursor.fetchall()
            if not rows:
                return []
            entries = await journal.entries_at(connection, sorted({row[4] for row in rows if row[4] is not None}))
            secrets = await self._secrets(connection, {row[0] for row in rows})
        found: dict[UUID, tuple[str, bool, list[Due]]] = {}
        for webhook_id, url, shaky, *message in rows:
            found.setdefault(webhook_id, (url, shaky, []))[2].append(_due(message, entries))
        return [Lane(id_, url, shaky, secrets[id_], due) for id_, (url, shaky, due) in found.items()]

    async def _secrets(self, connection: ReadConnection, ids: set[UUID]) -> Mapping[UUID, list[Secrets]]:
        found: dict[UUID, list[Secrets]] = {id_: [] for id_ in ids}
        for webhook_id, version, sealed_hmac, sealed_private in await (
            await connection.execute(_SECRETS, (list(ids),))
        ).fetchall():
            try:
                opened = self._sealer.open(Sealed(sealed_hmac, sealed_private), webhook_id, version)
            except KeyAltered:
                # The others go on; this one waits for the right MUNIMENT_KEY_ENCRYPTION_KEY, or for a rotation.
                logger().error("webhook_secret_unreadable", detail=str(webhook_id))
            else:
                found[webhook_id].append(opened)
        return found

    async def _drive(self, lane: Lane) -> None:
        subjects: dict[str, list[Due]] = {}
        for due in lane.due:
            subjects.setdefault(due.subject, []).append(due)
        slots = asyncio.Semaphore(SENDING_MAX)

        async def follow(messages: Sequence[Due]) -> None:
            for due in messages:
                async with slots:
                    self._outcomes.append(await self._send(lane, due))
                self.wake.set()

        try:
            await asyncio.gather(*(follow(each) for each in subjects.values()))
        finally:
            del self._lanes[lane.webhook_id]
            self.wake.set()

    async def _send(self, lane: Lane, due: Due) -> Outcome:
        at = datetime.now(UTC)
        id_ = message_id(lane.webhook_id, due.number)
        if not lane.secrets:
            unsigned = Answer(None, "secret-unreadable", 0, 0)
            return Outcome(lane.webhook_id, due.number, due.failures, at, unsigned, random.random())  # noqa: S311
        headers = signed_headers(lane.secrets, id=id_, timestamp_s=int(at.timestamp()), body=due.body)
        try:
            answer = await self._egress.post(lane.url, headers, due.body)
        except Exception as error:
            # A fault of ours with one receiver must not end the messages to the others.
            logger().error("webhook_sending_failed", detail=id_, exc_info=error)
            answer = Answer(None, "fault", 0, 0)
        return Outcome(lane.webhook_id, due.number, due.failures, at, answer, random.random())  # noqa: S311


def _due(message: Sequence[Any], entries: Mapping[int, Entry]) -> Due:
    number, position, type_, subject, sequence, notice, failures = message
    if position is not None:
        entry = entries[position]
        recorded_at, data = entry.recorded_at, told(type_, json.loads(entry.body))
    else:
        recorded_at, data = datetime.fromisoformat(notice["recorded_at"]), notice["data"]
    body = payload(type_, recorded_at=recorded_at, subject=subject, sequence=sequence, number=number, data=data)
    return Due(number, subject, failures, body)


@asynccontextmanager
async def open_deliverer(settings: Settings, db: Database) -> AsyncIterator[Deliverer]:
    """The deliverer of a process; at the end its lanes are stopped."""
    async with open_egress(private=settings.webhooks_private) as egress:
        deliverer = Deliverer(db, Sealer(settings.key_encryption_key), egress)
        try:
            yield deliverer
        finally:
            await deliverer.close()
