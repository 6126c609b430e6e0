"""A key-encryption key in Azure Key Vault: an RSA key, around a key of ours that binds the context."""

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr

from service.keys.signing import ProviderUnusable
from service.keys.wrapping import (
    KEY_BYTES,
    KeyAltered,
    KeyContext,
    KeyRefused,
    WrappedKey,
    insist_on_key,
    prove,
    unwrapped,
)
from service.keys.wrapping_http import (
    AccessToken,
    Answer,
    Server,
    answered_within,
    decoded_url,
    encoded_url,
    insist_on_server,
    open_server,
)
from service.keys.wrapping_local import opened_key, sealed_key

LOGIN = "https://login.microsoftonline.com"
_API = "api-version=7.4"
_ALGORITHM = "RSA-OAEP-256"
_SCOPE = "https://vault.azure.net/.default"
_KEY = re.compile(r"https?://[^/]+/keys/[0-9A-Za-z-]{1,127}")
_VERSION = re.compile(r"[0-9A-Za-z]{1,64}")
_LENGTH_BYTES = 2


@dataclass(frozen=True, slots=True)
class Application:
    """Who we are to Azure: a registered application and its secret."""

    tenant_id: str
    client_id: str
    client_secret: SecretStr = field(repr=False)

    async def token(self, server: Server, login: str) -> tuple[str, float]:
        """An access token, and how many seconds it holds. Source: RFC 6749 section 4.4.

        Raises:
            KeyRefused: Azure gives none.
        """
        form = {
            "grant_type": "client_credentials",
            "client_id": self.client_id,
            "client_secret": self.client_secret.get_secret_value(),
            "scope": _SCOPE,
        }
        answer = await server.ask("POST", f"{login}/{self.tenant_id}/oauth2/v2.0/token", form=form)
        if answer.status != 200:
            raise KeyRefused(f"{server.name}: MUNIMENT_AZURE_CLIENT_SECRET gets no access token: HTTP {answer.status}")
        return answer.text("access_token"), answer.seconds("expires_in")


class AzureKey:
    """A key of a key vault. RSA-OAEP takes no associated data, so what Azure wraps is a key of ours, used once, under
    which the key itself is sealed with its context.
    """

    def __init__(self, server: Server, url: str, login: str, application: Application, *, timeout_s: float) -> None:
        self._server, self._url, self._timeout_s = server, url, timeout_s
        self._token = AccessToken(lambda: application.token(server, login))
        self.name = server.name

    async def wrap(self, key: bytes, context: KeyContext) -> WrappedKey:
        """See `KeyEncryptionKey.wrap`. Source: Key Vault REST reference 7.4, get key and wrap key."""
        insist_on_key(key)
        once = os.urandom(KEY_BYTES)
        async with answered_within(self._timeout_s, self.name):
            version = (await self._granted("GET", "", None)).text("key", "kid").rpartition("/")[2]
            if not _VERSION.fullmatch(version):
                raise KeyRefused(f"{self.name} tells no version of its key")
            question = {"alg": _ALGORITHM, "value": encoded_url(once)}
            answer = await self._granted("POST", f"/{version}/wrapkey", question)
        outer = decoded_url(answer.text("value"), self.name)
        sealed = sealed_key(AESGCM(once), key, context.encoded())
        return WrappedKey(self.name, version, len(outer).to_bytes(_LENGTH_BYTES) + outer + sealed)

    async def unwrap(self, wrapped: WrappedKey, context: KeyContext) -> bytes:
        """See `KeyEncryptionKey.unwrap`. Source: Key Vault REST reference 7.4, unwrap key."""
        if not _VERSION.fullmatch(wrapped.kek_version):
            raise KeyAltered(f"a key that {self.name} wrapped tells no version of it")
        ends = _LENGTH_BYTES + int.from_bytes(wrapped.sealed[:_LENGTH_BYTES])
        outer, sealed = wrapped.sealed[_LENGTH_BYTES:ends], wrapped.sealed[ends:]
        question = {"alg": _ALGORITHM, "value": encoded_url(outer)}
        async with answered_within(self._timeout_s, self.name):
            answer = await self._ask("POST", f"/{wrapped.kek_version}/unwrapkey", question)
        if answer.status == 400:
            raise KeyAltered(f"a key that {self.name} wrapped was altered")
        if answer.status != 200:
            raise self._server.refused(answer)
        once = unwrapped(self.name, decoded_url(answer.text("value"), self.name))
        return unwrapped(self.name, opened_key(AESGCM(once), sealed, context.encoded()))

    async def health(self) -> None:
        """See `KeyEncryptionKey.health`."""
        await prove(self)

    async def _granted(self, method: str, path: str, question: dict[str, str] | None) -> Answer:
        answer = await self._ask(method, path, question)
        if answer.status != 200:
            raise self._server.refused(answer)
        return answer

    async def _ask(self, method: str, path: str, question: dict[str, str] | None) -> Answer:
        return await self._token.ask(self._server, method, f"{self._url}{path}?{_API}", question)

    def __repr__(self) -> str:
        return f"AzureKey({self.name})"


@asynccontextmanager
async def open_azure_key(
    url: str, application: Application, *, timeout_s: float, login: str = LOGIN
) -> AsyncIterator[AzureKey]:
    """A key of a key vault: `https://VAULT.vault.azure.net/keys/KEY`; its newest version wraps.

    Raises:
        ProviderUnusable: a URL of another form.
    """
    url = insist_on_server(url)
    if not _KEY.fullmatch(url):
        raise ProviderUnusable("MUNIMENT_VAULT_KEK: write azure:https://VAULT.vault.azure.net/keys/KEY")
    async with open_server(f"azure:{url}") as server:
        yield AzureKey(server, url, login, application, timeout_s=timeout_s)
