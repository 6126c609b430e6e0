"""Calldata, results and events of our contracts, and the hashes that they and we must agree on."""

from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

from eth_abi.abi import decode, encode
from eth_utils.abi import abi_to_signature, collapse_if_tuple
from eth_utils.crypto import keccak

from service.chain import artifacts

TRANSFER = keccak(text="Transfer(address,address,uint256)")
PAUSED = keccak(text="Paused(address)")
UNPAUSED = keccak(text="Unpaused(address)")
DEPLOYED = keccak(text="Deployed(address,bytes32,address,bytes32)")

DETERMINISTIC_DEPLOYER = bytes.fromhex("4e59b44847b379578588920ca78fbf26c0b4956c")
"""Takes salt and creation code; at this address on most chains. Source: Arachnid/deterministic-deployment-proxy."""

VALID_AFTER = 0
"""Our authorizations are good at once."""

_DOMAIN_NAME = keccak(text="AssetToken")
_DOMAIN_VERSION = keccak(text="1")
_DOMAIN_TYPE = keccak(text="EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
_AUTHORIZATION_TYPE = keccak(
    text="TransferWithAuthorization(address from,address to,uint256 value,"
    "uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)


@dataclass(frozen=True, slots=True)
class _Function:
    selector: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def encode_call(artifact_name: str, function: str, *args: Any) -> bytes:
    """Write calldata. `function` is a name, or a whole signature where a name is overloaded.

    Addresses may be 20 bytes or text; amounts are `int`.

    Raises:
        KeyError: no such contract or function, or an overloaded name.
        eth_abi.exceptions.EncodingError: an argument does not fit its type.
    """
    found = _function(artifact_name, function)
    return found.selector + encode(found.inputs, args)


def decode_result(artifact_name: str, function: str, data: bytes) -> tuple[Any, ...]:
    """Read what a call answered: addresses come as 20 bytes.

    Raises:
        KeyError: no such contract or function.
        eth_abi.exceptions.DecodingError: the bytes are not such an answer, for instance no contract is there.
    """
    types = _function(artifact_name, function).outputs
    return tuple(_plain(kind, value) for kind, value in zip(types, decode(types, data), strict=True))


def creation_code(artifact_name: str, *constructor_args: Any) -> bytes:
    """The code that deploys a contract, constructor arguments included."""
    artifact = artifacts.load(artifact_name)
    inputs: list[dict[str, Any]] = next(
        (entry["inputs"] for entry in artifact.abi if entry["type"] == "constructor"), []
    )
    return artifact.creation_code + encode([collapse_if_tuple(item) for item in inputs], constructor_args)


def create2_address(factory: bytes, salt: bytes, init_code_hash: bytes) -> bytes:
    """Where `factory` puts this code under this salt (32 bytes each). Source: EIP-1014."""
    if (len(factory), len(salt), len(init_code_hash)) != (20, 32, 32):
        raise ValueError("a factory has 20 bytes, a salt and a hash have 32")
    return keccak(b"\xff" + factory + salt + init_code_hash)[12:]


def operation_nonce(chain_id: int, contract: bytes, operation_id: UUID) -> bytes:
    """The 32 bytes that `contract` burns for this operation, different on any other chain or contract."""
    return keccak(
        encode(
            ["string", "uint256", "address", "bytes16"],
            ["muniment.operation", chain_id, contract, operation_id.bytes],
        )
    )


def authorization_digest(
    chain_id: int, token: bytes, sender: bytes, recipient: bytes, amount: int, valid_before: int, nonce32: bytes
) -> bytes:
    """The 32 bytes that `sender` signs to let anyone move `amount` base units to `recipient`, once.

    Args:
        valid_before: seconds since 1970; a block of that time or later refuses.

    Source: ERC-3009, transferWithAuthorization; EIP-712.
    """
    domain = encode(
        ["bytes32", "bytes32", "bytes32", "uint256", "address"],
        [_DOMAIN_TYPE, _DOMAIN_NAME, _DOMAIN_VERSION, chain_id, token],
    )
    authorization = encode(
        ["bytes32", "address", "address", "uint256", "uint256", "uint256", "bytes32"],
        [_AUTHORIZATION_TYPE, sender, recipient, amount, VALID_AFTER, valid_before, nonce32],
    )
    return keccak(b"\x19\x01" + keccak(domain) + keccak(authorization))


def _function(artifact_name: str, function: str) -> _Function:
    found = _functions(artifact_name).get(function)
    if found is None:
        raise KeyError(f"{artifact_name} has no function {function!r}, or more than one: give its signature")
    return found


@cache
def _functions(artifact_name: str) -> dict[str, _Function]:
    by_signature: dict[str, _Function] = {}
    names: list[str] = []
    for entry in artifacts.load(artifact_name).abi:
        if entry["type"] != "function":
            continue
        signature = abi_to_signature(dict(entry))  # type: ignore[arg-type]
        names.append(entry["name"])
        by_signature[signature] = _Function(
            selector=keccak(text=signature)[:4],
            inputs=tuple(collapse_if_tuple(item) for item in entry["inputs"]),
            outputs=tuple(collapse_if_tuple(item) for item in entry["outputs"]),
        )
    by_name = {signature.partition("(")[0]: found for signature, found in by_signature.items()}
    return by_signature | {name: found for name, found in by_name.items() if names.count(name) == 1}


def _plain(kind: str, value: Any) -> Any:
    return bytes.fromhex(value[2:]) if kind == "address" else value
