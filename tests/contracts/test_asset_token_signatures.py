import pytest
from eth_account.signers.local import LocalAccount
from web3 import Web3
from web3.contract import Contract

from tests.contracts.onchain import (
    CANCEL,
    FOREVER,
    PERMIT,
    RECEIVE,
    TRANSFER,
    create,
    fund,
    keyed,
    operation,
    refused,
    send,
    signature,
)


@pytest.fixture
def key(token: Contract) -> LocalAccount:
    """A holder of 100 base units, without ether."""
    key = keyed()
    fund(token, key.address, 100)
    return key


def test_a_permit_approves(token: Contract, key: LocalAccount, stranger: str) -> None:
    signed = signature(key, token, PERMIT, key.address, stranger, 30, 0, FOREVER)
    send(token.functions.permit(key.address, stranger, 30, FOREVER, *signed), sender=stranger)
    send(token.functions.transferFrom(key.address, stranger, 30), sender=stranger)
    assert token.functions.balanceOf(stranger).call() == 30
    assert token.functions.nonces(key.address).call() == 1


def test_a_permit_past_its_deadline_is_refused(token: Contract, key: LocalAccount, stranger: str) -> None:
    signed = signature(key, token, PERMIT, key.address, stranger, 30, 0, 1)
    with refused(token, "ERC2612ExpiredSignature", 1):
        send(token.functions.permit(key.address, stranger, 30, 1, *signed), sender=stranger)


def test_a_permit_is_used_once(token: Contract, key: LocalAccount, stranger: str) -> None:
    signed = signature(key, token, PERMIT, key.address, stranger, 30, 0, FOREVER)
    call = token.functions.permit(key.address, stranger, 30, FOREVER, *signed)
    send(call, sender=stranger)
    with refused(token, "ERC2612InvalidSigner"):
        send(call, sender=stranger)


def test_an_authorization_moves_units_of_a_holder_without_ether(
    chain: Web3, token: Contract, key: LocalAccount, stranger: str, recipient: str
) -> None:
    nonce = operation()
    order = (key.address, recipient, 40, 0, FOREVER, nonce)
    signed = signature(key, token, TRANSFER, *order)
    mined = send(token.functions.transferWithAuthorization(*order, *signed), sender=stranger)
    assert chain.eth.get_balance(key.address) == 0
    assert token.functions.balanceOf(recipient).call() == 40
    assert token.functions.authorizationState(key.address, nonce).call() is True
    (event,) = token.events.AuthorizationUsed().get_logs(from_block=mined["blockNumber"])
    assert event["args"] == {"authorizer": key.address, "nonce": nonce}


def test_a_replayed_authorization_is_refused(token: Contract, key: LocalAccount, stranger: str, recipient: str) -> None:
    nonce = operation()
    order = (key.address, recipient, 40, 0, FOREVER, nonce)
    call = token.functions.transferWithAuthorization(*order, *signature(key, token, TRANSFER, *order))
    send(call, sender=stranger)
    with refused(token, "ERC3009UsedAuthorization", key.address, nonce):
        send(call, sender=stranger)
    assert token.functions.balanceOf(recipient).call() == 40


def test_an_authorization_by_another_signer_is_refused(
    token: Contract, key: LocalAccount, stranger: str, recipient: str
) -> None:
    order = (key.address, recipient, 40, 0, FOREVER, operation())
    signed = signature(keyed(), token, TRANSFER, *order)
    with refused(token, "ERC3009InvalidSignature"):
        send(token.functions.transferWithAuthorization(*order, *signed), sender=stranger)


def test_an_altered_authorization_is_refused(token: Contract, key: LocalAccount, stranger: str, recipient: str) -> None:
    nonce = operation()
    signed = signature(key, token, TRANSFER, key.address, recipient, 40, 0, FOREVER, nonce)
    with refused(token, "ERC3009InvalidSignature"):
        send(
            token.functions.transferWithAuthorization(key.address, recipient, 41, 0, FOREVER, nonce, *signed),
            sender=stranger,
        )


def test_an_authorization_for_one_token_is_refused_by_another(
    chain: Web3, token: Contract, key: LocalAccount, admin: str, recipient: str
) -> None:
    other = create(chain, "AssetToken", "Mill", "MILL", 6, admin)
    fund(other, key.address, 100)
    order = (key.address, recipient, 40, 0, FOREVER, operation())
    signed = signature(key, token, TRANSFER, *order)
    with refused(other, "ERC3009InvalidSignature"):
        send(other.functions.transferWithAuthorization(*order, *signed), sender=admin)


@pytest.mark.parametrize(("valid_after", "valid_before"), [(0, 1), (2**40, FOREVER)])
def test_an_authorization_outside_its_time_is_refused(
    token: Contract, key: LocalAccount, recipient: str, valid_after: int, valid_before: int
) -> None:
    order = (key.address, recipient, 40, valid_after, valid_before, operation())
    signed = signature(key, token, TRANSFER, *order)
    with refused(token, "ERC3009InvalidAuthorizationTime", valid_after, valid_before):
        send(token.functions.transferWithAuthorization(*order, *signed), sender=recipient)


def test_a_receiver_collects_with_an_authorization(token: Contract, key: LocalAccount, recipient: str) -> None:
    order = (key.address, recipient, 40, 0, FOREVER, operation())
    signed = signature(key, token, RECEIVE, *order)
    send(token.functions.receiveWithAuthorization(*order, *signed), sender=recipient)
    assert token.functions.balanceOf(recipient).call() == 40


def test_only_the_receiver_collects(token: Contract, key: LocalAccount, recipient: str, stranger: str) -> None:
    order = (key.address, recipient, 40, 0, FOREVER, operation())
    signed = signature(key, token, RECEIVE, *order)
    with refused(token, "ERC20InvalidReceiver", recipient):
        send(token.functions.receiveWithAuthorization(*order, *signed), sender=stranger)


def test_a_cancelled_authorization_is_refused(
    token: Contract, key: LocalAccount, stranger: str, recipient: str
) -> None:
    nonce = operation()
    order = (key.address, recipient, 40, 0, FOREVER, nonce)
    cancelled = signature(key, token, CANCEL, key.address, nonce)
    send(token.functions.cancelAuthorization(key.address, nonce, *cancelled), sender=stranger)
    with refused(token, "ERC3009UsedAuthorization", key.address, nonce):
        send(
            token.functions.transferWithAuthorization(*order, *signature(key, token, TRANSFER, *order)),
            sender=stranger,
        )


def test_a_cancellation_by_another_signer_is_refused(token: Contract, key: LocalAccount, stranger: str) -> None:
    nonce = operation()
    signed = signature(keyed(), token, CANCEL, key.address, nonce)
    with refused(token, "ERC3009InvalidSignature"):
        send(token.functions.cancelAuthorization(key.address, nonce, *signed), sender=stranger)
