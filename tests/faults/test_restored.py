"""Every write, retried after the database was restored from an older backup: the chain has done it, and says so."""

from typing import Any

from eth_account import Account
from eth_account.messages import encode_typed_data
from sqlalchemy import text

from service.addresses import checksum
from tests.rpc import rpc
from tests.web.answers import problem
from tests.world import World

ALICE = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
BOB = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
HASH = "0x" + "8f" * 32
INVESTOR = "0x" + "5e" * 32
ORDER = {"reason": "Court order", "document_hash": HASH}
REFUSED = {"operation-already-executed", "authorization-already-used", "not-ready"}
"""The last one of what waits for its delay: the chain has it on its list."""


async def token(world: World, kind: str, **given: Any) -> str:
    """A final token of a kind."""
    body = {"asset_id": await world.asset(kind), "name": kind, "symbol": "TOK", "kind": kind, **given}
    answer = await world.post("/v1/tokens", body)
    assert answer.status_code == 202, answer.text
    await world.finish()
    return str(answer.json()["token_id"])


async def writes(world: World) -> list[tuple[str, dict[str, Any]]]:
    """One of each kind of write, in an order in which all succeed."""
    units, deeds = await world.token(), await token(world, "deed")
    ruled = await token(world, "fungible", compliance=True)
    utility, votes = await token(world, "utility", cap="1000"), await token(world, "governance", cap="1000")
    holder = await world.account()
    for each in (units, utility, votes):
        await world.mint(each, holder, 100)
    await world.finish()
    subject = (await world.get(f"/v1/tokens/{units}")).json()["address"]
    share = {"to": ALICE, "amount": "5"}
    return [
        (f"tokens/{units}/mint", {"to": ALICE, "amount": "7"}),
        (f"tokens/{units}/batch-mint", {"shares": [share]}),
        (f"tokens/{units}/burn", {"from": ALICE, "amount": "2"}),
        (f"tokens/{units}/transfer", {"from": holder, "to": BOB, "amount": "5"}),
        (f"tokens/{units}/batch-transfer", {"from": holder, "shares": [share]}),
        (f"tokens/{units}/approve", {"from": holder, "spender": BOB, "amount": "5"}),
        (f"tokens/{units}/redeem", {"from": holder, "amount": "5", "reference": "17"}),
        (f"tokens/{units}/freeze", {"account": BOB, "amount": "1"}),
        (f"tokens/{units}/forced-transfer", {"from": holder, "to": BOB, "amount": "5", **ORDER}),
        (f"tokens/{utility}/spend", {"from": holder, "amount": "5", "reference": "lounge"}),
        (f"tokens/{votes}/delegate", {"from": holder, "to": BOB}),
        (f"tokens/{deeds}/deeds", {"deed_id": "1", "to": holder, "document_hash": HASH}),
        (f"tokens/{deeds}/deeds/1/document", {"uri": "ipfs://one", "document_hash": HASH}),
        (f"tokens/{deeds}/deeds/1/royalty", {"receiver": ALICE, "basis_points": 250}),
        (f"tokens/{deeds}/royalty", {"receiver": ALICE, "basis_points": 100}),
        (f"tokens/{deeds}/deeds/1/freeze", {"account": BOB, "frozen": True}),
        (f"tokens/{deeds}/deeds/1/approve", {"from": holder, "spender": BOB}),
        (f"tokens/{deeds}/deeds/1/transfer", {"from": holder, "to": ALICE}),
        (f"tokens/{deeds}/deeds/1/forced-transfer", {"from": ALICE, "to": holder, **ORDER}),
        (f"tokens/{deeds}/deeds/1/retire", {"reason": "Merged"}),
        (f"tokens/{ruled}/policy", {"level_min": 1}),
        (f"tokens/{ruled}/policy/countries", {"country": 756, "holders_max": 5}),
        (f"tokens/{ruled}/lots", {"investor": INVESTOR, "lots": []}),
        ("identities", {"investor": INVESTOR, "country": 756, "level": 1, "expires_at": None}),
        ("identities/block", {"investor": INVESTOR, "blocked": True, "reason_hash": HASH}),
        ("identities/block", {"investor": INVESTOR, "blocked": False, "reason_hash": HASH}),
        ("wallets/link", {"wallet": ALICE, "investor": INVESTOR}),
        ("documents", {"subject": subject, "name": "prospectus", "uri": "ipfs://p", "document_hash": HASH}),
        ("documents/remove", {"subject": subject, "name": "prospectus"}),
        (f"tokens/{ruled}/detach-compliance", {}),
        (f"tokens/{units}/pause", {}),
        (f"tokens/{units}/unpause", {}),
        ("roles/grant", {"role": "minter", "account": BOB}),
        ("roles/revoke", {"role": "minter", "account": BOB}),
        ("roles/grant", {"role": "enforcer", "account": checksum(world.signer), "delay_s": 60}),
        (f"tokens/{units}/forced-transfer", {"from": holder, "to": BOB, "amount": "1", **ORDER}),
    ]


async def restore(world: World, mark: str) -> None:
    """Forget every request that came after the mark, and all that came of it."""
    lost = (
        "DELETE FROM prepared WHERE created_at > CAST(:mark AS timestamptz)",
        "DELETE FROM requests WHERE created_at > CAST(:mark AS timestamptz)",
        "DELETE FROM operations WHERE created_at > CAST(:mark AS timestamptz)",
        "DELETE FROM attempts WHERE transaction_id NOT IN (SELECT transaction_id FROM operations)",
        "DELETE FROM transactions WHERE id NOT IN (SELECT transaction_id FROM operations)",
    )
    async with world.db.transaction() as session:
        for statement in lost:
            await session.execute(text(statement), {"mark": mark} if ":mark" in statement else {})


async def now(world: World) -> str:
    """Postgres's clock."""
    async with world.db.read() as connection:
        row = await (await connection.execute("SELECT clock_timestamp()::text")).fetchone()
    assert row is not None
    return str(row[0])


async def test_no_write_has_a_second_effect(world: World) -> None:
    for kind in ("compliance", "documents"):
        await world.contract(kind)
    asked = await writes(world)
    mark = await now(world)
    for number, (path, body) in enumerate(asked):
        answer = await world.post(f"/v1/{path}", body, idempotency_key=f"once-{number}")
        assert answer.status_code == 202, (path, answer.text)
        await world.finish()
        assert (await world.operation(answer.json()["id"]))["status"] == "succeeded", path
    await restore(world, mark)
    count = rpc(world.chain_url, "eth_getTransactionCount", checksum(world.signer), "latest")
    for number, (path, body) in enumerate(asked):
        answer = await world.post(f"/v1/{path}", body, idempotency_key=f"once-{number}")
        assert answer.status_code == 409, (path, answer.text)
        slug = answer.json()["type"].rpartition("/")[2]
        assert slug in REFUSED, (path, answer.text)
    await world.finish()
    assert rpc(world.chain_url, "eth_getTransactionCount", checksum(world.signer), "latest") == count


async def test_what_a_holder_signed_has_no_second_effect(world: World) -> None:
    token_id, key = await world.token(), Account.create()
    await world.mint(token_id, key.address, 20)
    rpc(world.chain_url, "anvil_setBalance", key.address, hex(10**18))
    await world.finish()
    mark = await now(world)
    for attempt in ("first", "after the restore"):
        for road in ("signature", "transaction"):
            body = {"from": key.address, "to": ALICE, "amount": "5", "road": road}
            path = f"/v1/tokens/{token_id}/transfer/prepare"
            given = (await world.post(path, body, idempotency_key=f"prepare-{road}")).json()
            if road == "signature":
                signed = key.sign_message(encode_typed_data(full_message=given["typed_data"])).signature.hex()
            elif attempt == "first":
                plain = {name: value for name, value in given["transaction"].items() if name != "from"}
                signed = raw = bytes(key.sign_transaction(plain).raw_transaction).hex()
            else:
                signed = raw  # the holder's script kept what it had signed
            submitted = f"/v1/prepared/{given['id']}/submit"
            answer = await world.post(submitted, {"signed": f"0x{signed}"}, idempotency_key=f"submit-{road}")
            if attempt == "first":
                assert answer.status_code == 202, answer.text
                await world.finish()
            else:
                slug = "nonce-spent" if road == "transaction" else "authorization-already-used"
                # The message of a second preparation has the nonce of the first, but runs out later.
                problem(answer, slug)
        await restore(world, mark) if attempt == "first" else None
    assert await world.holding(token_id, ALICE) == 10
