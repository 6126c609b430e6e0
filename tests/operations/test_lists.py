"""The list of operations: filters, and pages that stand still."""

import pytest

from tests.web.answers import problem
from tests.world import World

HOLDER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


async def test_operations_are_listed_by_state_and_token_newest_first(world: World) -> None:
    token_id, other_id = await world.token(), await world.token()
    ids = [(await world.mint(token_id, HOLDER, amount)).json()["id"] for amount in (1, 2)]
    await world.finish()
    pending = (await world.mint(token_id, HOLDER, 3)).json()["id"]

    async def listed(**parameters: str) -> list[str]:
        answer = await world.get("/v1/operations", **parameters)
        assert answer.status_code == 200
        return [each["id"] for each in answer.json()["data"]]

    everything = await listed()
    assert everything == sorted(everything, reverse=True)
    assert len(everything) == 6  # the authority is the oldest
    assert await listed(status="pending") == [pending]
    assert await listed(status="failed") == []
    assert await listed(status="succeeded", token_id=token_id) == [ids[1], ids[0], everything[4]]
    assert await listed(token_id=other_id) == [everything[3]]
    assert await listed(token_id="0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01") == []
    for id_ in everything:
        answer = await world.get(f"/v1/operations/{id_}")
        assert answer.json() in (await world.get("/v1/operations")).json()["data"]


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
async def test_pages_stand_still_while_new_operations_arrive(world: World, limit: int) -> None:
    token_id = await world.token()
    made = [(await world.mint(token_id, HOLDER, 1)).json()["id"] for _ in range(5)]
    deployments = [(await world.get(path)).json() for path in (f"/v1/tokens/{token_id}", "/v1/contracts")]
    expected = [*reversed(made), deployments[0]["operation_id"], deployments[1][0]["operation_id"]]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await world.get("/v1/operations", limit=limit, **cursor)).json()
        assert len(page["data"]) <= limit
        seen += [each["id"] for each in page["data"]]
        await world.mint(token_id, HOLDER, 1)
        await world.level()
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == expected


async def test_pages_of_assets_accounts_and_tokens_are_complete_and_disjoint(world: World) -> None:
    for index in range(4):
        body = {"asset_id": await world.asset(), "name": f"Mill {index}", "symbol": "MILL"}
        assert (await world.post("/v1/tokens", body)).status_code == 202
        await world.account()
    for path, id_ in (("assets", "id"), ("tokens", "id"), ("accounts", "address")):
        seen: list[str] = []
        cursor: dict[str, str] = {}
        for _ in range(4):
            page = (await world.get(f"/v1/{path}", limit=1, **cursor)).json()
            seen += [each[id_] for each in page["data"]]
            cursor = {"cursor": page["next_cursor"]}
        assert page["next_cursor"] is None
        everything = [each[id_] for each in (await world.get(f"/v1/{path}")).json()["data"]]
        assert seen == everything
        assert len(set(seen)) == 4
        ordered = sorted(seen, key=str.lower, reverse=path != "accounts")
        assert seen == ordered


async def test_cursors_of_holders_transfers_and_history_belong_to_their_list(world: World) -> None:
    token_id, other_id = await world.token(), await world.token()
    holders = [await world.account() for _ in range(3)]
    for token in (token_id, other_id):
        for holder in holders:
            await world.mint(token, holder, 5)
        await world.finish()
    await world.transfer(token_id, holders[0], holders[1], 1)
    await world.finish()
    lists = [
        *(f"/v1/tokens/{token}/{name}" for token in (token_id, other_id) for name in ("holders", "transfers")),
        f"/v1/tokens/{token_id}/holders/{holders[0]}/history",
        f"/v1/tokens/{token_id}/holders/{holders[1]}/history",
        f"/v1/accounts/{holders[0]}/transfers",
        f"/v1/accounts/{holders[1]}/transfers",
        f"/v1/accounts/{holders[0]}/holdings",
        f"/v1/accounts/{holders[1]}/holdings",
    ]
    cursors = {path: (await world.get(path, limit=1)).json()["next_cursor"] for path in lists}
    assert None not in cursors.values()
    mixed = []
    for path in lists:
        for of, cursor in cursors.items():
            answer = await world.get(path, cursor=cursor)
            if path == of:
                assert answer.status_code == 200
            elif answer.status_code != 400:
                mixed.append((of, path))
            else:
                problem(answer, "bad-cursor")
    assert mixed == []
