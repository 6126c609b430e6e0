"""A key-encryption key in Google Cloud KMS."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from pydantic import SecretStr

from service.keys.signing import ProviderUnusable
from service.keys.wrapping import (
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
    decoded,
    encoded,
    encoded_url,
    insist_on_server,
    open_server,
)

ENDPOINT = "https://cloudkms.googleapis.com"
_KEY = re.compile(r"projects/[^/\s?#]+/locations/[^/\s?#]+/keyRings/[^/\s?#]+/cryptoKeys/[^/\s?#:]+")
_VERSION = re.compile(r".*/cryptoKeyVersions/([0-9]{1,9})")
_SCOPE = "https://www.googleapis.com/auth/cloudkms"
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_ASSERTION_S = 3_600


class ServiceAccount:
    """Who we are to Google: the JSON file of a service account.

    Raises:
        ProviderUnusable: no such file's content.
    """

    def __init__(self, credentials: SecretStr) -> None:
        try:
            told = json.loads(credentials.get_secret_value())
            self._email, self._key_id = str(told["client_email"]), str(told["private_key_id"])
            self._token_url = insist_on_server(str(told["token_uri"]))
            key: Any = load_pem_private_key(str(told["private_key"]).encode(), password=None)
        except (ValueError, KeyError, TypeError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, rsa.RSAPrivateKey):
            raise ProviderUnusable("MUNIMENT_GCP_CREDENTIALS: write the JSON of a service account's key")
        self._key = key

    async def token(self, server: Server) -> tuple[str, float]:
        """An access token, and how many seconds it holds.

        Source: RFC 7523; Google's "Using OAuth 2.0 for Server to Server Applications".

        Raises:
            KeyRefused: Google gives none.
        """
        assertion = await asyncio.to_thread(self._assertion)
        answer = await server.ask("POST", self._token_url, form={"grant_type": _GRANT, "assertion": assertion})
        if answer.status != 200:
            raise KeyRefused(f"{server.name}: MUNIMENT_GCP_CREDENTIALS gets no access token: HTTP {answer.status}")
        return answer.text("access_token"), answer.seconds("expires_in")

    def _assertion(self) -> str:
        now = int(time.time())
        header = {"alg": "RS256", "typ": "JWT", "kid": self._key_id}
        claims = {
            "iss": self._email,
            "scope": _SCOPE,
            "aud": self._token_url,
            "iat": now,
            "exp": now + _ASSERTION_S,
        }
        signed = ".".join(encoded_url(json.dumps(part).encode()) for part in (header, claims))
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{encoded_url(signature)}"

    def __repr__(self) -> str:
        return f"ServiceAccount({self._email})"


class GcpKmsKey:
    """A key for ENCRYPT_DECRYPT; its primary version wraps, and Google finds the one that unwraps."""

    def __init__(self, server: Server, endpoint: str, key: str, account: ServiceAccount, *, timeout_s: float) -> None:
        self._server, self._url, self._timeout_s = server, f"{endpoint}/v1/{key}", timeout_s
        self._token = AccessToken(lambda: account.token(server))
        self.name = server.name

    async def wrap(self, key: bytes, context: KeyContext) -> WrappedKey:
        """See `KeyEncryptionKey.wrap`. Source: Cloud KMS REST reference, cryptoKeys.encrypt."""
        insist_on_key(key)
        answer = await self._ask("encrypt", {"plaintext": encoded(key)}, context)
        if answer.status != 200:
            raise self._server.refused(answer)
        version = _VERSION.fullmatch(answer.text("name"))
        sealed = decoded(answer.text("ciphertext"), self.name)
        return WrappedKey(self.name, version[1] if version else "", sealed)

    async def unwrap(self, wrapped: WrappedKey, context: KeyContext) -> bytes:
        """See `KeyEncryptionKey.unwrap`. Source: Cloud KMS REST reference, cryptoKeys.decrypt."""
        answer = await self._ask("decrypt", {"ciphertext": encoded(wrapped.sealed)}, context)
        if answer.status == 400 and answer.text("error", "status") == "INVALID_ARGUMENT":
            raise KeyAltered(f"a key that {self.name} wrapped was altered, or belongs to another context")
        if answer.status != 200:
            raise self._server.refused(answer)
        return unwrapped(self.name, decoded(answer.text("plaintext"), self.name))

    async def health(self) -> None:
        """See `KeyEncryptionKey.health`."""
        await prove(self)

    async def _ask(self, verb: str, question: dict[str, str], context: KeyContext) -> Answer:
        question["additionalAuthenticatedData"] = encoded(context.encoded())
        async with answered_within(self._timeout_s, self.name):
            return await self._token.ask(self._server, "POST", f"{self._url}:{verb}", question)

    def __repr__(self) -> str:
        return f"GcpKmsKey({self.name})"


@asynccontextmanager
async def open_gcp_kms_key(
    key: str, credentials: SecretStr, *, timeout_s: float, endpoint: str = ENDPOINT
) -> AsyncIterator[GcpKmsKey]:
    """A key of Cloud KMS: `projects/P/locations/L/keyRings/R/cryptoKeys/K`.

    Raises:
        ProviderUnusable: a key or credentials of another form.
    """
    if not _KEY.fullmatch(key):
        raise ProviderUnusable("MUNIMENT_VAULT_KEK: write gcp-kms:projects/P/locations/L/keyRings/R/cryptoKeys/K")
    account = ServiceAccount(credentials)
    async with open_server(f"gcp-kms:{key}") as server:
        yield GcpKmsKey(server, endpoint, key, account, timeout_s=timeout_s)
