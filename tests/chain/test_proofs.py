"""What a header commits to, on real blocks; and which of a node's answers a check may speak against."""

from typing import Any

import pytest
import rlp
from eth_hash.auto import keccak
from structlog.testing import capture_logs

from service.chain.checks import Check
from service.chain.node import NodeLied
from service.chain.proofs import bloom_mask, is_proven, receipts_root
from tests.chain.conftest import World
from tests.rpc import rpc


@pytest.fixture
def full_block(own_chain_url: str) -> tuple[dict[str, Any], list[Any]]:
    """A block of 140 transactions, so that its trie has keys of one byte and of two; and its receipts."""
    account = rpc(own_chain_url, "eth_accounts")[0]
    rpc(own_chain_url, "evm_setAutomine", False)
    for at in range(140):
        rpc(own_chain_url, "eth_sendTransaction", {"from": account, "to": account, "value": hex(at), "gas": "0x5208"})
    rpc(own_chain_url, "evm_mine")
    block: dict[str, Any] = rpc(own_chain_url, "eth_getBlockByNumber", "latest", False)
    assert len(block["transactions"]) == 140
    return block, rpc(own_chain_url, "eth_getBlockReceipts", "latest")


def test_every_number_of_receipts_up_to_a_full_block_has_its_root(
    full_block: tuple[dict[str, Any], list[Any]],
) -> None:
    block, receipts = full_block
    assert receipts_root(receipts).hex() == block["receiptsRoot"][2:]
    assert len({receipts_root(receipts[:count]) for count in range(141)}) == 141
    altered = [*receipts[:77], {**receipts[77], "cumulativeGasUsed": "0x1"}, *receipts[78:]]
    assert receipts_root(altered).hex() != block["receiptsRoot"][2:]


def test_no_receipts_have_the_root_of_an_empty_trie() -> None:
    assert receipts_root([]) == keccak(rlp.encode(b""))


def test_receipts_of_before_byzantium_and_of_deposits_are_encoded_as_their_chains_do() -> None:
    log = {"address": "0x" + "11" * 20, "topics": ["0x" + "22" * 32], "data": "0x33"}
    given = {"cumulativeGasUsed": "0x5208", "logsBloom": "0x" + "00" * 256, "logs": [log]}
    told = [b"\x52\x08", bytes(256), [[b"\x11" * 20, [b"\x22" * 32], b"\x33"]]]
    old = keccak(rlp.encode([b"\x20\x80", rlp.encode([b"\x44" * 32, *told])]))
    assert receipts_root([{**given, "root": "0x" + "44" * 32}]) == old
    deposit = {**given, "type": "0x7e", "status": "0x1", "depositNonce": "0x5", "depositReceiptVersion": "0x1"}
    assert receipts_root([deposit]) == keccak(
        rlp.encode([b"\x20\x80", b"\x7e" + rlp.encode([b"\x01", *told, b"\x05", b"\x01"])])
    )


@pytest.mark.parametrize(
    "field",
    ["parentHash", "stateRoot", "receiptsRoot", "logsBloom", "number", "timestamp", "baseFeePerGas", "requestsHash"],
)
def test_a_header_is_proven_and_any_other_field_refutes_it(world: World, field: str) -> None:
    for number in ("0x0", "latest"):
        block = world.rpc("eth_getBlockByNumber", number, False)
        assert is_proven(block) is True
        digits = len(block[field]) - 2 if len(block[field]) > 20 else 3
        assert is_proven({**block, field: "0x" + "1" * digits}) is False


def test_a_header_with_unknown_fields_or_too_few_says_nothing(world: World) -> None:
    block = world.rpc("eth_getBlockByNumber", "latest", False)
    assert is_proven({**block, "difficulty": "0x7", "l1BlockNumber": "0x1"}) is None
    assert is_proven({**block, "l1BlockNumber": "0x1"}) is True
    del block["mixHash"]
    assert is_proven(block) is None


def test_a_bloom_has_the_bits_of_what_it_was_made_of(world: World) -> None:
    world.token()
    block = world.rpc("eth_getBlockByNumber", "latest", False)
    bloom = int(block["logsBloom"], 16)
    logs = world.rpc("eth_getLogs", {"fromBlock": "latest", "toBlock": "latest"})
    made = 0
    for log in logs:
        for told in (log["address"], *log["topics"]):
            made |= bloom_mask(bytes.fromhex(told[2:]))
    assert made == bloom
    assert bloom_mask(b"nobody") & ~bloom


def test_a_check_speaks_against_an_answer_only_once_it_has_held() -> None:
    check = Check("header")
    with capture_logs() as logs:
        assert not check.judge(False, "block 1")
        assert not check.judge(None, "block 2")
    assert [(entry["event"], entry["detail"]) for entry in logs] == [("unknown_header", "block 1")]
    assert check.judge(True, "block 3")
    with pytest.raises(NodeLied, match="block 4"):
        check.judge(False, "block 4")
    assert not check.judge(None, "a fork of the chain brings new fields"), "no lie"
    assert not check.judge(False, "block 6")
