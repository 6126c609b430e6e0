"""Gas that is known from calls of a kind: never less than any of them needed, and bounded."""

from typing import Any

import pytest

from service.chain.reader import Chain
from service.transactions import known_gas
from service.transactions.known_gas import KnownGas
from tests.transactions.test_sender import rows
from tests.world import World

MINT = b"\x01\x02\x03\x04" + bytes(96)


def test_the_largest_estimate_of_a_kind_is_kept() -> None:
    known = KnownGas()
    for estimate in (50_000, 70_000, 60_000):
        known.learn(b"a" * 20, MINT, estimate)
    assert known.of(b"a" * 20, MINT) == 70_000
    assert known.of(b"b" * 20, MINT) is None
    assert known.of(b"a" * 20, MINT + bytes(32)) is None


def test_the_kind_learnt_longest_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_gas, "KINDS_MAX", 2)
    known = KnownGas()
    for recipient in (b"a", b"b", b"a", b"c"):
        known.learn(recipient, MINT, 1)
    assert [known.of(recipient, MINT) for recipient in (b"a", b"b", b"c")] == [1, None, 1]


async def test_a_second_call_of_a_kind_is_tried_once_and_not_estimated(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    token_id, holder = await world.token(), await world.account()
    await world.mint(token_id, holder, 1)
    await world.finish()
    estimated: list[Any] = []
    estimate_gas = Chain.estimate_gas

    async def counted(self: Chain, calls: Any) -> Any:
        estimated.extend(calls)
        return await estimate_gas(self, calls)

    monkeypatch.setattr(Chain, "estimate_gas", counted)
    for amount in (2, 3):
        await world.mint(token_id, holder, amount)
    await world.finish()
    assert estimated == []
    assert await world.holding(token_id, holder) == 6


async def test_where_the_known_gas_does_not_suffice_it_is_estimated_again(world: World) -> None:
    """The first mint to an account writes a new slot, and the second one to it does not."""
    token_id, holder, other = await world.token(), await world.account(), await world.account("other")
    await world.mint(token_id, holder, 1)
    await world.finish()
    known = world.sender.means.known_gas
    known._estimates = dict.fromkeys(known._estimates, 30000)
    await world.mint(token_id, other, 2)
    await world.finish()
    assert await world.holding(token_id, other) == 2
    limits = await rows(
        world, "SELECT gas_limit FROM transactions WHERE status = 'confirmed' ORDER BY nonce DESC LIMIT 1"
    )
    assert limits[0].gas_limit > 60_000
