"""Revert data becomes the contract's own words, whatever the bytes are."""

import pytest
from eth_abi.abi import encode
from eth_utils.abi import function_signature_to_4byte_selector as selector
from hypothesis import given
from hypothesis import strategies as st

from service.chain.reverts import TEXT_CHARS_MAX, Revert, _errors, decode_revert


def test_require_with_a_text() -> None:
    assert decode_revert(selector("Error(string)") + encode(["string"], ["no"])) == Revert("Error", {"reason": "no"})


@pytest.mark.parametrize(
    ("code", "meaning"),
    [(0x11, "arithmetic overflow or underflow"), (0x32, "index out of bounds"), (0x99, "unknown panic")],
)
def test_panic_says_what_its_code_means(code: int, meaning: str) -> None:
    data = selector("Panic(uint256)") + encode(["uint256"], [code])
    assert decode_revert(data) == Revert("Panic", {"code": f"0x{code:02x}", "meaning": meaning})


def test_a_custom_error_has_the_name_and_arguments_of_the_abi() -> None:
    account = bytes.fromhex("70997970c51812dc3a010c7d01b50e0d17dc79c8")
    data = selector("ERC20InsufficientBalance(address,uint256,uint256)") + encode(
        ["address", "uint256", "uint256"], [account, 7, 2**256 - 1]
    )
    revert = decode_revert(data)
    assert revert.name == "ERC20InsufficientBalance"
    assert revert.arguments["sender"].lower() == "0x" + account.hex()
    assert (revert.arguments["balance"], revert.arguments["needed"]) == ("7", str(2**256 - 1))


def test_an_operations_second_execution_is_named() -> None:
    data = selector("OperationAlreadyExecuted(bytes32)") + bytes(31) + b"\x07"
    assert decode_revert(data) == Revert("OperationAlreadyExecuted", {"operationId": "0x" + "00" * 31 + "07"})


def test_a_foreign_error_is_called_by_its_selector() -> None:
    assert decode_revert(bytes.fromhex("deadbeef") + bytes(64)) == Revert("0xdeadbeef")


def test_a_revert_without_data_is_called_0x() -> None:
    assert decode_revert(b"") == Revert("0x")


def test_a_cut_off_error_is_called_by_its_selector() -> None:
    assert decode_revert(selector("Error(string)") + bytes(31)) == Revert("0x08c379a0")


def test_text_that_a_contract_chose_is_bounded_and_printable() -> None:
    data = selector("Error(string)") + encode(["string"], ["a\x00b\x1b[31m\n" + "x" * 5_000])
    reason = decode_revert(data).arguments["reason"]
    assert len(reason) == TEXT_CHARS_MAX
    assert reason.isprintable()
    assert reason.startswith("a\N{REPLACEMENT CHARACTER}b")


@given(st.sampled_from([b"", *_errors()]), st.binary(max_size=200))
def test_no_bytes_can_make_it_fail(known: bytes, rest: bytes) -> None:
    revert = decode_revert(known + rest)
    assert revert.name
    assert str(revert).isprintable()
