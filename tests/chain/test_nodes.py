"""Several endpoints of one chain: each can fail in every way, and the questions go on."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from eth_account import Account
from eth_hash.auto import keccak
from pydantic import SecretStr
from structlog.testing import capture_logs

from service.chain import nodes
from service.chain.node import AnswerLate, Node, NodeRefused, NodeUnavailable
from service.chain.nodes import EndpointHealth, Nodes, WrongChain
from service.chain.reader import AccountState, Chain, Finality, open_chain
from service.chain.reasons import Reason
from tests.chain.conftest import CHAIN_ID, World
from tests.chain.faulty import Fault, Faulty, faulty_endpoint
from tests.chain.test_node import FIRST_KEY, sent
from tests.world import make_settings

TIMEOUT_S = 3.0
LOOK_INTERVAL_S = 0.05
FIRST = bytes.fromhex(Account.from_key(FIRST_KEY).address[2:])

OpenChain = Callable[..., Awaitable[tuple[Chain, list[Faulty]]]]


@pytest.fixture
async def over(chain_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OpenChain]:
    """The chain over endpoints with these faults, each in front of the one real node."""
    monkeypatch.setattr(nodes, "LOOK_INTERVAL_S", LOOK_INTERVAL_S)
    monkeypatch.setattr(nodes, "LOOK_TIMEOUT_S", TIMEOUT_S)
    async with AsyncExitStack() as stack:

        async def open_over(*faults: Fault, quorum: int = 1) -> tuple[Chain, list[Faulty]]:
            endpoints = []
            for fault in faults:
                endpoint = await stack.enter_async_context(faulty_endpoint(chain_url))
                endpoint.fault = fault
                endpoints.append(endpoint)
            ways = [Node(endpoint.url, timeout_s=TIMEOUT_S) for endpoint in endpoints]
            over = Nodes(ways, chain_id=CHAIN_ID, quorum=quorum)
            chain = Chain(over, chain_id=CHAIN_ID, finality=Finality(2))
            stack.push_async_callback(chain.close)
            return chain, endpoints

        yield open_over


async def seen(chain: Chain, health: Callable[[list[EndpointHealth]], bool]) -> None:
    """Wait until looks at the endpoints have shown this; looks go with questions."""
    for _ in range(200):
        await chain.balance(FIRST)
        if health(chain.health()):
            return
        await asyncio.sleep(LOOK_INTERVAL_S)
    pytest.fail(f"never seen: {chain.health()}")


def all_well(health: list[EndpointHealth]) -> bool:
    return all(each.healthy for each in health)


def raws(world: World, *offsets: int) -> list[bytes]:
    """Signed transactions of anvil's first account, with nonces so far above its next."""
    nonce = int(world.rpc("eth_getTransactionCount", "0x" + FIRST.hex(), "latest"), 16)
    return [bytes.fromhex(sent(nonce=nonce + offset)[2:]) for offset in offsets]


FAILING: list[Fault] = [
    *("late", "twice", "error after", "refusal after", "dies", "down", "limited"),
    *("poor", "pruned", "other chain", "misshapen"),
]


@pytest.mark.parametrize("fault", FAILING)
async def test_a_question_without_a_usable_answer_goes_to_the_next(over: OpenChain, world: World, fault: Fault) -> None:
    chain, (_, second) = await over(fault, "none")
    wei = int(world.rpc("eth_getBalance", "0x" + FIRST.hex(), "latest"), 16)
    assert await chain.balance(FIRST) == wei
    assert "eth_getBalance" in second.asked
    states = await chain.accounts([FIRST], final_number=-1)
    assert states[0].balance_wei == wei


@pytest.mark.parametrize("fault", FAILING)
async def test_an_endpoint_that_begins_to_fail_is_left_and_comes_back(
    over: OpenChain, world: World, fault: Fault
) -> None:
    chain, (first, second) = await over("none", "none")
    assert await chain.balance(FIRST) > 0
    assert "eth_getBalance" not in second.asked
    first.fault = fault
    tip = (await chain.head()).tip
    assert tip.number == int(world.rpc("eth_blockNumber"), 16)
    assert await chain.balance(FIRST) > 0
    assert all(state.balance_wei > 0 for state in await chain.accounts([FIRST], final_number=-1))
    first.fault = "none"
    await seen(chain, all_well)


async def test_questions_stay_with_one_endpoint(over: OpenChain) -> None:
    chain, (first, second) = await over("none", "none")
    await chain.head()
    first.fault = "down"
    await chain.balance(FIRST)
    first.fault = "none"
    await seen(chain, all_well)
    first.asked.clear()
    for _ in range(5):
        await chain.balance(FIRST)
    assert "eth_getBalance" not in first.asked
    assert second.asked.count("eth_getBalance") >= 5


async def test_a_silent_endpoint_adds_its_time_limit_to_one_question_only(over: OpenChain) -> None:
    chain, (first, _) = await over("none", "none")
    await chain.head()
    first.fault = "late"
    await chain.balance(FIRST)
    began = time.monotonic()
    for _ in range(20):
        await chain.balance(FIRST)
        await asyncio.sleep(LOOK_INTERVAL_S / 5)
    assert time.monotonic() - began < TIMEOUT_S * 5


async def test_a_refusal_is_an_answer(over: OpenChain) -> None:
    chain, (_, second) = await over("none", "none")
    with pytest.raises(NodeRefused) as refused:
        await chain.code(FIRST, block=10**9)
    assert refused.value.reason is Reason.BLOCK_UNKNOWN
    assert "eth_getCode" not in second.asked


async def test_what_no_endpoint_can_is_refused_as_the_first_says(over: OpenChain) -> None:
    chain, _ = await over("poor", "poor")
    with pytest.raises(NodeRefused) as refused:
        await chain.balance(FIRST)
    assert refused.value.reason is Reason.METHOD_MISSING


async def test_when_every_endpoint_is_away_each_is_told_by_number_and_host(over: OpenChain) -> None:
    chain, (first, second) = await over("down", "down")
    with pytest.raises(NodeUnavailable) as unavailable:
        await chain.balance(FIRST)
    assert "endpoint 1 (127.0.0.1)" in str(unavailable.value)
    assert "endpoint 2 (127.0.0.1)" in str(unavailable.value)
    assert "secret-api-key" not in str(unavailable.value) + str(chain.health())
    first.fault = second.fault = "none"
    assert await chain.balance(FIRST) > 0


async def test_an_answer_that_is_late_everywhere_is_late(over: OpenChain) -> None:
    chain, (first, second) = await over("none", "none")
    await chain.head()
    first.fault = second.fault = "late"
    with pytest.raises(AnswerLate):
        await chain.balance(FIRST)


async def test_an_endpoint_of_another_chain_is_never_asked_and_is_named(over: OpenChain) -> None:
    chain, (first, _) = await over("other chain", "none")
    await chain.check()
    await chain.head()
    await chain.balance(FIRST)
    assert set(first.asked) == {"eth_chainId", "eth_getBlockByNumber"}
    wrong, right = chain.health()
    assert (wrong.wrong_chain, wrong.healthy) == (True, False)
    assert (right.wrong_chain, right.healthy) == (False, True)


async def test_endpoints_that_all_follow_another_chain_are_an_error(over: OpenChain) -> None:
    chain, _ = await over("other chain", "other chain")
    for question in (chain.check, chain.head):
        with pytest.raises(WrongChain, match=r"chain 31337, but endpoint 1 \(127.0.0.1\) follows 1, endpoint 2"):
            await question()
    with pytest.raises(NodeUnavailable, match="follows chain 1"):
        await chain.balance(FIRST)


async def test_an_endpoint_that_fell_behind_is_left(over: OpenChain, world: World) -> None:
    world.mine(30)
    chain, (first, second) = await over("none", "none")
    await chain.head()
    first.fault = "behind"
    await seen(chain, lambda health: health[0].behind == 10)
    second.asked.clear()
    assert (await chain.head()).tip.number == int(world.rpc("eth_blockNumber"), 16)
    assert "eth_chainId" in second.asked
    assert not chain.health()[0].healthy
    first.fault = "none"
    await seen(chain, all_well)
    assert chain.health()[0].behind == 0


async def test_fewer_than_the_quorum_can_not_make_the_others_look_late(over: OpenChain, world: World) -> None:
    world.mine(30)
    chain, _ = await over("none", "behind", "behind", quorum=2)
    height = int(world.rpc("eth_blockNumber"), 16)
    await chain.balance(FIRST)
    assert [health.behind for health in chain.health()] == [0, 0, 0]
    assert (await chain.head()).final_number == height - 10 - 2


async def test_health_tells_of_each_endpoint(over: OpenChain, world: World) -> None:
    chain, _ = await over("none", "down")
    await chain.head()
    up, down = chain.health()
    assert (up.name, up.healthy, up.failures, up.last_error) == ("endpoint 1 (127.0.0.1)", True, 0, None)
    assert up.head == int(world.rpc("eth_blockNumber"), 16)
    assert up.latency_ms is not None
    assert up.head_age_s is not None
    assert 0 <= up.head_age_s < 5
    assert (down.healthy, down.failures, down.head) == (False, 1, None)
    assert down.last_error is not None


async def test_the_health_of_a_single_endpoint_is_that_of_its_last_answer(over: OpenChain) -> None:
    chain, (only,) = await over("none")
    await chain.head()
    assert [(health.healthy, health.failures) for health in chain.health()] == [(True, 0)]
    only.fault = "down"
    for _ in range(2):
        with pytest.raises(NodeUnavailable):
            await chain.head()
    assert [(health.healthy, health.failures) for health in chain.health()] == [(False, 2)]


async def test_a_single_endpoint_is_asked_nothing_besides(over: OpenChain) -> None:
    chain, (only,) = await over("none")
    await chain.balance(FIRST)
    assert only.asked == ["eth_getBalance"]


async def test_leaving_and_returning_are_one_log_line_each(over: OpenChain) -> None:
    with capture_logs() as logs:
        chain, (first, _) = await over("none", "none")
        await chain.head()
        first.fault = "down"
        for _ in range(3):
            await chain.balance(FIRST)
        first.fault = "none"
        await seen(chain, all_well)
        await chain.balance(FIRST)
    assert [entry["event"] for entry in logs] == ["endpoint_left_out", "endpoint_back"]
    assert logs[0]["detail"] == "endpoint 1 (127.0.0.1)"


async def test_a_transaction_is_told_to_every_endpoint(over: OpenChain, world: World) -> None:
    chain, endpoints = await over("none", "none", "none")
    (raw,) = raws(world, 0)
    (outcome,) = await chain.broadcast([raw])
    assert outcome is None or outcome.reason in (Reason.ALREADY_KNOWN, Reason.NONCE_SPENT)
    world.mined("0x" + keccak(raw).hex())
    for _ in range(100):
        if all("eth_sendRawTransaction" in endpoint.asked for endpoint in endpoints):
            return
        await asyncio.sleep(0.01)
    pytest.fail("an endpoint was not told")


@pytest.mark.parametrize("fault", ["late", "twice", "error after", "refusal after", "dies", "down", "limited"])
async def test_a_transaction_that_one_endpoint_took_is_taken(over: OpenChain, world: World, fault: Fault) -> None:
    chain, (first, _) = await over("none", "none")
    world.rpc("evm_setAutomine", False)
    await chain.head()
    first.fault = fault
    batch = raws(world, 0, 1, 2)
    try:
        for outcome in await chain.broadcast(batch):
            assert outcome is None or outcome.reason is Reason.ALREADY_KNOWN
        for outcome in await chain.broadcast(batch):
            assert outcome is not None
            assert outcome.reason is Reason.ALREADY_KNOWN
        world.mine(1)
        assert all(receipt is not None for receipt in await chain.receipts([keccak(raw) for raw in batch]))
    finally:
        world.rpc("evm_setAutomine", True)


async def test_a_slow_endpoint_does_not_hold_up_a_transaction(over: OpenChain, world: World) -> None:
    chain, (first, _) = await over("none", "none")
    world.rpc("evm_setAutomine", False)
    await chain.head()
    first.fault = "late"
    began = time.monotonic()
    await chain.broadcast(raws(world, 0))
    taken_s = time.monotonic() - began
    world.rpc("evm_setAutomine", True)
    assert taken_s < TIMEOUT_S / 2


async def test_a_transaction_that_nobody_took_says_why(over: OpenChain, world: World) -> None:
    chain, _ = await over("none", "limited")
    wrong = bytes.fromhex(sent(chainId=5)[2:])
    (refused,) = await chain.broadcast([wrong])
    assert refused is not None
    assert refused.reason is Reason.WRONG_CHAIN


async def test_a_transaction_told_to_nobody_is_an_open_question(over: OpenChain, world: World) -> None:
    chain, (first, second) = await over("none", "none")
    await chain.head()
    first.fault = second.fault = "error after"
    (raw,) = raws(world, 0)
    with pytest.raises(NodeUnavailable):
        await chain.broadcast([raw])
    world.mined("0x" + keccak(raw).hex())


async def test_the_settings_name_the_endpoints(chain_url: str, tmp_path: Path) -> None:
    async with faulty_endpoint(chain_url) as second:
        second.fault = "other chain"
        urls = f"{chain_url}, {second.url}"
        settings = make_settings(SecretStr("postgresql:///ledger"), urls, tmp_path, receipt_quorum=2)
        chain = open_chain(settings)
        try:
            await chain.check()
            assert [health.wrong_chain for health in chain.health()] == [False, True]
            with pytest.raises(NodeUnavailable, match="2 endpoints must agree"):
                await chain.head()
        finally:
            await chain.close()


async def test_two_nodes_on_branches_of_their_own_agree_on_nothing(
    chain_url: str, own_chain_url: str, world: World
) -> None:
    ways = [Node(chain_url), Node(own_chain_url)]
    chain = Chain(Nodes(ways, chain_id=CHAIN_ID, quorum=2), chain_id=CHAIN_ID, finality=Finality(2))
    other = World(own_chain_url)
    other.rpc("anvil_setNonce", "0x" + FIRST.hex(), world.rpc("eth_getTransactionCount", "0x" + FIRST.hex(), "latest"))
    (raw,) = raws(world, 0)
    for each in (world, other):
        each.mined(each.rpc("eth_sendRawTransaction", "0x" + raw.hex()))
    try:
        assert await chain.receipts([keccak(raw)]) == [None]
        assert [health.disagreements for health in chain.health()] == [1, 1]
    finally:
        await chain.close()


async def mined(chain: Chain, world: World) -> bytes:
    """The hash of a transaction in a block."""
    (raw,) = raws(world, 0)
    await chain.broadcast([raw])
    world.mined("0x" + keccak(raw).hex())
    return keccak(raw)


async def test_a_receipt_counts_when_the_quorum_gives_it_alike(over: OpenChain, world: World) -> None:
    chain, endpoints = await over("none", "none", "none", quorum=2)
    known = await mined(chain, world)
    for faults in (("none", "none", "none"), ("none", "branch", "none"), ("branch", "none", "none")):
        for endpoint, fault in zip(endpoints, faults, strict=True):
            endpoint.fault = fault  # type: ignore[assignment]
        receipt, unknown = await chain.receipts([known, bytes(32)])
        assert receipt is not None
        assert receipt.block_hash != b"\x66" * 32
        assert unknown is None
    assert [health.disagreements for health in chain.health()] == [1, 1, 0]


async def test_a_receipt_that_endpoints_contradict_is_not_there_yet(over: OpenChain, world: World) -> None:
    chain, (first, _) = await over("none", "none", quorum=2)
    known = await mined(chain, world)
    first.fault = "branch"
    with capture_logs() as logs:
        for _ in range(3):
            assert await chain.receipts([known]) == [None]
    assert [health.disagreements for health in chain.health()] == [3, 3]
    assert [entry["event"] for entry in logs] == ["endpoint_contradicts"] * 2
    first.fault = "none"
    (receipt,) = await chain.receipts([known])
    assert receipt is not None


async def test_a_receipt_that_only_one_endpoint_has_is_not_there_yet_and_no_contradiction(
    over: OpenChain, world: World
) -> None:
    chain, (first, _) = await over("none", "none", quorum=2)
    known = await mined(chain, world)
    first.fault = "behind"
    assert await chain.receipts([known]) == [None]
    assert [health.disagreements for health in chain.health()] == [0, 0]


async def test_fewer_answers_than_the_quorum_tell_nothing(over: OpenChain, world: World) -> None:
    chain, _ = await over("none", "down", quorum=2)
    for question in (chain.head(), chain.receipts([bytes(32)]), chain.accounts([FIRST], final_number=0)):
        with pytest.raises(NodeUnavailable, match="2 endpoints must agree"):
            await question


async def test_the_quorum_holds_for_what_is_final(over: OpenChain, world: World) -> None:
    world.mine(30)
    chain, (_, second) = await over("none", "none", quorum=2)
    height = int(world.rpc("eth_blockNumber"), 16)
    assert (await chain.head()).final_number == height - 2
    second.fault = "behind"
    head = await chain.head()
    assert (head.tip.number, head.final_number) == (height, height - 12)


async def test_accounts_are_asked_of_the_quorum(over: OpenChain, world: World) -> None:
    chain, _ = await over("none", "none", quorum=2)
    await mined(chain, world)
    height = int(world.rpc("eth_blockNumber"), 16)
    (state,) = await chain.accounts([FIRST], final_number=height)
    assert state.next_nonce == state.final_nonce > 0
    assert isinstance(state, AccountState)


@pytest.mark.parametrize("quorum", [0, 3])
def test_no_more_endpoints_can_agree_than_there_are(quorum: int) -> None:
    with pytest.raises(ValueError, match="quorum"):
        Nodes([Node("http://127.0.0.1:1"), Node("http://127.0.0.1:2")], chain_id=1, quorum=quorum)
