"""The way out to addresses that callers name: to public ones alone, and to the very address that was judged.

A name may answer with another address at each look-up, so the judgement is made where the socket is made, with the
address that it is about to connect to. Nothing is followed, nothing is remembered, and an answer is read up to a limit.
"""

import asyncio
import ipaddress
import re
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any
from uuid import UUID
from weakref import WeakValueDictionary

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from service.errors import Problem

TIMEOUT_S = 15.0
LOOK_UP_TIMEOUT_S = 3.0
LOOK_UPS_MAX = 64
LOOK_UPS_EACH_MAX = 8
"""Of those, look-ups for one issuer: silent names of one must not take every thread."""

CHECKS_MAX, CHECKS_EACH_MAX = 16, 4
"""The same where URLs are checked as they are named."""

URL_CHARS_MAX = 2_000
ANSWER_BYTES_MAX = 65_536
PORTS = frozenset({443, 8443})
RETRY_AFTER_MAX_S = 86_400

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
# Global by name, but by Teredo, 6to4 and its relays a gateway may reach another IPv4 address.
_TUNNELS_V6 = (ipaddress.IPv6Network("2001::/23"), ipaddress.IPv6Network("2002::/16"))
_TUNNELS_V4 = (ipaddress.IPv4Network("192.0.0.0/24"), ipaddress.IPv4Network("192.88.99.0/24"))
# Translated to IPv4 by the network (RFC 6052, RFC 8215) or by this machine (RFC 4291), they are outside 2000::/3.
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
# Whatever else a parser would take for a host (percent-encoded, with user and password, with a zone) is refused.
_AUTHORITY = re.compile(r"[A-Za-z]+://([a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:]+\])(?::[0-9]+)?(?:[/?].*)?", re.I)
# What ends so is an address to every resolver, in whatever base and of however many parts (WHATWG URL, host parsing).
_NUMBER = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)", re.I)


class WebhookUrlRefused(Problem):
    """The URL is not one that webhooks are sent to: https, a port of the list, and a public address."""

    slug, title, status = "webhook-url-refused", "Webhooks are not sent to this URL", 422


class AddressRefused(OSError):
    """The address is not public. It is in no message, since an answer of it would map our network."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one sending: an HTTP status, or in a word why there is none."""

    status: int | None
    reason: str | None
    retry_after_s: int
    duration_ms: int

    @property
    def taken(self) -> bool:
        """Whether the receiver has the message now."""
        return self.status is not None and 200 <= self.status < 300


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet at large, in whatever form it is written."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if found.is_multicast or found.is_reserved or found.is_private or not found.is_global:
        return False
    if isinstance(found, ipaddress.IPv4Address):
        return not any(found in network for network in _TUNNELS_V4)
    return found in _GLOBAL_V6 and not any(found in network for network in _TUNNELS_V6)


def parse_url(text: str, *, private: bool) -> URL:
    """A URL that webhooks may be sent to, as far as the text tells.

    Args:
        private: http, and any port, will do for an address of this machine.

    Raises:
        WebhookUrlRefused: anything else.
    """
    if not text.isascii() or not text.isprintable() or set(text) & set(' \\"<>^`{|}') or len(text) > URL_CHARS_MAX:
        raise WebhookUrlRefused("write it in visible ASCII, and what is beyond it percent-encoded or in Punycode")
    try:
        url = URL(text)
        host, port = url.raw_host, url.port
    except ValueError:
        raise WebhookUrlRefused("write https://host/path, the port in digits") from None
    local = private and host in _LOOPBACK
    if not host or url.scheme not in ("https", *(("http",) if local else ())):
        raise WebhookUrlRefused("write https://host/path")
    if "@" in text.partition("://")[2].partition("/")[0] or "#" in text:
        raise WebhookUrlRefused("leave out user, password and fragment: messages are signed")
    if not _is_plain(text, host):
        raise WebhookUrlRefused(
            "write the host as a name, or an address as four decimal numbers or an IPv6 address in brackets"
        )
    if port not in PORTS and not local:
        raise WebhookUrlRefused(f"use one of the ports {', '.join(map(str, sorted(PORTS)))}")
    return url


def _is_plain(text: str, host: str) -> bool:
    """Whether the host of a URL is written as every parser reads it."""
    authority = _AUTHORITY.fullmatch(text)
    if authority is None or ":" in host:
        return authority is not None
    if not _NUMBER.fullmatch(host.rpartition(".")[2]):
        return authority[1].lower() == host
    try:
        return str(ipaddress.IPv4Address(authority[1])) == host
    except ValueError:
        return False


async def insist_on_public(url: URL, *, private: bool, issuer_id: UUID) -> None:
    """Refuse a name that leads to an address that is not public now; one that leads nowhere yet may do so later.

    Raises:
        WebhookUrlRefused: it does, or it is such an address in any of the forms that a resolver reads.
    """
    assert url.raw_host is not None
    addresses = [url.raw_host]
    if not _is_address(url.raw_host):
        try:
            async with asyncio.timeout(LOOK_UP_TIMEOUT_S):
                found = await _checks.look_up(url.raw_host, url.port or 0, issuer_id=issuer_id)
        except (OSError, TimeoutError, UnicodeError):
            return
        addresses = [each["host"] for each in found]
    if not all(_may_reach(each, private=private) for each in addresses):
        raise WebhookUrlRefused("the name leads to an address that is not public: use one that everybody can reach")


class _Threads:
    """Daemon threads, since those of a ThreadPoolExecutor hold up the end of a process; idle ones end.

    Args:
        most: threads at once; what is asked meanwhile waits for one.
    """

    def __init__(self, most: int) -> None:
        self._most, self._count = most, 0
        self._lock = threading.Lock()
        self._asked: deque[tuple[Future[list[Any]], Callable[[], list[Any]]]] = deque()

    def submit(self, ask: Callable[[], list[Any]]) -> Future[list[Any]]:
        """What `ask` answers, in a thread."""
        answer: Future[list[Any]] = Future()
        with self._lock:
            self._asked.append((answer, ask))
            if self._count == self._most:
                return answer
            self._count += 1
        try:
            threading.Thread(target=self._serve, name="webhook-names", daemon=True).start()
        except RuntimeError as error:
            self._give_up(answer, ask, error)
        return answer

    def _give_up(self, answer: Future[list[Any]], ask: Callable[[], list[Any]], error: RuntimeError) -> None:
        """There is no thread for it, unless one that was there took it meanwhile."""
        with self._lock:
            self._count -= 1
            if (answer, ask) not in self._asked:
                return
            self._asked.remove((answer, ask))
        if answer.set_running_or_notify_cancel():
            answer.set_exception(OSError(str(error)))

    def cancel(self) -> None:
        """Forget what waits."""
        with self._lock:
            waiting = list(self._asked)
            self._asked.clear()
        for answer, _ in waiting:
            answer.cancel()

    def _serve(self) -> None:
        while True:
            with self._lock:
                if not self._asked:
                    self._count -= 1
                    return
                answer, ask = self._asked.popleft()
            if answer.set_running_or_notify_cancel():
                try:
                    answer.set_result(ask())
                except BaseException as error:
                    answer.set_exception(error)


class Names(AbstractResolver):
    """Look-ups in threads of their own: names that nobody answers for must hold up neither others nor this process.

    Args:
        each_max: look-ups of one issuer at once; the next ones wait for those.
    """

    def __init__(self, threads_max: int, each_max: int) -> None:
        self._threads = _Threads(threads_max)
        self._each_max = each_max
        self._shares: WeakValueDictionary[UUID, asyncio.Semaphore] = WeakValueDictionary()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Every address of a name, unjudged, for the issuer whose message is being sent."""
        return await self.look_up(host, port, family, issuer_id=_sending_for.get())

    async def look_up(
        self, host: str, port: int, family: socket.AddressFamily = socket.AF_UNSPEC, *, issuer_id: UUID
    ) -> list[ResolveResult]:
        """Every address of a name, unjudged."""
        share = self._shares.setdefault(issuer_id, asyncio.Semaphore(self._each_max))
        loop = asyncio.get_running_loop()

        def release(_: object) -> None:
            with suppress(RuntimeError):  # the loop may have ended before the look-up did
                loop.call_soon_threadsafe(share.release)

        await share.acquire()
        looking = self._threads.submit(partial(socket.getaddrinfo, host, port, family=family, type=socket.SOCK_STREAM))
        # Not when the wait ends: a look-up that nobody waits for any more still has its thread.
        looking.add_done_callback(release)
        return [
            ResolveResult(hostname=host, host=str(address[0]), port=port, family=each, proto=protocol, flags=0)
            for each, _, protocol, _, address in await asyncio.wrap_future(looking)
        ]

    async def close(self) -> None:
        """Wait for no look-up."""
        self._threads.cancel()


_checks = Names(CHECKS_MAX, CHECKS_EACH_MAX)
_sending_for: ContextVar[UUID] = ContextVar("sending_for")


class Egress:
    """Sends messages. One for a process; `open_egress` makes it."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, issuer_id: UUID) -> Answer:
        """Send a message once and say what came of it; every failure of the receiver or of the way to it is told so."""
        began_s = time.monotonic()
        status, reason, retry_after_s = None, None, 0
        _sending_for.set(issuer_id)
        try:
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                status, retry_after_s = response.status, _retry_after_s(response.headers.get("Retry-After"))
                await _drain(response)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            # A status that came is an answer, however the rest of it broke off.
            reason = None if status is not None else _reason(error)
        return Answer(status, reason, retry_after_s, round((time.monotonic() - began_s) * 1_000))


@asynccontextmanager
async def open_egress(*, private: bool) -> AsyncIterator[Egress]:
    """The way out. Proxies of the environment are not asked, since they would connect for us unjudged."""

    def guarded(target: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, address = target
        if not _may_reach(address[0], private=private):
            raise AddressRefused("not a public address")
        return socket.socket(family, kind, protocol)

    names = Names(LOOK_UPS_MAX, LOOK_UPS_EACH_MAX)
    connector = aiohttp.TCPConnector(
        limit=0,
        resolver=names,
        use_dns_cache=False,
        socket_factory=guarded,
        ssl=ssl.create_default_context(),
    )
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        headers={"User-Agent": "Muniment-Webhooks/1", "Content-Type": "application/json"},
    ) as session:
        try:
            yield Egress(session)
        finally:
            await names.close()


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _may_reach(address: str | int, *, private: bool) -> bool:
    text = str(address)
    if is_public(text):
        return True
    try:
        return private and ipaddress.ip_address(text).is_loopback
    except ValueError:
        return False


async def _drain(response: aiohttp.ClientResponse) -> None:
    """Read to the end, so that the connection can be used again; one that goes on and on is cut."""
    size = 0
    async for chunk in response.content.iter_any():
        size += len(chunk)
        if size > ANSWER_BYTES_MAX:
            response.close()
            return


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timeout"
    # Of addresses in unusual forms the library itself refuses some.
    if isinstance(error, aiohttp.InvalidURL) or isinstance(getattr(error, "os_error", error), AddressRefused):
        return "address-refused"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "name-unknown"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
        return "tls-failed"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "connection-refused"
    return "no-answer"


def _retry_after_s(text: str | None) -> int:
    """Source: RFC 9110 section 10.2.3, seconds or a date."""
    if text is None:
        return 0
    if text.isascii() and text.isdigit():
        return min(int(text[:9]), RETRY_AFTER_MAX_S)
    try:
        at = parsedate_to_datetime(text)
        wait_s = (at - datetime.now(at.tzinfo or UTC)).total_seconds() if at.tzinfo else 0.0
    except (ValueError, TypeError, OverflowError):
        return 0
    return max(0, min(int(wait_s), RETRY_AFTER_MAX_S))
