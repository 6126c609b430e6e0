"""A key-encryption key in the transit engine of HashiCorp Vault or OpenBao."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import SecretStr

from service.keys.wrapping import (
    KeyAltered,
    KeyContext,
    KeyRefused,
    WrappedKey,
    insist_on_key,
    prove,
    unwrapped,
)
from service.keys.wrapping_http import Server, answered_within, decoded, encoded, insist_on_server, open_server

_CIPHERTEXT = re.compile(r"vault:v([1-9][0-9]{0,8}):([A-Za-z0-9+/=]+)")
_VERSION = re.compile(r"[1-9][0-9]{0,8}")


class TransitKey:
    """A key of the type aes256-gcm96, by the URL of its engine and its name."""

    def __init__(self, server: Server, url: str, token: SecretStr, namespace: str | None, *, timeout_s: float) -> None:
        host, _, path = url.partition("://")[2].partition("/")
        mount, _, key = path.rpartition("/")
        root = f"{url.partition('://')[0]}://{host}/v1/{mount}"
        self._server, self._timeout_s = server, timeout_s
        self._encrypt, self._decrypt = f"{root}/encrypt/{key}", f"{root}/decrypt/{key}"
        self._token, self._namespace = token, namespace
        self.name = server.name

    async def wrap(self, key: bytes, context: KeyContext) -> WrappedKey:
        """See `KeyEncryptionKey.wrap`. Source: Vault's and OpenBao's API documentation, transit, encrypt data."""
        insist_on_key(key)
        question = {"plaintext": encoded(key), "associated_data": encoded(context.encoded())}
        async with answered_within(self._timeout_s, self.name):
            answer = await self._server.ask("POST", self._encrypt, headers=self._headers(), question=question)
        if answer.status != 200:
            raise self._server.refused(answer)
        made = _CIPHERTEXT.fullmatch(answer.text("data", "ciphertext"))
        if made is None:
            raise KeyRefused(f"{self.name} gave no ciphertext of the transit engine")
        # The bytes and not their base64, in which several texts may mean the same.
        return WrappedKey(self.name, made[1], decoded(made[2], self.name))

    async def unwrap(self, wrapped: WrappedKey, context: KeyContext) -> bytes:
        """See `KeyEncryptionKey.unwrap`. Source: as `wrap`, decrypt data."""
        if not _VERSION.fullmatch(wrapped.kek_version):
            raise KeyAltered(f"a key that {self.name} wrapped tells no version of it")
        question = {
            "ciphertext": f"vault:v{wrapped.kek_version}:{encoded(wrapped.sealed)}",
            "associated_data": encoded(context.encoded()),
        }
        async with answered_within(self._timeout_s, self.name):
            answer = await self._server.ask("POST", self._decrypt, headers=self._headers(), question=question)
        if answer.status == 400:
            raise KeyAltered(f"a key that {self.name} wrapped was altered, or its context or version is another")
        if answer.status != 200:
            raise self._server.refused(answer)
        return unwrapped(self.name, decoded(answer.text("data", "plaintext"), self.name))

    async def health(self) -> None:
        """See `KeyEncryptionKey.health`."""
        await prove(self)

    def _headers(self) -> dict[str, str]:
        headers = {"X-Vault-Token": self._token.get_secret_value()}
        return headers if self._namespace is None else {**headers, "X-Vault-Namespace": self._namespace}

    def __repr__(self) -> str:
        return f"TransitKey({self.name})"


@asynccontextmanager
async def open_transit_key(
    url: str, token: SecretStr, namespace: str | None, *, timeout_s: float
) -> AsyncIterator[TransitKey]:
    """A key of a transit engine: `https://host:8200/MOUNT/KEY`, without the `/v1` of the API.

    Raises:
        ProviderUnusable: a URL of another form.
    """
    url = insist_on_server(url, path_min=2)
    async with open_server(f"transit:{url}") as server:
        yield TransitKey(server, url, token, namespace, timeout_s=timeout_s)
