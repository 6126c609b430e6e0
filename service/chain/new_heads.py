"""A node's websocket, which only wakes the poll: what is new is asked for over HTTP, and checked there."""

import asyncio

import aiohttp
import msgspec
from pydantic import SecretStr

from service.telemetry import logger

PAUSE_MAX_S = 30.0
"""Longest pause before a dead websocket is tried again."""

CONNECT_TIMEOUT_S = 5.0
HEARTBEAT_S = 15.0
"""A websocket without a sign of life for so long is dead."""

MESSAGE_BYTES_MAX = 1 << 20

_SUBSCRIBE = {"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]}


class _Message(msgspec.Struct):
    method: str = ""
    error: msgspec.Raw | None = None


_message = msgspec.json.Decoder(_Message)


class _Refused(Exception):
    """The node has no such subscription."""


async def wake_on_new_heads(url: SecretStr, wake: asyncio.Event) -> None:
    """Set `wake` at every block that the node announces, until cancelled; a dead websocket is opened again.

    Whatever fails here costs nothing but time, so that it is logged once when it begins and once when it is over.

    Args:
        url: ws or wss; it may hold a key, so nothing tells it.

    Source: eth_subscribe, newHeads (geth's RPC documentation).
    """
    failures = 0
    while True:
        try:
            timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S)
            jar = aiohttp.DummyCookieJar()
            async with (
                aiohttp.ClientSession(timeout=timeout, trust_env=False, cookie_jar=jar) as session,
                session.ws_connect(
                    url.get_secret_value(), heartbeat=HEARTBEAT_S, max_msg_size=MESSAGE_BYTES_MAX
                ) as socket,
            ):
                await socket.send_json(_SUBSCRIBE)
                async for message in socket:
                    if _is_block(message) and failures:
                        failures = 0
                        logger().info("websocket_open")
                    wake.set()  # by the answer too: blocks may have come before it
            error_kind = "closed"
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, _Refused) as error:
            error_kind = type(error).__name__
        failures += 1
        if failures == 1:
            logger().warning("websocket_lost", error_kind=error_kind)
        await asyncio.sleep(min(2.0 ** (failures - 1), PAUSE_MAX_S))


def _is_block(message: aiohttp.WSMessage) -> bool:
    """Whether it tells of a block: a node that only says yes and hangs up has not come back.

    Raises:
        _Refused: the node says no.
        ValueError: it is no JSON-RPC.
    """
    if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
        return False
    read = _message.decode(message.data)
    if read.error is not None:
        raise _Refused
    return read.method == "eth_subscription"
