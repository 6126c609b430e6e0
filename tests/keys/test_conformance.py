"""What every provider of signatures has in common, asked of each with eth-account as the judge."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
import rlp
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_hash.auto import keccak

from service.addresses import checksum
from service.keys.signed import packed, read_signed, recover
from service.keys.signing import ProviderDown, Signer
from service.keys.unsigned import UnsignedTransaction, assemble, digest
from tests.keys.providers import Place
from tests.keys.test_unsigned import ORDER

TRANSACTION = UnsignedTransaction(
    chain_id=31337,
    nonce=7,
    to=b"\x22" * 20,
    data=bytes.fromhex("40c10f19") + bytes(64),
    value=0,
    gas_limit=90_000,
    max_fee_wei=20_000_000_000,
    priority_fee_wei=1_000_000_000,
)
MESSAGE: dict[str, Any] = {
    "types": {
        "EIP712Domain": [{"name": "name", "type": "string"}, {"name": "chainId", "type": "uint256"}],
        "Mail": [{"name": "to", "type": "address"}, {"name": "amount", "type": "uint256"}],
    },
    "primaryType": "Mail",
    "domain": {"name": "Muniment", "chainId": 31337},
    "message": {"to": checksum(b"\x22" * 20), "amount": 1_000},
}


async def test_its_address_stays(signer: Signer) -> None:
    assert len(signer.address) == 20
    for number in range(3):
        made = await signer.sign_digest(bytes([number]) * 32)
        assert recover(bytes([number]) * 32, packed(made)) == signer.address


async def test_s_is_in_its_lower_half(signer: Signer) -> None:
    # An HSM's own signature has a high s half of the time: among forty all are low once in a million million times.
    for number in range(40):
        made = await signer.sign_digest(bytes([number]) * 32)
        assert 0 < int.from_bytes(made.s) <= ORDER // 2
        assert recover(bytes([number]) * 32, packed(made)) == signer.address


async def test_a_type_2_transaction_is_eth_accounts(signer: Signer) -> None:
    fields = {
        "type": 2,
        "chainId": TRANSACTION.chain_id,
        "nonce": TRANSACTION.nonce,
        "to": checksum(b"\x22" * 20),
        "data": TRANSACTION.data,
        "value": TRANSACTION.value,
        "gas": TRANSACTION.gas_limit,
        "maxFeePerGas": TRANSACTION.max_fee_wei,
        "maxPriorityFeePerGas": TRANSACTION.priority_fee_wei,
    }
    assert digest(TRANSACTION) == bytes(TypedTransaction.from_dict(fields).hash())
    signed = assemble(TRANSACTION, await signer.sign_digest(digest(TRANSACTION)))
    assert Account.recover_transaction(signed.raw) == checksum(signer.address)
    read = read_signed(signed.raw)
    assert (read.signer, read.hash, read.nonce, read.data) == (signer.address, signed.hash, 7, TRANSACTION.data)


async def test_an_eip_155_transaction_is_eth_accounts(signer: Signer) -> None:
    fields = [7, 20_000_000_000, 21_000, b"\x22" * 20, 1, b""]
    made = await signer.sign_digest(keccak(rlp.encode([*fields, 31337, 0, 0])))
    v = made.v - 27 + 35 + 2 * 31337
    raw = rlp.encode([*fields, v, int.from_bytes(made.r), int.from_bytes(made.s)])
    assert Account.recover_transaction(raw) == checksum(signer.address)


async def test_typed_data_is_eth_accounts(signer: Signer) -> None:
    message = encode_typed_data(full_message=MESSAGE)
    made = await signer.sign_digest(keccak(b"\x19" + message.version + message.header + message.body))
    assert Account.recover_message(message, signature=packed(made)) == checksum(signer.address)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
async def test_a_digest_of_another_length_is_refused(signer: Signer, size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        await signer.sign_digest(bytes(size))


async def test_fifty_at_once_are_fifty_right_ones(signer: Signer) -> None:
    digests = [keccak(bytes([number])) for number in range(50)]
    made = await asyncio.gather(*(signer.sign_digest(each) for each in digests))
    assert [recover(each, packed(signature)) for each, signature in zip(digests, made, strict=True)] == [
        signer.address
    ] * 50


async def test_its_health_is_good(signer: Signer) -> None:
    await signer.health()


async def test_a_signature_is_in_no_repr(signer: Signer) -> None:
    made = await signer.sign_digest(bytes(32))
    assert made.r.hex() not in repr(made) + repr(signer)
    assert repr(made.s) not in repr(made) + repr(signer)


async def test_a_provider_that_is_down_says_so_and_comes_back(place: Place) -> None:
    async with place.down():
        with pytest.raises(ProviderDown):
            await place.signer.sign_digest(bytes(32))
    assert recover(bytes(32), packed(await place.signer.sign_digest(bytes(32)))) == place.signer.address
    await place.signer.health()


async def test_after_a_timeout_the_same_transaction_is_signed(place: Place) -> None:
    async with place.held():
        with pytest.raises(ProviderDown):
            await place.signer.sign_digest(digest(TRANSACTION))
    signed = assemble(TRANSACTION, await place.signer.sign_digest(digest(TRANSACTION)))
    read = read_signed(signed.raw)
    assert read.signer == place.signer.address
    assert (read.nonce, read.data, read.max_fee_wei) == (7, TRANSACTION.data, TRANSACTION.max_fee_wei)


async def test_a_late_answer_is_not_taken_for_the_next(place: Place) -> None:
    async with place.held():
        with pytest.raises(ProviderDown):
            await place.signer.sign_digest(digest(TRANSACTION))
    other = replace(TRANSACTION, nonce=8)
    signed = assemble(other, await place.signer.sign_digest(digest(other)))
    assert read_signed(signed.raw).nonce == 8
    assert read_signed(signed.raw).signer == place.signer.address
