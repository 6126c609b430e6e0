"""Who is known to be who: identities, blocks and wallets, as of any block."""

import pytest

from service.addresses import checksum
from tests.compliance.office import REASON, Office
from tests.web.answers import pointers, problem
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

SWISS, GERMAN, JAPANESE = 756, 276, 392


async def test_what_is_attested_is_told_with_its_history(office: Office) -> None:
    world, investor = office.world, office.investor()
    await office.identity(investor, level=2, expires_at="2031-01-31T02:00:00+02:00")
    first = (await world.get(f"/v1/identities/{investor}")).json()
    assert first["identity"] == {
        "country": SWISS,
        "level": 2,
        "expires_at": "2031-01-31T00:00:00Z",
        "attester": checksum(world.signer),
    }
    assert (first["blocked"], first["reason_hash"], first["wallets"]) == (False, None, [])

    await office.identity(investor, country=GERMAN, level=3)
    now = (await world.get(f"/v1/identities/{investor}")).json()
    assert (now["identity"]["country"], now["identity"]["level"], now["identity"]["expires_at"]) == (GERMAN, 3, None)
    then = (await world.get(f"/v1/identities/{investor}", at_block=first["at"]["block"])).json()
    assert then["identity"] == first["identity"]

    history = (await world.get(f"/v1/identities/{investor}/history")).json()["data"]
    assert [entry["state"]["country"] for entry in history] == [SWISS, GERMAN]
    assert history[0]["state"]["expires_at"] == "2031-01-31T00:00:00Z"
    assert history[0]["to_block"] == history[1]["from_block"]
    assert history[1]["to_block"] is None
    one = (await world.get(f"/v1/identities/{investor}/history", limit=1)).json()
    two = (await world.get(f"/v1/identities/{investor}/history", limit=1, cursor=one["next_cursor"])).json()
    assert [*one["data"], *two["data"]] == history


async def test_a_stranger_is_known_to_be_unknown(office: Office) -> None:
    found = (await office.world.get(f"/v1/identities/{office.investor()}")).json()
    assert (found["identity"], found["blocked"], found["wallets"]) == (None, False, [])
    wallet = (await office.world.get(f"/v1/wallets/{office.wallet()}")).json()
    assert wallet["investor"] is None


async def test_a_block_is_told_and_ends(office: Office) -> None:
    world, investor = office.world, office.investor()
    await office.block(investor)
    told = (await world.get(f"/v1/identities/{investor}")).json()
    assert (told["blocked"], told["reason_hash"]) == (True, REASON)
    await office.block(investor, blocked=False)
    assert (await world.get(f"/v1/identities/{investor}")).json()["blocked"] is False
    history = (await world.get(f"/v1/identities/{investor}/history", of="blocked")).json()["data"]
    assert [entry["state"]["blocked"] for entry in history] == [True, False]


async def test_wallets_are_listed_under_their_investor(office: Office) -> None:
    world, investor = office.world, office.investor()
    wallets = sorted([office.wallet(), office.wallet()], key=str.lower)
    for wallet in wallets:
        await office.link(wallet, investor)
    assert (await world.get(f"/v1/identities/{investor}")).json()["wallets"] == wallets
    assert (await world.get(f"/v1/wallets/{wallets[0]}")).json()["investor"] == investor
    listed = (await world.get("/v1/wallets", limit=500)).json()["data"]
    assert {each["wallet"] for each in listed if each["investor"] == investor} == set(wallets)
    before = (await world.get("/v1/wallets")).json()["at"]["block"]
    await office.link(wallets[0], None)
    assert (await world.get(f"/v1/identities/{investor}")).json()["wallets"] == wallets[1:]
    assert (await world.get(f"/v1/identities/{investor}", at_block=before)).json()["wallets"] == wallets


async def test_identities_are_listed_page_by_page(office: Office) -> None:
    world, investors = office.world, [office.investor() for _ in range(3)]
    for investor in investors:
        await office.identity(investor)
    seen, cursor = [], None
    while True:
        page = (await world.get("/v1/identities", limit=2, **({"cursor": cursor} if cursor else {}))).json()
        seen += [each["investor"] for each in page["data"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == sorted(seen)
    assert set(investors) <= set(seen)
    problem(
        await world.get("/v1/wallets", cursor=(await world.get("/v1/identities", limit=1)).json()["next_cursor"]),
        "bad-cursor",
    )


async def test_a_change_of_country_takes_all_that_is_held_along(office: Office) -> None:
    world = office.world
    first, second = await office.token(), await office.token()
    investor, wallet = await office.member(country=SWISS)
    other = office.wallet()
    await office.link(other, investor)
    await office.mint(first, wallet, 5)
    await office.mint(second, other, 7)
    await office.identity(investor, country=JAPANESE)
    for token_id in (first, second):
        await office.write(f"/v1/tokens/{token_id}/policy", {"level_min": 1, "country_holders_max": 1})
        for country, allowed in ((JAPANESE, False), (SWISS, True)):
            _, newcomer = await office.member(country=country)
            answer = await world.mint(token_id, newcomer, 1)
            if allowed:
                assert answer.status_code == 202, answer.text
            else:
                assert problem(answer, "transfer-restricted")["rule"]["name"] == "country-holders-max"
        await world.finish()


async def test_a_wallet_takes_along_what_it_holds(office: Office) -> None:
    world = office.world
    token_id = await office.token({"holding_max": "10", "level_min": 1})
    investor, wallet = await office.member()
    successor, _ = await office.member()
    await office.mint(token_id, wallet, 10)
    await office.link(wallet, successor)
    assert problem(await world.mint(token_id, wallet, 1), "transfer-restricted")["rule"]["name"] == "holding-max"
    _, fresh = await office.member()
    await office.link(fresh, investor)
    await office.mint(token_id, fresh, 10)


async def test_a_token_that_gave_up_the_registry_is_still_counted(office: Office) -> None:
    world = office.world
    token_id = await office.token()
    investor, wallet = await office.member(country=SWISS)
    await office.mint(token_id, wallet, 5)
    await office.write(f"/v1/tokens/{token_id}/detach-compliance", {})
    await office.write(f"/v1/tokens/{token_id}/burn", {"from": wallet, "amount": "5"})
    await office.identity(investor, country=GERMAN)
    await office.link(wallet, None)
    assert (await world.get(f"/v1/wallets/{wallet}")).json()["investor"] is None
    await office.identity(investor, country=JAPANESE)


async def test_a_holding_that_the_mirror_does_not_know_yet(office: Office) -> None:
    world = office.world
    token_id = await office.token()
    investor, wallet = await office.member(country=SWISS)
    assert (await world.mint(token_id, wallet, 5)).status_code == 202
    await world.send()
    body = {"investor": investor, "country": GERMAN, "level": 1}
    problem(await world.post("/v1/identities", body), "holdings-changed")
    problem(await world.post("/v1/wallets/link", {"wallet": wallet, "investor": None}), "holdings-changed")
    await world.finish()
    assert (await world.post("/v1/identities", body)).status_code == 202
    await world.finish()


async def test_ids_that_no_investor_has(office: Office) -> None:
    world = office.world
    for investor in ("0x" + "00" * 32, "0x" + "00" * 12 + "ab" * 20):
        body = {"investor": investor, "country": 756, "level": 1}
        problem(await world.post("/v1/identities", body), "investor-invalid")
    problem(
        await world.post("/v1/wallets/link", {"wallet": office.wallet(), "investor": "0x" + "00" * 12 + "ab" * 20}),
        "investor-invalid",
    )


async def test_a_wallet_stays_with_a_blocked_investor(office: Office) -> None:
    investor, wallet = await office.member()
    await office.block(investor)
    answer = await office.world.post("/v1/wallets/link", {"wallet": wallet, "investor": None})
    problem(answer, "investor-still-blocked")


@pytest.mark.parametrize(
    ("changed", "pointer"),
    [
        ({"country": 1024}, "#/country"),
        ({"country": "CH"}, "#/country"),
        ({"level": 0}, "#/level"),
        ({"level": 256}, "#/level"),
        ({"expires_at": 1_800_000_000}, "#/expires_at"),
        ({"expires_at": "2031-01-31"}, "#/expires_at"),
        ({"expires_at": "2031-01-31T00:00:00"}, "#/expires_at"),
        ({"expires_at": "2031-01-31T00:00:00.5Z"}, "#/expires_at"),
        ({"expires_at": "2031-02-31T00:00:00Z"}, "#/expires_at"),
        ({"expires_at": "1970-01-01T00:00:00Z"}, "#/expires_at"),
        ({"expires_at": "0001-01-01T00:00:00+23:59"}, "#/expires_at"),
        ({"investor": "0x12"}, "#/investor"),
    ],
)
async def test_an_identity_that_can_not_be(office: Office, changed: dict[str, object], pointer: str) -> None:
    body = {"investor": office.investor(), "country": 756, "level": 1, **changed}
    assert pointers(await office.world.post("/v1/identities", body)) == [pointer]


async def test_the_same_time_in_another_zone_is_the_same_request(office: Office) -> None:
    body = {"investor": office.investor(), "country": 756, "level": 1}
    answers = [
        await office.world.post("/v1/identities", {**body, "expires_at": time}, idempotency_key="zones")
        for time in ("2031-01-31T00:00:00Z", "2031-01-31T01:00:00+01:00")
    ]
    assert answers[0].json()["id"] == answers[1].json()["id"]
    await office.world.finish()


async def test_an_issuer_without_a_registry(shared: World) -> None:
    key = await shared.new_issuer("Unregistered")
    problem(await shared.get("/v1/identities", key=key), "contract-missing")
    body = {"investor": "0x" + "5e" * 32, "country": 756, "level": 1}
    problem(await shared.post("/v1/identities", body, key=key), "contract-missing")
