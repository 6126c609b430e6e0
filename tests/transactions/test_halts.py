"""A halt is seen for as long as its cause lasts, also between two tries."""

import asyncio
from collections.abc import Sequence

import pytest

from service.addresses import checksum
from service.keys import policies
from service.keys.guard import Failure, Guard, Unsigned
from service.keys.policy import SigningIntent
from tests.rpc import rpc
from tests.transactions.test_sender import rows
from tests.world import World

STEPS = 8


async def halts_of_steps(world: World) -> set[str | None]:
    """What halted the signer after each of some steps, most of which come before the next try."""
    seen = set()
    for _ in range(STEPS):
        await world.step()
        (row,) = await rows(world, "SELECT halt FROM signers WHERE address = :address", address=world.signer)
        seen.add(row.halt)
        await asyncio.sleep(world.settings.resend_after_s / 4)
    return seen


async def test_a_signer_without_ether_stays_halted_between_two_tries(world: World) -> None:
    token_id, holder = await world.token(), await world.account()
    rpc(world.chain_url, "anvil_setBalance", checksum(world.signer), "0x1")
    await world.mint(token_id, holder, 5)
    assert await halts_of_steps(world) == {"no-funds"}


async def test_a_frozen_signer_stays_halted_between_two_tries(world: World) -> None:
    token_id, holder = await world.token(), await world.account()
    async with world.db.transaction() as session:
        await policies.freeze(session, world.signer, by="tests")
    await world.mint(token_id, holder, 5)
    assert await halts_of_steps(world) == {"frozen"}


async def test_a_signer_whose_provider_is_silent_stays_halted_between_two_tries(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(_: Guard, intents: Sequence[SigningIntent]) -> list[Unsigned]:
        return [Unsigned(Failure.DOWN) for _ in intents]

    token_id, holder = await world.token(), await world.account()
    await world.mint(token_id, holder, 5)
    monkeypatch.setattr(Guard, "sign", silent)
    assert await halts_of_steps(world) == {"provider-down"}


async def test_a_rewound_chain_halts_a_signer_until_all_is_mined_again(world: World) -> None:
    token_id, holder = await world.token(), await world.account()
    snapshot = rpc(world.chain_url, "evm_snapshot")
    await world.mint(token_id, holder, 5)
    await world.finish()
    rpc(world.chain_url, "evm_revert", snapshot)
    rpc(world.chain_url, "evm_setAutomine", False)
    world.mine(12)
    assert await halts_of_steps(world) == {"chain-rewound"}
    world.mine()
    await world.step()
    await world.step()
    (row,) = await rows(world, "SELECT halt FROM signers WHERE address = :address", address=world.signer)
    assert row.halt is None


async def test_a_signer_goes_on_by_itself_once_it_has_ether_again(world: World) -> None:
    token_id, holder = await world.token(), await world.account()
    rpc(world.chain_url, "anvil_setBalance", checksum(world.signer), "0x1")
    accepted = (await world.mint(token_id, holder, 5)).json()["id"]
    await world.send()
    rpc(world.chain_url, "anvil_setBalance", checksum(world.signer), hex(10**20))
    await asyncio.sleep(2 * world.settings.resend_after_s)
    await world.finish()
    assert (await world.operation(accepted))["status"] == "succeeded"
    (row,) = await rows(world, "SELECT halt FROM signers WHERE address = :address", address=world.signer)
    assert row.halt is None
