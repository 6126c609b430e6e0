import pytest
from web3 import Web3
from web3.contract import Contract
from web3.exceptions import ContractPanicError

from tests.contracts.onchain import FOREVER, create, fund, operation, refused, role, send

ZERO = "0x" + 40 * "0"
WRITES = [("mint", "MINTER_ROLE"), ("burn", "BURNER_ROLE"), ("pause", "PAUSER_ROLE"), ("unpause", "PAUSER_ROLE")]


def arguments(write: str, holder: str) -> list[object]:
    return [holder, 1] if write in {"mint", "burn"} else []


@pytest.mark.parametrize(("write", "needed"), WRITES)
def test_a_write_without_its_role_is_refused(
    token: Contract, stranger: str, holder: str, write: str, needed: str
) -> None:
    call = token.functions[write](*arguments(write, holder), operation())
    with refused(token, "AccessControlUnauthorizedAccount", stranger, role(needed)):
        send(call, sender=stranger)


@pytest.mark.parametrize("granted", ["MINTER_ROLE", "BURNER_ROLE", "PAUSER_ROLE"])
def test_a_role_allows_its_own_writes_only(
    token: Contract, admin: str, stranger: str, holder: str, granted: str
) -> None:
    fund(token, holder, 10)
    send(token.functions.grantRole(role(granted), stranger), sender=admin)
    for write, needed in WRITES:
        call = token.functions[write](*arguments(write, holder), operation())
        if needed == granted:
            send(call, sender=stranger)
        else:
            with refused(token, "AccessControlUnauthorizedAccount", stranger, role(needed)):
                send(call, sender=stranger)


def test_only_the_administrator_grants_roles(token: Contract, stranger: str) -> None:
    with refused(token, "AccessControlUnauthorizedAccount", stranger, bytes(32)):
        send(token.functions.grantRole(role("MINTER_ROLE"), stranger), sender=stranger)


def test_a_revoked_role_allows_nothing(token: Contract, admin: str, holder: str) -> None:
    send(token.functions.revokeRole(role("MINTER_ROLE"), admin), sender=admin)
    with refused(token, "AccessControlUnauthorizedAccount", admin, role("MINTER_ROLE")):
        send(token.functions.mint(holder, 1, operation()), sender=admin)


def test_a_token_without_an_administrator_is_refused(chain: Web3, token: Contract) -> None:
    with refused(token, "AdminMissing"):
        create(chain, "AssetToken", "Harbour House", "HARB", 6, ZERO)


def test_an_operation_id_is_burned_by_its_first_use(token: Contract, admin: str, holder: str) -> None:
    operation_id = operation()
    send(token.functions.mint(holder, 5, operation_id), sender=admin)
    with refused(token, "OperationAlreadyExecuted", operation_id):
        send(token.functions.mint(holder, 5, operation_id), sender=admin)
    assert token.functions.balanceOf(holder).call() == 5


@pytest.mark.parametrize("write", ["burn", "pause", "unpause"])
def test_an_operation_id_is_burned_for_every_write(token: Contract, admin: str, holder: str, write: str) -> None:
    operation_id = operation()
    send(token.functions.mint(holder, 5, operation_id), sender=admin)
    with refused(token, "OperationAlreadyExecuted", operation_id):
        send(token.functions[write](*arguments(write, holder), operation_id), sender=admin)


def test_an_operation_id_is_executed_only_after_it_succeeded(token: Contract, admin: str, holder: str) -> None:
    operation_id = operation()
    with refused(token, "ERC20InsufficientBalance", holder, 0, 5):
        send(token.functions.burn(holder, 5, operation_id), sender=admin)
    assert token.functions.operationExecuted(operation_id).call() is False
    send(token.functions.mint(holder, 5, operation_id), sender=admin)
    assert token.functions.operationExecuted(operation_id).call() is True


def test_an_operation_id_of_one_token_is_free_on_another(chain: Web3, token: Contract, admin: str, holder: str) -> None:
    operation_id = operation()
    other = create(chain, "AssetToken", "Mill", "MILL", 6, admin)
    send(token.functions.mint(holder, 5, operation_id), sender=admin)
    send(other.functions.mint(holder, 5, operation_id), sender=admin)
    assert other.functions.balanceOf(holder).call() == 5


@pytest.mark.parametrize("write", [write for write, _ in WRITES])
def test_a_zero_operation_id_is_refused(token: Contract, admin: str, holder: str, write: str) -> None:
    with refused(token, "OperationIdMissing"):
        send(token.functions[write](*arguments(write, holder), bytes(32)), sender=admin)


@pytest.mark.parametrize("write", [write for write, _ in WRITES])
def test_every_write_emits_its_operation(token: Contract, admin: str, holder: str, write: str) -> None:
    fund(token, holder, 1)
    if write == "unpause":
        send(token.functions.pause(operation()), sender=admin)
    operation_id = operation()
    call = token.functions[write](*arguments(write, holder), operation_id)
    block = send(call, sender=admin)["blockNumber"]
    (event,) = token.events.Operation().get_logs(from_block=block)
    assert event["args"] == {"operationId": operation_id, "selector": bytes.fromhex(call.selector[2:]), "actor": admin}


def test_minting_and_burning_move_the_supply(token: Contract, admin: str, holder: str) -> None:
    fund(token, holder, 100)
    send(token.functions.burn(holder, 40, operation()), sender=admin)
    assert token.functions.balanceOf(holder).call() == 60
    assert token.functions.totalSupply().call() == 60


def test_the_whole_range_is_minted_and_one_more_is_refused(token: Contract, holder: str, recipient: str) -> None:
    fund(token, holder, FOREVER)
    assert token.functions.totalSupply().call() == FOREVER
    with pytest.raises(ContractPanicError, match="overflow"):
        fund(token, recipient, 1)


def test_burning_beyond_the_balance_is_refused(token: Contract, admin: str, holder: str) -> None:
    fund(token, holder, 5)
    with refused(token, "ERC20InsufficientBalance", holder, 5, 6):
        send(token.functions.burn(holder, 6, operation()), sender=admin)


def test_minting_to_the_zero_address_is_refused(token: Contract) -> None:
    with refused(token, "ERC20InvalidReceiver", ZERO):
        fund(token, ZERO, 1)


@pytest.mark.parametrize("decimals", [0, 18])
def test_decimals_are_those_of_the_deployment(chain: Web3, admin: str, decimals: int) -> None:
    token = create(chain, "AssetToken", "Harbour House", "HARB", decimals, admin)
    assert token.functions.decimals().call() == decimals


def test_a_name_longer_than_31_bytes_is_kept_whole(chain: Web3, admin: str) -> None:
    name = "Harbour House, 12 Quay Street, Series A preferred units"
    assert len(name) == 55
    token = create(chain, "AssetToken", name, "HARB", 6, admin)
    assert token.functions.name().call() == name
    assert token.functions.eip712Domain().call()[1:5] == ["AssetToken", "1", chain.eth.chain_id, token.address]


@pytest.mark.parametrize(
    ("interface", "implemented"),
    [
        pytest.param("01ffc9a7", True, id="ERC-165"),
        pytest.param("7965db0b", True, id="IAccessControl"),
        pytest.param("36372b07", True, id="ERC-20"),
        pytest.param("a219a025", True, id="ERC-20 metadata"),
        pytest.param("9d8ff7da", True, id="ERC-2612"),
        pytest.param("80ac58cd", False, id="ERC-721"),
        pytest.param("ffffffff", False, id="the invalid id"),
    ],
)
def test_interfaces_are_answered_as_erc_165_asks(token: Contract, interface: str, implemented: bool) -> None:
    assert token.functions.supportsInterface(bytes.fromhex(interface)).call() is implemented
