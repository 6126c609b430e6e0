"""What the key-encryption keys behind HTTP have in common: a server that is asked in JSON, and its access tokens."""

import asyncio
import base64
import binascii
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from service.keys.signing import ProviderDown, ProviderUnusable
from service.keys.wrapping import KeyRefused

_ANSWER_BYTES_MAX = 1 << 20
_CONNECTIONS_MAX = 32
_PASSING = (408, 425, 429)
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_RENEWED_BEFORE_S = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A status below 500, and the JSON object that came with it; empty where there was none."""

    status: int
    body: dict[str, Any] = field(repr=False)

    def text(self, *path: str) -> str:
        """The text at a path of names.

        Raises:
            KeyRefused: there is none; a server of another kind answers.
        """
        found: Any = self.body
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        if not isinstance(found, str):
            raise KeyRefused(f"the answer has no {'.'.join(path)}: is this the right server?")
        return found

    def seconds(self, name: str) -> float:
        """A number of seconds; 0 where there is none."""
        found = self.body.get(name)
        try:
            return float(found) if isinstance(found, int | float | str) else 0.0
        except ValueError:
            return 0.0


class Server:
    """A server that keeps keys. No error and no repr tells what was asked or answered."""

    def __init__(self, session: aiohttp.ClientSession, name: str) -> None:
        self._session, self.name = session, name

    async def ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        question: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> Answer:
        """One answer in full.

        Raises:
            ProviderDown: none at all, or HTTP 5xx and the like.
            KeyRefused: one without an end, or that is no JSON object.
        """
        try:
            async with self._session.request(
                method, url, headers=headers, json=question, data=form, allow_redirects=False
            ) as response:
                if response.status >= 500 or response.status in _PASSING:
                    raise ProviderDown(f"{self.name} cannot answer now: HTTP {response.status}")
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > _ANSWER_BYTES_MAX:
                        raise KeyRefused(f"{self.name}: the answer has no end")
                return Answer(response.status, _json_object(bytes(body)))
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
            raise ProviderDown(f"{self.name} does not answer: {type(error).__name__}") from None

    def refused(self, answer: Answer) -> KeyRefused:
        """The failure that a status other than 200 is; what the server wrote beside it stays untold."""
        advice = {401: ": are its credentials right?", 403: ": may they use this key?", 404: ": is there such a key?"}
        return KeyRefused(f"{self.name} refuses: HTTP {answer.status}{advice.get(answer.status, '')}")


class AccessToken:
    """A bearer token that is fetched when needed, once for all who wait, and again a minute before it ends.

    Args:
        fetch: gives a token and how many seconds it holds.
    """

    def __init__(self, fetch: Callable[[], Awaitable[tuple[str, float]]]) -> None:
        self._fetch = fetch
        self._alone = asyncio.Lock()
        self._token, self._ends_at_s = "", 0.0

    async def headers(self) -> dict[str, str]:
        """The header of a request."""
        async with self._alone:
            if time.monotonic() >= self._ends_at_s:
                self._token, holds_s = await self._fetch()
                self._ends_at_s = time.monotonic() + holds_s - _RENEWED_BEFORE_S
        return {"Authorization": f"Bearer {self._token}"}

    def forget(self) -> None:
        """The token was refused: fetch another one for the next request."""
        self._ends_at_s = 0.0

    async def ask(self, server: Server, method: str, url: str, question: Mapping[str, str] | None = None) -> Answer:
        """One answer to whoever shows it; it is fetched anew after a 401. Raises as `Server.ask`."""
        answer = await server.ask(method, url, headers=await self.headers(), question=question)
        if answer.status == 401:
            self.forget()
        return answer

    def __repr__(self) -> str:
        return "AccessToken"


@asynccontextmanager
async def open_server(name: str) -> AsyncIterator[Server]:
    """A server by the name that errors call it."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=_CONNECTIONS_MAX),
        timeout=aiohttp.ClientTimeout(total=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
    ) as session:
        yield Server(session, name)


@asynccontextmanager
async def answered_within(timeout_s: float, name: str) -> AsyncIterator[None]:
    """Raise ProviderDown where a block takes longer: connecting, access tokens and answers together."""
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError:
        raise ProviderDown(f"{name} gave no answer within {timeout_s:g} s") from None


def insist_on_server(url: str, *, path_min: int = 0) -> str:
    """A server's URL as it is used: https, or http on this machine, since secrets go there.

    Args:
        path_min: so many names its path has at least.

    Raises:
        ProviderUnusable: another form, or a password in it.
    """
    try:
        parts = urlsplit(url)
        safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
        bare = bool(parts.hostname) and "@" not in parts.netloc and not parts.query and not parts.fragment
        names = [name for name in parts.path.split("/") if name]
        usable = safe and bare and parts.port != 0 and len(names) >= path_min and ".." not in names
    except ValueError:
        usable = False
    if not usable:
        raise ProviderUnusable("MUNIMENT_VAULT_KEK: write the server as https://host/path, without a password")
    return url.rstrip("/")


def encoded(octets: bytes) -> str:
    """Base64, as RFC 4648 section 4."""
    return base64.b64encode(octets).decode()


def decoded(text: str, name: str) -> bytes:
    """What `encoded` wrote.

    Raises:
        KeyRefused: no base64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise KeyRefused(f"{name} answered something that is no base64") from None


def encoded_url(octets: bytes) -> str:
    """Base64url without padding, as RFC 7515 section 2."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def decoded_url(text: str, name: str) -> bytes:
    """What `encoded_url` wrote.

    Raises:
        KeyRefused: no base64url.
    """
    standard = text.rstrip("=").replace("-", "+").replace("_", "/")
    return decoded(standard + "=" * (-len(standard) % 4), name)


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
