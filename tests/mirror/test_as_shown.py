"""What was shown at a moment is answered again later, whatever was undone since."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from service.db import Database, ReadConnection
from service.mirror import facts, moments, queries, transfer_queries
from service.mirror.past import seen_from
from service.mirror.queries import Label
from service.mirror.tables import EVENTS, RANGED
from tests.mirror.histories import ACCOUNTS, FIRST, History

T = TypeVar("T")

CHAINS = count(1_000_000)

FEW = settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate, Phase.explain],
    suppress_health_check=list(HealthCheck),
)

MOVES = st.one_of(
    st.tuples(st.just("grow"), st.lists(st.integers(0, 99), min_size=1, max_size=3)),
    st.tuples(st.just("shrink"), st.integers(1, 4)),
    st.tuples(st.just("regrow"), st.integers(1, 4)),
)


@asynccontextmanager
async def shown(
    db: Database, chain_id: int, moment: datetime, at_block: int | None = None
) -> AsyncIterator[tuple[ReadConnection, Label]]:
    """A read of what was shown at a moment."""
    async with db.read() as connection:
        sight = await moments.shown_at(connection, chain_id=chain_id, moment=moment, at_block=at_block)
        with seen_from(connection, sight.branch):
            yield connection, sight.label


async def answers(connection: ReadConnection, label: Label, addresses: list[bytes]) -> dict[str, Any]:
    """All that can be asked about the contracts at a label's block."""
    found: dict[str, Any] = {}
    for address in addresses:
        contract = await queries.contract(connection, chain_id=label.chain, address=address, block=label.block)
        found[address.hex()] = contract
        if contract is not None:
            at: dict[str, Any] = {"contract_id": contract.id, "block": label.block}
            found |= {f"{address.hex()} {name}": told for name, told in (await of_contract(connection, at)).items()}
    states = await queries.contract_states(connection, chain_id=label.chain, addresses=addresses, block=label.block)
    ids = [each.id for each in states.values()]
    given: dict[str, Any] = {"contract_ids": ids, "block": label.block, "count_max": 50}
    for account in ACCOUNTS:
        moved = await transfer_queries.transfers_page(connection, account=account, before=None, **given)
        held = await queries.account_holdings_page(connection, account=account, after=None, **given)
        found[f"account {account.hex()}"] = (moved, held)
    listed = await queries.contracts_page(connection, chain_id=label.chain, block=label.block, after=None, count_max=9)
    return {**found, "states": states, "contracts": listed}


async def of_contract(connection: ReadConnection, at: dict[str, Any]) -> dict[str, Any]:
    """What is asked about one contract."""
    found: dict[str, Any] = {
        "supply": await queries.supply(connection, **at),
        "paused": await queries.paused(connection, **at),
        "holders": await queries.holdings_page(connection, after=None, count_max=50, **at),
        "later holders": await queries.holdings_page(connection, after=ACCOUNTS[0], count_max=1, **at),
        "deeds": await facts.titles_page(connection, after=None, count_max=50, **at),
        "frozen": await facts.states_page(connection, aspect="frozen", after=None, count_max=50, **at),
    }
    events: dict[str, Any] = {
        "contract_ids": [at["contract_id"]],
        "block": at["block"],
        "count_max": 50,
        "before": None,
    }
    found["events"] = await facts.events_page(connection, **events)
    found["named"] = await facts.events_page(connection, names=["Frozen", "Paused"], **events)
    found["transfers"] = await transfer_queries.transfers_page(connection, account=None, **events)
    page = {"after_block": None, "count_max": 50, **at}
    for account in ACCOUNTS:
        key: dict[str, Any] = {"aspect": "frozen", "key": account}
        found[account.hex()] = (
            await queries.holding(connection, account=account, **at),
            await queries.history_page(connection, account=account, **page),
            await facts.state(connection, **key, **at),
            await facts.state_history_page(connection, **key, **page),
            await facts.titles_page(connection, holder=account, after=None, count_max=50, **at),
        )
    for deed_id in range(3):
        title = await facts.title(connection, deed_id=deed_id, **at)
        found[str(deed_id)] = (title, await facts.title_history_page(connection, deed_id=deed_id, **page))
    return found


async def rows(connection: ReadConnection, chain_id: int) -> dict[str, list[Any]]:
    """Every canonical row of the chain, as it stands."""
    found = {}
    for table in (*EVENTS, *RANGED):
        order = ", ".join(column.name for column in table.primary_key)
        asked = await connection.execute(
            f"""SELECT {", ".join(column.name for column in table.columns)} FROM mirror.{table.name}
            WHERE contract_id IN (SELECT id FROM mirror.contracts WHERE chain_id = %(chain_id)s) AND canonical
            ORDER BY {order}""",
            {"chain_id": chain_id},
        )
        found[table.name] = await asked.fetchall()
    asked = await connection.execute(
        "SELECT number, hash, timestamp FROM mirror.blocks WHERE chain_id = %(chain_id)s AND canonical ORDER BY number",
        {"chain_id": chain_id},
    )
    return {**found, "blocks": await asked.fetchall()}


@dataclass(frozen=True, slots=True)
class Moment:
    """What was answered at a moment: of the newest block, and of a lower one."""

    time: datetime
    asked: dict[int | None, tuple[Label, dict[str, Any]]]
    rows: dict[str, list[Any]]


async def remember(db: Database, history: History, choice: int) -> Moment:
    async with db.read() as connection:
        asked = {}
        lower = FIRST + choice % len(history.pages)
        for at_block in (None, lower):
            label = await queries.label(connection, chain_id=history.chain_id, at_block=at_block)
            asked[at_block] = (label, await answers(connection, label, [history.token, history.deeds]))
        stand = await rows(connection, history.chain_id)
        ((now,),) = await (await connection.execute("SELECT clock_timestamp()")).fetchall()
    return Moment(now, asked, stand)


async def agrees(db: Database, history: History, then: Moment) -> int:
    """Ask again what was asked at a moment; how many of the answers were of a block that has left."""
    left = 0
    for at_block, (label, answered) in then.asked.items():
        async with shown(db, history.chain_id, then.time, at_block) as (connection, again):
            assert (again.block, again.hash, again.time) == (label.block, label.hash, label.time)
            assert again.orphaned == (label.hash not in {page.block.hash for page in history.pages})
            assert await answers(connection, again, [history.token, history.deeds]) == answered
            if again.orphaned and at_block is None:
                assert await rows(connection, history.chain_id) == then.rows
            left += again.orphaned
    return left


async def live(url: SecretStr, moves: list[tuple[str, Any]]) -> int:
    db = Database(url, role="muniment_indexer")
    await db.open()
    history = History(next(CHAINS))
    await history.begin(db)
    remembered = [await remember(db, history, 0)]
    for position, (move, given_) in enumerate(moves):
        await getattr(history, move)(db, given_)
        remembered.append(await remember(db, history, position * 7))
    left = sum([await agrees(db, history, each) for each in remembered])
    await db.close()
    return left


def test_every_moment_is_answered_again_as_it_was(database_url: SecretStr) -> None:
    left: list[int] = []

    @FEW
    @given(st.lists(MOVES, min_size=5, max_size=8))
    def lives(moves: list[tuple[str, Any]]) -> None:
        left.append(asyncio.run(live(database_url, moves)))

    lives()
    assert sum(left) > 9, "the histories do have reorganisations"
