"""Addresses: EIP-55 at the border, 20 bytes inside."""

import pytest
from eth_utils.address import to_checksum_address
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from service.addresses import ZERO, Address, Hash, checksum, hex0x, parse_address, parse_holder

EIP_55 = [  # the test vectors of the EIP
    "0x52908400098527886E0F7030069857D2E4169EE7",
    "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
    "0xde709f2102306220921060314715629080e2fb77",
    "0x27b1fdb04752bbc536007a920d24acb045561c26",
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
]
MIXED = EIP_55[4]

MALFORMED = [
    "",
    "0x",
    MIXED[2:],
    "0X" + MIXED[2:],
    MIXED[:-1],
    MIXED + "0",
    MIXED + "\n",
    " " + MIXED,
    MIXED[:-1] + "g",
    MIXED[:-1] + "\uff41",
    "0x" + "\u0661" * 40,
    "0x" + "0" * 64,
    "vitalik.eth",
]

addresses = st.binary(min_size=20, max_size=20)


@pytest.mark.parametrize("text", EIP_55)
def test_the_vectors_of_eip_55_are_written_and_read(text: str) -> None:
    assert parse_address(text) == bytes.fromhex(text[2:])
    assert checksum(bytes.fromhex(text[2:])) == text


@given(addresses)
def test_checksums_are_those_of_another_implementation(address: bytes) -> None:
    assert checksum(address) == to_checksum_address(address)


@given(addresses)
def test_an_address_is_read_back_in_each_spelling(address: bytes) -> None:
    digits = address.hex()
    for text in (checksum(address), f"0x{digits}", f"0x{digits.upper()}"):
        assert parse_address(text) == address


@given(addresses, st.integers(0, 39))
def test_one_letter_of_the_wrong_case_is_noticed(address: bytes, index: int) -> None:
    text = checksum(address)
    digits = text[2:]
    altered = digits[:index] + digits[index].swapcase() + digits[index + 1 :]
    if altered == digits or altered in (digits.lower(), digits.upper()):
        return  # a decimal digit, or the one letter that told the case
    with pytest.raises(ValueError, match="checksum"):
        parse_address("0x" + altered)


@pytest.mark.parametrize("text", MALFORMED, ids=ascii)
def test_a_malformed_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="40 hexadecimal digits"):
        parse_address(text)


@given(st.text(max_size=50))
def test_no_text_makes_the_parser_fail_otherwise(text: str) -> None:
    try:
        assert checksum(parse_address(text)).lower() == text.lower()
    except ValueError:
        return


def test_the_zero_address_holds_nothing() -> None:
    text = "0x" + "0" * 40
    assert parse_address(text) == ZERO
    with pytest.raises(ValueError, match="zero address"):
        parse_holder(text)


@pytest.mark.parametrize("given_", [1, 1.5, None, True, [], {}, "0x" + "00" * 20, MIXED.swapcase(), MIXED[2:]])
def test_json_that_is_no_holder_is_refused(given_: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter[bytes](Address).validate_python(given_)


@given(addresses.filter(lambda address: address != ZERO))
def test_an_address_leaves_as_it_may_come_back(address: bytes) -> None:
    adapter = TypeAdapter[bytes](Address)
    assert adapter.validate_json(adapter.dump_json(address)) == address


def test_bytes_are_written_in_lower_case() -> None:
    assert hex0x(bytes.fromhex("00AbCd")) == "0x00abcd"
    assert TypeAdapter[bytes](Hash).dump_python(b"\xab" * 32, mode="json") == "0x" + "ab" * 32
