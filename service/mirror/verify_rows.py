"""The mirror's rows against each other, without the chain: what was changed, lost or added behind its back.

A digest covers every transfer and event, and is made again from them; holdings, supplies and titles are made again from
transfers; and every state follows the one before without gap or overlap.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, LiteralString

from service.addresses import ZERO, hex0x
from service.db import Database
from service.mirror import digests
from service.mirror.differences import NOTHING, Difference, Tally
from service.mirror.digest_filling import ROWS_MAX, horizon, read_covered
from service.mirror.queries import Contract, Label
from service.mirror.tables import EVENTS, RANGED, ranged_key
from service.mirror.verify_history import KINDS

CONTRACTS_MAX = 100
"""Contracts of one statement."""

ACCOUNTS_MAX = 2_000
"""Accounts whose transfers one statement adds up."""

DIFFERENCES_MAX = 100
"""Differences that one statement tells: the first ones lead to the rest."""

_ACCOUNTS_END = b"\xff" * 20

_STRAY = """SELECT contracts.address, '{table}', rows.{number} AS number FROM mirror.{table} AS rows
JOIN mirror.contracts ON contracts.id = rows.contract_id
LEFT JOIN mirror.blocks ON blocks.hash = rows.block_hash AND blocks.canonical AND blocks.number = rows.{number}
    AND blocks.chain_id = contracts.chain_id
WHERE rows.contract_id = ANY(%(ids)s) AND rows.canonical AND blocks.hash IS NULL"""

_BROKEN = """SELECT contracts.address, '{table}', held.from_block AS number, held.to_block, held.following
FROM (SELECT contract_id, from_block, to_block, lead(from_block) OVER (PARTITION BY {key} ORDER BY from_block)
        AS following
    FROM mirror.{table} WHERE contract_id = ANY(%(ids)s) AND canonical) AS held
JOIN mirror.contracts ON contracts.id = held.contract_id
WHERE held.to_block IS DISTINCT FROM held.following"""

_LIMITED = " ORDER BY address, number LIMIT %(count_max)s"

STRAYS = (
    " UNION ALL ".join(
        _STRAY.format(table=table.name, number="from_block" if table in RANGED else "block_number")
        for table in (*EVENTS, *RANGED)
    )
    + _LIMITED
)
"""Canonical rows of no canonical block."""

BROKEN = (
    " UNION ALL ".join(_BROKEN.format(table=table.name, key=", ".join(ranged_key(table))) for table in RANGED)
    + _LIMITED
)
"""Ranges that do not end where the next one begins."""

_SIZES = """
SELECT contract_id, sum(count)::bigint FROM (
    SELECT contract_id, count(*) FROM mirror.transfers
    WHERE contract_id = ANY(%(ids)s) AND canonical AND block_number <= %(block)s GROUP BY contract_id
    UNION ALL
    SELECT contract_id, count(*) FROM mirror.events
    WHERE contract_id = ANY(%(ids)s) AND canonical AND block_number <= %(block)s GROUP BY contract_id
) AS counts GROUP BY contract_id
"""

_ACCOUNT = """
SELECT account FROM mirror.holdings
WHERE contract_id = %(contract_id)s AND account > %(after)s AND to_block IS NULL AND canonical
ORDER BY account OFFSET %(offset)s LIMIT 1
"""

_HOLDINGS = """
WITH moves AS (
    SELECT contract_id, sender AS account, block_number, -amount AS amount FROM mirror.transfers
    WHERE contract_id = ANY(%(ids)s) AND canonical AND block_number <= %(block)s
        AND sender > %(after)s AND sender <= %(last)s AND sender <> %(zero)s
    UNION ALL
    SELECT contract_id, recipient, block_number, amount FROM mirror.transfers
    WHERE contract_id = ANY(%(ids)s) AND canonical AND block_number <= %(block)s
        AND recipient > %(after)s AND recipient <= %(last)s AND recipient <> %(zero)s
), net AS (
    SELECT contract_id, account, block_number, sum(amount) AS amount FROM moves
    GROUP BY contract_id, account, block_number HAVING sum(amount) <> 0
), followed AS (
    SELECT contract_id, account, block_number,
        sum(amount) OVER (PARTITION BY contract_id, account ORDER BY block_number) AS amount
    FROM net
), told AS (
    SELECT contract_id, account, from_block AS block_number, amount FROM mirror.holdings
    WHERE contract_id = ANY(%(ids)s) AND canonical AND from_block <= %(block)s
        AND account > %(after)s AND account <= %(last)s
)
SELECT contract_id, account, block_number, told.amount, followed.amount
FROM told FULL JOIN followed USING (contract_id, account, block_number)
WHERE told.amount IS DISTINCT FROM followed.amount
ORDER BY block_number, account LIMIT %(count_max)s
"""

# The two conditions say the same twice: the second is one that indexes answer.
_SUPPLIES = """
WITH net AS (
    SELECT contract_id, block_number, sum(CASE WHEN sender = %(zero)s THEN amount ELSE -amount END) AS amount
    FROM mirror.transfers
    WHERE contract_id = ANY(%(ids)s) AND canonical AND block_number <= %(block)s
        AND (sender = %(zero)s) <> (recipient = %(zero)s) AND (sender = %(zero)s OR recipient = %(zero)s)
    GROUP BY contract_id, block_number
), followed AS (
    SELECT contract_id, block_number, sum(amount) OVER (PARTITION BY contract_id ORDER BY block_number) AS amount
    FROM net WHERE amount <> 0
), told AS (
    SELECT contract_id, from_block AS block_number, amount FROM mirror.supplies
    WHERE contract_id = ANY(%(ids)s) AND canonical AND from_block <= %(block)s
)
SELECT contract_id, NULL, block_number, told.amount, followed.amount
FROM told FULL JOIN followed USING (contract_id, block_number)
WHERE told.amount IS DISTINCT FROM followed.amount
ORDER BY block_number LIMIT %(count_max)s
"""

_TITLES = """
WITH closing AS (
    SELECT DISTINCT ON (contract_id, deed_id, block_number)
        contract_id, deed_id, block_number, nullif(recipient, %(zero)s) AS holder
    FROM mirror.transfers
    WHERE contract_id = ANY(%(ids)s) AND canonical AND block_number <= %(block)s AND deed_id IS NOT NULL
    ORDER BY contract_id, deed_id, block_number, log_index DESC
), changed AS (
    SELECT contract_id, deed_id, block_number, holder, true AS there,
        lag(holder) OVER (PARTITION BY contract_id, deed_id ORDER BY block_number) AS former
    FROM closing
), followed AS (
    SELECT contract_id, deed_id, block_number, holder, there FROM changed WHERE holder IS DISTINCT FROM former
), told AS (
    SELECT contract_id, deed_id, from_block AS block_number, holder, true AS there FROM mirror.titles
    WHERE contract_id = ANY(%(ids)s) AND canonical AND from_block <= %(block)s
)
SELECT contract_id, deed_id, block_number, CASE WHEN told.there THEN coalesce(told.holder, %(zero)s) END,
    CASE WHEN followed.there THEN coalesce(followed.holder, %(zero)s) END
FROM told FULL JOIN followed USING (contract_id, deed_id, block_number)
WHERE told.holder IS DISTINCT FROM followed.holder OR told.there IS DISTINCT FROM followed.there
ORDER BY block_number, deed_id LIMIT %(count_max)s
"""

_DIGESTS = """
SELECT contract_id, from_block, digest FROM mirror.digests
WHERE contract_id = ANY(%(ids)s) AND canonical AND from_block > %(after)s AND from_block <= %(last)s
"""


async def sizes(db: Database, label: Label, found: Sequence[Contract]) -> dict[int, int]:
    """How many rows the digests of contracts cover, by id."""
    given = {"ids": [contract.id for contract in found], "block": label.block}
    return dict(await _read(db, _SIZES, given))


def _groups(found: Sequence[Contract], rows: Mapping[int, int]) -> Iterator[list[Contract]]:
    """Contracts that are compared together: many small ones, or one by itself."""
    group: list[Contract] = []
    size = 0
    for contract in found:
        count = rows.get(contract.id, 0)
        if group and (size + count > ROWS_MAX or len(group) == CONTRACTS_MAX):
            yield group
            group, size = [], 0
        group.append(contract)
        size += count
    if group:
        yield group


async def compare_rows(
    db: Database, label: Label, found: Sequence[Contract], rows: Mapping[int, int], tally: Tally
) -> AsyncIterator[Difference]:
    """Where the rows of these contracts contradict each other, up to the label's block.

    Args:
        rows: how many there are of each contract, as `sizes` says.
    """
    for group in _groups(found, rows):
        for difference in (*await _misplaced(db, group), *await _made_again(db, label, group)):
            yield difference
        async for difference in _digests(db, label, group, tally):
            yield difference


async def _misplaced(db: Database, group: Sequence[Contract]) -> list[Difference]:
    """Rows of no block that stands, and states that do not follow each other."""
    given = {"ids": [contract.id for contract in group], "count_max": DIFFERENCES_MAX}
    differences = [
        Difference(KINDS[table], address, None, "a row", "no such block", block=block)
        for address, table, block in await _read(db, STRAYS, given)
    ]
    for address, table, block, to_block, following in await _read(db, BROKEN, given):
        told, follows = (f"until {_shown(each)}" for each in (to_block, following))
        differences.append(Difference(KINDS[table], address, None, told, follows, block=block))
    return differences


async def _made_again(db: Database, label: Label, group: Sequence[Contract]) -> list[Difference]:
    """Holdings, supplies and titles that do not follow from the transfers."""
    addresses = {contract.id: contract.address for contract in group}
    given = {"ids": list(addresses), "block": label.block, "zero": ZERO, "count_max": DIFFERENCES_MAX}
    differences = []
    async for after, last in _intervals(db, group):
        for contract_id, account, *told in await _read(db, _HOLDINGS, {**given, "after": after, "last": last}):
            differences.append(_unfounded("holding", addresses[contract_id], told, account=account))
    for kind, query in (("supply", _SUPPLIES), ("title", _TITLES)):
        for contract_id, deed_id, *told in await _read(db, query, given):
            key = None if deed_id is None else deed_id.to_bytes(32)
            differences.append(_unfounded(kind, addresses[contract_id], told, key=key))
    return differences


def _unfounded(kind: str, contract: bytes, told: Sequence[Any], **where: bytes | None) -> Difference:
    block, mirror, follows = told
    place: dict[str, Any] = {"account": None, **where}
    return Difference(kind, contract, mirror=_shown(mirror), chain=_shown(follows), block=block, **place)


async def _intervals(db: Database, group: Sequence[Contract]) -> AsyncIterator[tuple[bytes, bytes]]:
    """Accounts above the first, up to the second of each pair: all of them, or a part where one contract has many."""
    after = b""
    while len(group) == 1:
        given = {"contract_id": group[0].id, "after": after, "offset": ACCOUNTS_MAX - 1}
        upto = await _read(db, _ACCOUNT, given)
        if not upto:
            break
        yield after, upto[0][0]
        after = upto[0][0]
    yield after, _ACCOUNTS_END


async def _digests(db: Database, label: Label, group: Sequence[Contract], tally: Tally) -> AsyncIterator[Difference]:
    """Blocks whose digest is not that of their rows. Each is made from the one that the mirror has before it."""
    addresses = {contract.id: contract.address for contract in group}
    before = {address: digests.beginning(label.chain, address) for address in addresses.values()}
    after, last = -1, -1
    while last < label.block:
        async with db.transaction() as session:
            last = label.block
            if len(group) == 1:
                last = await horizon(session, group[0].id, after=after, last=last, rows_max=ROWS_MAX)
            covered = await read_covered(session, addresses, after=after, last=last)
        told: dict[bytes, dict[int, bytes]] = {}
        given = {"ids": list(addresses), "after": after, "last": last}
        for contract_id, block, digest in await _read(db, _DIGESTS, given):
            told.setdefault(addresses[contract_id], {})[block] = digest
        made = digests.rows_by_block(*covered.columns)
        for address in sorted(told.keys() | made.keys()):
            ours, rows = told.get(address, {}), made.get(address, {})
            for block in sorted(ours.keys() | rows.keys()):
                follows = (
                    digests.block_digest(before[address], block, covered.hashes[block], rows[block])
                    if block in rows
                    else None
                )
                if ours.get(block) != follows:
                    yield Difference("digest", address, None, _shown(ours.get(block)), _shown(follows), block=block)
                before[address] = ours.get(block, before[address])
        tally.add(covered.count)
        after = last


def _shown(given: Any) -> str:
    if given is None:
        return NOTHING
    return hex0x(given) if isinstance(given, bytes) else str(given)


async def _read(db: Database, query: LiteralString, given: dict[str, Any]) -> list[tuple[Any, ...]]:
    async with db.read() as connection:
        return await (await connection.execute(query, given)).fetchall()
