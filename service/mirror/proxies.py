"""Proxies: contracts whose code may be exchanged, which they announce and keep in slots of their own.

Source: ERC-1967.
"""

from collections.abc import Sequence
from typing import LiteralString

from eth_utils.crypto import keccak

from service.addresses import ZERO, checksum
from service.chain.node import NodeRefused
from service.chain.reader import Chain
from service.chain.reasons import Reason
from service.db import Database, ReadConnection
from service.mirror import facts
from service.mirror.adoptions import Mark
from service.mirror.queries import Contract


def _slot(name: str) -> bytes:
    return (int.from_bytes(keccak(text=name)) - 1).to_bytes(32)


SLOTS = {"implementation": _slot("eip1967.proxy.implementation"), "beacon": _slot("eip1967.proxy.beacon")}
"""Where a proxy keeps what it announces, by aspect."""

EVENTS = ("Upgraded", "BeaconUpgraded", "AdminChanged")
"""What a proxy announces."""


_BEHIND: LiteralString = """
SELECT contract_id, aspect, state->>aspect FROM mirror.states
WHERE contract_id = ANY(%(contract_ids)s) AND aspect = ANY(%(aspects)s) AND key = %(key)s
    AND from_block <= %(block)s AND (to_block > %(block)s OR to_block IS NULL) AND canonical AND state IS NOT NULL
"""


async def behind(connection: ReadConnection, *, contract_ids: Sequence[int], block: int) -> dict[int, dict[str, str]]:
    """The implementation, and the beacon, that each proxy among the contracts had announced by `block`."""
    given = {"contract_ids": list(contract_ids), "aspects": list(SLOTS), "key": b"", "block": block}
    found: dict[int, dict[str, str]] = {}
    for contract_id, aspect, address in await (await connection.execute(_BEHIND, given)).fetchall():
        found.setdefault(contract_id, {})[aspect] = address
    return found


async def announced(db: Database, chain: Chain, *, contract: Contract, block: int) -> Mark | None:
    """A mark where a proxy keeps another implementation, or another beacon, than it announced; else None.

    The contract's rows must be in the mirror, and need not be shown yet. A node without history proves nothing.

    Args:
        block: mirrored, and one that the node still knows the state of.

    Raises:
        NodeUnavailable, NodeRefused: the node does not answer now.
    """
    try:
        words = await chain.storage(contract.address, list(SLOTS.values()), block=block)
    except NodeRefused as refused:
        if refused.reason in (Reason.HISTORY_GONE, Reason.BLOCK_UNKNOWN, Reason.METHOD_MISSING):
            return None
        raise
    for aspect, word in zip(SLOTS, words, strict=True):
        async with db.read() as connection:
            state = await facts.state(connection, contract_id=contract.id, aspect=aspect, key=b"", block=block)
        told = checksum(ZERO) if state is None else state[aspect]
        kept = checksum(word[-20:])
        if kept != told:
            return Mark("proxy-not-announced", block, f"{aspect}: its events say {told}, its own slot {kept}")
    return None
