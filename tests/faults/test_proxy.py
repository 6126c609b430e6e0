"""The fault proxy does what each disturbance says, and only that."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from scripts.local import wait_for
from scripts.proxy import DELAY_S, INTERNAL_ERROR, Disturbance, Proxy


@dataclass
class Echo:
    """A server that answers every chunk with itself, and remembers what was delivered."""

    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    delivered: list[bytes] = field(default_factory=list)

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            while data := connection.recv(65_536):
                self.delivered.append(data)
                connection.sendall(data)


@pytest.fixture
def echo() -> Iterator[Echo]:
    """The other side."""
    started = Echo()
    threading.Thread(target=started.serve, daemon=True).start()
    yield started
    started.listener.shutdown(socket.SHUT_RDWR)
    started.listener.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    """A proxy before it."""
    started = Proxy(echo.listener.getsockname()[1], mark=b"COMMIT")
    yield started
    started.stop()


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    """A connection through the proxy."""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as opened:
        yield opened


def ask(client: socket.socket, question: bytes) -> bytes:
    """The answer; empty when the connection ended instead."""
    try:
        client.sendall(question)
        return client.recv(65_536)
    except ConnectionError:
        return b""


def test_what_is_good_passes_unchanged(client: socket.socket) -> None:
    assert ask(client, b"one") == b"one"
    assert ask(client, b"COMMIT") == b"COMMIT"


def test_a_cut_ends_open_connections_and_no_new_one(proxy: Proxy, client: socket.socket) -> None:
    assert ask(client, b"one") == b"one"
    proxy.disturb(Disturbance.CUT, 0)
    assert ask(client, b"two") == b""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as again:
        assert ask(again, b"three") == b"three"


def test_nobody_gets_through_while_connections_are_refused(proxy: Proxy, client: socket.socket) -> None:
    proxy.disturb(Disturbance.REFUSE, 30)
    assert ask(client, b"one") == b""
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as refused:
        assert ask(refused, b"one") == b""
    proxy.calm()
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as again:
        assert ask(again, b"two") == b"two"


def test_a_delay_holds_up_question_and_answer(proxy: Proxy, client: socket.socket) -> None:
    proxy.disturb(Disturbance.DELAY, 30)
    start_s = time.monotonic()
    assert ask(client, b"one") == b"one"
    assert time.monotonic() - start_s >= 2 * DELAY_S


def test_nothing_passes_during_a_stall_which_ends_by_itself(proxy: Proxy, echo: Echo, client: socket.socket) -> None:
    assert ask(client, b"one") == b"one"
    proxy.disturb(Disturbance.STALL, 0.3)
    start_s = time.monotonic()
    assert ask(client, b"two") == b"two"
    assert time.monotonic() - start_s >= 0.25


def test_only_the_answer_of_a_marked_question_is_lost(proxy: Proxy, echo: Echo, client: socket.socket) -> None:
    proxy.disturb(Disturbance.LOSE, 30)
    assert ask(client, b"SELECT") == b"SELECT"
    assert ask(client, b"COMMIT") == b""
    assert echo.delivered == [b"SELECT", b"COMMIT"]


def test_an_error_is_told_after_a_marked_question_was_delivered(
    proxy: Proxy, echo: Echo, client: socket.socket
) -> None:
    proxy.disturb(Disturbance.ERROR, 30)
    assert ask(client, b"COMMIT").endswith(INTERNAL_ERROR)
    assert echo.delivered == [b"COMMIT"]


def test_a_request_is_delivered_twice_and_answered_once(proxy: Proxy, echo: Echo, client: socket.socket) -> None:
    proxy.disturb(Disturbance.TWICE, 30)
    assert ask(client, b"POST one") == b"POST one"
    wait_for(lambda: echo.delivered == [b"POST one"] * 2 or None, what="the second delivery")
    proxy.calm()
    assert ask(client, b"POST two") == b"POST two"
    assert echo.delivered == [b"POST one", b"POST one", b"POST two"]


def test_a_client_hears_at_once_that_the_other_side_is_gone(proxy: Proxy, echo: Echo) -> None:
    echo.listener.shutdown(socket.SHUT_RDWR)
    echo.listener.close()
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as client:
        assert ask(client, b"one") == b""
    echo.listener = socket.create_server(("127.0.0.1", 0))
