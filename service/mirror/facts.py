"""What the mirror answers about titles, states and events, always as of one block.

As in `queries`: connection first, the rest by keyword; pages go by key; every function reads inside the caller's
read-only DB transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString

from service.addresses import hex0x
from service.db import ReadConnection
from service.mirror.queries import changed_after, is_early


@dataclass(frozen=True, slots=True)
class Title:
    """A deed and who holds it; nobody once it is retired."""

    deed_id: int
    holder: bytes | None


@dataclass(frozen=True, slots=True)
class TitleEntry:
    """Who held a deed from one block up to, not including, another; `to_block` None is still so."""

    from_block: int
    from_hash: bytes
    from_time: datetime
    to_block: int | None
    holder: bytes | None


@dataclass(frozen=True, slots=True)
class KeyState:
    """A key of an aspect, its state, and the block since which it has been so."""

    key: bytes
    state: dict[str, Any]
    from_block: int


@dataclass(frozen=True, slots=True)
class StateEntry:
    """A key's state from one block up to, not including, another; `to_block` None is still so, state None is absent."""

    from_block: int
    from_hash: bytes
    from_time: datetime
    to_block: int | None
    state: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class EventEntry:
    """One event that a contract emitted. For its arguments see `service.chain.events`."""

    block_number: int
    block_hash: bytes
    block_time: datetime
    log_index: int
    transaction_hash: bytes
    contract: bytes
    name: str
    arguments: dict[str, Any]


# Titles

TITLE = """
SELECT deed_id, holder FROM mirror.titles
WHERE contract_id = %(contract_id)s AND deed_id = %(deed_id)s AND from_block <= %(block)s AND canonical
ORDER BY from_block DESC LIMIT 1
"""

# Each deed has exactly one open row, retired ones included, so the open rows list the deeds.
TITLES_THEN = """
SELECT known.deed_id, held.holder
FROM mirror.titles AS known CROSS JOIN LATERAL (
    SELECT holder FROM mirror.titles AS past
    WHERE past.contract_id = known.contract_id AND past.deed_id = known.deed_id
        AND past.from_block <= %(block)s AND past.canonical
    ORDER BY past.from_block DESC LIMIT 1) AS held
WHERE known.contract_id = %(contract_id)s AND known.deed_id > %(after_deed)s AND known.to_block IS NULL
    AND known.canonical AND held.holder IS NOT NULL
ORDER BY known.deed_id LIMIT %(count_max)s
"""

TITLES_OF_TRANSFERS = """
SELECT known.deed_id, held.holder
FROM (
    SELECT DISTINCT deed_id FROM mirror.transfers
    WHERE contract_id = %(contract_id)s AND canonical AND block_number <= %(block)s AND deed_id > %(after_deed)s
    ORDER BY deed_id) AS known
CROSS JOIN LATERAL (
    SELECT holder FROM mirror.titles AS past
    WHERE past.contract_id = %(contract_id)s AND past.deed_id = known.deed_id
        AND past.from_block <= %(block)s AND past.canonical
    ORDER BY past.from_block DESC LIMIT 1) AS held
WHERE held.holder IS NOT NULL
ORDER BY known.deed_id LIMIT %(count_max)s
"""

HOLDER_TITLES_NOW = """
SELECT deed_id, holder FROM mirror.titles
WHERE contract_id = %(contract_id)s AND holder = %(holder)s AND deed_id > %(after_deed)s
    AND to_block IS NULL AND canonical AND holder IS NOT NULL
ORDER BY deed_id LIMIT %(count_max)s
"""

HOLDER_TITLES_THEN = """
SELECT deed_id, holder FROM mirror.titles
WHERE contract_id = %(contract_id)s AND holder = %(holder)s AND deed_id > %(after_deed)s
    AND from_block <= %(block)s AND (to_block > %(block)s OR to_block IS NULL) AND canonical AND holder IS NOT NULL
ORDER BY deed_id LIMIT %(count_max)s
"""

TITLE_HISTORY = """
SELECT titles.from_block, titles.block_hash,
    (SELECT timestamp FROM mirror.blocks WHERE hash = titles.block_hash),
    CASE WHEN titles.to_block <= %(block)s THEN titles.to_block END, titles.holder
FROM mirror.titles
WHERE titles.contract_id = %(contract_id)s AND titles.deed_id = %(deed_id)s AND titles.canonical
    AND titles.from_block > %(after_block)s AND titles.from_block <= %(block)s
ORDER BY titles.from_block LIMIT %(count_max)s
"""


async def title(connection: ReadConnection, *, contract_id: int, deed_id: int, block: int) -> Title | None:
    """Who held a deed at the end of `block`; None when it was not issued by then."""
    rows = await _all(connection, TITLE, {"contract_id": contract_id, "deed_id": deed_id, "block": block})
    return Title(*rows[0]) if rows else None


async def titles_page(
    connection: ReadConnection,
    *,
    contract_id: int,
    block: int,
    holder: bytes | None = None,
    after: int | None,
    count_max: int,
) -> list[Title]:
    """One page of the deeds that somebody held at the end of `block`, in order of their ids; with `holder`, its own."""
    given = {
        "contract_id": contract_id,
        "block": block,
        "holder": holder,
        "after_deed": -1 if after is None else after,
        "count_max": count_max,
    }
    if holder is None:
        early = await is_early(connection, contract_id, block)
        rows = await _all(connection, TITLES_OF_TRANSFERS if early else TITLES_THEN, given)
    else:
        changed = await changed_after(connection, contract_id, block)
        rows = await _all(connection, HOLDER_TITLES_THEN if changed else HOLDER_TITLES_NOW, given)
    return [Title(*row) for row in rows]


async def title_history_page(
    connection: ReadConnection,
    *,
    contract_id: int,
    deed_id: int,
    block: int,
    after_block: int | None,
    count_max: int,
) -> list[TitleEntry]:
    """Who held a deed up to `block`, oldest first, one row for each block in which that changed."""
    given = {
        "contract_id": contract_id,
        "deed_id": deed_id,
        "block": block,
        "after_block": -1 if after_block is None else after_block,
        "count_max": count_max,
    }
    return [TitleEntry(*row) for row in await _all(connection, TITLE_HISTORY, given)]


# States

STATE = """
SELECT state FROM mirror.states
WHERE contract_id = %(contract_id)s AND aspect = %(aspect)s AND key = %(key)s AND from_block <= %(block)s AND canonical
ORDER BY from_block DESC LIMIT 1
"""

STATES_OF_KEYS = """
SELECT wanted.key, held.state
FROM unnest(%(keys)s::bytea[]) AS wanted (key) CROSS JOIN LATERAL (
    SELECT state FROM mirror.states
    WHERE contract_id = %(contract_id)s AND aspect = %(aspect)s AND key = wanted.key
        AND from_block <= %(block)s AND canonical
    ORDER BY from_block DESC LIMIT 1) AS held
WHERE held.state IS NOT NULL
"""

# An index lists the wallets that were ever an investor's; each of them may have become another's since.
WALLETS_OF = """
SELECT known.key
FROM (
    SELECT DISTINCT key FROM mirror.states
    WHERE contract_id = %(contract_id)s AND aspect = 'wallet' AND state->>'investor' = %(investor)s AND canonical
        AND from_block <= %(block)s) AS known
CROSS JOIN LATERAL (
    SELECT state FROM mirror.states AS past
    WHERE past.contract_id = %(contract_id)s AND past.aspect = 'wallet' AND past.key = known.key
        AND past.from_block <= %(block)s AND past.canonical
    ORDER BY past.from_block DESC LIMIT 1) AS held
WHERE held.state->>'investor' = %(investor)s
ORDER BY known.key
"""

# Each key has exactly one open row, so the open rows list the keys, however long their histories are.
STATES = """
SELECT known.key, held.state, held.from_block
FROM mirror.states AS known CROSS JOIN LATERAL (
    SELECT state, from_block FROM mirror.states AS past
    WHERE past.contract_id = known.contract_id AND past.aspect = known.aspect AND past.key = known.key
        AND past.from_block <= %(block)s AND past.canonical
    ORDER BY past.from_block DESC LIMIT 1) AS held
WHERE known.contract_id = %(contract_id)s AND known.aspect = %(aspect)s AND known.to_block IS NULL AND known.canonical
    AND known.key >= %(first_key)s AND known.key < %(end_key)s AND held.state IS NOT NULL
ORDER BY known.key LIMIT %(count_max)s
"""

STATE_HISTORY = """
SELECT states.from_block, states.block_hash,
    (SELECT timestamp FROM mirror.blocks WHERE hash = states.block_hash),
    CASE WHEN states.to_block <= %(block)s THEN states.to_block END, states.state
FROM mirror.states
WHERE states.contract_id = %(contract_id)s AND states.aspect = %(aspect)s AND states.key = %(key)s AND states.canonical
    AND states.from_block > %(after_block)s AND states.from_block <= %(block)s
ORDER BY states.from_block LIMIT %(count_max)s
"""

KEY_END = b"\xff" * 128
"""Above every key: no key is that long."""


async def state(
    connection: ReadConnection, *, contract_id: int, aspect: str, key: bytes, block: int
) -> dict[str, Any] | None:
    """The state under a key at the end of `block`, None where there was none. For keys see `aspects`."""
    rows = await _all(connection, STATE, {"contract_id": contract_id, "aspect": aspect, "key": key, "block": block})
    return rows[0][0] if rows else None


async def states_of_keys(
    connection: ReadConnection, *, contract_id: int, aspect: str, keys: Sequence[bytes], block: int
) -> dict[bytes, dict[str, Any]]:
    """The states under those of the keys that had one at the end of `block`."""
    given = {"contract_id": contract_id, "aspect": aspect, "keys": sorted(set(keys)), "block": block}
    return dict(await _all(connection, STATES_OF_KEYS, given)) if keys else {}


async def wallets_of(connection: ReadConnection, *, contract_id: int, investor: bytes, block: int) -> list[bytes]:
    """The wallets that were linked to an investor at the end of `block`, in address order."""
    given = {"contract_id": contract_id, "investor": hex0x(investor), "block": block}
    return [key for (key,) in await _all(connection, WALLETS_OF, given)]


async def states_page(
    connection: ReadConnection,
    *,
    contract_id: int,
    aspect: str,
    block: int,
    prefix: bytes = b"",
    after: bytes | None,
    count_max: int,
) -> list[KeyState]:
    """One page of an aspect's keys that had a state at the end of `block`, in key order.

    Args:
        prefix: only keys that begin so, for instance a proposal's id for its ballots.
    """
    given = {
        "contract_id": contract_id,
        "aspect": aspect,
        "block": block,
        # A key's next neighbour is itself with a zero byte more.
        "first_key": prefix if after is None else max(prefix, after + b"\0"),
        "end_key": _end_of(prefix),
        "count_max": count_max,
    }
    return [KeyState(*row) for row in await _all(connection, STATES, given)]


def _end_of(prefix: bytes) -> bytes:
    """The first key above all that begin with the prefix."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else KEY_END


async def state_history_page(
    connection: ReadConnection,
    *,
    contract_id: int,
    aspect: str,
    key: bytes,
    block: int,
    after_block: int | None,
    count_max: int,
) -> list[StateEntry]:
    """A key's states up to `block`, oldest first, one row for each block in which it changed."""
    given = {
        "contract_id": contract_id,
        "aspect": aspect,
        "key": key,
        "block": block,
        "after_block": -1 if after_block is None else after_block,
        "count_max": count_max,
    }
    return [StateEntry(*row) for row in await _all(connection, STATE_HISTORY, given)]


# A ballot is cast once, so that a proposal's rows are as many as its ballots; their reasons stay in the database.
# Without OFFSET, a plan for any proposals reads the ballots of all and then joins.
TALLIES = """
SELECT wanted.id, (cast_then.state->>'support')::integer, sum((cast_then.state->>'weight')::numeric)
FROM unnest(%(firsts)s::bytea[], %(ends)s::bytea[]) AS wanted (id, beyond) CROSS JOIN LATERAL (
    SELECT state FROM mirror.states
    WHERE contract_id = %(contract_id)s AND aspect = 'ballot' AND key >= wanted.id AND key < wanted.beyond
        AND from_block <= %(block)s AND (to_block > %(block)s OR to_block IS NULL) AND canonical
        AND state IS NOT NULL
    OFFSET 0) AS cast_then
GROUP BY 1, 2
"""


async def tallies(
    connection: ReadConnection, *, contract_id: int, proposal_ids: Sequence[int], block: int
) -> dict[int, dict[int, int]]:
    """How the votes on each proposal stood at the end of `block`: weights by the number of what they support."""
    firsts = [each.to_bytes(32) for each in sorted(set(proposal_ids))]
    given = {
        "contract_id": contract_id,
        "firsts": firsts,
        "ends": [_end_of(first) for first in firsts],
        "block": block,
    }
    counted: dict[int, dict[int, int]] = {int.from_bytes(first): {} for first in firsts}
    for first, support, weight in await _all(connection, TALLIES, given):
        counted[int.from_bytes(first)][support] = int(weight)
    return counted


# Events

# Each branch stops after one page, so another contract's or name's long history costs nothing.

EVENTS = """
SELECT told.block_number, told.block_hash, (SELECT timestamp FROM mirror.blocks WHERE hash = told.block_hash),
    told.log_index, told.transaction_hash, (SELECT address FROM mirror.contracts WHERE id = told.contract_id),
    told.name, told.arguments
FROM (
    SELECT page.* FROM unnest(%(contract_ids)s::integer[]) AS wanted (id) CROSS JOIN LATERAL (
        SELECT * FROM mirror.events
        WHERE contract_id = wanted.id AND canonical
            AND (block_number, log_index) < (%(before_block)s::bigint, %(before_log_index)s::bigint)
        ORDER BY block_number DESC, log_index DESC LIMIT %(count_max)s
    ) AS page
    ORDER BY block_number DESC, log_index DESC LIMIT %(count_max)s
) AS told
ORDER BY told.block_number DESC, told.log_index DESC
"""

NAMED_EVENTS = """
SELECT told.block_number, told.block_hash, (SELECT timestamp FROM mirror.blocks WHERE hash = told.block_hash),
    told.log_index, told.transaction_hash, (SELECT address FROM mirror.contracts WHERE id = told.contract_id),
    told.name, told.arguments
FROM (
    SELECT page.* FROM unnest(%(contract_ids)s::integer[]) AS wanted (id)
    CROSS JOIN unnest(%(names)s::text[]) AS called (name) CROSS JOIN LATERAL (
        SELECT * FROM mirror.events
        WHERE contract_id = wanted.id AND events.name = called.name AND canonical
            AND (block_number, log_index) < (%(before_block)s::bigint, %(before_log_index)s::bigint)
        ORDER BY block_number DESC, log_index DESC LIMIT %(count_max)s
    ) AS page
    ORDER BY block_number DESC, log_index DESC LIMIT %(count_max)s
) AS told
ORDER BY told.block_number DESC, told.log_index DESC
"""


async def events_page(
    connection: ReadConnection,
    *,
    contract_ids: Sequence[int],
    names: Sequence[str] | None = None,
    block: int,
    before: tuple[int, int] | None,
    count_max: int,
) -> list[EventEntry]:
    """Events of the contracts up to `block`, newest first; with `names`, only those of these names.

    Transfers are apart: see `transfer_queries.transfers_page`.

    Args:
        before: block number and log index that the page before ended with.
    """
    # All of `block` itself: the first place after its last log.
    before_block, before_log_index = min(before, (block + 1, 0)) if before is not None else (block + 1, 0)
    given = {
        "contract_ids": sorted(set(contract_ids)),
        "names": sorted(set(names or ())),
        "before_block": before_block,
        "before_log_index": before_log_index,
        "count_max": count_max,
    }
    rows = await _all(connection, EVENTS if names is None else NAMED_EVENTS, given)
    return [EventEntry(*row) for row in rows]


async def _all(connection: ReadConnection, query: LiteralString, given: dict[str, Any]) -> list[tuple[Any, ...]]:
    return await (await connection.execute(query, given)).fetchall()
