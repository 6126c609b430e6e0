"""The whole system on this machine: Postgres, a chain, and the four processes. For devnet, demo and flow tests."""

import asyncio
import base64
import json
import os
import secrets
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts import local
from scripts.local import Anvil, Child, Postgres

CHAIN_ID = 31337
PROCESSES = ("api", "sender", "indexer", "dispatcher")

DEV_KEYS = (
    "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
)
"""anvil's own accounts, from its public test mnemonic: worth nothing anywhere."""

Report = Callable[[str], None]


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(slots=True)
class Stack:
    """A running system. `stop` ends all that was started."""

    folder: Path
    finality: str = "depth:8"
    block_time_s: float = 1.0
    settings: dict[str, str] = field(default_factory=dict)
    postgres: Postgres | None = None
    anvil: Anvil | None = None
    processes: dict[str, Child] = field(default_factory=dict)
    api_url: str = ""

    @property
    def logs(self) -> Path:
        """Where the processes write."""
        return self.folder / "logs"

    def start(self, report: Report, *, port: int = 0, chain_port: int = 0) -> None:
        """Start everything and wait until the API answers; `report` hears what is going on."""
        self.logs.mkdir(parents=True, exist_ok=True)
        report("starting Postgres")
        self.postgres = local.start_postgres(self.folder / "postgres")
        report("starting the chain")
        self.start_anvil(chain_port)
        self.settings = self._settings(port or free_port())
        self.api_url = f"http://127.0.0.1:{self.settings['MUNIMENT_API_PORT']}"
        report("preparing database, keys and factory")
        self._prepare()
        report("starting api, sender, indexer and dispatcher")
        for name in PROCESSES:
            self.start_process(name)
        self.wait_until_ready()

    def start_anvil(self, port: int = 0) -> None:
        """Start the chain, with the state that it had when it was stopped."""
        options = ["--chain-id", str(CHAIN_ID), "--state", str(self.folder / "chain.json")]
        if self.block_time_s:
            options += ["--block-time", f"{self.block_time_s:g}", "--mixed-mining"]
        self.anvil = local.start_anvil(self.logs / "anvil.log", *options, port=port)

    def start_process(self, name: str) -> None:
        """Start one of the four."""
        command = [sys.executable, "-m", "service.cli", name]
        self.processes[name] = local.spawn(name, command, log=self.logs / f"{name}.log", env=self.environment())

    def environment(self) -> Mapping[str, str]:
        """What the processes run with: this shell's variables but for its own settings, and ours."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MUNIMENT_")}
        return {**inherited, **self.settings}

    def check(self) -> None:
        """Raise ProcessDied when a process has ended."""
        assert self.anvil is not None
        for child in (self.anvil.child, *self.processes.values()):
            child.check()

    def wait_until_ready(self) -> None:
        """Wait until the API answers and the mirror is level."""
        key = self.api_key()

        def ready() -> bool | None:
            self.check()
            try:
                return True if self.get("/v1/status", key)["chain"]["lag"] is not None else None
            except (urllib.error.URLError, ConnectionError):
                return None

        local.wait_for(ready, what="the API")

    def get(self, path: str, key: str) -> Any:
        """Read from the API."""
        request = urllib.request.Request(self.api_url + path, headers={"Authorization": f"Bearer {key}"})
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)

    def api_key(self) -> str:
        """The key that was made when this system was first prepared."""
        return (self.folder / "api-key").read_text()

    def stop(self) -> None:
        """End every process that was started."""
        for name in reversed(PROCESSES):
            if name in self.processes:
                self.processes[name].process.terminate()
        for child in self.processes.values():
            child.stop()
        if self.anvil is not None:
            self.anvil.stop()
        if self.postgres is not None:
            self.postgres.stop()

    def _settings(self, port: int) -> dict[str, str]:
        assert self.postgres is not None
        assert self.anvil is not None
        secrets_file = self.folder / "secrets.json"
        if not secrets_file.exists():
            secrets_file.touch(mode=0o600)
            secrets_file.write_text(json.dumps(_fresh_secrets()))
        return {
            **json.loads(secrets_file.read_text()),
            "MUNIMENT_DATABASE_URL": os.environ.get("MUNIMENT_DATABASE_URL") or self.postgres.url,
            "MUNIMENT_RPC_URL": self.anvil.url,
            "MUNIMENT_CHAIN_ID": str(CHAIN_ID),
            "MUNIMENT_FINALITY": self.finality,
            "MUNIMENT_KEYSTORE_DIR": str(self.folder / "keystore"),
            "MUNIMENT_API_PORT": str(port),
            "MUNIMENT_POLL_INTERVAL_S": "0.1",
            "MUNIMENT_RESEND_AFTER_S": "2",
        }

    def _prepare(self) -> None:
        """Once: tables, signer, factory, issuer and key. Again: tables alone."""
        from service import factory, migrate
        from service.access import commands
        from service.addresses import checksum
        from service.app import open_chain
        from service.db import Database
        from service.keys import signers
        from service.keys.signers import Keystore
        from service.settings import Settings

        settings = Settings.model_validate(
            {name.removeprefix("MUNIMENT_").lower(): value for name, value in self.settings.items()}
        )
        migrate.upgrade(settings.database_url)
        keystore_dir, password = settings.keystore_dir, settings.keystore_password
        if not keystore_dir.exists():
            signers.store(keystore_dir, password, bytes.fromhex(DEV_KEYS[0]), kdf_iterations=10_000)
        keystore = Keystore.open(keystore_dir, password)
        (signer,) = keystore.addresses

        async def prepare() -> None:
            db, chain = Database(settings.database_url, role=None, connections_max=2), open_chain(settings)
            await db.open()
            try:
                await factory.deploy(db, chain, keystore, signer, lease_ttl_s=settings.lease_ttl_s)
                async with db.transaction() as session:
                    if await commands.create_issuer(session, name="Harbour Estates", signer=signer):
                        key = await commands.create_key(
                            session,
                            issuer="Harbour Estates",
                            caller="devnet",
                            environment="test",
                            pepper=settings.api_key_pepper,
                        )
                        (self.folder / "api-key").touch(mode=0o600)
                        (self.folder / "api-key").write_text(key.text)
            finally:
                await chain.close()
                await db.close()

        asyncio.run(prepare())
        self.settings["MUNIMENT_FACTORY_ADDRESS"] = checksum(factory.address_for(signer))


def _fresh_secrets() -> dict[str, str]:
    return {
        "MUNIMENT_KEYSTORE_PASSWORD": secrets.token_urlsafe(24),
        "MUNIMENT_KEY_ENCRYPTION_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
        "MUNIMENT_API_KEY_PEPPER": secrets.token_urlsafe(32),
    }
