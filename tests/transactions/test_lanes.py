"""Lanes: no signer waits for another, two senders share them, and a lane without work is let go."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from scripts.stack import CHAIN_ID, DEV_ADDRESSES, DEV_KEYS
from service.addresses import parse_address
from service.chain import contracts
from service.keys import keystore
from service.keys.guard import Guard
from service.keys.keystore import Keystore
from service.keys.signers import Signers
from service.transactions import sender
from service.transactions.claiming import claim
from service.transactions.commands import Wish, enqueue
from service.transactions.lanes import Lane, Means
from service.transactions.sender import drive
from tests.transactions.test_sender import rows
from tests.world import PASSWORD, World

OTHER = parse_address(DEV_ADDRESSES[1])
WAIT_S = 20.0
HALTS = "SELECT address, halt, halt_detail FROM signers WHERE halt IS NOT NULL"


@pytest.fixture
async def means(world: World) -> Means:
    """A sender's means with two signers; the world's own sender gives its lanes up."""
    folder = world.settings.keystore_dir
    keystore.store(folder, PASSWORD, bytes.fromhex(DEV_KEYS[1]), kdf_iterations=10)
    for name in [name for name in world.leases if name.startswith("sender:")]:
        await world.leases.pop(name).release(world.db)
    given = world.sender.means
    signers = Signers(Keystore.open(folder, PASSWORD).signers)
    return Means(given.db, given.chain, Guard(given.db, signers), given.limits)


async def wish(world: World, signer: bytes) -> UUID:
    """A transaction that does nothing but cost gas."""
    factory = world.settings.factory
    data = contracts.encode_call("AssetFactory", "deployed", factory)
    async with world.db.transaction() as session:
        return await enqueue(session, Wish(CHAIN_ID, signer, factory, data))


@asynccontextmanager
async def driving(means: Means, *, lease_ttl_s: float = 5) -> AsyncIterator[None]:
    """A sender process at work."""
    stop = asyncio.Event()
    work = asyncio.create_task(drive(means, lease_ttl_s=lease_ttl_s, poll_interval_s=0.02, stop=stop))
    try:
        yield
    finally:
        stop.set()
        await work


async def mined(world: World, id: UUID) -> Any:
    """The transaction, once it is in a block."""
    end = asyncio.get_running_loop().time() + WAIT_S
    while asyncio.get_running_loop().time() < end:
        (row,) = await rows(world, "SELECT status, nonce FROM transactions WHERE id = :id", id=id)
        if row.status in ("mined", "confirmed"):
            return row
        await asyncio.sleep(0.02)
    raise AssertionError("it is not mined in time")


async def until(reached: Callable[[], bool]) -> None:
    """Wait for something."""
    end = asyncio.get_running_loop().time() + WAIT_S
    while not reached():
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.02)


async def test_a_signer_whose_provider_hangs_holds_up_no_other(
    world: World, means: Means, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign, hanging = Guard.sign, asyncio.Event()

    async def slow(self: Guard, intents: Sequence[Any]) -> Any:
        if any(each.signer == world.signer for each in intents):
            await hanging.wait()
        return await sign(self, intents)

    monkeypatch.setattr(Guard, "sign", slow)
    async with driving(means):
        held, free = await wish(world, world.signer), await wish(world, OTHER)
        await mined(world, free)
        (row,) = await rows(world, "SELECT status FROM transactions WHERE id = :id", id=held)
        assert row.status == "pending"
        hanging.set()
        await mined(world, held)


async def test_a_fault_of_ours_in_one_lane_halts_its_signer_and_no_other(
    world: World, means: Means, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = 0

    async def broken(means: Means, lane: Lane, *given: Any) -> int:
        nonlocal tries
        if lane.signer == world.signer:
            tries += 1
            raise KeyError("a row that no log may tell")
        return await claim(means, lane, *given)

    monkeypatch.setattr(sender, "claim", broken)
    with capture_logs() as logs:
        async with driving(means):
            held = await wish(world, world.signer)
            assert (await mined(world, await wish(world, OTHER))).status in ("mined", "confirmed")
            await until(lambda: tries >= 3)
            (row,) = await rows(world, HALTS)
            assert (row.address, row.halt) == (world.signer, "step-failed")
            assert "KeyError" in row.halt_detail
            monkeypatch.setattr(sender, "claim", claim)
            await mined(world, held)
            assert await rows(world, HALTS) == []
    failed = [each for each in logs if each["event"] == "lane_failed"]
    assert {(each["worker"], each["log_level"]) for each in failed} == {(world.lane.lease_name, "error")}
    assert "no log may tell" not in str([row.halt_detail])


async def test_two_senders_share_the_lanes_and_give_each_nonce_once(world: World, means: Means) -> None:
    async with driving(means), driving(means):
        asked = [await wish(world, signer) for _ in range(10) for signer in (world.signer, OTHER)]
        for each in asked:
            await mined(world, each)
    query = "SELECT signer, array_agg(nonce ORDER BY nonce) AS nonces FROM transactions WHERE id = ANY(:ids) GROUP BY 1"
    for row in await rows(world, query, ids=asked):
        assert row.nonces == list(range(row.nonces[0], row.nonces[0] + 10))
    assert await rows(world, "SELECT 1 FROM attempts GROUP BY nonce, transaction_id HAVING count(*) > 1") == []


async def test_a_lane_without_work_is_given_up_and_taken_again(world: World, means: Means) -> None:
    async with driving(means, lease_ttl_s=60):
        await mined(world, await wish(world, OTHER))
        world.mine(3)
        held = "SELECT 1 FROM leases WHERE name LIKE 'sender:%' AND expires_at > now()"
        end = asyncio.get_running_loop().time() + WAIT_S
        while await rows(world, held):
            assert asyncio.get_running_loop().time() < end, "the lane is still held"
            await asyncio.sleep(0.05)
        await mined(world, await wish(world, OTHER))


async def test_a_sender_that_stops_leaves_its_lanes_to_the_next_at_once(world: World, means: Means) -> None:
    async with driving(means, lease_ttl_s=60):
        await mined(world, await wish(world, OTHER))
    async with driving(means, lease_ttl_s=60):
        await mined(world, await wish(world, OTHER))
