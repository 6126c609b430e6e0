"""The way to a node: answers by id, bounded in time and bytes, and silent about secrets."""

import asyncio
import json
import logging
import random
import socket
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from eth_account import Account

from service.chain.node import AnswerLate, AnswerTooLong, Node, NodeRefused, NodeUnavailable
from service.chain.reasons import Reason
from service.chain.reverts import Revert
from tests.chain.conftest import CHAIN_ID, Lying, OpenNode, World

FIRST_KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"  # anvil's own, known to everybody


def result(call: Any, given: Any = "0x1") -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": call["id"], "result": given}


async def test_a_question_is_answered(node: Node) -> None:
    assert await node.ask("eth_chainId") == hex(CHAIN_ID)


async def test_answers_come_in_the_order_of_the_questions_over_many_batches(
    open_node: OpenNode, chain_url: str, world: World
) -> None:
    world.mine(30)
    node = open_node(chain_url, batch_max=7)
    answers: list[Any] = await node.ask_many([("eth_getBlockByNumber", [hex(number), False]) for number in range(30)])
    assert [int(answer["number"], 16) for answer in answers] == list(range(30))


async def test_long_questions_go_in_requests_that_a_node_reads(open_node: OpenNode, lying: Lying) -> None:
    sizes: list[int] = []

    async def measured(calls: Any) -> web.StreamResponse:
        sizes.append(len(json.dumps(calls)))
        return web.json_response([result(call, call["params"][0]["number"]) for call in calls])

    async with lying(measured) as url:
        asked = [("eth_call", [{"number": number, "data": "0x" + "00" * 50_000}]) for number in range(30)]
        assert await open_node(url).ask_many(asked) == list(range(30))
    assert len(sizes) == 4
    assert max(sizes) < 1_000_000


@pytest.mark.parametrize(
    ("method", "at_once"), [("eth_sendRawTransaction", 1), ("eth_getTransactionReceipt", 2)], ids=["told", "asked"]
)
async def test_transactions_go_one_batch_after_another_and_questions_two_at_a_time(
    open_node: OpenNode, lying: Lying, method: str, at_once: int
) -> None:
    first: list[int] = []
    under_way, most = 0, 0

    async def slow(calls: Any) -> web.StreamResponse:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        first.append(calls[0]["params"][0])
        await asyncio.sleep(0.02)
        under_way -= 1
        return web.json_response([result(call, call["params"][0]) for call in calls])

    async with lying(slow) as url:
        node = open_node(url, batch_max=3)
        assert await node.ask_many([(method, [number]) for number in range(20)]) == list(range(20))
    assert most == at_once
    if at_once == 1:
        assert first == list(range(0, 20, 3))


async def test_when_one_batch_fails_no_more_are_sent(open_node: OpenNode, lying: Lying) -> None:
    asked = 0

    def failing(_: Any) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(status=503)

    async with lying(failing) as url:
        node = open_node(url, batch_max=1)
        with pytest.raises(NodeUnavailable):
            await node.ask_many([("a", [])] * 20)
        await asyncio.sleep(0.05)
    assert asked <= 2


async def test_nothing_asked_is_nothing_sent() -> None:
    assert await Node("http://127.0.0.1:1/").ask_many([]) == []


async def test_a_refusal_takes_its_place_and_harms_no_other(node: Node) -> None:
    first, second, third = await node.ask_many([("eth_chainId", []), ("eth_nope", []), ("eth_chainId", [])])
    assert first == third == hex(CHAIN_ID)
    assert isinstance(second, NodeRefused)
    assert second.reason is Reason.METHOD_MISSING


async def test_a_single_refusal_is_raised(node: Node) -> None:
    with pytest.raises(NodeRefused) as refused:
        await node.ask("eth_nope")
    assert (refused.value.code, refused.value.reason) == (-32601, Reason.METHOD_MISSING)
    assert refused.value.revert is None


async def test_many_callers_at_once_each_get_their_own_answer(node: Node, world: World) -> None:
    world.mine(40)

    async def number(asked: int) -> int:
        answer = await node.ask("eth_getBlockByNumber", hex(asked), False)
        return int(answer["number"], 16)

    assert await asyncio.gather(*(number(asked % 40) for asked in range(200))) == [asked % 40 for asked in range(200)]


async def test_answers_in_any_order_are_matched_by_id(open_node: OpenNode, lying: Lying) -> None:
    def shuffled(calls: Any) -> web.Response:
        answers = [result(call, call["params"][0]) for call in calls]
        random.shuffle(answers)
        return web.json_response(answers)

    async with lying(shuffled) as url:
        node = open_node(url)
        assert await node.ask_many([("echo", [number]) for number in range(50)]) == list(range(50))


BROKEN_BATCHES: dict[str, Callable[[Any], Any]] = {
    "one is missing": lambda calls: [result(call) for call in calls[1:]],
    "one is doubled": lambda calls: [result(calls[0]), *(result(call) for call in calls)],
    "one stands for another": lambda calls: [result(calls[0]), result(calls[0])],
    "one was not asked for": lambda calls: [result(calls[0]), {"jsonrpc": "2.0", "id": 10**9, "result": "0x1"}],
    "ids are text": lambda calls: [result({"id": str(call["id"])}) for call in calls],
    "no result and no error": lambda calls: [{"jsonrpc": "2.0", "id": call["id"]} for call in calls],
    "none": lambda _: [],
    "not a list": lambda calls: result(calls[0]),
    "a text": lambda _: "fine",
    "numbers": lambda _: [1, 2],
    "null": lambda _: None,
}


@pytest.mark.parametrize("broken", BROKEN_BATCHES.values(), ids=BROKEN_BATCHES)
async def test_a_broken_batch_tells_nothing(open_node: OpenNode, lying: Lying, broken: Callable[[Any], Any]) -> None:
    async with lying(lambda calls: web.json_response(broken(calls))) as url:
        node = open_node(url)
        with pytest.raises(NodeUnavailable):
            await node.ask_many([("a", []), ("b", [])])


@pytest.mark.parametrize("as_list", [True, False], ids=["geth", "besu"])
async def test_a_batch_refused_as_a_whole_tells_nothing_but_why(
    open_node: OpenNode, lying: Lying, as_list: bool
) -> None:
    refusal = {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "batch too large"}}
    async with lying(lambda _: web.json_response([refusal] if as_list else refusal)) as url:
        node = open_node(url)
        with pytest.raises(NodeUnavailable, match="batch too large"):
            await node.ask_many([("a", []), ("b", [])])


BODIES = {
    "empty": b"",
    "page": b"<html>502 Bad Gateway</html>",
    "half": b'{"jsonrpc":"2.0","id":1,"resu',
    "not UTF-8": b'{"jsonrpc":"2.0","id":1,"result":"\xff\xfe"}',
    "list": b"[]",
    "null": b"null",
    "another id": b'{"jsonrpc":"2.0","id":999,"result":"0x1"}',
    "no id": b'{"jsonrpc":"2.0","result":"0x1"}',
    "neither result nor error": b'{"jsonrpc":"2.0","id":1}',
    "error is a text": b'{"jsonrpc":"2.0","id":1,"error":"no"}',
    "deep": b"[" * 200_000,
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_a_body_that_is_no_answer_tells_nothing(open_node: OpenNode, lying: Lying, body: bytes) -> None:
    async with lying(lambda _: web.Response(body=body, content_type="application/json")) as url:
        node = open_node(url)
        with pytest.raises(NodeUnavailable):
            await node.ask("eth_chainId")


@pytest.mark.parametrize("status", [301, 307, 401, 403, 404, 429, 500, 502, 503])
async def test_an_http_error_or_redirect_tells_nothing(open_node: OpenNode, lying: Lying, status: int) -> None:
    asked = 0

    def answer(call: Any) -> web.Response:
        nonlocal asked
        asked += 1
        body = result(call) if isinstance(call, dict) else [result(one) for one in call]
        return web.json_response(body, status=status, headers={"Location": "/elsewhere"})

    async with lying(answer) as url:
        node = open_node(url)
        with pytest.raises(NodeUnavailable, match=f"HTTP {status}"):
            await node.ask("eth_chainId")
        with pytest.raises(NodeUnavailable, match=f"HTTP {status}"):
            await node.ask_many([("eth_chainId", [])])
    assert asked == 2


async def test_a_refusal_under_http_400_is_a_refusal(open_node: OpenNode, lying: Lying) -> None:
    def answer(call: Any) -> web.Response:
        error = {"code": -32602, "message": "Invalid block params"}
        return web.json_response({"jsonrpc": "2.0", "id": call["id"], "error": error}, status=400)

    async with lying(answer) as url:
        node = open_node(url)
        with pytest.raises(NodeRefused, match="Invalid block params"):
            await node.ask("eth_call")


async def test_a_silent_node_tells_nothing_after_the_time_limit(open_node: OpenNode, lying: Lying) -> None:
    async def silent(_: Any) -> web.StreamResponse:
        await asyncio.sleep(30)
        return web.Response()

    async with lying(silent) as url:
        node = open_node(url, timeout_s=0.1)
        with pytest.raises(AnswerLate, match=r"within 0\.1 s"):
            await node.ask("eth_chainId")


async def raw_server(serve: Callable[[asyncio.StreamWriter], Any]) -> tuple[asyncio.Server, str]:
    """A TCP server that speaks just as much HTTP as the test says."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        try:
            await serve(writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/secret-api-key"


async def test_bytes_that_trickle_do_not_extend_the_time(open_node: OpenNode, caplog: pytest.LogCaptureFixture) -> None:
    async def trickle(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.02)

    server, url = await raw_server(trickle)
    async with server:
        node = open_node(url, timeout_s=0.2)
        with caplog.at_level(logging.DEBUG), pytest.raises(NodeUnavailable, match=r"within 0\.2 s"):
            await node.ask("eth_chainId")
    assert "secret-api-key" not in caplog.text


async def test_an_answer_that_breaks_off_tells_nothing(open_node: OpenNode) -> None:
    async def half(writer: asyncio.StreamWriter) -> None:
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"jsonrpc":"2.0","id":1,"result":"0x1"}')
        await writer.drain()

    server, url = await raw_server(half)
    async with server:
        node = open_node(url)
        with pytest.raises(NodeUnavailable):
            await node.ask("eth_chainId")


async def test_an_endless_answer_is_given_up_on_while_it_streams(open_node: OpenNode) -> None:
    sent = 0

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + b" " * 65_536 + b"\r\n")
            sent += 65_536
            await writer.drain()

    server, url = await raw_server(endless)
    async with server:
        node = open_node(url, response_bytes_max=1_000_000)
        with pytest.raises(AnswerTooLong, match="longer than 1000000 bytes"):
            await node.ask("eth_chainId")
    assert sent < 64_000_000


async def test_a_compressed_answer_counts_unpacked(open_node: OpenNode, lying: Lying) -> None:
    def bomb(call: Any) -> web.Response:
        response = web.json_response(result(call, "0x" + "00" * 2_000_000))
        response.enable_compression(web.ContentCoding.gzip)
        return response

    async with lying(bomb) as url:
        node = open_node(url, response_bytes_max=1_000_000)
        with pytest.raises(AnswerTooLong, match="longer than"):
            await node.ask("eth_chainId")


async def test_a_question_may_have_a_limit_of_its_own(open_node: OpenNode, chain_url: str) -> None:
    node = open_node(chain_url, response_bytes_max=100)
    calls = [("eth_getBlockByNumber", ["0x0", False])]
    with pytest.raises(AnswerTooLong):
        await node.ask_many(calls)
    answers: list[Any] = await node.ask_many(calls, response_bytes_max=100_000)
    assert answers[0]["number"] == "0x0"


def test_a_batch_holds_at_least_one_call() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Node("http://127.0.0.1:1/", batch_max=0)


async def test_a_node_that_is_down_comes_back_without_a_restart(open_node: OpenNode, lying: Lying) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        node = open_node(f"http://127.0.0.1:{held.getsockname()[1]}/secret-api-key")
        with pytest.raises(NodeUnavailable) as down:
            await node.ask("eth_chainId")
    assert "secret-api-key" not in str(down.value) + repr(down.value) + repr(node)
    assert down.value.__cause__ is None
    await node.close()

    healthy = True

    def answer(call: Any) -> web.Response:
        return web.json_response(result(call)) if healthy else web.Response(status=503)

    async with lying(answer) as url:
        node = open_node(url)
        assert await node.ask("a") == "0x1"
        healthy = False
        with pytest.raises(NodeUnavailable):
            await node.ask("a")
        healthy = True
        assert await node.ask("a") == "0x1"
        await node.close()
        assert await node.ask("a") == "0x1"
        await node.close()


@pytest.mark.parametrize(
    "url",
    [
        "not a url secret-api-key",
        "ftp://127.0.0.1/secret-api-key",
        "http://[secret-api-key",
        "http://127.0.0.1:99999/secret-api-key",
    ],
)
async def test_a_bad_address_is_told_without_the_secret_in_it(open_node: OpenNode, url: str) -> None:
    node = open_node(url)
    with pytest.raises(NodeUnavailable) as unavailable:
        await node.ask("eth_chainId")
    assert "secret" not in str(unavailable.value) + repr(node)


async def test_proxies_of_the_environment_are_not_used(
    open_node: OpenNode, chain_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    node = open_node(chain_url)
    assert await node.ask("eth_chainId") == hex(CHAIN_ID)


REVERT_DATA = "0x08c379a0" + "20".zfill(64) + "2".zfill(64) + b"no".hex().ljust(64, "0")


@pytest.mark.parametrize(
    ("client", "error"),
    [
        ("geth", {"code": 3, "message": "execution reverted: no", "data": REVERT_DATA}),
        ("besu", {"code": -32000, "message": "Execution reverted", "data": REVERT_DATA}),
        ("nethermind", {"code": -32015, "message": "VM execution error.", "data": "Reverted " + REVERT_DATA}),
        ("nested", {"code": -32603, "message": "Internal error", "data": {"data": REVERT_DATA, "txHash": None}}),
        ("nested twice", {"code": -32603, "message": "Internal error", "data": {"data": {"data": REVERT_DATA}}}),
        (
            "nested result",
            {
                "code": -32603,
                "message": "VM Exception while processing transaction: revert no",
                "data": {"result": REVERT_DATA},
            },
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_revert_data_is_found_wherever_a_client_puts_it(
    open_node: OpenNode, lying: Lying, client: str, error: Any
) -> None:
    async with lying(lambda call: web.json_response({"jsonrpc": "2.0", "id": call["id"], "error": error})) as url:
        node = open_node(url)
        with pytest.raises(NodeRefused) as refused:
            await node.ask("eth_call")
    assert refused.value.data == REVERT_DATA, client
    assert refused.value.revert == Revert("Error", {"reason": "no"})


@pytest.mark.parametrize("data", [None, "0x", "no hex", 7, [], {}, {"data": 7}, True])
async def test_error_data_of_any_other_kind_does_no_harm(open_node: OpenNode, lying: Lying, data: Any) -> None:
    error = {"code": 3, "message": "execution reverted", "data": data}
    async with lying(lambda call: web.json_response({"jsonrpc": "2.0", "id": call["id"], "error": error})) as url:
        node = open_node(url)
        with pytest.raises(NodeRefused) as refused:
            await node.ask("eth_call")
    assert refused.value.revert == Revert("0x")


def sent(**changes: Any) -> str:
    """A signed transaction of anvil's first account, good but for `changes`."""
    good = {"chainId": CHAIN_ID, "nonce": 0, "to": "0x" + "22" * 20, "value": 1, "gas": 21_000, "type": 2}
    fees = {"maxFeePerGas": 10**10, "maxPriorityFeePerGas": 10**9}
    raw: bytes = Account.sign_transaction(good | fees | changes, FIRST_KEY).raw_transaction
    return "0x" + bytes(raw).hex()


# Source: each line was put to the anvil of the lock file.
ANVIL_REFUSES = [
    ({"gas": 20_000}, Reason.GAS_TOO_LOW),
    ({"gas": 10**9}, Reason.GAS_TOO_HIGH),
    ({"maxFeePerGas": 1, "maxPriorityFeePerGas": 1}, Reason.FEE_TOO_LOW),
    ({"maxPriorityFeePerGas": 10**11}, Reason.INVALID),
    ({"chainId": 5}, Reason.WRONG_CHAIN),
    ({"value": 10**30}, Reason.NO_FUNDS),
    ({"to": None, "data": "0x" + "00" * 60_000, "gas": 10**7}, Reason.INVALID),
]


@pytest.mark.parametrize(("changes", "expected"), ANVIL_REFUSES)
async def test_the_real_anvil_refuses_for_the_reason_we_read(
    node: Node, world: World, changes: dict[str, Any], expected: Reason
) -> None:
    nonce = int(world.rpc("eth_getTransactionCount", "0x" + world.accounts[0].hex(), "latest"), 16)
    with pytest.raises(NodeRefused) as refused:
        await node.ask("eth_sendRawTransaction", sent(nonce=nonce, **changes))
    assert refused.value.reason is expected


async def test_the_real_anvil_on_nonces(node: Node, world: World) -> None:
    nonce = int(world.rpc("eth_getTransactionCount", "0x" + world.accounts[0].hex(), "latest"), 16)
    world.mined(await node.ask("eth_sendRawTransaction", sent(nonce=nonce)))
    await node.ask("eth_sendRawTransaction", sent(nonce=nonce + 5))
    again, early, cheap = await node.ask_many(
        [
            ("eth_sendRawTransaction", [sent(nonce=nonce)]),
            ("eth_sendRawTransaction", [sent(nonce=nonce + 5)]),
            ("eth_sendRawTransaction", [sent(nonce=nonce + 5, maxFeePerGas=10**10 - 1)]),
        ]
    )
    world.rpc("anvil_dropAllTransactions")
    assert [refused.reason for refused in (again, early, cheap)] == [
        Reason.NONCE_SPENT,
        Reason.ALREADY_KNOWN,
        Reason.REPLACEMENT_UNDERPRICED,
    ]


async def test_a_transaction_that_anvil_echoes_stays_out_of_every_error(node: Node) -> None:
    raw = sent()
    with pytest.raises(NodeRefused) as refused:
        await node.ask("eth_sendRawTransaction", raw + "zz")
    told = str(refused.value) + repr(refused.value) + json.dumps(refused.value.message)
    assert raw[10:140] not in told
