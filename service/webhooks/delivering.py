"""The dispatcher's step for webhooks: plan, send, and keep what came of it.

Each webhook with something due has a lane: a task that sends a handful of messages, in order within each subject. The
step only starts lanes and stores what they report, so it never waits for a receiver. Killed at any instruction, what
was sent and not stored is sent again, as the same message.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID

from service.db import Database
from service.settings import Settings
from service.telemetry import logger
from service.webhooks import early, planning, removing
from service.webhooks.egress import Answer, Egress, open_egress
from service.webhooks.lanes import Due, Lane, due_lanes
from service.webhooks.outcomes import Outcome, note_unreadable, record
from service.webhooks.queueing import message_id
from service.webhooks.sealing import Sealer
from service.webhooks.signing import Secrets, signed_headers
from service.workers import Lease

SENDING_MAX = 8
"""Messages under way to one webhook."""

LANE_S = 10.0
"""After so long a lane begins no message, however slowly its receiver takes them: others may be waiting for a place."""

PROBE_PAUSE_S = 5.0
"""Until a webhook that failed again and again, and did so now, is sent its next message."""

UNREADABLE_PAUSE_S = 60.0
"""Until secrets that do not open here are looked at again."""


class Deliverer:
    """The step, with the lanes that it started. `wake` is set when a lane has something to report."""

    def __init__(self, db: Database, sealer: Sealer, egress: Egress) -> None:
        self.wake = asyncio.Event()
        self._db, self._sealer, self._egress = db, sealer, egress
        self._lanes: dict[UUID, tuple[asyncio.Task[None], Lane]] = {}
        self._outcomes: list[Outcome] = []
        self._resting: dict[UUID, float] = {}
        self._looked_s = float("-inf")

    async def step(self, lease: Lease) -> int:
        """Store what came of the sendings, plan what is new, and start what is due; how much there was to do."""
        recorded = await self._record(lease)
        planned = await planning.plan(self._db, lease)
        if time.monotonic() - self._looked_s >= early.LOOK_INTERVAL_S:
            planned += await early.look(self._db, lease)
            swept = await removing.sweep(self._db, lease)
            planned += swept
            self._looked_s = float("-inf") if swept else time.monotonic()
        return recorded + planned + await self._start(lease)

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
        if not outcomes:
            return 0
        put_off = await record(self._db, lease, outcomes)
        self._outcomes[: len(outcomes)] = put_off
        return len(outcomes) - len(put_off)

    async def _start(self, lease: Lease) -> int:
        now_s = time.monotonic()
        self._resting = {id_: until_s for id_, until_s in self._resting.items() if until_s > now_s}
        # A lane that has ended is still busy until what it reports is stored.
        busy = [*self._lanes, *self._resting, *{each.webhook_id for each in self._outcomes}]
        taken = Counter((lane.issuer_id, lane.shaky) for _, lane in self._lanes.values())
        lanes = await due_lanes(self._db, self._sealer, busy=busy, taken=taken)
        for lane in lanes:
            if lane.secrets is None:
                self._resting[lane.webhook_id] = now_s + UNREADABLE_PAUSE_S
            else:
                task = asyncio.create_task(self._drive(lane, lane.secrets))
                self._lanes[lane.webhook_id] = (task, lane)
        await self._note(lease, lanes)
        return sum(1 for lane in lanes if lane.secrets is not None)

    async def _note(self, lease: Lease, lanes: Sequence[Lane]) -> None:
        """Tell of secrets that do not open: that is our fault, and counts against no receiver."""
        unreadable = [each.webhook_id for each in lanes if each.secrets is None and not each.unreadable]
        readable = [each.webhook_id for each in lanes if each.secrets is not None and each.unreadable]
        for id_ in unreadable:
            logger().error("webhook_secret_unreadable", detail=str(id_))
        await note_unreadable(self._db, lease, unreadable=unreadable, readable=readable)

    async def _drive(self, lane: Lane, secrets: Sequence[Secrets]) -> None:
        subjects: dict[str, list[Due]] = {}
        for due in lane.due:
            subjects.setdefault(due.subject, []).append(due)
        slots, end_s = asyncio.Semaphore(SENDING_MAX), time.monotonic() + LANE_S

        async def follow(messages: Sequence[Due]) -> None:
            nonlocal end_s
            for due in messages:
                async with slots:
                    if time.monotonic() >= end_s:
                        return
                    outcome = await self._send(lane, secrets, due)
                    if not outcome.answer.taken:
                        end_s = float("-inf")  # what follows waits for the next lane
                    self._outcomes.append(outcome)
                self.wake.set()

        try:
            await asyncio.gather(*(follow(each) for each in subjects.values()))
        finally:
            del self._lanes[lane.webhook_id]
            if lane.shaky and end_s == float("-inf"):
                self._resting[lane.webhook_id] = time.monotonic() + PROBE_PAUSE_S
            self.wake.set()

    async def _send(self, lane: Lane, secrets: Sequence[Secrets], due: Due) -> Outcome:
        at = datetime.now(UTC)
        id_ = message_id(lane.webhook_id, due.number)
        headers = signed_headers(secrets, id=id_, timestamp_s=int(at.timestamp()), body=due.body)
        try:
            answer = await self._egress.post(lane.url, headers, due.body, issuer_id=lane.issuer_id)
        except Exception as error:
            # A fault of ours with one receiver must not end the messages to the others.
            logger().error("webhook_sending_failed", detail=id_, exc_info=error)
            answer = Answer(None, "fault", 0, 0)
        return Outcome(lane.webhook_id, due.number, due.due_at, due.failures, at, answer, random.random())  # noqa: S311


@asynccontextmanager
async def open_deliverer(settings: Settings, db: Database) -> AsyncIterator[Deliverer]:
    """The deliverer of a process; at the end its lanes are stopped."""
    async with open_egress(private=settings.webhooks_private) as egress:
        deliverer = Deliverer(db, Sealer(settings.key_encryption_key), egress)
        try:
            yield deliverer
        finally:
            await deliverer.close()
