"""What a proposal would do: from a request to calls, from calls to the chain's ids, and back to something to read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from eth_hash.auto import keccak

from service.addresses import checksum
from service.chain import contracts
from service.chain.contracts import Misfit
from service.governance.orders import ActionOrder
from service.governance.problems import ActionInvalid
from service.operations.submit import Request

TIMELOCK = "TimelockController"

_BATCH = ("address[]", "uint256[]", "bytes[]")


@dataclass(frozen=True, slots=True)
class Known:
    """A contract of the issuer's: how to speak to it, and what its people call it."""

    artifact: str
    name: str
    token_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Action:
    """One call, made by the timelock; `value` is in wei."""

    target: bytes
    value: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Told:
    """An action as a reader understands it: whose contract, and which call, where they are known."""

    action: Action
    known: Known | None
    call: dict[str, Any] | None


def calls(request: Request, chain_id: int, orders: Sequence[ActionOrder], known: Mapping[bytes, Known]) -> list[Action]:
    """The calls that are asked for.

    An operation id that is left out is made of the request and the action's place, so that a repeated request proposes
    the same again, which the governor refuses.

    Raises:
        ActionInvalid: another's contract, no such function, or arguments that do not fit it.
    """
    return [_call(request, chain_id, index, order, known) for index, order in enumerate(orders)]


def _call(request: Request, chain_id: int, index: int, order: ActionOrder, known: Mapping[bytes, Known]) -> Action:
    asked = order.call
    target = known.get(asked.contract)
    if target is None:
        raise _invalid(index, ("contract",), f"{checksum(asked.contract)} is no contract of this issuer's on the chain")
    nonce = contracts.operation_nonce(chain_id, asked.contract, request.effect_id)
    burned = keccak(nonce + index.to_bytes(32))
    try:
        data = contracts.encode_json_call(target.artifact, asked.function, asked.arguments, operation_id=burned)
    except Misfit as misfit:
        raise _invalid(index, misfit.path, str(misfit)) from None
    return Action(asked.contract, 0, data)


def _invalid(index: int, path: Sequence[str | int], message: str) -> ActionInvalid:
    pointer = "/".join(["#/actions", str(index), "call", *(str(step) for step in path)])
    return ActionInvalid(f"{pointer}: {message}", pointer=pointer)


def told(action: Action, known: Mapping[bytes, Known]) -> Told:
    """An action for a reader: by the contract's own ABI, or by any of ours that has such a function."""
    target = known.get(action.target)
    call = contracts.describe_call_to(target.artifact, action.data) if target else None
    return Told(action, target, call or contracts.describe_call(action.data))


def proposal_id(actions: Sequence[Action], description: str) -> int:
    """The number that the governor gives a proposal. Source: OpenZeppelin 5.7, Governor.hashProposal."""
    return int.from_bytes(contracts.abi_hash((*_BATCH, "bytes32"), *_columns(actions), keccak(description.encode())))


def timelock_id(governor: bytes, actions: Sequence[Action], description: str) -> bytes:
    """The 32 bytes under which the timelock keeps a governor's proposal.

    Source: OpenZeppelin 5.7, GovernorTimelockControl._timelockSalt, TimelockController.hashOperationBatch.
    """
    hashed = keccak(description.encode())
    salt = bytes(a ^ b for a, b in zip(governor.ljust(32, b"\0"), hashed, strict=True))
    return contracts.abi_hash((*_BATCH, "bytes32", "bytes32"), *_columns(actions), bytes(32), salt)


def propose_call(actions: Sequence[Action], description: str) -> bytes:
    """The governor's calldata."""
    return contracts.encode_call("AssetGovernor", "propose", *_columns(actions), description)


def _columns(actions: Sequence[Action]) -> tuple[list[bytes], list[int], list[bytes]]:
    return [each.target for each in actions], [each.value for each in actions], [each.data for each in actions]
