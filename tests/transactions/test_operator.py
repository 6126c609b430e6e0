"""The operator's view over REST: every transaction with all its versions, and what is done about one in trouble."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import text

from scripts.stack import CHAIN_ID
from service.access import commands as access
from service.access.apikeys import Scope
from service.addresses import checksum
from service.transactions.commands import Wish, enqueue
from service.transactions.sender import watch
from tests.rpc import rpc
from tests.web.answers import problem
from tests.web.shared import log, shared
from tests.world import PEPPER, World

__all__ = ["log", "shared"]

pytestmark = pytest.mark.asyncio(loop_scope="module")

OTHER = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
UNKNOWN_ID = "0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01"


async def key(world: World, *scopes: Scope, caller: str = "tests", issuer: str = "Harbour Estates") -> str:
    """A key of an issuer's caller with just these scopes."""
    async with world.db.transaction() as session:
        made = await access.create_key(
            session, issuer=issuer, caller=caller, environment="test", pepper=PEPPER, scopes=scopes
        )
    return made.text


async def read(world: World, path: str, **parameters: Any) -> Any:
    """What the API answers."""
    answer = await world.get(path, **parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def token_id(shared: World) -> str:
    """A token."""
    return await shared.token()


@pytest_asyncio.fixture(loop_scope="module")
async def minting(shared: World, token_id: str) -> tuple[str, str]:
    """The token, and a holder that has nothing."""
    return token_id, await shared.account()


async def queued(world: World, minting: tuple[str, str]) -> tuple[str, str]:
    """A mint that nobody has sent yet: its operation's and its transaction's id."""
    operation = (await world.mint(*minting, 5)).json()["id"]
    (newest,) = (await read(world, "/v1/transactions", limit=1))["data"]
    assert newest["operation"]["id"] == operation
    return operation, newest["id"]


@asynccontextmanager
async def stuck(world: World, minting: tuple[str, str]) -> AsyncIterator[tuple[str, str]]:
    """A mint that the node has and no block has, until the end of the block of code; then all is mined and final."""
    rpc(world.chain_url, "evm_setAutomine", False)
    try:
        ids = await queued(world, minting)
        await world.send()
        assert (await read(world, f"/v1/transactions/{ids[1]}"))["status"] == "submitted"
        yield ids
    finally:
        rpc(world.chain_url, "evm_setAutomine", True)
        world.mine()
    await world.finish()


async def test_a_transaction_is_listed_with_its_operation_and_shown_with_every_version_and_signature(
    shared: World, minting: tuple[str, str]
) -> None:
    operation, id_ = await queued(shared, minting)
    await shared.finish()
    listed = (await read(shared, "/v1/transactions", limit=1))["data"][0]
    assert listed["operation"] == {"id": operation, "kind": "token.mint", "status": "succeeded"}
    assert (listed["status"], listed["signer"], listed["origin"]) == ("confirmed", checksum(shared.signer), "wish")
    shown = await read(shared, f"/v1/transactions/{id_}")
    (attempt,) = shown["attempts"]
    assert attempt["hash"] == shown["hash"] == (await shared.operation(operation))["transaction"]["hash"]
    assert (attempt["kind"], attempt["nonce"]) == ("call", shown["nonce"])
    mined = rpc(shared.chain_url, "eth_getTransactionByHash", shown["hash"])
    assert int(mined["maxFeePerGas"], 16) == int(attempt["max_fee_wei"]) == int(shown["max_fee_wei"])
    (signature,) = shown["signatures"]
    assert (signature["verdict"], signature["purpose"]) == ("allowed", "transaction")


async def test_pages_hold_every_transaction_once_newest_first(shared: World, minting: tuple[str, str]) -> None:
    for amount in range(1, 6):
        await shared.mint(*minting, amount)
    whole = [each["id"] for each in (await read(shared, "/v1/transactions", limit=500))["data"]]
    assert whole == sorted(whole, reverse=True)
    assert len(whole) >= 7
    paged: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = await read(shared, "/v1/transactions", limit=2, **cursor)
        paged += [each["id"] for each in page["data"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert paged == whole


async def test_a_list_is_filtered_by_status_and_by_trouble(shared: World, minting: tuple[str, str]) -> None:
    await shared.finish()
    assert (await read(shared, "/v1/transactions", stuck=True))["data"] == []
    _, id_ = await queued(shared, minting)
    assert [each["id"] for each in (await read(shared, "/v1/transactions", status="queued"))["data"]] == [id_]
    assert (await read(shared, "/v1/transactions", stuck=True))["data"] == []
    async with shared.db.transaction() as session:
        await session.execute(text("UPDATE transactions SET last_error = 'no-funds' WHERE status = 'queued'"))
    (found,) = (await read(shared, "/v1/transactions", stuck=True))["data"]
    assert (found["id"], found["last_error"]) == (id_, "no-funds")
    assert id_ not in {each["id"] for each in (await read(shared, "/v1/transactions", status="confirmed"))["data"]}


async def test_what_was_never_signed_is_cancelled_at_once_and_its_operation_fails(
    shared: World, minting: tuple[str, str]
) -> None:
    operation, id_ = await queued(shared, minting)
    answer = await shared.post(f"/v1/transactions/{id_}/cancel", idempotency_key="cancel")
    assert (answer.status_code, answer.json()["status"]) == (202, "cancelled")
    again = await shared.post(f"/v1/transactions/{id_}/cancel", idempotency_key="cancel")
    assert (again.status_code, again.json()["status"]) == (202, "cancelled")
    await shared.finish()
    assert (await shared.operation(operation))["status"] == "failed"
    assert await shared.holding(*minting) == 0
    told = problem(await shared.post(f"/v1/transactions/{id_}/cancel"), "transaction-not-in-state")
    assert told["transaction_status"] == "cancelled"


async def test_what_nodes_have_is_cancelled_by_an_empty_transaction_and_both_versions_are_shown(
    shared: World, minting: tuple[str, str]
) -> None:
    async with stuck(shared, minting) as (operation, id_):
        answer = await shared.post(f"/v1/transactions/{id_}/cancel")
        assert answer.json()["cancel_asked_at"] is not None
        await shared.send()
    shown = await read(shared, f"/v1/transactions/{id_}")
    assert shown["status"] == "cancelled"
    assert [each["kind"] for each in shown["attempts"]] == ["call", "cancel"]
    assert shown["hash"] == shown["attempts"][1]["hash"]
    assert [each["purpose"] for each in shown["signatures"]] == ["transaction", "cancel"]
    assert (await shared.operation(operation))["status"] == "failed"
    assert await shared.holding(*minting) == 0


async def test_a_bump_offers_more_for_the_same_nonce(shared: World, minting: tuple[str, str]) -> None:
    async with stuck(shared, minting) as (operation, id_):
        assert (await shared.post(f"/v1/transactions/{id_}/bump")).json()["bump_asked_at"] is not None
        await shared.send()
        first, second = (await read(shared, f"/v1/transactions/{id_}"))["attempts"]
        assert first["nonce"] == second["nonce"]
        for name in ("max_fee_wei", "priority_fee_wei"):
            assert int(second[name]) * 8 >= int(first[name]) * 9
    assert (await shared.operation(operation))["status"] == "succeeded"
    problem(await shared.post(f"/v1/transactions/{id_}/bump"), "transaction-not-in-state")


async def test_an_idempotency_key_bumps_once(shared: World, minting: tuple[str, str]) -> None:
    async with stuck(shared, minting) as (_, id_):
        for _ in range(2):
            answer = await shared.post(f"/v1/transactions/{id_}/bump", idempotency_key="bump-once")
            assert answer.status_code == 202
            await shared.send()
        assert len((await read(shared, f"/v1/transactions/{id_}"))["attempts"]) == 2
        path = f"/v1/transactions/{id_}/cancel"
        problem(await shared.post(path, idempotency_key="bump-once"), "idempotency-key-reused")


async def test_whoever_asked_does_not_approve_and_another_caller_does(shared: World, minting: tuple[str, str]) -> None:
    _, id_ = await queued(shared, minting)
    problem(await shared.post(f"/v1/transactions/{id_}/approve"), "approval-by-requester")
    same_caller = await key(shared, Scope.TRANSACTIONS)
    problem(await shared.post(f"/v1/transactions/{id_}/approve", key=same_caller), "approval-by-requester")
    second = await key(shared, Scope.TRANSACTIONS, caller="second")
    answer = await shared.post(f"/v1/transactions/{id_}/approve", key=second)
    assert answer.status_code == 202
    assert answer.json()["approved_at"] is not None
    assert answer.json()["approved_by"].startswith("caller ")
    await shared.finish()
    problem(await shared.post(f"/v1/transactions/{id_}/approve", key=second), "transaction-not-in-state")


async def test_a_key_does_what_its_scopes_say_and_nothing_else(shared: World, minting: tuple[str, str]) -> None:
    issuing, steering = await key(shared, Scope.ISSUE), await key(shared, Scope.TRANSACTIONS)
    told = problem(await shared.get("/v1/transactions", key=issuing), "scope-missing")
    assert told["scope"] == "transactions"
    problem(await shared.get("/v1/signers", key=issuing), "scope-missing")
    problem(await shared.get("/metrics", key=issuing), "scope-missing")
    assert (await shared.get("/v1/transactions", key=steering)).status_code == 200
    token_id, holder = minting
    problem(await shared.get(f"/v1/tokens/{token_id}", key=steering), "scope-missing")
    problem(await shared.mint(token_id, holder, 1, key=steering), "scope-missing")
    assert (await shared.mint(token_id, holder, 1, key=issuing)).status_code == 202
    await shared.finish()


async def test_another_issuer_sees_and_touches_nothing(shared: World, minting: tuple[str, str]) -> None:
    _, id_ = await queued(shared, minting)
    other = await shared.new_issuer("Quay Estates")
    rows = (await shared.get("/v1/transactions", key=other)).json()["data"]
    assert {each["id"] for each in rows if each["operation"]} == set()
    assert id_ not in {each["id"] for each in rows}
    for act in ("bump", "cancel", "approve"):
        problem(await shared.post(f"/v1/transactions/{id_}/{act}", key=other), "transaction-not-found")
        problem(await shared.post(f"/v1/transactions/{UNKNOWN_ID}/{act}"), "transaction-not-found")
    problem(await shared.get(f"/v1/transactions/{id_}", key=other), "transaction-not-found")
    problem(await shared.post(f"/v1/signers/{OTHER}/resume"), "signer-not-found")
    await shared.finish()


async def test_a_signer_without_ether_is_told_as_halted_and_resumed_once_it_is_filled(
    shared: World, minting: tuple[str, str]
) -> None:
    signer = checksum(shared.signer)
    async with shared.db.transaction() as session:  # the other issuers of this module have signers of their own
        others = text("UPDATE issuers SET signer = :other WHERE name <> 'Harbour Estates'")
        await session.execute(others, {"other": b"\x22" * 20})
    rpc(shared.chain_url, "anvil_setBalance", signer, "0x0")
    operation, _ = await queued(shared, minting)
    await shared.send()
    (told,) = await read(shared, "/v1/signers")
    assert (told["address"], told["halt"], told["balance_wei"]) == (signer, "no-funds", "0")
    assert told["live"] == {"queued": 1}
    assert told["policy"] is None
    rpc(shared.chain_url, "anvil_setBalance", signer, hex(10**20))
    answer = await shared.post(f"/v1/signers/{signer}/resume")
    assert (answer.status_code, answer.json()["halt"]) == (202, None)
    await shared.finish()
    assert (await shared.operation(operation))["status"] == "succeeded"
    await watch(shared.sender.means)
    (told,) = await read(shared, "/v1/signers")
    assert told["halt"] is None
    assert 0 < int(told["balance_wei"]) < 10**20


async def test_who_shares_a_signer_neither_resumes_it_nor_steers_what_is_the_services_own(shared: World) -> None:
    first, other = shared.key, await shared.new_issuer("Shares A Signer")
    async with shared.db.transaction() as session:
        id_ = await enqueue(session, Wish(CHAIN_ID, shared.signer, shared.settings.factory, b"\x01\x02\x03\x04"))
    problem(await shared.post(f"/v1/transactions/{id_}/cancel", key=first), "transaction-not-in-state")
    problem(await shared.post(f"/v1/signers/{checksum(shared.signer)}/resume", key=other), "signer-shared")
