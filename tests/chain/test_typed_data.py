"""What holders sign: as wallets hash it, and as the contracts take it."""

from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from service.chain import contracts
from service.chain.reader import Call, Chain
from service.chain.typed_data import Authorization, Ballot, Permission, with_signature
from service.keys.signed import recover
from tests.chain.conftest import CHAIN_ID, World

addresses = st.binary(min_size=20, max_size=20)
words = st.binary(min_size=32, max_size=32)
amounts = st.integers(0, 2**256 - 1)


def transfer(token: bytes, sender: bytes, to: bytes, amount: int, nonce: bytes, until: int = 2**40) -> Authorization:
    """Leave to move units."""
    signed = (("from", "address", sender), ("to", "address", to), ("value", "uint256", amount))
    relay = ("TransferWithAuthorization", "transferWithAuthorization")
    return Authorization("AssetToken", CHAIN_ID, token, sender, *relay, signed, until, nonce)


def batch(token: bytes, sender: bytes, rows: list[tuple[bytes, int]], nonce: bytes) -> Authorization:
    """Leave to move units to many."""
    signed = (
        ("from", "address", sender),
        ("to", "address[]", [to for to, _ in rows]),
        ("amounts", "uint256[]", [amount for _, amount in rows]),
    )
    relay = ("BatchTransferWithAuthorization", "batchTransferWithAuthorization")
    return Authorization("AssetToken", CHAIN_ID, token, sender, *relay, signed, 2**40, nonce)


def wallets_hash(message: dict[str, Any]) -> bytes:
    """The digest of the JSON that a wallet is given, by eth-account."""
    signable = encode_typed_data(full_message=message)
    return keccak(b"\x19" + signable.version + signable.header + signable.body)


@given(addresses, addresses, addresses, amounts, words)
def test_a_wallet_hashes_the_json_as_we_do(token: bytes, sender: bytes, to: bytes, amount: int, nonce: bytes) -> None:
    typed = transfer(token, sender, to, amount, nonce).typed_data()
    assert wallets_hash(typed.as_json()) == typed.digest()


@given(addresses, addresses, st.lists(st.tuples(addresses, amounts), max_size=5), words)
def test_arrays_too(token: bytes, sender: bytes, rows: list[tuple[bytes, int]], nonce: bytes) -> None:
    typed = batch(token, sender, rows, nonce).typed_data()
    assert wallets_hash(typed.as_json()) == typed.digest()


@given(addresses, addresses, amounts, st.integers(0, 2), st.text(max_size=40), st.integers(0, 9))
def test_ballots_too(governor: bytes, voter: bytes, proposal_id: int, support: int, reason: str, nonce: int) -> None:
    ballot = Ballot(CHAIN_ID, governor, "House council", voter, proposal_id, support, reason, nonce)
    assert wallets_hash(ballot.typed_data().as_json()) == ballot.typed_data().digest()


@given(
    addresses,
    addresses,
    st.lists(st.tuples(addresses, amounts), max_size=5),
    words,
    st.binary(min_size=65, max_size=65),
)
def test_a_signature_finds_its_place(
    token: bytes, sender: bytes, rows: list[tuple[bytes, int]], nonce: bytes, signature: bytes
) -> None:
    permissions: list[Permission] = [
        transfer(token, sender, token, 7, nonce),
        batch(token, sender, rows, nonce),
        Ballot(CHAIN_ID, token, "Council", sender, 1, 1, "", 0),
        Ballot(CHAIN_ID, token, "Council", sender, 1, 1, "because it is so", 0),
    ]
    for permission in permissions:
        at, form = permission.signature_place()
        assert with_signature(permission.calldata(bytes(65)), at, form, signature) == permission.calldata(signature)


async def test_the_contract_takes_a_signed_transfer_once(chain: Chain, world: World) -> None:
    admin, recipient = world.accounts[0], world.accounts[5]
    token, holder = world.token(), Account.create()
    sender = bytes.fromhex(holder.address[2:])
    mint = contracts.encode_call("AssetToken", "mint", sender, 100, keccak(b"mint"))
    assert world.send(token, mint, sender=admin)["status"] == "0x1"
    permission = transfer(token, sender, recipient, 40, keccak(b"nonce"))
    signed = holder.unsafe_sign_hash(permission.typed_data().digest())
    assert recover(permission.typed_data().digest(), signed.signature) == sender
    data = permission.calldata(signed.signature)
    assert world.send(token, data, sender=admin)["status"] == "0x1"
    to, proof = permission.proof()
    assert int.from_bytes(await chain.call(Call(to, proof, admin))) == 1
    (refused,) = await chain.calls([Call(token, data, admin)])
    assert not isinstance(refused, bytes)
    assert refused.revert is not None
    assert refused.revert.name == "ERC3009UsedAuthorization"


@pytest.mark.parametrize("broken", [bytes(64), bytes(66), bytes(65), b"\xff" * 64 + b"\x1b", b"\x01" * 64 + b"\x1d"])
def test_what_nobody_signed_is_nobodys(broken: bytes) -> None:
    assert recover(keccak(b"message"), broken) is None
