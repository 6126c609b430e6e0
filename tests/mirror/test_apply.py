"""Blocks that come: what they did is in the mirror, as of each of them."""

from sqlalchemy import event, text

from service.amounts import AMOUNT_MAX
from service.mirror import queries, transfer_queries
from tests.mirror.world import CHAIN_ID, Ledger, Mirror


async def test_every_past_block_says_what_the_chain_says(mirror: Mirror, ledger: Ledger) -> None:
    token = ledger.deploy()
    _, one, two, three = ledger.accounts[:4]
    ledger.mint(token, one, 1_000)
    ledger.mint(token, two, 50)
    ledger.mine(2)
    ledger.transfer(token, one, three, 400)
    other = ledger.deploy()
    ledger.mint(other, three, 7)
    ledger.pause(token)
    ledger.burn(other, three, 7)
    ledger.unpause(token)
    ledger.burn(token, two, 50)

    assert await mirror.converge() == 1
    await mirror.agrees_everywhere()


async def test_one_block_a_step_gives_the_same_mirror(mirror: Mirror, ledger: Ledger) -> None:
    token = ledger.deploy()
    for account in ledger.accounts[1:4]:
        ledger.mint(token, account, 10)
        ledger.transfer(token, account, ledger.accounts[5], 4)
    mirror.blocks_max = 1
    assert await mirror.converge() == ledger.height() - ledger.first + 1
    await mirror.agrees_everywhere()


async def test_the_largest_amount_is_exact(mirror: Mirror, ledger: Ledger) -> None:
    token = ledger.deploy()
    ledger.mint(token, ledger.accounts[1], AMOUNT_MAX)
    ledger.transfer(token, ledger.accounts[1], ledger.accounts[2], AMOUNT_MAX - 1)
    await mirror.converge()
    await mirror.agrees_everywhere()
    assert (await mirror.holders(token, ledger.height()))[ledger.accounts[2]] == AMOUNT_MAX - 1


async def test_several_changes_of_an_account_in_one_block_are_one_row(mirror: Mirror, ledger: Ledger) -> None:
    token = ledger.deploy()
    one, two = ledger.accounts[1:3]
    with ledger.one_block():
        ledger.mint(token, one, 100)
        ledger.mint(token, one, 11)
        ledger.transfer(token, one, two, 30)
        ledger.transfer(token, two, one, 5)
    await mirror.converge()
    await mirror.agrees_everywhere()
    rows = await mirror.rows("SELECT account, amount, to_block FROM mirror.holdings ORDER BY amount")
    assert rows == [(two, 25, None), (one, 86, None)]
    assert await mirror.rows("SELECT count(*) FROM mirror.transfers") == [(4,)]


async def test_a_transfer_to_oneself_is_shown_and_changes_no_holding(mirror: Mirror, ledger: Ledger) -> None:
    token = ledger.deploy()
    one = ledger.accounts[1]
    ledger.mint(token, one, 9)
    ledger.transfer(token, one, one, 9)
    await mirror.converge()
    await mirror.agrees_everywhere()
    assert await mirror.rows("SELECT count(*) FROM mirror.holdings") == [(1,)]
    contract = await mirror.contract(token, ledger.height())
    assert contract is not None
    async with mirror.db.read() as connection:
        page = await transfer_queries.transfers_page(
            connection,
            contract_ids=[contract.id],
            account=one,
            block=ledger.height(),
            before=None,
            count_max=10,
        )
    assert [(each.sender, each.recipient) for each in page] == [(one, one), (bytes(20), one)]


async def test_minted_and_burned_leaves_a_row_of_nothing(mirror: Mirror, ledger: Ledger) -> None:
    token = ledger.deploy()
    one, two = ledger.accounts[1:3]
    ledger.mint(token, one, 5)
    ledger.burn(token, one, 5)
    with ledger.one_block():
        ledger.mint(token, two, 5)
        ledger.burn(token, two, 5)
    await mirror.converge()
    await mirror.agrees_everywhere()
    found = await mirror.rows("SELECT account, amount, to_block IS NULL FROM mirror.holdings ORDER BY from_block")
    assert found == [(one, 5, False), (one, 0, True)]


async def test_deployed_minted_and_paused_in_one_block_is_seen(mirror: Mirror, ledger: Ledger) -> None:
    await mirror.converge()
    with ledger.one_block():
        token = ledger.deploy()
        ledger.mint(token, ledger.accounts[1], 3)
        ledger.pause(token)
    await mirror.converge()
    await mirror.agrees_everywhere()
    assert await mirror.holders(token, ledger.height()) == {ledger.accounts[1]: 3}


async def test_a_contract_that_the_factory_did_not_deploy_is_not_followed(mirror: Mirror, ledger: Ledger) -> None:
    stranger = Ledger(ledger.url)
    token = stranger.deploy()
    stranger.mint(token, stranger.accounts[1], 3)
    await mirror.converge()
    assert await mirror.contract(token, ledger.height()) is None
    assert await mirror.rows("SELECT count(*) FROM mirror.transfers") == [(0,)]


async def test_a_step_takes_as_many_statements_for_many_events_as_for_few(mirror: Mirror, ledger: Ledger) -> None:
    counts: list[int] = []

    def count(*_: object) -> None:
        counts[-1] += 1

    token = ledger.deploy()
    await mirror.converge()
    engine = mirror.db._engine.sync_engine
    event.listen(engine, "before_cursor_execute", count)
    for accounts in (ledger.accounts[1:2], ledger.accounts[1:9] * 3):
        with ledger.one_block():
            for account in accounts:
                ledger.mint(token, account, 2)
        counts.append(0)
        await mirror.step()
    assert counts[0] == counts[1] > 0


async def test_an_idle_mirror_still_says_that_it_is_alive(mirror: Mirror, ledger: Ledger) -> None:
    await mirror.converge()
    ledger.mine(0)
    before = await mirror.rows("SELECT seen_at FROM mirror.heads")
    assert await mirror.step() == 0
    assert await mirror.rows("SELECT seen_at FROM mirror.heads") == before, "written again within the second"
    async with mirror.db.transaction() as session:
        await session.execute(text("UPDATE mirror.heads SET seen_at = seen_at - interval '2 seconds'"))
    assert await mirror.step() == 0
    async with mirror.db.read() as connection:
        status = await queries.status(connection, chain_id=CHAIN_ID)
    assert status.tip == status.head == ledger.height()
    assert status.lag == 0
    assert status.seen_age_s is not None
    assert status.seen_age_s < 2
