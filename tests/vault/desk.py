"""An issuer at the vault's desk: the real API over ASGI and a real Postgres. No chain answers, and none is asked."""

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import text

from service.access import commands as access
from service.access.apikeys import Scope
from service.app import create_app
from service.db import Database, new_id
from service.vault.keys import Vault
from tests.world import PEPPER, make_settings

CARD = "4111 1111 1111 1111"
SIGNER = bytes.fromhex("22" * 20)
_NOBODY = "http://127.0.0.1:1"


@dataclass(slots=True)
class Desk:
    """What a test does and sees."""

    app: FastAPI
    db: Database
    client: httpx.AsyncClient
    key: str = ""
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    @property
    def vault(self) -> Vault:
        """The process's own."""
        vault: Vault = self.app.state.vault
        return vault

    async def send(
        self, method: str, path: str, body: Any = None, *, idempotency_key: str | None = None, key: str | None = None
    ) -> httpx.Response:
        """A request, under a fresh idempotency key unless one is given."""
        headers = {
            "Authorization": f"Bearer {key or self.key}",
            "Idempotency-Key": idempotency_key or f"test-{next(self._numbers)}",
            "Content-Type": "application/json",
        }
        # In ASCII, so that a test may send half a surrogate pair, too.
        return await self.client.request(method, f"/v1/vault{path}", headers=headers, content=json.dumps(body))

    async def post(self, path: str, body: Any = None, **given: Any) -> httpx.Response:
        """A write, or a question with a body."""
        return await self.send("POST", path, body, **given)

    async def get(self, path: str, *, key: str | None = None, **parameters: Any) -> httpx.Response:
        """Read."""
        headers = {"Authorization": f"Bearer {key or self.key}"}
        return await self.client.get(f"/v1/vault{path}", headers=headers, params=parameters)

    async def policy(self, **changed: Any) -> str:
        """The id of a new policy: of cards, at random, unless something else is asked."""
        order = {
            "name": f"policy {next(self._numbers)}",
            "kind": "vault",
            "data_class": "card",
            "format": {"kind": "card"},
            "reveal": {"purposes": ["payment", "support"], "views": ["plain", "masked", "last_four", "hash"]},
            **changed,
        }
        if order["data_class"] not in ("card", "national_id", "custom") and "reveal" not in changed:
            order["reveal"] = {"purposes": ["payment", "support"], "views": ["plain", "masked", "hash"]}
        answer = await self.post("/policies", order)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def tokenize(self, policy: str, *values: str | dict[str, Any], **given: Any) -> list[dict[str, Any]]:
        """What each value came to."""
        items = [{"value": each} if isinstance(each, str) else each for each in values]
        answer = await self.post("/tokenize", {"policy": policy, "items": items}, **given)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["data"]
        return found

    async def token(self, policy: str, value: str | dict[str, Any]) -> str:
        """The vault token of one value."""
        (outcome,) = await self.tokenize(policy, value)
        assert outcome["token"], outcome
        return str(outcome["token"])

    async def asset_token(self) -> str:
        """The id of a token of an asset, which is on its way to the chain for ever."""
        id_ = new_id()
        async with self.db.transaction() as session:
            await session.execute(text("SET LOCAL session_replication_role = replica"))
            await session.execute(
                text(
                    """INSERT INTO tokens (id, issuer_id, asset_id, kind, artifact, name, symbol, decimals, terms,
                        chain_id, address, operation_id)
                    SELECT :id, id, :id, 'fungible', 'Share', 'Harbour', 'HARB', 0, '{}', 1, uuid_send(:id) || :id4, :id
                    FROM issuers WHERE name = 'Harbour Estates'"""
                ),
                {"id": id_, "id4": id_.bytes[:4]},
            )
        return str(id_)

    async def lookup(self, *tokens: str, key: str | None = None) -> list[dict[str, Any] | None]:
        """What is known of vault tokens."""
        answer = await self.post("/lookup", {"tokens": list(tokens)}, key=key)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any] | None] = answer.json()["data"]
        return found

    async def new_key(self, *scopes: Scope, issuer: str = "Harbour Estates", caller: str = "tests") -> str:
        """Another key of an issuer, with these scopes."""
        async with self.db.transaction() as session:
            made = await access.create_key(
                session, issuer=issuer, caller=caller, environment="test", pepper=PEPPER, scopes=scopes or tuple(Scope)
            )
        return made.text

    async def new_issuer(self, name: str) -> str:
        """Another issuer's key, with every scope."""
        async with self.db.transaction() as session:
            await access.create_issuer(session, name=name, signer=SIGNER)
        return await self.new_key(issuer=name)

    async def rows(self, query: Any, *parameters: Any) -> list[tuple[Any, ...]]:
        """Rows of Postgres, with every right."""
        return await self.db.fetch(query, parameters)

    async def alter(self, statement: str) -> None:
        """Something done to Postgres, with every right."""
        async with self.db.transaction() as session:
            await session.execute(text(statement))


@asynccontextmanager
async def open_desk(database_url: SecretStr, folder: Path, **changed: Any) -> AsyncIterator[Desk]:
    """The API on an empty database, and an issuer with a key of every scope."""
    given = {"factory_address": "0x" + "11" * 20, "node_timeout_s": 0.5, **changed}
    settings = make_settings(database_url, _NOBODY, folder / "keystore", **given)
    app, db = create_app(settings), Database(database_url, role=None)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        _opened(db),
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://api") as client,
    ):
        desk = Desk(app, db, client)
        desk.key = await desk.new_issuer("Harbour Estates")
        yield desk


@asynccontextmanager
async def _opened(db: Database) -> AsyncIterator[None]:
    await db.open()
    try:
        yield
    finally:
        await db.close()
