"""One issuer's world: the real API over ASGI, a real Postgres and a real chain, with the workers at the test's pace."""

import base64
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from pydantic import SecretStr

from scripts import local
from scripts.stack import CHAIN_ID, DEV_KEYS
from service import factory
from service.access import commands as access
from service.access.apikeys import Scope
from service.addresses import checksum
from service.app import create_app
from service.chain.reader import Chain, open_chain
from service.db import Database
from service.keys.guard import Guard
from service.keys.keystore import Keystore, store
from service.keys.signers import Signers
from service.mirror.indexer import converge
from service.mirror.standing import resume
from service.operations.settle import settle
from service.refusals import BY_REVERT
from service.settings import Settings
from service.transactions.lanes import Lane, Limits, Means, busy_lanes
from service.transactions.sender import Sender
from service.workers import Lease
from tests import leaks
from tests.rpc import rpc

PEPPER = SecretStr("a pepper that is only good for tests")
PASSWORD = SecretStr("a password that is only good for tests")
STEPS_MAX = 200
ROUNDS_MAX = 5


def make_settings(database_url: SecretStr, chain_url: str, keystore_dir: Path, **changed: Any) -> Settings:
    """Settings of a test deployment: final after two blocks."""
    given = {
        "database_url": database_url,
        "rpc_url": chain_url,
        "chain_id": CHAIN_ID,
        "finality": "depth:2",
        "keystore_dir": keystore_dir,
        "keystore_password": PASSWORD,
        "key_encryption_key": SecretStr(base64.b64encode(bytes(range(32))).decode()),
        "api_key_pepper": PEPPER,
        "poll_interval_s": 0.02,
        "resend_after_s": 0.05,
        "balance_low_wei": 10**18,
        "api_connections_max": 4,
        **changed,
    }
    leaks.know(given)
    return Settings.model_validate(given)


@dataclass(slots=True)
class World:
    """What a test does and sees. Nothing moves between its calls."""

    settings: Settings
    app: FastAPI
    db: Database
    chain: Chain
    sender: Sender
    client: httpx.AsyncClient
    key: str
    signer: bytes
    leases: dict[str, Lease] = field(default_factory=dict)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    @property
    def chain_url(self) -> str:
        """The node's address."""
        return self.settings.rpc_url.get_secret_value()

    def environment(self) -> dict[str, str]:
        """The settings, for a process of its own."""
        given = {**os.environ, "PYTHONPATH": str(local.ROOT)}
        for name in type(self.settings).model_fields:
            value: Any = getattr(self.settings, name)
            if value not in (None, ()):
                secret = isinstance(value, SecretStr)
                given[f"MUNIMENT_{name.upper()}"] = str(value.get_secret_value() if secret else value)
        return given

    async def get(self, path: str, *, key: str | None = None, **parameters: Any) -> httpx.Response:
        """Read."""
        headers = {"Authorization": f"Bearer {key or self.key}"}
        # Without any, httpx would take those of the path off.
        return await self.client.get(path, headers=headers, params=parameters or None)

    async def post(
        self, path: str, body: Any = None, *, idempotency_key: str | None = None, key: str | None = None
    ) -> httpx.Response:
        """Write, under a fresh idempotency key unless one is given."""
        headers = {
            "Authorization": f"Bearer {key or self.key}",
            "Idempotency-Key": idempotency_key or f"test-{next(self._numbers)}",
        }
        return await self.client.post(path, headers=headers, json={} if body is None else body)

    @property
    def lane(self) -> Lane:
        """The transactions of the issuer's signer."""
        return Lane(CHAIN_ID, self.signer)

    async def lease(self, name: str) -> Lease:
        """A lease that this world holds from now on."""
        lease = self.leases.setdefault(name, Lease(name, ttl_s=60))
        if lease.epoch is None:
            assert await lease.take(self.db), f"the lease {name} is taken"
        return lease

    async def send(self) -> None:
        """Let the sender work on every lane until nothing moves."""
        for _ in range(STEPS_MAX):
            lanes = await busy_lanes(self.db, CHAIN_ID, self.sender.means.guard.signers.addresses)
            moved = [await self.sender.step(lane, await self.lease(lane.lease_name)) for lane in lanes]
            if not any(moved):
                return
        raise AssertionError("the sender does not come to rest")

    def limit(self, **changed: Any) -> None:
        """Change what the deployment allows its sender."""
        means = self.sender.means
        self.sender = Sender(replace(means, limits=replace(means.limits, **changed)))

    async def step(self) -> int:
        """One step of the issuer's lane."""
        return await self.sender.step(self.lane, await self.lease(self.lane.lease_name))

    async def index(self) -> None:
        """Let the indexer work until it is level."""

        async def step(lease: Lease) -> int:
            return await converge(
                self.db,
                self.chain,
                lease,
                chain_id=CHAIN_ID,
                factory=self.settings.factory,
                start_block=self.settings.start_block,
                blocks_max=self.settings.indexer_blocks_max,
            )

        await self._drain(step, "indexer")
        while await self._resume_mirror():
            await self._drain(step, "indexer")

    async def _resume_mirror(self) -> bool:
        """An operator who lets the mirror leave whatever was called final; whether there was any such thing."""
        async with self.db.transaction() as session:
            return await resume(session, chain_id=CHAIN_ID) is not None

    async def settle(self) -> None:
        """Let the dispatcher work until there is nothing left."""
        await self._drain(lambda lease: settle(self.db, lease, BY_REVERT), "dispatcher")

    async def level(self) -> None:
        """Let all three work, without another block."""
        await self.send()
        await self.index()
        await self.settle()

    async def finish(self) -> None:
        """Mine what is sent, and enough on top for it to be final and settled."""
        await self.level()
        for _ in range(ROUNDS_MAX):
            self.mine(3)
            await self.level()
            if not await self._unfinal():
                return

    async def _unfinal(self) -> bool:
        """Whether a transaction is in one of the newest blocks: many large ones come in more blocks than were mined."""
        async with self.db.read() as connection:
            found = await connection.execute("SELECT EXISTS (SELECT FROM transactions WHERE status = 'mined')")
            ((unfinal,),) = await found.fetchall()
        return bool(unfinal)

    def mine(self, count: int = 1) -> None:
        """Empty blocks."""
        rpc(self.chain_url, "anvil_mine", hex(count))

    @asynccontextmanager
    async def node_away(self) -> AsyncIterator[None]:
        """The API finds nobody at the node's address."""
        ledger = self.app.state.ledger
        nobody = open_chain(self.settings.model_copy(update={"rpc_url": SecretStr("http://127.0.0.1:1")}))
        self.app.state.ledger = replace(ledger, chain=nobody)
        try:
            yield
        finally:
            self.app.state.ledger = ledger
            await nobody.close()

    async def _drain(self, step: Any, name: str) -> None:
        lease = await self.lease(name)
        for _ in range(STEPS_MAX):
            if await step(lease) == 0:
                return
        raise AssertionError(f"the {name} does not come to rest")

    async def authority(self, *, key: str | None = None, **changed: Any) -> str:
        """Deploy an issuer's authority, without which it has no tokens; its address."""
        answer = await self.post("/v1/authority", changed, key=key)
        assert answer.status_code == 202, answer.text
        await self.finish()
        return str(answer.json()["contract"])

    async def contract(self, kind: str) -> str:
        """Deploy one of the issuer's registries; its address."""
        answer = await self.post("/v1/contracts", {"kind": kind})
        assert answer.status_code == 202, answer.text
        await self.finish()
        return str(answer.json()["contract"])

    async def asset(self, name: str = "12 Harbour Street") -> str:
        """A registered asset's id."""
        answer = await self.post("/v1/assets", {"name": name, "category": "house"})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def account(self, label: str = "holder") -> str:
        """A managed account's address."""
        answer = await self.post("/v1/accounts", {"label": label})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["address"])

    async def token(self, **changed: Any) -> str:
        """A deployed and final token's id."""
        body = {"asset_id": await self.asset(), "name": "Harbour", "symbol": "HARB", "decimals": 2, **changed}
        answer = await self.post("/v1/tokens", body)
        assert answer.status_code == 202, answer.text
        await self.finish()
        return str(answer.json()["token_id"])

    async def mint(self, token_id: str, to: str, amount: int, **given: Any) -> httpx.Response:
        """Ask for a mint."""
        return await self.post(f"/v1/tokens/{token_id}/mint", {"to": to, "amount": str(amount)}, **given)

    async def transfer(self, token_id: str, sender: str, to: str, amount: int, **given: Any) -> httpx.Response:
        """Ask for a transfer."""
        body = {"from": sender, "to": to, "amount": str(amount)}
        return await self.post(f"/v1/tokens/{token_id}/transfer", body, **given)

    async def operation(self, id: str) -> dict[str, Any]:
        """Where an operation stands."""
        answer = await self.get(f"/v1/operations/{id}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def holding(self, token_id: str, account: str, **parameters: Any) -> int:
        """What an account holds, by the API."""
        answer = await self.get(f"/v1/tokens/{token_id}/holders/{account}", **parameters)
        assert answer.status_code == 200, answer.text
        return int(answer.json()["amount"])

    async def new_issuer(self, name: str) -> str:
        """Another issuer's API key."""
        async with self.db.transaction() as session:
            await access.create_issuer(session, name=name, signer=self.signer)
            made = await access.create_key(
                session, issuer=name, caller="tests", environment="test", pepper=PEPPER, scopes=tuple(Scope)
            )
        return made.text


@dataclass(frozen=True, slots=True)
class Begun:
    """What was kept of a world that has its factory and its authority: others open on copies of it.

    A copy can reorganise what it has mined itself; below that, anvil would give back contracts without their code.
    """

    database: str
    """The name of its database, to which nobody is connected."""
    chain: Path
    """Its chain's state, as anvil loads it."""
    key: str
    asked: int
    """So many idempotency keys are used up."""


async def begin(settings: Settings, folder: Path, database: str) -> Begun:
    """Open a world, keep its chain in a folder, and close it."""
    async with open_world(settings) as world:
        for lease in world.leases.values():
            await lease.release(world.db)
        packed = folder / local.CHAIN_STATE
        local.save_chain(world.chain_url, packed)
        return Begun(database, local.unpack_chain(packed), world.key, next(world._numbers))


@asynccontextmanager
async def open_world(settings: Settings, *, authority: bool = True, begun: Begun | None = None) -> AsyncIterator[World]:
    """An issuer with a key, a signer and a factory, and the API in front of them.

    Args:
        begun: what the settings' database and chain are copies of; else both are empty.
    """
    if not settings.keystore_dir.exists():
        store(settings.keystore_dir, PASSWORD, bytes.fromhex(DEV_KEYS[0]), kdf_iterations=10)
    keystore = Keystore.open(settings.keystore_dir, PASSWORD)
    (signer,) = keystore.addresses
    settings = settings.model_copy(update={"factory_address": checksum(factory.address_for(signer))})
    db, chain = Database(settings.database_url, role=None), open_chain(settings)
    app = create_app(settings)
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(chain.close)
        stack.push_async_callback(db.close)
        await db.open()
        await stack.enter_async_context(app.router.lifespan_context(app))
        client = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="http://api"))
        means = Means(db, chain, Guard(db, Signers(keystore.signers)), Limits.of(settings))
        sender = Sender(means)
        world = World(settings, app, db, chain, sender, client, "", signer)
        if begun is not None:
            world.key, world._numbers = begun.key, itertools.count(begun.asked)
            yield world
            return
        world.key = await world.new_issuer("Harbour Estates")
        await factory.deploy(means, signer, lease_ttl_s=60)
        await world.index()
        if authority:
            await world.authority()
        yield world
