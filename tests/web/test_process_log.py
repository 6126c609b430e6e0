"""What a real API process writes to its log when it fails."""

import json
import os
import sys
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from scripts import local
from scripts.stack import free_port
from service.settings import Settings
from tests.web.answers import problem
from tests.world import PASSWORD, PEPPER, World


def environment_of(settings: Settings, port: int) -> dict[str, str]:
    """What a process of the world is told."""
    return {
        "MUNIMENT_DATABASE_URL": settings.database_url.get_secret_value(),
        "MUNIMENT_RPC_URL": settings.rpc_url.get_secret_value(),
        "MUNIMENT_CHAIN_ID": str(settings.chain_id),
        "MUNIMENT_KEYSTORE_DIR": str(settings.keystore_dir),
        "MUNIMENT_KEYSTORE_PASSWORD": PASSWORD.get_secret_value(),
        "MUNIMENT_KEY_ENCRYPTION_KEY": settings.key_encryption_key.get_secret_value(),
        "MUNIMENT_API_KEY_PEPPER": PEPPER.get_secret_value(),
        "MUNIMENT_FACTORY_ADDRESS": str(settings.factory_address),
        "MUNIMENT_API_PORT": str(port),
    }


@pytest.mark.parametrize("process", ["api", "dispatcher"])
def test_a_live_process_whose_login_owns_the_tables_says_so_once(world: World, tmp_path: Path, process: str) -> None:
    environment = environment_of(world.settings, free_port()) | {"MUNIMENT_ENVIRONMENT": "live"}
    log = tmp_path / "process.log"
    command = [sys.executable, "-m", "service.cli", process]
    started = local.spawn(process, command, log=log, env={**os.environ, **environment})
    try:
        local.wait_for(lambda: "login_may_do_more" in log.read_text() or None, what="the warning")
    finally:
        started.stop()
    (line,) = [json.loads(line) for line in log.read_text().splitlines() if "login_may_do_more" in line]
    assert (line["process"], line["level"]) == (process, "warning")
    assert "migrations/README.md" in line["detail"]


async def test_a_fault_is_one_line_without_the_exceptions_words(world: World, tmp_path: Path) -> None:
    port = free_port()
    environment = environment_of(world.settings, port)
    command = [sys.executable, "-m", "service.cli", "api"]
    api = local.spawn("api", command, log=tmp_path / "api.log", env={**os.environ, **environment})
    try:

        def answers() -> bool | None:
            api.check()
            try:
                return httpx.get(f"http://127.0.0.1:{port}/problems").is_success or None
            except httpx.TransportError:
                return None

        local.wait_for(answers, what="the API")
        async with world.db.transaction() as session:
            await session.execute(text("ALTER TABLE assets RENAME COLUMN description TO hidden"))
        for key, slug in ((world.key, "internal-error"), (f"{world.key}x", "unauthorized")):
            # A connection each: the server drops the one that saw the fault.
            async with httpx.AsyncClient(headers={"Authorization": f"Bearer {key}"}) as client:
                problem(await client.get(f"http://127.0.0.1:{port}/v1/assets"), slug)
    finally:
        api.stop()
    written = (tmp_path / "api.log").read_text()
    assert world.key[-49:] not in written
    lines = written.splitlines()
    (fault,) = [json.loads(line) for line in lines if "request_failed" in line]
    assert fault["error_kind"] == "UndefinedColumn"
    assert "does not exist" not in written
    assert all(line.startswith("{") for line in lines), written
