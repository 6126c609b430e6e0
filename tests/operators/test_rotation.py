"""Rotation where something happens meanwhile: a policy is kept, a right is given by others, an action is scheduled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from scripts.stack import CHAIN_ID, DEV_ADDRESSES, DEV_KEYS
from service.access import queries as access
from service.access.queries import Issuer
from service.addresses import checksum, parse_address
from service.chain import contracts
from service.keys import keystore, policies
from service.keys.guard import Guard
from service.keys.keystore import Keystore
from service.keys.policy import Policy
from service.keys.signers import Signers
from service.operators import authority
from service.operators.rotation import Passage, Rotation, RotationRefused, rotate
from service.transactions.commands import Wish, enqueue
from service.transactions.sender import Sender
from tests.rpc import rpc
from tests.transactions.test_sender import rows
from tests.web.shared import log, shared
from tests.world import PASSWORD, World

__all__ = ["log", "shared"]

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIRST, SECOND, STRANGER = map(parse_address, DEV_ADDRESSES)
DELAY_S = 3_600
TICK_S = 0.02


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(shared: World) -> World:
    """The world with a second signer."""
    folder = shared.settings.keystore_dir
    keystore.store(folder, PASSWORD, bytes.fromhex(DEV_KEYS[1]), kdf_iterations=10)
    given = shared.sender.means
    guard = Guard(given.db, Signers(Keystore.open(folder, PASSWORD).signers))
    shared.sender = Sender(replace(given, guard=guard))
    return shared


async def issuer_of(world: World) -> Issuer:
    """The world's issuer as it stands."""
    (found,) = [each for each in await access.issuers(world.db) if each.name == "Harbour Estates"]
    return found


@asynccontextmanager
async def going_on(world: World) -> AsyncIterator[None]:
    """Blocks come, and the mirror follows them, until the end of the block of code."""
    stop = asyncio.Event()

    async def tick() -> None:
        while not stop.is_set():
            world.mine()
            await world.index()
            await asyncio.sleep(TICK_S)

    work = asyncio.create_task(tick())
    try:
        yield
    finally:
        stop.set()
        await work


async def hand_over(world: World, successor: bytes) -> list[str]:
    """Rotate from the issuer's signer, with no sender at work; the names of the steps that were told."""
    for name in [name for name in world.leases if name.startswith("sender:")]:
        await world.leases.pop(name).release(world.db)
    issuer, said = await issuer_of(world), list[str]()
    passage = Passage(issuer, FIRST if successor == SECOND else SECOND, successor)
    async with going_on(world):
        means, factory = world.sender.means, world.settings.factory
        await rotate(means, factory, passage, lambda step, _: said.append(step), lease_ttl_s=5)
    return said


async def present(world: World, wanted: bytes) -> None:
    """Make this signer the issuer's."""
    if (await issuer_of(world)).signer != wanted:
        await hand_over(world, wanted)


async def policy_of(world: World, signer: bytes) -> Policy | None:
    async with world.db.transaction() as session:
        return await policies.read_policy(session, signer)


async def test_a_successor_of_which_nothing_was_said_has_the_formers_policy_and_another_keeps_its_own(
    office: World,
) -> None:
    await present(office, FIRST)
    async with office.db.transaction() as session:
        await policies.set_policy(session, FIRST, Policy(rate_max=1_000), by="tests")
    assert await policy_of(office, SECOND) is None
    assert "policy" in await hand_over(office, SECOND)
    copied = await policy_of(office, SECOND)
    assert copied == await policy_of(office, FIRST)
    assert copied is not None
    assert copied.rate_max == 1_000
    (row,) = await rows(office, "SELECT updated_by FROM signer_policies WHERE address = :address", address=SECOND)
    assert row.updated_by.startswith("rotation ")
    async with office.db.transaction() as session:
        await policies.set_policy(session, SECOND, Policy(rate_max=2_000), by="tests")
    assert "policy" not in await hand_over(office, FIRST)
    kept = await policy_of(office, FIRST)
    assert kept is not None
    assert kept.rate_max == 1_000


async def test_another_administrator_may_grant_the_factory_right_meanwhile(
    office: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await present(office, FIRST)
    factory = office.settings.factory
    admits = contracts.encode_call("AssetFactory", "grantRole", bytes(32), STRANGER)
    async with office.db.transaction() as session:
        await enqueue(session, Wish(CHAIN_ID, FIRST, factory, admits))
    await office.finish()
    send = Rotation._send

    async def overtaken(self: Rotation, step: str, wish: Wish) -> None:
        await send(self, step, wish)
        if step == "factory_grant_id":
            call = {"from": checksum(STRANGER), "to": checksum(factory), "data": "0x" + wish.data.hex()}
            rpc(office.chain_url, "eth_sendTransaction", call)

    monkeypatch.setattr(Rotation, "_send", overtaken)
    assert "factory grant" in await hand_over(office, SECOND)
    assert await authority.operators(office.chain, factory, [FIRST, SECOND]) == {FIRST, SECOND}
    (row,) = await rows(
        office,
        """SELECT t.status FROM rotations r JOIN transactions t ON t.id = r.factory_grant_id
        ORDER BY r.created_at DESC LIMIT 1""",
    )
    assert row.status == "confirmed"
    assert (await issuer_of(office)).signer == SECOND


async def test_what_was_scheduled_just_before_the_switch_stops_the_revocation_until_it_is_gone(
    office: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    former = (await issuer_of(office)).signer
    successor = SECOND if former == FIRST else FIRST
    token_id, holder = await office.token(), await office.account()
    await office.mint(token_id, holder, 100)
    await office.post("/v1/roles/grant", {"role": "enforcer", "account": checksum(former), "delay_s": DELAY_S})
    await office.finish()
    order = {"reason": "Court order 12/2026", "document_hash": "0x" + "12" * 32}
    body = {"from": holder, "to": checksum(STRANGER), "amount": "10", **order}
    refuse_scheduled, asked = Rotation._refuse_scheduled, list[Any]()

    async def before_the_switch(self: Rotation) -> None:
        await refuse_scheduled(self)
        if not asked:
            asked.append(await office.post(f"/v1/tokens/{token_id}/forced-transfer", body))

    monkeypatch.setattr(Rotation, "_refuse_scheduled", before_the_switch)
    with pytest.raises(RotationRefused, match="has scheduled 1 actions that nobody else can execute"):
        await hand_over(office, successor)
    assert asked[0].json()["kind"] == "token.forced-transfer.schedule"
    assert (await issuer_of(office)).signer == successor
    await office.finish()
    held = {row["account"] for row in (await office.get("/v1/roles", limit=200)).json()["data"]}
    assert {checksum(former), checksum(successor)} <= held
    (action,) = [row for row in (await office.get("/v1/scheduled")).json()["data"] if row["status"] == "scheduled"]
    cancelled = await office.post(f"/v1/scheduled/{action['id']}/cancel")
    assert cancelled.status_code == 202, cancelled.text
    await office.finish()
    said = await hand_over(office, successor)
    assert "revoke" in said
    await office.finish()
    held = {row["account"] for row in (await office.get("/v1/roles", limit=200)).json()["data"]}
    assert checksum(former) not in held
    assert checksum(successor) in held
