"""Key-encryption keys: what each provider is held to, and the set of them that a process has open."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol
from uuid import UUID

from service.keys.signing import ProviderDown, ProviderUnusable

KEY_BYTES = 32
_PURPOSE = re.compile(r"[a-z][a-z0-9-]{0,31}")
_VERSION_MAX = 2**32 - 1


class KeyRefused(Exception):
    """The provider's final word: it does not wrap or unwrap, until somebody changes something there."""


class KeyAltered(Exception):
    """A wrapped key does not open: altered, cut short, of another context or key. Worth an alarm."""


@dataclass(frozen=True, slots=True)
class KeyContext:
    """What a key is for. It is authenticated with the wrapped key, so that one cannot stand in another's place.

    Args:
        purpose: 1 to 32 of a-z, 0-9 and hyphens.
        version: 1 to 2**32 - 1.
        policy: where a key is one policy's and not the whole issuer's.

    Raises:
        ValueError: a purpose or version of another form.
    """

    issuer: UUID
    purpose: str
    version: int
    policy: UUID | None = None

    def __post_init__(self) -> None:
        if not _PURPOSE.fullmatch(self.purpose) or not 1 <= self.version <= _VERSION_MAX:
            raise ValueError("a key's purpose is a short word, and its version 1 to 2**32 - 1")

    def fields(self) -> dict[str, str]:
        """The context as names and texts, none of them secret: a provider may log them."""
        told = {"issuer": str(self.issuer), "purpose": self.purpose, "version": str(self.version)}
        return told if self.policy is None else {**told, "policy": str(self.policy)}

    def encoded(self) -> bytes:
        """The context as associated data; no two contexts have the same."""
        return "|".join(("muniment key 1", *self.fields().values())).encode()


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A key under a key-encryption key, and which one that was: what a row stores."""

    kek: str
    kek_version: str  # as the provider counts; empty where it does not tell
    sealed: bytes = field(repr=False)


class KeyEncryptionKey(Protocol):
    """One key that wraps others, wherever it is kept."""

    @property
    def name(self) -> str:
        """Tells it from every other key-encryption key, and stays the same from start to start."""

    async def wrap(self, key: bytes, context: KeyContext) -> WrappedKey:
        """Encrypt 32 bytes, bound to their context.

        Raises:
            ValueError: `key` is not 32 bytes.
            ProviderDown: no answer in time; asking again is safe.
            KeyRefused: the provider will not.
        """

    async def unwrap(self, wrapped: WrappedKey, context: KeyContext) -> bytes:
        """Decrypt what `wrap` made with the same context: 32 bytes.

        Raises:
            ProviderDown: no answer in time; asking again is safe.
            KeyRefused: the provider will not.
            KeyAltered: it does not open.
        """

    async def health(self) -> None:
        """Wrap a key and unwrap it again; see `prove`. Raises as `wrap` and `unwrap` do."""


async def prove(kek: KeyEncryptionKey) -> None:
    """Raise unless a provider gives back what it wrapped, and does not for another context.

    A server that ignores associated data would wrap as if nothing were amiss, and any two rows could be swapped.
    """
    key, context = os.urandom(KEY_BYTES), KeyContext(UUID(int=0), "health", 1)
    wrapped = await kek.wrap(key, context)
    if await kek.unwrap(wrapped, context) != key:
        raise KeyAltered(f"{kek.name} gave back another key than it was given")
    try:
        await kek.unwrap(wrapped, replace(context, version=2))
    except KeyAltered:
        return
    raise KeyRefused(f"{kek.name} does not bind a key to its context: use a key and a server with associated data")


class KeyEncryptionKeys:
    """Those that a process has open: the first wraps, and each unwraps what it wrapped.

    Raises:
        ProviderUnusable: none, or two of one name.
    """

    def __init__(self, keks: Sequence[KeyEncryptionKey]) -> None:
        self._keks = {kek.name: kek for kek in keks}
        if not keks or len(self._keks) < len(keks):
            raise ProviderUnusable("MUNIMENT_VAULT_KEK: name at least one key-encryption key, and each once")
        self._newest = keks[0]
        self._proven = False

    @property
    def newest(self) -> str:
        """The name of the one that wraps; a row that tells another one waits for a rewrap."""
        return self._newest.name

    async def wrap(self, key: bytes, context: KeyContext) -> WrappedKey:
        """Wrap with the newest one, and read it back: a key that cannot be unwrapped must never seal anything.

        Raises:
            ProviderDown, KeyRefused: see `KeyEncryptionKey.wrap`.
            KeyAltered: what came back is another key.
        """
        if not self._proven:
            await self._newest.health()
            self._proven = True
        wrapped = await self._newest.wrap(key, context)
        if await self._newest.unwrap(wrapped, context) != key:
            raise KeyAltered(f"{self._newest.name} gave back another key than it was given")
        return wrapped

    async def unwrap(self, wrapped: WrappedKey, context: KeyContext) -> bytes:
        """Unwrap with the one that wrapped it; failures as in `KeyEncryptionKey.unwrap`.

        Raises:
            KeyRefused: that one is not open here.
        """
        kek = self._keks.get(wrapped.kek)
        if kek is None:
            raise KeyRefused(f"a key was wrapped by {wrapped.kek!r}: name that one in MUNIMENT_VAULT_KEK, too")
        return await kek.unwrap(wrapped, context)

    async def faults(self) -> dict[str, str]:
        """The names of those that do not work now, each with why."""
        found = {}
        for name, kek in self._keks.items():
            try:
                await kek.health()
            except (ProviderDown, KeyRefused, KeyAltered) as error:
                found[name] = str(error)
        return found

    def __repr__(self) -> str:
        return f"KeyEncryptionKeys({', '.join(self._keks)})"


def insist_on_key(key: bytes) -> None:
    """Raise ValueError unless these are 32 bytes."""
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key has {KEY_BYTES} bytes")


def unwrapped(kek: str, key: bytes) -> bytes:
    """What a provider gave back.

    Raises:
        KeyAltered: it has no 32 bytes.
    """
    if len(key) != KEY_BYTES:
        raise KeyAltered(f"{kek} unwrapped something that is no key of {KEY_BYTES} bytes")
    return key
