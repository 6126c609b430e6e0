"""The backfill gear: the same rows as step by step, whatever cuts it short."""

from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from service.chain.log_columns import LogColumns
from service.chain.node import AnswerTooLong, NodeLied, NodeRefused, NodeUnavailable
from service.chain.reader import Block, Chain
from service.db import Database
from service.mirror import standing
from service.mirror.backfill import Backfill, fill, present_backfill
from service.mirror.filling import Progress
from service.workers import Lease, LeaseLost
from tests.mirror.estate import Estate
from tests.mirror.test_restart import Killed, Mortal
from tests.mirror.test_undo import busy
from tests.mirror.world import CHAIN_ID, LEASE_TTL_S, Ledger, Mirror, empty

EVERYTHING = """
SELECT 'SELECT to_jsonb(t) - ''contract_id'' || jsonb_build_object(''contract'', c.address) FROM mirror.'
    || quote_ident(table_name) || ' AS t LEFT JOIN mirror.contracts AS c ON c.id = contract_id', table_name
FROM information_schema.columns WHERE table_schema = 'mirror' AND column_name = 'contract_id'
"""
TIMES = ("shown_at", "undone_at", "seen_at")


async def everything(mirror: Mirror) -> dict[str, list[str]]:
    """Every row of every table that tells of a contract, and the blocks; without ids and times of our own."""
    found = {"blocks": sorted(map(repr, (await mirror.contents())["blocks"]))}
    for query, table in await mirror.rows(EVERYTHING):
        rows = [row for (row,) in await mirror.rows(query)]
        found[table] = sorted(repr(sorted(_timeless(row).items())) for row in rows)
    return found


def _timeless(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in TIMES}


def gear_of(mirror: Mirror, chain: Chain | None = None, **more: Any) -> Backfill:
    """A gear as a process that has just started has it."""
    settings: dict[str, Any] = {"behind_min": 1, "events_at_once": 40, **more}
    return Backfill(
        mirror.db,
        chain or mirror.chain,
        chain_id=CHAIN_ID,
        factory=mirror.ledger.factory,
        start_block=mirror.ledger.first,
        **settings,
    )


async def backfilled(mirror: Mirror, chain: Chain | None = None, **more: Any) -> int:
    """Go on until there is nothing left to do; how many steps did something."""
    gear = gear_of(mirror, chain, **more)
    try:
        return await ended(gear, mirror)
    finally:
        await gear.aclose()


async def ended(gear: Backfill, mirror: Mirror) -> int:
    """Step until there is nothing left to do; how many steps did something."""
    steps = 0
    while await gear.step(mirror.lease) > 0:
        steps += 1
    return steps


def lively(ledger: Ledger) -> None:
    """Every kind of contract and event, deployments all the while, and blocks in which one account moves often."""
    ledger.mine(2)
    estate = Estate(ledger)
    busy(ledger, blocks=9)
    estate.live()
    one, two, three = ledger.accounts[1:4]
    with ledger.one_block():
        token, deeds = ledger.deploy(), ledger.deploy_deeds()
        ledger.mint(token, one, 2**255)
    with ledger.one_block():
        ledger.transfer(token, one, two, 30)
        ledger.transfer(token, two, one, 30)
        ledger.transfer(token, one, one, 5)
    with ledger.one_block():
        ledger.mint(token, three, 5)
        ledger.burn(token, three, 5)
    ledger.issue(deeds, one)
    ledger.issue(deeds, two)
    ledger.transfer(token, one, three, 2**254)
    ledger.mine(3)


async def test_it_gives_the_rows_that_steps_give(mirror: Mirror, ledger: Ledger, db: Database) -> None:
    lively(ledger)
    assert await backfilled(mirror) > 2
    final = ledger.height() - 2
    assert await mirror.rows("SELECT max(number), bool_and(canonical) FROM mirror.blocks") == [(final, True)]
    assert await mirror.rows("SELECT count(*) FROM mirror.late_indexes") == [(0,)]
    await mirror.agrees(final)
    await mirror.converge()
    await mirror.agrees_everywhere()
    filled = await everything(mirror)

    await empty(db)
    await mirror.converge()
    followed = await everything(mirror)
    assert filled.keys() >= {"transfers", "events", "holdings", "titles", "states", "pauses", "supplies", "digests"}
    for table, rows in followed.items():
        assert filled[table] == rows, table


async def test_it_takes_a_mirror_forward_that_shows_something(mirror: Mirror, ledger: Ledger, db: Database) -> None:
    token = busy(ledger, blocks=7)
    deeds = ledger.deploy_deeds()
    ledger.issue(deeds, ledger.accounts[1])
    await mirror.converge()
    ledger.act("DeedToken", deeds, "forcedTransfer", ledger.accounts[1], ledger.accounts[2], 1)
    ledger.mint(token, ledger.accounts[1], 7)
    busy(ledger, blocks=9)
    ledger.mine(2)
    assert await backfilled(mirror, events_at_once=3) > 1
    await mirror.converge()
    await mirror.agrees_everywhere()
    filled = await everything(mirror)
    await empty(db)
    await mirror.converge()
    assert filled == await everything(mirror)


@pytest.mark.parametrize("committed", [False, True], ids=["before-commit", "after-commit"])
async def test_killed_between_any_two_transactions_another_goes_on(
    mirror: Mirror, ledger: Ledger, database_url: SecretStr, db: Database, committed: bool
) -> None:
    busy(ledger, blocks=9)
    ledger.issue(ledger.deploy_deeds(), ledger.accounts[1])
    busy(ledger, blocks=5)
    ledger.mine(2)
    mortal = Mortal(database_url, role="muniment_indexer")
    mortal.committed = committed
    await mortal.open()
    alive, mirror.db, lives = mirror.db, mortal, 0
    try:
        while True:
            lives += 1
            mortal.left = 4 + lives % 2  # what a life begins with, and one or two steps of the work itself
            try:
                await backfilled(mirror, events_at_once=5)
                break
            except Killed:
                ((blocks, deployments),) = await mirror.rows(
                    "SELECT (SELECT count(*) FROM mirror.blocks), (SELECT count(*) FROM mirror.deployments)"
                )
                assert (blocks == 0) == (deployments == 0), "nothing is half shown"
    finally:
        mirror.db = alive
        await mortal.close()
    assert lives > 8
    await mirror.converge()
    await mirror.agrees_everywhere()
    survived = await everything(mirror)
    await empty(db)
    await mirror.converge()
    assert survived == await everything(mirror)


async def test_a_crash_of_postgres_costs_what_was_staged_and_no_more(
    mirror: Mirror, ledger: Ledger, db: Database
) -> None:
    busy(ledger, blocks=12)
    ledger.mine(2)
    gear = gear_of(mirror, events_at_once=4)
    await gear.step(mirror.lease)
    await gear.step(mirror.lease)
    await gear.aclose()
    async with db.transaction() as session:
        for table in ("transfers", "events", "digests", "marks"):  # as recovery leaves unlogged tables
            await session.execute(text(f"TRUNCATE staging.{table}"))
    await backfilled(mirror)
    await mirror.converge()
    await mirror.agrees_everywhere()
    filled = await everything(mirror)
    await empty(db)
    await mirror.converge()
    assert filled == await everything(mirror)


async def test_nothing_is_shown_before_all_of_a_first_sync_is_there(mirror: Mirror, ledger: Ledger) -> None:
    token = busy(ledger, blocks=12)
    ledger.mine(2)
    gear = gear_of(mirror, events_at_once=3)
    try:
        while await gear.step(mirror.lease) > 0:
            blocks, deployments, left = (
                await mirror.rows(
                    """SELECT (SELECT count(*) FROM mirror.blocks), (SELECT count(*) FROM mirror.deployments),
                    (SELECT count(*) FROM mirror.late_indexes)"""
                )
            )[0]
            assert (blocks == 0) == (deployments == 0)
            assert blocks == 0 or left == 0
    finally:
        await gear.aclose()
    await mirror.agrees(ledger.height() - 2)
    assert await mirror.contract(token, ledger.height() - 2) is not None


async def test_a_mirror_near_the_head_is_left_to_the_other_gear(mirror: Mirror, ledger: Ledger) -> None:
    busy(ledger, blocks=5)
    assert await backfilled(mirror, behind_min=100) == 0
    await mirror.converge()
    assert await backfilled(mirror, behind_min=100) == 0
    assert await mirror.rows("SELECT count(*) FROM mirror.backfills") == [(0,)]


async def test_a_tip_that_left_the_chain_is_left_to_the_other_gear(mirror: Mirror, ledger: Ledger) -> None:
    busy(ledger, blocks=5)
    await mirror.converge()
    ledger.reorg(2)
    ledger.mine(5)
    assert await backfilled(mirror) == 0
    await mirror.converge()
    await mirror.agrees_everywhere()


async def test_a_reorganisation_below_final_blocks_throws_away_what_nobody_saw(mirror: Mirror, ledger: Ledger) -> None:
    busy(ledger, blocks=9)
    ledger.mine(2)
    gear = gear_of(mirror, events_at_once=4)
    await gear.step(mirror.lease)
    ledger.reorg(7)
    ledger.mine(3)
    with pytest.raises(NodeLied, match="final"):
        await ended(gear, mirror)
    assert await mirror.rows("SELECT count(*) FROM mirror.blocks") == [(0,)]
    assert await mirror.halt() == standing.Halt.NODE_LIED
    await backfilled(mirror)
    await mirror.converge()
    await mirror.agrees_everywhere()


async def test_a_lost_lease_writes_nothing(mirror: Mirror, ledger: Ledger, db: Database) -> None:
    busy(ledger, blocks=9)
    ledger.mine(2)
    gear = gear_of(mirror, events_at_once=4)
    await gear.step(mirror.lease)
    before = await mirror.rows("SELECT reached_block, staged_block FROM mirror.backfills")
    async with db.transaction() as session:
        await session.execute(text("UPDATE leases SET expires_at = now() - interval '1 second'"))
    rival = Lease("indexer", LEASE_TTL_S, holder="rival")
    assert await rival.take(db)
    with pytest.raises(LeaseLost):
        await gear.step(mirror.lease)
    assert await mirror.rows("SELECT reached_block, staged_block FROM mirror.backfills") == before
    mirror.lease = rival
    await backfilled(mirror)
    await mirror.converge()
    await mirror.agrees_everywhere()


class Narrow(Chain):
    """A node that answers about two blocks and two contracts, and forgets, lies or dies where it is told to."""

    blocks_max = 2
    addresses_max = 2
    fault: Exception | None = None
    faulty_from = 0
    emptied: int | None = None
    asked = 0

    async def log_columns(
        self, *, first: int, last: int, addresses: Sequence[bytes], topics: Sequence[bytes], headers: bool = True
    ) -> tuple[list[Block], LogColumns]:
        self.asked += 1
        if last - first >= self.blocks_max or len(addresses) > self.addresses_max:
            raise NodeRefused(-32005, "query returned more than 10000 results")
        if last - first == 1:
            raise AnswerTooLong("longer than it may be")
        if self.fault is not None and last >= self.faulty_from:
            raise self.fault
        blocks, logs = await super().log_columns(
            first=first, last=last, addresses=addresses, topics=topics, headers=headers
        )
        kept = [place for place, number in enumerate(logs.block_numbers) if number != self.emptied]
        return blocks, logs.rows(kept)


@pytest.fixture
async def narrow(chain: Chain) -> Narrow:
    return Narrow(chain._node, chain_id=CHAIN_ID, finality=chain.finality)


async def test_a_node_that_answers_little_at_once_is_asked_little(
    mirror: Mirror, ledger: Ledger, narrow: Narrow
) -> None:
    for _ in range(3):
        busy(ledger, blocks=4)
    ledger.mine(2)
    await backfilled(mirror, narrow)
    await mirror.converge()
    await mirror.agrees_everywhere()


@pytest.mark.parametrize(
    "fault",
    [
        NodeUnavailable("no connection"),
        NodeUnavailable("the node does not have block 7"),
        NodeRefused(4444, "pruned history unavailable"),
        NodeRefused(-32000, "header not found"),
    ],
    ids=["dead", "blocks-gone", "history-gone", "block-unknown"],
)
async def test_a_node_that_fails_halfway_is_asked_again_from_there(
    mirror: Mirror, ledger: Ledger, narrow: Narrow, fault: Exception
) -> None:
    narrow.blocks_max, narrow.addresses_max = 3, 500
    busy(ledger, blocks=8)
    ledger.mine(12)
    narrow.fault, narrow.faulty_from = fault, ledger.height() - 4
    gear = gear_of(mirror, narrow, events_at_once=2)
    with pytest.raises(type(fault)):
        await ended(gear, mirror)
    ((staged,),) = await mirror.rows("SELECT staged_block FROM mirror.backfills")
    assert staged >= ledger.first, "what came is kept"
    narrow.fault = None
    await ended(gear, mirror)
    await gear.aclose()
    await mirror.converge()
    await mirror.agrees_everywhere()


async def test_a_block_told_as_empty_is_not_believed_against_its_header(
    mirror: Mirror, ledger: Ledger, narrow: Narrow
) -> None:
    token = ledger.deploy()
    ledger.mint(token, ledger.accounts[1], 5)
    narrow.blocks_max, narrow.addresses_max, narrow.emptied = 3, 500, ledger.height()
    ledger.mint(token, ledger.accounts[1], 5)
    ledger.mine(2)
    with pytest.raises(NodeLied, match="receipts"):
        await backfilled(mirror, narrow)
    assert await mirror.rows("SELECT count(*) FROM mirror.blocks") == [(0,)]
    narrow.emptied = None
    await backfilled(mirror, narrow)
    await mirror.converge()
    await mirror.agrees_everywhere()


async def test_it_tells_how_far_it_came(mirror: Mirror, ledger: Ledger) -> None:
    busy(ledger, blocks=9)
    ledger.mine(2)
    told: list[Progress] = []
    await backfilled(mirror, tell=told.append)
    total = ledger.height() - 2 - ledger.first + 1
    assert (told[-1].blocks, told[-1].blocks_total, told[-1].left_s) == (total, total, 0)
    found = await mirror.rows("SELECT reached_block, events, finished_at IS NOT NULL FROM mirror.backfills")
    assert found == [(ledger.height() - 2, told[-1].events, True)]


async def test_readers_are_told_how_far_it_came_until_it_ends(mirror: Mirror, ledger: Ledger) -> None:
    busy(ledger, blocks=9)
    ledger.mine(2)
    gear = gear_of(mirror)
    await gear.step(mirror.lease)
    async with mirror.db.read() as connection:
        present = await present_backfill(connection, chain_id=CHAIN_ID)
    assert present is not None
    assert (present.blocks, present.left_s) == (present.blocks_total, 0)
    await ended(gear, mirror)
    async with mirror.db.read() as connection:
        assert await present_backfill(connection, chain_id=CHAIN_ID) is None


async def test_a_contract_is_filled_in_unseen_and_then_shown(mirror: Mirror, ledger: Ledger, db: Database) -> None:
    busy(ledger, blocks=6)
    await mirror.converge()
    token, deployed = ledger.deploy(), ledger.height()
    busy(ledger, blocks=6)
    for amount in (5, 6):
        ledger.mint(token, ledger.accounts[1], amount)
        ledger.transfer(token, ledger.accounts[1], ledger.accounts[2], amount - 1)
    ledger.mine(2)
    await mirror.converge()
    expected = await everything(mirror)

    await empty(db)
    stranger = await _without(mirror, db, token)
    assert stranger["holdings"] != expected["holdings"]
    last = ledger.height() - 2
    given: dict[str, Any] = {"chain_id": CHAIN_ID, "contracts": [token], "first": deployed, "last": last}
    lefts = [await fill(mirror.db, mirror.chain, mirror.lease, **given, events_at_once=2)]
    assert await mirror.contract(token, last) is None
    while lefts[-1] > 0:
        lefts.append(await fill(mirror.db, mirror.chain, mirror.lease, **given, events_at_once=2))
    assert len(lefts) > 1
    assert await fill(mirror.db, mirror.chain, mirror.lease, **given) == 0, "asked again, it does nothing"
    await _show(db, token, deployed)
    found = await everything(mirror)
    for table in ("transfers", "holdings", "supplies", "digests"):
        assert found[table] == expected[table], table


async def _without(mirror: Mirror, db: Database, token: bytes) -> dict[str, list[str]]:
    """A mirror that never heard of a token."""
    await mirror.converge()
    async with db.transaction() as session:
        for table in ("transfers", "events", "holdings", "supplies", "pauses", "states", "digests", "deployments"):
            await session.execute(
                text(f"DELETE FROM mirror.{table} USING mirror.contracts WHERE id = contract_id AND address = :token"),
                {"token": token},
            )
    return await everything(mirror)


async def _show(db: Database, token: bytes, number: int) -> None:
    async with db.transaction() as session:
        await session.execute(
            text(
                """INSERT INTO mirror.deployments
                (contract_id, block_hash, block_number, salt, operator, kind, canonical)
                SELECT contracts.id, hash, number, :word, :nobody, 'AssetToken', true
                FROM mirror.contracts, mirror.blocks WHERE address = :token AND number = :number AND canonical"""
            ),
            {"word": bytes(32), "nobody": bytes(20), "token": token, "number": number},
        )


async def test_only_final_blocks_are_filled_in(mirror: Mirror, ledger: Ledger) -> None:
    token = busy(ledger, blocks=6)
    await mirror.converge()
    with pytest.raises(ValueError, match="not final"):
        await fill(
            mirror.db,
            mirror.chain,
            mirror.lease,
            chain_id=CHAIN_ID,
            contracts=[token],
            first=ledger.first,
            last=ledger.height(),
        )


async def test_no_role_may_empty_a_mirror_that_showed_something(mirror: Mirror, ledger: Ledger, db: Database) -> None:
    busy(ledger, blocks=6)
    await mirror.converge()
    before = await everything(mirror)
    with pytest.raises(Exception, match="nothing of them may be thrown away"):
        async with mirror.db.transaction() as session:
            await session.execute(text("SELECT mirror.begin_first_sync()"))
    assert await everything(mirror) == before
