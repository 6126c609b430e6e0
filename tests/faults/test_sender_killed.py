"""SIGKILL of the sender at every point at which the world outside has changed: exactly one effect each time."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import text

from service.addresses import checksum
from tests.rpc import rpc
from tests.world import World

POINTS_MAX = 40


class Senders:
    """Senders in processes of their own, one after another."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self._process, self._log = process, log

    def run(self, kill_at: int) -> bool:
        """Let one work until all is final, or until it reaches a point; whether it was killed there."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{kill_at}\n")
        self._process.stdin.flush()
        lines = iter(self._process.stdout.readline, "")
        told = next((line.split()[1] for line in lines if line.startswith("ended ")), "none")
        assert told in ("0", "-9"), self._log.read_text()[-2_000:]
        return told == "-9"


@contextmanager
def senders(world: World, log: Path) -> Iterator[Senders]:
    """They are forked from a process that ends with the block."""
    command = [sys.executable, "-m", "tests.faults.killed_sender"]
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command, env=world.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as process,
    ):
        yield Senders(process, log)


async def test_one_effect_each_wherever_the_sender_is_killed(world: World, tmp_path: Path) -> None:
    token_id, holder = await world.token(), await world.account()
    await give_up_leases(world)
    minted, kills = 0, 0
    with senders(world, tmp_path / "senders.log") as forked:
        for kill_at in range(POINTS_MAX):
            asked = [(await world.mint(token_id, holder, 1)).json()["id"] for _ in range(2)]
            killed = forked.run(kill_at)
            kills += killed
            minted += 2
            await take_over(world)
            assert [(await world.operation(each))["status"] for each in asked] == ["succeeded", "succeeded"], kill_at
            assert await world.holding(token_id, holder) == minted, f"killed at point {kill_at}"
            if not killed:
                break
    assert not killed, "there are more points than were tried"
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
