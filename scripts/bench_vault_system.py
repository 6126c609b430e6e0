"""The vault that is measured: a Postgres, an issuer with policies, the API and the bare routes as processes."""

import asyncio
import base64
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from pydantic import SecretStr

from scripts import local
from scripts.bench_vault_references import POLICY, URL
from scripts.stack import CHAIN_ID, free_port
from service import migrate
from service.access import commands as access
from service.access import queries
from service.access.apikeys import Scope
from service.access.queries import Caller
from service.db import Database, act_for
from service.keys import keystore
from service.keys.wrapping import KeyEncryptionKeys
from service.keys.wrapping_local import from_environment
from service.settings import Settings
from service.vault.commands import create_policy
from service.vault.keys import Vault, open_vault
from service.vault.policies import PolicyOrder
from service.vault.queries import policy as policy_of
from service.vault.storing import Draft, PolicyKeys, draw, last_four, sealed_value

API_CONNECTIONS = 10
NOBODY = "http://127.0.0.1:1"
REVEAL = {"purposes": ["support"], "views": ["plain"]}
PREFIX = {"kind": "prefix", "environment": "test"}

POLICIES: dict[str, dict[str, Any]] = {
    "random": {"kind": "vault", "data_class": "card", "format": PREFIX, "reveal": REVEAL},
    "deterministic": {
        "kind": "vault",
        "data_class": "card",
        "format": PREFIX,
        "deterministic": True,
        "reveal": REVEAL,
    },
    "ff1": {"kind": "vaultless", "data_class": "card", "format": {"kind": "card"}, "reveal": REVEAL},
    "papers": {"kind": "vault", "data_class": "document", "format": PREFIX, "reveal": REVEAL},
}


COPY = """COPY vault.records (index, id, issuer_id, policy_id, deterministic, data_version, sealed, fingerprint,
    last_four) FROM STDIN (FORMAT binary)"""


@dataclass(frozen=True, slots=True)
class System:
    """Where everything is."""

    settings: Settings
    caller: Caller
    key: str
    policies: dict[str, UUID]

    @property
    def url(self) -> str:
        """Of the API."""
        return f"http://127.0.0.1:{self.settings.api_port}"

    @property
    def database(self) -> str:
        """The URL of Postgres."""
        return self.settings.database_url.get_secret_value()

    def opened(self) -> tuple[Database, Vault]:
        """A database and a vault of this process's own, as the API has them."""
        act_for(self.caller.issuer_id)
        db = Database(self.settings.database_url, role="muniment_api", connections_max=API_CONNECTIONS)
        return db, open_vault(db, KeyEncryptionKeys([from_environment(self.settings.key_encryption_key)]))

    def fill(self, cards: Iterable[Sequence[str]]) -> list[str]:
        """Store records of the policy `random` for cards, batch by batch; the vault tokens of the first of each batch.

        What is stored is made by the vault's own functions, and opens; only its way into the table is a faster one.
        """
        with psycopg.connect(self.database, autocommit=True) as connection:
            # An index that is built at the end takes seconds, and one that grows at random minutes.
            indexes = connection.execute(
                """SELECT indexname, indexdef FROM pg_indexes
                WHERE schemaname = 'vault' AND tablename = 'records' AND indexname <> 'records_pkey'"""
            ).fetchall()
            for name, _ in indexes:
                connection.execute(sql.SQL("DROP INDEX vault.{}").format(sql.Identifier(name)))
            connection.execute("ALTER TABLE vault.records DROP CONSTRAINT records_pkey")
            tokens = asyncio.run(self._copied(connection, cards))
            connection.execute("SET maintenance_work_mem = '512MB'")
            connection.execute("ALTER TABLE vault.records ADD PRIMARY KEY (index)")
            for _, definition in indexes:
                connection.execute(definition)
            connection.execute("VACUUM ANALYZE vault.records")
        return tokens

    async def _copied(self, connection: psycopg.Connection[Any], cards: Iterable[Sequence[str]]) -> list[str]:
        tokens: list[str] = []
        db, vault = self.opened()
        await db.open()
        try:
            policy = await policy_of(db, issuer_id=self.caller.issuer_id, id=self.policies["random"])
            keys = await PolicyKeys.of(vault, policy)
        finally:
            await db.close()
        with connection.cursor().copy(COPY) as copy:
            copy.set_types(["bytea", "uuid", "uuid", "uuid", "bool", "int8", "bytea", "bytea", "text"])
            for batch in cards:
                drafts = [Draft.of(policy, keys, each) for each in batch]
                drawn = await draw(vault, policy, keys, drafts, again=False)
                for draft, sealed in zip(drawn.drafts, sealed_value(policy, keys, drawn.drafts), strict=True):
                    ends = (keys.data.version, sealed, draft.fingerprint, last_four(policy, draft.canonical))
                    copy.write_row((draft.index, draft.id, policy.issuer_id, policy.id, False, *ends))
                tokens.append(drafts[0].token)
        return tokens

    def disk_bytes(self) -> tuple[int, int]:
        """What the records take with their indexes, and how many there are."""
        with psycopg.connect(self.database) as connection:
            row = connection.execute(
                "SELECT pg_total_relation_size('vault.records'), (SELECT count(*) FROM vault.records)"
            ).fetchone()
        assert row is not None
        return int(row[0]), int(row[1])


@contextmanager
def running(folder: Path) -> Iterator[tuple[System, str, int]]:
    """The system in a folder, the URL of the bare routes, and the API's process id."""
    postgres = local.start_postgres(folder / "postgres", throw_away=True)
    with local.stopping(postgres):
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE bench")
        url = SecretStr(postgres.database("bench"))
        migrate.upgrade(url)
        system = asyncio.run(_prepared(_settings(url, folder)))
        api = _start("api", [sys.executable, "-m", "service.cli", "api"], folder, _environment(system.settings))
        with local.stopping(api):
            port = free_port()
            command = [sys.executable, "-m", "scripts.bench_vault_references", "--port", str(port)]
            given = {**os.environ, URL: system.database, POLICY: str(system.policies["random"])}
            bare = _start("bare routes", command, folder, given)
            with local.stopping(bare):
                _wait_for(api, f"{system.url}/healthz")
                _wait_for(bare, f"http://127.0.0.1:{port}/openapi.json")
                yield system, f"http://127.0.0.1:{port}", api.process.pid


def _start(name: str, command: list[str], folder: Path, environment: dict[str, str]) -> local.Child:
    return local.spawn(name, command, log=folder / f"{name}.log", env=environment)


def _wait_for(child: local.Child, url: str) -> None:
    def ready() -> bool | None:
        child.check()
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return None
        return True

    local.wait_for(ready, what=child.name)


def _settings(url: SecretStr, folder: Path) -> Settings:
    settings = Settings.model_validate(
        {
            "database_url": url,
            "rpc_url": NOBODY,
            "chain_id": CHAIN_ID,
            "finality": "depth:2",
            "keystore_dir": folder / "keystore",
            "keystore_password": SecretStr(os.urandom(16).hex()),
            "key_encryption_key": SecretStr(base64.b64encode(os.urandom(32)).decode()),
            "api_key_pepper": SecretStr(os.urandom(16).hex()),
            "factory_address": "0x" + "11" * 20,
            "api_port": free_port(),
            "api_connections_max": API_CONNECTIONS,
            "node_timeout_s": 0.5,
        }
    )
    keystore.create(settings.keystore_dir, settings.keystore_password)
    return settings


def _environment(settings: Settings) -> dict[str, str]:
    given = dict(os.environ)
    for name in type(settings).model_fields:
        value: Any = getattr(settings, name)
        if value not in (None, ()):
            told = value.get_secret_value() if isinstance(value, SecretStr) else value
            given[f"MUNIMENT_{name.upper()}"] = str(told)
    return given


async def _prepared(settings: Settings) -> System:
    """An issuer with its key and its policies."""
    owner = Database(settings.database_url, role=None)
    await owner.open()
    try:
        async with owner.transaction() as session:
            await access.create_issuer(session, name="Bench", signer=bytes(20))
            made = await access.create_key(
                session,
                issuer="Bench",
                caller="bench",
                environment="test",
                pepper=settings.api_key_pepper,
                scopes=tuple(Scope),
            )
        ((id_, issuer_id),) = await owner.fetch("SELECT id, issuer_id FROM callers", ())
    finally:
        await owner.close()
    caller = queries.Caller(id_, issuer_id, bytes(20), frozenset(Scope), "bench", "bench")
    system = System(settings, caller, made.text, {})
    db, vault = system.opened()
    await db.open()
    try:
        for name, order in POLICIES.items():
            policy = await create_policy(vault, caller, name, PolicyOrder.model_validate({"name": name, **order}))
            system.policies[name] = policy.id
    finally:
        with suppress(Exception):
            await db.close()
    return system
