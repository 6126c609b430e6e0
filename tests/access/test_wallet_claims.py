"""Wallets that become credentials: their accounts agree to just that first, and each is one family's at a time."""

import asyncio
import secrets
import time
from typing import Any

import httpx
import pytest
from eth_account import Account

from scripts.stack import CHAIN_ID
from tests.access.approving import Desk, desk, desk_with_app
from tests.access.desk import make, rotate, sql, state
from tests.access.signing import Signing
from tests.rpc import rpc
from tests.web.answers import problem
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

SAYS_YES = "0x631626ba7e60e01b60005260206000f3"
"""A contract whose isValidSignature takes anything for a signature."""
SAYS_NO = "0x60006000f3"


def new_account() -> Any:
    return Account.from_key(secrets.token_bytes(32))


def order_of(account: Any, **changed: Any) -> dict[str, Any]:
    return {
        **{"name": "treasury", "kind": "wallet", "scopes": ["issue", "keys:admin"]},
        **{"account": account.address, "chain_id": CHAIN_ID, **changed},
    }


def signed(account: Any, asked: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """An account's proof of what it was asked, with a message of its own where that is changed."""
    typed = {**asked["typed_data"], "message": {**asked["typed_data"]["message"], **changed}}
    made = account.sign_typed_data(full_message=typed).signature.hex()
    until = int(typed["message"]["expiresAt"])
    return {"signature": "0x" + made.removeprefix("0x"), "signature_expires_at": until}


async def register(world: World, account: Any, path: str = "/v1/keys", **given: Any) -> httpx.Response:
    """Ask for a credential, have the account sign what it is asked, and ask again."""
    key, order = given.pop("key", None), given.pop("order", None) or order_of(account, **given)
    asked = problem(await world.post(path, order, key=key), "wallet-unproved")
    return await world.post(path, {**order, **signed(account, asked)}, key=key)


async def registered(world: World, account: Any, **given: Any) -> dict[str, Any]:
    answer = await register(world, account, **given)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def signing_of(account: Any) -> Signing:
    return Signing("wallet", f"erc8128:{CHAIN_ID}:{account.address.lower()}", bytes(account.key), label="eth")


async def who(world: World, account: Any) -> httpx.Response:
    return await world.client.get("/v1/whoami", headers=signing_of(account).headers("GET", "/v1/whoami"))


# The account agrees


async def test_a_wallet_becomes_a_credential_once_its_account_has_signed_that(shared: World) -> None:
    account = new_account()
    problem(await who(shared, account), "unauthorized")
    asked = problem(await shared.post("/v1/keys", order_of(account)), "wallet-unproved")
    message, whose = asked["typed_data"]["message"], (await shared.get("/v1/whoami")).json()
    assert message == {
        **{"issuer": whose["issuer_id"], "caller": "tests", "account": account.address},
        **{"chainId": str(CHAIN_ID), "expiresAt": str(asked["signature_expires_at"])},
    }
    assert asked["typed_data"]["domain"]["name"] == "Muniment credentials"
    assert 590 < asked["signature_expires_at"] - time.time() <= 601
    made = await shared.post("/v1/keys", {**order_of(account), **signed(account, asked)})
    assert (made.status_code, made.json()["account"], made.json()["secret"]) == (201, account.address, None)
    assert (await who(shared, account)).json()["key_id"] == made.json()["id"]


async def test_the_same_request_with_another_signature_is_the_same_request(shared: World) -> None:
    account, key = new_account(), secrets.token_hex(8)
    order = order_of(account)
    asked = problem(await shared.post("/v1/keys", order, idempotency_key=key), "wallet-unproved")
    proofs = [signed(account, asked), signed(account, asked, expiresAt=str(asked["signature_expires_at"] - 1)), {}]
    answers = [await shared.post("/v1/keys", {**order, **each}, idempotency_key=key) for each in proofs]
    assert [each.status_code for each in answers] == [201] * 3
    assert answers[0].json() == answers[1].json() == answers[2].json()


async def test_a_proof_is_worth_nothing_for_anything_else(shared: World) -> None:
    account, stranger = new_account(), new_account()
    theirs = await shared.new_issuer(f"issuer {secrets.token_hex(4)}")
    order = order_of(account)
    asked = problem(await shared.post("/v1/keys", order), "wallet-unproved")
    good, now_s = signed(account, asked), int(time.time())
    domain = {**asked["typed_data"], "domain": {**asked["typed_data"]["domain"], "chainId": 1}}
    factory = {**asked["typed_data"]["domain"], "verifyingContract": account.address}
    for what, given, key in (
        ("another issuer", good, theirs),
        ("another account signs", signed(stranger, asked), None),
        ("another account is named", good | {"account": stranger.address}, None),
        ("another chain of the account", good | {"chain_id": 1}, None),
        ("another caller", signed(account, asked, caller="somebody"), None),
        ("a new caller", good | {"caller": "auditor", "role": "auditor", "scopes": ["read"]}, None),
        ("another deployment's chain", signed(account, {"typed_data": domain}), None),
        ("another deployment", signed(account, {"typed_data": {**asked["typed_data"], "domain": factory}}), None),
        ("another end than was signed", good | {"signature_expires_at": good["signature_expires_at"] - 1}, None),
        ("an end that is over", signed(account, asked, expiresAt=str(now_s - 1)), None),
        ("an end that is far away", signed(account, asked, expiresAt=str(now_s + 700)), None),
        ("no signature", {"signature": "0x00", "signature_expires_at": good["signature_expires_at"]}, None),
    ):
        answer = await shared.post("/v1/keys", {**order, **given}, key=key)
        assert answer.status_code == 403, what
        assert problem(answer, "wallet-unproved")["typed_data"]["message"]["account"] in (
            account.address,
            stranger.address,
        )
    problem(await who(shared, account), "unauthorized")


@pytest.mark.parametrize(
    "changed",
    [
        {"signature": "0x" + "5a" * 65},
        {"signature_expires_at": 1},
        {"signature": "0x" + "5a" * 2_049, "signature_expires_at": 1},
        {"signature": "0x5", "signature_expires_at": 1},
        {"signature": "0x" + "5a" * 65, "signature_expires_at": "1"},
        {"signature": "0x" + "5a" * 65, "signature_expires_at": 2**63},
        {"kind": "bearer", "account": None, "chain_id": None, "signature": "0x5a", "signature_expires_at": 1},
    ],
)
async def test_a_proof_that_is_none_is_refused(shared: World, changed: dict[str, Any]) -> None:
    problem(await shared.post("/v1/keys", {**order_of(new_account()), **changed}), "invalid-request")


async def test_a_contract_agrees_itself_and_one_that_is_silent_does_not(shared: World) -> None:
    contract = new_account()
    order, spent = order_of(contract), {"signature": "0x5a", "signature_expires_at": int(time.time()) + 60}
    rpc(shared.chain_url, "anvil_setCode", contract.address, SAYS_NO)
    problem(await shared.post("/v1/keys", {**order, **spent}), "wallet-unproved")
    rpc(shared.chain_url, "anvil_setCode", contract.address, SAYS_YES)
    problem(await shared.post("/v1/keys", {**order, **spent, "chain_id": 1}), "wallet-unproved")
    assert (await shared.post("/v1/keys", {**order, **spent})).status_code == 201


async def test_a_new_auditors_wallet_agrees_before_anybody_approves(shared: World) -> None:
    ours, account = await desk_with_app(shared), new_account()
    order = order_of(account, caller="auditors", role="auditor", scopes=["read"])
    given = {"idempotency_key": "audit"}
    asked = problem(await ours.post("/v1/keys", order, **given), "wallet-unproved")
    assert asked["typed_data"]["message"]["caller"] == "auditors"
    order |= signed(account, asked)
    approval = await ours.approved("/v1/keys", order, **given)
    assert (await ours.post("/v1/keys", order, approval=approval, **given)).status_code == 201
    assert (await who(shared, account)).json()["caller"] == "auditors"


# One family for an account


async def test_an_account_is_one_credential_whosever_it_is_until_that_has_ended(shared: World) -> None:
    account, theirs = new_account(), await shared.new_issuer(f"issuer {secrets.token_hex(4)}")
    ours = await registered(shared, account)
    told = problem(await register(shared, account), "wallet-taken")
    assert told["other"] == ours["id"]
    assert "other" not in problem(await register(shared, account, key=theirs), "wallet-taken")
    assert (await who(shared, account)).json()["key_id"] == ours["id"]
    elsewhere = await registered(shared, account, chain_id=1, key=theirs)
    assert elsewhere["chain_id"] == 1
    await shared.post(f"/v1/keys/{ours['id']}/suspend", {"reason": "x"})
    problem(await register(shared, account, key=theirs), "wallet-taken")
    await shared.post(f"/v1/keys/{ours['id']}/revoke", {"reason": "x"})
    made = await registered(shared, account, key=theirs)
    assert (await who(shared, account)).json()["key_id"] == made["id"]


async def test_an_account_of_a_deleted_caller_is_free(shared: World) -> None:
    account, theirs = new_account(), await shared.new_issuer(f"issuer {secrets.token_hex(4)}")
    gone = await registered(shared, account, key=theirs)
    deleted = "UPDATE callers SET deleted_at = now() WHERE id = (SELECT caller_id FROM credentials WHERE id = :id)"
    await sql(shared, deleted, id=gone["id"])
    problem(await who(shared, account), "unauthorized")
    made = await registered(shared, account)
    assert (await who(shared, account)).json()["key_id"] == made["id"]


async def test_of_two_who_claim_an_account_at_once_one_gets_it(shared: World) -> None:
    account, keys = new_account(), [shared.key, await shared.new_issuer(f"issuer {secrets.token_hex(4)}")]
    answers = await asyncio.gather(*(register(shared, account, key=each) for each in keys * 2))
    assert sorted(each.status_code for each in answers) == [201, 409, 409, 409]


async def test_a_wallet_that_two_callers_claimed_before_does_not_sign_for_the_one_that_is_left(shared: World) -> None:
    account, theirs = new_account(), await shared.new_issuer(f"issuer {secrets.token_hex(4)}")
    first = await registered(shared, account)
    await shared.post(f"/v1/keys/{first['id']}/revoke", {"reason": "x"})
    await registered(shared, account, key=theirs)
    await sql(shared, "UPDATE credentials SET revoked_at = NULL WHERE id = :id", id=first["id"])
    await sql(shared, "UPDATE credentials SET suspended_at = now() WHERE id = :id", id=first["id"])
    problem(await who(shared, account), "unauthorized")


# Rotated


async def test_a_wallet_is_rotated_to_one_whose_account_agrees(shared: World) -> None:
    account, other = new_account(), new_account()
    old = await registered(shared, account)
    path, order = f"/v1/keys/{old['id']}/rotate", {"account": other.address, "chain_id": CHAIN_ID, "overlap_s": 0}
    asked = problem(await shared.post(path, order), "wallet-unproved")
    problem(await shared.post(path, {**order, **signed(account, asked)}), "wallet-unproved")
    assert await state(shared, old["id"]) == "active"
    new = (await shared.post(path, {**order, **signed(other, asked)})).json()
    assert (new["account"], new["version"], new["family_id"]) == (other.address, 2, old["family_id"])
    assert (await who(shared, other)).json()["key_id"] == new["id"]
    problem(await who(shared, account), "key-expired")


async def test_a_wallet_is_rotated_to_no_account_of_another_family_and_to_its_own(shared: World) -> None:
    account, other = new_account(), new_account()
    old, taken = await registered(shared, account), await registered(shared, other)
    path, chain = f"/v1/keys/{old['id']}/rotate", {"chain_id": CHAIN_ID}
    answer = await register(shared, other, path, order={"account": other.address, **chain})
    assert problem(answer, "wallet-taken")["other"] == taken["id"]
    answer = await register(shared, account, path, order={"account": account.address, **chain})
    assert (answer.status_code, answer.json()["version"]) == (201, 2)
    assert (await who(shared, account)).json()["key_id"] == answer.json()["id"]


async def test_no_account_is_asked_for_another_callers_key(shared: World) -> None:
    made = await registered(shared, new_account(), caller="auditors of wallets", role="auditor", scopes=["read"])
    order = {"account": new_account().address, "chain_id": CHAIN_ID}
    problem(await shared.post(f"/v1/keys/{made['id']}/rotate", order), "key-of-another-caller")


async def test_no_account_is_asked_for_a_key_of_another_kind(shared: World) -> None:
    made = await make(shared, "issue", kind="ed25519", public_key="8f" * 32)
    order = {"account": new_account().address, "chain_id": CHAIN_ID}
    problem(await shared.post(f"/v1/keys/{made['id']}/rotate", order), "invalid-request")
    assert (await rotate(shared, made["id"], public_key="7f" * 32))["version"] == 2


# A credential is no second factor


async def test_a_credentials_account_is_no_second_factor_of_its_issuer(shared: World) -> None:
    ours, account = await desk(shared), new_account()
    made = await registered(shared, account, key=ours.key)
    order, given = {"kind": "account", "name": "council", "account": account.address}, {"idempotency_key": "f"}
    assert problem(await ours.post("/v1/second-factors", order, **given), "wallet-taken")["other"] == made["id"]
    theirs = await desk(shared)
    assert (await theirs.post("/v1/second-factors", order, **given)).status_code == 201
    await ours.post(f"/v1/keys/{made['id']}/revoke", {"reason": "x"})
    assert (await ours.post("/v1/second-factors", order, **given)).status_code == 201


async def test_a_second_factors_account_is_no_credential_of_its_issuer(shared: World) -> None:
    ours, account = await desk(shared), new_account()
    added = await ours.add({"kind": "account", "name": "council", "account": account.address})
    for chain_id in (CHAIN_ID, 1):
        answer = await register(shared, account, key=ours.key, chain_id=chain_id)
        assert problem(answer, "wallet-taken")["other"] == added["id"]
    await ours.post(f"/v1/second-factors/{added['id']}/remove")
    assert (await registered(shared, account, key=ours.key))["account"] == account.address


async def test_an_account_that_was_made_both_before_confirms_nothing(shared: World) -> None:
    ours, account = await desk(shared), new_account()
    added = await ours.add({"kind": "account", "name": "council", "account": account.address})
    path, proof = f"/v1/second-factors/{added['id']}/confirm", {"signature": signed(account, added)["signature"]}
    made = await registered(shared, new_account(), key=ours.key)
    as_before = "UPDATE credentials SET account = :account WHERE id = :id"
    await sql(shared, as_before, id=made["id"], account=bytes.fromhex(account.address[2:]))
    assert problem(await ours.post(path, proof), "wallet-taken")["other"] == made["id"]
    await ours.post(f"/v1/keys/{made['id']}/revoke", {"reason": "x"})
    assert (await ours.post(path, proof)).status_code == 200


async def test_of_a_credential_and_a_second_factor_at_once_one_is_made(shared: World) -> None:
    ours, account = await desk(shared), new_account()
    answers = await asyncio.gather(register(shared, account, key=ours.key), added(ours, account))
    assert sorted(each.status_code for each in answers) == [201, 409]


async def added(ours: Desk, account: Any) -> httpx.Response:
    problem(await ours.post("/v1/second-factors", {"kind": "sms"}, idempotency_key="x"), "invalid-request")
    order = {"kind": "account", "name": "council", "account": account.address}
    return await ours.post("/v1/second-factors", order, idempotency_key="f")
