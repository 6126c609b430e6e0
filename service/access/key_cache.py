"""Credentials that were looked up a moment ago, kept for as long as Postgres would tell us of a change.

Postgres notifies at every change. A record is used while the connection that hears of it was alive within TRUST_S, and
never beyond its own end; without that connection each request asks Postgres.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import psycopg
from psycopg import AsyncConnection
from sqlalchemy.engine import make_url

from service.access.key_states import State
from service.access.queries import StoredKey, StoredKeys
from service.db import CONNECT_TIMEOUT_S
from service.settings import Settings
from service.telemetry import logger

KEPT_S = 5.0
KEPT_MAX = 10_000
"""Records that are kept at most; then all are looked up anew."""

HEARTBEAT_S = 0.2
TRUST_S = 0.8
"""A change that is not heard by then is seen all the same, since nothing is taken from memory any more."""

_KEPT_STATES = frozenset({State.ACTIVE, State.RETIRING})


class KeyCache:
    """What one process knows of credentials."""

    def __init__(self, keys: StoredKeys) -> None:
        self._keys = keys
        self._kept: dict[str, tuple[StoredKey, float]] = {}
        self._changes = 0
        self._heard_s = float("-inf")

    async def ask(self, key_id: str) -> StoredKey | None:
        """A credential as it stands now, or stood a moment ago where nobody has changed it since."""
        asked_s = time.monotonic()
        trusted = asked_s - self._heard_s < TRUST_S
        stored, until_s = self._kept.get(key_id, (None, 0.0))
        if trusted and stored is not None and asked_s < until_s:
            return stored
        changes = self._changes
        stored = await self._keys.ask(key_id)
        # What changed meanwhile may or may not be in the answer.
        if trusted and changes == self._changes and stored is not None and _is_lasting(stored):
            if len(self._kept) >= KEPT_MAX:
                self._kept.clear()
            ends_in_s = KEPT_S if stored.ends_in_s is None else stored.ends_in_s
            self._kept[key_id] = (stored, asked_s + min(KEPT_S, ends_in_s))
        return stored

    def forget(self) -> None:
        """Something changed: look everything up anew."""
        self._changes += 1
        self._kept.clear()

    @asynccontextmanager
    async def listening(self, settings: Settings) -> AsyncIterator[None]:
        """Hear of changes meanwhile."""
        hearing = asyncio.create_task(self._hear_for_ever(settings))
        try:
            yield
        finally:
            hearing.cancel()
            with suppress(asyncio.CancelledError):
                await hearing

    async def _hear_for_ever(self, settings: Settings) -> None:
        while True:
            try:
                await self._hear(settings)
            except (psycopg.Error, OSError, TimeoutError) as error:
                if self._heard_s > float("-inf"):
                    logger().warning("key_changes_unheard", error_kind=type(error).__name__)
            self._heard_s = float("-inf")
            self.forget()
            await asyncio.sleep(HEARTBEAT_S)

    async def _hear(self, settings: Settings) -> None:
        url = make_url(settings.database_url.get_secret_value()).set(drivername="postgresql")
        connection = await AsyncConnection.connect(
            url.render_as_string(hide_password=False),
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            options="-c role=muniment_api",
        )
        async with connection:
            connection.add_notify_handler(lambda _notice: self.forget())
            await connection.execute("LISTEN muniment_credentials")
            self.forget()
            while True:
                asked_s = time.monotonic()
                async with asyncio.timeout(TRUST_S):
                    await connection.execute("SELECT")  # whatever was told before this is told by its answer
                self._heard_s = asked_s
                await asyncio.sleep(HEARTBEAT_S)


def _is_lasting(stored: StoredKey) -> bool:
    return stored.state in _KEPT_STATES and "hours_utc" not in stored.caller.limits
