"""The dispatcher as a process of its own: it knows no more than what it imports itself."""

import sys
import time
from pathlib import Path

from scripts import local
from tests.world import World


async def test_it_tells_a_failure_by_the_contracts_own_name(world: World, log_dir: Path) -> None:
    token_id, holder = await world.token(), await world.account()
    async with world.node_away():
        accepted = await world.post(f"/v1/tokens/{token_id}/burn", {"from": holder, "amount": "1"})
    await world.send()
    await world.leases.pop("dispatcher").release(world.db)
    command = [sys.executable, "-m", "service.cli", "dispatcher"]
    process = local.spawn("dispatcher", command, log=log_dir / "dispatcher.log", env=world.environment())
    with local.stopping(process):
        end_s = time.monotonic() + 30
        while (closed := await world.operation(accepted.json()["id"]))["status"] == "pending":
            process.check()
            assert time.monotonic() < end_s
    assert closed["problem"]["type"] == "/problems/insufficient-balance"
    assert process.process.returncode == 0
