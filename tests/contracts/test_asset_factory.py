import pytest
from web3 import Web3
from web3.contract import Contract

from tests.contracts.onchain import contract_at, create, init_code, operation, refused, role, send

ZERO = "0x" + 40 * "0"


@pytest.fixture
def code(chain: Web3, admin: str) -> bytes:
    return init_code(chain, "Harbour House", "HARB", 6, admin)


def test_a_token_lies_at_its_predicted_address(chain: Web3, factory: Contract, code: bytes, admin: str) -> None:
    salt = operation()
    address = factory.functions.predict(salt, Web3.keccak(code)).call()
    assert factory.functions.deploy(salt, code).call({"from": chain.eth.accounts[0]}) == address
    send(factory.functions.deploy(salt, code), sender=admin)
    assert contract_at(chain, "AssetToken", address).functions.symbol().call() == "HARB"


def test_a_deployed_token_belongs_to_its_administrator_not_to_the_factory(
    chain: Web3, factory: Contract, code: bytes, admin: str
) -> None:
    salt = operation()
    send(factory.functions.deploy(salt, code), sender=admin)
    token = contract_at(chain, "AssetToken", factory.functions.predict(salt, Web3.keccak(code)).call())
    assert token.functions.hasRole(bytes(32), admin).call() is True
    assert token.functions.hasRole(bytes(32), factory.address).call() is False


def test_a_second_deployment_is_refused(factory: Contract, code: bytes, admin: str) -> None:
    salt = operation()
    send(factory.functions.deploy(salt, code), sender=admin)
    address = factory.functions.predict(salt, Web3.keccak(code)).call()
    with refused(factory, "AlreadyDeployed", address):
        send(factory.functions.deploy(salt, code), sender=admin)


def test_another_salt_makes_another_token(factory: Contract, code: bytes, admin: str) -> None:
    first = send(factory.functions.deploy(operation(), code), sender=admin)
    second = send(factory.functions.deploy(operation(), code), sender=admin)
    events = factory.events.Deployed().get_logs(from_block=first["blockNumber"], to_block=second["blockNumber"])
    assert len({event["args"]["token"] for event in events}) == 2


def test_a_deployment_names_token_salt_operator_and_code(factory: Contract, code: bytes, admin: str) -> None:
    salt = operation()
    mined = send(factory.functions.deploy(salt, code), sender=admin)
    (event,) = factory.events.Deployed().get_logs(from_block=mined["blockNumber"])
    code_hash = bytes(Web3.keccak(code))
    assert event["args"] == {
        "token": factory.functions.predict(salt, code_hash).call(),
        "salt": salt,
        "operator": admin,
        "initCodeHash": code_hash,
    }


def test_only_an_operator_deploys(factory: Contract, code: bytes, stranger: str) -> None:
    with refused(factory, "AccessControlUnauthorizedAccount", stranger, role("OPERATOR_ROLE")):
        send(factory.functions.deploy(operation(), code), sender=stranger)


def test_an_appointed_operator_deploys(factory: Contract, code: bytes, admin: str, stranger: str) -> None:
    send(factory.functions.grantRole(role("OPERATOR_ROLE"), stranger), sender=admin)
    send(factory.functions.deploy(operation(), code), sender=stranger)


def test_the_reason_of_a_failing_constructor_comes_through(
    chain: Web3, factory: Contract, token: Contract, admin: str
) -> None:
    code = init_code(chain, "Harbour House", "HARB", 6, ZERO)
    with refused(token, "AdminMissing"):
        send(factory.functions.deploy(operation(), code), sender=admin)


def test_code_that_leaves_no_contract_is_refused(factory: Contract, admin: str) -> None:
    salt, stop = operation(), bytes(1)
    address = factory.functions.predict(salt, Web3.keccak(stop)).call()
    with refused(factory, "NoCode", address):
        send(factory.functions.deploy(salt, stop), sender=admin)


def test_empty_code_is_refused(factory: Contract, admin: str) -> None:
    with refused(factory, "Create2EmptyBytecode"):
        send(factory.functions.deploy(operation(), b""), sender=admin)


def test_a_factory_without_an_administrator_is_refused(chain: Web3, factory: Contract) -> None:
    with refused(factory, "AdminMissing"):
        create(chain, "AssetFactory", ZERO)
