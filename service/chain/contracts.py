"""Calldata, results and events of our contracts, and the hashes that they and we must agree on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import UUID

from eth_abi.abi import decode, encode
from eth_hash.auto import keccak
from eth_utils.abi import abi_to_signature, collapse_if_tuple

from service.addresses import parse_address
from service.amounts import parse_amount
from service.chain import artifacts
from service.chain.strict import NotCanonical, kind_of, sequence
from service.chain.wire import parse_data

TRANSFER = keccak(b"Transfer(address,address,uint256)")
PAUSED = keccak(b"Paused(address)")
UNPAUSED = keccak(b"Unpaused(address)")
DEPLOYED = keccak(b"Deployed(address,bytes32,address,bytes32,bytes32)")

DETERMINISTIC_DEPLOYER = bytes.fromhex("4e59b44847b379578588920ca78fbf26c0b4956c")
"""Takes salt and creation code; at this address on most chains. Source: Arachnid/deterministic-deployment-proxy."""

TOLD_BYTES_MAX = 64 * 1024
"""Longer calldata is not put into words: anybody may propose any, and one page holds many."""


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


def operation_of(data: bytes) -> tuple[str, bytes] | None:
    """Of calldata whose last argument is an operation id: a contract with such a function, and the id; else None."""
    name, entry = _entries().get(data[:4], ("", None))
    if entry is None or not entry["inputs"] or entry["inputs"][-1]["name"] != "operationId":
        return None
    # The last argument stands at the end of the head, whose length the types tell.
    head = sum(_head_bytes(item) for item in entry["inputs"])
    burned = data[4 + head - 32 : 4 + head]
    return (name, burned) if len(burned) == 32 else None


def _head_bytes(item: Any) -> int:
    """How much of the head an argument takes: a word, or a word for each part of a struct of fixed size."""
    if item["type"] != "tuple":
        return 32
    parts = [_head_bytes(part) for part in item["components"]]
    dynamic = any(part["type"] in ("string", "bytes") or part["type"].endswith("]") for part in item["components"])
    return 32 if dynamic else sum(parts)


def describe_call(data: bytes) -> dict[str, Any] | None:
    """What calldata asks: contract, function and named arguments; None when it is no call of our contracts.

    None too when it is longer than `TOLD_BYTES_MAX`, or when no compiler writes it so: see `strict`.
    """
    name, entry = _entries().get(data[:4], ("", None))
    return None if entry is None else _told(name, entry, data)


def _told(artifact_name: str, entry: Mapping[str, Any], data: bytes) -> dict[str, Any] | None:
    inputs: Sequence[Mapping[str, Any]] = entry["inputs"]
    arguments = data[4:]
    if len(data) > TOLD_BYTES_MAX:
        return None
    try:
        given, end = sequence([kind_of(item["type"], item) for item in inputs]).read(arguments, 0)
    except NotCanonical:
        return None
    if end != len(arguments):
        return None
    # A trailing underscore keeps a parameter apart from a function of its name.
    named = {item["name"].rstrip("_"): value for item, value in zip(inputs, given, strict=True)}
    return {"contract": artifact_name, "function": entry["name"], "arguments": named}


@cache
def _entries() -> dict[bytes, tuple[str, Any]]:
    """The first contract's function of each selector."""
    found: dict[bytes, tuple[str, Any]] = {}
    for name in artifacts.names():
        for entry in artifacts.load(name).abi:
            if entry["type"] == "function":
                selector = keccak(abi_to_signature(dict(entry)).encode())[:4]  # type: ignore[arg-type]
                found.setdefault(selector, (name, entry))
    return found


def name32(text: str) -> bytes:
    """A short ASCII name as Solidity's bytes32: left-aligned, at most 32 characters."""
    name = text.encode("ascii")
    if len(name) > 32:
        raise ValueError("a bytes32 name has at most 32 characters")
    return name.ljust(32, b"\0")


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
            selector=keccak(signature.encode())[:4],
            inputs=tuple(collapse_if_tuple(item) for item in entry["inputs"]),
            outputs=tuple(collapse_if_tuple(item) for item in entry["outputs"]),
        )
    by_name = {signature.partition("(")[0]: found for signature, found in by_signature.items()}
    return by_signature | {name: found for name, found in by_name.items() if names.count(name) == 1}


def _plain(kind: str, value: Any) -> Any:
    return bytes.fromhex(value[2:]) if kind == "address" else value


class Misfit(Exception):
    """What was given as JSON is no call of the contract; `path` says where: `function` or `arguments`, and in it."""

    def __init__(self, path: tuple[str | int, ...], message: str) -> None:
        super().__init__(message)
        self.path = path


_TIMELOCK = "TimelockController"


def _abi_function(name: str, output: str | None = None, **inputs: str) -> dict[str, Any]:
    named = [{"name": each, "type": kind} for each, kind in inputs.items()]
    return {"type": "function", "name": name, "inputs": named, "outputs": [{"type": output}] if output else []}


_MADE: Mapping[str, Sequence[Mapping[str, Any]]] = {
    _TIMELOCK: (
        _abi_function("updateDelay", newDelay="uint256"),
        _abi_function("grantRole", role="bytes32", account="address"),
        _abi_function("revokeRole", role="bytes32", account="address"),
        _abi_function("isOperation", "bool", id="bytes32"),
        _abi_function("isOperationDone", "bool", id="bytes32"),
    ),
}
"""Functions of contracts that ours make, and that have no artifact. Source: OpenZeppelin 5.7, TimelockController."""


def encode_json_call(
    artifact_name: str, function: str, arguments: Sequence[Any], *, operation_id: bytes | None = None
) -> bytes:
    """Write calldata from JSON: numbers as decimal strings, addresses and bytes as 0x text, structs as lists.

    Args:
        function: a signature, or a name that is not overloaded.
        operation_id: 32 bytes for a last parameter `operationId` that `arguments` leaves out.

    Raises:
        Misfit: the contract has no such function, or an argument does not fit.
    """
    entry = _by_function(artifact_name).get(function.replace(" ", ""))
    if entry is None:
        raise Misfit(("function",), f"{artifact_name} has no such function, or several: give the whole signature")
    inputs: Sequence[Mapping[str, Any]] = entry["inputs"]
    given = list(arguments)
    if operation_id is not None and len(given) == len(inputs) - 1 and inputs[-1]["name"] == "operationId":
        given.append("0x" + operation_id.hex())
    if len(given) != len(inputs):
        named = ", ".join(f"{item['type']} {item['name']}" for item in inputs)
        raise Misfit(("arguments",), f"give {len(inputs)} arguments ({named}), not {len(given)}")
    values = _list_from_json(inputs, given, ("arguments",), None)
    types = [collapse_if_tuple(dict(item)) for item in inputs]
    return _selector(entry) + encode(types, values)


def describe_call_to(artifact_name: str, data: bytes) -> dict[str, Any] | None:
    """As `describe_call`, read with the contract's own ABI."""
    entry = next((each for each in _by_function(artifact_name).values() if _selector(each) == data[:4]), None)
    return None if entry is None else _told(artifact_name, entry, data)


def abi_hash(types: Sequence[str], *values: Any) -> bytes:
    """Keccak-256 of values as `abi.encode` writes them."""
    return keccak(encode(types, values))


def _selector(entry: Mapping[str, Any]) -> bytes:
    return keccak(abi_to_signature(dict(entry)).encode())[:4]  # type: ignore[arg-type]


@cache
def _by_function(artifact_name: str) -> Mapping[str, Mapping[str, Any]]:
    """A contract's functions by signature, and by name where there is one of the name."""
    entries = _MADE[artifact_name] if artifact_name in _MADE else artifacts.load(artifact_name).abi
    functions = [entry for entry in entries if entry["type"] == "function"]
    names = [entry["name"] for entry in functions]
    found = {entry["name"]: entry for entry in functions if names.count(entry["name"]) == 1}
    return found | {abi_to_signature(dict(entry)): entry for entry in functions}  # type: ignore[arg-type]


def _from_json(item: Mapping[str, Any], given: Any, at: tuple[str | int, ...]) -> Any:
    """A value of a type from JSON.

    Raises:
        Misfit: it is none.
    """
    kind: str = item["type"]
    if kind.endswith("]"):
        inner, _, size = kind[:-1].rpartition("[")
        each = [{**item, "type": inner}] * (len(given) if isinstance(given, list) else 0)
        return _list_from_json(each, given, at, int(size) if size else None)
    if kind == "tuple":
        parts: Sequence[Mapping[str, Any]] = item["components"]
        return tuple(_list_from_json(parts, given, at, len(parts)))
    try:
        return _plain_from_json(kind, given)
    except ValueError as error:
        raise Misfit(at, f"{kind}: {error}") from None


def _list_from_json(
    items: Sequence[Mapping[str, Any]], given: Any, at: tuple[str | int, ...], size: int | None
) -> list[Any]:
    if not isinstance(given, list):
        raise Misfit(at, "give a JSON list")
    if size is not None and len(given) != size:
        raise Misfit(at, f"give {size} values, not {len(given)}")
    return [_from_json(item, each, (*at, i)) for i, (item, each) in enumerate(zip(items, given, strict=True))]


def _plain_from_json(kind: str, given: Any) -> Any:
    if kind == "bool":
        if not isinstance(given, bool):
            raise ValueError("give true or false")
        return given
    if kind.startswith("uint"):
        return _number_from_json(int(kind[4:]), given)
    if not isinstance(given, str):
        raise ValueError("give a JSON string")
    if kind == "string":
        return given
    if kind == "address":
        return parse_address(given)
    try:
        return parse_data(given, size=None if kind == "bytes" else int(kind.removeprefix("bytes")))
    except ValueError:
        raise ValueError("give 0x and two hexadecimal digits for each byte") from None


def _number_from_json(bits: int, given: Any) -> int:
    small = isinstance(given, int) and not isinstance(given, bool) and 0 <= given < 2**53
    if not small and not isinstance(given, str):
        raise ValueError('give a decimal string, such as "7"')
    number = parse_amount(str(given))
    if number >> bits:
        raise ValueError(f"at most 2**{bits} - 1")
    return number
