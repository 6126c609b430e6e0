"""A type 2 transaction before its signature: the digest and the bytes are eth-account's."""

from dataclasses import replace
from typing import Any

import pytest
import rlp
from coincurve import PrivateKey
from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_hash.auto import keccak
from hexbytes import HexBytes
from hypothesis import given
from hypothesis import strategies as st

from service.addresses import checksum
from service.keys.keystore import LocalSigner
from service.keys.unsigned import UnsignedTransaction, assemble, digest

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141  # of secp256k1; source: SEC 2
GOOD = UnsignedTransaction(
    chain_id=31337, nonce=0, to=b"\x22" * 20, data=b"", value=1, gas_limit=21_000, max_fee_wei=2, priority_fee_wei=1
)

private_keys = st.integers(1, ORDER - 1).map(lambda number: number.to_bytes(32, "big"))
amounts = st.integers(0, 2**256 - 1)
transactions = st.tuples(amounts, amounts).flatmap(
    lambda fees: st.builds(
        UnsignedTransaction,
        chain_id=st.integers(1, 2**63),
        nonce=st.integers(0, 2**64 - 2),
        to=st.none() | st.binary(min_size=20, max_size=20),
        data=st.binary(max_size=300),
        value=amounts,
        gas_limit=st.integers(1, 2**64 - 1),
        max_fee_wei=st.just(max(fees)),
        priority_fee_wei=st.just(min(fees)),
    )
)


@given(private_keys, transactions)
def test_signed_bytes_are_eth_accounts(private_key: bytes, transaction: UnsignedTransaction) -> None:
    signer = LocalSigner(PrivateKey(private_key))
    fields: dict[str, Any] = {
        "type": 2,
        "chainId": transaction.chain_id,
        "nonce": transaction.nonce,
        "to": checksum(transaction.to) if transaction.to is not None else b"",
        "data": transaction.data,
        "value": transaction.value,
        "gas": transaction.gas_limit,
        "maxFeePerGas": transaction.max_fee_wei,
        "maxPriorityFeePerGas": transaction.priority_fee_wei,
    }
    expected = Account.sign_transaction(fields, private_key)
    signed = assemble(transaction, signer.sign_now(digest(transaction)))
    assert signed.raw == bytes(expected.raw_transaction)
    assert signed.hash == bytes(expected.hash)
    assert expected.s <= ORDER // 2


@given(private_keys, transactions)
def test_a_signature_recovers_to_the_signer_with_s_in_its_lower_half(
    private_key: bytes, transaction: UnsignedTransaction
) -> None:
    signer = LocalSigner(PrivateKey(private_key))
    signed = assemble(transaction, signer.sign_now(digest(transaction)))
    assert bytes.fromhex(Account.recover_transaction(signed.raw)[2:]) == signer.address
    assert TypedTransaction.from_bytes(HexBytes(signed.raw)).as_dict()["s"] <= ORDER // 2
    assert signed.hash == keccak(signed.raw)
    assert assemble(transaction, signer.sign_now(digest(transaction))) == signed


@pytest.mark.parametrize("size", [0, 1, 54, 55, 56, 57, 255, 256, 65_535, 65_536])
@pytest.mark.parametrize("first", [b"\x00", b"\x7f", b"\x80"])
def test_every_length_of_calldata_is_written_as_rlp_has_it(size: int, first: bytes) -> None:
    made = replace(GOOD, data=(first + bytes(size))[:size])
    fields = [31337, 0, 1, 2, 21_000, b"\x22" * 20, 1, made.data, []]
    assert digest(made) == keccak(b"\x02" + rlp.encode(fields))


@pytest.mark.parametrize(
    "changes",
    [
        {"to": b"\x22" * 19},
        {"to": b""},
        {"chain_id": 0},
        {"nonce": -1},
        {"nonce": 2**64 - 1},
        {"gas_limit": 0},
        {"value": -1},
        {"value": 2**256},
        {"max_fee_wei": 0},
        {"priority_fee_wei": -1},
        {"max_fee_wei": 2**256},
    ],
)
def test_a_transaction_that_no_node_would_take_is_never_made(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"bytes|range"):
        replace(GOOD, **changes)
