"""The rules of a token: set before the first unit, told as of any block, and obeyed by every move."""

import pytest

from tests.compliance.office import Office
from tests.web.answers import pointers, problem

pytestmark = pytest.mark.asyncio(loop_scope="module")

POLICY = {
    "level_min": 1,
    "country_rule": "except",
    "countries": [408, 364],
    "holders_max": 2,
    "country_holders_max": 0,
    "holding_max": str(2**255),
}
YEAR_2100 = "2100-01-01T00:00:00Z"


async def test_a_policy_is_told_with_its_history(office: Office) -> None:
    world = office.world
    token_id = await office.token(POLICY)
    first = (await world.get(f"/v1/tokens/{token_id}/policy")).json()
    assert {name: first[name] for name in POLICY} == {**POLICY, "countries": [364, 408]}
    assert first["country_limits"] == []
    for country, holders_max in ((756, 3), (276, 4)):
        body = {"country": country, "holders_max": holders_max}
        await office.write(f"/v1/tokens/{token_id}/policy/countries", body)
    await office.write(f"/v1/tokens/{token_id}/policy", {"level_min": 9})
    now = (await world.get(f"/v1/tokens/{token_id}/policy")).json()
    assert (now["level_min"], now["country_rule"], now["countries"]) == (9, "none", [])
    assert [(each["country"], each["holders_max"]) for each in now["country_limits"]] == [(276, 4), (756, 3)]
    then = (await world.get(f"/v1/tokens/{token_id}/policy", at_block=first["at"]["block"])).json()
    assert {**then, "at": None} == {**first, "at": None}
    history = (await world.get(f"/v1/tokens/{token_id}/policy/history")).json()["data"]
    assert [(entry["state"]["level_min"], entry["state"]["country_rule"]) for entry in history] == [
        (1, "except"),
        (9, "none"),
    ]
    await office.write(f"/v1/tokens/{token_id}/policy/countries", {"country": 756, "holders_max": 0})
    assert len((await world.get(f"/v1/tokens/{token_id}/policy")).json()["country_limits"]) == 1


async def test_a_token_without_its_policy_issues_nothing(office: Office) -> None:
    world, token_id = office.world, await office.world.token(compliance=True)
    _, wallet = await office.member()
    told = problem(await world.mint(token_id, wallet, 1), "policy-missing")
    assert told["revert"]["name"] == "TokenNotRegistered"
    problem(await world.get(f"/v1/tokens/{token_id}/policy"), "policy-missing")
    lots = {"investor": office.investor(), "lots": []}
    problem(await world.post(f"/v1/tokens/{token_id}/lots", lots), "policy-missing")
    limit = {"country": 756, "holders_max": 1}
    problem(await world.post(f"/v1/tokens/{token_id}/policy/countries", limit), "policy-missing")
    assert (await world.get(f"/v1/tokens/{token_id}/lots")).json()["data"] == []
    await office.write(f"/v1/tokens/{token_id}/policy", {"level_min": 1})
    await office.mint(token_id, wallet, 1)


async def test_a_token_that_asks_no_registry_has_no_policy(office: Office) -> None:
    token_id = await office.world.token()
    problem(await office.world.post(f"/v1/tokens/{token_id}/policy", {"level_min": 1}), "token-unregulated")


async def test_kinds_that_are_not_regulated(office: Office) -> None:
    token_id = await office.world.token(kind="utility", cap="1000")
    problem(await office.world.post(f"/v1/tokens/{token_id}/policy", {"level_min": 1}), "wrong-token-kind")


async def test_a_holder_too_many_and_a_holding_too_large(office: Office) -> None:
    world = office.world
    token_id = await office.token({"level_min": 1, "holders_max": 1, "holding_max": "10"})
    (_, one), (_, two) = await office.member(), await office.member()
    await office.mint(token_id, one, 8)
    rule = problem(await world.mint(token_id, two, 1), "transfer-restricted")["rule"]
    assert (rule["code"], rule["name"], rule["limit"], rule["actual"]) == (40, "holders-max", "1", "2")
    rule = problem(await world.mint(token_id, one, 3), "transfer-restricted")["rule"]
    assert (rule["code"], rule["name"], rule["limit"], rule["actual"]) == (42, "holding-max", "10", "11")


async def test_lots_lock_until_they_are_replaced(office: Office) -> None:
    world, token_id = office.world, await office.token()
    (investor, wallet), (_, other) = await office.member(), await office.member()
    await office.mint(token_id, wallet, 10)
    lots = [{"amount": "4", "unlocks_at": YEAR_2100}, {"amount": "3", "unlocks_at": "2001-01-01T00:00:00Z"}]
    await office.write(f"/v1/tokens/{token_id}/lots", {"investor": investor, "lots": lots})
    told = (await world.get(f"/v1/tokens/{token_id}/lots")).json()
    assert [(each["investor"], each["lots"]) for each in told["data"]] == [(investor, lots)]
    rule = problem(await world.transfer(token_id, wallet, other, 7), "transfer-restricted")["rule"]
    assert (rule["name"], rule["limit"], rule["actual"]) == ("locked", "4", "3")
    link = {"wallet": wallet, "investor": None}
    assert problem(await world.post("/v1/wallets/link", link), "transfer-restricted")["rule"]["name"] == "locked"
    await office.write(f"/v1/tokens/{token_id}/lots", {"investor": investor, "lots": []})
    assert (await world.get(f"/v1/tokens/{token_id}/lots")).json()["data"] == []
    before = (await world.get(f"/v1/tokens/{token_id}/lots", at_block=told["at"]["block"])).json()
    assert before["data"] == told["data"]
    assert (await world.transfer(token_id, wallet, other, 7)).status_code == 202
    await world.finish()


async def test_a_deed_obeys_a_policy_too(office: Office) -> None:
    world = office.world
    token_id = await office.token({"level_min": 1, "holding_max": "1"}, kind="deed")
    _, wallet = await office.member()
    await office.deed(token_id, 1, wallet)
    second = {"to": wallet, "deed_id": "2", "document_hash": "0x" + "8f" * 32}
    refused = problem(await world.post(f"/v1/tokens/{token_id}/deeds", second), "transfer-restricted")
    assert refused["rule"]["name"] == "holding-max"


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("policy", {"level_min": 256}, "#/level_min"),
        ("policy", {"countries": [756]}, "#"),
        ("policy", {"country_rule": "only"}, "#"),
        ("policy", {"country_rule": "only", "countries": [756, 756]}, "#/countries"),
        ("policy", {"country_rule": "only", "countries": [0]}, "#/countries/0"),
        ("policy", {"country_rule": "all", "countries": [756]}, "#/country_rule"),
        ("policy", {"holders_max": 2**32}, "#/holders_max"),
        ("policy", {"holding_max": 7}, "#/holding_max"),
        ("policy/countries", {"country": -1, "holders_max": 1}, "#/country"),
        ("lots", {"investor": "0x" + "11" * 32, "lots": [{"amount": "1", "unlocks_at": YEAR_2100}] * 17}, "#/lots"),
        (
            "lots",
            {"investor": "0x" + "11" * 32, "lots": [{"amount": str(2**192), "unlocks_at": YEAR_2100}]},
            "#/lots/0/amount",
        ),
    ],
)
async def test_a_policy_that_can_not_be(office: Office, path: str, body: dict[str, object], pointer: str) -> None:
    token_id = "0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01"
    assert pointers(await office.world.post(f"/v1/tokens/{token_id}/{path}", body)) == [pointer]


async def test_another_issuers_token_is_not_there(office: Office) -> None:
    token_id, key = await office.token(), await office.world.new_issuer("Mill Estates")
    for path in ("policy", "lots", "policy/history", "reserve"):
        problem(await office.world.get(f"/v1/tokens/{token_id}/{path}", key=key), "token-not-found")
    problem(await office.world.post(f"/v1/tokens/{token_id}/policy", {"level_min": 1}, key=key), "token-not-found")
