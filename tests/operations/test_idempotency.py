"""One key, one effect: whatever is repeated, whenever, and however often at once."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import psycopg
import pytest
import pytest_asyncio
from web3 import Web3

from service import db
from service.access import commands as access
from service.chain import artifacts
from service.operations import accepting
from service.web import idempotency
from tests.web.answers import problem
from tests.world import PEPPER, World

pytestmark = pytest.mark.asyncio(loop_scope="module")

STRANGER = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"

HELD = 6
"""More than there are connections."""

CLAIM = """INSERT INTO requests (caller_id, key, fingerprint, resource)
SELECT id, %s, %s, 'operations/0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01' FROM callers
WHERE name = 'tests' AND issuer_id = (SELECT id FROM issuers WHERE name = 'Harbour Estates')"""


@dataclass(frozen=True, slots=True)
class Estate:
    """A world with a token and a holder of it."""

    world: World
    token_id: str
    holder: str

    async def rows(self, table: str) -> int:
        async with self.world.db.read() as connection:
            row = await (await connection.execute(f"SELECT count(*) FROM {table}".encode())).fetchone()
        assert row is not None
        return int(row[0])

    def held(self, account: str, contract: str) -> int:
        web3 = Web3(Web3.HTTPProvider(self.world.chain_url))
        token = web3.eth.contract(Web3.to_checksum_address(contract), abi=list(artifacts.load("AssetToken").abi))
        return int(token.functions.balanceOf(Web3.to_checksum_address(account)).call())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def estate(shared: World) -> AsyncIterator[Estate]:
    token_id, holder = await shared.token(), await shared.account()
    await shared.mint(token_id, holder, 100)
    await shared.finish()
    yield Estate(shared, token_id, holder)


async def test_a_repeated_request_answers_with_the_first_operation(estate: Estate) -> None:
    first = await estate.world.mint(estate.token_id, estate.holder, 1, idempotency_key="repeat")
    again = await estate.world.mint(estate.token_id, estate.holder, 1, idempotency_key="repeat")
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]


async def test_a_repeated_request_answers_even_when_the_chain_would_refuse_it_now(estate: Estate) -> None:
    world, account = estate.world, await estate.world.account()
    await world.mint(estate.token_id, account, 7)
    await world.finish()
    requests = [
        ("burn", {"from": account, "amount": "3"}),
        ("transfer", {"from": account, "to": STRANGER, "amount": "4"}),
        ("pause", {}),
    ]
    firsts = []
    for name, body in requests:
        path = f"/v1/tokens/{estate.token_id}/{name}"
        firsts.append((await world.post(path, body, idempotency_key=f"late-{name}")).json()["id"])
        await world.finish()
    for (name, body), first in zip(requests, firsts, strict=True):
        path = f"/v1/tokens/{estate.token_id}/{name}"
        problem(await world.post(path, body), "token-paused")
        again = await world.post(path, body, idempotency_key=f"late-{name}")
        assert (again.status_code, again.json()["id"]) == (202, first)
        assert again.json()["status"] == "succeeded"
    await world.post(f"/v1/tokens/{estate.token_id}/unpause")
    await world.finish()
    assert await world.holding(estate.token_id, account) == 0


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/assets", {"name": "Mill", "category": "house"}),
        ("/v1/accounts", {"label": "Bob"}),
        ("/v1/accounts", {"address": "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65"}),
    ],
)
async def test_a_repeated_registration_answers_with_the_first_one(
    estate: Estate, path: str, body: dict[str, Any]
) -> None:
    key = f"registration {body}".replace(" ", "")
    first = await estate.world.post(path, body, idempotency_key=key)
    again = await estate.world.post(path, body, idempotency_key=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert again.headers["location"] == first.headers["location"]


async def test_a_repeated_deployment_answers_with_the_first_one(estate: Estate) -> None:
    world = estate.world
    body = {"asset_id": await world.asset(), "name": "Mill", "symbol": "MILL"}
    first = await world.post("/v1/tokens", body, idempotency_key="deploy")
    again = await world.post("/v1/tokens", body, idempotency_key="deploy")
    assert again.json() == first.json()
    await world.finish()
    late = await world.post("/v1/tokens", body, idempotency_key="deploy")
    assert (late.status_code, late.json()["id"]) == (202, first.json()["id"])
    problem(await world.post("/v1/tokens", body), "asset-already-tokenized")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("{token}/mint", {"to": STRANGER, "amount": "2"}),
        ("{token}/mint", {"to": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8", "amount": "1"}),
        ("{token}/burn", {"from": STRANGER, "amount": "1"}),
        ("{token}/pause", {}),
    ],
)
async def test_another_request_under_the_same_key_is_refused_and_names_both(
    estate: Estate, path: str, body: dict[str, Any]
) -> None:
    key = "one-key"
    first = await estate.world.mint(estate.token_id, STRANGER, 1, idempotency_key=key)
    answer = await estate.world.post(f"/v1/tokens/{path.format(token=estate.token_id)}", body, idempotency_key=key)
    told = problem(answer, "idempotency-key-reused")
    assert key in told["detail"]
    assert told["first"]["resource"] == f"/v1/operations/{first.json()['id']}"
    assert told["first"]["fingerprint"] != told["this"]["fingerprint"]
    assert (await estate.world.get(told["first"]["resource"])).status_code == 200


@pytest.mark.parametrize("other", ["/v1/accounts", "/v1/tokens"])
async def test_a_key_of_a_registration_is_refused_elsewhere(estate: Estate, other: str) -> None:
    world = estate.world
    body = {"name": "Quay", "category": "house"}
    asset = await world.post("/v1/assets", body, idempotency_key="of-an-asset")
    given = {"label": "x"} if other == "/v1/accounts" else {"asset_id": asset.json()["id"], "name": "a", "symbol": "A"}
    told = problem(await world.post(other, given, idempotency_key="of-an-asset"), "idempotency-key-reused")
    assert told["first"]["resource"] == f"/v1/assets/{asset.json()['id']}"
    told = problem(
        await world.post("/v1/assets", {**body, "name": "Dock"}, idempotency_key="of-an-asset"),
        "idempotency-key-reused",
    )


async def test_the_spelling_of_an_address_the_order_of_fields_and_defaults_do_not_matter(estate: Estate) -> None:
    world, path = estate.world, f"/v1/tokens/{estate.token_id}/mint"
    spellings = [
        f'{{"to": "{STRANGER}", "amount": "5"}}',
        f'{{"to": "{STRANGER.lower()}", "amount": "5"}}',
        f'{{"amount": "5",  "to": "0x{STRANGER[2:].upper()}"}}',
    ]
    ids = {
        (await world.post(path, json.loads(spelling), idempotency_key="spelling")).json().get("id")
        for spelling in spellings
    }
    assert len(ids) == 1
    asset = {"name": "Mill", "category": "house"}
    one = await world.post("/v1/assets", asset, idempotency_key="defaults")
    other = await world.post("/v1/assets", {**asset, "description": ""}, idempotency_key="defaults")
    assert one.json() == other.json()


async def test_the_spelling_of_an_id_in_the_path_does_not_matter(estate: Estate) -> None:
    body = {"to": STRANGER, "amount": "5"}
    one = await estate.world.post(f"/v1/tokens/{estate.token_id}/mint", body, idempotency_key="id-spelling")
    other = await estate.world.post(f"/v1/tokens/{estate.token_id.upper()}/mint", body, idempotency_key="id-spelling")
    assert (other.status_code, other.json().get("id")) == (202, one.json()["id"])


async def test_twenty_mints_at_once_under_one_key_are_one(estate: Estate) -> None:
    world, account = estate.world, await estate.world.account()
    operations, transactions = await estate.rows("operations"), await estate.rows("transactions")
    answers = await asyncio.gather(
        *(world.mint(estate.token_id, account, 9, idempotency_key="rush") for _ in range(20))
    )
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert await estate.rows("operations") == operations + 1
    assert await estate.rows("transactions") == transactions + 1
    await world.finish()
    assert estate.held(account, answers[0].json()["contract"]) == 9


async def test_twenty_deployments_at_once_under_one_key_are_one(estate: Estate) -> None:
    world = estate.world
    body = {"asset_id": await world.asset(), "name": "Rush", "symbol": "RUSH"}
    answers = await asyncio.gather(*(world.post("/v1/tokens", body, idempotency_key="rush-deploy") for _ in range(20)))
    assert {answer.status_code for answer in answers} == {202}, [answer.text for answer in answers]
    assert len({answer.json()["id"] for answer in answers}) == 1


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/assets", {"name": "Rush", "category": "house"}),
        ("/v1/accounts", {"label": "Rush"}),
        ("/v1/accounts", {"address": "0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc"}),
    ],
)
async def test_twenty_registrations_at_once_under_one_key_are_one(
    estate: Estate, path: str, body: dict[str, Any]
) -> None:
    tables = ("assets", "accounts", "managed_keys")
    before = [await estate.rows(table) for table in tables]
    key = f"rush-{json.dumps(body, separators=(',', ':'))}"
    answers = await asyncio.gather(*(estate.world.post(path, body, idempotency_key=key) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {201}, [answer.text for answer in answers]
    assert len({answer.content for answer in answers}) == 1
    added = [await estate.rows(table) - earlier for table, earlier in zip(tables, before, strict=True)]
    managed = path == "/v1/accounts" and "address" not in body
    assert added == ([1, 0, 0] if path == "/v1/assets" else [0, 1, int(managed)])


async def test_different_requests_at_once_under_one_key_are_one_and_refusals(estate: Estate) -> None:
    answers = await asyncio.gather(
        *(estate.world.mint(estate.token_id, STRANGER, 1 + index % 4, idempotency_key="mixed") for index in range(16))
    )
    accepted = [answer for answer in answers if answer.status_code == 202]
    assert len({answer.json()["id"] for answer in accepted}) == 1
    assert len(accepted) == 4
    for answer in answers:
        if answer not in accepted:
            problem(answer, "idempotency-key-reused")


async def test_the_same_key_of_two_callers_is_two_requests(estate: Estate) -> None:
    world = estate.world
    async with world.db.transaction() as session:
        second = await access.create_key(
            session, issuer="Harbour Estates", caller="another", environment="test", pepper=PEPPER
        )
    one = await world.mint(estate.token_id, STRANGER, 1, idempotency_key="shared-name")
    other = await world.mint(estate.token_id, STRANGER, 2, idempotency_key="shared-name", key=second.text)
    assert (one.status_code, other.status_code) == (202, 202)
    assert one.json()["id"] != other.json()["id"]


async def test_two_keys_of_one_caller_share_its_requests(estate: Estate) -> None:
    world = estate.world
    async with world.db.transaction() as session:
        second = await access.create_key(
            session, issuer="Harbour Estates", caller="tests", environment="test", pepper=PEPPER
        )
    one = await world.mint(estate.token_id, STRANGER, 1, idempotency_key="rotated")
    other = await world.mint(estate.token_id, STRANGER, 1, idempotency_key="rotated", key=second.text)
    assert one.json()["id"] == other.json()["id"]


async def test_a_refused_request_does_not_spend_its_key(estate: Estate) -> None:
    world, account = estate.world, await estate.world.account()
    refused = await world.transfer(estate.token_id, account, STRANGER, 6, idempotency_key="fixed-later")
    problem(refused, "insufficient-balance")
    invalid = await world.post(f"/v1/tokens/{estate.token_id}/transfer", {}, idempotency_key="fixed-later")
    problem(invalid, "invalid-request")
    await world.mint(estate.token_id, account, 6)
    await world.finish()
    accepted = await world.transfer(estate.token_id, account, STRANGER, 6, idempotency_key="fixed-later")
    assert accepted.status_code == 202
    await world.finish()
    assert await world.holding(estate.token_id, account) == 0


async def test_a_managed_account_that_is_refused_leaves_no_key_behind(estate: Estate) -> None:
    world = estate.world
    await world.post("/v1/assets", {"name": "Mill", "category": "house"}, idempotency_key="taken")
    before = await estate.rows("managed_keys")
    problem(await world.post("/v1/accounts", {}, idempotency_key="taken"), "idempotency-key-reused")
    assert await estate.rows("managed_keys") == before


# Keys that another DB transaction has


@asynccontextmanager
async def held(world: World, *keys: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """A DB transaction of another process that has these keys of the tests' caller."""
    url = world.settings.database_url.get_secret_value()
    async with await psycopg.AsyncConnection.connect(url) as other:
        for key in keys:
            assert (await other.execute(CLAIM, (key, bytes(32)))).rowcount == 1
        yield other
        await other.rollback()


async def waiting(world: World, *keys: str) -> None:
    """Until the process has noticed which keys it waits for."""
    acceptance = world.app.state.ledger.acceptance
    async with asyncio.timeout(20):
        while {key for _, key in acceptance._held} != set(keys):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def in_time(asked: "asyncio.Task[httpx.Response]", within_s: float = 2) -> httpx.Response:
    async with asyncio.timeout(within_s):
        return await asked


async def test_others_are_accepted_while_one_issuers_keys_are_held(estate: Estate) -> None:
    world, other = estate.world, await estate.world.new_issuer("Quay Estates")
    keys = [f"held-{index}" for index in range(HELD)]
    async with held(world, *keys) as holder:
        held_up = [
            asyncio.create_task(world.mint(estate.token_id, STRANGER, 1, idempotency_key=key))
            for key in keys
            for _ in range(3)
        ]
        # Of the same moment, and so of the same list.
        beside = asyncio.create_task(world.mint(estate.token_id, STRANGER, 1, idempotency_key="beside"))
        assert (await in_time(beside)).status_code == 202
        await waiting(world, *keys)
        for index in range(5):
            asked = asyncio.create_task(world.mint(estate.token_id, STRANGER, 1, idempotency_key=f"after-{index}"))
            assert (await in_time(asked)).status_code == 202
        asked = asyncio.create_task(world.post("/v1/authority", {}, key=other))
        assert (await in_time(asked)).status_code == 202
        assert [each.done() for each in held_up] == [False] * len(held_up)
        await holder.rollback()
        answers = await asyncio.gather(*held_up)
    assert {answer.status_code for answer in answers} == {202}
    ids = [answer.json()["id"] for answer in answers]
    assert [len(set(ids[index : index + 3])) for index in range(0, len(ids), 3)] == [1] * HELD
    assert len(set(ids)) == HELD
    await waiting(world)


async def test_a_key_that_another_request_takes_in_the_end_is_its(estate: Estate) -> None:
    async with held(estate.world, "held-taken") as holder:
        asked = asyncio.create_task(estate.world.mint(estate.token_id, STRANGER, 1, idempotency_key="held-taken"))
        await waiting(estate.world, "held-taken")
        await holder.commit()
        problem(await in_time(asked), "idempotency-key-reused")


async def test_a_key_that_is_held_for_long_is_told_and_not_spent(
    estate: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "KEY_PATIENCE_S", 0.5)
    async with held(estate.world, "long"):
        answers = await asyncio.gather(
            *(estate.world.mint(estate.token_id, STRANGER, 1, idempotency_key="long") for _ in range(3))
        )
        for answer in answers:
            problem(answer, "idempotency-key-busy")
            assert answer.headers["retry-after"] == "1"
    assert (await estate.world.mint(estate.token_id, STRANGER, 1, idempotency_key="long")).status_code == 202


async def test_a_registration_waits_for_its_key_no_longer_than_for_any_lock(
    estate: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = idempotency.claim

    async def impatient(session: Any, *given: Any) -> bool:
        await (await session.connection()).exec_driver_sql("SET LOCAL lock_timeout = '100ms'")
        return await plain(session, *given)

    monkeypatch.setattr(idempotency, "claim", impatient)
    async with held(estate.world, "held-asset") as holder:
        order = {"name": "Mill", "category": "house"}
        problem(await estate.world.post("/v1/assets", order, idempotency_key="held-asset"), "idempotency-key-busy")
        await holder.rollback()
    assert (await estate.world.post("/v1/assets", order, idempotency_key="held-asset")).status_code == 201


async def test_others_register_while_more_wait_for_a_key_than_there_are_connections(estate: Estate) -> None:
    world, other = estate.world, await estate.world.new_issuer("Weir Estates")
    order = {"name": "Mill", "category": "house"}
    async with held(world, "held-mill") as holder:
        held_up = [
            asyncio.create_task(world.post("/v1/assets", order, idempotency_key="held-mill")) for _ in range(3 * HELD)
        ]
        await asyncio.sleep(0.3)
        for index in range(5):
            asked = asyncio.create_task(world.post("/v1/assets", order, key=other, idempotency_key=f"free-{index}"))
            assert (await in_time(asked)).status_code == 201
        await holder.rollback()
        answers = await asyncio.gather(*held_up)
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 201}) == 1


async def test_a_table_that_is_locked_for_a_moment_is_waited_for(estate: Estate) -> None:
    url = estate.world.settings.database_url.get_secret_value()
    async with await psycopg.AsyncConnection.connect(url) as other:
        await other.execute("LOCK TABLE requests")
        asked = [asyncio.create_task(estate.world.mint(estate.token_id, STRANGER, 1)) for _ in range(8)]
        await asyncio.sleep(0.5)
        assert not any(each.done() for each in asked)
        await other.rollback()
    assert {(await in_time(each)).status_code for each in asked} == {202}


@pytest.mark.parametrize(("lock_s", "patience_s"), [(0.5, 10), (10, 0.5)], ids=["postgres", "the service"])
async def test_a_table_that_stays_locked_is_told_to_all_within_one_patience(
    estate: Estate, monkeypatch: pytest.MonkeyPatch, lock_s: float, patience_s: float
) -> None:
    world, acceptance = estate.world, estate.world.app.state.ledger.acceptance
    monkeypatch.setitem(db._OPTIONS, "lock_timeout", f"{lock_s}s")
    monkeypatch.setattr(accepting, "KEY_PATIENCE_S", patience_s)
    impatient = db.Database(world.settings.database_url, role="muniment_api")
    await impatient.open()
    monkeypatch.setattr(acceptance, "_db", impatient)
    url = world.settings.database_url.get_secret_value()
    keys = [f"locked-{patience_s}-{index}" for index in range(40)]
    async with await psycopg.AsyncConnection.connect(url) as other:
        await other.execute("LOCK TABLE requests")
        asked = [asyncio.create_task(world.mint(estate.token_id, STRANGER, 1, idempotency_key=key)) for key in keys]
        _, late = await asyncio.wait(asked, timeout=8)
        await other.rollback()
    answers = await asyncio.gather(*asked)
    assert not late
    for answer in answers:
        assert "not known" in problem(answer, "database-unavailable")["detail"]
    answers = await asyncio.gather(*(world.mint(estate.token_id, STRANGER, 1, idempotency_key=key) for key in keys))
    assert {answer.status_code for answer in answers} == {202}
    await impatient.close()


async def test_a_key_whose_turn_does_not_come_is_told_within_its_patience(
    estate: Estate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "KEY_PATIENCE_S", 0.5)
    monkeypatch.setattr(estate.world.app.state.ledger.acceptance, "_alone", asyncio.Semaphore(0))
    async with held(estate.world, "no-turn"):
        asked = asyncio.create_task(estate.world.mint(estate.token_id, STRANGER, 1, idempotency_key="no-turn"))
        problem(await in_time(asked, 5), "idempotency-key-busy")


async def test_a_caller_that_leaves_lets_the_next_one_of_its_key_wait(estate: Estate) -> None:
    async with held(estate.world, "left") as holder:
        first, second = (
            asyncio.create_task(estate.world.mint(estate.token_id, STRANGER, 1, idempotency_key="left"))
            for _ in range(2)
        )
        await waiting(estate.world, "left")
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await waiting(estate.world, "left")
        await holder.rollback()
        assert (await in_time(second)).status_code == 202
