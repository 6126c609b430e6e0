"""Better offers for what is stuck, cancellations, and the cap."""

from typing import Any
from uuid import UUID

import pytest

from service.addresses import checksum
from service.transactions import commands
from service.transactions.sender import watch
from tests.rpc import rpc
from tests.transactions.test_sender import chain_count, rows
from tests.world import World

GWEI = 10**9


@pytest.fixture
async def minting(world: World) -> tuple[str, str]:
    """A token and a holder, and a chain that mines when it is told to."""
    prepared = await world.token(), await world.account()
    rpc(world.chain_url, "evm_setAutomine", False)
    return prepared


async def attempts(world: World, operation: str) -> list[Any]:
    """All versions of an operation's transaction, oldest first."""
    return await rows(
        world,
        """SELECT a.kind, a.nonce, a.max_fee_wei, a.priority_fee_wei, a.hash, a.gas_limit FROM attempts a
        JOIN operations o ON o.transaction_id = a.transaction_id WHERE o.id = :id ORDER BY a.created_at, a.id""",
        id=UUID(operation),
    )


async def transaction_id(world: World, operation: str) -> UUID:
    """Of an operation."""
    (row,) = await rows(world, "SELECT transaction_id FROM operations WHERE id = :id", id=UUID(operation))
    found: UUID = row.transaction_id
    return found


async def stuck(world: World, minting: tuple[str, str], *, base_fee_gwei: int) -> str:
    """A mint that three blocks have passed by, since each asks for more than it offers."""
    accepted = (await world.mint(*minting, 5)).json()["id"]
    await world.send()
    for _ in range(3):
        rpc(world.chain_url, "anvil_setNextBlockBaseFeePerGas", hex(base_fee_gwei * GWEI))
        world.mine()
    rpc(world.chain_url, "anvil_setNextBlockBaseFeePerGas", hex(base_fee_gwei * GWEI))
    return str(accepted)


async def replace_now(world: World, **limits: Any) -> None:
    """A step that takes every waiting transaction for an old one."""
    world.limit(replace_after_s=0.001, resend_after_s=0.001, **limits)
    await world.step()
    await world.step()


async def test_what_the_base_fee_has_left_behind_is_offered_again_for_more_and_mined(
    world: World, minting: tuple[str, str]
) -> None:
    accepted = await stuck(world, minting, base_fee_gwei=40)
    assert (await world.operation(accepted))["transaction"]["status"] == "submitted"
    await replace_now(world)
    first, second = await attempts(world, accepted)
    assert first.nonce == second.nonce
    assert second.max_fee_wei >= first.max_fee_wei * 9 / 8
    assert second.priority_fee_wei >= first.priority_fee_wei * 9 / 8
    assert second.max_fee_wei >= 40 * GWEI
    world.limit(replace_after_s=60.0)
    rpc(world.chain_url, "evm_setAutomine", True)
    world.mine()
    await world.finish()
    done = await world.operation(accepted)
    assert (done["status"], done["transaction"]["hash"]) == ("succeeded", "0x" + second.hash.hex())
    assert await world.holding(*minting) == 5


async def test_an_older_version_that_mines_after_all_is_recognised(world: World, minting: tuple[str, str]) -> None:
    accepted = await stuck(world, minting, base_fee_gwei=40)
    (first,) = await attempts(world, accepted)
    (stored,) = await rows(world, "SELECT raw FROM attempts WHERE hash = :hash", hash=first.hash)
    await replace_now(world)
    _, second = await attempts(world, accepted)
    world.limit(replace_after_s=60.0, resend_after_s=60.0)
    rpc(world.chain_url, "anvil_dropTransaction", "0x" + second.hash.hex())
    rpc(world.chain_url, "anvil_setNextBlockBaseFeePerGas", hex(GWEI))
    rpc(world.chain_url, "eth_sendRawTransaction", "0x" + stored.raw.hex())
    rpc(world.chain_url, "evm_setAutomine", True)
    world.mine()
    await world.finish()
    done = await world.operation(accepted)
    assert (done["status"], done["transaction"]["hash"]) == ("succeeded", "0x" + first.hash.hex())
    assert await world.holding(*minting) == 5


async def test_nothing_is_offered_above_the_cap_and_the_reason_is_visible(
    world: World, minting: tuple[str, str]
) -> None:
    accepted = await stuck(world, minting, base_fee_gwei=40)
    (first,) = await attempts(world, accepted)
    await replace_now(world, fee_max_wei=int(first.max_fee_wei) + 1)
    assert len(await attempts(world, accepted)) == 1
    assert (await world.operation(accepted))["transaction"]["last_error"] == "fee-cap"
    await watch(world.sender.means)
    assert [row.alert for row in await rows(world, "SELECT alert FROM signers")] == ["fee-cap"]


async def test_new_transactions_halt_while_the_next_block_asks_more_than_the_cap(
    world: World, minting: tuple[str, str]
) -> None:
    rpc(world.chain_url, "anvil_setNextBlockBaseFeePerGas", hex(40 * GWEI))
    world.mine()
    world.limit(fee_max_wei=10 * GWEI, resend_after_s=0.001)
    accepted = (await world.mint(*minting, 5)).json()["id"]
    await world.send()
    waiting = (await world.operation(accepted))["transaction"]
    assert (waiting["status"], waiting["nonce"], waiting["last_error"]) == ("queued", None, "fee-cap")
    assert [row.halt for row in await rows(world, "SELECT halt FROM signers")] == ["fee-cap"]
    rpc(world.chain_url, "anvil_setNextBlockBaseFeePerGas", hex(GWEI))
    rpc(world.chain_url, "evm_setAutomine", True)
    world.mine()
    await world.finish()
    assert (await world.operation(accepted))["status"] == "succeeded"
    assert [row.halt for row in await rows(world, "SELECT halt FROM signers")] == [None]


async def test_a_bump_is_a_better_offer_at_once(world: World, minting: tuple[str, str]) -> None:
    accepted = (await world.mint(*minting, 5)).json()["id"]
    await world.send()
    async with world.db.transaction() as session:
        id_ = await transaction_id(world, accepted)
        assert await commands.bump(session, [id_]) == {id_: True}
    await bumped(world)
    first, second = await attempts(world, accepted)
    assert second.max_fee_wei >= first.max_fee_wei * 9 / 8
    rpc(world.chain_url, "evm_setAutomine", True)
    world.mine()
    await world.finish()
    assert (await world.operation(accepted))["transaction"]["hash"] == "0x" + second.hash.hex()


def slug(operation: dict[str, Any]) -> str:
    """Why it failed."""
    return str(operation["problem"]["type"]).removeprefix("/problems/")


async def bumped(world: World) -> None:
    """A step in which waiting alone is no reason for more."""
    world.limit(replace_after_s=60.0, resend_after_s=0.001)
    await world.step()


async def test_a_queued_transaction_is_cancelled_without_a_nonce(world: World, minting: tuple[str, str]) -> None:
    accepted = (await world.mint(*minting, 5)).json()["id"]
    before = chain_count(world)
    async with world.db.transaction() as session:
        id_ = await transaction_id(world, accepted)
        assert await commands.cancel(session, [id_]) == {id_: True}
    rpc(world.chain_url, "evm_setAutomine", True)
    await world.finish()
    done = await world.operation(accepted)
    assert (done["status"], slug(done)) == ("failed", "operation-cancelled")
    assert (chain_count(world), await world.holding(*minting)) == (before, 0)


async def test_a_sent_transaction_is_cancelled_by_an_empty_one_in_its_place(
    world: World, minting: tuple[str, str]
) -> None:
    accepted, other = [(await world.mint(*minting, amount)).json()["id"] for amount in (5, 7)]
    await world.send()
    async with world.db.transaction() as session:
        await commands.cancel(session, [await transaction_id(world, accepted)])
    await bumped(world)
    call, empty = await attempts(world, accepted)
    assert (call.kind, empty.kind, call.nonce == empty.nonce) == ("call", "cancel", True)
    rpc(world.chain_url, "evm_setAutomine", True)
    world.mine()
    await world.finish()
    done = await world.operation(accepted)
    assert (done["status"], done["transaction"]["status"]) == ("failed", "cancelled")
    assert slug(done) == "operation-cancelled"
    assert (await world.operation(other))["status"] == "succeeded"
    assert await world.holding(*minting) == 7


async def test_a_cancellation_that_comes_too_late_leaves_the_effect_told_as_it_is(
    world: World, minting: tuple[str, str]
) -> None:
    accepted = (await world.mint(*minting, 5)).json()["id"]
    await world.send()
    rpc(world.chain_url, "evm_setAutomine", True)
    async with world.db.transaction() as session:
        await commands.cancel(session, [await transaction_id(world, accepted)])
    world.mine()  # the call itself, before the sender knows of the cancellation
    await world.finish()
    assert (await world.operation(accepted))["status"] == "succeeded"
    assert await world.holding(*minting) == 5
    async with world.db.transaction() as session:
        id_ = await transaction_id(world, accepted)
        assert await commands.cancel(session, [id_]) == {id_: False}


async def test_a_cancelled_transfer_stays_undecided_while_a_stranger_could_relay_it(
    world: World, minting: tuple[str, str]
) -> None:
    token_id, holder = minting
    rpc(world.chain_url, "evm_setAutomine", True)
    await world.mint(token_id, holder, 5)
    await world.finish()
    rpc(world.chain_url, "evm_setAutomine", False)
    accepted = (await world.transfer(token_id, holder, checksum(b"\x31" * 20), 5)).json()["id"]
    await world.send()
    async with world.db.transaction() as session:
        await commands.cancel(session, [await transaction_id(world, accepted)])
    await bumped(world)
    rpc(world.chain_url, "evm_setAutomine", True)
    world.mine()
    await world.finish()
    waiting = await world.operation(accepted)
    assert (waiting["status"], waiting["transaction"]["last_error"]) == ("pending", "cancelled-so-far")
    rpc(world.chain_url, "evm_increaseTime", 2 * 3_600)
    await world.finish()
    assert (await world.operation(accepted))["transaction"]["status"] == "cancelled"
    assert await world.holding(token_id, holder) == 5
