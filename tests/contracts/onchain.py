"""What the contract tests do on a chain: create, send, sign, and read what the compiler said."""

import json
import secrets
from functools import cache
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_account.signers.local import LocalAccount
from web3 import Web3
from web3.contract import Contract
from web3.contract.contract import ContractFunction
from web3.types import RPCEndpoint, TxReceipt

from scripts import compile as compiling

ROOT = Path(__file__).resolve().parents[2]
ARTIFACTS = ROOT / "service" / "chain" / "artifacts"
CONTRACTS = sorted(file.stem for file in (ROOT / "contracts").glob("*.sol"))
README = ROOT / "contracts" / "README.md"
PLAIN = Path(__file__).parent / "PlainERC20.sol"
FOREVER = 2**256 - 1
ZERO = "0x" + 40 * "0"
UINT208_MAX = 2**208 - 1

BATCH_TRANSFER = (
    "BatchTransferWithAuthorization(address from,address[] to,uint256[] amounts,"
    "uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)
TRANSFER = (
    "TransferWithAuthorization(address from,address to,uint256 value,"
    "uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)
ATTESTATION = "ReserveAttestation(address token,uint256 amount,uint64 issuedAt,uint64 expiresAt)"
TRADE = (
    "Trade(address seller,address buyer,address asset,uint256 assetAmount,bool deed,"
    "address currency,uint256 currencyAmount,uint64 expiresAt,bytes32 nonce)"
)


@cache
def artifact(name: str) -> dict[str, Any]:
    """The compiled contract `name`, as the service reads it; the plain ERC-20 is compiled here."""
    if name == PLAIN.stem:
        return compiling.artifacts([PLAIN], compiling.compiler())[name]
    content: dict[str, Any] = json.loads((ARTIFACTS / f"{name}.json").read_text())
    return content


def arguments(name: str, authority: str, **given: Any) -> tuple[Any, ...]:
    """What the constructor of `name` takes: the terms of a test's contract, but for what is `given`."""
    admin, votes, registry = given.get("admin", ZERO), given.get("votes", ZERO), given.get("registry", ZERO)
    called = given.get("called", "Harbour House")
    units = (called, "HARB", given.get("decimals", 6), authority)
    asset, agreed = fixed("asset"), fixed("terms")
    return {
        "AssetFactory": (admin,),
        "AssetGovernor": ((called, votes, 1, 10, 1, 4, 1, 60),),
        "AssetToken": ((*units, registry, ZERO, asset, agreed),),
        "AssetTokenHistory": ((*units, registry, ZERO, asset, agreed),),
        "DeedToken": ((called, "HARB", authority, registry, asset, agreed, given.get("soulbound", False)),),
        "GovernanceToken": ((*units, UINT208_MAX, asset),),
        "IssuerAuthority": (admin, given.get("delay", 0), ZERO),
        "Settlement": (),
        "UtilityToken": ((*units, FOREVER, asset),),
    }.get(name, (authority,))


def init_code(chain: Web3, name: str, *given: Any) -> bytes:
    """The creation code of a contract with its constructor's arguments."""
    compiled = artifact(name)
    maker = chain.eth.contract(abi=compiled["abi"], bytecode=compiled["creationCode"])
    return bytes.fromhex(str(maker.constructor(*given).data_in_transaction)[2:])


def create(chain: Web3, name: str, *given: Any) -> Contract:
    """Put a contract on the chain without a factory."""
    sent = chain.eth.send_transaction({"from": chain.eth.accounts[0], "data": init_code(chain, name, *given)})
    return contract_at(chain, name, chain.eth.wait_for_transaction_receipt(sent)["contractAddress"])


def deploy(factory: Contract, name: str, *given: Any, salt: bytes) -> tuple[Contract, TxReceipt]:
    """Put a contract on the chain through the factory."""
    code = init_code(factory.w3, name, *given)
    address = factory.functions.predict(salt, Web3.keccak(code)).call()
    kind = name.encode().ljust(32, b"\0")
    mined = send(factory.functions.deploy(salt, code, kind), sender=factory.w3.eth.accounts[0])
    return contract_at(factory.w3, name, address), mined


def contract_at(chain: Web3, name: str, address: Any) -> Contract:
    """The contract `name` that is already at `address`."""
    return chain.eth.contract(address=Web3.to_checksum_address(address), abi=artifact(name)["abi"])


def send(call: ContractFunction, *, sender: str) -> TxReceipt:
    """Mine the call; a revert raises before anything is sent."""
    mined = call.w3.eth.wait_for_transaction_receipt(call.transact({"from": Web3.to_checksum_address(sender)}))
    assert mined["status"] == 1
    return mined


def ask_node(chain: Web3, method: str, *params: Any) -> Any:
    """What a method of anvil's own answers."""
    answer = chain.provider.make_request(RPCEndpoint(method), list(params))
    assert "error" not in answer, answer
    return answer["result"]


def operation() -> bytes:
    """An operation id that nothing has used."""
    return secrets.token_bytes(32)


def fixed(label: str) -> bytes:
    """32 bytes that are the same in each run."""
    return bytes(Web3.keccak(text=label))


def fixed_key(label: str, chain: Web3) -> LocalAccount:
    """A holder whose key the test has, and whose calls the node takes; the same in each run."""
    key: LocalAccount = Account.from_key(fixed(label))
    ask_node(chain, "anvil_setBalance", key.address, hex(10**18))
    ask_node(chain, "anvil_impersonateAccount", key.address)
    return key


def fixed_address(label: str) -> str:
    """An address that nobody has the key of; the same in each run."""
    return Web3.to_checksum_address(fixed(label)[-20:])


def signature(signer: LocalAccount, contract: Contract, domain: str, struct: str, *values: Any) -> bytes:
    """An EIP-712 signature (r, s, v) of `struct`, written as in its type hash, in the contract's domain."""
    kind, _, fields = struct.removesuffix(")").partition("(")
    types = [dict(zip(("type", "name"), field.split(" "), strict=True)) for field in fields.split(",")]
    message = {field["name"]: value for field, value in zip(types, values, strict=True)}
    signed = signer.sign_message(
        encode_typed_data(
            domain_data={
                "name": domain,
                "version": "1",
                "chainId": contract.w3.eth.chain_id,
                "verifyingContract": contract.address,
            },
            message_types={kind: types},
            message_data=message,
        )
    )
    return bytes(signed.signature)


def split(signed: bytes) -> tuple[int, bytes, bytes]:
    """A signature as v, r and s."""
    return signed[64], signed[:32], signed[32:64]
