"""A mirror that is made anew from the chain says the same; one that somebody altered is repaired."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from service.chain.reader import Chain
from service.db import Database
from service.mirror.reindexing import Rebuilt, Reindex, targets
from tests.mirror.test_adopting import adopt, want
from tests.mirror.test_backfill import everything, lively
from tests.mirror.test_restart import Killed, Mortal
from tests.mirror.test_undo import busy
from tests.mirror.world import CHAIN_ID, Ledger, Mirror
from tests.tokens.others import odd_code


async def reindexed(
    mirror: Mirror, db: Database, *, between: Callable[[], Awaitable[Any]] | None = None, chain: Chain | None = None
) -> list[Rebuilt]:
    """Make the whole mirror anew, with the rights of the tables' owner."""
    run = Reindex(db, chain or mirror.chain, mirror.lease, CHAIN_ID, receipts_share=0)
    wanted = await targets(db, run.chain, chain_id=CHAIN_ID, factory=mirror.ledger.factory, final=await run.final())
    found = []
    for target in await run.remaining(wanted, whole=True):
        async for rebuilt in run.rebuild(target):
            found += [] if rebuilt is None else [rebuilt]
            if between is not None:
                await between()
    await run.finish()
    return found


async def alter(db: Database, *statements: str) -> None:
    async with db.transaction() as session:
        for statement in statements:
            await session.execute(text(statement))


async def test_a_sound_mirror_stays_as_it_is_with_its_orphaned_rows_and_showings(
    mirror: Mirror, ledger: Ledger, db: Database
) -> None:
    lively(ledger)
    ledger.mint(ledger.tokens[-1], ledger.accounts[4], 5)
    await mirror.converge()
    ledger.reorg(2)
    ledger.mine(2)
    await mirror.converge()
    before = await everything(mirror)
    showings = await mirror.rows("SELECT * FROM mirror.showings ORDER BY block_hash")
    assert any("'canonical', False" in row for row in before["transfers"])
    found = await reindexed(mirror, db)
    after = await everything(mirror)
    for table, rows in before.items():
        assert after[table] == rows, table
    assert len(found) > 10
    assert [each for each in found if each.differed or each.digest_before != each.digest_after] == []
    assert await mirror.rows("SELECT * FROM mirror.showings ORDER BY block_hash") == showings
    await mirror.agrees_everywhere()
    busy(ledger, blocks=3)
    await mirror.converge()
    await mirror.agrees(ledger.height())


async def test_whatever_was_altered_is_made_right_and_told(mirror: Mirror, ledger: Ledger, db: Database) -> None:
    token = busy(ledger, blocks=8)
    ledger.issue(ledger.deploy_deeds(), ledger.accounts[1])
    ledger.mine(2)
    await mirror.converge()
    before = await everything(mirror)
    await alter(
        db,
        "UPDATE mirror.transfers SET amount = amount + 1 WHERE deed_id IS NULL",
        "UPDATE mirror.holdings SET amount = amount + 2, canonical = false WHERE to_block IS NULL",
        "DELETE FROM mirror.supplies WHERE to_block IS NOT NULL",
        "UPDATE mirror.titles SET holder = decode(repeat('ab', 20), 'hex')",
        "UPDATE mirror.digests SET digest = decode(repeat('ab', 32), 'hex') WHERE to_block IS NULL",
        "UPDATE mirror.deployments SET kind = 'another', salt = decode(repeat('ab', 32), 'hex')",
        "INSERT INTO mirror.transfers SELECT hash, 999, 1, number, hash, decode(repeat('ab', 20), 'hex'), "
        "decode(repeat('ab', 20), 'hex'), 5, true, NULL FROM mirror.blocks WHERE canonical",
    )
    found = {each.address: each for each in await reindexed(mirror, db)}
    assert await everything(mirror) == before
    assert {"transfers", "holdings", "supplies", "digests", "deployments"} == set(found[token].differed)
    assert found[token].digest_before != found[token].digest_after
    await mirror.agrees_everywhere()


async def test_readers_see_the_old_rows_or_the_new_ones_and_blocks_come_meanwhile(
    mirror: Mirror, ledger: Ledger, db: Database
) -> None:
    busy(ledger, blocks=8)
    token = ledger.deploy()
    ledger.mint(token, ledger.accounts[2], 10)
    ledger.mine(2)
    await mirror.converge()
    await alter(db, "UPDATE mirror.holdings SET amount = amount + 1 WHERE amount > 0")
    seen = []

    async def read() -> None:
        ledger.mint(token, ledger.accounts[3], 1)
        await mirror.converge()
        label = await mirror.label()
        held = await mirror.holders(token, label.block)
        state = ledger.state(token, label.block)
        assert state is not None
        seen.append(sum(held.values()) - state.supply)

    found = await reindexed(mirror, db, between=read)
    assert seen[-1] == 0
    assert token in {each.address for each in found}
    await mirror.agrees(ledger.height())


@pytest.mark.parametrize("committed", [False, True], ids=["before-commit", "after-commit"])
async def test_killed_between_any_two_transactions_it_goes_on(
    mirror: Mirror, ledger: Ledger, database_url: SecretStr, db: Database, committed: bool
) -> None:
    busy(ledger, blocks=5)
    ledger.issue(ledger.deploy_deeds(), ledger.accounts[1])
    ledger.mine(2)
    await mirror.converge()
    before = await everything(mirror)
    await alter(db, "UPDATE mirror.transfers SET amount = amount + 1")
    mortal = Mortal(database_url, role=None)
    mortal.committed = committed
    await mortal.open()
    lives, done = 0, list[Rebuilt]()
    try:
        while True:
            lives += 1
            mortal.left = 6 + lives % 3
            try:
                done = await reindexed(mirror, mortal)
                break
            except Killed:
                assert lives < 60
    finally:
        await mortal.close()
    assert lives > 1
    assert len(done) < len(ledger.tokens) + 2, "what was done is not done again"
    assert await everything(mirror) == before


async def test_no_process_may_do_it(mirror: Mirror, ledger: Ledger) -> None:
    busy(ledger, blocks=5)
    ledger.mine(2)
    await mirror.converge()
    before = await everything(mirror)
    with pytest.raises(Exception, match="permission denied"):
        await reindexed(mirror, mirror.db)
    assert await everything(mirror) == before


async def test_an_adopted_contract_is_made_anew_like_any_other(mirror: Mirror, ledger: Ledger, db: Database) -> None:
    busy(ledger, blocks=3)
    token = ledger._create(odd_code("PlainERC20"), ledger.accounts[0])
    ledger.transfer(token, ledger.accounts[0], ledger.accounts[1], 100)
    ledger.mine(2)
    await mirror.converge()
    await want(db, token)
    assert (await adopt(mirror))[0] == "live"
    before = await everything(mirror)
    await alter(db, "UPDATE mirror.holdings SET amount = amount + 1")
    found = {each.address: each for each in await reindexed(mirror, db)}
    assert found[token].differed == ("holdings",)
    assert await everything(mirror) == before
