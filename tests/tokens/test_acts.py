"""What roles and holders ask of a token, one by one: each has its effect, and the mirror and the chain tell it."""

from typing import Any

import pytest
import pytest_asyncio
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_account.signers.local import LocalAccount

from service.amounts import AMOUNT_MAX
from tests.rpc import rpc
from tests.web.answers import problem
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

ALICE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
HASH = "0x" + "8f" * 32
ETHER = 10**18


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def units(shared: World) -> str:
    return await shared.token()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deeds(shared: World) -> str:
    return await token(shared, "deed")


async def token(world: World, kind: str, **given: Any) -> str:
    """A final token of a kind."""
    body = {"asset_id": await world.asset(kind), "name": kind, "symbol": "TOK", "kind": kind, **given}
    answer = await world.post("/v1/tokens", body)
    assert answer.status_code == 202, answer.text
    await world.finish()
    assert (await world.operation(answer.json()["id"]))["status"] == "succeeded"
    return str(answer.json()["token_id"])


async def done(world: World, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """Ask, and see it succeed."""
    answer = await world.post(f"/v1/tokens/{path}", body)
    assert answer.status_code == 202, answer.text
    await world.finish()
    operation = await world.operation(answer.json()["id"])
    assert operation["status"] == "succeeded", operation
    return operation


async def funded(world: World, token_id: str, amount: int = 100) -> str:
    """A managed account that holds units."""
    account = await world.account()
    await done(world, f"{token_id}/mint", {"to": account, "amount": str(amount)})
    return account


async def issued(world: World, token_id: str, deed_id: int) -> str:
    """A managed account that holds a deed."""
    account = await world.account()
    await done(world, f"{token_id}/deeds", {"deed_id": str(deed_id), "to": account, "document_hash": HASH})
    return account


async def events(world: World, token_id: str, name: str) -> list[dict[str, Any]]:
    """Arguments of a token's events of a name, newest first."""
    answer = await world.get(f"/v1/tokens/{token_id}/events", name=name)
    assert answer.status_code == 200, answer.text
    return [row["arguments"] for row in answer.json()["data"]]


# Units


async def test_a_batch_mint_and_a_batch_transfer(shared: World, units: str) -> None:
    first, second = await shared.account(), await shared.account()
    rows = [{"to": first, "amount": "30"}, {"to": second, "amount": "12"}]
    await done(shared, f"{units}/batch-mint", {"shares": rows})
    await done(shared, f"{units}/batch-transfer", {"from": first, "shares": [{"to": second, "amount": "5"}, rows[1]]})
    assert (await shared.holding(units, first), await shared.holding(units, second)) == (13, 29)


async def test_a_batch_is_all_or_nothing(shared: World, units: str) -> None:
    holder = await funded(shared, units, 10)
    body = {"from": holder, "shares": [{"to": ALICE, "amount": "7"}, {"to": ALICE, "amount": "7"}]}
    problem(await shared.post(f"/v1/tokens/{units}/batch-transfer", body), "insufficient-balance")
    assert await shared.holding(units, holder) == 10


async def test_a_batch_has_rows_and_not_too_many(shared: World, units: str) -> None:
    for count in (0, 101):
        body = {"shares": [{"to": ALICE, "amount": "1"}] * count}
        problem(await shared.post(f"/v1/tokens/{units}/batch-mint", body), "invalid-request")


async def test_frozen_units_stay_and_the_rest_moves(shared: World, units: str) -> None:
    holder = await funded(shared, units)
    await done(shared, f"{units}/freeze", {"account": holder, "amount": "60"})
    told = problem(await shared.transfer(units, holder, ALICE, 41), "insufficient-unfrozen-balance")
    assert told["revert"]["arguments"]["unfrozen"] == "40"
    await done(shared, f"{units}/transfer", {"from": holder, "to": ALICE, "amount": "40"})
    assert (await shared.get(f"/v1/tokens/{units}/frozen/{holder}")).json()["amount"] == "60"


async def test_a_freeze_on_an_outdated_belief_is_refused(shared: World, units: str) -> None:
    holder = await funded(shared, units)
    await done(shared, f"{units}/freeze", {"account": holder, "amount": "60"})
    body = {"account": holder, "expected": "50", "amount": "0"}
    told = problem(await shared.post(f"/v1/tokens/{units}/freeze", body), "frozen-amount-changed")
    assert told["revert"]["arguments"] == {"expected": "50", "actual": "60"}


async def test_a_forced_transfer_takes_frozen_units_and_says_why(shared: World, units: str) -> None:
    holder = await funded(shared, units)
    await done(shared, f"{units}/freeze", {"account": holder, "amount": "100"})
    order = {"from": holder, "to": ALICE, "amount": "70", "reason": "Court order 12/2026", "document_hash": HASH}
    await done(shared, f"{units}/forced-transfer", order)
    assert await shared.holding(units, holder) == 30
    assert (await shared.get(f"/v1/tokens/{units}/frozen/{holder}")).json()["amount"] == "30"
    (reason, *_) = await events(shared, units, "ForcedTransferReason")
    assert (reason["reason"], reason["documentHash"]) == ("Court order 12/2026", HASH)


async def test_units_are_redeemed_with_a_reference(shared: World, units: str) -> None:
    holder = await funded(shared, units)
    await done(shared, f"{units}/redeem", {"from": holder, "amount": "40", "reference": "redemption 17"})
    assert await shared.holding(units, holder) == 60
    (redeemed, *_) = await events(shared, units, "Redeemed")
    assert bytes.fromhex(redeemed["ref"][2:]).rstrip(b"\0") == b"redemption 17"


async def test_an_approval_is_on_the_chain(shared: World, units: str) -> None:
    holder = await funded(shared, units)
    await done(shared, f"{units}/approve", {"from": holder, "spender": ALICE, "amount": str(AMOUNT_MAX)})
    body = {"from": holder, "to": ALICE, "amount": "10", "spender": ALICE}
    assert (await shared.post(f"/v1/tokens/{units}/preview", body)).json()["allowed"] is True
    await done(shared, f"{units}/approve", {"from": holder, "spender": ALICE, "amount": "5"})
    preview = (await shared.post(f"/v1/tokens/{units}/preview", body)).json()
    assert (preview["allowed"], preview["problem"]["type"]) == (False, "/problems/insufficient-allowance")


async def test_forced_transfers_go_on_during_a_pause(shared: World) -> None:
    token_id = await shared.token()
    holder = await funded(shared, token_id)
    await done(shared, f"{token_id}/pause", {})
    problem(await shared.transfer(token_id, holder, ALICE, 1), "token-paused")
    order = {"from": holder, "to": ALICE, "amount": "70", "reason": "Court order", "document_hash": HASH}
    await done(shared, f"{token_id}/forced-transfer", order)
    assert await shared.holding(token_id, holder) == 30
    await done(shared, f"{token_id}/unpause", {})
    await done(shared, f"{token_id}/transfer", {"from": holder, "to": ALICE, "amount": "1"})


# Utility and governance


async def test_utility_units_are_spent_and_capped(shared: World) -> None:
    token_id = await token(shared, "utility", cap="100")
    holder = await funded(shared, token_id)
    problem(await shared.mint(token_id, holder, 1), "cap-exceeded")
    await done(shared, f"{token_id}/spend", {"from": holder, "amount": "1", "reference": "lounge 2026-05-03"})
    assert await shared.holding(token_id, holder) == 99
    (spent,) = await events(shared, token_id, "Spent")
    assert spent["amount"] == "1"


async def test_votes_follow_a_delegation(shared: World) -> None:
    token_id = await token(shared, "governance", cap="1000")
    holder = await funded(shared, token_id)
    assert (await shared.get(f"/v1/tokens/{token_id}/votes")).json()["data"] == []
    await done(shared, f"{token_id}/delegate", {"from": holder, "to": ALICE})
    (votes,) = (await shared.get(f"/v1/tokens/{token_id}/votes")).json()["data"]
    assert (votes["account"], votes["votes"]) == (ALICE, "100")


async def test_units_with_history_stop_at_what_votes_can_count(shared: World) -> None:
    token_id = await token(shared, "fungible", history=True)
    problem(await shared.mint(token_id, ALICE, 2**208), "cap-exceeded")


async def test_tokens_of_every_kind_are_listed(shared: World, units: str, deeds: str) -> None:
    utility, votes = await token(shared, "utility", cap="100"), await token(shared, "governance", cap="100")
    listed = {row["id"]: row["kind"] for row in (await shared.get("/v1/tokens", limit=200)).json()["data"]}
    for id_, kind in ((units, "fungible"), (deeds, "deed"), (utility, "utility"), (votes, "governance")):
        assert listed[id_] == kind == (await shared.get(f"/v1/tokens/{id_}")).json()["kind"]


async def test_a_kind_does_only_what_it_can(shared: World, units: str, deeds: str) -> None:
    assert problem(await shared.mint(deeds, ALICE, 1), "wrong-token-kind")["kind"] == "deed"
    body = {"deed_id": "1", "to": ALICE, "document_hash": HASH}
    assert problem(await shared.post(f"/v1/tokens/{units}/deeds", body), "wrong-token-kind")["kind"] == "fungible"


@pytest.mark.parametrize(
    "given",
    [
        {"kind": "deed", "decimals": 2},
        {"kind": "utility"},
        {"kind": "governance", "cap": str(2**208)},
        {"kind": "fungible", "cap": "7"},
        {"kind": "fungible", "soulbound": True},
        {"kind": "coin"},
    ],
)
async def test_a_deployment_of_what_cannot_be_costs_nothing(shared: World, given: dict[str, Any]) -> None:
    body = {"asset_id": await shared.asset(), "name": "Mill", "symbol": "MILL", **given}
    problem(await shared.post("/v1/tokens", body), "invalid-request")


# Deeds


async def test_a_deed_has_one_holder_and_a_history(shared: World, deeds: str) -> None:
    holder, buyer = await issued(shared, deeds, 1), await shared.account()
    await done(shared, f"{deeds}/deeds/1/transfer", {"from": holder, "to": buyer})
    assert (await shared.get(f"/v1/tokens/{deeds}/deeds/1")).json()["holder"] == buyer
    history = (await shared.get(f"/v1/tokens/{deeds}/deeds/1/history")).json()["data"]
    assert [row["holder"] for row in history] == [holder, buyer]
    assert (await shared.holding(deeds, holder), await shared.holding(deeds, buyer)) == (0, 1)


async def test_a_deeds_document_and_royalty_change(shared: World, deeds: str) -> None:
    await issued(shared, deeds, 2)
    await done(shared, f"{deeds}/deeds/2/document", {"uri": "ipfs://two", "document_hash": "0x" + "02" * 32})
    await done(shared, f"{deeds}/deeds/2/royalty", {"receiver": ALICE, "basis_points": 250})
    await done(shared, f"{deeds}/royalty", {"receiver": ALICE, "basis_points": 100})
    told = (await shared.get(f"/v1/tokens/{deeds}/deeds/2")).json()
    assert (told["uri"], told["document_hash"]) == ("ipfs://two", "0x" + "02" * 32)
    royalties = (await shared.get(f"/v1/tokens/{deeds}/royalties")).json()["data"]
    assert {(row.get("deed_id"), row["basis_points"]) for row in royalties} >= {("2", 250), (None, 100)}


async def test_a_retired_deed_is_nobodys_and_never_again(shared: World, deeds: str) -> None:
    holder = await issued(shared, deeds, 3)
    await done(shared, f"{deeds}/deeds/3/retire", {"reason": "Merged into deed 7"})
    assert (await shared.get(f"/v1/tokens/{deeds}/deeds/3")).json()["holder"] is None
    body = {"deed_id": "3", "to": holder, "document_hash": HASH}
    problem(await shared.post(f"/v1/tokens/{deeds}/deeds", body), "deed-exists")
    problem(await shared.post(f"/v1/tokens/{deeds}/deeds/3/transfer", {"from": holder, "to": ALICE}), "deed-not-found")


async def test_anothers_deed_does_not_move(shared: World, deeds: str) -> None:
    await issued(shared, deeds, 4)
    move = {"from": await shared.account(), "to": ALICE}
    problem(await shared.post(f"/v1/tokens/{deeds}/deeds/4/transfer", move), "insufficient-allowance")
    order = {**move, "reason": "Court order", "document_hash": HASH}
    problem(await shared.post(f"/v1/tokens/{deeds}/deeds/4/forced-transfer", order), "not-the-holder")


async def test_a_frozen_deed_moves_by_force_alone(shared: World, deeds: str) -> None:
    holder = await issued(shared, deeds, 5)
    await done(shared, f"{deeds}/deeds/5/freeze", {"account": holder, "frozen": True})
    move = {"from": holder, "to": ALICE}
    problem(await shared.post(f"/v1/tokens/{deeds}/deeds/5/transfer", move), "insufficient-unfrozen-balance")
    order = {**move, "reason": "Court order", "document_hash": HASH}
    await done(shared, f"{deeds}/deeds/5/forced-transfer", order)
    assert (await shared.get(f"/v1/tokens/{deeds}/deeds/5")).json()["holder"] == ALICE


async def test_a_soulbound_deed_stays(shared: World) -> None:
    token_id = await token(shared, "deed", soulbound=True)
    holder = await issued(shared, token_id, 1)
    told = problem(
        await shared.post(f"/v1/tokens/{token_id}/deeds/1/transfer", {"from": holder, "to": ALICE}),
        "transfer-restricted",
    )
    assert told["rule"]["name"] == "soulbound"


async def test_a_deed_is_approved_for_another(shared: World, deeds: str) -> None:
    holder = await issued(shared, deeds, 6)
    await done(shared, f"{deeds}/deeds/6/approve", {"from": holder, "spender": ALICE})
    body = {"from": holder, "to": ALICE, "deed_id": "6", "spender": ALICE}
    assert (await shared.post(f"/v1/tokens/{deeds}/preview", body)).json()["allowed"] is True


# Holders with their own keys


def keyed() -> LocalAccount:
    """A holder whose key the service has not."""
    key: LocalAccount = Account.create()
    return key


async def prepared(world: World, path: str, body: dict[str, Any], road: str) -> dict[str, Any]:
    """Something to sign."""
    answer = await world.post(f"/v1/tokens/{path}/prepare", {**body, "road": road})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    assert (await world.get(f"/v1/prepared/{found['id']}")).json() == found
    return found


def sign_message(key: LocalAccount, given: dict[str, Any]) -> str:
    """What a wallet makes of `typed_data`."""
    return "0x" + key.sign_message(encode_typed_data(full_message=given["typed_data"])).signature.hex()


def sign_transaction(key: LocalAccount, given: dict[str, Any], **changed: Any) -> str:
    """What a wallet makes of `transaction`."""
    plain = {name: value for name, value in given["transaction"].items() if name != "from"}
    return "0x" + bytes(key.sign_transaction({**plain, **changed}).raw_transaction).hex()


async def submit(world: World, given: dict[str, Any], signed: str) -> Any:
    """Hand in what was signed."""
    return await world.post(f"/v1/prepared/{given['id']}/submit", {"signed": signed})


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("transfer", {"to": ALICE, "amount": "5"}),
        ("batch-transfer", {"shares": [{"to": ALICE, "amount": "5"}]}),
        ("approve", {"spender": ALICE, "amount": "5"}),
        ("redeem", {"amount": "5", "reference": "17"}),
    ],
)
@pytest.mark.parametrize("road", ["signature", "transaction"])
async def test_a_holder_acts_with_its_own_key(
    shared: World, units: str, path: str, body: dict[str, Any], road: str
) -> None:
    key = keyed()
    await done(shared, f"{units}/mint", {"to": key.address, "amount": "20"})
    if road == "transaction":
        rpc(shared.chain_url, "anvil_setBalance", key.address, hex(ETHER))
    given = await prepared(shared, f"{units}/{path}", {"from": key.address, **body}, road)
    signed = sign_message(key, given) if road == "signature" else sign_transaction(key, given)
    answer = await submit(shared, given, signed)
    assert answer.status_code == 202, answer.text
    assert signed[2:] not in answer.text
    await shared.finish()
    operation = await shared.operation(answer.json()["id"])
    assert (operation["status"], operation["parameters"]["prepared_id"]) == ("succeeded", given["id"])
    assert await shared.holding(units, key.address) == (20 if path == "approve" else 15)
    told = problem(await submit(shared, given, signed), "already-submitted")
    assert told["operation_id"] == operation["id"]
    assert (await shared.get(f"/v1/prepared/{given['id']}")).json()["operation_id"] == operation["id"]


async def test_deeds_votes_and_spending_have_both_roads_too(shared: World, deeds: str) -> None:
    key = keyed()
    utility, votes = await token(shared, "utility", cap="100"), await token(shared, "governance", cap="100")
    await done(shared, f"{deeds}/deeds", {"deed_id": "40", "to": key.address, "document_hash": HASH})
    for each in (utility, votes):
        await done(shared, f"{each}/mint", {"to": key.address, "amount": "20"})
    rpc(shared.chain_url, "anvil_setBalance", key.address, hex(ETHER))
    for path, body in (
        (f"{utility}/spend", {"amount": "5", "reference": "lounge"}),
        (f"{votes}/delegate", {"to": key.address}),
        (f"{deeds}/deeds/40/approve", {"spender": ALICE}),
        (f"{deeds}/deeds/40/transfer", {"to": key.address}),
    ):
        for road in ("signature", "transaction"):
            given = await prepared(shared, path, {"from": key.address, **body}, road)
            signed = sign_message(key, given) if road == "signature" else sign_transaction(key, given)
            answer = await submit(shared, given, signed)
            assert answer.status_code == 202, answer.text
            await shared.finish()
            assert (await shared.operation(answer.json()["id"]))["status"] == "succeeded", (path, road)


async def test_another_signature_or_another_transaction_is_refused(shared: World, units: str) -> None:
    key, stranger = keyed(), keyed()
    await done(shared, f"{units}/mint", {"to": key.address, "amount": "20"})
    rpc(shared.chain_url, "anvil_setBalance", key.address, hex(ETHER))
    body = {"from": key.address, "to": ALICE, "amount": "5"}
    message = await prepared(shared, f"{units}/transfer", body, "signature")
    other = await prepared(shared, f"{units}/transfer", {**body, "amount": "6"}, "signature")
    for signed in (sign_message(stranger, message), sign_message(key, other), "0x00", "0x" + "00" * 65):
        problem(await submit(shared, message, signed), "not-what-was-prepared")
    plain = await prepared(shared, f"{units}/transfer", body, "transaction")
    for signed in (
        sign_transaction(stranger, plain),
        sign_transaction(key, plain, value=1),
        sign_transaction(key, plain, chainId=1),
        sign_transaction(key, plain, to=ALICE),
        sign_transaction(key, plain, data="0x"),
        sign_message(key, message),
    ):
        problem(await submit(shared, plain, signed), "not-what-was-prepared")
    assert await shared.holding(units, key.address) == 20


async def test_a_nonce_is_used_once(shared: World, units: str) -> None:
    key = keyed()
    await done(shared, f"{units}/mint", {"to": key.address, "amount": "20"})
    rpc(shared.chain_url, "anvil_setBalance", key.address, hex(ETHER))
    body = {"from": key.address, "to": ALICE, "amount": "5"}
    first, second, third = [await prepared(shared, f"{units}/transfer", body, "transaction") for _ in range(3)]
    assert (await submit(shared, first, sign_transaction(key, first))).status_code == 202
    # The same bytes under another preparation, and other bytes with the same nonce.
    problem(await submit(shared, second, sign_transaction(key, first)), "nonce-taken")
    problem(await submit(shared, second, sign_transaction(key, second, gas=200_000)), "nonce-taken")
    await shared.finish()
    told = problem(await submit(shared, third, sign_transaction(key, third)), "nonce-spent")
    assert told["nonce"] == 1
    assert (await submit(shared, third, sign_transaction(key, third, nonce=1))).status_code == 202
    await shared.finish()
    assert await shared.holding(units, key.address) == 10


async def test_what_no_block_can_take_is_not_accepted(shared: World, units: str) -> None:
    key = keyed()
    await done(shared, f"{units}/mint", {"to": key.address, "amount": "20"})
    rpc(shared.chain_url, "anvil_setBalance", key.address, hex(ETHER))
    body = {"from": key.address, "to": ALICE, "amount": "5"}
    given = await prepared(shared, f"{units}/transfer", body, "transaction")
    for changed in ({"nonce": 16}, {"maxFeePerGas": 1, "maxPriorityFeePerGas": 1}, {"maxFeePerGas": ETHER}):
        problem(await submit(shared, given, sign_transaction(key, given, **changed)), "not-mineable")
    assert (await submit(shared, given, sign_transaction(key, given))).status_code == 202


async def test_nothing_is_prepared_for_a_signer_of_ours(shared: World, units: str) -> None:
    signer = (await shared.get("/v1/roles", role="admin")).json()["data"][0]["account"]
    await done(shared, f"{units}/mint", {"to": signer, "amount": "20"})
    body = {"from": signer, "to": ALICE, "amount": "5", "road": "transaction"}
    problem(await shared.post(f"/v1/tokens/{units}/transfer/prepare", body), "signer-is-ours")


async def test_a_transaction_is_not_prepared_while_the_node_is_away(shared: World, units: str) -> None:
    body = {"from": ALICE, "to": ALICE, "amount": "5", "road": "transaction"}
    async with shared.node_away():
        problem(await shared.post(f"/v1/tokens/{units}/transfer/prepare", body), "node-away")


async def test_what_cannot_pass_is_not_prepared(shared: World, units: str) -> None:
    body = {"from": keyed().address, "to": ALICE, "amount": "5"}
    for road in ("signature", "transaction"):
        answer = await shared.post(f"/v1/tokens/{units}/transfer/prepare", {**body, "road": road})
        problem(answer, "insufficient-balance")


async def test_what_is_not_there_is_not_submitted(shared: World) -> None:
    path = "/v1/prepared/0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01"
    problem(await shared.get(path), "prepared-not-found")
    problem(await shared.post(f"{path}/submit", {"signed": "0x" + "5a" * 65}), "prepared-not-found")
