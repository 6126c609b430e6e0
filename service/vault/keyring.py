"""The vault's own keys while they are in use: unwrapped when first needed, kept for minutes, gone when destroyed."""

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

from service.keys.signing import ProviderDown
from service.keys.wrapping import KEY_BYTES, KeyContext, KeyEncryptionKeys, WrappedKey

T = TypeVar("T")
_FAILED_FOR_S = 1.0


class Purpose(StrEnum):
    """What a key of the vault is for; never one key for two."""

    DATA = "data"  # an issuer's: the outer layer of its records
    INDEX = "index"  # an issuer's: finds a row by its vault token
    SUBJECT_WRAPPING = "subject-wrapping"  # an issuer's: wraps its subjects' keys
    FINGERPRINT = "fingerprint"  # a policy's: finds a row by its value
    RECORD = "record"  # a policy's: the inner layer of records without a subject
    FF1 = "ff1"  # a policy's: format-preserving encryption


class KeyState(StrEnum):
    """Whether a version may be used."""

    ACTIVE = "active"  # the highest such version seals; each of them opens
    RETIRED = "retired"  # below the minimum version: opens nothing until it is active again
    DESTROYED = "destroyed"  # for good


class KeyMissing(Exception):
    """An issuer or policy has no key of this purpose and version."""


class KeyClosed(Exception):
    """A version is retired or destroyed: what is under it is not to be read."""


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One version as it is stored; `wrapped` is None once it is destroyed."""

    version: int
    state: KeyState
    wrapped: WrappedKey | None


@dataclass(frozen=True, slots=True)
class LiveKey:
    """One version, ready to use: 32 bytes, which no repr tells."""

    version: int
    secret: bytes = field(repr=False)


class KeyRows(Protocol):
    """Where the versions are stored."""

    async def __call__(self, issuer: UUID, purpose: Purpose, policy: UUID | None) -> Sequence[KeyRow]:
        """Every version of one key, in any order; none where there is no such key."""


class Keyring:
    """The keys of a process.

    A provider that is down is asked once a second at most for each key, however many wait; what is cached lives on for
    `keys_age_max_s`, and then nothing is read or written until the provider answers: fail closed.

    Args:
        rows: reads the stored versions.
        keks: unwrap them, and wrap new ones.
        keys_age_max_s: an unwrapped key is forgotten after this.
        rows_age_max_s: how soon a version that another process made, retired or destroyed is noticed.
        clock_s: a monotonic clock.
    """

    def __init__(
        self,
        rows: KeyRows,
        keks: KeyEncryptionKeys,
        *,
        keys_age_max_s: float = 300.0,
        rows_age_max_s: float = 2.0,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rows, self._keks = rows, keks
        self._listed: _Kept[_Name, dict[int, KeyRow]] = _Kept(rows_age_max_s, clock_s)
        self._live: _Kept[KeyContext, LiveKey] = _Kept(keys_age_max_s, clock_s)

    async def newest(self, issuer: UUID, purpose: Purpose, policy: UUID | None = None) -> LiveKey:
        """The version that seals: the highest active one.

        Raises:
            KeyMissing: there is none.
            ProviderDown, KeyRefused, KeyAltered: it cannot be unwrapped; see `KeyEncryptionKey.unwrap`.
        """
        versions = await self._versions((issuer, purpose, policy))
        active = [row.version for row in versions.values() if row.state is KeyState.ACTIVE]
        if not active:
            raise KeyMissing(f"there is no active {purpose} key")
        return await self._unwrapped((issuer, purpose, policy), versions[max(active)])

    async def version(self, issuer: UUID, purpose: Purpose, version: int, policy: UUID | None = None) -> LiveKey:
        """One version, to open what it sealed.

        Raises:
            KeyMissing: there is no such version.
            KeyClosed: it is retired or destroyed.
            ProviderDown, KeyRefused, KeyAltered: as in `newest`.
        """
        name = (issuer, purpose, policy)
        row = (await self._versions(name)).get(version)
        if row is None:
            # Another process may have made it since the versions were read.
            self._listed.drop(name)
            row = (await self._versions(name)).get(version)
        if row is None:
            raise KeyMissing(f"there is no version {version} of the {purpose} key")
        if row.state is not KeyState.ACTIVE:
            raise KeyClosed(f"version {version} of the {purpose} key is {row.state}")
        return await self._unwrapped(name, row)

    async def made(self, context: KeyContext) -> WrappedKey:
        """A new random key, wrapped and read back, for the caller to store; failures as in `KeyEncryptionKeys.wrap`."""
        return await self._keks.wrap(os.urandom(KEY_BYTES), context)

    async def rewrapped(self, wrapped: WrappedKey, context: KeyContext) -> WrappedKey:
        """A stored key under the newest key-encryption key; its data is not touched.

        Raises:
            ProviderDown, KeyRefused, KeyAltered: as in `KeyEncryptionKeys.unwrap` and `wrap`.
        """
        return await self._keks.wrap(await self._keks.unwrap(wrapped, context), context)

    def forget(self, issuer: UUID) -> None:
        """Drop an issuer's keys at once: one of them was rotated, retired or destroyed."""
        for name in [name for name in self._listed if name[0] == issuer]:
            self._listed.drop(name)
        for context in [context for context in self._live if context.issuer == issuer]:
            self._live.drop(context)

    async def _versions(self, name: "_Name") -> dict[int, KeyRow]:
        kept = self._listed.kept(name)
        return kept if kept is not None else await self._listed.get(name, lambda: self._read(name))

    async def _read(self, name: "_Name") -> dict[int, KeyRow]:
        versions = {row.version: row for row in await self._rows(*name)}
        issuer, purpose, policy = name
        for row in versions.values():
            if row.state is not KeyState.ACTIVE:
                self._live.drop(KeyContext(issuer, purpose, row.version, policy))
        return versions

    async def _unwrapped(self, name: "_Name", row: KeyRow) -> LiveKey:
        issuer, purpose, policy = name
        context = KeyContext(issuer, purpose, row.version, policy)
        kept = self._live.kept(context)
        return kept if kept is not None else await self._live.get(context, lambda: self._unwrap(row, context))

    async def _unwrap(self, row: KeyRow, context: KeyContext) -> LiveKey:
        if row.wrapped is None:
            raise KeyClosed(f"version {row.version} of the {context.purpose} key is destroyed")
        return LiveKey(row.version, await self._keks.unwrap(row.wrapped, context))

    def __repr__(self) -> str:
        return f"Keyring({len(self._live)} keys)"

    def __reduce__(self) -> str:
        raise TypeError("a key never leaves its process")


_Name = tuple[UUID, Purpose, UUID | None]
K = TypeVar("K")


class _Kept(Generic[K, T]):
    """What was fetched, for as long as it is young; whoever comes during a fetch waits for that one.

    A provider that was down stays so for a second, so that callers do not queue up behind its timeout.
    """

    def __init__(self, age_max_s: float, clock_s: Callable[[], float]) -> None:
        self._age_max_s, self._clock_s = age_max_s, clock_s
        self._found: dict[K, tuple[T, float]] = {}
        self._failed: dict[K, tuple[str, float]] = {}
        self._under_way: dict[K, asyncio.Task[T]] = {}

    def kept(self, key: K) -> T | None:
        """What is there and young."""
        found = self._found.get(key)
        return found[0] if found is not None and self._clock_s() < found[1] else None

    async def get(self, key: K, fetch: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Fetch it, once for all who wait; the fetch outlives whoever stops waiting."""
        failed = self._failed.get(key)
        if failed is not None and self._clock_s() < failed[1]:
            raise ProviderDown(failed[0])
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.create_task(self._fetched(key, fetch))
            task.add_done_callback(lambda done: self._ended(key, done))
        return await asyncio.shield(task)

    def drop(self, key: K) -> None:
        """Forget it, and what is being fetched of it: its waiters get that, and nobody after them."""
        self._found.pop(key, None)
        self._failed.pop(key, None)
        self._under_way.pop(key, None)

    def __iter__(self) -> Iterator[K]:
        """What is there or being fetched."""
        return iter({**self._found, **self._under_way})

    async def _fetched(self, key: K, fetch: Callable[[], Coroutine[Any, Any, T]]) -> T:
        try:
            found = await fetch()
        except ProviderDown as error:
            self._failed[key] = (str(error), self._clock_s() + _FAILED_FOR_S)
            raise
        if self._under_way.get(key) is asyncio.current_task():
            self._found[key] = (found, self._clock_s() + self._age_max_s)
            # The clock alone would leave a key that nobody asks for again in memory.
            asyncio.get_running_loop().call_later(self._age_max_s, self._found.pop, key, None)
            self._failed.pop(key, None)
        return found

    def _ended(self, key: K, done: asyncio.Task[T]) -> None:
        if self._under_way.get(key) is done:
            del self._under_way[key]
        if not done.cancelled():
            done.exception()  # else asyncio complains where nobody waited to the end

    def __len__(self) -> int:
        return len(self._found)
