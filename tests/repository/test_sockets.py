"""No test reaches beyond this machine. 192.0.2.1 is nobody's address. Source: RFC 5737."""

import asyncio
import socket

import pytest
from pytest_socket import SocketConnectBlockedError

NOT_OURS = ("192.0.2.1", 80)
REFUSAL = 'with host "192.0.2.1"'


def test_a_socket_to_another_machine_is_refused_before_any_packet() -> None:
    with socket.socket() as ours:
        ours.settimeout(1)
        with pytest.warns(UserWarning, match=REFUSAL), pytest.raises(SocketConnectBlockedError):
            ours.connect(NOT_OURS)
        assert ours.fileno() == -1


async def test_an_event_loop_s_connection_to_another_machine_is_refused() -> None:
    with pytest.warns(UserWarning, match=REFUSAL), pytest.raises(SocketConnectBlockedError):
        await asyncio.wait_for(asyncio.open_connection(*NOT_OURS), timeout=1)


async def test_this_machine_is_reached() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert await reader.read() == b"hello"
        writer.close()
        await writer.wait_closed()
