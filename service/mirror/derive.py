"""From staged rows to served ones: set-based, a few statements however many rows.

The same arithmetic as `projections`, in SQL. Amounts and titles are windows over what each block changed; what a key
had open before is looked up once for each key that is touched, through the index of its open rows.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncSession

from service.amounts import AMOUNT_MAX
from service.chain.events import Event
from service.chain.reader import Head, Log
from service.mirror.apply import Step, write_others
from service.mirror.projections import ImpossibleAmount
from service.mirror.standing import record_head
from service.mirror.statements import connection_of

OTHERS_MAX = 2_000
"""Events that are read from staging at once, save for the rest of a block."""

_ZERO = r"'\x0000000000000000000000000000000000000000'::bytea"

ANY_SIZE = "SET LOCAL statement_timeout = 0"
"""Ahead of statements whose work grows with what is staged."""

_SETTINGS = (
    ANY_SIZE,
    "SET LOCAL work_mem = '96MB'",
    "SET LOCAL jit = off",
    # Nearly every row is a group of its own, and the windows want them sorted anyway.
    "SET LOCAL enable_hashagg = off",
    # Sums that workers pass on cost more than they save, and the other core reads the next blocks.
    "SET LOCAL max_parallel_workers_per_gather = 0",
)

_TRANSFERS = """
INSERT INTO mirror.transfers (block_hash, log_index, contract_id, block_number, transaction_hash, sender, recipient,
    amount, canonical, deed_id)
SELECT hash, log_index, contract_id, block_number, transaction_hash, sender, recipient, amount, true, deed_id
FROM staging.transfers JOIN staging.blocks ON number = block_number
"""

_HELD = f"""
SELECT contract_id, recipient AS account, block_number, amount AS net FROM staging.transfers WHERE recipient <> {_ZERO}
UNION ALL
SELECT contract_id, sender, block_number, -amount FROM staging.transfers WHERE sender <> {_ZERO}
"""

_ISSUED = f"""
SELECT contract_id, block_number, CASE WHEN sender = {_ZERO} THEN amount ELSE -amount END AS net
FROM staging.transfers WHERE (sender = {_ZERO}) <> (recipient = {_ZERO})
"""

# {0} key, {1} table, {2} what moved, {3} its open row's key.
_AMOUNTS = """
WITH moves AS ({2}),
nets AS (
    SELECT {0}, block_number, sum(net) AS net FROM moves GROUP BY {0}, block_number HAVING sum(net) <> 0),
placed AS (
    SELECT *, row_number() OVER (PARTITION BY {0} ORDER BY block_number ROWS UNBOUNDED PRECEDING) AS place FROM nets),
opened AS (
    SELECT *, CASE WHEN place = 1 THEN
        (SELECT amount FROM mirror.{1} AS held WHERE {3} AND to_block IS NULL AND canonical) END AS opening
    FROM placed)
SELECT {0}, block_number AS from_block,
    lead(block_number) OVER (PARTITION BY {0} ORDER BY block_number ROWS UNBOUNDED PRECEDING) AS to_block,
    sum(net + coalesce(opening, 0)) OVER (PARTITION BY {0} ORDER BY block_number ROWS UNBOUNDED PRECEDING) AS state,
    place = 1 AS builds
FROM opened
"""

_TITLES = f"""
WITH moved AS (
    SELECT DISTINCT ON (contract_id, deed_id, block_number) contract_id, deed_id, block_number,
        nullif(recipient, {_ZERO}) AS holder
    FROM staging.transfers WHERE deed_id IS NOT NULL ORDER BY contract_id, deed_id, block_number, log_index DESC),
placed AS (
    SELECT *, row_number() OVER each AS place, lag(holder) OVER each AS former FROM moved
    WINDOW each AS (PARTITION BY contract_id, deed_id ORDER BY block_number)),
opened AS (
    SELECT contract_id, deed_id, block_number, holder, CASE WHEN place > 1 THEN former ELSE
        (SELECT held.holder FROM mirror.titles AS held WHERE held.contract_id = placed.contract_id
            AND held.deed_id = placed.deed_id AND to_block IS NULL AND canonical) END AS former
    FROM placed)
SELECT contract_id, deed_id, block_number AS from_block, lead(block_number) OVER each AS to_block, holder AS state,
    row_number() OVER each = 1 AS builds
FROM opened WHERE holder IS DISTINCT FROM former
WINDOW each AS (PARTITION BY contract_id, deed_id ORDER BY block_number)
"""

_DIGESTS = """
SELECT contract_id, block_number AS from_block, lead(block_number) OVER each AS to_block, digest AS state,
    row_number() OVER each = 1 AS builds
FROM staging.digests WINDOW each AS (PARTITION BY contract_id ORDER BY block_number)
"""

# {0} key, {1} table, {2} state, {3} how rows meet those that were undone before.
_CLOSE = """
UPDATE mirror.{1} AS held SET to_block = begun.from_block FROM pg_temp.ranges AS begun
WHERE begun.builds AND {2} AND held.to_block IS NULL AND held.canonical
"""
_OPEN = """
INSERT INTO mirror.{1} ({0}, {2}, from_block, to_block, block_hash, canonical)
SELECT {0}, state, from_block, to_block, hash, true FROM pg_temp.ranges JOIN staging.blocks ON number = from_block {3}
"""

_IMPOSSIBLE = text("""
SELECT address, from_block, state FROM pg_temp.ranges JOIN mirror.contracts ON id = contract_id
WHERE state < 0 OR state > CAST(:most AS numeric) LIMIT 1
""")

_OTHERS = """
SELECT number, hash, log_index, contract_id, address, transaction_hash, first_topic, name, signature, arguments
FROM staging.events JOIN staging.blocks ON number = block_number JOIN mirror.contracts ON id = contract_id
ORDER BY number, log_index
"""

_DEPLOYMENTS = """
INSERT INTO mirror.deployments (contract_id, block_hash, block_number, salt, operator, kind, canonical)
SELECT contract_id, block_hash, block_number, salt, operator, kind, true FROM staging.deployments
ON CONFLICT (contract_id, block_hash) DO UPDATE SET canonical = true, left_at = NULL
"""

_BLOCKS = """
INSERT INTO mirror.blocks (hash, chain_id, number, parent_hash, timestamp, canonical)
SELECT hash, :chain_id, number, parent_hash, timestamp, true FROM staging.blocks
ON CONFLICT (hash) DO UPDATE SET canonical = true, undone_at = NULL, shown_at = statement_timestamp()
"""


@dataclass(frozen=True, slots=True)
class _Ranged:
    """How one ranged table follows from what is staged."""

    table: str
    key: tuple[str, ...]
    state: str
    query: str

    def joined(self, one: str, other: str) -> str:
        return " AND ".join(f"{one}.{name} = {other}.{name}" for name in self.key)


def _amounts(table: str, key: tuple[str, ...], moves: str) -> _Ranged:
    same = " AND ".join(f"held.{name} = placed.{name}" for name in key)
    return _Ranged(table, key, "amount", _AMOUNTS.format(", ".join(key), table, moves, same))


_RANGED = (
    _amounts("holdings", ("contract_id", "account"), _HELD),
    _amounts("supplies", ("contract_id",), _ISSUED),
    _Ranged("titles", ("contract_id", "deed_id"), "holder", _TITLES),
    _Ranged("digests", ("contract_id",), "digest", _DIGESTS),
)


async def derive(session: AsyncSession, *, chain_id: int, bare: bool) -> None:
    """Write the rows of all that is staged, save blocks and deployments.

    Args:
        bare: the served tables lost their primary keys for a first sync, and hold nothing that was undone.

    Raises:
        ImpossibleAmount: the events of a contract, which it names, add up to an amount that none can hold.
    """
    for setting in _SETTINGS:
        await session.execute(text(setting))
    again = "" if bare else "ON CONFLICT (block_hash, log_index) DO UPDATE SET canonical = true"
    await session.execute(text(_TRANSFERS + again))
    for each in _RANGED:
        await _write_ranges(session, each, bare=bare)
    async for step, others in _others(session, chain_id):
        await write_others(step, others)


async def show(session: AsyncSession, *, chain_id: int, head: Head) -> None:
    """Show the blocks whose rows are written, all at one moment, and the contracts that begin in them."""
    await session.execute(text(_DEPLOYMENTS))
    await record_head(session, chain_id=chain_id, head_number=head.tip.number, final_number=head.final_number)
    # Last, so that `shown_at` is as near as can be to the COMMIT that shows them.
    await session.execute(text(_BLOCKS), {"chain_id": chain_id})


async def _write_ranges(session: AsyncSession, each: _Ranged, *, bare: bool) -> None:
    await session.execute(text("CREATE TEMP TABLE ranges ON COMMIT DROP AS " + each.query))
    if each.state == "amount":
        impossible = (await session.execute(_IMPOSSIBLE, {"most": AMOUNT_MAX})).first()
        if impossible is not None:
            contract, block_number, amount = impossible
            raise ImpossibleAmount(f"block {block_number} closes with {amount}", contract)
    # The planner knows nothing of a table this young; whatever it thinks, a key's open row is one look into an index.
    await session.execute(text("SET LOCAL enable_hashjoin = off"))
    await session.execute(text("SET LOCAL enable_mergejoin = off"))
    await session.execute(text(_CLOSE.format("", each.table, each.joined("held", "begun"))))
    await session.execute(text("SET LOCAL enable_hashjoin = on"))
    await session.execute(text("SET LOCAL enable_mergejoin = on"))
    key = ", ".join(each.key)
    kept = each.table in ("supplies", "digests") or not bare
    again = (
        f"ON CONFLICT ({key}, from_block, block_hash) DO UPDATE "
        f"SET canonical = true, to_block = excluded.to_block, {each.state} = excluded.{each.state}"
    )
    await session.execute(text(_OPEN.format(key, each.table, each.state, again if kept else "")))
    await session.execute(text("DROP TABLE pg_temp.ranges"))


async def _others(session: AsyncSession, chain_id: int) -> AsyncIterator[tuple[Step, list[tuple[Log, Event]]]]:
    """Staged events in the order of the chain, some blocks at a time."""
    ids: dict[bytes, int] = {}
    hashes: dict[int, bytes] = {}
    others: list[tuple[Log, Event]] = []
    connection = await connection_of(session)
    async for row in await session.stream(text(_OTHERS), execution_options={"yield_per": OTHERS_MAX}):
        found = row._mapping
        if len(others) >= OTHERS_MAX and found["number"] != others[-1][0].block_number:
            yield Step(connection, chain_id, ids, hashes), others
            ids, hashes, others = {}, {}, []
        ids[found["address"]] = found["contract_id"]
        hashes[found["number"]] = found["hash"]
        others.append((_log(found), Event(found["name"], found["signature"], found["arguments"])))
    if others:
        yield Step(connection, chain_id, ids, hashes), others


def _log(found: RowMapping) -> Log:
    return Log(
        block_number=found["number"],
        block_hash=found["hash"],
        transaction_hash=found["transaction_hash"],
        log_index=found["log_index"],
        address=found["address"],
        topics=(found["first_topic"],),
        data=b"",
    )
