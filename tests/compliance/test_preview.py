"""Would this transfer pass? What the chain itself says, in the state of any block."""

from dataclasses import replace
from typing import Any

import pytest

from service.chain.node import Node, NodeRefused
from service.chain.reader import Chain, Finality
from service.errors import Problem
from tests.compliance.office import Office
from tests.web.answers import pointers, problem

pytestmark = pytest.mark.asyncio(loop_scope="module")

TO = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"


async def preview(office: Office, token_id: str, at_block: int | None = None, **order: Any) -> dict[str, Any]:
    """The API's answer; `sender` is what the wire calls from."""
    body = {"from": order.pop("sender"), **order}
    suffix = "" if at_block is None else f"?at_block={at_block}"
    answer = await office.world.post(f"/v1/tokens/{token_id}/preview{suffix}", body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    assert found["allowed"] == (found["problem"] is None)
    return found


async def test_a_rule_is_named_and_a_yes_is_plain(office: Office) -> None:
    world, token_id = office.world, await office.token()
    (_, sender), (_, friend) = await office.member(), await office.member()
    await office.mint(token_id, sender, 10)
    yes = await preview(office, token_id, sender=sender, to=friend, amount="10")
    assert (yes["allowed"], yes["problem"], yes["rule"]) == (True, None, None)
    label = (await world.get(f"/v1/tokens/{token_id}")).json()["at"]
    assert yes["at"] == label

    no = await preview(office, token_id, sender=sender, to=TO, amount="10")
    assert no["problem"]["type"] == "/problems/transfer-restricted"
    assert no["problem"]["title"] == Problem.registry["transfer-restricted"].title
    assert no["problem"]["revert"]["name"] == "TransferRestricted"
    assert no["rule"] == {
        "code": 20,
        "name": "receiver-unidentified",
        "text": "the receiver's investor has no identity: set one, and link the account to it",
        "account": TO,
        "limit": "1",
        "actual": "0",
    }


async def test_too_little_is_no_rule(office: Office) -> None:
    token_id = await office.token()
    (_, sender), (_, friend) = await office.member(), await office.member()
    no = await preview(office, token_id, sender=sender, to=friend, amount="1")
    assert (no["problem"]["type"], no["rule"]) == ("/problems/insufficient-balance", None)


async def test_frozen_and_paused_units_are_told_with_their_rule(office: Office) -> None:
    world, token_id = office.world, await office.token()
    (_, sender), (_, friend) = await office.member(), await office.member()
    await office.mint(token_id, sender, 10)
    before = (await preview(office, token_id, sender=sender, to=friend, amount="10"))["at"]["block"]
    await office.write(f"/v1/tokens/{token_id}/freeze", {"account": sender, "amount": "4"})
    no = await preview(office, token_id, sender=sender, to=friend, amount="7")
    assert no["problem"]["type"] == "/problems/insufficient-unfrozen-balance"
    assert (no["rule"]["name"], no["rule"]["limit"], no["rule"]["actual"]) == ("frozen", "6", "7")
    await office.write(f"/v1/tokens/{token_id}/pause", {})
    no = await preview(office, token_id, sender=sender, to=friend, amount="1")
    assert (no["problem"]["type"], no["rule"]["name"]) == ("/problems/token-paused", "paused")
    assert no["rule"]["account"] is None
    then = await preview(office, token_id, at_block=before, sender=sender, to=friend, amount="10")
    assert (then["allowed"], then["at"]["block"]) == (True, before)
    assert world is not None


async def test_a_spender_is_judged_too(office: Office) -> None:
    token_id = await office.token()
    (_, sender), (_, friend), (spender_id, spender) = [await office.member() for _ in range(3)]
    await office.mint(token_id, sender, 10)
    order: dict[str, Any] = {"sender": sender, "to": friend, "amount": "5", "spender": spender}
    no = await preview(office, token_id, **order)
    assert (no["problem"]["type"], no["rule"]) == ("/problems/insufficient-allowance", None)
    approve = {"from": sender, "spender": spender, "amount": "5"}
    await office.write(f"/v1/tokens/{token_id}/approve", approve)
    assert (await preview(office, token_id, **order))["allowed"]
    await office.block(spender_id)
    no = await preview(office, token_id, **order)
    assert (no["rule"]["name"], no["rule"]["account"]) == ("spender-blocked", spender)


async def test_a_deed_is_previewed_by_its_id(office: Office) -> None:
    token_id = await office.token(kind="deed")
    (_, sender), (_, friend) = await office.member(), await office.member()
    await office.deed(token_id, 7, sender)
    assert (await preview(office, token_id, sender=sender, to=friend, deed_id="7"))["allowed"]
    no = await preview(office, token_id, sender=friend, to=sender, deed_id="7")
    assert no["problem"]["type"] == "/problems/insufficient-allowance"
    no = await preview(office, token_id, sender=sender, to=friend, deed_id="8")
    assert no["problem"]["type"] == "/problems/deed-not-found"
    no = await preview(office, token_id, sender=sender, to=TO, deed_id="7")
    assert no["rule"]["name"] == "receiver-unidentified"
    no = await preview(office, token_id, sender=sender, to=friend, deed_id="7", spender=TO)
    assert (no["problem"]["type"], no["rule"]) == ("/problems/insufficient-allowance", None)
    answer = await office.world.post(f"/v1/tokens/{token_id}/preview", {"from": sender, "to": friend, "amount": "1"})
    problem(answer, "wrong-token-kind")


async def test_kinds_that_explain_nothing_answer_from_the_call(office: Office) -> None:
    world = office.world
    for kind in ("utility", "governance"):
        token_id, sender = await world.token(kind=kind, cap="1000"), await world.account()
        await office.mint(token_id, sender, 10)
        assert (await preview(office, token_id, sender=sender, to=TO, amount="10"))["allowed"]
        no = await preview(office, token_id, sender=sender, to=TO, amount="11")
        assert (no["problem"]["type"], no["rule"]) == ("/problems/insufficient-balance", None)
        answer = await world.post(f"/v1/tokens/{token_id}/preview", {"from": sender, "to": TO, "deed_id": "1"})
        problem(answer, "wrong-token-kind")


async def test_a_token_without_its_policy_moves_nothing(office: Office) -> None:
    token_id = await office.world.token(compliance=True)
    no = await preview(office, token_id, sender=TO, to=office.wallet(), amount="1")
    assert (no["problem"]["type"], no["rule"]["name"]) == ("/problems/insufficient-balance", "registry-failed")


async def test_a_preview_sends_and_stores_nothing(office: Office) -> None:
    world, token_id = office.world, await office.world.token()
    count = "SELECT (SELECT count(*) FROM operations) + (SELECT count(*) FROM requests)"
    before = await world.db.fetch(count, ())
    body = {"from": TO, "to": office.wallet(), "amount": "1"}
    for _ in range(2):
        assert (await world.post(f"/v1/tokens/{token_id}/preview", body, idempotency_key="preview")).status_code == 200
    assert await world.db.fetch(count, ()) == before


async def test_before_the_token_was_there(office: Office) -> None:
    world, token_id = office.world, await office.world.token()
    body = {"from": TO, "to": office.wallet(), "amount": "1"}
    problem(await world.post(f"/v1/tokens/{token_id}/preview?at_block=1", body), "token-not-deployed")
    problem(await world.post(f"/v1/tokens/{token_id}/preview?at_block=999999", body), "block-in-future")


async def test_the_node_is_away(office: Office) -> None:
    world, token_id = office.world, await office.world.token()
    async with world.node_away():
        body = {"from": TO, "to": office.wallet(), "amount": "1"}
        problem(await world.post(f"/v1/tokens/{token_id}/preview", body), "node-away")


class Forgetful(Node):
    """A node that keeps headers and no states."""

    async def ask_many(self, calls: Any, **limits: Any) -> list[Any]:
        states = [method == "eth_call" for method, _ in calls]
        if any(states):
            return [NodeRefused(-32000, "missing trie node 5e (path ) state is not available") for _ in states]
        return await super().ask_many(calls, **limits)


class Forgetting(Node):
    """A node that has the headers, and says of their states that there is no such block."""

    async def ask_many(self, calls: Any, **limits: Any) -> list[Any]:
        if any(method == "eth_call" for method, _ in calls):
            return [NodeRefused(-32602, "BlockOutOfRangeError: block height is 9 but requested was 2") for _ in calls]
        return await super().ask_many(calls, **limits)


class Younger(Forgetting):
    """A node that has not come so far as the mirror."""

    async def ask_many(self, calls: Any, **limits: Any) -> list[Any]:
        answers = await super().ask_many(calls, **limits)
        return [None if isinstance(answer, dict) else answer for answer in answers]


class Elsewhere(Node):
    """A node that executes on another branch than the mirror has seen."""

    async def ask_many(self, calls: Any, **limits: Any) -> list[Any]:
        answers = await super().ask_many(calls, **limits)
        return [{**answer, "hash": "0x" + "00" * 32} if isinstance(answer, dict) else answer for answer in answers]


@pytest.mark.parametrize(
    ("kind", "slug"),
    [
        (Forgetful, "state-not-kept"),
        (Forgetting, "state-not-kept"),
        (Younger, "node-away"),
        (Elsewhere, "mirror-behind"),
    ],
)
async def test_a_node_that_can_not_say(office: Office, kind: type[Node], slug: str) -> None:
    world, token_id = office.world, await office.world.token()
    ledger = world.app.state.ledger
    chain = Chain(kind(world.chain_url), chain_id=ledger.chain.chain_id, finality=Finality(None))
    world.app.state.ledger = replace(ledger, chain=chain)
    try:
        body = {"from": TO, "to": office.wallet(), "amount": "1"}
        problem(await world.post(f"/v1/tokens/{token_id}/preview", body), slug)
    finally:
        world.app.state.ledger = ledger
        await chain.close()


@pytest.mark.parametrize("changed", [{}, {"amount": "1", "deed_id": "1"}, {"amount": "1", "spender": TO}])
async def test_a_preview_of_nothing_or_too_much(office: Office, changed: dict[str, str]) -> None:
    body = {"from": TO, "to": office.wallet(), **changed}
    token_id = "0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01"
    assert pointers(await office.world.post(f"/v1/tokens/{token_id}/preview", body)) == ["#"]
