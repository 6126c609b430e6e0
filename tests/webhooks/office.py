"""Issuers with webhooks: the real API over ASGI, a real Postgres, and the dispatcher's step at the test's pace."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from pydantic import SecretStr
from sqlalchemy import text

from service import journal
from service.access import commands as access
from service.access.apikeys import Scope
from service.app import create_app
from service.db import Database
from service.journal import Fact
from service.settings import Settings
from service.webhooks.delivering import Deliverer, open_deliverer
from service.workers import Lease
from tests.webhooks.receiver import Receiver, open_receiver
from tests.world import PEPPER, make_settings

SIGNER = bytes.fromhex("22" * 20)
STEPS_MAX = 500
_NOBODY = "http://127.0.0.1:1"


@dataclass(frozen=True, slots=True)
class Tenant:
    """An issuer, and a key of its."""

    id: UUID
    name: str
    key: str = field(repr=False)


@dataclass(slots=True)
class Office:
    """What a test does and sees."""

    settings: Settings
    db: Database
    client: httpx.AsyncClient
    deliverer: Deliverer
    lease: Lease
    receiver: Receiver
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    async def issuer(self, *scopes: Scope) -> Tenant:
        """A new issuer with a key."""
        name = f"issuer {next(self._numbers)}"
        async with self.db.transaction() as session:
            await access.create_issuer(session, name=name, signer=SIGNER)
            made = await access.create_key(
                session, issuer=name, caller="tests", environment="test", pepper=PEPPER, scopes=scopes or tuple(Scope)
            )
        ((id_,),) = await self.db.fetch("SELECT id FROM issuers WHERE name = %s", (name,))
        return Tenant(id_, name, made.text)

    async def ask(
        self, tenant: Tenant, method: str, path: str, body: Any = None, *, idempotency_key: str | None = None
    ) -> httpx.Response:
        """A request, under a fresh idempotency key unless one is given."""
        headers = {
            "Authorization": f"Bearer {tenant.key}",
            "Idempotency-Key": idempotency_key or f"test-{next(self._numbers)}",
        }
        return await self.client.request(method, f"/v1/webhooks{path}", headers=headers, json=body)

    async def webhook(self, tenant: Tenant, path: str = "/hook", **order: Any) -> dict[str, Any]:
        """A new webhook that goes to a path of the receiver's."""
        answer = await self.ask(tenant, "POST", "", {"url": self.receiver.url + path, **order})
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def read(self, tenant: Tenant, path: str) -> Any:
        """Read."""
        answer = await self.ask(tenant, "GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def tell(self, tenant: Tenant | None, kind: str, *bodies: dict[str, Any]) -> None:
        """Facts for the journal."""
        async with self.db.transaction() as session:
            await journal.append(session, [Fact(kind, None if tenant is None else tenant.id, body) for body in bodies])

    async def step(self) -> int:
        """One step, and what it started."""
        done = await self.deliverer.step(self.lease)
        await self.deliverer.rest()
        return done

    async def deliver(self) -> None:
        """Let the step work until there is nothing left that is due."""
        for _ in range(STEPS_MAX):
            await self.deliverer.rest()
            if await self.step() == 0:
                return
        raise AssertionError("the dispatcher does not come to rest")

    async def later(self, seconds: float) -> None:
        """What waits is due so much sooner, and what has failed began to so much earlier."""
        resting = self.deliverer._resting
        resting |= {id_: until_s - seconds for id_, until_s in resting.items()}
        async with self.db.transaction() as session:
            for statement in (
                "UPDATE webhook_deliveries SET due_at = due_at - make_interval(secs => :s) WHERE state = 'pending'",
                """UPDATE webhooks SET failing_since = failing_since - make_interval(secs => :s),
                    failed_at = failed_at - make_interval(secs => :s)""",
                "UPDATE webhook_secrets SET ends_at = ends_at - make_interval(secs => :s)",
            ):
                await session.execute(text(statement), {"s": seconds})

    async def facts(self, kind: str) -> list[dict[str, Any]]:
        """The bodies of a kind in the journal."""
        rows = await self.db.fetch("SELECT body::jsonb FROM journal_entries WHERE kind = %s ORDER BY position", (kind,))
        return [row[0] for row in rows]

    async def clear(self) -> None:
        """Nothing is left of other tests' webhooks."""
        async with self.db.transaction() as session:
            await session.execute(text("DELETE FROM webhooks"))
            await session.execute(text("DELETE FROM webhook_sightings"))
        self.receiver.heard.clear()
        self.receiver.behaviours.clear()


@asynccontextmanager
async def open_office(database_url: SecretStr, folder: Path, **changed: Any) -> AsyncIterator[Office]:
    """The API and the dispatcher's step on an empty database; webhooks may go to this machine."""
    given = {"factory_address": "0x" + "11" * 20, "node_timeout_s": 0.5, "webhooks_private": True, **changed}
    settings = make_settings(database_url, _NOBODY, folder / "keystore", **given)
    app = create_app(settings)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        opened(Database(database_url, role=None)) as db,
        opened(Database(database_url, role="muniment_dispatcher", connections_max=3)) as its_own,
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://api") as client,
        open_receiver() as receiver,
        open_deliverer(settings, its_own) as deliverer,
    ):
        lease = Lease("webhooks", ttl_s=600)
        assert await lease.take(its_own)
        yield Office(settings, db, client, deliverer, lease, receiver)


@asynccontextmanager
async def opened(db: Database) -> AsyncIterator[Database]:
    """A database, closed at the end."""
    await db.open()
    try:
        yield db
    finally:
        await db.close()
