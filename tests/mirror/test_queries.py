"""What readers ask: labels, pages and histories, always as of one block."""

import asyncio
from typing import Any

import pytest

from service.errors import Problem
from service.mirror import queries, transfer_queries
from service.mirror.queries import HistoryEntry
from tests.mirror.world import CHAIN_ID, Ledger, Mirror


async def refused(mirror: Mirror, at_block: int | None) -> Problem:
    with pytest.raises(Problem) as found:
        await mirror.label(at_block)
    return found.value


async def test_an_empty_mirror_says_so(mirror: Mirror, ledger: Ledger) -> None:
    assert (await refused(mirror, None)).slug == "mirror-empty"
    assert (await refused(mirror, 3)).slug == "mirror-empty"
    async with mirror.db.read() as connection:
        status = await queries.status(connection, chain_id=CHAIN_ID)
    assert status == queries.Status(None, None, None, None, None)


async def test_a_label_names_block_finality_and_lag(mirror: Mirror, ledger: Ledger) -> None:
    ledger.mine(6)
    mirror.blocks_max = 5
    await mirror.step()
    tip, head = ledger.first + 4, ledger.height()
    found = await mirror.label()
    assert found == queries.Label(CHAIN_ID, tip, ledger.hash_of(tip), found.time, tip <= head - 2, head - tip)
    await mirror.converge()
    labels = [await mirror.label(block) for block in range(ledger.first, head + 1)]
    assert [label.final for label in labels] == [True] * (len(labels) - 2) + [False] * 2
    assert {label.lag for label in labels} == {0}


async def test_blocks_outside_the_mirror_are_problems(mirror: Mirror, ledger: Ledger) -> None:
    ledger.mine(3)
    mirror.ledger.first += 2
    await mirror.converge()
    for block in (ledger.height() + 1, 2**63, 2**300):
        problem = await refused(mirror, block)
        assert (problem.slug, problem.status) == ("block-in-future", 422)
        assert problem.extensions == {"tip": ledger.height()}
    for block in (ledger.first - 1, 0, -1, -(2**80)):
        problem = await refused(mirror, block)
        assert (problem.slug, problem.status) == ("block-not-mirrored", 422)
        assert problem.extensions == {"oldest": ledger.first}


async def test_waiting_for_a_block_ends_when_it_is_mirrored(mirror: Mirror, ledger: Ledger) -> None:
    wanted = ledger.height() + 1
    waiting = asyncio.create_task(queries.wait_for_block(mirror.db, chain_id=CHAIN_ID, min_block=wanted, timeout_s=20))
    await mirror.converge()
    await asyncio.sleep(0.05)
    assert not waiting.done()
    ledger.mine()
    await mirror.converge()
    await waiting


@pytest.mark.parametrize("mirrored", [False, True])
async def test_waiting_too_long_is_a_problem(mirror: Mirror, ledger: Ledger, mirrored: bool) -> None:
    if mirrored:
        await mirror.converge()
    wanted = ledger.height() + 1
    with pytest.raises(queries.MirrorBehind) as found:
        await queries.wait_for_block(mirror.db, chain_id=CHAIN_ID, min_block=wanted, timeout_s=0.05)
    assert found.value.status == 503
    assert found.value.extensions == {"tip": ledger.height() if mirrored else None, "min_block": wanted}


async def test_pages_stay_put_while_amounts_change(mirror: Mirror, ledger: Ledger) -> None:
    token = ledger.deploy()
    accounts = sorted(ledger.accounts[1:8])
    with ledger.one_block():
        for account in accounts:
            ledger.mint(token, account, 10)
    await mirror.converge()
    block = ledger.height()
    contract = await mirror.contract(token, block)
    assert contract is not None
    seen: list[bytes] = []
    after: bytes | None = None
    while True:
        async with mirror.db.read() as connection:
            page = await queries.holdings_page(
                connection, contract_id=contract.id, block=block, after=after, count_max=3
            )
        seen += [each.account for each in page]
        assert {each.amount for each in page} <= {10}, "as of the block, whatever came later"
        if len(page) < 3:
            break
        after = page[-1].account
        ledger.burn(token, accounts[len(seen) - 1], 10)
        ledger.transfer(token, accounts[-1], accounts[0], 2)
        ledger.mint(token, ledger.accounts[9], 1)
        await mirror.converge()
    assert seen == accounts
    assert await mirror.holders(token, ledger.height()) != await mirror.holders(token, block)


async def test_history_is_told_as_of_its_block(mirror: Mirror, ledger: Ledger) -> None:
    token = ledger.deploy()
    one, two = ledger.accounts[1:3]
    ledger.mint(token, one, 10)
    minted = ledger.height()
    ledger.mine(2)
    ledger.transfer(token, one, two, 4)
    sent = ledger.height()
    ledger.burn(token, one, 6)
    burned = ledger.height()
    await mirror.converge()
    contract = await mirror.contract(token, burned)
    assert contract is not None

    async def history(block: int, after_block: int | None = None, count_max: int = 10) -> list[HistoryEntry]:
        async with mirror.db.read() as connection:
            return await queries.history_page(
                connection,
                contract_id=contract.id,
                account=one,
                block=block,
                after_block=after_block,
                count_max=count_max,
            )

    def told(entries: list[HistoryEntry]) -> list[tuple[int, int | None, int]]:
        return [(entry.from_block, entry.to_block, entry.amount) for entry in entries]

    assert told(await history(burned)) == [(minted, sent, 10), (sent, burned, 6), (burned, None, 0)]
    assert told(await history(sent)) == [(minted, sent, 10), (sent, None, 6)]
    assert told(await history(sent - 1)) == [(minted, None, 10)]
    assert told(await history(minted - 1)) == []
    assert told(await history(burned, count_max=1)) == [(minted, sent, 10)]
    assert told(await history(burned, minted, 1)) == [(sent, burned, 6)]
    (first, *_) = await history(burned)
    assert first.from_hash == ledger.hash_of(minted)
    timestamp = int(ledger.rpc("eth_getBlockByNumber", hex(minted), False)["timestamp"], 16)
    assert first.from_time.timestamp() == timestamp


async def all_transfers(mirror: Mirror, count_max: int, **asked: Any) -> list[transfer_queries.Transfer]:
    found: list[transfer_queries.Transfer] = []
    before: tuple[int, int] | None = None
    while True:
        async with mirror.db.read() as connection:
            page = await transfer_queries.transfers_page(connection, before=before, count_max=count_max, **asked)
        found += page
        if len(page) < count_max:
            return found
        before = page[-1].block_number, page[-1].log_index


async def test_transfers_are_paged_newest_first_over_contracts(mirror: Mirror, ledger: Ledger) -> None:
    mine, other, foreign = ledger.deploy(), ledger.deploy(), ledger.deploy()
    one, two = ledger.accounts[1:3]
    for token in (mine, other, foreign):
        with ledger.one_block():
            ledger.mint(token, one, 100)
            ledger.mint(token, two, 100)
        for _ in range(3):
            ledger.transfer(token, one, two, 1)
            ledger.transfer(token, two, two, 2)
    await mirror.converge()
    head = ledger.height()
    contracts = [await mirror.contract(token, head) for token in (mine, other)]
    ids = [contract.id for contract in contracts if contract is not None]

    everything = await all_transfers(mirror, 3, contract_ids=ids, account=None, block=head)
    assert len(everything) == 16
    assert {each.contract for each in everything} == {mine, other}
    places = [(each.block_number, each.log_index) for each in everything]
    assert places == sorted(places, reverse=True)
    assert everything == await all_transfers(mirror, 100, contract_ids=ids, account=None, block=head)

    of_one = await all_transfers(mirror, 2, contract_ids=ids, account=one, block=head)
    assert of_one == [each for each in everything if one in (each.sender, each.recipient)]
    of_two = await all_transfers(mirror, 2, contract_ids=ids, account=two, block=head)
    assert of_two == [each for each in everything if two in (each.sender, each.recipient)]

    past = places[5][0]
    before = await all_transfers(mirror, 4, contract_ids=ids, account=two, block=past)
    assert before == [each for each in of_two if each.block_number <= past]
    assert all(each.block_hash == ledger.hash_of(each.block_number) for each in everything)
    assert await all_transfers(mirror, 4, contract_ids=[], account=two, block=head) == []


async def test_holdings_of_an_account_cover_the_given_contracts_only(mirror: Mirror, ledger: Ledger) -> None:
    tokens = [ledger.deploy() for _ in range(5)]
    one = ledger.accounts[1]
    for amount, token in enumerate(tokens):
        ledger.mint(token, one, amount + 1)
    minted = ledger.height()
    ledger.burn(tokens[0], one, 1)
    await mirror.converge()
    contracts = [await mirror.contract(token, ledger.height()) for token in tokens]
    ids = [contract.id for contract in contracts if contract is not None]

    async def held(block: int, contract_ids: list[int]) -> dict[bytes, int]:
        found: dict[bytes, int] = {}
        after: bytes | None = None
        while True:
            async with mirror.db.read() as connection:
                page = await queries.account_holdings_page(
                    connection, contract_ids=contract_ids, account=one, block=block, after=after, count_max=2
                )
            found |= {each.contract: each.amount for each in page}
            if len(page) < 2:
                return found
            after = page[-1].contract

    now = dict(zip(tokens, range(1, 6), strict=True))
    assert await held(minted, ids) == now
    assert await held(ledger.height(), ids) == {token: now[token] for token in tokens[1:]}
    assert await held(ledger.height(), ids[:3]) == {token: now[token] for token in tokens[1:3]}
    assert list(await held(minted, ids)) == sorted(tokens)


async def test_contracts_are_paged_by_address_from_their_deployment_on(mirror: Mirror, ledger: Ledger) -> None:
    tokens = [ledger.deploy() for _ in range(3)]
    await mirror.converge()
    head = ledger.height()

    async def page(block: int, after: bytes | None) -> list[queries.Contract]:
        async with mirror.db.read() as connection:
            return await queries.contracts_page(connection, chain_id=CHAIN_ID, block=block, after=after, count_max=2)

    first = await page(head, None)
    assert [each.address for each in first + await page(head, first[-1].address)] == sorted(tokens)
    assert [(each.address, each.deployed_block) for each in await page(head - 2, None)] == [(tokens[0], head - 2)]
