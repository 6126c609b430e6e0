"""`verify` believes the chain: whatever was changed in the mirror behind its back is found."""

from typing import Any

import pytest
from sqlalchemy import text

from service.addresses import hex0x
from service.chain.reader import Call, Chain
from service.db import Database
from service.mirror import queries
from service.mirror.verify import ReorganisedMeanwhile, Report, Scope, verify
from tests.mirror.world import CHAIN_ID, Ledger, Mirror


async def compare(mirror: Mirror, block: int | None = None, chain: Chain | None = None, **scope: Any) -> Report:
    return await verify(
        mirror.db,
        chain or mirror.chain,
        chain_id=CHAIN_ID,
        factory=mirror.ledger.factory,
        scope=Scope(block, **scope),
        progress=None,
    )


@pytest.fixture
async def token(mirror: Mirror, ledger: Ledger) -> bytes:
    """A token of which three hold something and a fourth no longer does."""
    token = ledger.deploy()
    for account in ledger.accounts[1:5]:
        ledger.mint(token, account, 100)
    ledger.burn(token, ledger.accounts[4], 100)
    ledger.pause(token)
    ledger.deploy()
    await mirror.converge()
    return token


async def tamper(db: Database, statement: str, **given: Any) -> None:
    async with db.transaction() as session:
        await session.execute(text(statement), given)


async def test_a_true_mirror_has_no_difference_at_any_block(mirror: Mirror, ledger: Ledger, token: bytes) -> None:
    seen: list[tuple[int, int]] = []
    report = await verify(
        mirror.db,
        mirror.chain,
        chain_id=CHAIN_ID,
        factory=ledger.factory,
        scope=Scope(),
        progress=lambda done, total: seen.append((done, total)),
    )
    states, rows = (
        2 * 4 + 4 + 2,
        await mirror.rows("SELECT (SELECT count(*) FROM mirror.transfers) + (SELECT count(*) FROM mirror.events)"),
    )
    compared = 2 + states + rows[0][0]  # the block, the list of contracts; each contract has an authority
    assert report == Report(ledger.height(), ledger.hash_of(ledger.height()), compared, ())
    assert seen[-1] == (report.compared, report.compared)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    for block in range(ledger.first, ledger.height()):
        assert (await compare(mirror, block)).differences == ()


async def test_a_changed_holding_is_found(mirror: Mirror, ledger: Ledger, token: bytes, db: Database) -> None:
    one = ledger.accounts[1]
    await tamper(db, "UPDATE mirror.holdings SET amount = 99 WHERE account = :account", account=one)
    differences = (await compare(mirror)).differences
    assert [(each.kind, each.account, each.mirror, each.chain, each.block) for each in differences] == [
        ("sum_of_holdings", None, "299", "300", None),
        ("holding", one, "99", "100", None),
        ("holding", one, "99", "100", ledger.first + 2),
    ], "what the contract answers, and what the transfers add up to"
    assert {each.contract for each in differences} == {token}
    before = ledger.first + 1
    assert (await compare(mirror, before)).differences == (), "true before the row began"


async def test_a_forgotten_holder_is_found(mirror: Mirror, ledger: Ledger, token: bytes, db: Database) -> None:
    await tamper(db, "DELETE FROM mirror.holdings WHERE account = :account", account=ledger.accounts[2])
    differences = (await compare(mirror)).differences
    assert [(each.kind, each.mirror) for each in differences] == [("sum_of_holdings", "200"), ("holding", "nothing")]


async def test_an_invented_holder_is_found(mirror: Mirror, ledger: Ledger, token: bytes, db: Database) -> None:
    four = ledger.accounts[4]
    await tamper(db, "UPDATE mirror.holdings SET amount = 7 WHERE account = :account AND amount = 0", account=four)
    differences = (await compare(mirror)).differences
    assert ("holding", "7", "0") in [(each.kind, each.mirror, each.chain) for each in differences]


async def test_a_wrong_supply_and_pause_are_found(mirror: Mirror, token: bytes, db: Database) -> None:
    await tamper(db, "UPDATE mirror.supplies SET amount = amount + 1 WHERE to_block IS NULL")
    await tamper(db, "UPDATE mirror.pauses SET paused = NOT paused")
    differences = (await compare(mirror)).differences
    assert [(each.kind, each.mirror, each.chain) for each in differences] == [
        ("supply", "301", "300"),
        ("paused", "0", "1"),
        ("supply", "301", "300"),
    ]


async def test_a_contract_that_is_not_there_is_found(
    mirror: Mirror, ledger: Ledger, token: bytes, db: Database
) -> None:
    moved = "UPDATE mirror.contracts SET address = :nowhere WHERE address = :token"
    await tamper(db, moved, nowhere=b"n" * 20, token=token)
    differences = (await compare(mirror)).differences
    found = {(each.kind, each.contract) for each in differences}
    assert found >= {("deployment", b"n" * 20), ("deployment", token), ("code", b"n" * 20)}


async def test_another_block_is_one_difference(mirror: Mirror, ledger: Ledger, token: bytes) -> None:
    shown = (await mirror.label()).hash
    ledger.reorg(2)
    report = await compare(mirror)
    (difference,) = report.differences
    assert (difference.kind, difference.mirror) == ("block_hash", hex0x(shown))
    assert difference.chain == hex0x(ledger.hash_of(ledger.height()))
    ledger.rollback(2)
    assert (await compare(mirror)).differences[0].chain == "no such block"


async def test_a_reorganisation_meanwhile_asks_to_run_again(mirror: Mirror, ledger: Ledger, token: bytes) -> None:
    class Moving(Chain):
        async def calls(self, calls: Any, *, block: int | None = None) -> Any:
            answers = await super().calls(calls, block=block)
            ledger.reorg(1)
            return answers

    real = mirror.chain
    moving = Moving(real._node, chain_id=CHAIN_ID, finality=real.finality)
    with pytest.raises(ReorganisedMeanwhile, match="run verify again"):
        await compare(mirror, chain=moving)


async def test_balances_are_asked_in_bounded_batches(
    mirror: Mirror, ledger: Ledger, token: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.mirror.verify_state.CALLS_MAX", 3)
    sizes: list[int] = []

    class Counting(Chain):
        async def calls(self, calls: list[Call], *, block: int | None = None) -> Any:  # type: ignore[override]
            sizes.append(len(calls))
            return await super().calls(calls, block=block)

    real = mirror.chain
    counting = Counting(real._node, chain_id=CHAIN_ID, finality=real.finality)
    assert (await compare(mirror, chain=counting)).differences == ()
    assert sorted(sizes) == [1, 1, 1, 3, 3, 3], "authorities; holders in two batches; totals"


async def test_blocks_that_are_not_mirrored_are_problems(mirror: Mirror, ledger: Ledger, token: bytes) -> None:
    with pytest.raises(queries.BlockInFuture):
        await compare(mirror, ledger.height() + 1)
