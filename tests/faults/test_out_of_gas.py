"""What a call needs may grow between its estimate and its block: that is no reason for it to fail.

A token with history keeps one checkpoint a block: the second change of a holding in a block overwrites it, the first
one of the next block adds another, which costs more. So a call that is estimated behind another one of the same block,
and comes a block later, needs more than was estimated.
"""

import asyncio
from typing import Any

import pytest

from tests.rpc import rpc
from tests.world import World


async def a_block_later(world: World, path: str, body: dict[str, Any]) -> str:
    """Ask for the same twice, so that the second is estimated in the first one's block and comes in the next one."""
    rpc(world.chain_url, "evm_setAutomine", False)
    await world.post(path, body)
    await world.send()
    second = (await world.post(path, body)).json()["id"]
    await world.send()
    sent = (await world.operation(second))["transaction"]["hash"]
    rpc(world.chain_url, "anvil_dropTransaction", sent)
    world.mine()
    await asyncio.sleep(2 * world.settings.resend_after_s)
    await world.send()
    world.mine()
    for _ in range(2):  # it fails, past reversal; then it comes again with more
        await world.finish()
    return str(second)


@pytest.mark.parametrize("rows", [1, 20, 100])
async def test_a_batch_of_a_token_with_history_succeeds_a_block_later(world: World, rows: int) -> None:
    token_id = await world.token(history=True)
    shares = [{"to": f"0x{number:040x}", "amount": "1"} for number in range(1, rows + 1)]
    path, body = f"/v1/tokens/{token_id}/batch-mint", {"shares": shares}
    await world.post(path, body)
    await world.finish()
    done = await world.operation(await a_block_later(world, path, body))
    assert done["status"] == "succeeded", done


async def test_a_transfer_of_a_token_with_history_succeeds_a_block_later(world: World) -> None:
    token_id, holder, other = await world.token(history=True), await world.account(), await world.account("other")
    for each in (holder, other):
        await world.mint(token_id, each, 100)
    await world.finish()
    body = {"from": holder, "to": other, "amount": "1"}
    done = await world.operation(await a_block_later(world, f"/v1/tokens/{token_id}/transfer", body))
    assert done["status"] == "succeeded", done
