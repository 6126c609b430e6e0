"""What the contract tests do on a chain: create, send, sign, and recognise a refusal by its name."""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_account.signers.local import LocalAccount
from eth_utils.abi import function_signature_to_4byte_selector
from web3 import Web3
from web3.contract import Contract
from web3.contract.contract import ContractFunction
from web3.exceptions import ContractCustomError
from web3.types import TxReceipt

ROOT = Path(__file__).resolve().parents[2]
ARTIFACTS = ROOT / "service" / "chain" / "artifacts"
FOREVER = 2**256 - 1

PERMIT = "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
TRANSFER, RECEIVE = (
    f"{kind}WithAuthorization(address from,address to,uint256 value,"
    "uint256 validAfter,uint256 validBefore,bytes32 nonce)"
    for kind in ("Transfer", "Receive")
)
CANCEL = "CancelAuthorization(address authorizer,bytes32 nonce)"


@cache
def artifact(name: str) -> dict[str, Any]:
    """The compiled contract `name`, as the service reads it."""
    content: dict[str, Any] = json.loads((ARTIFACTS / f"{name}.json").read_text())
    return content


def create(chain: Web3, name: str, *arguments: Any) -> Contract:
    """Put a contract on the chain without a factory."""
    compiled = artifact(name)
    maker = chain.eth.contract(abi=compiled["abi"], bytecode=compiled["creationCode"])
    mined = chain.eth.wait_for_transaction_receipt(
        maker.constructor(*arguments).transact({"from": chain.eth.accounts[0]})
    )
    return contract_at(chain, name, mined["contractAddress"])


def contract_at(chain: Web3, name: str, address: Any) -> Contract:
    """The contract `name` that is already at `address`."""
    return chain.eth.contract(address=Web3.to_checksum_address(address), abi=artifact(name)["abi"])


def init_code(chain: Web3, *arguments: Any) -> bytes:
    """The creation code of an AssetToken with its constructor arguments."""
    compiled = artifact("AssetToken")
    maker = chain.eth.contract(abi=compiled["abi"], bytecode=compiled["creationCode"])
    return bytes.fromhex(str(maker.constructor(*arguments).data_in_transaction)[2:])


def send(call: ContractFunction, *, sender: str) -> TxReceipt:
    """Mine the call; a revert raises before anything is sent."""
    mined = call.w3.eth.wait_for_transaction_receipt(call.transact({"from": Web3.to_checksum_address(sender)}))
    assert mined["status"] == 1
    return mined


def operation() -> bytes:
    """An operation id that nothing has used."""
    return secrets.token_bytes(32)


def role(name: str) -> bytes:
    """The id of the role `name`."""
    return bytes(Web3.keccak(text=name))


def fund(token: Contract, holder: str, amount: int) -> None:
    """Mint `amount` base units to `holder`."""
    admin = token.w3.eth.accounts[0]
    send(token.functions.mint(holder, amount, operation()), sender=admin)


@contextmanager
def refused(contract: Contract, error: str, *arguments: Any) -> Iterator[None]:
    """What runs inside reverts with the contract's custom error `error`, carrying `arguments`."""
    with pytest.raises(ContractCustomError) as refusal:
        yield
    data = bytes.fromhex(str(refusal.value.data)[2:])
    inputs = next(part["inputs"] for part in contract.abi if part["type"] == "error" and part["name"] == error)
    types = [str(field["type"]) for field in inputs]
    assert data[:4] == function_signature_to_4byte_selector(f"{error}({','.join(types)})"), data.hex()
    if arguments:
        assert contract.w3.codec.decode(types, data[4:]) == normalised(types, arguments)


def normalised(types: list[str], arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Addresses in the lower case that the codec returns."""
    return tuple(value.lower() if kind == "address" else value for kind, value in zip(types, arguments, strict=True))


def keyed() -> LocalAccount:
    """A holder whose key the test has, and which has no ether."""
    key: LocalAccount = Account.create()
    return key


def signature(signer: LocalAccount, token: Contract, struct: str, *values: Any) -> tuple[int, bytes, bytes]:
    """An EIP-712 signature (v, r, s) of `struct`, written as in its type hash, in the token's domain."""
    kind, _, fields = struct.removesuffix(")").partition("(")
    types = [dict(zip(("type", "name"), field.split(" "), strict=True)) for field in fields.split(",")]
    message = {field["name"]: value for field, value in zip(types, values, strict=True)}
    signed = signer.sign_message(
        encode_typed_data(
            domain_data={
                "name": "AssetToken",
                "version": "1",
                "chainId": token.w3.eth.chain_id,
                "verifyingContract": token.address,
            },
            message_types={kind: types},
            message_data=message,
        )
    )
    return signed.v, signed.r.to_bytes(32, "big"), signed.s.to_bytes(32, "big")
