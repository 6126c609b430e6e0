"""What the mirror knows of a token besides holdings: freezes, deeds, royalties and events, as of any block."""

from typing import Any

import pytest

from tests.compliance.office import Office
from tests.web.answers import problem
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

HASHES = ["0x" + digit * 64 for digit in "123"]
RECEIVER = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"


async def deeds(world: World) -> tuple[Office, str]:
    """A token of deeds."""
    office = Office(world, "")
    body = {"asset_id": await world.asset(), "name": "Deeds", "symbol": "DEED", "kind": "deed"}
    return office, str((await office.write("/v1/tokens", body)).json()["token_id"])


async def pages(world: World, path: str, limit: int, **parameters: Any) -> list[dict[str, Any]]:
    rows, cursor = [], None
    while True:
        given = {**parameters, "limit": limit, **({"cursor": cursor} if cursor else {})}
        page = (await world.get(path, **given)).json()
        rows += page["data"]
        cursor = page["next_cursor"]
        if cursor is None:
            return rows


async def test_frozen_units_are_listed_and_told_as_of_any_block(shared: World) -> None:
    office, token_id = Office(shared, ""), await shared.token()
    accounts = sorted([await shared.account() for _ in range(3)], key=str.lower)
    path = f"/v1/tokens/{token_id}/freeze"
    for amount, account in enumerate(accounts, start=1):
        await office.write(path, {"account": account, "amount": str(amount * 150)})
    before = (await shared.get(f"/v1/tokens/{token_id}/frozen")).json()["at"]["block"]
    await office.write(path, {"account": accounts[0], "expected": "150", "amount": "0"})
    listed = await pages(shared, f"/v1/tokens/{token_id}/frozen", 1)
    assert [(each["account"], each["amount"], each["display"]) for each in listed] == [
        (accounts[1], "300", "3"),
        (accounts[2], "450", "4.5"),
    ]
    one = f"/v1/tokens/{token_id}/frozen/{accounts[0]}"
    assert (await shared.get(one)).json()["amount"] == "0"
    assert (await shared.get(one, at_block=before)).json()["amount"] == "150"
    assert len((await shared.get(f"/v1/tokens/{token_id}/frozen", at_block=before)).json()["data"]) == 3


async def test_deeds_are_told_with_all_that_is_known_of_them(shared: World) -> None:
    office, token_id = await deeds(shared)
    alice, bob = await shared.account(), await shared.account()
    path = f"/v1/tokens/{token_id}/deeds"
    large = 2**256 - 1
    for deed_id, holder in ((0, alice), (256, bob), (large, alice)):
        body = {"deed_id": str(deed_id), "to": holder, "uri": f"https://d/{deed_id}", "document_hash": HASHES[0]}
        await office.write(path, body)
    await office.write(f"{path}/256/document", {"uri": "https://d/new", "document_hash": HASHES[1]})
    await office.write(f"/v1/tokens/{token_id}/royalty", {"receiver": RECEIVER, "basis_points": 250})
    await office.write(f"{path}/256/royalty", {"receiver": bob, "basis_points": 500})
    before = (await shared.get(path)).json()["at"]["block"]
    await office.write(f"{path}/256/freeze", {"account": bob, "frozen": True})

    listed = await pages(shared, path, 2)
    assert [each["deed_id"] for each in listed] == ["0", "256", str(large)]
    assert listed[1] == {
        "deed_id": "256",
        "holder": bob,
        "uri": "https://d/new",
        "document_hash": HASHES[1],
        "frozen": True,
        "royalty": {"receiver": bob, "basis_points": 500},
        "retired": None,
    }
    assert listed[0]["royalty"] == {"receiver": RECEIVER, "basis_points": 250}
    assert (listed[0]["uri"], listed[0]["frozen"]) == ("https://d/0", False)
    assert [each["deed_id"] for each in await pages(shared, path, 1, holder=alice)] == ["0", str(large)]
    assert (await shared.get(f"{path}/256", at_block=before)).json()["frozen"] is False
    royalties = (await shared.get(f"/v1/tokens/{token_id}/royalties")).json()["data"]
    assert [(each["deed_id"], each["receiver"], each["basis_points"]) for each in royalties] == [
        (None, RECEIVER, 250),
        ("256", bob, 500),
    ]


async def test_a_retired_deed_keeps_its_history(shared: World) -> None:
    office, token_id = await deeds(shared)
    alice, bob = await shared.account(), await shared.account()
    path = f"/v1/tokens/{token_id}/deeds"
    await office.write(path, {"deed_id": "1", "to": alice, "document_hash": HASHES[0]})
    await office.write(f"{path}/1/transfer", {"from": alice, "to": bob})
    held = (await shared.get(f"{path}/1")).json()
    assert (held["holder"], held["retired"]) == (bob, None)
    await office.write(f"{path}/1/retire", {"reason": "Merged into deed 7"})
    gone = (await shared.get(f"{path}/1")).json()
    assert (gone["holder"], gone["retired"], gone["frozen"]) == (None, "Merged into deed 7", False)
    assert (await shared.get(path)).json()["data"] == []
    assert (await shared.get(path, at_block=held["at"]["block"])).json()["data"][0]["holder"] == bob
    history = await pages(shared, f"{path}/1/history", 1)
    assert [entry["holder"] for entry in history] == [alice, bob, None]
    assert [entry["to_block"] for entry in history[:2]] == [entry["from_block"] for entry in history[1:]]
    problem(await shared.get(f"{path}/2"), "deed-not-found")
    problem(await shared.get(f"{path}/2/history"), "deed-not-found")
    problem(await shared.get(f"{path}/1", at_block=history[0]["from_block"] - 1), "deed-not-found")
    problem(await shared.get(f"{path}/x"), "invalid-request")


async def test_events_are_told_newest_first(shared: World) -> None:
    office, token_id = Office(shared, ""), await shared.token()
    account = await shared.account()
    await office.write(f"/v1/tokens/{token_id}/freeze", {"account": account, "amount": "7"})
    await office.write(f"/v1/tokens/{token_id}/pause", {})
    path = f"/v1/tokens/{token_id}/events"
    every = await pages(shared, path, 1)
    assert [(each["block"], each["log_index"]) for each in every] == sorted(
        ((each["block"], each["log_index"]) for each in every), reverse=True
    )
    assert {"Paused", "Frozen", "Operation"} <= {each["name"] for each in every}
    (frozen,) = (await shared.get(path, name="Frozen")).json()["data"]
    assert frozen["arguments"] == {"account": account, "amount": "7"}
    assert (await shared.get(path, name="Frozen", at_block=frozen["block"] - 1)).json()["data"] == []
    assert (await shared.get(path, name="Nothing")).json()["data"] == []


async def test_facts_of_another_kind_of_token(shared: World) -> None:
    (_, deed_token), token_id = await deeds(shared), await shared.token()
    problem(await shared.get(f"/v1/tokens/{deed_token}/frozen"), "wrong-token-kind")
    for path in ("deeds", "deeds/1", "deeds/1/history", "royalties"):
        problem(await shared.get(f"/v1/tokens/{token_id}/{path}"), "wrong-token-kind")


async def test_facts_of_another_issuers_token(shared: World) -> None:
    (_, deed_token), key = await deeds(shared), await shared.new_issuer("Mill Estates")
    for path in ("deeds", "royalties", "events", "frozen"):
        problem(await shared.get(f"/v1/tokens/{deed_token}/{path}", key=key), "token-not-found")
