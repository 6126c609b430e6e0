"""Early notices: labelled, for those alone who name them, and taken back when the chain takes it back."""

from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from service.db import Database
from service.transactions.sightings import Sighting
from service.transactions.tables import Status
from service.webhooks import early
from service.webhooks.delivering import open_deliverer
from service.webhooks.early import Told, changes
from service.webhooks.events import MINED, REORGANISED, wants
from service.workers import Lease
from tests.rpc import rpc
from tests.webhooks.receiver import Receiver, open_receiver
from tests.world import World, make_settings

ISSUER, OPERATION = uuid4(), uuid4()
A, B = b"a" * 32, b"b" * 32


def told(id_: UUID, block_hash: bytes = A) -> Told:
    return Told(id_, OPERATION, ISSUER, 7, block_hash)


def seen(id_: UUID, status: str, block_hash: bytes | None = A) -> Sighting:
    return Sighting(id_, ISSUER, 1, status, 7 if block_hash else None, block_hash, b"t" * 32)


@pytest.mark.parametrize(
    ("before", "status", "block_hash", "expected"),
    [
        (None, Status.MINED, A, [(MINED, A)]),
        (A, Status.MINED, A, []),
        (A, Status.MINED, B, [(REORGANISED, A), (MINED, B)]),
        (A, Status.SUBMITTED, None, [(REORGANISED, A)]),
        (A, Status.QUEUED, None, [(REORGANISED, A)]),
        (A, Status.CONFIRMED, A, []),
        (A, Status.CONFIRMED, B, [(REORGANISED, A)]),
        (A, Status.REVERTED, A, []),
        (A, Status.CANCELLED, B, [(REORGANISED, A)]),
    ],
)
def test_what_is_told_of_a_transaction_follows_from_what_was_told(
    before: bytes | None, status: str, block_hash: bytes | None, expected: list[tuple[str, bytes]]
) -> None:
    id_ = uuid4()
    found = changes({id_: told(id_, before)} if before else {}, {id_: seen(id_, status, block_hash)}, {id_: OPERATION})
    assert [(each.type, each.told.block_hash) for each in found.news] == expected
    assert bool(found.forget) is (status != Status.MINED)


def test_what_serves_no_operation_is_not_told() -> None:
    id_ = uuid4()
    assert changes({}, {id_: seen(id_, Status.MINED)}, {}).news == []


def test_early_notices_go_to_those_who_name_them() -> None:
    assert not wants(["*"], MINED)
    assert not wants(["operation.*"], MINED)
    assert wants(["unfinal.*"], MINED)
    assert wants([MINED], MINED)
    assert not wants([MINED], REORGANISED)
    assert not wants(["unfinal.*"], "operation.succeeded")


async def test_a_mint_is_told_when_mined_taken_back_when_reorganised_and_final_at_last(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(early, "LOOK_INTERVAL_S", 0.0)
    token_id, holder = await world.token(), await world.account()
    db = Database(world.settings.database_url, role="muniment_dispatcher", connections_max=3)
    await db.open()
    settings = world.settings.model_copy(update={"webhooks_private": True})
    lease = Lease("webhooks", ttl_s=600)
    async with open_receiver() as receiver, open_deliverer(settings, db) as deliverer:
        assert await lease.take(db)

        async def heard() -> list[dict[str, Any]]:
            receiver.heard.clear()
            while await deliverer.step(lease):
                await deliverer.rest()
            return sorted((each.told for each in receiver.heard), key=lambda each: int(each["number"]))

        await webhook(world, receiver)
        rpc(world.chain_url, "evm_setAutomine", False)
        accepted = (await world.mint(token_id, holder, 12)).json()["id"]
        await world.send()
        assert await heard() == []
        world.mine()
        await world.send()
        (mined,) = await heard()
        assert (mined["type"], mined["final"], mined["data"]["operation"]) == (MINED, False, accepted)
        assert await heard() == []
        rpc(world.chain_url, "anvil_reorg", 1, [])
        await world.send()
        (undone,) = await heard()
        assert (undone["type"], undone["data"]["block_hash"]) == (REORGANISED, mined["data"]["block_hash"])
        rpc(world.chain_url, "evm_setAutomine", True)
        world.mine()
        await world.send()
        (again,) = await heard()
        assert (again["type"], again["sequence"], again["subject"]) == (MINED, 3, undone["subject"])
        await world.finish()
        *_, final = await heard()
        assert (final["type"], final["final"], final["data"]["operation"]) == ("operation.succeeded", True, accepted)
        assert final["data"]["transaction"]["block_hash"] == again["data"]["block_hash"]
        assert await db.fetch("SELECT 1 FROM webhook_sightings", ()) == []
    await db.close()


async def webhook(world: World, receiver: Receiver) -> None:
    """One that wants what is final and what is not yet."""
    world.app.state.settings = world.settings.model_copy(update={"webhooks_private": True})
    answer = await world.post("/v1/webhooks", {"url": f"{receiver.url}/hook", "types": ["operation.*", "unfinal.*"]})
    assert answer.status_code == 201, answer.text


def test_webhooks_go_nowhere_private_unless_it_is_said(tmp_path: Path) -> None:
    from pydantic import SecretStr

    assert not make_settings(SecretStr("postgresql://x/y"), "http://127.0.0.1:1", tmp_path).webhooks_private
