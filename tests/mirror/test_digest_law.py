"""Law 10: whatever steps it took to see a chain, the digests are those of the chain."""

import asyncio
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from sqlalchemy import text

from service.db import Database
from service.mirror import digest_filling, digest_queries, digests, queries, verify_rows
from service.mirror.differences import Difference, Tally
from service.workers import Lease, LeaseLost
from tests.mirror.histories import History
from tests.mirror.world import Ledger, Mirror

CHAINS = count(2_000_000)

FEW = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate, Phase.explain],
    suppress_health_check=list(HealthCheck),
)

MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("grow"), st.lists(st.integers(0, 99), min_size=1, max_size=4)),
        st.tuples(st.just("shrink"), st.integers(1, 4)),
        st.tuples(st.just("regrow"), st.integers(1, 4)),
    ),
    max_size=8,
)


def from_pages(history: History) -> dict[tuple[bytes], dict[int, bytes]]:
    """The digests of the blocks that stand, all at once."""
    columns = [each for page in history.pages for each in page.happened.digested()]
    hashes = {page.block.number: page.block.hash for page in history.pages}
    return digests.closing_digests(history.chain_id, {}, hashes, *columns)


async def told(db: Database, chain_id: int) -> dict[tuple[bytes], dict[int, bytes]]:
    """The digests that the mirror has."""
    rows = await db.fetch(
        """SELECT address, from_block, digest FROM mirror.digests JOIN mirror.contracts ON id = contract_id
        WHERE chain_id = %s AND canonical""",
        (chain_id,),
    )
    found: dict[tuple[bytes], dict[int, bytes]] = {}
    for address, block, digest in rows:
        found.setdefault((address,), {})[block] = digest
    return found


async def contradictions(db: Database, chain_id: int) -> list[Difference]:
    """What the rows of the mirror tell otherwise than each other."""
    async with db.read() as connection:
        label = await queries.label(connection, chain_id=chain_id, at_block=None)
        found = await queries.contracts_page(connection, chain_id=chain_id, block=label.block, after=None, count_max=9)
    rows = await verify_rows.sizes(db, label, found)
    return [each async for each in verify_rows.compare_rows(db, label, found, rows, Tally(None))]


@given(MOVES, st.integers(0, 12))
@FEW
def test_the_digests_are_those_of_the_chain_after_any_steps_and_reorganisations(
    law_url: SecretStr, moves: list[tuple[str, Any]], forgotten: int
) -> None:
    async def live() -> None:
        db = Database(law_url, role=None)
        await db.open()
        history = History(next(CHAINS))
        try:
            await history.begin(db)
            for name, argument in moves:
                await getattr(history, name)(db, argument)
            assert await told(db, history.chain_id) == from_pages(history)
            assert await contradictions(db, history.chain_id) == []
            await forget(db, history, forgotten)
            await fill(db, history.chain_id)
            assert await told(db, history.chain_id) == from_pages(history)
            assert await contradictions(db, history.chain_id) == []
        finally:
            await db.close()

    asyncio.run(live())


async def forget(db: Database, history: History, blocks: int) -> None:
    """A mirror whose newest blocks, or all of them, are from before there were digests."""
    last = history.pages[0].block.number + blocks - 1
    async with db.transaction() as session:
        given = {"last": last, "chain_id": history.chain_id}
        ours = "contract_id IN (SELECT id FROM mirror.contracts WHERE chain_id = :chain_id)"
        await session.execute(text(f"DELETE FROM mirror.digests WHERE from_block > :last AND {ours}"), given)
        await session.execute(
            text(f"UPDATE mirror.digests SET to_block = NULL WHERE to_block > :last AND {ours} AND canonical"), given
        )


async def fill(db: Database, chain_id: int) -> int:
    """Step until every row is covered; how many steps that took."""
    lease = Lease(f"indexer:{chain_id}", 60.0)
    assert await lease.take(db)
    steps = 0
    while await digest_filling.fill(db, lease, chain_id=chain_id):
        steps += 1
    return steps


@pytest.fixture
def law_url(database_url: SecretStr) -> SecretStr:
    """One database for all examples: each has a chain of its own in it."""
    return database_url


async def test_rows_without_a_digest_are_digested_in_bounded_steps(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digest_filling, "ROWS_MAX", 2)
    history = History(next(CHAINS))
    await history.begin(db)
    await history.grow(db, list(range(12)))
    await forget(db, history, 0)
    assert await told(db, history.chain_id) == {}
    assert await fill(db, history.chain_id) > 3
    assert await told(db, history.chain_id) == from_pages(history)


async def test_rows_without_a_digest_are_looked_for_again_once_the_lease_was_anothers(db: Database) -> None:
    history = History(next(CHAINS))
    await history.begin(db)
    await history.grow(db, [1, 2, 3, 4])
    lease, gaps = Lease(f"indexer:{history.chain_id}", 60.0), digest_filling.Gaps(db, history.chain_id)
    assert await lease.take(db)
    await forget(db, history, 0)
    assert await gaps.step(lease) > 0
    assert await gaps.step(lease) == 0
    await forget(db, history, 0)
    assert await gaps.step(lease) == 0, "nobody else may have written"
    await lease.release(db)
    assert await lease.take(db)
    assert await gaps.step(lease) > 0
    assert await told(db, history.chain_id) == from_pages(history)


async def test_an_indexer_that_lost_its_place_digests_nothing(db: Database) -> None:
    history = History(next(CHAINS))
    await history.begin(db)
    await history.grow(db, [1, 2, 3])
    await forget(db, history, 0)
    with pytest.raises(LeaseLost):
        await digest_filling.fill(db, Lease(f"indexer:{history.chain_id}", 60.0), chain_id=history.chain_id)
    assert await told(db, history.chain_id) == {}


async def test_a_digest_is_told_as_of_any_block(mirror: Mirror, ledger: Ledger) -> None:
    token = ledger.deploy()
    for account in ledger.accounts[1:3]:
        ledger.mine()
        ledger.mint(token, account, 5)
    await mirror.converge()
    seen: dict[int, tuple[bytes, bytes, bytes]] = {}
    for block in range(ledger.first, ledger.height() + 1):
        contract = await mirror.contract(token, block)
        if contract is not None:
            async with mirror.db.read() as connection:
                label = await mirror.label(block)
                own = await digest_queries.contract_digest(connection, contract=contract, label=label)
                whole, contracts = await digest_queries.mirror_digest(connection, label=label)
                state = await digest_queries.state_digest(
                    connection, contract_id=contract.id, contract=token, label=label
                )
            assert contracts == 1
            seen[block] = (own.digest, whole, state)
    owns, wholes, states = (list(each) for each in zip(*seen.values(), strict=True))
    assert (len(set(owns)), len(set(states))) == (3, 3), "an empty block changes neither"
    assert len(set(wholes)) == len(seen), "but it is another block"
    ledger.reorg(1)
    await mirror.converge()
    async with mirror.db.read() as connection:
        label, found = await mirror.label(), await mirror.contract(token, ledger.height())
        assert found is not None
        again = await digest_queries.contract_digest(connection, contract=found, label=label)
    assert again.digest == owns[-2], "what was undone is not covered"
