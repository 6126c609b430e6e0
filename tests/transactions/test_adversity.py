"""The worst moments: late answers, more on its way than is allowed, second thoughts between two instructions."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from scripts.stack import CHAIN_ID
from service.addresses import checksum
from service.chain.node import NodeRefused
from service.chain.reader import Chain
from service.keys import policies
from service.keys.guard import Failure, Guard, Unsigned
from service.keys.policy import Policy
from service.transactions import claiming, commands, moves
from service.transactions.commands import Given, enqueue_given
from service.transactions.judging import judge_queued
from service.transactions.sender import watch
from tests.faults.test_effects_elsewhere import ready, relay
from tests.rpc import rpc
from tests.transactions.test_recovering import signer_row, spend_elsewhere
from tests.transactions.test_replacing import attempts, bumped, replace_now, stuck, transaction_id
from tests.transactions.test_sender import chain_count, rows
from tests.world import World


@pytest.fixture
async def minting(world: World) -> tuple[str, str]:
    """A token and a holder, and a chain that mines when it is told to."""
    prepared = await world.token(), await world.account()
    rpc(world.chain_url, "evm_setAutomine", False)
    return prepared


async def status(world: World, operation: str) -> str:
    """Where an operation's transaction stands."""
    return str((await world.operation(operation))["transaction"]["status"])


async def test_more_on_its_way_than_is_allowed_after_a_reorganisation_stops_nothing(
    world: World, minting: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moves, "IN_FLIGHT_MAX", 2)
    accepted = [(await world.mint(*minting, 5)).json()["id"] for _ in range(4)]
    await world.send()
    before = rpc(world.chain_url, "evm_snapshot")
    world.mine()
    await world.send()  # two more take the places of those that are mined
    rpc(world.chain_url, "evm_revert", before)
    rpc(world.chain_url, "evm_setAutomine", False)
    rpc(world.chain_url, "anvil_dropAllTransactions")
    rpc(world.chain_url, "anvil_mine", "0x1", "0x3")
    for _ in range(5):
        await world.step()
    world.mine()
    await world.finish()
    assert [(await world.operation(each))["status"] for each in accepted] == ["succeeded"] * 4


async def test_a_receipt_that_comes_with_finality_is_judged_like_any_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    token_id, holder, other = await ready(world)
    rpc(world.chain_url, "evm_setAutomine", False)
    await world.mint(token_id, holder, 1)
    relayed = (await world.transfer(token_id, holder, other, 40)).json()["id"]
    await world.send()
    await relay(world, relayed, maxFeePerGas=hex(10**12), maxPriorityFeePerGas=hex(10**11))
    world.mine()
    rpc(world.chain_url, "evm_setAutomine", True)
    (late,) = [each.hash for each in await attempts(world, relayed)]
    receipts = Chain.receipts

    async def without_it(self: Chain, hashes: Any) -> Any:
        found = await receipts(self, hashes)
        return [None if hash_ == late else receipt for hash_, receipt in zip(hashes, found, strict=True)]

    with monkeypatch.context() as patch:
        patch.setattr(Chain, "receipts", without_it)
        await world.step()
    world.mine(3)
    await world.finish()
    assert await world.holding(token_id, other) == 40
    assert (await world.operation(relayed))["status"] == "succeeded"


async def test_what_offers_all_that_the_cap_allows_is_still_sent_again(world: World, minting: tuple[str, str]) -> None:
    accepted = await stuck(world, minting, base_fee_gwei=40)
    (first,) = await attempts(world, accepted)
    await replace_now(world, fee_max_wei=int(first.max_fee_wei) + 1)
    rpc(world.chain_url, "anvil_dropAllTransactions")
    world.limit(replace_after_s=60.0, resend_after_s=0.05)
    for _ in range(5):
        rpc(world.chain_url, "anvil_setNextBlockBaseFeePerGas", hex(1))
        world.mine()
        await asyncio.sleep(0.06)
        await world.step()
    assert await status(world, accepted) in ("mined", "confirmed")


async def test_a_busy_signer_keeps_no_refusal_waiting_for_ever(world: World, minting: tuple[str, str]) -> None:
    token_id, holder = minting
    async with world.node_away():
        body = {"from": holder, "amount": "1000000"}
        refused = (await world.post(f"/v1/tokens/{token_id}/burn", body)).json()["id"]
    for _ in range(4):
        await world.mint(token_id, holder, 1)  # always something on its way
        await world.step()
        world.mine()
    assert await status(world, refused) == "refused"


async def test_a_cancellation_passes_a_better_offer_that_the_policy_forbids(
    world: World, minting: tuple[str, str]
) -> None:
    accepted = (await world.mint(*minting, 5)).json()["id"]
    await world.send()
    id_ = await transaction_id(world, accepted)
    async with world.db.transaction() as session:
        await policies.set_policy(session, world.signer, Policy(approvals="all"), by="tests")
        await commands.bump(session, [id_])
    await bumped(world)
    await asyncio.sleep(0.01)
    await world.step()
    assert (await signer_row(world)).halt == "policy"
    async with world.db.transaction() as session:
        assert await commands.cancel(session, [id_]) == {id_: True}
    await world.step()
    signed = [each.kind for each in await attempts(world, accepted) if each.hash]
    assert signed == ["call", "cancel"]
    world.mine(4)
    await world.finish()
    assert await status(world, accepted) == "cancelled"


async def test_a_cancellation_while_it_is_judged_keeps_it_from_getting_a_nonce(
    world: World, minting: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = (await world.mint(*minting, 5)).json()["id"]
    id_ = await transaction_id(world, accepted)
    await world.send()
    (sent,) = await attempts(world, accepted)
    rpc(world.chain_url, "anvil_dropTransaction", "0x" + sent.hash.hex())
    spend_elsewhere(world)
    world.mine(4)

    async def meanwhile(*given: Any, **named: Any) -> Any:
        verdicts = await judge_queued(*given, **named)
        async with world.db.transaction() as session:
            await commands.cancel(session, [id_])
        return verdicts

    monkeypatch.setattr(claiming, "judge_queued", meanwhile)
    for _ in range(3):
        await world.step()
    assert len(await attempts(world, accepted)) == 1
    await world.finish()
    assert await status(world, accepted) == "cancelled"


async def test_while_a_provider_is_silent_no_more_nonces_are_given(
    world: World, minting: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(_: Guard, intents: Any) -> list[Unsigned]:
        return [Unsigned(Failure.DOWN) for _ in intents]

    world.limit(resend_after_s=5.0)
    monkeypatch.setattr(Guard, "sign", silent)
    accepted = []
    for _ in range(4):
        accepted.append((await world.mint(*minting, 5)).json()["id"])
        await world.step()
    assert [await status(world, each) for each in accepted] == ["pending", "queued", "queued", "queued"]


async def test_a_nodes_word_alone_raises_an_offer_at_most_once_a_block(
    world: World, minting: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def too_low(_: Chain, raws: Any) -> list[NodeRefused]:
        return [NodeRefused(-32000, "replacement transaction underpriced") for _ in raws]

    accepted = (await world.mint(*minting, 5)).json()["id"]
    monkeypatch.setattr(Chain, "broadcast", too_low)
    for _ in range(20):
        await world.step()
    assert len(await attempts(world, accepted)) == 1
    world.mine()
    for _ in range(20):
        await world.step()
    assert len(await attempts(world, accepted)) == 2


async def test_a_nonce_of_a_signer_that_came_signed_is_not_given_out_again(
    world: World, minting: tuple[str, str]
) -> None:
    given = Given(CHAIN_ID, world.signer, chain_count(world), b"\x11" * 20, b"", 21_000, b"\x02raw", b"h" * 32, 1, 1)
    async with world.db.transaction() as session:
        await enqueue_given(session, given, proof=None)
    accepted = (await world.mint(*minting, 5)).json()["id"]
    await world.step()
    assert (await world.operation(accepted))["transaction"]["nonce"] == given.nonce + 1


async def test_what_starved_is_given_no_more_than_one_transaction_may_have(
    world: World, minting: tuple[str, str]
) -> None:
    accepted = (await world.mint(*minting, 5)).json()["id"]
    id_ = await transaction_id(world, accepted)
    async with world.db.transaction() as session:
        await session.execute(text("UPDATE transactions SET last_error = 'out-of-gas' WHERE id = :id"), {"id": id_})
        await session.execute(
            text(
                """INSERT INTO attempts (id, transaction_id, nonce, gas_limit, max_fee_wei, priority_fee_wei, hash, raw,
                    signed_at)
                VALUES (gen_random_uuid(), :id, 0, 16000000, 1, 1, sha256('x'), 'y', now())"""
            ),
            {"id": id_},
        )
    await world.step()
    (row,) = await rows(world, "SELECT gas_limit FROM transactions WHERE id = :id", id=id_)
    assert row.gas_limit == 2**24


async def test_a_displaced_filler_is_sent_again_where_the_chain_gives_its_nonce_back(
    world: World, minting: tuple[str, str]
) -> None:
    rpc(world.chain_url, "evm_setAutomine", True)
    async with world.db.transaction() as session:
        await session.execute(
            text(
                """INSERT INTO transactions (id, chain_id, signer, recipient, data, origin, status, nonce, gas_limit,
                    taken)
                VALUES (gen_random_uuid(), :chain_id, :signer, :signer, '', 'filler', 'displaced', :nonce, 30000,
                    true)"""
            ),
            {"chain_id": CHAIN_ID, "signer": world.signer, "nonce": chain_count(world)},
        )
        await session.execute(
            text(
                """INSERT INTO attempts (id, transaction_id, nonce, gas_limit, max_fee_wei, priority_fee_wei)
                SELECT gen_random_uuid(), id, nonce, gas_limit, 5000000000, 1000000000 FROM transactions
                WHERE status = 'displaced'"""
            )
        )
    accepted = (await world.mint(*minting, 5)).json()["id"]
    for _ in range(3):
        await world.step()
    world.mine(3)
    await world.finish()
    assert (await world.operation(accepted))["status"] == "succeeded"
    assert [row.status for row in await rows(world, "SELECT status FROM transactions WHERE origin = 'filler'")] == [
        "confirmed"
    ]


async def test_a_halt_is_lifted_from_a_signer_whose_queue_was_taken_back(
    world: World, minting: tuple[str, str]
) -> None:
    rpc(world.chain_url, "anvil_setBalance", checksum(world.signer), "0x0")
    accepted = (await world.mint(*minting, 5)).json()["id"]
    await world.send()
    async with world.db.transaction() as session:
        await commands.cancel(session, [await transaction_id(world, accepted)])
    rpc(world.chain_url, "anvil_setBalance", checksum(world.signer), hex(10**20))
    await watch(world.sender.means)
    assert (await signer_row(world)).halt is None
