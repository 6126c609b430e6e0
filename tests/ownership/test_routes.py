"""Who owned how much of a token, over HTTP."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from tests.web.answers import problem
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

STRANGER = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
HASH = "0x" + "8f" * 32


@dataclass(frozen=True, slots=True)
class Told:
    """A fungible token and a deed token with a past."""

    world: World
    path: str
    deeds: str
    one: str
    two: str
    minted: int  # the block in which both have what was minted first

    async def get(self, path: str, **parameters: Any) -> dict[str, Any]:
        answer = await self.world.get(self.path + path, **parameters)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def pages(self, path: str, **parameters: Any) -> list[dict[str, Any]]:
        """All rows, one a page."""
        answer = await self.get(path, limit=1, **parameters)
        rows: list[dict[str, Any]] = answer["data"]
        while answer["next_cursor"]:
            answer = await self.get(path, limit=1, **parameters, cursor=answer["next_cursor"])
            rows += answer["data"]
        return rows


async def deed_token(world: World) -> str:
    """A deployed and final deed token's id."""
    body = {"asset_id": await world.asset(), "name": "Deeds", "symbol": "DEED", "kind": "deed"}
    answer = await world.post("/v1/tokens", body)
    assert answer.status_code == 202, answer.text
    await world.finish()
    return str(answer.json()["token_id"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told(shared: World) -> AsyncIterator[Told]:
    token_id, deeds_id = await shared.token(), await deed_token(shared)
    one, two = sorted([await shared.account("one"), await shared.account("two")], key=str.lower)
    path, deeds = f"/v1/tokens/{token_id}", f"/v1/tokens/{deeds_id}"
    for move in (
        shared.mint(token_id, one, 100),
        shared.mint(token_id, two, 50),
        shared.transfer(token_id, one, STRANGER, 30),
        shared.transfer(token_id, one, one, 5),
        shared.mint(token_id, one, 10),
        shared.post(f"{path}/burn", {"from": two, "amount": "50"}),
        shared.post(f"{deeds}/deeds", {"deed_id": "7", "to": one, "document_hash": HASH}),
        shared.post(f"{deeds}/deeds/7/transfer", {"from": one, "to": two}),
        shared.post(f"{deeds}/deeds/7/retire", {"reason": "Merged into deed 8"}),
    ):
        answer = await move
        assert answer.status_code == 202, answer.text
        await shared.finish()
    moves = (await shared.get(f"{path}/transfers", account=two)).json()["data"]
    yield Told(shared, path, deeds, one, two, moves[-1]["block"])


async def test_a_cap_table_has_percentages_and_a_total(told: Told) -> None:
    answer = await told.get("/cap-table")
    assert [(row["account"], row["amount"], row["share_percent"]) for row in answer["data"]] == [
        (told.one, "80", "72.727273"),
        (STRANGER, "30", "27.272727"),
    ]
    assert answer["total"] == {"holders": 2, "amount": "110", "display": "1.1"}


async def test_the_pages_of_a_cap_table_are_its_rows_in_either_order_at_any_block(told: Told) -> None:
    tip = (await told.get(""))["at"]["block"]
    for block in (told.minted, tip):
        largest = (await told.get("/cap-table", at_block=block))["data"]
        assert await told.pages("/cap-table", at_block=block) == largest
        amounts = [(int(row["amount"]), row["account"].lower()) for row in largest]
        assert amounts == sorted(amounts, reverse=True)
        by_account = await told.pages("/cap-table", order="account", at_block=block)
        assert by_account == sorted(largest, key=lambda row: str(row["account"]).lower())


async def test_a_walk_by_amount_goes_on_at_its_block_when_more_comes(told: Told) -> None:
    whole = await told.get("/cap-table")
    first = await told.get("/cap-table", limit=1)
    await told.world.mint(told.path.rpartition("/")[2], STRANGER, 1_000)
    await told.world.finish()
    rest = await told.get("/cap-table", cursor=first["next_cursor"])
    assert first["data"] + rest["data"] == whole["data"]
    assert (rest["total"], rest["at"]["hash"]) == (whole["total"], first["at"]["hash"])
    await told.world.post(f"{told.path}/burn", {"from": STRANGER, "amount": "1000"})
    await told.world.finish()


async def test_a_holders_transfers_carry_the_running_balance(told: Told) -> None:
    rows = await told.pages(f"/holders/{told.one}/transfers")
    assert [(row["direction"], row["counterparty"], row["amount"], row["held"]) for row in rows] == [
        ("in", None, "100", "100"),
        ("out", STRANGER, "30", "70"),
        ("self", told.one, "5", "70"),
        ("in", None, "10", "80"),
    ]


async def test_a_deeds_transfers_are_its_provenance(told: Told) -> None:
    answer = await told.world.get(f"{told.deeds}/deeds/7/transfers")
    assert [(row["kind"], row["from"], row["to"]) for row in answer.json()["data"]] == [
        ("mint", None, told.one),
        ("transfer", told.one, told.two),
        ("burn", told.two, None),
    ]
    problem(await told.world.get(f"{told.deeds}/deeds/8/transfers"), "deed-not-found")
    problem(await told.world.get(f"{told.path}/deeds/7/transfers"), "wrong-token-kind")


async def test_changes_between_two_blocks_name_who_came_and_who_went(told: Told) -> None:
    since = {"from_block": told.minted}
    rows = await told.pages("/holder-changes", **since)
    assert {row["account"]: (row["kind"], row["change"]) for row in rows} == {
        told.one: ("decreased", "-20"),
        told.two: ("lost", "-50"),
        STRANGER: ("gained", "30"),
    }
    assert [row["account"] for row in await told.pages("/holder-changes", kind="lost", **since)] == [told.two]
    assert {row["account"] for row in await told.pages("/holder-changes")} == {told.one, STRANGER}
    problem(await told.world.get(f"{told.path}/holder-changes", from_block=10**9), "block-in-future")


async def test_periods_count_who_came_and_went(told: Told) -> None:
    for period in ("day", "week", "month"):
        rows = await told.pages("/holder-periods", period=period)
        assert sum(row["gained"] - row["lost"] for row in rows) == rows[-1]["holders"] == 2


async def test_concentration_adds_up(told: Told) -> None:
    spread = await told.get("/concentration")
    assert [row["share_percent"] for row in spread["top"]] == ["72.727273", "100.000000", "100.000000"]
    assert spread["herfindahl"] == "0.6033057851"  # (80 * 80 + 30 * 30) / (110 * 110)
    assert [row["holders"] for row in spread["bands"]] == [2, 0, 0, 0, 0]
    deployed = (await told.get(""))["deployed_block"]
    empty = await told.get("/concentration", at_block=deployed)
    assert (empty["holders"], empty["herfindahl"]) == (0, "0.0000000000")


async def test_acquisitions_are_the_newest_units_that_came(told: Told) -> None:
    rows = await told.pages(f"/holders/{told.one}/acquisitions")
    assert [(row["amount"], row["received"], row["from"]) for row in rows] == [
        ("10", "10", None),
        ("70", "100", None),
    ]
    whole = await told.get(f"/holders/{told.one}/acquisitions")
    assert (whole["held"], whole["untold"]) == ("80", "0")
    problem(await told.world.get(f"{told.deeds}/holders/{told.one}/acquisitions"), "wrong-token-kind")


async def test_a_cursor_of_another_list_is_refused(told: Told) -> None:
    cursor = (await told.get("/cap-table", limit=1))["next_cursor"]
    others = (
        "/holder-changes",
        "/holder-periods",
        f"/holders/{told.one}/acquisitions",
        f"/holders/{told.two}/transfers",
    )
    for path in others:
        problem(await told.world.get(told.path + path, cursor=cursor), "bad-cursor")
    problem(await told.world.get(f"{told.path}/cap-table", order="account", cursor=cursor), "bad-cursor")
