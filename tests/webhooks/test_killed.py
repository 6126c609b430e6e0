"""A dispatcher that is killed between what a receiver took and what it stored of that."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from scripts import local
from service.settings import Settings
from tests.webhooks.office import Office, Tenant

pytestmark = pytest.mark.asyncio(loop_scope="module")


def environment(settings: Settings) -> dict[str, str]:
    """The settings, for a process whose place is free soon after its end."""
    given = {**os.environ, "PYTHONPATH": str(local.ROOT)}
    for name in type(settings).model_fields:
        value: Any = getattr(settings, name)
        if value not in (None, ()):
            given[f"MUNIMENT_{name.upper()}"] = str(value.get_secret_value() if isinstance(value, SecretStr) else value)
    return {**given, "MUNIMENT_LEASE_TTL_S": "1"}


async def test_what_a_killed_dispatcher_did_not_store_the_next_one_sends_again_as_the_same_message(
    office: Office, tenant: Tenant, log_dir: Path
) -> None:
    await office.lease.release(office.db)
    command, env = [sys.executable, "-m", "service.cli", "dispatcher"], environment(office.settings)
    first = local.spawn("first", command, log=log_dir / "first.log", env=env)
    deaths: list[int] = []

    async def kill_first(_: web.Request) -> web.StreamResponse:
        if not deaths:
            deaths.append(first.process.pid)
            os.kill(first.process.pid, signal.SIGKILL)
        return web.Response()

    office.receiver.behaviours["/hook"] = kill_first
    made = await office.webhook(tenant, types=["operation.*"])
    facts = [{"operation": f"o-{number}", "token": "t-1"} for number in range(20)]
    await office.tell(tenant, "operation.succeeded", *facts)
    with local.stopping(first):
        await until(lambda: bool(deaths), first)
    second = local.spawn("second", command, log=log_dir / "second.log", env=env)
    with local.stopping(second):
        end_s = time.monotonic() + 30
        while (told := await office.read(tenant, f"/{made['id']}"))["pending"] or told["messages"] < 20:
            second.check()
            assert time.monotonic() < end_s
            await asyncio.sleep(0.05)
    heard = office.receiver.heard
    assert {each.told["number"] for each in heard} == set(range(1, 21)), "at least once"
    again = [each for each in heard if each.id == heard[0].id]
    assert len(again) == 2
    assert again[0].body == again[1].body
    assert again[0].headers["webhook-signature"] != "" != again[1].headers["webhook-signature"]
    assert second.process.returncode == 0


async def until(done: Any, process: local.Child) -> None:
    """Wait for something that a process does."""
    end_s = time.monotonic() + 30
    while not done():
        process.check()
        assert time.monotonic() < end_s
        await asyncio.sleep(0.02)
