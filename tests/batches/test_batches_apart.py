"""Batches in worlds of their own: investors, lists, and what one issuer sees of another."""

from tests.batches.bulk import mints, read, send
from tests.compliance.office import identity, open_office
from tests.web.answers import problem
from tests.world import World


async def test_a_batch_describes_investors_also_those_who_hold_tokens(world: World) -> None:
    office = await open_office(world)
    investor, wallet = await office.member()
    token = await office.token()
    await office.mint(token, wallet, 10)
    rows = [identity(investor, country=276), *(identity(office.investor()) for _ in range(150))]
    batch = await send(world, "identities/batches", rows)
    assert (batch["token_id"], batch["packs"]["total"]) == (None, 2)
    await world.finish()
    assert (await read(world, batch["id"]))["state"] == "succeeded"
    answer = (await world.get(f"/v1/identities/{investor}")).json()
    assert answer["identity"]["country"] == 276


async def test_batches_are_listed_newest_first(world: World) -> None:
    token = await world.token()
    ids = [(await send(world, f"tokens/{token}/batches/mint", mints(number + 1)))["id"] for number in range(3)]
    first = (await world.get("/v1/batches", limit=2)).json()
    rest = (await world.get("/v1/batches", limit=2, cursor=first["next_cursor"])).json()
    assert [each["id"] for each in first["data"] + rest["data"]] == ids[::-1]
    assert rest["next_cursor"] is None


async def test_another_issuers_batch_is_not_there(world: World) -> None:
    token = await world.token()
    batch = await send(world, f"tokens/{token}/batches/mint", mints(2))
    other = await world.new_issuer("Somebody else")
    for path in ("", "/packs", "/rows"):
        problem(await world.get(f"/v1/batches/{batch['id']}{path}", key=other), "batch-not-found")
    for path in ("cancel", "resume"):
        problem(await world.post(f"/v1/batches/{batch['id']}/{path}", key=other), "batch-not-found")
    assert (await world.get("/v1/batches", key=other)).json()["data"] == []
    answer = await world.post(f"/v1/tokens/{token}/batches/mint", {"rows": mints(1)}, key=other)
    problem(answer, "token-not-found")
