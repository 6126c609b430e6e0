"""Signed transactions of outsiders are read exactly, or refused."""

import pytest
import rlp
from eth_account import Account
from hypothesis import given
from hypothesis import strategies as st

from service.keys.signed import NotATransaction, read_signed

KEY = Account.from_key(bytes(31) + b"\x07")
TO = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


def signed(**changed: object) -> bytes:
    """A transaction by eth-account."""
    plain = {
        "chainId": 31337,
        "nonce": 3,
        "to": TO,
        "value": 0,
        "data": "0xa9059cbb",
        "gas": 60_000,
        "maxFeePerGas": 2_000_000_000,
        "maxPriorityFeePerGas": 1_000_000_000,
        "type": 2,
    }
    return bytes(KEY.sign_transaction({**plain, **changed}).raw_transaction)


@given(st.integers(0, 2**62), st.integers(0, 2**255), st.binary(max_size=300), st.integers(21_000, 2**40))
def test_every_field_and_the_signer_are_read(nonce: int, value: int, data: bytes, gas: int) -> None:
    raw = signed(nonce=nonce, value=value, data=data, gas=gas)
    found = read_signed(raw)
    assert (found.nonce, found.value, found.data, found.gas_limit) == (nonce, value, data, gas)
    assert (found.chain_id, found.to, found.signer) == (31337, bytes.fromhex(TO[2:]), bytes.fromhex(KEY.address[2:]))
    assert (found.max_fee_wei, found.priority_fee_wei, found.raw) == (2_000_000_000, 1_000_000_000, raw)


def test_a_legacy_transaction_is_refused() -> None:
    raw = KEY.sign_transaction({"nonce": 0, "to": TO, "value": 0, "gas": 21_000, "gasPrice": 1, "chainId": 31337})
    with pytest.raises(NotATransaction, match="type 2"):
        read_signed(bytes(raw.raw_transaction))


@pytest.mark.parametrize("place", range(12))
def test_a_field_with_leading_zeros_or_a_list_is_refused(place: int) -> None:
    fields = rlp.decode(signed()[1:])
    for wrong in (b"\0" + (fields[place] if isinstance(fields[place], bytes) else b""), [b"\x01"]):
        if place == 7 and isinstance(wrong, bytes):
            continue  # calldata may begin with zeros, but then another account has signed it
        with pytest.raises(NotATransaction):
            read_signed(b"\x02" + rlp.encode([*fields[:place], wrong, *fields[place + 1 :]]))


def test_the_mirrored_signature_is_refused() -> None:
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    fields = rlp.decode(signed()[1:])
    parity = b"" if fields[9] else b"\x01"
    high = (order - int.from_bytes(fields[11])).to_bytes(32)
    with pytest.raises(NotATransaction, match="malleable"):
        read_signed(b"\x02" + rlp.encode([*fields[:9], parity, fields[10], high]))


@given(st.binary(max_size=200))
def test_other_bytes_are_refused(raw: bytes) -> None:
    for given_ in (raw, b"\x02" + raw, signed()[:-1], signed() + raw if raw else b""):
        with pytest.raises(NotATransaction):
            read_signed(given_)
