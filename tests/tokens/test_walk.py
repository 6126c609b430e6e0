"""The pages of one walk through a cap table belong together."""

from service.errors import Problem
from service.refusals import BY_REVERT
from tests.rpc import rpc
from tests.web.answers import problem
from tests.world import World


async def walk(world: World) -> tuple[str, str]:
    """A cap table of three and the cursor after its first page; the newest block is not final."""
    token_id = await world.token()
    for number in range(3):
        await world.mint(token_id, await world.account(f"holder {number}"), 1)
    await world.level()
    first = (await world.get(f"/v1/tokens/{token_id}/holders", limit=1)).json()
    return token_id, first["next_cursor"]


async def test_a_walk_whose_block_was_replaced_says_so(world: World) -> None:
    token_id, cursor = await walk(world)
    rpc(world.chain_url, "anvil_reorg", 2, [])
    await world.level()
    answer = await world.get(f"/v1/tokens/{token_id}/holders", cursor=cursor)
    problem(answer, "walk-reorganised")
    again = (await world.get(f"/v1/tokens/{token_id}/holders")).json()
    assert len(again["data"]) == 3


async def test_a_walk_stays_with_its_block(world: World) -> None:
    token_id, cursor = await walk(world)
    await world.mint(token_id, await world.account("late"), 1)
    await world.level()
    rest = (await world.get(f"/v1/tokens/{token_id}/holders", cursor=cursor)).json()
    assert len(rest["data"]) == 2


async def test_a_walk_is_not_of_two_blocks(world: World) -> None:
    token_id, cursor = await walk(world)
    answer = await world.get(f"/v1/tokens/{token_id}/holders", cursor=cursor, at_block=2)
    problem(answer, "bad-cursor")


def test_every_problem_that_stands_for_a_contracts_error_is_known_to_all_processes() -> None:
    assert set(BY_REVERT.values()) == {each for each in Problem.registry.values() if each.reverts}
