"""What others do to a signer's nonces, and what the chain takes back: one effect, or a halt that has a name."""

from typing import Any

import pytest
from eth_account import Account
from sqlalchemy import text

from scripts.stack import CHAIN_ID, DEV_KEYS
from service.addresses import checksum
from service.keys import policies
from service.keys.guard import Failure, Guard, Unsigned
from service.transactions import commands
from service.transactions.sender import watch
from tests.rpc import rpc
from tests.transactions.test_sender import chain_count, rows
from tests.world import World

SOMEBODY = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


@pytest.fixture
async def minting(world: World) -> tuple[str, str]:
    """A token and a holder."""
    return await world.token(), await world.account()


def spend_elsewhere(world: World, *, nonce: int | None = None, fee_gwei: int = 100) -> str:
    """An empty transaction that the signer's key signs without us; its hash."""
    transaction = {
        "to": SOMEBODY,
        "value": 0,
        "gas": 21_000,
        "maxFeePerGas": fee_gwei * 10**9,
        "maxPriorityFeePerGas": fee_gwei * 10**9,
        "nonce": chain_count(world) if nonce is None else nonce,
        "chainId": CHAIN_ID,
    }
    signed = Account.sign_transaction(transaction, "0x" + DEV_KEYS[0])
    return str(rpc(world.chain_url, "eth_sendRawTransaction", "0x" + signed.raw_transaction.hex()))


async def signer_row(world: World) -> Any:
    (row,) = await rows(world, "SELECT * FROM signers WHERE address = :address", address=world.signer)
    return row


async def test_a_transaction_whose_nonce_somebody_else_spent_is_sent_with_another_one(
    world: World, minting: tuple[str, str]
) -> None:
    rpc(world.chain_url, "evm_setAutomine", False)
    accepted = [(await world.mint(*minting, amount)).json()["id"] for amount in (5, 7)]
    await world.send()
    first = (await world.operation(accepted[0]))["transaction"]
    spend_elsewhere(world, nonce=first["nonce"])  # replaces ours in the pool
    rpc(world.chain_url, "evm_setAutomine", True)
    world.mine()
    await world.finish()
    await world.finish()
    done = [await world.operation(each) for each in accepted]
    assert [each["status"] for each in done] == ["succeeded", "succeeded"]
    assert done[0]["transaction"]["nonce"] > done[1]["transaction"]["nonce"]
    assert await world.holding(*minting) == 12
    assert (await signer_row(world)).foreign_nonces == 1


async def test_a_nonce_is_not_given_up_before_the_other_transaction_is_final(
    world: World, minting: tuple[str, str]
) -> None:
    rpc(world.chain_url, "evm_setAutomine", False)
    accepted = (await world.mint(*minting, 5)).json()["id"]
    await world.send()
    sent = (await world.operation(accepted))["transaction"]
    spend_elsewhere(world, nonce=sent["nonce"])
    world.mine()
    await world.send()
    assert (await world.operation(accepted))["transaction"]["nonce"] == sent["nonce"]
    rpc(world.chain_url, "anvil_reorg", 1, [])  # and the other one is gone again
    await rows(world, "UPDATE transactions SET broadcast_at = NULL")
    await world.send()
    rpc(world.chain_url, "evm_setAutomine", True)
    world.mine()
    await world.finish()
    done = await world.operation(accepted)
    assert done["status"] == "succeeded"
    assert await world.holding(*minting) == 5


async def test_a_gap_that_a_reorganisation_leaves_is_filled_by_an_empty_transaction(
    world: World, minting: tuple[str, str]
) -> None:
    rpc(world.chain_url, "evm_setAutomine", False)
    spend_elsewhere(world)
    world.mine()
    gap = chain_count(world) - 1
    accepted = (await world.mint(*minting, 5)).json()["id"]
    await world.send()
    assert (await world.operation(accepted))["transaction"]["nonce"] == gap + 1
    rpc(world.chain_url, "anvil_reorg", 1, [])
    rpc(world.chain_url, "anvil_dropAllTransactions")
    await rows(world, "UPDATE transactions SET broadcast_at = NULL WHERE status = 'submitted'")
    rpc(world.chain_url, "evm_setAutomine", True)
    await world.finish()
    world.mine(3)
    await world.finish()
    assert (await world.operation(accepted))["status"] == "succeeded"
    (filler,) = await rows(world, "SELECT nonce, status FROM transactions WHERE origin = 'filler'")
    assert (filler.nonce, filler.status) == (gap, "confirmed")
    assert await world.holding(*minting) == 5


async def test_a_gap_is_given_to_what_waits_before_a_filler_is_made(world: World, minting: tuple[str, str]) -> None:
    rpc(world.chain_url, "evm_setAutomine", False)
    spend_elsewhere(world)
    world.mine()
    gap = chain_count(world) - 1
    await world.mint(*minting, 5)
    await world.send()
    rpc(world.chain_url, "anvil_reorg", 1, [])
    rpc(world.chain_url, "anvil_dropAllTransactions")
    await rows(world, "UPDATE transactions SET broadcast_at = NULL WHERE status = 'submitted'")
    waiting = (await world.mint(*minting, 7)).json()["id"]
    rpc(world.chain_url, "evm_setAutomine", True)
    await world.finish()
    world.mine(3)
    await world.finish()
    assert (await world.operation(waiting))["transaction"]["nonce"] == gap
    assert await rows(world, "SELECT 1 FROM transactions WHERE origin = 'filler'") == []
    assert await world.holding(*minting) == 12


async def test_what_was_final_and_is_lost_is_sent_again_and_told_once(world: World, minting: tuple[str, str]) -> None:
    """A node that lost its newest state: blocks that were past reversal are gone."""
    snapshot = rpc(world.chain_url, "evm_snapshot")
    accepted = [(await world.mint(*minting, amount)).json()["id"] for amount in (5, 7)]
    await world.finish()
    assert await world.holding(*minting) == 12
    facts = await rows(world, "SELECT count(*) AS count FROM journal_entries WHERE kind LIKE 'operation.%'")
    rpc(world.chain_url, "evm_revert", snapshot)
    lost = await watch(world.sender.means)
    assert lost == {world.lane}
    for _ in range(4):
        await world.step()
    world.mine(12)
    for _ in range(4):
        await world.step()
    await world.finish()
    done = [await world.operation(each) for each in accepted]
    assert [(each["status"], each["transaction"]["status"]) for each in done] == [("succeeded", "confirmed")] * 2
    assert await world.holding(*minting) == 12
    assert await rows(world, "SELECT count(*) AS count FROM journal_entries WHERE kind LIKE 'operation.%'") == facts
    assert (await signer_row(world)).halt is None
    block = rpc(world.chain_url, "eth_getTransactionReceipt", done[0]["transaction"]["hash"])["blockHash"]
    assert done[0]["transaction"]["block_hash"] == block


async def test_while_final_transactions_are_missing_the_signer_is_halted_by_name(
    world: World, minting: tuple[str, str]
) -> None:
    snapshot = rpc(world.chain_url, "evm_snapshot")
    await world.mint(*minting, 5)
    await world.finish()
    rpc(world.chain_url, "evm_revert", snapshot)
    rpc(world.chain_url, "evm_setAutomine", False)
    late = (await world.mint(*minting, 7)).json()["id"]
    await world.step()
    row = await signer_row(world)
    assert row.halt == "node-behind"
    assert "were final" in row.halt_detail
    assert (await world.operation(late))["transaction"]["nonce"] is None


async def test_an_effect_that_is_not_the_same_again_halts_until_an_operator_resumes(
    world: World, minting: tuple[str, str]
) -> None:
    """Told as succeeded, and on the chain's new history the same bytes fail."""
    token_id, holder = minting
    snapshot = rpc(world.chain_url, "evm_snapshot")
    accepted = (await world.mint(token_id, holder, 5)).json()["id"]
    await world.finish()
    rpc(world.chain_url, "evm_revert", snapshot)
    contract = (await world.get(f"/v1/tokens/{token_id}")).json()["address"]
    rpc(world.chain_url, "anvil_setCode", contract, "0x60006000fd")
    for _ in range(4):
        await world.step()
    world.mine(12)
    for _ in range(4):
        await world.step()
    world.mine(3)
    await world.step()
    assert (await world.operation(accepted))["status"] == "succeeded"
    row = await signer_row(world)
    assert row.halt == "effect-changed"
    assert (await rows(world, "SELECT told, status FROM transactions WHERE told IS NOT NULL"))[0].status == "reverted"
    await world.step()
    assert (await signer_row(world)).halt == "effect-changed"
    async with world.db.transaction() as session:
        assert await commands.resume(session, world.signer, chain_id=CHAIN_ID) == "effect-changed"
    await world.step()
    assert (await signer_row(world)).halt is None


async def test_a_signer_that_does_not_answer_is_asked_for_the_same_again(
    world: World, minting: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = (await world.mint(*minting, 5)).json()["id"]
    asked: list[Any] = []

    async def silent(self: Guard, intents: Any) -> list[Unsigned]:
        asked.extend(each.transaction for each in intents)
        return [Unsigned(Failure.DOWN) for _ in intents]

    with monkeypatch.context() as patch:
        patch.setattr(Guard, "sign", silent)
        await world.step()
        assert (await signer_row(world)).halt == "provider-down"
        await rows(world, "UPDATE transactions SET retry_at = NULL")
        await world.step()
    assert len(asked) == 2
    assert asked[0] == asked[1]
    await rows(world, "UPDATE transactions SET retry_at = NULL")
    await world.finish()
    assert (await world.operation(accepted))["status"] == "succeeded"
    assert (await signer_row(world)).halt is None
    assert len(await rows(world, "SELECT 1 FROM attempts WHERE nonce = :nonce", nonce=asked[0].nonce)) == 1


async def test_a_frozen_signer_sends_nothing_and_goes_on_when_it_is_not(world: World, minting: tuple[str, str]) -> None:
    async with world.db.transaction() as session:
        await policies.freeze(session, world.signer, by="tests")
    accepted = (await world.mint(*minting, 5)).json()["id"]
    await world.send()
    waiting = (await world.operation(accepted))["transaction"]
    assert (waiting["status"], waiting["nonce"], waiting["last_error"]) == ("queued", None, "frozen")
    assert (await signer_row(world)).halt == "frozen"
    async with world.db.transaction() as session:
        await policies.unfreeze(session, world.signer, by="tests")
        await commands.resume(session, world.signer, chain_id=CHAIN_ID)
    await world.finish()
    assert (await world.operation(accepted))["status"] == "succeeded"
    assert (await signer_row(world)).halt is None


async def test_low_ether_is_told_before_it_is_spent(world: World, minting: tuple[str, str]) -> None:
    rpc(world.chain_url, "anvil_setBalance", checksum(world.signer), hex(10**17))
    await watch(world.sender.means)
    row = await signer_row(world)
    assert (row.alert, row.halt, int(row.balance_wei)) == ("balance-low", None, 10**17)
    rpc(world.chain_url, "anvil_setBalance", checksum(world.signer), hex(10**20))
    await watch(world.sender.means)
    assert (await signer_row(world)).alert is None


async def test_as_much_is_sent_as_the_signer_can_pay_for(world: World, minting: tuple[str, str]) -> None:
    rpc(world.chain_url, "evm_setAutomine", False)
    for amount in range(1, 6):
        await world.mint(*minting, amount)
    await world.step()
    price = await rows(world, "SELECT gas_limit * max_fee_wei AS wei FROM attempts ORDER BY created_at DESC LIMIT 1")
    await rows(world, "UPDATE transactions SET retry_at = NULL")
    rpc(world.chain_url, "anvil_setBalance", checksum(world.signer), hex(int(price[0].wei) * 7))
    for amount in range(6, 11):
        await world.mint(*minting, amount)
    await world.step()
    standing = await rows(
        world, "SELECT status, count(*) AS count FROM transactions WHERE block_hash IS NULL GROUP BY 1"
    )
    found = {row.status: row.count for row in standing}
    assert found["queued"] >= 2
    assert found["submitted"] >= 6
    assert (await signer_row(world)).halt == "no-funds"
    rpc(world.chain_url, "anvil_setBalance", checksum(world.signer), hex(10**20))
    await rows(world, "UPDATE transactions SET retry_at = NULL")
    rpc(world.chain_url, "evm_setAutomine", True)
    world.mine()
    await world.finish()
    await world.finish()
    assert await world.holding(*minting) == 55
    assert (await signer_row(world)).halt is None


async def test_signed_bytes_cannot_be_changed_even_by_hand(world: World, minting: tuple[str, str]) -> None:
    await world.mint(*minting, 5)
    await world.finish()
    with pytest.raises(Exception, match="a signed attempt is never changed"):
        async with world.db.transaction() as session:
            await session.execute(text("UPDATE attempts SET raw = 'x'"))


async def test_a_holders_transaction_whose_nonce_is_spent_otherwise_has_failed_for_good(
    world: World, minting: tuple[str, str]
) -> None:
    token_id, _ = minting
    owner = Account.from_key("0x" + DEV_KEYS[1])
    await world.post("/v1/accounts", {"label": "own key", "address": owner.address})
    await world.mint(token_id, owner.address, 100)
    await world.finish()
    body = {"from": owner.address, "to": checksum(world.signer), "amount": "5", "road": "transaction"}
    prepared = (await world.post(f"/v1/tokens/{token_id}/transfer/prepare", body)).json()
    unsigned = {name: value for name, value in prepared["transaction"].items() if name != "from"}
    signed = Account.sign_transaction(unsigned, owner.key)
    rpc(world.chain_url, "evm_setAutomine", False)
    raw = "0x" + signed.raw_transaction.hex()
    accepted = (await world.post(f"/v1/prepared/{prepared['id']}/submit", {"signed": raw})).json()
    await world.send()
    rpc(world.chain_url, "anvil_dropAllTransactions")
    rpc(world.chain_url, "anvil_setNonce", owner.address, hex(int(unsigned["nonce"], 16) + 1))
    rpc(world.chain_url, "evm_setAutomine", True)
    world.mine(4)
    await world.finish()
    done = await world.operation(accepted["id"])
    assert (done["status"], done["transaction"]["status"]) == ("failed", "displaced")
    assert done["problem"]["type"].removeprefix("/problems/") == "nonce-spent-elsewhere"
