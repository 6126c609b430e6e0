"""Past blocks against the chain: what the mirror lost, added or changed long ago is found, however it is cut."""

from typing import Any

import pytest
from sqlalchemy import text

from service.addresses import checksum
from service.chain.node import AnswerTooLong
from service.chain.reader import Chain
from service.db import Database
from service.mirror import verify_history
from service.mirror.verify import ReorganisedMeanwhile, Report, Sample, Scope, verify
from tests.mirror.estate import Estate
from tests.mirror.world import CHAIN_ID, Ledger, Mirror


async def compare(mirror: Mirror, chain: Chain | None = None, **scope: Any) -> Report:
    return await verify(
        mirror.db,
        chain or mirror.chain,
        chain_id=CHAIN_ID,
        factory=mirror.ledger.factory,
        scope=Scope(**scope),
        progress=None,
    )


async def test_all_that_happens_to_all_contracts_is_derived_again_without_a_difference(
    mirror: Mirror, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    Estate(ledger).live()
    ledger.reorg(3)
    await mirror.converge()
    assert (await compare(mirror, history_from=0)).differences == ()
    monkeypatch.setattr(verify_history, "BLOCKS_MAX", 3)
    assert (await compare(mirror, history_from=ledger.height() - 20)).differences == ()


async def test_a_contract_that_the_mirror_misses_is_found(mirror: Mirror, ledger: Ledger, db: Database) -> None:
    token = ledger.deploy()
    ledger.mint(token, ledger.accounts[1], 3)
    await mirror.converge()
    for table in ("deployments", "transfers", "events", "holdings", "supplies", "states", "digests"):
        async with db.transaction() as session:
            await session.execute(text(f"DELETE FROM mirror.{table}"))
    (difference,) = (await compare(mirror, history_from=0)).differences
    assert (difference.kind, difference.contract, difference.mirror) == ("deployment", token, "nothing")
    assert "kind AssetToken" in difference.chain


async def test_an_old_transfer_that_was_changed_is_told_with_its_block(
    mirror: Mirror, ledger: Ledger, db: Database
) -> None:
    token = ledger.deploy()
    ledger.mint(token, ledger.accounts[1], 3)
    block = ledger.height()
    ledger.mine(3)
    await mirror.converge()
    async with db.transaction() as session:
        await session.execute(text("UPDATE mirror.transfers SET amount = 4"))
    found = (await compare(mirror, history_from=block)).differences
    (difference,) = [each for each in found if each.kind == "transfer"]
    assert (difference.contract, difference.block) == (token, block)
    assert (difference.mirror, difference.chain) == ("amount 4", "amount 3")
    later = (await compare(mirror, history_from=block + 1)).differences
    assert {each.kind for each in later} == {"digest", "holding", "supply"}, "the mirror's own rows contradict it"


async def test_a_sample_is_drawn_again_from_its_seed(mirror: Mirror, ledger: Ledger, db: Database) -> None:
    token = ledger.deploy()
    with ledger.one_block():
        for account in ledger.accounts[1:8]:
            ledger.mint(token, account, 3)
    ledger.mine(40)
    await mirror.converge()
    async with db.transaction() as session:
        await session.execute(text("UPDATE mirror.blocks SET timestamp = timestamp + interval '1 second'"))
        await session.execute(text("UPDATE mirror.holdings SET amount = 4"))

    def drawn(report: Report) -> tuple[list[int | None], list[str]]:
        blocks = [each.block for each in report.differences if each.kind == "block"]
        held = (each for each in report.differences if each.kind == "holding" and each.block is None)
        return blocks, [checksum(each.account) for each in held if each.account is not None]

    first = drawn(await compare(mirror, sample=Sample(3, 7)))
    assert [len(each) for each in first] == [3, 3]
    assert drawn(await compare(mirror, sample=Sample(3, 7))) == first
    assert drawn(await compare(mirror, sample=Sample(3, 8))) != first
    blocks, _ = drawn(await compare(mirror, sample=Sample(3, 7), history_from=ledger.height() - 4))
    assert all(block is not None and block >= ledger.height() - 4 for block in blocks)


async def test_a_node_that_takes_short_questions_alone_is_asked_them(mirror: Mirror, ledger: Ledger) -> None:
    token = ledger.deploy()
    for account in ledger.accounts[1:6]:
        ledger.mint(token, account, 3)
    await mirror.converge()

    class Curt(Chain):
        async def logs(self, **asked: Any) -> Any:
            if asked["last"] - asked["first"] > 1 or len(asked["topics"]) > 40:
                raise AnswerTooLong("too much")
            return await super().logs(**asked)

    real = mirror.chain
    curt = Curt(real._node, chain_id=CHAIN_ID, finality=real.finality)
    assert (await compare(mirror, curt, history_from=0)).differences == ()


async def test_a_reorganisation_between_headers_and_logs_asks_to_run_again(mirror: Mirror, ledger: Ledger) -> None:
    token = ledger.deploy()
    ledger.mint(token, ledger.accounts[1], 3)
    ledger.mine(2)
    await mirror.converge()

    class Moving(Chain):
        async def blocks(self, *, first: int, count_max: int) -> Any:
            found = await super().blocks(first=first, count_max=count_max)
            if count_max > 1:
                ledger.reorg(2)
            return found

    real = mirror.chain
    moving = Moving(real._node, chain_id=CHAIN_ID, finality=real.finality)
    with pytest.raises(ReorganisedMeanwhile, match="run verify again"):
        await compare(mirror, moving, history_from=0)
