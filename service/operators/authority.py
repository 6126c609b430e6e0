"""Which roles a signer holds, on the issuer's authority and on the factory, and the calls that move them.

Source: OpenZeppelin 5.7, AccessManager and AccessControl.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from eth_hash.auto import keccak

from service.addresses import ZERO, checksum, hex0x
from service.chain import contracts
from service.chain.reader import Call, Chain
from service.db import ReadConnection
from service.deployments.calls import executed
from service.deployments.queries import Target
from service.mirror import facts
from service.mirror import queries as mirror

OPERATOR_ROLE = keccak(b"OPERATOR_ROLE")
"""May deploy with the factory."""

_FACTORY_ADMIN_ROLE = bytes(32)
_ADDRESS_BYTES = 20
_ROWS = 500


async def roles(connection: ReadConnection, target: Target, accounts: Sequence[bytes]) -> dict[bytes, dict[int, int]]:
    """The roles of each account on an authority, with the delay of each in seconds, at the mirror's newest block."""
    found: dict[bytes, dict[int, int]] = {account: {} for account in accounts}
    for key, state in await _states(connection, target, "role"):
        account = key[-_ADDRESS_BYTES:]
        if account in found:
            found[account][int.from_bytes(key[:-_ADDRESS_BYTES])] = int(state["delay_s"])
    return found


def missing(former: Mapping[int, int], successor: Mapping[int, int]) -> dict[int, int]:
    """What the former holds and the successor does not, or with another delay."""
    return {role: delay_s for role, delay_s in former.items() if successor.get(role) != delay_s}


def grants(account: bytes, given: Mapping[int, int]) -> list[bytes]:
    """Calls that give an account roles, each with its delay in seconds."""
    return [
        contracts.encode_call("IssuerAuthority", "grantRole", role, account, delay_s)
        for role, delay_s in sorted(given.items())
    ]


def revokes(account: bytes, held: Mapping[int, int]) -> list[bytes]:
    """Calls that take roles from an account."""
    return [contracts.encode_call("IssuerAuthority", "revokeRole", role, account) for role in sorted(held)]


def burned(target: Target, rotation_id: UUID, step: str) -> bytes:
    """The 32 bytes that a step of a rotation burns, so that its transaction happens once."""
    digest = hashlib.sha256(b"muniment.rotation" + rotation_id.bytes + step.encode()).digest()
    return contracts.operation_nonce(target.chain_id, target.address, UUID(bytes=digest[:16]))


def perform(target: Target, burns: bytes, calls: Sequence[bytes]) -> tuple[bytes, tuple[bytes, bytes]]:
    """Calls of the authority on itself as one call, and what proves it."""
    data = contracts.encode_call(target.artifact, "perform", burns, list(calls))
    return data, executed(target, burns, data)


async def not_in_force(chain: Chain, target: Target, account: bytes, asked: Sequence[int]) -> list[int]:
    """Those roles that an account can't use at the newest block."""
    answers = [await _decoded(chain, target.address, target.artifact, "hasRole", role, account) for role in asked]
    return [role for role, (is_member, _) in zip(asked, answers, strict=True) if not is_member]


async def scheduled_by(connection: ReadConnection, target: Target, account: bytes) -> list[str]:
    """The ids of actions that an account has scheduled, and that are neither executed nor cancelled."""
    told = checksum(account)
    return [
        hex0x(key)
        for key, state in await _states(connection, target, "scheduled")
        if state["status"] == "scheduled" and state["caller"] == told
    ]


def operator_call(function: str, account: bytes) -> bytes:
    """A call of the factory that grants or revokes the right to deploy; `function` is grantRole or revokeRole."""
    return contracts.encode_call("AssetFactory", function, OPERATOR_ROLE, account)


async def operators(chain: Chain, factory: bytes, accounts: Sequence[bytes]) -> set[bytes]:
    """Which of these accounts may deploy with the factory."""
    return {each for each in accounts if await _has(chain, factory, OPERATOR_ROLE, each)}


async def factory_admin(chain: Chain, factory: bytes, accounts: Sequence[bytes]) -> bytes | None:
    """The first of these accounts that administers the factory, or None."""
    for each in accounts:
        if await _has(chain, factory, _FACTORY_ADMIN_ROLE, each):
            return each
    return None


async def _has(chain: Chain, factory: bytes, role: bytes, account: bytes) -> bool:
    (answer,) = await _decoded(chain, factory, "AssetFactory", "hasRole", role, account)
    return bool(answer)


async def _decoded(chain: Chain, to: bytes, artifact: str, function: str, *arguments: Any) -> tuple[Any, ...]:
    data = contracts.encode_call(artifact, function, *arguments)
    return contracts.decode_result(artifact, function, await chain.call(Call(to=to, data=data, sender=ZERO)))


async def _states(connection: ReadConnection, target: Target, aspect: str) -> list[tuple[bytes, dict[str, Any]]]:
    label = await mirror.label(connection, chain_id=target.chain_id, at_block=None)
    contract = await mirror.contract(connection, chain_id=target.chain_id, address=target.address, block=label.block)
    assert contract is not None, "a standing contract is mirrored"
    found: list[tuple[bytes, dict[str, Any]]] = []
    while True:
        rows = await facts.states_page(
            connection,
            contract_id=contract.id,
            aspect=aspect,
            block=label.block,
            after=found[-1][0] if found else None,
            count_max=_ROWS,
        )
        found += [(row.key, row.state) for row in rows if row.state is not None]
        if len(rows) < _ROWS:
            return found
