"""An effect is told as it is, whoever brought it about: a failure that is not one would have it asked for twice."""

from typing import Any

import pytest
from sqlalchemy import text

from service.chain.node import NodeRefused
from service.chain.reader import Chain
from tests.rpc import rpc
from tests.world import World

STRANGER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"  # anvil's second account


async def rows(world: World, query: str, **given: Any) -> list[Any]:
    async with world.db.transaction() as session:
        return list(await session.execute(text(query), given))


async def ready(world: World, amount: int = 100) -> tuple[str, str, str]:
    """A token, a holder of it, and someone else."""
    token_id, holder, other = await world.token(), await world.account(), await world.account("other")
    await world.mint(token_id, holder, amount)
    await world.finish()
    return token_id, holder, other


async def relay(world: World, operation_id: str, **fees: str) -> None:
    """What anyone does who has seen our calldata: send it."""
    ((to, data),) = await rows(
        world,
        """SELECT t.recipient, t.data FROM transactions t JOIN operations o ON o.transaction_id = t.id
        WHERE o.id = :id""",
        id=operation_id,
    )
    call = {"from": STRANGER, "to": "0x" + to.hex(), "data": "0x" + data.hex(), "gas": hex(500_000), **fees}
    rpc(world.chain_url, "eth_sendTransaction", call)


async def try_again_now(world: World) -> None:
    async with world.db.transaction() as session:
        await session.execute(text("UPDATE transactions SET retry_at = NULL"))
    await world.finish()


async def test_a_transfer_that_a_stranger_relayed_first_has_succeeded(world: World) -> None:
    token_id, holder, other = await ready(world)
    accepted = (await world.transfer(token_id, holder, other, 40)).json()["id"]
    await relay(world, accepted)
    await world.send()
    waiting = await world.operation(accepted)
    assert waiting["status"] == "pending", "the stranger's transaction may still be undone"
    assert waiting["transaction"]["last_error"] == "executed-elsewhere"
    await world.finish()
    await try_again_now(world)
    done = await world.operation(accepted)
    assert (done["status"], done["transaction"]["status"]) == ("succeeded", "executed")
    assert await world.holding(token_id, other) == 40


async def test_a_transfer_that_a_stranger_relayed_in_the_same_block_has_succeeded(world: World) -> None:
    token_id, holder, other = await ready(world)
    rpc(world.chain_url, "evm_setAutomine", False)
    accepted = (await world.transfer(token_id, holder, other, 40)).json()["id"]
    await world.send()
    await relay(world, accepted, maxFeePerGas=hex(10**12), maxPriorityFeePerGas=hex(10**11))
    world.mine()
    rpc(world.chain_url, "evm_setAutomine", True)
    await world.finish()
    done = await world.operation(accepted)
    assert (done["status"], done["transaction"]["status"]) == ("succeeded", "executed")
    assert await world.holding(token_id, other) == 40


async def failed_in_a_block(world: World) -> tuple[str, str, str, str]:
    """Two transfers of the same units in one block: the second fails, and its authorization is public."""
    token_id, holder, other = await ready(world)
    rpc(world.chain_url, "evm_setAutomine", False)
    accepted = [(await world.transfer(token_id, holder, other, 100)).json()["id"] for _ in range(2)]
    await world.send()
    world.mine()
    rpc(world.chain_url, "evm_setAutomine", True)
    await world.finish()
    assert (await world.operation(accepted[0]))["status"] == "succeeded"
    undecided = await world.operation(accepted[1])
    assert (undecided["status"], undecided["transaction"]["last_error"]) == ("pending", "reverted-so-far")
    return token_id, holder, other, accepted[1]


async def test_a_failed_transfer_fails_once_its_authorization_has_run_out(world: World) -> None:
    token_id, _, other, failed = await failed_in_a_block(world)
    rpc(world.chain_url, "evm_increaseTime", 2 * 3_600)
    await world.finish()
    done = await world.operation(failed)
    assert (done["status"], done["problem"]["type"]) == ("failed", "/problems/insufficient-balance")
    assert await world.holding(token_id, other) == 100


async def test_a_failed_transfer_that_someone_brings_about_in_time_has_succeeded(world: World) -> None:
    token_id, holder, other, failed = await failed_in_a_block(world)
    await world.mint(token_id, holder, 100)
    await world.finish()
    await relay(world, failed)
    await world.finish()
    done = await world.operation(failed)
    assert (done["status"], done["transaction"]["status"]) == ("succeeded", "executed")
    assert await world.holding(token_id, other) == 200


async def test_a_node_that_cannot_tell_is_no_proof_of_a_failure(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, _, failed = await failed_in_a_block(world)
    rpc(world.chain_url, "evm_increaseTime", 2 * 3_600)
    world.mine(3)

    async def forgetful(*_: object, **__: object) -> list[NodeRefused]:
        return [NodeRefused(4444, "pruned history unavailable")]

    with monkeypatch.context() as patch:
        patch.setattr(Chain, "calls", forgetful)
        await world.step()
    assert (await world.operation(failed))["status"] == "pending"
    await world.finish()
    assert (await world.operation(failed))["status"] == "failed"


async def restore_an_older_backup(world: World) -> None:
    """Forget all that came after the deployment."""
    lost = {
        "requests": "key IN ('mint-once', 'move-once')",
        "operations": "kind IN ('token.mint', 'token.transfer')",
        "attempts": "NOT EXISTS (SELECT FROM operations o WHERE o.transaction_id = attempts.transaction_id)",
        "transactions": "NOT EXISTS (SELECT FROM operations o WHERE o.transaction_id = transactions.id)",
    }
    async with world.db.transaction() as session:
        for table, condition in lost.items():
            await session.execute(text(f"DELETE FROM {table} WHERE {condition}"))


async def test_a_key_retried_after_an_older_backup_was_restored_has_no_second_effect(world: World) -> None:
    token_id, holder, other = await ready(world)
    await world.mint(token_id, holder, 7, idempotency_key="mint-once")
    await world.transfer(token_id, holder, other, 5, idempotency_key="move-once")
    await world.finish()
    await restore_an_older_backup(world)
    minted = await world.mint(token_id, holder, 7, idempotency_key="mint-once")
    moved = await world.transfer(token_id, holder, other, 5, idempotency_key="move-once")
    assert minted.json()["type"] == "/problems/operation-already-executed"
    assert moved.json()["type"] == "/problems/authorization-already-used"
    # Accepted while the node was away, the same retry finds its effect there.
    async with world.node_away():
        late = (await world.mint(token_id, holder, 7, idempotency_key="mint-once")).json()["id"]
    await world.finish()
    assert (await world.operation(late))["transaction"]["status"] == "executed"
    assert (await world.operation(late))["status"] == "succeeded"
    assert await world.holding(token_id, holder) == 102
    assert await world.holding(token_id, other) == 5
