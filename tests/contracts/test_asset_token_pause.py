import pytest
from web3.contract import Contract
from web3.contract.contract import ContractFunction

from tests.contracts.onchain import (
    FOREVER,
    PERMIT,
    RECEIVE,
    TRANSFER,
    fund,
    keyed,
    operation,
    refused,
    send,
    signature,
)


def moves(token: Contract, holder: str, recipient: str) -> dict[str, tuple[str, ContractFunction]]:
    """Every way to change a balance: who sends it, and the call."""
    key = keyed()
    fund(token, holder, 10)
    fund(token, key.address, 10)
    send(token.functions.approve(recipient, 10), sender=holder)
    nonce = operation()
    order = (key.address, recipient, 1, 0, FOREVER, nonce)
    functions = token.functions
    admin = token.w3.eth.accounts[0]
    return {
        "transfer": (holder, functions.transfer(recipient, 1)),
        "transferFrom": (recipient, functions.transferFrom(holder, recipient, 1)),
        "mint": (admin, functions.mint(recipient, 1, operation())),
        "burn": (admin, functions.burn(holder, 1, operation())),
        "transferWithAuthorization": (
            admin,
            functions.transferWithAuthorization(*order, *signature(key, token, TRANSFER, *order)),
        ),
        "receiveWithAuthorization": (
            recipient,
            functions.receiveWithAuthorization(*order, *signature(key, token, RECEIVE, *order)),
        ),
    }


MOVES = ["transfer", "transferFrom", "mint", "burn", "transferWithAuthorization", "receiveWithAuthorization"]


@pytest.mark.parametrize("move", MOVES)
def test_a_pause_stops(token: Contract, admin: str, holder: str, recipient: str, move: str) -> None:
    sender, call = moves(token, holder, recipient)[move]
    send(token.functions.pause(operation()), sender=admin)
    with refused(token, "EnforcedPause"):
        send(call, sender=sender)


@pytest.mark.parametrize("move", MOVES)
def test_an_end_of_the_pause_allows(token: Contract, admin: str, holder: str, recipient: str, move: str) -> None:
    sender, call = moves(token, holder, recipient)[move]
    send(token.functions.pause(operation()), sender=admin)
    send(token.functions.unpause(operation()), sender=admin)
    send(call, sender=sender)


def test_a_refused_write_keeps_its_operation_id(token: Contract, admin: str, holder: str) -> None:
    operation_id = operation()
    send(token.functions.pause(operation()), sender=admin)
    with refused(token, "EnforcedPause"):
        send(token.functions.mint(holder, 1, operation_id), sender=admin)
    send(token.functions.unpause(operation()), sender=admin)
    send(token.functions.mint(holder, 1, operation_id), sender=admin)


def test_a_second_pause_is_refused(token: Contract, admin: str) -> None:
    send(token.functions.pause(operation()), sender=admin)
    with refused(token, "EnforcedPause"):
        send(token.functions.pause(operation()), sender=admin)


def test_an_unpause_of_a_running_token_is_refused(token: Contract, admin: str) -> None:
    with refused(token, "ExpectedPause"):
        send(token.functions.unpause(operation()), sender=admin)


def test_a_pause_leaves_approvals_alone(token: Contract, admin: str, stranger: str) -> None:
    key = keyed()
    order = (key.address, stranger, 7, 0, FOREVER)
    signed = signature(key, token, PERMIT, *order)
    send(token.functions.pause(operation()), sender=admin)
    send(token.functions.permit(key.address, stranger, 7, FOREVER, *signed), sender=stranger)
    assert token.functions.allowance(key.address, stranger).call() == 7
