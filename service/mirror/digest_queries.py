"""Digests as the mirror has them, as of a block, and the digest of a state. Connection first, the rest by keyword."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, LiteralString

from service.db import ReadConnection
from service.mirror import digests
from service.mirror.facts import TITLES_THEN
from service.mirror.queries import HOLDINGS_THEN, Contract, Label

ROWS_MAX = 5_000
"""Rows read at once."""

_DIGEST = """
SELECT digest, from_block FROM mirror.digests
WHERE contract_id = %(contract_id)s AND from_block <= %(block)s AND canonical
ORDER BY from_block DESC LIMIT 1
"""

_DIGESTS = """
SELECT contracts.id, contracts.address, deployments.block_number, deployments.block_hash, deployments.salt,
    deployments.operator, deployments.kind, held.digest, held.from_block
FROM mirror.contracts
JOIN mirror.deployments ON deployments.contract_id = contracts.id AND deployments.canonical
LEFT JOIN LATERAL (
    SELECT digest, from_block FROM mirror.digests
    WHERE contract_id = contracts.id AND from_block <= %(block)s AND canonical
    ORDER BY from_block DESC LIMIT 1) AS held ON true
WHERE contracts.chain_id = %(chain_id)s AND contracts.address > %(after)s AND deployments.block_number <= %(block)s
ORDER BY contracts.address LIMIT %(count_max)s
"""

_STATES = """
SELECT known.aspect, known.key, held.state
FROM mirror.states AS known CROSS JOIN LATERAL (
    SELECT state FROM mirror.states AS past
    WHERE past.contract_id = known.contract_id AND past.aspect = known.aspect AND past.key = known.key
        AND past.from_block <= %(block)s AND past.canonical
    ORDER BY past.from_block DESC LIMIT 1) AS held
WHERE known.contract_id = %(contract_id)s AND (known.aspect, known.key) > (%(after)s, %(after_key)s)
    AND known.to_block IS NULL AND known.canonical AND held.state IS NOT NULL
ORDER BY known.aspect, known.key LIMIT %(count_max)s
"""

_TOTALS = """
SELECT
    coalesce((SELECT amount FROM mirror.supplies WHERE contract_id = %(contract_id)s AND from_block <= %(block)s
        AND canonical ORDER BY from_block DESC LIMIT 1), 0),
    coalesce((SELECT paused FROM mirror.pauses WHERE contract_id = %(contract_id)s AND from_block <= %(block)s
        AND canonical ORDER BY from_block DESC LIMIT 1), false)
"""


@dataclass(frozen=True, slots=True)
class Digest:
    """A contract's digest at a block, and the newest block with a row that it covers; None while there is none."""

    contract_id: int
    contract: bytes
    digest: bytes
    since_block: int | None


async def contract_digest(connection: ReadConnection, *, contract: Contract, label: Label) -> Digest:
    """The digest of one contract, as of the label's block. Source: mirror.digests."""
    row = await (await connection.execute(_DIGEST, {"contract_id": contract.id, "block": label.block})).fetchone()
    if row is None:
        return Digest(contract.id, contract.address, digests.beginning(label.chain, contract.address), None)
    return Digest(contract.id, contract.address, row[0], row[1])


class MirrorDigest:
    """One hash over every contract that was deployed by a block, with its digest, in address order.

    SHA-256(tag ‖ chain id ‖ block number ‖ block hash ‖ contracts), each contract as its address, the number and hash
    of its first block, its salt, its deployer, its kind after its length, and its digest.
    """

    def __init__(self, label: Label) -> None:
        self.count = 0
        self._label = label
        parts = (digests.MIRROR, label.chain.to_bytes(8), label.block.to_bytes(8), label.hash)
        self._hash = sha256(b"".join(parts))

    @property
    def digest(self) -> bytes:
        """Of the contracts so far: all of them, once `read` has ended."""
        return self._hash.digest()

    async def read(self, connection: ReadConnection) -> AsyncIterator[Digest]:
        """The digests that it covers."""
        label = self._label
        given: dict[str, Any] = {"chain_id": label.chain, "block": label.block, "after": b""}
        async for rows in _pages(connection, _DIGESTS, given):
            for contract_id, address, number, block_hash, salt, operator, kind, digest, since_block in rows:
                found = digest or digests.beginning(label.chain, address)
                named = digests.sized(kind.encode())
                self._hash.update(b"".join((address, number.to_bytes(8), block_hash, salt, operator, named, found)))
                self.count += 1
                yield Digest(contract_id, address, found, since_block)
            given["after"] = rows[-1][1]


async def mirror_digest(connection: ReadConnection, *, label: Label) -> tuple[bytes, int]:
    """One hash over all contracts as of the label's block, and how many they are."""
    whole = MirrorDigest(label)
    async for _ in whole.read(connection):
        pass
    return whole.digest, whole.count


async def state_digest(connection: ReadConnection, *, contract_id: int, contract: bytes, label: Label) -> bytes:
    """One hash over what a contract's events left behind at the end of the label's block: the derived tables.

    SHA-256(tag ‖ chain id ‖ address ‖ supply ‖ paused ‖ holdings ‖ titles ‖ states), in key order: a holding as 1,
    account, amount, where it is not 0; a title as 2, deed id, holder, where there is one; a state as 3, and its aspect,
    key and JSON, each after its length, where it is not null. It takes memory for a page of rows, however many.
    """
    given: dict[str, Any] = {"contract_id": contract_id, "block": label.block}
    row = await (await connection.execute(_TOTALS, given)).fetchone()
    assert row is not None
    supply, paused = row
    head = (digests.STATE, label.chain.to_bytes(8), contract, int(supply).to_bytes(32), bytes([paused]))
    hash_ = sha256(b"".join(head))
    given["after"] = b""
    async for rows in _pages(connection, HOLDINGS_THEN, given):
        hash_.update(b"".join(b"\1%b%b" % (account, amount.to_bytes(32)) for account, amount in rows))
        given["after"] = rows[-1][0]
    given["after_deed"] = -1
    async for rows in _pages(connection, TITLES_THEN, given):
        hash_.update(b"".join(b"\2%b%b" % (deed_id.to_bytes(32), holder) for deed_id, holder in rows))
        given["after_deed"] = rows[-1][0]
    given |= {"after": "", "after_key": b""}
    async for rows in _pages(connection, _STATES, given):
        hash_.update(
            b"".join(
                b"\3%b%b%b" % (digests.sized(aspect.encode()), digests.sized(key), digests.json_sized(state))
                for aspect, key, state in rows
            )
        )
        given |= {"after": rows[-1][0], "after_key": rows[-1][1]}
    return hash_.digest()


async def _pages(
    connection: ReadConnection, query: LiteralString, given: Mapping[str, Any]
) -> AsyncIterator[list[tuple[Any, ...]]]:
    """Pages of rows; the caller moves `given` on to what comes after each."""
    while True:
        rows = await (await connection.execute(query, {**given, "count_max": ROWS_MAX})).fetchall()
        if rows:
            yield rows
        if len(rows) < ROWS_MAX:
            return
