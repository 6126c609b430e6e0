"""What one deployer of the factory may have deployed beside our contracts, and cannot do to everybody's mirror."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import pytest
from eth_hash.auto import keccak
from sqlalchemy import text

from service.addresses import ZERO
from service.chain import artifacts, contracts
from service.chain.contracts import create2_address, encode_call, name32
from service.db import Database
from service.mirror import queries
from service.mirror.projections import TIMELOCK, TIMELOCK_CHANGE, ImpossibleAmount
from service.mirror.queries import Holding
from service.mirror.verify import Scope, verify
from service.mirror.verify_deployments import compare_deployments
from service.mirror.verify_deployments import deployed as announced
from tests.mirror.estate import Estate
from tests.mirror.test_as_shown import shown as as_shown
from tests.mirror.test_backfill import backfilled, everything
from tests.mirror.test_reindex import reindexed
from tests.mirror.test_undo import busy
from tests.mirror.world import CHAIN_ID, DEPLOYMENT_GAS, Ledger, Mirror, empty
from tests.tokens.others import odd_code

TWICE_GAS = hex(8_000_000)

Told = tuple[Sequence[bytes], bytes]  # a log's topics and data


def word(account: bytes) -> bytes:
    return account.rjust(32, b"\0")


def moved(sender: bytes, recipient: bytes, amount: int) -> Told:
    return (contracts.TRANSFER, word(sender), word(recipient)), amount.to_bytes(32)


def assembled_log(topics: Sequence[bytes], data: bytes) -> bytes:
    """EVM code that logs words of data."""
    words = [data[start : start + 32] for start in range(0, len(data), 32)]
    stored = b"".join(b"\x7f" + each + bytes([0x60, 32 * i, 0x52]) for i, each in enumerate(words))
    pushed = b"".join(b"\x7f" + topic for topic in reversed(topics))
    return stored + pushed + bytes([0x60, len(data), 0x60, 0, 0xA0 + len(topics)])


def liar(*, later: Told | None = None, first: Told | None = None, then: bytes = b"") -> bytes:
    """Creation code of a contract that logs what it likes: `first` as it is made, `later` whenever it is called."""
    runtime = assembled_log(*later) + b"\x00" if later else b"\x00"
    made = (assembled_log(*first) if first else b"") + then
    size, start = len(runtime).to_bytes(2), (len(made) + 15).to_bytes(2)
    return made + b"\x61" + size + b"\x61" + start + b"\x60\0\x39\x61" + size + b"\x60\0\xf3" + runtime


def deploying(ledger: Ledger, code: bytes, kind: str) -> tuple[bytes, bytes]:
    """The address of what the factory is to deploy, and the call that does it."""
    salt = ledger._operation()
    call = encode_call("AssetFactory", "deploy", salt, code, name32(kind))
    return create2_address(ledger.factory, salt, keccak(code)), call


def deployed(ledger: Ledger, code: bytes, kind: str = "AssetToken") -> bytes:
    """Anything, deployed through the factory by one who may."""
    made, call = deploying(ledger, code, kind)
    ledger._do(ledger.factory, call, ledger.accounts[0], DEPLOYMENT_GAS)
    return made


async def shown(mirror: Mirror, contract: bytes) -> list[tuple[Any, ...]]:
    query = """SELECT block_number FROM mirror.deployments JOIN mirror.contracts ON id = contract_id
        WHERE canonical AND address = %s"""
    return await mirror.rows(query, [contract])


async def test_a_timelock_that_the_governor_did_not_make_is_not_followed(mirror: Mirror, ledger: Ledger) -> None:
    stranger = ledger._create(odd_code("PlainERC20"), ledger.accounts[0])
    ledger.transfer(stranger, ledger.accounts[0], ledger.accounts[2], 100)
    await mirror.converge()
    named: Told = ((keccak(TIMELOCK_CHANGE.encode()),), bytes(32) + word(stranger))
    deployed(ledger, liar(first=named), "AssetGovernor")
    # Followed from here on, it would move what nobody was seen to receive.
    ledger.transfer(stranger, ledger.accounts[2], ledger.accounts[4], 7)
    Estate(ledger).live()
    await mirror.converge()
    assert (await mirror.label()).block == ledger.height()
    assert await shown(mirror, stranger) == []
    query = "SELECT count(*) FROM mirror.deployments WHERE canonical AND kind = %s"
    assert await mirror.rows(query, [TIMELOCK]) == [(1,)], "the one that a governor of ours made"


@pytest.mark.parametrize("gear", ["follow", "backfill"])
@pytest.mark.parametrize("same_block", [True, False], ids=["one-block", "two-steps"])
async def test_what_destroyed_itself_and_is_deployed_again_is_one_contract(
    mirror: Mirror, ledger: Ledger, same_block: bool, gear: str
) -> None:
    busy(ledger, blocks=1)
    # A contract of two opcodes to DELEGATECALL: SELFDESTRUCT to the caller.
    destroyer = ledger._create(bytes.fromhex("6133ff6000526002601ef3"), ledger.accounts[0])
    delegated = bytes.fromhex("6000600060006000") + b"\x73" + destroyer + bytes.fromhex("62fffffff450")
    made, call = deploying(ledger, liar(first=moved(ZERO, ledger.accounts[1], 5), then=delegated), "AssetToken")
    with ledger.one_block() if same_block else nullcontext():
        ledger._do(ledger.factory, call, ledger.accounts[0], TWICE_GAS)
        if not same_block:
            await mirror.converge()
        ledger._do(ledger.factory, call, ledger.accounts[0], TWICE_GAS)
    ledger.mine(4)
    if gear == "backfill":
        await backfilled(mirror)
    await mirror.converge()
    assert len(await shown(mirror, made)) == 1
    assert await mirror.holders(made, ledger.height()) == {ledger.accounts[1]: 10}
    found = await announced(mirror.chain, factory=ledger.factory, first=0, last=ledger.height())
    assert await compare_deployments(mirror.db, await mirror.label(), found) == []


async def test_a_liar_that_the_factory_deployed_is_left_and_stops_nobody(mirror: Mirror, ledger: Ledger) -> None:
    busy(ledger, blocks=2)
    one, two = ledger.accounts[1:3]
    false = deployed(ledger, liar(first=moved(ZERO, one, 5), later=moved(one, two, 6)))
    await mirror.converge()
    assert await mirror.holders(false, ledger.height()) == {one: 5}
    ledger._do(false, b"", one)
    busy(ledger, blocks=2)
    await mirror.converge()
    assert (await mirror.label()).block == ledger.height()
    assert await mirror.contract(false, ledger.height()) is None
    await mirror.agrees_everywhere()
    ledger.reorg(2)
    await mirror.converge()
    assert await mirror.contract(false, ledger.height()) is None
    await mirror.agrees_everywhere()


async def test_a_liar_is_left_in_the_very_step_that_brings_it(mirror: Mirror, ledger: Ledger) -> None:
    await mirror.converge()
    one, two = ledger.accounts[1:3]
    false = [
        deployed(ledger, liar(first=moved(one, two, 5))),
        deployed(ledger, liar(first=moved(ZERO, one, 2**256 - 1), later=moved(ZERO, two, 1))),
    ]
    ledger._do(false[1], b"", one)
    busy(ledger, blocks=3)
    assert await mirror.converge() == 1
    assert (await mirror.label()).block == ledger.height()
    assert [await mirror.contract(each, ledger.height()) for each in false] == [None, None]
    await mirror.agrees_everywhere()


async def test_a_first_sync_leaves_a_liar_and_gives_the_rows_that_steps_give(
    mirror: Mirror, ledger: Ledger, db: Database
) -> None:
    one, two = ledger.accounts[1:3]
    early = deployed(ledger, liar(first=moved(one, two, 5)))
    busy(ledger, blocks=6)
    late = deployed(ledger, liar(first=moved(ZERO, one, 5), later=moved(one, two, 4)))
    ledger._do(late, b"", one)
    busy(ledger, blocks=6)
    ledger._do(late, b"", one)
    ledger.mine(2)
    await backfilled(mirror, events_at_once=3)
    assert (await mirror.label()).block == ledger.height() - 2
    await mirror.converge()
    assert [await mirror.contract(each, ledger.height()) for each in (early, late)] == [None, None]
    await mirror.agrees_everywhere()
    filled = await of_ours(mirror, ledger)
    await empty(db)
    await mirror.converge()
    assert await of_ours(mirror, ledger) == filled


async def test_a_liar_is_told_as_it_was_shown_also_when_the_chain_has_left_its_block(
    mirror: Mirror, ledger: Ledger, db: Database
) -> None:
    one, two = ledger.accounts[1:3]
    ledger.mine(2)
    false = deployed(ledger, liar(first=moved(ZERO, one, 5), later=moved(one, two, 6)))
    moments = []
    for lies in (False, True):
        if lies:
            ledger._do(false, b"", one)
        await mirror.converge()
        moments += [time for (time,) in await mirror.rows("SELECT clock_timestamp()")]

    async def told() -> list[list[Holding] | None]:
        found: list[list[Holding] | None] = []
        for moment in moments:
            async with as_shown(db, CHAIN_ID, moment) as (connection, label):
                given: dict[str, Any] = {"chain_id": CHAIN_ID, "block": label.block}
                contract = await queries.contract(connection, address=false, **given)
                listed = await queries.contracts_page(connection, after=None, count_max=9, **given)
                assert [each.address for each in listed] == ([] if contract is None else [false])
                if contract is None:
                    found.append(None)
                    continue
                at: dict[str, Any] = {"contract_id": contract.id, "block": label.block, "count_max": 9}
                found.append(await queries.holdings_page(connection, after=None, **at))
        return found

    expected = [[Holding(one, 5)], None]
    assert await told() == expected
    ledger.reorg(2)
    await mirror.converge()
    assert await mirror.contract(false, ledger.height()) is None
    assert await told() == expected


@pytest.mark.parametrize("way", ["later", "one-step", "first-sync"])
async def test_verify_says_of_a_liar_that_it_is_expelled_and_nothing_differs(
    mirror: Mirror, ledger: Ledger, way: str
) -> None:
    one, two = ledger.accounts[1:3]
    if way == "later":
        await mirror.converge()
    false = deployed(ledger, liar(first=moved(ZERO, one, 5), later=moved(one, two, 6)))
    if way == "later":
        await mirror.converge()
    ledger._do(false, b"", one)
    busy(ledger, blocks=4)
    if way == "first-sync":
        await backfilled(mirror)
    await mirror.converge()
    scope = Scope(history_from=0)
    report = await verify(
        mirror.db, mirror.chain, chain_id=CHAIN_ID, factory=ledger.factory, scope=scope, progress=None
    )
    assert report.differences == ()
    assert [(each.name, each.contract, each.cause) for each in report.findings] == [
        ("expelled", false, "transfers-do-not-add-up")
    ]


async def test_a_contract_of_ours_that_is_missing_is_a_difference_whatever_the_mirror_says(
    mirror: Mirror, ledger: Ledger, db: Database
) -> None:
    ours = ledger.deploy()
    await mirror.converge()
    async with db.transaction() as session:
        await session.execute(text("UPDATE mirror.deployments SET canonical = false, left_at = shown_at"))
    report = await verify(
        mirror.db, mirror.chain, chain_id=CHAIN_ID, factory=ledger.factory, scope=Scope(), progress=None
    )
    assert [(each.kind, each.contract) for each in report.differences] == [("deployment", ours)]
    assert report.findings == ()


async def test_a_reindex_passes_over_a_liar(mirror: Mirror, ledger: Ledger, db: Database) -> None:
    one, two = ledger.accounts[1:3]
    false = deployed(ledger, liar(first=moved(one, two, 5)))
    token = busy(ledger, blocks=3)
    ledger.mine(3)
    await mirror.converge()
    for _ in range(2):
        assert [each.address for each in await reindexed(mirror, db)] == [token]
    assert await shown(mirror, false) == []
    await mirror.agrees_everywhere()


async def of_ours(mirror: Mirror, ledger: Ledger) -> dict[str, list[str]]:
    """Every row that tells of a token of ours."""
    tokens = [token.hex() for token in ledger.tokens]
    rows = await everything(mirror)
    return {table: [row for row in each if any(token in row for token in tokens)] for table, each in rows.items()}


async def test_a_contract_of_ours_is_never_left(mirror: Mirror, ledger: Ledger, db: Database) -> None:
    token = ledger.deploy()
    ledger.mint(token, ledger.accounts[1], 5)
    await mirror.converge()
    async with db.transaction() as session:  # as if the node had kept the mint from us
        await session.execute(text("UPDATE mirror.holdings SET amount = 1"))
    ledger.transfer(token, ledger.accounts[1], ledger.accounts[2], 4)
    with pytest.raises(ImpossibleAmount):
        await mirror.converge()
    assert len(await shown(mirror, token)) == 1
    assert artifacts.is_code_of_ours(await mirror.chain.code(token))
    assert not artifacts.is_code_of_ours(b"")
