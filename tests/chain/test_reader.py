"""Typed questions: what a real chain says, and what becomes of answers in the wrong shape."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import web
from eth_account import Account
from eth_hash.auto import keccak

from service.chain import contracts
from service.chain.node import AnswerLate, AnswerTooLong, Node, NodeRefused, NodeUnavailable
from service.chain.reader import Call, Chain, Finality, Head, Reverted, WrongChain
from service.chain.reasons import Reason
from service.chain.reverts import Revert
from tests.chain.conftest import CHAIN_ID, Lying, OpenNode, World
from tests.chain.faulty import faulty_endpoint
from tests.chain.test_node import FIRST_KEY, sent


@pytest.mark.parametrize(("text", "depth"), [("finalized", None), ("depth:0", 0), ("depth:8", 8)])
def test_finality_is_read(text: str, depth: int | None) -> None:
    assert Finality.parse(text) == Finality(depth)


@pytest.mark.parametrize(
    "text", ["", "depth", "depth:", "depth:-1", "depth:1.5", "depth:²", "safe", "Finalized", "depths:1"]
)
def test_any_other_finality_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="finality is"):
        Finality.parse(text)


async def test_start_up_refuses_a_node_of_another_chain(node: Node) -> None:
    await Chain(node, chain_id=CHAIN_ID, finality=Finality(1)).check()
    with pytest.raises(WrongChain, match="chain 1, but the node follows 31337"):
        await Chain(node, chain_id=1, finality=Finality(1)).check()


async def test_the_final_block_is_so_deep_below_the_tip(chain: Chain, world: World) -> None:
    height = int(world.rpc("eth_blockNumber"), 16)
    world.mine(5)
    head = await chain.head()
    assert (head.tip.number, head.final_number) == (height + 5, height + 3)


async def test_nothing_is_final_on_a_chain_shorter_than_the_depth(node: Node) -> None:
    head = await Chain(node, chain_id=CHAIN_ID, finality=Finality(9_999)).head()
    assert head.final_number == -1


async def test_the_finalized_tag_is_the_nodes(node: Node, world: World) -> None:
    world.mine(100)
    head = await Chain(node, chain_id=CHAIN_ID, finality=Finality(None)).head()
    assert head.final_number == int(world.rpc("eth_getBlockByNumber", "finalized", False)["number"], 16)
    assert 0 <= head.final_number < head.tip.number


BLOCK = {"number": "0x5", "hash": "0x" + "11" * 32, "parentHash": "0x" + "22" * 32, "timestamp": "0x6"}


@pytest.mark.parametrize(
    "finalized",
    [
        {"result": None},
        {"error": {"code": -39001, "message": "Unknown block"}},
        {"error": {"code": -32000, "message": "finalized block not found"}},
    ],
    ids=["reth", "besu", "geth"],
)
async def test_a_chain_too_young_to_have_a_finalized_block(
    open_node: OpenNode, lying: Lying, finalized: dict[str, Any]
) -> None:
    def answer(calls: Any) -> web.Response:
        chain_id, latest, final = (call["id"] for call in calls)
        told = [{"id": chain_id, "result": "0x1"}, {"id": latest, "result": BLOCK}, {"id": final, **finalized}]
        return web.json_response(told)

    async with lying(answer) as url:
        chain = Chain(open_node(url), chain_id=1, finality=Finality(None))
        head = await chain.head()
    assert (head.tip.number, head.final_number) == (5, -1)


async def test_a_finalized_block_above_the_tip_of_the_same_batch_is_the_tip(open_node: OpenNode, lying: Lying) -> None:
    def answer(calls: Any) -> web.Response:
        results = "0x1", BLOCK, BLOCK | {"number": "0x9"}
        return web.json_response([{"id": c["id"], "result": r} for c, r in zip(calls, results, strict=True)])

    async with lying(answer) as url:
        chain = Chain(open_node(url), chain_id=1, finality=Finality(None))
        head = await chain.head()
    assert isinstance(head, Head)
    assert head.final_number == 5


async def test_blocks_ascend_linked_and_end_at_the_tip(chain: Chain, world: World) -> None:
    world.mine(6)
    tip = int(world.rpc("eth_blockNumber"), 16)
    blocks = await chain.blocks(first=tip - 5, count_max=50)
    assert [block.number for block in blocks] == list(range(tip - 5, tip + 1))
    assert all(late.parent_hash == early.hash for early, late in pairwise(blocks))
    assert await chain.blocks(first=tip + 1, count_max=3) == []
    assert len(await chain.blocks(first=0, count_max=2)) == 2


async def test_a_block_that_comes_for_another_is_refused(open_node: OpenNode, lying: Lying) -> None:
    async with lying(lambda calls: web.json_response([{"id": c["id"], "result": BLOCK} for c in calls])) as url:
        chain = Chain(open_node(url), chain_id=1, finality=Finality(0))
        with pytest.raises(NodeUnavailable, match="block 5 came for block 6"):
            await chain.blocks(first=5, count_max=2)


def mint(token: bytes, to: bytes, amount: int) -> bytes:
    nonce = contracts.operation_nonce(CHAIN_ID, token, uuid4())
    return contracts.encode_call("AssetToken", "mint", to, amount, nonce)


async def test_logs_are_in_order_with_the_block_that_ends_them(chain: Chain, world: World) -> None:
    admin, holder = world.accounts[:2]
    token, other = world.token(), world.token()
    first = int(world.rpc("eth_blockNumber"), 16) + 1
    for amount in (5, 6, 7):
        world.send(token, mint(token, holder, amount), sender=admin)
    world.send(other, mint(other, holder, 9), sender=admin)
    last = int(world.rpc("eth_blockNumber"), 16)

    logs, seen = await chain.logs(first=first, last=last, addresses=[token], topics=[contracts.TRANSFER])
    assert [int.from_bytes(log.data, "big") for log in logs] == [5, 6, 7]
    assert {log.address for log in logs} == {token}
    assert all(log.topics[0] == contracts.TRANSFER and log.topics[2][12:] == holder for log in logs)
    assert [seen] == await chain.blocks(first=last, count_max=1)
    both, _ = await chain.logs(
        first=first, last=last, addresses=[token, other], topics=[contracts.TRANSFER, contracts.PAUSED]
    )
    assert len(both) == 4
    assert both[-1].block_hash == seen.hash


async def test_no_address_or_no_topic_means_no_logs_and_never_all_of_them(chain: Chain, world: World) -> None:
    token = world.token()
    world.send(token, mint(token, world.accounts[1], 5), sender=world.accounts[0])
    last = int(world.rpc("eth_blockNumber"), 16)
    for addresses, topics in (([], [contracts.TRANSFER]), ([token], [])):
        logs, seen = await chain.logs(first=0, last=last, addresses=addresses, topics=topics)
        assert logs == []
        assert seen.number == last


async def test_logs_up_to_a_block_that_is_not_there_tell_nothing(chain: Chain, world: World) -> None:
    tip = int(world.rpc("eth_blockNumber"), 16)
    with pytest.raises(NodeUnavailable, match=f"does not have block {tip + 1}"):
        await chain.logs(first=tip, last=tip + 1, addresses=[bytes(20)], topics=[contracts.TRANSFER])


async def test_a_reorganisation_shows_in_the_last_blocks_hash(chain: Chain, world: World) -> None:
    world.mine(4)
    world.send(world.accounts[1], b"", sender=world.accounts[0])  # anvil makes an empty block again as it was
    tip = (await chain.head()).tip
    world.rpc("anvil_reorg", 2, [])
    _, seen = await chain.logs(first=tip.number, last=tip.number, addresses=[], topics=[])
    assert seen.number == tip.number
    assert seen.hash != tip.hash


async def test_receipts_say_what_became_of_each(chain: Chain, world: World) -> None:
    admin, stranger = world.accounts[0], world.accounts[3]
    token = world.token()
    good = world.send(token, mint(token, admin, 5), sender=admin)
    bad = world.send(token, mint(token, stranger, 5), sender=stranger)
    hashes = [bytes.fromhex(mined["transactionHash"][2:]) for mined in (good, bad)]
    first, unknown, second = await chain.receipts([hashes[0], bytes(32), hashes[1]])
    assert unknown is None
    assert first is not None
    assert second is not None
    assert (first.succeeded, second.succeeded) == (True, False)
    assert first.transaction_hash == hashes[0]
    assert first.block_number == int(good["blockNumber"], 16)
    assert first.gas_used == int(good["gasUsed"], 16)


async def test_a_call_reads_now_or_at_a_block(chain: Chain, world: World) -> None:
    admin, holder = world.accounts[:2]
    token = world.token()
    before = int(world.rpc("eth_blockNumber"), 16)
    world.send(token, mint(token, holder, 5), sender=admin)
    supply = Call(token, contracts.encode_call("AssetToken", "totalSupply"), admin)
    assert int.from_bytes(await chain.call(supply), "big") == 5
    assert int.from_bytes(await chain.call(supply, block=before), "big") == 0
    assert [
        int.from_bytes(answer, "big") for answer in await chain.calls([supply] * 3) if isinstance(answer, bytes)
    ] == [
        5,
        5,
        5,
    ]


async def test_a_refused_call_carries_the_contracts_own_error(chain: Chain, world: World) -> None:
    stranger, token = world.accounts[3], world.token()
    call = Call(token, mint(token, stranger, 5), stranger)
    with pytest.raises(Reverted, match="AccessManagedUnauthorized") as reverted:
        await chain.call(call)
    assert reverted.value.revert.arguments["caller"].lower() == "0x" + stranger.hex()
    for answers in (await chain.calls([call]), await chain.estimate_gas([call])):
        (refused,) = answers
        assert isinstance(refused, NodeRefused)
        assert refused.reason is Reason.REVERTED
        assert refused.revert == reverted.value.revert


async def test_a_revert_without_words_and_a_halt_are_told_apart(chain: Chain, world: World) -> None:
    with pytest.raises(Reverted) as reverted:
        await chain.call(Call(None, bytes.fromhex("5f5ffd"), world.accounts[0]))
    assert reverted.value.revert == Revert("0x")
    with pytest.raises(NodeRefused) as halted:
        await chain.call(Call(None, b"\xfe", world.accounts[0]))
    assert halted.value.reason is Reason.HALTED


async def test_a_block_that_is_not_there_cannot_be_asked(chain: Chain, world: World) -> None:
    with pytest.raises(NodeRefused) as refused:
        await chain.call(Call(world.accounts[0], b"", world.accounts[0]), block=10**9)
    assert refused.value.reason is Reason.BLOCK_UNKNOWN


async def test_calls_of_one_moment_go_out_as_one_and_each_is_judged_alone(open_node: OpenNode, world: World) -> None:
    admin, stranger = world.accounts[0], world.accounts[3]
    token = world.token()
    async with faulty_endpoint(world.url) as endpoint:
        chain = Chain(open_node(endpoint.url), chain_id=CHAIN_ID, finality=Finality(2))
        supply = Call(token, contracts.encode_call("AssetToken", "totalSupply"), admin)
        refused = Call(token, mint(token, stranger, 5), stranger)
        answers = await asyncio.gather(
            *(chain.call(each) for each in [supply, refused, supply]), return_exceptions=True
        )
    assert answers[0] == answers[2] == bytes(32)
    assert isinstance(answers[1], Reverted)
    assert endpoint.requests == 1


async def test_a_caller_who_leaves_takes_no_other_along(chain: Chain, world: World) -> None:
    supply = Call(world.token(), contracts.encode_call("AssetToken", "totalSupply"), world.accounts[0])
    leaving, staying = asyncio.create_task(chain.call(supply)), asyncio.create_task(chain.call(supply))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == bytes(32)
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_a_call_that_spoils_the_answer_of_many_spoils_only_its_own(open_node: OpenNode, lying: Lying) -> None:
    def answer(asked: Any) -> web.Response:
        listed = asked if isinstance(asked, list) else [asked]
        told = [{"id": call["id"], "result": "0x" + "00" * (9_000 if "0b" in str(call) else 1)} for call in listed]
        return web.json_response(told if isinstance(asked, list) else told[0])

    async with lying(answer) as url:
        chain = Chain(open_node(url, response_bytes_max=5_000), chain_id=1, finality=Finality(0))
        short, long = (Call(None, data, bytes(20)) for data in (b"", b"\x0b"))
        answers = await asyncio.gather(*(chain.call(each) for each in (short, long, short)), return_exceptions=True)
    assert answers[0] == answers[2] == b"\0"
    assert isinstance(answers[1], AnswerTooLong)


async def test_calls_of_one_moment_that_are_late_are_asked_once(open_node: OpenNode, world: World) -> None:
    async with faulty_endpoint(world.url) as endpoint:
        endpoint.fault = "late"
        chain = Chain(open_node(endpoint.url, timeout_s=0.2), chain_id=CHAIN_ID, finality=Finality(2))
        call = Call(None, b"", world.accounts[0])
        answers = await asyncio.gather(*(chain.call(call) for _ in range(3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [AnswerLate] * 3
    assert endpoint.requests == 1


async def test_gas_is_estimated_for_each_call_alone(chain: Chain, world: World) -> None:
    first, second = world.accounts[:2]
    plain, refused = await chain.estimate_gas(
        [Call(second, b"", first, value=1), Call(None, bytes.fromhex("5f5ffd"), first)]
    )
    assert plain == 21_000
    assert isinstance(refused, NodeRefused)


async def test_broadcast_answers_for_each_transaction(chain: Chain, world: World) -> None:
    signer = bytes.fromhex(Account.from_key(FIRST_KEY).address[2:])
    (nonce,) = await chain.transaction_counts([signer])
    raws = [
        bytes.fromhex(text[2:]) for text in (sent(nonce=nonce), sent(nonce=nonce + 1), sent(nonce=nonce, chainId=5))
    ]
    first, second, third = await chain.broadcast(raws)
    assert first is None
    assert second is None
    assert third is not None
    assert third.reason is Reason.WRONG_CHAIN
    for raw in raws[:2]:
        world.mined("0x" + keccak(raw).hex())
    assert await chain.transaction_counts([signer, bytes(19) + b"\x77"]) == [nonce + 2, 0]
    (again,) = await chain.broadcast(raws[:1])
    assert again is not None
    assert again.reason is Reason.NONCE_SPENT


async def test_fees_are_the_next_blocks(chain: Chain, world: World) -> None:
    fees = await chain.fees()
    history = world.rpc("eth_feeHistory", "0x1", "latest", [])
    assert fees.base_fee_wei == int(history["baseFeePerGas"][-1], 16)
    assert fees.priority_fee_wei > 0


async def test_balance_and_code(chain: Chain, world: World) -> None:
    assert await chain.balance(world.accounts[1]) > 0
    assert await chain.balance(bytes(19) + b"\x77") == 0
    assert await chain.code(world.accounts[1]) == b""


WRONG_SHAPES: dict[str, Any] = {
    "null": None,
    "text": "0xzz",
    "number": 5,
    "list": [5],
    "empty": {},
    "block without hash": {"number": "0x1"},
    "hash too short": BLOCK | {"hash": "0x11"},
    "decimal number": BLOCK | {"number": 5},
}
QUESTIONS: dict[str, Callable[[Chain], Any]] = {
    "check": lambda chain: chain.check(),
    "head": lambda chain: chain.head(),
    "logs": lambda chain: chain.logs(first=1, last=1, addresses=[bytes(20)], topics=[bytes(32)]),
    "counts": lambda chain: chain.transaction_counts([bytes(20)]),
    "fees": lambda chain: chain.fees(),
    "code": lambda chain: chain.code(bytes(20)),
    "balance": lambda chain: chain.balance(bytes(20)),
    "calls": lambda chain: chain.calls([Call(bytes(20), b"", bytes(20))]),
    "estimate": lambda chain: chain.estimate_gas([Call(bytes(20), b"", bytes(20))]),
}


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
async def test_an_answer_in_the_wrong_shape_tells_nothing(
    open_node: OpenNode, lying: Lying, question: Callable[[Chain], Any]
) -> None:
    wrong: Any = None

    def answer(asked: Any) -> web.Response:
        if isinstance(asked, dict):
            return web.json_response({"id": asked["id"], "result": wrong})
        return web.json_response([{"id": call["id"], "result": wrong} for call in asked])

    async with lying(answer) as url:
        chain = Chain(open_node(url), chain_id=1, finality=Finality(0))
        for wrong in WRONG_SHAPES.values():  # noqa: B007
            with pytest.raises(NodeUnavailable):
                await question(chain)
