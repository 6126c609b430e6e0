"""Signers behind a server that speaks web3signer's HTTP API."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from pydantic import SecretStr

from service.keys.managed import Signature
from service.keys.signing import (
    ProviderDown,
    ProviderUnusable,
    SignerRefused,
    WrongSignature,
    address_of,
    insist_on_digest,
    verified,
)

_ANSWER_BYTES_MAX = 1 << 20
_CONNECTIONS_MAX = 32
_PASSING = (408, 425, 429)


class Web3SignerSigner:
    """A key of a web3signer server."""

    provider = "web3signer"

    def __init__(self, remote: "_Remote", public_key: str) -> None:
        self._remote, self._public_key = remote, public_key
        self.address = _address(public_key)

    async def sign_digest(self, digest: bytes) -> Signature:
        """See `Signer.sign_digest`. A server that does not know `applyHash` hashes again, and its answer is refused.

        Source: web3signer's OpenAPI for ETH1, ETH1_SIGN; `applyHash` since its version 1.2.0.
        """
        insist_on_digest(digest)
        question = {"data": f"0x{digest.hex()}", "applyHash": False}
        text = (await self._remote.ask("POST", f"/api/v1/eth1/sign/{self._public_key}", question)).strip()
        try:
            made = bytes.fromhex(text.removeprefix("0x"))
        except ValueError:
            made = b""
        if len(made) != 65:
            raise WrongSignature(f"web3signer gave no signature for 0x{self.address.hex()}")
        return verified(self.address, digest, int.from_bytes(made[:32]), int.from_bytes(made[32:64]))

    async def health(self) -> None:
        """See `Signer.health`."""
        if self._public_key not in await self._remote.public_keys():
            raise SignerRefused(f"web3signer no longer holds the key of 0x{self.address.hex()}")


class _Remote:
    """The server; its address may hold a password, so no error and no repr tells it."""

    def __init__(self, url: SecretStr, session: aiohttp.ClientSession, timeout_s: float) -> None:
        self._url, self._session, self._timeout_s = url, session, timeout_s

    async def public_keys(self) -> list[str]:
        """The keys that it signs with, as it writes them."""
        try:
            keys = json.loads(await self.ask("GET", "/api/v1/eth1/publicKeys"))
        except ValueError:
            raise SignerRefused("web3signer's list of keys is no JSON") from None
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise SignerRefused("web3signer's list of keys is no list of strings")
        return keys

    async def ask(self, method: str, path: str, question: dict[str, Any] | None = None) -> str:
        """One answer in full.

        Raises:
            ProviderDown: none in time, none at all, or HTTP 5xx and the like.
            SignerRefused: any other status than 200.
        """
        url = self._url.get_secret_value().rstrip("/") + path
        try:
            async with self._session.request(method, url, json=question, allow_redirects=False) as response:
                if response.status >= 500 or response.status in _PASSING:
                    raise ProviderDown(f"web3signer cannot answer now: HTTP {response.status}")
                if response.status != 200:
                    raise SignerRefused(f"web3signer refuses: HTTP {response.status}")
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > _ANSWER_BYTES_MAX:
                        raise SignerRefused("web3signer's answer has no end")
        except TimeoutError:
            raise ProviderDown(f"web3signer gave no answer within {self._timeout_s:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise ProviderDown(f"web3signer does not answer: {type(error).__name__}") from None
        return body.decode(errors="replace")

    def __repr__(self) -> str:
        return "web3signer"


@asynccontextmanager
async def open_web3signer(url: SecretStr, *, timeout_s: float) -> AsyncIterator[list[Web3SignerSigner]]:
    """The signers of a server: every key that it lists.

    Args:
        url: http or https, with a path where the server is behind one.
        timeout_s: longest wait for one answer, connecting included.

    Raises:
        ProviderUnusable: the server refuses, or speaks another language.
        ProviderDown: it does not answer.
    """
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=_CONNECTIONS_MAX),
        timeout=aiohttp.ClientTimeout(total=timeout_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    ) as session:
        remote = _Remote(url, session, timeout_s)
        try:
            signers = [Web3SignerSigner(remote, key) for key in await remote.public_keys()]
        except SignerRefused as error:
            raise ProviderUnusable(f"MUNIMENT_WEB3SIGNER_URL: {error}") from None
        yield signers


def _address(public_key: str) -> bytes:
    try:
        return address_of(bytes.fromhex(public_key.removeprefix("0x")))
    except ValueError:
        raise SignerRefused("web3signer lists something that is no uncompressed secp256k1 key") from None
