"""A token that stands in a final block does so for ever; one whose block may still go is asked about each time."""

import pytest

from tests.rpc import rpc
from tests.web.answers import problem
from tests.world import World

HOLDER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


async def test_a_token_whose_block_left_the_chain_is_asked_about_again(world: World) -> None:
    body = {"asset_id": await world.asset(), "name": "Mill", "symbol": "MILL", "decimals": 0}
    token_id = (await world.post("/v1/tokens", body)).json()["token_id"]
    await world.level()
    assert (await world.mint(token_id, HOLDER, 1)).status_code == 202
    rpc(world.chain_url, "anvil_reorg", 1, [])
    await world.index()
    problem(await world.mint(token_id, HOLDER, 1), "token-not-deployed")


async def test_a_token_that_is_final_is_minted_without_another_look_at_the_mirror(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    token_id = await world.token()
    assert (await world.mint(token_id, HOLDER, 1)).status_code == 202
    monkeypatch.setattr(world.app.state.db, "read", None)
    assert (await world.mint(token_id, HOLDER, 1)).status_code == 202


async def test_what_is_remembered_of_a_token_is_of_use_to_its_issuer_alone(world: World) -> None:
    token_id = await world.token()
    assert (await world.mint(token_id, HOLDER, 1)).status_code == 202
    stranger = await world.new_issuer("Somebody Else")
    problem(await world.mint(token_id, HOLDER, 1, key=stranger), "token-not-found")
