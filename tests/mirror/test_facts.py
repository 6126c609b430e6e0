"""Titles, states and events: what the chain says, now and as of any block, and after any reorganisation."""

from dataclasses import replace
from typing import Any

import pytest
from eth_hash.auto import keccak

from service.addresses import checksum, hex0x
from service.db import Database
from service.mirror import facts, queries, transfer_queries
from service.mirror.projections import TIMELOCK
from service.mirror.verify import Scope, verify
from tests.mirror.estate import HASH, Estate
from tests.mirror.world import CHAIN_ID, Ledger, Mirror, empty


@pytest.fixture
def chain_url(own_chain_url: str) -> str:
    """A chain of its own: a shared one, which keeps the states of a limited number of blocks, would lose others'."""
    return own_chain_url


@pytest.fixture
async def estate(mirror: Mirror, ledger: Ledger) -> Estate:
    """A mirrored estate on which everything has happened."""
    estate = Estate(ledger)
    estate.live()
    await mirror.converge()
    return estate


async def contract_of(mirror: Mirror, estate: Estate, kind: str) -> queries.Contract:
    found = await mirror.contract(estate.at[kind], estate.ledger.height())
    assert found is not None
    return found


async def asked(mirror: Mirror, question: Any, **given: Any) -> Any:
    async with mirror.db.read() as connection:
        return await question(connection, **given)


async def all_pages(mirror: Mirror, question: Any, after_of: Any, **given: Any) -> list[Any]:
    """Every row of a paged question, two rows a page."""
    found: list[Any] = []
    after: Any = None
    name = "before" if question is facts.events_page else "after"
    while True:
        page = await asked(mirror, question, count_max=2, **{name: after}, **given)
        found += page
        if len(page) < 2:
            return found
        after = after_of(page[-1])


async def test_every_past_block_says_what_the_contracts_views_say(
    mirror: Mirror, ledger: Ledger, estate: Estate
) -> None:
    counts = await mirror.rows("SELECT aspect FROM mirror.states GROUP BY aspect")
    assert len(counts) >= 25, "most aspects have a state to compare"
    # Every third block by the views; test_verify_history.py has each of them by its logs.
    for block in range(ledger.first, ledger.height() + 1, 3):
        report = await verify(
            mirror.db,
            mirror.chain,
            chain_id=CHAIN_ID,
            factory=mirror.ledger.factory,
            scope=Scope(block),
            progress=None,
        )
        assert report.differences == ()


async def test_one_block_a_step_gives_the_same_rows(
    mirror: Mirror, ledger: Ledger, estate: Estate, db: Database
) -> None:
    at_once = await mirror.contents()
    await empty(db)
    mirror.blocks_max = 1
    await mirror.converge()
    assert await mirror.contents() == at_once


@pytest.mark.parametrize("depth", [1, 4, 9, 17, 30, 45])
async def test_a_reorganisation_leaves_what_a_new_mirror_holds(
    mirror: Mirror, ledger: Ledger, estate: Estate, db: Database, depth: int
) -> None:
    before = await mirror.contents()
    ledger.reorg(depth)
    await mirror.converge()
    after = await mirror.contents()
    for name in ("titles", "states", "events", "transfers"):
        assert len(after[name]) >= len(before[name]), "nothing that was shown is deleted"
    standing = {name: [row for row in rows if row[-1]] for name, rows in after.items()}
    await empty(db)
    await mirror.converge()
    assert standing == await mirror.contents()


async def test_titles_are_told_as_of_their_block(mirror: Mirror, ledger: Ledger, estate: Estate) -> None:
    deeds = await contract_of(mirror, estate, "DeedToken")
    seen: set[tuple[int, bytes | None]] = set()
    for block in range(deeds.deployed_block, ledger.height() + 1):
        owners: dict[int, bytes] = {}
        for deed_id in (1, 2, 5, 77, 2**255):
            title = await asked(mirror, facts.title, contract_id=deeds.id, deed_id=deed_id, block=block)
            seen.add((deed_id, title and title.holder))
            if title is not None and title.holder is not None:
                owners[deed_id] = title.holder
                answer = ledger.ask("DeedToken", deeds.address, "ownerOf", deed_id, block=block)
                assert answer == (title.holder,)
        given = {"contract_id": deeds.id, "block": block}
        page = await all_pages(mirror, facts.titles_page, lambda title: title.deed_id, **given)
        assert {title.deed_id: title.holder for title in page} == owners
        for holder in ledger.accounts[1:4]:
            mine = await all_pages(mirror, facts.titles_page, lambda title: title.deed_id, holder=holder, **given)
            assert [title.deed_id for title in mine] == sorted(each for each in owners if owners[each] == holder)
            assert await asked(mirror, queries.holding, account=holder, **given) == len(mine)
        assert await asked(mirror, queries.supply, **given) == len(owners)
    one, two, three = ledger.accounts[1:4]
    assert seen >= {(2, one), (2, two), (5, three), (5, None), (2**255, two)}
    assert (2, three) not in seen, "held it only between two transactions of one block"
    assert (77, one) not in seen


async def test_a_deeds_history_ends_with_nobody(mirror: Mirror, ledger: Ledger, estate: Estate) -> None:
    deeds = await contract_of(mirror, estate, "DeedToken")
    given = {"contract_id": deeds.id, "deed_id": 5, "block": ledger.height(), "count_max": 9}
    issued, retired = await asked(mirror, facts.title_history_page, after_block=None, **given)
    assert (issued.holder, issued.to_block) == (ledger.accounts[3], retired.from_block)
    assert (retired.holder, retired.to_block) == (None, None)
    assert retired.from_hash == ledger.hash_of(retired.from_block)
    before = {**given, "block": retired.from_block - 1}
    assert await asked(mirror, facts.title_history_page, after_block=None, **before) == [replace(issued, to_block=None)]
    assert await asked(mirror, facts.title_history_page, after_block=issued.from_block, **given) == [retired]
    moved = await asked(
        mirror,
        transfer_queries.transfers_page,
        contract_ids=[deeds.id],
        account=ledger.accounts[3],
        block=ledger.height(),
        before=None,
        count_max=9,
    )
    assert [(each.deed_id, each.amount) for each in moved] == [(5, 1), (2, 1), (2, 1), (5, 1)]


async def test_a_state_is_told_as_of_its_block(mirror: Mirror, ledger: Ledger, estate: Estate) -> None:
    token = await contract_of(mirror, estate, "AssetToken")
    one, two = ledger.accounts[1:3]
    given = {"contract_id": token.id, "aspect": "frozen"}
    history = await asked(
        mirror, facts.state_history_page, key=one, block=ledger.height(), after_block=None, count_max=9, **given
    )
    assert [entry.state for entry in history] == [{"amount": "30"}, None, {"amount": "20"}]
    assert [entry.to_block for entry in history] == [*(entry.from_block for entry in history[1:]), None]
    assert all(entry.from_hash == ledger.hash_of(entry.from_block) for entry in history)
    for entry in history:
        assert await asked(mirror, facts.state, key=one, block=entry.from_block, **given) == entry.state
    first = history[0].from_block
    assert await asked(mirror, facts.state, key=one, block=first - 1, **given) is None
    page = {"after_block": None, "count_max": 9, **given}
    assert await asked(mirror, facts.state_history_page, key=one, block=first, **page) == [
        replace(history[0], to_block=None)
    ]
    everything = {"amount": str(2**256 - 1)}

    async def frozen(block: int) -> list[tuple[bytes, Any]]:
        found = await all_pages(mirror, facts.states_page, lambda each: each.key, block=block, **given)
        return [(each.key, each.state) for each in found]

    assert await frozen(first) == [(one, {"amount": "30"})]
    assert await frozen(history[1].from_block) == [(two, everything)], "what is absent is left out"
    assert await frozen(ledger.height()) == sorted([(one, {"amount": "20"}), (two, everything)])


async def test_a_prefix_names_the_ballots_of_one_proposal(mirror: Mirror, ledger: Ledger, estate: Estate) -> None:
    governor = await contract_of(mirror, estate, "AssetGovernor")
    one, two = ledger.accounts[1:3]
    first = estate.proposal("paint the roof", one)
    estate.by(1, "AssetGovernor", "propose", [two], [0], [b""], "paint the door")
    ledger.mine(2)
    second = estate.proposal("paint the door", two)
    estate.by(1, "AssetGovernor", "castVote", second, 2)
    await mirror.converge()
    given: dict[str, Any] = {"contract_id": governor.id, "block": ledger.height()}

    async def ballots(prefix: bytes) -> dict[bytes, Any]:
        found = await all_pages(
            mirror, facts.states_page, lambda each: each.key, aspect="ballot", prefix=prefix, **given
        )
        return {each.key: each.state for each in found}

    of_first = {
        first.to_bytes(32) + one: {"support": 1, "weight": "500", "reason": "it leaks"},
        first.to_bytes(32) + two: {"support": 0, "weight": "300", "reason": ""},
    }
    of_second = {second.to_bytes(32) + one: {"support": 2, "weight": "500", "reason": ""}}
    assert await ballots(first.to_bytes(32)) == of_first
    assert await ballots(second.to_bytes(32)) == of_second
    assert await ballots(b"") == of_first | of_second
    assert await ballots(b"\xff" * 40) == {}
    none = 2**256 - 1
    tallies = await asked(mirror, facts.tallies, proposal_ids=[second, none, first, first], **given)
    assert tallies == {first: {0: 300, 1: 500}, second: {2: 500}, none: {}}
    before = {**given, "block": ledger.height() - 1}
    assert await asked(mirror, facts.tallies, proposal_ids=[second], **before) == {second: {}}
    assert await asked(mirror, facts.tallies, proposal_ids=[], **given) == {}
    ledger.reorg(1)
    await mirror.converge()
    assert await asked(mirror, facts.tallies, proposal_ids=[second], **given) == {second: {}}
    proposal = await asked(mirror, facts.state, aspect="proposal", key=first.to_bytes(32), **given)
    assert proposal is not None
    assert (proposal["proposer"], proposal["targets"]) == (checksum(one), [checksum(one)])
    assert proposal["description"].startswith("paint the roof")


@pytest.mark.parametrize(
    ("prefix", "end"),
    [
        (b"", facts.KEY_END),
        (b"\xff\xff", facts.KEY_END),
        (b"\x01", b"\x02"),
        (b"\x01\xff", b"\x02"),
        (b"\x00\x00", b"\x00\x01"),
    ],
)
def test_the_end_of_a_prefix(prefix: bytes, end: bytes) -> None:
    assert facts._end_of(prefix) == end


async def test_events_are_paged_newest_first_by_contract_and_name(
    mirror: Mirror, ledger: Ledger, estate: Estate
) -> None:
    token = await contract_of(mirror, estate, "AssetToken")
    deeds = await contract_of(mirror, estate, "DeedToken")

    async def told(block: int, *contracts: queries.Contract, names: list[str] | None = None) -> list[facts.EventEntry]:
        ids = [contract.id for contract in contracts]
        return await all_pages(
            mirror,
            facts.events_page,
            lambda each: (each.block_number, each.log_index),
            contract_ids=ids,
            names=names,
            block=block,
        )

    head = ledger.height()
    everything = await told(head, token, deeds)
    places = [(each.block_number, each.log_index) for each in everything]
    assert places == sorted(places, reverse=True)
    assert len(set(places)) == len(places)
    assert {each.contract for each in everything} == {token.address, deeds.address}
    frozen = await told(head, token, deeds, names=["Frozen"])
    assert frozen == [each for each in everything if each.name == "Frozen"]
    assert len(frozen) == 6
    assert await told(head, token, names=["Frozen", "Paused"]) == [
        each for each in everything if each.contract == token.address and each.name in ("Frozen", "Paused")
    ]
    past = frozen[2].block_number
    assert await told(past, token, deeds) == [each for each in everything if each.block_number <= past]
    assert await told(head, token, names=[]) == []
    (retired, _) = await told(head, deeds, names=["Retired"])
    assert retired.arguments == {"deedId": "77", "reason": "an error\ufffdof ours"}
    receipt = ledger.rpc("eth_getTransactionReceipt", hex0x(retired.transaction_hash))
    assert receipt["blockHash"] == hex0x(retired.block_hash)
    assert await mirror.rows("SELECT count(*) FROM mirror.events WHERE name = 'Transfer'") == [(0,)]


async def test_contracts_are_told_by_kind(mirror: Mirror, ledger: Ledger, estate: Estate) -> None:
    given: dict[str, Any] = {"chain_id": CHAIN_ID, "after": None, "count_max": 9}
    found = await asked(mirror, queries.contracts_of_kind, kinds=["DeedToken"], block=ledger.height(), **given)
    assert [(each.address, each.kind) for each in found] == [(estate.at["DeedToken"], "DeedToken")]
    both = ["DeedToken", "AssetToken"]
    found = await asked(mirror, queries.contracts_of_kind, kinds=both, block=ledger.height(), **given)
    assert [each.address for each in found] == sorted(estate.at[kind] for kind in both)
    assert await asked(mirror, queries.contracts_of_kind, kinds=both, block=ledger.first, **given) == []


async def timelocks(mirror: Mirror, ledger: Ledger) -> list[queries.Contract]:
    found: list[queries.Contract] = await asked(
        mirror,
        queries.contracts_of_kind,
        chain_id=CHAIN_ID,
        kinds=[TIMELOCK],
        block=ledger.height(),
        after=None,
        count_max=9,
    )
    return found


@pytest.mark.parametrize("blocks_max", [1, 100])
async def test_a_governors_timelock_is_followed_from_its_first_log_on(
    mirror: Mirror, ledger: Ledger, blocks_max: int
) -> None:
    mirror.blocks_max = blocks_max
    estate = Estate(ledger)
    await mirror.converge()
    governor = await contract_of(mirror, estate, "AssetGovernor")
    (timelock,) = await timelocks(mirror, ledger)
    block = ledger.height()
    assert ledger.ask("AssetGovernor", governor.address, "timelock", block=block) == (timelock.address,)
    given = {"contract_id": timelock.id, "block": block}
    assert await asked(mirror, facts.state, aspect="setting", key=b"min-delay", **given) == {"value": "60"}
    proposer = keccak(b"PROPOSER_ROLE") + governor.address
    assert await asked(mirror, facts.state, aspect="timelock-role", key=proposer, **given) is not None
    rows = await mirror.rows(
        "SELECT salt, operator FROM mirror.deployments WHERE contract_id = %s AND canonical", (timelock.id,)
    )
    assert rows == [(bytes(32), governor.address)]
    told = await asked(mirror, facts.events_page, contract_ids=[timelock.id], block=block, before=None, count_max=50)
    assert {each.block_number for each in told} == {governor.deployed_block}
    ledger.reorg(1)
    await mirror.converge()
    assert await timelocks(mirror, ledger) == []


async def test_a_document_is_found_by_subject_and_name(mirror: Mirror, ledger: Ledger, estate: Estate) -> None:
    documents = await contract_of(mirror, estate, "DocumentRegistry")
    given = {"contract_id": documents.id, "aspect": "document", "block": ledger.height()}
    deeds, token = (estate.at[kind] + HASH for kind in ("DeedToken", "AssetToken"))
    assert await asked(mirror, facts.state, key=deeds, **given) == {
        "version": 1,
        "uri": "ipfs://deeds",
        "hash": hex0x(HASH),
        "effective_from": 7,
    }
    assert await asked(mirror, facts.state, key=token, **given) is None
    history = await asked(mirror, facts.state_history_page, key=token, after_block=None, count_max=9, **given)
    assert [entry.state and entry.state["version"] for entry in history] == [1, 2, None]
