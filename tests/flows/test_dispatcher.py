"""The dispatcher as a process of its own: it knows no more than what it imports itself."""

import json
import sys
import time
from pathlib import Path

from sqlalchemy import text

from scripts import local
from service.settings import READ_BY
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


async def test_it_tells_of_old_keys_and_needs_no_secret_of_other_processes(world: World, log_dir: Path) -> None:
    async with world.db.transaction() as session:
        await session.execute(text("UPDATE credentials SET created_at = now() - interval '100 days'"))
    others = {f"MUNIMENT_{name.upper()}" for name, readers in READ_BY.items() if "dispatcher" not in readers}
    environment = {name: value for name, value in world.environment().items() if name not in others}
    command = [sys.executable, "-m", "service.cli", "dispatcher"]
    process = local.spawn("dispatcher", command, log=log_dir / "dispatcher.log", env=environment)
    query = "SELECT body FROM journal_entries WHERE kind = 'key.rotation-due'"
    with local.stopping(process):
        end_s = time.monotonic() + 30
        while not (rows := await world.db.fetch(query, ())):
            process.check()
            assert time.monotonic() < end_s
    assert [json.loads(body)["key"] for (body,) in rows] == [world.key.split("_")[2][:11]]
