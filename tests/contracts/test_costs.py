import re

import pytest
from eth_account import Account
from web3 import Web3
from web3.contract import Contract
from web3.types import TxReceipt

from tests.contracts.onchain import FOREVER, ROOT, TRANSFER, contract_at, init_code, send, signature

HOLDER_KEY = Account.from_key(bytes(31) + b"\x07")
NUMBER = re.compile(r"^\| (?P<what>[^|]+?) +\| +(?P<figure>[\d,]+) \|$", re.MULTILINE)


def fixed(label: str) -> bytes:
    return bytes(Web3.keccak(text=label))


def sizes(chain: Web3, factory: Contract, token: Contract) -> dict[str, int]:
    return {
        "AssetToken, bytes": len(chain.eth.get_code(token.address)),
        "AssetFactory, bytes": len(chain.eth.get_code(factory.address)),
    }


def measured(chain: Web3, factory: Contract, admin: str, holder: str, recipient: str) -> dict[str, int]:
    """Runtime sizes in bytes, and gas used by one transaction of each kind."""
    code = init_code(chain, "Harbour House", "HARB", 6, admin)
    deployed = send(factory.functions.deploy(fixed("salt"), code), sender=admin)
    token = contract_at(chain, "AssetToken", factory.functions.predict(fixed("salt"), Web3.keccak(code)).call())
    call, amount = token.functions, 10**9
    order = (HOLDER_KEY.address, recipient, 10**8, 0, FOREVER, fixed("authorization"))
    mined: dict[str, TxReceipt] = {
        "deploy a token through the factory": deployed,
        "first mint of a token": send(call.mint(holder, amount, fixed("mint 1")), sender=admin),
        "mint to a new holder": send(call.mint(admin, amount, fixed("mint 2")), sender=admin),
        "mint to a holder": send(call.mint(holder, amount, fixed("mint 3")), sender=admin),
        "transfer to a new holder": send(call.transfer(HOLDER_KEY.address, amount), sender=holder),
        "transfer to a holder": send(call.transfer(HOLDER_KEY.address, 10**8), sender=holder),
    }
    signed = signature(HOLDER_KEY, token, TRANSFER, *order)
    mined |= {
        "transferWithAuthorization to a new holder": send(
            call.transferWithAuthorization(*order, *signed), sender=admin
        ),
        "burn": send(call.burn(holder, 10**8, fixed("burn")), sender=admin),
        "pause": send(call.pause(fixed("pause")), sender=admin),
    }
    return sizes(chain, factory, token) | {f"{what}, gas": used["gasUsed"] for what, used in mined.items()}


def test_the_readme_states_the_measured_costs(
    chain: Web3, factory: Contract, admin: str, holder: str, recipient: str
) -> None:
    found = measured(chain, factory, admin, holder, recipient)
    readme = (ROOT / "contracts" / "README.md").read_text()
    stated = {row["what"]: int(row["figure"].replace(",", "")) for row in NUMBER.finditer(readme)}
    table = "\n".join(f"| {what} | {figure:,} |" for what, figure in found.items())
    # One percent: a signature's zero bytes and the deployer's nonce change the price of calldata a little.
    assert stated == pytest.approx(found, rel=0.01), f"measured now:\n{table}"
