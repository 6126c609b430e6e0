"""Who is let in: one way for every kind of credential, once it has proved itself."""

import asyncio
import hmac
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncSession

from service.access import apikeys, key_commands
from service.access.apikeys import ApiKey, Peppers
from service.access.key_cache import KeyCache
from service.access.key_commands import Issuing
from service.access.key_limits import read_limits
from service.access.key_problems import KeyExpired, Unauthorized
from service.access.key_reports import Reports
from service.access.key_states import OPENS, State
from service.access.key_traffic import KeyTraffic
from service.access.queries import Caller, StoredKey, StoredKeys
from service.db import Database
from service.settings import Settings


class Admission:
    """The gate of one process.

    Args:
        issuing: the peppers, and `live` or `test`; a credential of the other is refused like one that nobody has.
    """

    def __init__(self, db: Database, keys: KeyCache, issuing: Issuing, traffic: KeyTraffic) -> None:
        self._db = db
        self._keys = keys
        self._peppers = issuing.peppers
        self.issuing = issuing
        self.traffic = traffic
        self.reports = Reports()

    async def by_key(self, text: str | None, address: str | None) -> Caller:
        """The caller that a bearer key belongs to.

        Args:
            text: what stood after `Bearer`; None where there was nothing, or more than one thing.
            address: where the request comes from.

        Raises:
            Unauthorized: for every reason alike, so that nothing can be learnt from the answer.
            KeyExpired: the key was shown whole, and its time is over.
        """
        key = apikeys.parse(text) if text is not None else None
        if key is None:
            raise self.refused("malformed" if text else "missing")
        stored = await self._keys.ask(key.id)
        if not self._matches(key, stored):
            raise self.refused("secret-wrong" if stored is not None else "unknown", key.id if stored else "", address)
        assert stored is not None, "nothing matches what nobody has"
        if stored.environment is None:
            caller = replace(stored.caller, environment=key.environment)
            stored = replace(stored, environment=key.environment, caller=caller)
        return await self.admit(stored, address)

    async def admit(self, stored: StoredKey, address: str | None) -> Caller:
        """The caller of a credential that has proved itself, where it may come in now; its first use makes it active.

        Raises:
            Unauthorized, KeyExpired: as of `by_key`.
        """
        caller = stored.caller
        if stored.environment != self.issuing.environment:
            raise self.refused("environment", caller.key_id, address)
        if stored.state is State.EXPIRED:
            self.refused("expired", caller.key_id, address)
            raise KeyExpired("use its successor, or make another key", replaced_by=stored.replaced_by)
        if stored.state not in OPENS or not stored.begins:
            raise self.refused(stored.state.value, caller.key_id, address)
        if caller.limits and (reason := read_limits(dict(caller.limits)).refusal(address, stored.asked_at)) is not None:
            raise self.refused(reason, caller.key_id, address)
        if stored.state is not State.PENDING:
            return caller
        await key_commands.begin(self._db, caller)
        self.forget()
        # It may have waited for whoever ended the credential, or took rights from it.
        begun = await self._keys.ask(caller.key_id)
        if begun is None or begun.state not in OPENS - {State.PENDING}:
            raise self.refused("pending" if begun is None else begun.state.value, caller.key_id, address)
        return begun.caller

    async def leaked(self, keys: Sequence[ApiKey], *, place: str) -> None:
        """End keys that were found where they should not be, as far as their secrets are right.

        Args:
            place: `report` or `url`.
        """
        stored = await asyncio.gather(*(self._keys.ask(key.id) for key in keys))
        ids = {key.id for key, known in zip(keys, stored, strict=True) if self._matches(key, known)}
        if ids:
            await key_commands.revoke_leaked(self._db, sorted(ids), place=place)
            self.forget()

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[AsyncSession]:
        """A DB transaction that changes credentials, of which this process need not wait to hear."""
        async with self._db.transaction() as session:
            yield session
        self.forget()

    def forget(self) -> None:
        """A credential was changed by this process, which need not wait to hear of it."""
        self._keys.forget()

    def refused(self, reason: str, key_id: str = "", address: str | None = None) -> Unauthorized:
        """Count a refusal, and what to answer.

        Args:
            key_id: of a credential that there is, else nothing.
            address: where the request came from.
        """
        self.traffic.refused(reason, key_id, address)
        return Unauthorized("send `Authorization: Bearer munsk_…` with a key made by `muniment keys create`")

    def _matches(self, key: ApiKey, stored: StoredKey | None) -> bool:
        pepper = None if stored is None or stored.pepper_version is None else self._peppers.of(stored.pepper_version)
        # An unknown id costs the same hash as a known one, so that time does not tell them apart.
        hashed = key.hashed(pepper or self._peppers.newest)
        if stored is None or stored.secret_hmac is None or pepper is None:
            return False
        if not hmac.compare_digest(hashed, stored.secret_hmac):
            return False
        if stored.pepper_version != self._peppers.version:
            self.traffic.rehashed(key.id, self._peppers.version, key.hashed(self._peppers.newest))
        return True


def issuing_of(settings: Settings) -> Issuing:
    """What a deployment makes credentials with."""
    peppers = Peppers(settings.api_key_pepper, settings.api_key_pepper_version, settings.old_peppers)
    return Issuing(peppers, settings.environment, settings.key_encryption_key)


@asynccontextmanager
async def open_admission(settings: Settings, db: Database, keys: StoredKeys) -> AsyncIterator[Admission]:
    """The gate of a deployment; what it has counted is written until the end."""
    traffic, cache = KeyTraffic(db), KeyCache(keys)
    async with traffic.running(), cache.listening(settings):
        yield Admission(db, cache, issuing_of(settings), traffic)
