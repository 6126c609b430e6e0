"""A contract that was there before us is adopted: all of its history, and then every block, as of our own tokens."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from service.mirror import adopting
from service.tokens import adopting as adopting_tokens
from tests.tokens.others import Others, adopt, adopted, adopter, live, odd_code
from tests.web.answers import problem
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOBODY = "0x000000000000000000000000000000000000dEaD"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adopting, "LOOK_S", 0.0)


@pytest.fixture
def others(shared: World) -> Others:
    return Others(shared)


async def held(world: World, token_id: str, **parameters: Any) -> dict[str, int]:
    answer = await world.get(f"/v1/tokens/{token_id}/holders", **parameters)
    assert answer.status_code == 200, answer.text
    return {each["account"]: int(each["amount"]) for each in answer.json()["data"]}


async def test_an_erc20_is_served_like_our_own_from_its_first_block_on(shared: World, others: Others) -> None:
    address = others.plain()
    first = others.height()
    maker, one, two = others.accounts[9], others.accounts[1], others.accounts[2]
    others.pay(address, 9, 1, 40)
    then = others.height()
    shared.mine(2)
    others.pay(address, 1, 2, 15)
    asked = await adopt(shared, address)
    assert (asked["status"], asked["kind"], asked["address"]) == ("requested", "erc20", address)
    waiting = (await shared.get(f"/v1/tokens/{asked['token_id']}")).json()
    assert (waiting["status"], waiting["asset_id"], waiting["operation_id"]) == ("adopting", None, None)
    problem(await shared.get(f"/v1/tokens/{asked['token_id']}/holders"), "token-not-deployed")
    shared.mine(2)
    found = await adopted(shared, asked["id"])
    assert (found["status"], found["first_block"], found["blocks"]) == ("live", first, found["blocks_total"])

    token_id = found["token_id"]
    assert await held(shared, token_id) == {maker: 10**18 - 40, one: 25, two: 15}
    assert await held(shared, token_id, at_block=then) == {maker: 10**18 - 40, one: 40}
    token = (await shared.get(f"/v1/tokens/{token_id}")).json()
    assert (token["name"], token["symbol"], token["decimals"], token["kind"]) == ("Plain", "PLN", 18, "erc20")
    assert (token["status"], token["deployed_block"], token["total_supply"]) == ("active", first, str(10**18))
    assert (token["marks"], token["implementation"]) == ([], None)
    history = (await shared.get(f"/v1/tokens/{token_id}/holders/{one}/history")).json()["data"]
    assert [(row["from_block"], row["amount"]) for row in history] == [(then, "40"), (then + 3, "25")]
    table = (await shared.get(f"/v1/tokens/{token_id}/cap-table")).json()
    assert [row["account"] for row in table["data"]] == [maker, one, two]

    others.pay(address, 2, 1, 5)
    await shared.index()
    assert await held(shared, token_id) == {maker: 10**18 - 40, one: 30, two: 10}
    transfers = (await shared.get(f"/v1/tokens/{token_id}/transfers")).json()["data"]
    assert [row["amount"] for row in transfers] == ["5", "15", "40", str(10**18)]
    problem(await shared.mint(token_id, one, 5), "wrong-token-kind")
    path = f"/v1/tokens/{token_id}/preview"
    for amount, allowed in (("10", True), ("11", False)):
        verdict = (await shared.post(path, {"from": two, "to": one, "amount": amount})).json()
        assert verdict["allowed"] is allowed


async def test_an_erc721_is_served_with_who_holds_each(shared: World, others: Others) -> None:
    address, one, two = others.deeds(), others.accounts[1], others.accounts[2]
    for deed_id in (7, 2**200):
        others.act(address, "mint(address,uint256)", one, deed_id)
    asked = await adopt(shared, address, kind="erc721", name="Our cats")
    shared.mine(3)
    token_id = (await adopted(shared, asked["id"]))["token_id"]
    token = (await shared.get(f"/v1/tokens/{token_id}")).json()
    assert (token["name"], token["symbol"], token["kind"], token["total_supply"]) == ("Our cats", "CAT", "erc721", "2")
    others.act(address, "transferFrom(address,address,uint256)", one, two, 7, by=1)
    await shared.index()
    deeds = (await shared.get(f"/v1/tokens/{token_id}/deeds")).json()["data"]
    assert [(row["deed_id"], row["holder"]) for row in deeds] == [("7", two), (str(2**200), one)]
    history = (await shared.get(f"/v1/tokens/{token_id}/deeds/7/history")).json()["data"]
    assert [row["holder"] for row in history] == [one, two]
    assert (await shared.get(f"/v1/tokens/{token_id}/deeds/7/transfers")).status_code == 200
    assert token["marks"] == []
    problem(await shared.get(f"/v1/tokens/{token_id}/frozen"), "wrong-token-kind")


async def test_what_cannot_be_adopted_is_told_at_once(shared: World, others: Others) -> None:
    odd = others.odd()
    await shared.index()

    async def refused(slug: str, **body: Any) -> dict[str, Any]:
        return problem(await shared.post("/v1/tokens/adopt", body), slug)

    await refused("no-code", address=NOBODY)
    await refused("not-a-token", address=shared.settings.factory_address)
    told = await refused("not-a-token", address=odd, kind="erc721")
    assert told["kind"] == "erc20"
    told = await refused("block-in-future", address=odd, start_block=others.height() + 1)
    assert told["tip"] == others.height()
    for body in ({"address": odd[:-1]}, {"address": odd, "start_block": -1}, {"address": odd, "kind": "deed"}, {}):
        await refused("invalid-request", **body)
    ours = (await shared.get(f"/v1/tokens/{await shared.token()}")).json()["address"]
    await refused("already-followed", address=ours)
    async with shared.node_away():
        await refused("node-away", address=odd)
    problem(await shared.get(f"/v1/adoptions/{shared.app.state.settings.chain_id:032x}"), "adoption-not-found")


async def test_the_same_request_is_one_adoption_and_another_of_the_same_contract_is_told_of_it(
    shared: World, others: Others
) -> None:
    address = others.odd()
    await shared.index()
    body = {"address": address}
    first, again = await asyncio.gather(
        *(shared.post("/v1/tokens/adopt", body, idempotency_key="adopt-once") for _ in range(2))
    )
    assert (first.status_code, first.json()["id"]) == (202, again.json()["id"])
    told = problem(await shared.post("/v1/tokens/adopt", body), "already-adopted")
    assert (told["adoption_id"], told["token_id"]) == (first.json()["id"], first.json()["token_id"])
    shared.mine(3)
    assert (await adopted(shared, first.json()["id"]))["status"] == "live"
    problem(await shared.post("/v1/tokens/adopt", body), "already-adopted")


async def test_another_issuer_shares_the_rows_and_sees_nothing_of_the_first(shared: World, others: Others) -> None:
    address = others.odd()
    others.mint(address, 1, 100)
    shared.mine(3)
    token_id = await live(shared, address)
    key = await shared.new_issuer("Other Estates")
    answer = await shared.post("/v1/tokens/adopt", {"address": address}, key=key)
    assert answer.status_code == 202
    problem(await shared.get(f"/v1/adoptions/{answer.json()['id']}"), "adoption-not-found")
    working, lease = adopter(shared), await shared.lease("indexer")
    for _ in range(50):
        await working.step(lease)
        found = (await shared.get(f"/v1/adoptions/{answer.json()['id']}", key=key)).json()
        if found["status"] == "live":
            break
    assert found["status"] == "live"
    assert found["token_id"] != token_id
    holders = (await shared.get(f"/v1/tokens/{found['token_id']}/holders", key=key)).json()["data"]
    assert [row["amount"] for row in holders] == ["100"]


async def test_tokens_that_do_more_than_their_transfers_say_are_marked(shared: World, others: Others) -> None:
    marks = {}
    for name, way in (
        ("fee-on-transfer", (1, 2, False)),
        ("rebasing", (2, 0, False)),
        ("no-return-value", (1, 0, True)),
    ):
        address = others.odd()
        others.mint(address, 1, 1_000)
        if name == "rebasing":
            others.pay(address, 1, 2, 40)
        others.act(address, "be(uint256,uint256,bool)", *way)
        if name != "rebasing":
            others.pay(address, 1, 2, 40)
        shared.mine(3)
        token_id = await live(shared, address)
        token = (await shared.get(f"/v1/tokens/{token_id}")).json()
        marks[name] = [mark["name"] for mark in token["marks"]]
        at = (await shared.get(f"/v1/tokens/{token_id}/holders")).json()["at"]
        assert at["marks"] == ([] if name == "no-return-value" else [name])
        assert all(mark["block"] <= others.height() and mark["detail"] for mark in token["marks"])
    assert marks == {name: [name] for name in marks}


async def test_a_contract_whose_transfers_do_not_add_up_is_refused_and_may_be_asked_for_again(
    shared: World, others: Others
) -> None:
    address = others.odd()
    others.mint(address, 1, 10)
    others.act(address, "be(uint256,uint256,bool)", 2, 0, False)
    others.pay(address, 1, 2, 20)
    shared.mine(3)
    for _ in range(2):
        asked = await adopt(shared, address)
        found = await adopted(shared, asked["id"])
        assert (found["status"], found["reason"]) == ("refused", "transfers-do-not-add-up")
        token = (await shared.get(f"/v1/tokens/{asked['token_id']}")).json()
        assert token["status"] == "failed"


async def test_one_that_stops_adding_up_later_is_followed_no_longer_and_stops_nobody(
    shared: World, others: Others
) -> None:
    address, ours = others.odd(), await shared.token()
    others.mint(address, 1, 10)
    shared.mine(3)
    token_id = await live(shared, address)
    others.act(address, "be(uint256,uint256,bool)", 2, 0, False)
    others.pay(address, 1, 2, 20)
    await shared.mint(ours, others.accounts[1], 3)
    await shared.finish()
    assert await shared.holding(ours, others.accounts[1]) == 3
    token = (await shared.get(f"/v1/tokens/{token_id}")).json()
    assert token["status"] == "failed"
    ended = (await shared.get(f"/v1/adoptions/{token['adoption_id']}")).json()
    assert (ended["status"], ended["reason"]) == ("refused", "transfers-do-not-add-up")


async def test_what_was_shown_of_a_contract_before_it_was_left_is_told_until_its_rows_are_withdrawn(
    shared: World, others: Others
) -> None:
    address, one = others.odd(), others.accounts[1]
    others.mint(address, 1, 10)
    shared.mine(3)
    token_id = await live(shared, address)
    then = datetime.now(UTC).isoformat()
    others.act(address, "be(uint256,uint256,bool)", 2, 0, False)
    others.pay(address, 1, 2, 20)
    await shared.finish()
    path = f"/v1/tokens/{token_id}/holders"
    problem(await shared.get(path), "token-not-deployed")
    problem(await shared.get(path, shown_at=datetime.now(UTC).isoformat()), "token-not-deployed")
    assert await held(shared, token_id, shown_at=then) == {one: 10}
    table = (await shared.get(f"/v1/tokens/{token_id}/cap-table", shown_at=then)).json()
    assert [row["amount"] for row in table["data"]] == ["10"]
    shared.mine(3)
    asked = await adopt(shared, address)
    assert (await adopted(shared, asked["id"]))["status"] == "refused"
    problem(await shared.get(path, shown_at=then), "token-not-deployed")


async def test_a_holding_is_never_negative_where_a_contract_logs_giving_before_receiving(
    shared: World, others: Others
) -> None:
    address, one, three = others.odd(), others.accounts[1], others.accounts[3]
    others.mint(address, 1, 10)
    shared.mine(3)
    token_id = await live(shared, address)
    # A hundredth of what it logs is moved, so it may log what nobody has.
    others.act(address, "be(uint256,uint256,bool)", 100, 0, False)
    with others.one_block():
        others.pay(address, 1, 3, 60)
        others.pay(address, 3, 1, 60)
    await shared.index()
    path = f"/v1/tokens/{token_id}/holders/{{}}/transfers"
    told = (await shared.get(path.format(one))).json()
    assert [(row["direction"], row["held"], row["held_display"]) for row in told["data"]] == [
        ("in", "10", "10"),
        ("out", None, None),
        ("in", "10", "10"),
    ]
    assert told["at"]["marks"] == ["transfers-out-of-order"]
    first = (await shared.get(path.format(one), limit=2)).json()
    last = (await shared.get(path.format(one), cursor=first["next_cursor"])).json()
    assert first["data"] + last["data"] == told["data"]
    other = (await shared.get(path.format(three))).json()
    assert [row["held"] for row in other["data"]] == ["60", "0"]
    assert other["at"]["marks"] == []
    assert await held(shared, token_id) == {one: 10}


async def test_an_issuer_has_so_many_adoptions_on_their_way_and_no_more(
    shared: World, others: Others, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adopting_tokens, "OPEN_MAX", 1)
    key = await shared.new_issuer("Greedy Estates")
    bodies = [{"address": others.odd()} for _ in range(2)]
    shared.mine(3)
    await shared.index()
    answers = await asyncio.gather(*(shared.post("/v1/tokens/adopt", body, key=key) for body in bodies))
    taken, refused = sorted(answers, key=lambda answer: answer.status_code)
    assert taken.status_code == 202
    assert problem(refused, "too-many-adoptions")["adoption_id"] == taken.json()["id"]
    working, lease = adopter(shared), await shared.lease("indexer")
    for _ in range(200):
        await working.step(lease)
        if (await shared.get(f"/v1/adoptions/{taken.json()['id']}", key=key)).json()["status"] == "live":
            break
        await asyncio.sleep(0.01)
    await working.aclose()
    body = bodies[answers.index(refused)]
    assert (await shared.post("/v1/tokens/adopt", body, key=key)).status_code == 202


async def test_a_proxy_is_told_with_its_implementation_and_every_one_before_it(shared: World, others: Others) -> None:
    one, two, three = others.odd(), others.odd(), others.odd()
    address = others.create(odd_code("OddProxy"), ("address", one))
    others.mint(address, 1, 7)
    others.act(address, "upgrade(address)", two)
    before = others.height()
    shared.mine(3)
    token_id = await live(shared, address)
    assert (await shared.get(f"/v1/tokens/{token_id}")).json()["implementation"] == two
    others.act(address, "upgrade(address)", three)
    await shared.index()
    assert (await shared.get(f"/v1/tokens/{token_id}")).json()["implementation"] == three
    assert (await shared.get(f"/v1/tokens/{token_id}", at_block=before)).json()["implementation"] == two
    path = f"/v1/tokens/{token_id}/implementations"
    told = (await shared.get(path)).json()["data"]
    assert [row["implementation"] for row in told] == [three, two, one]
    assert told[1]["block"] == before
    page = (await shared.get(path, limit=2)).json()
    rest = (await shared.get(path, cursor=page["next_cursor"])).json()["data"]
    assert page["data"] + rest == told


async def test_a_proxy_that_changed_without_a_word_is_marked(shared: World, others: Others) -> None:
    one, two = others.odd(), others.odd()
    address = others.create(odd_code("OddProxy"), ("address", one))
    others.mint(address, 1, 7)
    others.act(address, "upgradeSilently(address)", two)
    shared.mine(3)
    token = (await shared.get(f"/v1/tokens/{await live(shared, address)}")).json()
    (mark,) = token["marks"]
    assert mark["name"] == "proxy-not-announced"
    assert two in mark["detail"]


async def followed(world: World, token_id: str, implementation: str) -> dict[str, Any]:
    """Let the indexer work until a token's implementation is told; the token."""
    working, lease = adopter(world), await world.lease("indexer")
    try:
        for _ in range(300):
            await working.step(lease)
            await world.index()
            token: dict[str, Any] = (await world.get(f"/v1/tokens/{token_id}")).json()
            if token["implementation"] == implementation and not working.busy:
                return token
            await asyncio.sleep(0.01)
    finally:
        await working.aclose()
    raise AssertionError(f"not told: {token}")


async def test_a_proxy_behind_a_beacon_is_told_with_every_implementation_of_the_beacon(
    shared: World, others: Others
) -> None:
    one, two, three = others.odd(), others.odd(), others.odd()
    beacon = others.create(odd_code("OddBeacon"), ("address", one))
    address = others.create(odd_code("OddBeaconProxy"), ("address", beacon))
    others.mint(address, 1, 7)
    before = others.height()
    others.act(beacon, "upgradeTo(address)", two)
    upgraded = others.height()
    shared.mine(3)
    token_id = await live(shared, address)
    token = await followed(shared, token_id, two)
    assert (token["beacon"], token["marks"]) == (beacon, [])
    others.act(beacon, "upgradeTo(address)", three)
    others.pay(address, 1, 2, 3)
    await shared.index()
    assert (await shared.get(f"/v1/tokens/{token_id}")).json()["implementation"] == three
    assert (await shared.get(f"/v1/tokens/{token_id}", at_block=before)).json()["implementation"] == one
    assert await held(shared, token_id) == {others.accounts[1]: 4, others.accounts[2]: 3}
    path = f"/v1/tokens/{token_id}/implementations"
    rows = (await shared.get(path)).json()["data"]
    assert [(row["implementation"], row["beacon"]) for row in rows] == [
        *((three, beacon), (two, beacon), (None, beacon), (one, beacon))
    ]
    assert rows[1]["block"] == upgraded
    page = (await shared.get(path, limit=3)).json()
    rest = (await shared.get(path, cursor=page["next_cursor"])).json()["data"]
    assert page["data"] + rest == rows


async def test_a_beacon_that_changed_without_a_word_is_marked(shared: World, others: Others) -> None:
    one, two = others.odd(), others.odd()
    beacon = others.create(odd_code("OddBeacon"), ("address", one))
    address = others.create(odd_code("OddBeaconProxy"), ("address", beacon))
    others.act(beacon, "upgradeSilently(address)", two)
    shared.mine(3)
    (mark,) = (await followed(shared, await live(shared, address), one))["marks"]
    assert mark["name"] == "proxy-not-announced"
    assert two in mark["detail"]


async def test_two_proxies_share_a_beacon_that_is_older_than_both(shared: World, others: Others) -> None:
    one, two = others.odd(), others.odd()
    beacon = others.create(odd_code("OddBeacon"), ("address", one))
    others.act(beacon, "upgradeTo(address)", two)
    proxies = [others.create(odd_code("OddBeaconProxy"), ("address", beacon)) for _ in range(2)]
    shared.mine(3)
    for address in proxies:
        token = await followed(shared, await live(shared, address), two)
        rows = (await shared.get(f"/v1/tokens/{token['id']}/implementations")).json()["data"]
        assert [row["implementation"] for row in rows] == [None, two, one]
