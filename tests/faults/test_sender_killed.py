"""SIGKILL of the sender at every point at which the world outside has changed: exactly one effect each time."""

import subprocess
import sys

from sqlalchemy import text

from service.addresses import checksum
from tests.rpc import rpc
from tests.world import World

POINTS_MAX = 40


def run_sender(world: World, kill_at: int) -> int:
    """Run it; its exit code, -9 when it was killed."""
    command = [sys.executable, "-m", "tests.faults.killed_sender", str(kill_at)]
    done = subprocess.run(command, env=world.environment(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, -9), done.stderr[-2_000:]
    return done.returncode


async def test_one_effect_each_wherever_the_sender_is_killed(world: World) -> None:
    token_id, holder = await world.token(), await world.account()
    await give_up_leases(world)
    minted, kills = 0, 0
    for kill_at in range(POINTS_MAX):
        asked = [(await world.mint(token_id, holder, 1)).json()["id"] for _ in range(2)]
        killed = run_sender(world, kill_at) == -9
        kills += killed
        minted += 2
        await take_over(world)
        assert [(await world.operation(each))["status"] for each in asked] == ["succeeded", "succeeded"], kill_at
        assert await world.holding(token_id, holder) == minted, f"killed at point {kill_at}"
        if not killed:
            break
    assert kills >= 4, "claim, broadcast, its note, and mined are points at the least"
    await assert_dense(world)


async def give_up_leases(world: World) -> None:
    """Let another process work."""
    for name in list(world.leases):
        await world.leases.pop(name).release(world.db)


async def take_over(world: World) -> None:
    """What a warm spare does once the dead sender's lease has run out."""
    async with world.db.transaction() as session:
        await session.execute(text("UPDATE leases SET expires_at = now()"))
    await world.finish()
    await give_up_leases(world)


async def assert_dense(world: World) -> None:
    """No nonce is missing or doubled, one attempt each, and the chain has as many."""
    async with world.db.transaction() as session:
        query = (
            "SELECT t.nonce, count(a.hash) FROM transactions t JOIN attempts a ON a.transaction_id = t.id GROUP BY 1"
        )
        rows = sorted(tuple(row) for row in await session.execute(text(query)))
    nonces = [nonce for nonce, _ in rows]
    assert nonces == list(range(nonces[0], nonces[0] + len(nonces)))
    assert {attempts for _, attempts in rows} == {1}
    count = rpc(world.chain_url, "eth_getTransactionCount", checksum(world.signer), "latest")
    assert int(count, 16) == nonces[-1] + 1
