"""Proxies: contracts whose code may be exchanged, which they announce and keep in slots of their own.

Source: ERC-1967.
"""

from collections.abc import Sequence
from typing import LiteralString

from eth_hash.auto import keccak

from service.addresses import ZERO, checksum
from service.chain.node import NodeRefused
from service.chain.reader import Call, Chain, Reverted
from service.chain.reasons import Reason
from service.db import Database, ReadConnection, new_id
from service.mirror import facts
from service.mirror.adoptions import KINDS, Mark, Wanted
from service.mirror.queries import Contract


def _slot(name: str) -> bytes:
    return (int.from_bytes(keccak(name.encode())) - 1).to_bytes(32)


SLOTS = {"implementation": _slot("eip1967.proxy.implementation"), "beacon": _slot("eip1967.proxy.beacon")}
"""Where a proxy keeps what it announces, by aspect."""

EVENTS = ("Upgraded", "BeaconUpgraded", "AdminChanged")
"""What a proxy announces; a beacon the first of them."""

BEACON = "beacon"
"""The kind of a contract that is followed for what it says of the code behind others."""

OTHERS = (*KINDS, BEACON)
"""Kinds of contracts that are followed although nobody deployed them through the factory."""

BEACONS_MAX = 8
"""Of those that a proxy ever named, so many are followed: whoever may exchange its beacon may name any contract."""

_IMPLEMENTATION = keccak(b"implementation()")[:4]

_BEHIND: LiteralString = """
SELECT contract_id, aspect, state->>aspect FROM mirror.states
WHERE contract_id = ANY(%(contract_ids)s) AND aspect = ANY(%(aspects)s) AND key = %(key)s
    AND from_block <= %(block)s AND (to_block > %(block)s OR to_block IS NULL) AND canonical AND state IS NOT NULL
"""


_NAMED: LiteralString = """
SELECT proxy.contract_id, beacon.id FROM mirror.states AS proxy
JOIN mirror.contracts AS followed ON followed.id = proxy.contract_id
JOIN mirror.contracts AS beacon
    ON beacon.chain_id = followed.chain_id AND beacon.address = decode(substr(proxy.state->>'beacon', 3), 'hex')
JOIN mirror.deployments ON deployments.contract_id = beacon.id AND deployments.canonical
    AND deployments.block_number <= %(block)s
WHERE proxy.contract_id = ANY(%(contract_ids)s) AND proxy.aspect = 'beacon' AND proxy.key = %(key)s
    AND proxy.from_block <= %(block)s AND proxy.canonical AND proxy.state IS NOT NULL
    AND (proxy.to_block > %(block)s OR proxy.to_block IS NULL OR %(ever)s)
"""

_UNFOLLOWED: LiteralString = """
SELECT address FROM (
    SELECT decode(substr(named.beacon, 3), 'hex') AS address, from_block
    FROM (SELECT DISTINCT chain_id, address FROM adoptions WHERE chain_id = %(chain_id)s AND status = 'live') AS adopted
    JOIN mirror.contracts USING (chain_id, address)
    JOIN mirror.deployments ON deployments.contract_id = contracts.id AND deployments.canonical
    CROSS JOIN LATERAL (
        SELECT state->>'beacon' AS beacon, from_block FROM mirror.states
        WHERE contract_id = contracts.id AND aspect = 'beacon' AND key = '' AND canonical AND state IS NOT NULL
        ORDER BY from_block LIMIT %(count_max)s) AS named) AS beacons
WHERE address <> ALL(%(but)s) AND NOT EXISTS (
    SELECT FROM mirror.contracts JOIN mirror.deployments ON contract_id = id AND canonical
    WHERE chain_id = %(chain_id)s AND contracts.address = beacons.address)
ORDER BY from_block, address LIMIT 1
"""


async def behind(connection: ReadConnection, *, contract_ids: Sequence[int], block: int) -> dict[int, dict[str, str]]:
    """The implementation, and the beacon, that each proxy among the contracts had announced by `block`.

    Behind a beacon, the implementation is the one that the beacon had announced.
    """
    beacons = dict(await _named(connection, contract_ids, block=block, ever=False))
    asked = [*contract_ids, *beacons.values()]
    given = {"contract_ids": asked, "aspects": list(SLOTS), "key": b"", "block": block}
    found: dict[int, dict[str, str]] = {}
    for contract_id, aspect, address in await (await connection.execute(_BEHIND, given)).fetchall():
        found.setdefault(contract_id, {})[aspect] = address
    for proxy, beacon in beacons.items():
        if "implementation" in found.get(beacon, {}):
            found[proxy].setdefault("implementation", found[beacon]["implementation"])
    return {contract_id: found[contract_id] for contract_id in contract_ids if contract_id in found}


async def beacons(connection: ReadConnection, *, contract_id: int, block: int) -> list[int]:
    """The ids of all followed beacons that a proxy had named by `block`."""
    return [beacon for _, beacon in await _named(connection, [contract_id], block=block, ever=True)]


async def _named(
    connection: ReadConnection, contract_ids: Sequence[int], *, block: int, ever: bool
) -> list[tuple[int, int]]:
    given = {"contract_ids": list(contract_ids), "key": b"", "block": block, "ever": ever}
    rows = await (await connection.execute(_NAMED, given)).fetchall()
    return [(proxy, beacon) for proxy, beacon in rows]


async def next_beacon(db: Database, *, chain_id: int, but: Sequence[bytes]) -> Wanted | None:
    """A beacon that an adopted proxy named and that is not followed yet.

    Args:
        but: contracts that must wait.
    """
    given = {"chain_id": chain_id, "but": list(but), "count_max": BEACONS_MAX}
    async with db.read() as connection:
        rows = await (await connection.execute(_UNFOLLOWED, given)).fetchall()
    # A wish of nobody: it has no row of its own, and another attempt is another wish.
    return Wanted(new_id(), chain_id, rows[0][0], BEACON, None, None, False, None, None) if rows else None


async def says(chain: Chain, beacon: bytes, *, block: int) -> bytes | None:
    """The implementation that a beacon names; None where it is no beacon. Source: ERC-1967."""
    try:
        answer = await chain.call(Call(beacon, _IMPLEMENTATION, ZERO), block=block)
    except Reverted:
        return None
    except NodeRefused as refused:
        if refused.reason in (Reason.REVERTED, Reason.HALTED, Reason.OUT_OF_GAS):
            return None
        raise
    return answer[-20:] if len(answer) == 32 and not any(answer[:12]) else None


async def announced(db: Database, chain: Chain, *, contract: Contract, block: int) -> Mark | None:
    """A mark where a proxy keeps another implementation, or another beacon, than it announced; else None.

    A beacon is asked for the implementation. The contract's rows must be in the mirror, and need not be shown yet. A
    node without history proves nothing.

    Args:
        block: mirrored, and one that the node still knows the state of.

    Raises:
        NodeUnavailable, NodeRefused: the node does not answer now.
    """
    try:
        if contract.kind == BEACON:
            kept = {"implementation": await says(chain, contract.address, block=block) or ZERO}
        else:
            words = await chain.storage(contract.address, list(SLOTS.values()), block=block)
            kept = {aspect: word[-20:] for aspect, word in zip(SLOTS, words, strict=True)}
    except NodeRefused as refused:
        if refused.reason in (Reason.HISTORY_GONE, Reason.BLOCK_UNKNOWN, Reason.METHOD_MISSING):
            return None
        raise
    for aspect, address in kept.items():
        async with db.read() as connection:
            state = await facts.state(connection, contract_id=contract.id, aspect=aspect, key=b"", block=block)
        told = checksum(ZERO) if state is None else state[aspect]
        if checksum(address) != told:
            whose = "the beacon says" if contract.kind == BEACON else "its own slot"
            return Mark("proxy-not-announced", block, f"{aspect}: its events say {told}, {whose} {checksum(address)}")
    return None
