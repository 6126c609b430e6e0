"""HTTP/1.1 to one origin, over connections that are kept open."""

import base64
import http.client
import selectors
import ssl
import time
import urllib.request
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from service.client.problems import Away, Unusable, plain

IDLE_MAX_S = 4.0
"""Servers close a connection that nobody used for five seconds or more."""
IDLE_COUNT_MAX = 8

Body = bytes | Iterable[bytes] | None


@dataclass(frozen=True, slots=True)
class Incoming:
    """An answer whose content is still to be read."""

    url: str
    response: http.client.HTTPResponse

    @property
    def status(self) -> int:
        """Of HTTP."""
        return self.response.status

    def header(self, name: str) -> str | None:
        """One header."""
        return self.response.headers[name]

    @property
    def media_type(self) -> str:
        """What the content is."""
        return self.response.headers.get_content_type()

    def read(self) -> bytes:
        """All of the content.

        Raises:
            Away: it breaks off.
        """
        with _told(self.url):
            return self.response.read()

    def chunks(self, bytes_max: int) -> Iterator[bytes]:
        """The content in pieces.

        Raises:
            Away: it breaks off.
        """
        while chunk := self._chunk(bytes_max):
            yield chunk
        if self.response.length:
            # Of a part of it, http.client tells so only where the answer came in chunks.
            raise Away(f"{self.url} does not answer (the answer broke off)")

    def _chunk(self, bytes_max: int) -> bytes:
        with _told(self.url):
            return self.response.read(bytes_max)


class Connections:
    """Connections to one server; threads may share it. No redirect is followed: credentials go nowhere else."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self._url = urlsplit(url)
        self._name = url
        self._timeout_s = timeout_s
        self._idle: deque[tuple[float, http.client.HTTPConnection]] = deque()
        self._tls: ssl.SSLContext | None = None
        # Nobody has to close a client: what is idle ends with it.
        weakref.finalize(self, _close, self._idle)

    @contextmanager
    def answer(self, method: str, target: str, headers: dict[str, str], body: Body) -> Iterator[Incoming]:
        """Send a request; its answer, to be read before the end of the block.

        Raises:
            Away: there is none.
            Unusable: the environment names a proxy that can't be used.
        """
        connection: http.client.HTTPConnection | None = None
        whole = False
        try:
            with _told(self._name):
                connection = self._take() or self._open()
                response = _exchange(connection, method, target, headers, body)
            yield Incoming(self._name, response)
            whole = response.isclosed() and not response.will_close
        finally:
            if connection is not None:
                if whole and len(self._idle) < IDLE_COUNT_MAX:
                    self._idle.append((time.monotonic(), connection))
                else:
                    connection.close()

    def close(self) -> None:
        """Close what is idle."""
        _close(self._idle)

    def _take(self) -> http.client.HTTPConnection | None:
        while True:
            try:
                since_s, connection = self._idle.pop()
            except IndexError:
                return None
            if time.monotonic() - since_s < IDLE_MAX_S and not _hung_up(connection):
                return connection
            connection.close()

    def _open(self) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "", self._url.port
        if self._url.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=self._timeout_s)
        if self._tls is None:
            self._tls = ssl.create_default_context()
        proxy = _proxy(host)
        if proxy is None:
            return http.client.HTTPSConnection(host, port, timeout=self._timeout_s, context=self._tls)
        tunnel = http.client.HTTPSConnection(
            proxy.hostname or "", proxy.port or 80, timeout=self._timeout_s, context=self._tls
        )
        tunnel.set_tunnel(host, port or 443, _authorization(proxy))
        return tunnel


def _close(idle: deque[tuple[float, http.client.HTTPConnection]]) -> None:
    while idle:
        idle.pop()[1].close()


def _exchange(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    headers: dict[str, str],
    body: Body,
) -> http.client.HTTPResponse:
    try:
        connection.request(method, target, body, headers)
    except (BrokenPipeError, ConnectionResetError):
        # A server that refuses a large body answers before it has read it.
        if connection.sock is None:
            raise
    return connection.getresponse()


def _hung_up(connection: http.client.HTTPConnection) -> bool:
    """Whether an idle connection has something to say, which can only be its end."""
    if connection.sock is None:
        return True
    with selectors.DefaultSelector() as selector:
        selector.register(connection.sock, selectors.EVENT_READ)
        return bool(selector.select(0))


def _proxy(host: str) -> SplitResult | None:
    """The proxy that HTTPS_PROXY and NO_PROXY name; of plain HTTP, a proxy would read everything.

    Raises:
        Unusable: it is none that is asked in plain HTTP, which http.client alone can do; its password would be in clear
            where the environment wants TLS.
    """
    found = urllib.request.getproxies().get("https")
    if not found or urllib.request.proxy_bypass(host):
        return None
    proxy = urlsplit(found if "://" in found else f"http://{found}")
    try:
        if proxy.scheme == "http" and proxy.hostname and proxy.port != 0:
            return proxy
    except ValueError:  # a port that is none
        pass
    raise Unusable("HTTPS_PROXY: name a proxy as http://host:port; one that is reached by https or socks can't be used")


def _authorization(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


@contextmanager
def _told(url: str) -> Iterator[None]:
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        reason: Any = getattr(error, "reason", None) or error
        raise Away(f"{url} does not answer ({plain(str(reason)) or type(error).__name__})") from None
