"""Adopting a contract of others: killed anywhere, reorganised, of a node without history, older than the mirror."""

import asyncio
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_hash.auto import keccak
from pydantic import SecretStr
from sqlalchemy import text

from service.chain.node import NodeRefused, NodeUnavailable
from service.chain.reader import Block, Chain
from service.db import Database, new_id
from service.mirror import adopting, adoptions, moments
from service.mirror.adopting import Adopter, Sought, extend_below, first_block
from service.mirror.verify import Scope, verify
from tests.mirror.test_backfill import everything
from tests.mirror.test_restart import Killed, Mortal
from tests.mirror.test_undo import busy
from tests.mirror.world import CHAIN_ID, Ledger, Mirror
from tests.tokens.others import odd_code

STEPS_MAX = 400


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adopting, "LOOK_S", 0.0)
    monkeypatch.setattr(adopting, "DEFER_S", 0.0)


@pytest.fixture
async def stranger(ledger: Ledger) -> bytes:
    """A token of others with a past, all of it final but for the last transfer."""
    token = ledger._create(odd_code("PlainERC20"), ledger.accounts[0])
    ledger.transfer(token, ledger.accounts[0], ledger.accounts[1], 100)
    busy(ledger, blocks=6)
    ledger.transfer(token, ledger.accounts[1], ledger.accounts[2], 40)
    ledger.mine(3)
    ledger.transfer(token, ledger.accounts[1], ledger.accounts[3], 5)
    return token


async def want(db: Database, token: bytes, **given: Any) -> None:
    """What the API writes when an issuer asks."""
    issuer_id = new_id()
    async with db.transaction() as session:
        await session.execute(
            text("INSERT INTO issuers (id, name, signer) VALUES (:id, :name, :signer)"),
            {"id": issuer_id, "name": issuer_id.hex, "signer": bytes(20)},
        )
        await session.execute(
            text(
                """INSERT INTO adoptions (id, issuer_id, chain_id, address, kind, start_block)
                VALUES (:id, :issuer_id, :chain_id, :address, :kind, :start_block)"""
            ),
            {
                "id": new_id(),
                "issuer_id": issuer_id,
                "chain_id": CHAIN_ID,
                "address": token,
                "kind": "erc20",
                "start_block": None,
                **given,
            },
        )


async def worked(adopter: Adopter) -> None:
    """What works in the background has come to its end, well or not."""
    if adopter._task is not None:
        await asyncio.wait([adopter._task])


async def adopt(mirror: Mirror, chain: Chain | None = None, *, db: Database | None = None) -> tuple[Any, ...]:
    """Let an indexer work until every adoption has ended; how the last one did."""
    adopter = Adopter(db or mirror.db, chain or mirror.chain, chain_id=CHAIN_ID)
    try:
        for _ in range(STEPS_MAX):
            await adopter.step(mirror.lease)
            await mirror.step()
            rows = await mirror.rows("SELECT status, reason, first_block, detail FROM adoptions ORDER BY id DESC")
            if all(row[0] in ("live", "refused") for row in rows):
                return rows[0]
            await worked(adopter)
    finally:
        await adopter.aclose()
    raise AssertionError(f"no end: {rows}")


async def agrees(mirror: Mirror, token: bytes) -> None:
    """Every balance is what the contract says, at every block."""
    for block in range(mirror.ledger.height() - 8, mirror.ledger.height() + 1):
        held = await mirror.holders(token, block)
        for account in mirror.ledger.accounts[:5]:
            (amount,) = mirror.ledger.ask("AssetToken", token, "balanceOf", account, block=block)
            assert held.get(account, 0) == amount


async def test_nothing_is_shown_before_all_is_there_and_then_no_block_is_missed(
    mirror: Mirror, ledger: Ledger, stranger: bytes, db: Database
) -> None:
    await mirror.converge()
    await want(db, stranger)
    assert (await adopt(mirror))[:2] == ("live", None)
    await agrees(mirror, stranger)
    ledger.transfer(stranger, ledger.accounts[2], ledger.accounts[4], 7)
    await mirror.converge()
    await agrees(mirror, stranger)
    ledger.reorg(1)
    await mirror.converge()
    await agrees(mirror, stranger)
    scope = Scope(history_from=0)
    report = await verify(
        mirror.db, mirror.chain, chain_id=CHAIN_ID, factory=ledger.factory, scope=scope, progress=None
    )
    assert (report.differences, report.findings) == ((), ())


@pytest.mark.parametrize("committed", [False, True], ids=["before-commit", "after-commit"])
async def test_killed_between_any_two_transactions_another_goes_on(
    mirror: Mirror, ledger: Ledger, stranger: bytes, database_url: SecretStr, db: Database, committed: bool
) -> None:
    await mirror.converge()
    await want(db, stranger)
    mortal = Mortal(database_url, role="muniment_indexer")
    mortal.committed = committed
    await mortal.open()
    lives = 0
    try:
        while True:
            lives += 1
            assert lives < 60
            mortal.left = 3 + lives % 3
            try:
                assert (await adopt(mirror, db=mortal))[0] == "live"
                break
            except Killed:
                tip = await mirror.label()
                shown = await mirror.contract(stranger, tip.block)
                ((status,),) = await mirror.rows("SELECT status FROM adoptions")
                assert (shown is None) == (status != "live"), "nothing is half shown"
    finally:
        await mortal.close()
    assert lives > 2
    await agrees(mirror, stranger)


async def test_blocks_that_leave_the_chain_meanwhile_do_no_harm(
    mirror: Mirror, ledger: Ledger, stranger: bytes, db: Database
) -> None:
    await mirror.converge()
    await want(db, stranger)
    adopter = Adopter(mirror.db, mirror.chain, chain_id=CHAIN_ID)
    while adopter._task is None or not adopter._task.done():
        await adopter.step(mirror.lease)
        await worked(adopter)
    ledger.reorg(2)
    ledger.mine(1)
    await mirror.converge()
    assert await adopter.step(mirror.lease) == 0, "what was read is of blocks that are gone"
    await adopter.aclose()
    assert (await adopt(mirror))[0] == "live"
    await agrees(mirror, stranger)


async def test_a_contract_older_than_the_mirror_brings_the_blocks_below_it(
    mirror: Mirror, ledger: Ledger, stranger: bytes, db: Database
) -> None:
    young, ledger.first = ledger.first, ledger.height() - 4
    await mirror.converge()
    await want(db, stranger)
    status, _, first, _ = await adopt(mirror)
    assert status == "live"
    assert young <= first < ledger.first
    oldest = await mirror.rows("SELECT min(number), count(*), max(number) FROM mirror.blocks WHERE canonical")
    assert oldest == [(first, ledger.height() - first + 1, ledger.height())]
    assert await mirror.holders(stranger, first) == {ledger.accounts[0]: 10**18}
    await agrees(mirror, stranger)


class Dropping(Chain):
    """A node that is away after it gave so many answers of headers."""

    left = 1
    widest = 0

    async def blocks(self, *, first: int, count_max: int) -> list[Block]:
        if self.left == 0:
            raise NodeUnavailable("away")
        self.left, self.widest = self.left - 1, max(self.widest, count_max)
        return await super().blocks(first=first, count_max=count_max)


async def test_blocks_below_the_mirror_come_in_pieces_and_go_on_where_they_were_cut(
    mirror: Mirror, ledger: Ledger, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adopting, "HEADERS_AT_ONCE", 2)
    young = ledger.first
    ledger.mine(7)
    ledger.first = ledger.height()
    await mirror.converge()
    node = Dropping(chain._node, chain_id=CHAIN_ID, finality=chain.finality)
    with pytest.raises(NodeUnavailable):
        await extend_below(mirror.db, node, mirror.lease, chain_id=CHAIN_ID, first=young)
    oldest = "SELECT min(number), count(*) FROM mirror.blocks WHERE canonical"
    assert await mirror.rows(oldest) == [(ledger.first - 2, 3)]
    node.left = 99
    await extend_below(mirror.db, node, mirror.lease, chain_id=CHAIN_ID, first=young)
    assert await mirror.rows(oldest) == [(young, ledger.height() - young + 1)]
    assert node.widest == 2


class Forgetful(Chain):
    """A node that knows the state of the newest blocks alone."""

    knows = 4

    async def code(self, address: bytes, *, block: int | None = None) -> bytes:
        if block is not None and block < (await self.head()).tip.number - self.knows:
            raise NodeRefused(4444, "pruned history unavailable")
        return await super().code(address, block=block)


@pytest.fixture
async def forgetful(chain: Chain) -> Forgetful:
    return Forgetful(chain._node, chain_id=CHAIN_ID, finality=chain.finality)


class Asked(Chain):
    """A node that counts what it is asked of code, and is away after so many questions."""

    left = 3
    asked: list[int | None]

    async def code(self, address: bytes, *, block: int | None = None) -> bytes:
        if self.left == 0:
            raise NodeUnavailable("away")
        self.left -= 1
        self.asked.append(block)
        return await super().code(address, block=block)


async def test_a_search_for_the_first_block_asks_nothing_twice(ledger: Ledger, stranger: bytes, chain: Chain) -> None:
    node = Asked(chain._node, chain_id=CHAIN_ID, finality=chain.finality)
    node.asked, sought, first = [], Sought(), None
    with pytest.raises(NodeUnavailable):
        await first_block(node, stranger, final=ledger.height(), sought=sought)
    node.left = 99
    for final in (ledger.height(), ledger.height() + 1):
        found = await first_block(node, stranger, final=final, sought=sought)
        assert found == (first or found)
        first = found
    assert await chain.code(stranger, block=first)
    assert len(node.asked) == len(set(node.asked))
    node.asked, absent = [], Sought()
    for _ in range(2):
        assert await first_block(node, b"\xab" * 20, final=5, sought=absent) is None
    assert node.asked == [5], "what a final block says holds until a later one is final"


async def test_a_node_without_history_is_helped_by_a_start_block(
    mirror: Mirror, ledger: Ledger, stranger: bytes, db: Database, forgetful: Forgetful
) -> None:
    await mirror.converge()
    await want(db, stranger, start_block=ledger.first)
    assert (await adopt(mirror, forgetful))[:3] == ("live", None, ledger.first)
    await agrees(mirror, stranger)


async def test_a_history_that_begins_too_late_is_refused_and_leaves_the_way_free(
    mirror: Mirror, ledger: Ledger, stranger: bytes, db: Database, forgetful: Forgetful
) -> None:
    await mirror.converge()
    await want(db, stranger, start_block=ledger.height() - 2)
    status, reason, _, detail = await adopt(mirror, forgetful)
    assert status == "refused"
    assert reason in ("history-gone", adoptions.IMPOSSIBLE)
    assert detail
    before = await everything(mirror)
    assert not any("'canonical', True" in row and stranger.hex() in row for row in before["deployments"])
    await want(db, stranger)
    assert (await adopt(mirror))[0] == "live"
    await agrees(mirror, stranger)


async def test_a_contract_whose_first_block_is_not_final_waits_for_that(
    mirror: Mirror, ledger: Ledger, db: Database
) -> None:
    busy(ledger, blocks=3)
    token = ledger._create(odd_code("PlainERC20"), ledger.accounts[0])
    await mirror.converge()
    await want(db, token)
    adopter = Adopter(mirror.db, mirror.chain, chain_id=CHAIN_ID)
    for _ in range(3):
        await adopter.step(mirror.lease)
        await worked(adopter)
    await adopter.aclose()
    assert await mirror.rows("SELECT status FROM adoptions") == [("requested",)]
    ledger.mine(2)
    await mirror.converge()
    assert (await adopt(mirror))[0] == "live"
    assert await mirror.holders(token, ledger.height()) == {ledger.accounts[0]: 10**18}


async def test_older_blocks_that_it_brings_are_never_the_newest_that_was_shown(
    mirror: Mirror, ledger: Ledger, stranger: bytes, db: Database
) -> None:
    ledger.first = ledger.height() - 4
    await mirror.converge()
    await want(db, stranger)
    await adopt(mirror)
    query = "SELECT clock_timestamp(), min(number), max(number) FROM mirror.blocks WHERE canonical"
    ((now, oldest, tip),) = await mirror.rows(query)
    assert oldest < ledger.first
    async with db.read() as connection:
        sight = await moments.shown_at(connection, chain_id=CHAIN_ID, moment=now, at_block=None)
    assert sight.label.block == tip


async def test_one_whose_first_block_is_undone_can_be_adopted_again(
    mirror: Mirror, ledger: Ledger, db: Database
) -> None:
    token = ledger._create(odd_code("PlainERC20"), ledger.accounts[0])
    first = ledger.height()
    ledger.mine(3)
    await mirror.converge()
    await want(db, token)
    await adopt(mirror)
    undone = ledger.height() - first + 1
    ledger.rollback(undone)
    ledger.mine(undone + 2)
    await mirror.converge()
    assert await mirror.rows("SELECT status, reason FROM adoptions") == [("refused", "reorganised")]
    assert ledger._create(odd_code("PlainERC20"), ledger.accounts[0]) == token
    ledger.mine(4)
    await mirror.converge()
    await want(db, token)
    await adopt(mirror)
    assert list(await mirror.holders(token, ledger.height())) == [ledger.accounts[0]]


async def test_deeds_that_no_transfer_tells_of_are_marked(mirror: Mirror, ledger: Ledger, db: Database) -> None:
    deeds = ledger._create(odd_code("BatchERC721"), ledger.accounts[1])
    ledger.mine(4)
    await mirror.converge()
    await want(db, deeds)
    await adopt(mirror)
    assert await mirror.rows("SELECT name FROM mirror.marks") == [("balances-do-not-follow",)]


def make_deed(ledger: Ledger, deeds: bytes, holder: bytes, deed_id: int) -> None:
    ledger._do(deeds, keccak(b"mint(address,uint256)")[:4] + encode(["address", "uint256"], [holder, deed_id]), holder)


async def test_deeds_that_may_be_older_than_a_beginning_nobody_proved_are_marked(
    mirror: Mirror, ledger: Ledger, db: Database, forgetful: Forgetful
) -> None:
    deeds, one = ledger._create(odd_code("PlainERC721"), ledger.accounts[1]), ledger.accounts[1]
    make_deed(ledger, deeds, one, 7)
    ledger.mine(3)
    make_deed(ledger, deeds, one, 8)
    since = ledger.height()
    ledger.mine(3)
    await mirror.converge()
    await want(db, deeds, kind="erc721", start_block=since)
    assert (await adopt(mirror, forgetful))[:3] == ("live", None, since)
    async with mirror.db.read() as connection:
        found = await adoptions.marks(connection, chain_id=CHAIN_ID, addresses=[deeds])
    (mark,) = found[deeds]
    assert (mark.name, mark.block, mark.spoils_balances) == ("history-unproven", since, True)
    assert str(since) in mark.detail
    assert await mirror.holders(deeds, ledger.height()) == {one: 1}, "deed 7 is not there, and the mark says so"


async def test_deeds_with_a_proven_beginning_are_not_marked(mirror: Mirror, ledger: Ledger, db: Database) -> None:
    deeds, one = ledger._create(odd_code("PlainERC721"), ledger.accounts[1]), ledger.accounts[1]
    make_deed(ledger, deeds, one, 7)
    ledger.mine(3)
    await mirror.converge()
    await want(db, deeds, kind="erc721", start_block=ledger.height() - 2)
    assert (await adopt(mirror))[:2] == ("live", None)
    assert await mirror.rows("SELECT name FROM mirror.marks") == []
    assert await mirror.holders(deeds, ledger.height()) == {one: 1}


async def test_while_rows_are_withdrawn_blocks_are_followed(
    mirror: Mirror, ledger: Ledger, stranger: bytes, db: Database, forgetful: Forgetful
) -> None:
    ledger.transfer(stranger, ledger.accounts[5], ledger.accounts[6], 0)
    since = ledger.height()
    ledger.mine(3)
    await mirror.converge()
    await want(db, stranger, start_block=since)
    assert (await adopt(mirror, forgetful))[:2] == ("refused", "history-gone")
    await want(db, stranger)
    adopter = Adopter(mirror.db, mirror.chain, chain_id=CHAIN_ID)
    async with db.transaction() as session:  # as long as this one lasts, so does the withdrawal
        assert (await session.execute(text("SELECT FROM mirror.transfers WHERE canonical FOR UPDATE"))).all()
        await adopter.step(mirror.lease)
        withdrawing = adopter._task
        assert withdrawing is not None
        while not await mirror.rows("SELECT FROM pg_locks WHERE NOT granted"):
            assert not withdrawing.done()
            await asyncio.sleep(0.01)
        ledger.mine(1)
        assert await asyncio.wait_for(mirror.step(), timeout=30) == 1
        assert (await mirror.label()).block == ledger.height()
        assert not withdrawing.done()
    await worked(adopter)
    await adopter.aclose()
    assert (await adopt(mirror))[0] == "live"
    await agrees(mirror, stranger)
