"""What the contract or the ledger refuses is told by name, and costs no nonce."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import pytest_asyncio

from service.access import commands as access
from service.addresses import ZERO, checksum, parse_address
from service.amounts import AMOUNT_MAX
from service.chain import contracts
from service.deployments.calls import deployment_salt
from service.operations.submit import Request
from service.operators.authority import OPERATOR_ROLE
from tests.rpc import rpc
from tests.web.answers import problem
from tests.world import PEPPER, World

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOLDER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
EXTERNAL = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def token_id(shared: World) -> AsyncIterator[str]:
    yield await shared.token()


@asynccontextmanager
async def nothing_spent(world: World) -> AsyncIterator[None]:
    """Assert that the block sends nothing, now or later."""

    async def spent() -> tuple[Any, ...]:
        async with world.db.read() as connection:
            cursor = await connection.execute(
                "SELECT (SELECT count(*) FROM transactions), (SELECT count(*) FROM operations),"
                " (SELECT count(*) FROM requests)"
            )
            rows = await cursor.fetchone()
        return rows, rpc(world.chain_url, "eth_getTransactionCount", checksum(world.signer), "latest")

    before = await spent()
    yield
    await world.level()
    assert await spent() == before


def revert(answer: httpx.Response, slug: str) -> dict[str, Any]:
    """The contract's own words in a refusal."""
    told: dict[str, Any] = problem(answer, slug)["revert"]
    assert told["name"] in answer.json()["detail"]
    return told


async def test_a_transfer_of_more_than_the_balance(shared: World, token_id: str) -> None:
    sender = await shared.account()
    await shared.mint(token_id, sender, 5)
    await shared.finish()
    async with nothing_spent(shared):
        told = revert(await shared.transfer(token_id, sender, HOLDER, 6), "insufficient-balance")
    assert told["name"] == "ERC20InsufficientBalance"
    assert [told["arguments"][name] for name in ("balance", "needed")] == ["5", "6"]
    assert told["arguments"]["sender"].lower() == sender.lower()


async def test_a_burn_of_more_than_the_balance(shared: World, token_id: str) -> None:
    account = await shared.account()
    async with nothing_spent(shared):
        answer = await shared.post(f"/v1/tokens/{token_id}/burn", {"from": account, "amount": "1"})
        assert revert(answer, "insufficient-balance")["name"] == "ERC20InsufficientBalance"


async def test_a_mint_beyond_uint256(shared: World) -> None:
    token = await shared.token()
    assert (await shared.mint(token, HOLDER, AMOUNT_MAX)).status_code == 202
    await shared.finish()
    assert await shared.holding(token, HOLDER) == AMOUNT_MAX
    assert (await shared.get(f"/v1/tokens/{token}")).json()["total_supply"] == str(AMOUNT_MAX)
    async with nothing_spent(shared):
        told = revert(await shared.mint(token, EXTERNAL, 1), "call-refused")
    assert told == {"name": "Panic", "arguments": {"code": "0x11", "meaning": "arithmetic overflow or underflow"}}


async def test_anything_of_a_paused_token(shared: World) -> None:
    token, sender = await shared.token(), await shared.account()
    await shared.mint(token, sender, 5)
    assert (await shared.post(f"/v1/tokens/{token}/pause")).status_code == 202
    await shared.finish()
    assert (await shared.get(f"/v1/tokens/{token}")).json()["paused"] is True
    async with nothing_spent(shared):
        for answer in (
            await shared.mint(token, HOLDER, 1),
            await shared.transfer(token, sender, HOLDER, 1),
            await shared.post(f"/v1/tokens/{token}/burn", {"from": sender, "amount": "1"}),
            await shared.post(f"/v1/tokens/{token}/pause"),
        ):
            assert revert(answer, "token-paused")["name"] == "EnforcedPause"


async def test_unpausing_what_is_not_paused(shared: World, token_id: str) -> None:
    async with nothing_spent(shared):
        answer = await shared.post(f"/v1/tokens/{token_id}/unpause")
        assert revert(answer, "token-not-paused")["name"] == "ExpectedPause"


async def test_a_token_that_is_not_on_the_chain_yet(shared: World) -> None:
    body = {"asset_id": await shared.asset(), "name": "Mill", "symbol": "MILL"}
    operation = (await shared.post("/v1/tokens", body)).json()
    token, sender = operation["token_id"], await shared.account()
    for answer in (
        await shared.mint(token, HOLDER, 1),
        await shared.transfer(token, sender, HOLDER, 1),
        await shared.post(f"/v1/tokens/{token}/burn", {"from": HOLDER, "amount": "1"}),
        await shared.post(f"/v1/tokens/{token}/pause"),
        await shared.post(f"/v1/tokens/{token}/unpause"),
        await shared.get(f"/v1/tokens/{token}/holders"),
        await shared.get(f"/v1/tokens/{token}/transfers"),
        await shared.get(f"/v1/tokens/{token}/holders/{HOLDER}"),
        await shared.get(f"/v1/tokens/{token}/holders/{HOLDER}/history"),
    ):
        assert operation["id"] in problem(answer, "token-not-deployed")["detail"]
    shown = (await shared.get(f"/v1/tokens/{token}")).json()
    assert (shown["status"], shown["total_supply"], shown["deployed_block"]) == ("deploying", None, None)
    await shared.finish()
    assert (await shared.get(f"/v1/tokens/{token}")).json()["status"] == "active"


async def test_a_transfer_out_of_an_external_account(shared: World, token_id: str) -> None:
    assert (await shared.post("/v1/accounts", {"address": EXTERNAL})).status_code == 201
    async with nothing_spent(shared):
        problem(await shared.transfer(token_id, EXTERNAL, HOLDER, 1), "account-not-managed")


async def test_a_transfer_out_of_an_unknown_account(shared: World, token_id: str) -> None:
    async with nothing_spent(shared):
        problem(await shared.transfer(token_id, HOLDER, EXTERNAL, 1), "account-not-found")


async def test_an_account_registered_twice(shared: World) -> None:
    address = "0x90F79bf6EB2c4f870365E785982E1f101E93b906"
    assert (await shared.post("/v1/accounts", {"address": address, "label": "one"})).status_code == 201
    managed = await shared.account()
    for again in (address, address.lower(), managed):
        answer = await shared.post("/v1/accounts", {"address": again, "label": "two"})
        assert "/v1/accounts/0x" in problem(answer, "account-exists")["detail"]
    assert (await shared.get(f"/v1/accounts/{address}")).json()["label"] == "one"
    assert (await shared.get(f"/v1/accounts/{managed}")).json()["managed"] is True


async def test_an_asset_tokenized_twice(shared: World, token_id: str) -> None:
    asset_id = (await shared.get(f"/v1/tokens/{token_id}")).json()["asset_id"]
    body = {"asset_id": asset_id, "name": "Another", "symbol": "ANO"}
    async with nothing_spent(shared):
        assert problem(await shared.post("/v1/tokens", body), "asset-already-tokenized")["token_id"] == token_id


async def test_a_token_that_the_factory_has_but_we_do_not_is_taken_over(shared: World) -> None:
    asset_id = await shared.asset()
    async with shared.db.read() as connection:
        row = await (await connection.execute("SELECT id FROM issuers")).fetchone()
    assert row is not None
    salt = deployment_salt(row[0], UUID(asset_id), "AssetToken")
    listed = (await shared.get("/v1/contracts")).json()
    (authority,) = [parse_address(each["address"]) for each in listed if each["kind"] == "authority"]
    asset = UUID(asset_id).bytes.ljust(32, bytes(1))
    terms = ("Mill", "MILL", 0, authority, ZERO, ZERO, asset, bytes(32))
    code = contracts.creation_code("AssetToken", terms)
    data = contracts.encode_call("AssetFactory", "deploy", salt, code, contracts.name32("AssetToken"))
    sent = {"from": checksum(shared.signer), "to": shared.settings.factory_address, "data": "0x" + data.hex()}
    rpc(shared.chain_url, "eth_sendTransaction", sent)
    shared.mine(3)
    answer = await shared.post("/v1/tokens", {"asset_id": asset_id, "name": "Mill", "symbol": "MILL"})
    assert answer.status_code == 202, answer.text
    await shared.finish()
    operation = await shared.operation(answer.json()["id"])
    assert (operation["status"], operation["transaction"]["status"]) == ("succeeded", "executed")
    assert (await shared.get(f"/v1/tokens/{operation['token_id']}")).json()["status"] == "active"


async def test_a_signer_without_the_role(shared: World) -> None:
    async with shared.db.transaction() as session:
        await access.create_issuer(session, name="Unauthorised", signer=bytes.fromhex(HOLDER[2:]))
        key = await access.create_key(session, issuer="Unauthorised", caller="tests", environment="test", pepper=PEPPER)
    async with nothing_spent(shared):
        told = revert(await shared.post("/v1/authority", {}, key=key.text), "signer-lacks-role")
    assert told["name"] == "AccessControlUnauthorizedAccount"
    assert told["arguments"]["neededRole"] == "0x" + OPERATOR_ROLE.hex()


@pytest.mark.parametrize(
    ("name", "slug", "error"),
    [
        ("mint", "operation-already-executed", "OperationAlreadyExecuted"),
        ("transfer", "authorization-already-used", "ERC3009UsedAuthorization"),
    ],
)
async def test_an_operation_that_the_contract_executed_before(
    shared: World, token_id: str, name: str, slug: str, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sender = await shared.account()
    await shared.mint(token_id, sender, 10)
    await shared.finish()
    effect_id = uuid4()
    monkeypatch.setattr(Request, "effect_id", property(lambda _: effect_id))

    async def act() -> httpx.Response:
        if name == "mint":
            return await shared.mint(token_id, HOLDER, 1)
        return await shared.transfer(token_id, sender, HOLDER, 1)

    await act()
    await shared.finish()
    async with nothing_spent(shared):
        assert revert(await act(), slug)["name"] == error


async def test_a_transfer_to_oneself_and_to_an_unregistered_address_are_fine(shared: World, token_id: str) -> None:
    sender, stranger = await shared.account(), "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65"
    await shared.mint(token_id, sender, 5)
    await shared.finish()
    assert (await shared.transfer(token_id, sender, sender, 5)).status_code == 202
    await shared.finish()
    assert (await shared.transfer(token_id, sender, stranger, 2)).status_code == 202
    await shared.finish()
    assert await shared.holding(token_id, sender) == 3
    assert await shared.holding(token_id, stranger) == 2
    moves = (await shared.get(f"/v1/accounts/{sender}/transfers")).json()["data"]
    assert [(move["kind"], move["from"], move["to"], move["amount"]) for move in moves] == [
        ("transfer", sender, stranger, "2"),
        ("transfer", sender, sender, "5"),
        ("mint", None, sender, "5"),
    ]


async def set_operator(world: World, function: str) -> None:
    data = contracts.encode_call("AssetFactory", function, OPERATOR_ROLE, world.signer)
    sent = {"from": checksum(world.signer), "to": world.settings.factory_address, "data": "0x" + data.hex()}
    rpc(world.chain_url, "eth_sendTransaction", sent)


@pytest.mark.parametrize("changed", [{}, {"symbol": "OTHER", "decimals": 6}])
async def test_a_failed_deployment_is_told_and_may_be_tried_again(shared: World, changed: dict[str, Any]) -> None:
    body = {"asset_id": await shared.asset(), "name": "Mill", "symbol": "MILL"}
    first = (await shared.post("/v1/tokens", body, idempotency_key=f"deploy-{changed}".replace(" ", ""))).json()
    await set_operator(shared, "revokeRole")
    await shared.finish()
    operation = await shared.operation(first["id"])
    assert (operation["status"], operation["transaction"]["status"]) == ("failed", "refused")
    assert operation["problem"]["type"] == "/problems/signer-lacks-role"
    assert operation["problem"]["revert"]["name"] == "AccessControlUnauthorizedAccount"
    assert operation["transaction"]["nonce"] is None
    assert (await shared.get(f"/v1/tokens/{first['token_id']}")).json()["status"] == "failed"
    problem(await shared.mint(first["token_id"], HOLDER, 1), "token-not-deployed")

    problem(await shared.post("/v1/tokens", {**body, **changed}), "signer-lacks-role")
    await set_operator(shared, "grantRole")
    second = await shared.post("/v1/tokens", {**body, **changed})
    assert second.status_code == 202
    assert second.json()["token_id"] == first["token_id"]
    problem(await shared.post("/v1/tokens", body), "asset-already-tokenized")
    await shared.finish()
    shown = (await shared.get(f"/v1/tokens/{first['token_id']}")).json()
    assert (shown["status"], shown["operation_id"]) == ("active", second.json()["id"])
    assert shown["symbol"] == changed.get("symbol", "MILL")
    assert (await shared.operation(first["id"]))["status"] == "failed"
