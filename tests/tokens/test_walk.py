"""The pages of one walk belong together, and what was shown is told again, whatever the chain does meanwhile."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
import pytest_asyncio

from service.errors import Problem
from service.refusals import BY_REVERT
from tests.rpc import rpc
from tests.web.answers import problem
from tests.web.cursors import given_out
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True, slots=True)
class Before:
    """What was answered before blocks left the chain: of each list the whole, and the first page."""

    world: World
    token_id: str
    at: dict[str, Any]
    moment: datetime
    whole: dict[str, Any]
    first: dict[str, Any]


async def now(world: World) -> datetime:
    ((moment,),) = await world.db.fetch("SELECT clock_timestamp()", ())
    assert isinstance(moment, datetime)
    return moment


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def before(shared: World) -> AsyncIterator[Before]:
    """Lists of a token whose newest blocks have left the chain since, and others come."""
    world, token_id = shared, await shared.token()
    one, two = await world.account("one"), await world.account("two")
    path = f"/v1/tokens/{token_id}"
    await world.mint(token_id, one, 5)
    await world.post(f"{path}/freeze", {"account": one, "amount": "1"})
    await world.finish()
    await world.mint(token_id, two, 7)
    await world.level()
    await world.mint(token_id, one, 1)
    await world.level()
    await world.post(f"{path}/freeze", {"account": two, "amount": "2"})
    await world.level()
    paths = [
        f"{path}/holders",
        f"{path}/holders/{one}/history",
        f"{path}/transfers",
        f"{path}/frozen",
        f"{path}/events",
        f"/v1/accounts/{one}/transfers",
        "/v1/roles",
    ]
    whole = {each: (await world.get(each)).json() for each in paths}
    first = {each: (await world.get(each, limit=1)).json() for each in paths}
    moment = await now(world)
    rpc(world.chain_url, "anvil_reorg", 2, [])
    await world.level()
    await world.mint(token_id, await world.account("late"), 9)
    await world.finish()
    yield Before(world, token_id, whole[paths[0]]["at"], moment, whole, first)


async def test_a_walk_stays_with_its_block_when_that_leaves_the_chain(before: Before) -> None:
    for path, whole in before.whole.items():
        page = before.first[path]
        rows = page["data"]
        while page["next_cursor"]:
            page = (await before.world.get(path, limit=1, cursor=page["next_cursor"])).json()
            rows = rows + page["data"]
            assert page["at"] == {**whole["at"], "orphaned": True, "lag": 0}, path
        assert len(rows) > 1, path
        assert rows == whole["data"], path


async def test_what_was_shown_at_a_moment_is_told_again(before: Before) -> None:
    world, told_back = before.world, before.moment.isoformat().replace("+00:00", "Z")
    for path, whole in before.whole.items():
        found = (await world.get(path, shown_at=before.moment.isoformat())).json()
        assert found["data"] == whole["data"], path
        assert found["at"] == {**whole["at"], "orphaned": True, "shown_at": told_back}
        assert (await world.get(path)).json()["at"]["hash"] != whole["at"]["hash"]
        page = (await world.get(path, shown_at=before.moment.isoformat(), limit=1)).json()
        rest = (await world.get(path, shown_at=before.moment.isoformat(), cursor=page["next_cursor"])).json()
        assert page["data"] + rest["data"] == whole["data"], path
    path = f"/v1/tokens/{before.token_id}"
    supplies = {}
    for number in (before.at["block"], before.at["block"] - 1, before.at["block"] - 2):
        found = (await world.get(path, shown_at=before.moment.isoformat(), at_block=number)).json()
        assert found["at"]["block"] == number
        supplies[number] = (found["total_supply"], found["at"]["orphaned"])
    assert list(supplies.values()) == [("13", True), ("13", True), ("12", False)]


async def test_at_a_moment_when_the_token_was_not_shown(before: Before) -> None:
    world = before.world
    other = await world.token()
    path = f"/v1/tokens/{other}/holders"
    problem(await world.get(path, shown_at=before.moment.isoformat()), "token-not-deployed")
    assert (await world.get(path, shown_at=(await now(world)).isoformat())).status_code == 200


async def test_moments_that_nothing_is_known_of(before: Before) -> None:
    world, path = before.world, f"/v1/tokens/{before.token_id}"
    told = problem(await world.get(path, shown_at="2999-01-01T00:00:00Z"), "moment-in-future")
    assert told["detail"].startswith("2999-01-01T00:00:00Z is not past yet")
    problem(await world.get(path, shown_at="1999-01-01T00:00:00+01:00"), "nothing-shown")
    above = {"shown_at": before.moment.isoformat(), "at_block": before.at["block"] + 1}
    assert problem(await world.get(path, **above), "block-in-future")["tip"] == before.at["block"]


async def test_a_walk_stays_with_its_block_while_others_come(shared: World) -> None:
    token_id = await shared.token()
    for number in range(3):
        await shared.mint(token_id, await shared.account(f"holder {number}"), 1)
    await shared.level()
    path = f"/v1/tokens/{token_id}/transfers"
    first = (await shared.get(path, limit=1)).json()
    await shared.mint(token_id, await shared.account("late"), 1)
    await shared.level()
    rest = (await shared.get(path, cursor=first["next_cursor"])).json()
    assert (len(rest["data"]), rest["at"]) == (2, first["at"])


async def test_a_walk_is_not_of_two_blocks(before: Before) -> None:
    world, path = before.world, f"/v1/tokens/{before.token_id}/holders"
    cursor = before.first[path]["next_cursor"]
    for others in (
        {"at_block": 2},
        {"at_time": "1999-01-01T00:00:00Z"},
        {"shown_at": before.moment.isoformat()},
    ):
        problem(await world.get(path, cursor=cursor, **others), "bad-cursor")
    assert (await world.get(path, cursor=cursor, at_block=before.at["block"])).status_code == 200
    pin, position, _ = cursor.split(".")
    strange = pin[:5] + ("A" if pin[5] != "A" else "B") + pin[6:]
    for bad in (f"{strange}.{position}", f"{pin[:-4]}.{position}", f"{pin}AAAA.{position}", f".{position}", f"{pin}."):
        problem(await world.get(path, cursor=await given_out(world, path, bad)), "bad-cursor")


async def test_every_problem_that_stands_for_a_contracts_error_is_known_to_all_processes() -> None:
    assert set(BY_REVERT.values()) == {each for each in Problem.registry.values() if each.reverts}
