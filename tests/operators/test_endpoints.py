"""What operators see of the chain's endpoints and of the providers of keys, and how old it is."""

import io
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from scripts.stack import CHAIN_ID
from service.access.apikeys import Scope
from service.addresses import checksum
from service.chain.node import Node, NodeUnavailable
from service.chain.nodes import EndpointHealth, Nodes
from service.chain.reader import Chain
from service.db import Database
from service.keys.guard import Fault
from service.transactions import endpoints
from service.transactions.lanes import Means
from service.transactions.sender import watch
from tests.chain.faulty import Faulty, faulty_endpoint
from tests.rpc import rpc
from tests.transactions.test_operator import key
from tests.transactions.test_operator_metrics import scrape
from tests.transactions.test_sender import rows
from tests.web.answers import problem
from tests.web.shared import log, shared
from tests.world import World

__all__ = ["log", "shared"]

pytestmark = pytest.mark.asyncio(loop_scope="module")

TIMEOUT_S = 2.0
WELL = EndpointHealth("endpoint 1 (here)", True, 0, 1.5, 7, 2.0, 0, False, 0, None)


@pytest_asyncio.fixture(loop_scope="module")
async def two(shared: World) -> AsyncIterator[tuple[Means, Faulty, Faulty]]:
    """A sender's means over two endpoints, and these."""
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(faulty_endpoint(shared.chain_url)) for _ in range(2)]
        ways = Nodes([Node(each.url, timeout_s=TIMEOUT_S) for each in (first, second)], chain_id=CHAIN_ID, quorum=1)
        chain = Chain(ways, chain_id=CHAIN_ID, finality=shared.chain.finality)
        stack.push_async_callback(chain.close)
        yield replace(shared.sender.means, chain=chain), first, second


async def told(world: World) -> list[dict[str, Any]]:
    """What the API tells of the endpoints."""
    answer = await world.get("/v1/endpoints")
    assert answer.status_code == 200, answer.text
    assert "secret-api-key" not in answer.text
    found: list[dict[str, Any]] = answer.json()
    return found


async def test_each_endpoint_is_told_by_number_and_host_and_one_that_fails_is_down(
    shared: World, two: tuple[Means, Faulty, Faulty]
) -> None:
    means, _, second = two
    second.fault = "down"
    await watch(means)
    good, bad = await told(shared)
    assert (good["number"], good["name"], good["state"]) == (1, "endpoint 1 (127.0.0.1)", "up")
    assert good["head"] == int(rpc(shared.chain_url, "eth_blockNumber"), 16)
    assert 0 < good["latency_ms"] < TIMEOUT_S * 1000
    assert 0 <= good["seen_age_s"] < 10
    assert 0 <= good["head_age_s"] < 10
    assert (bad["number"], bad["state"], bad["head"]) == (2, "down", None)
    assert bad["failures"] > 0
    assert bad["last_error"]


async def test_endpoints_are_told_also_while_none_answers(shared: World, two: tuple[Means, Faulty, Faulty]) -> None:
    means, *both = two
    for each in both:
        each.fault = "down"
    with pytest.raises(NodeUnavailable):
        await watch(means)
    assert [each["state"] for each in await told(shared)] == ["down", "down"]


async def test_an_endpoint_of_which_no_sender_tells_any_more_does_not_look_healthy(shared: World) -> None:
    await watch(shared.sender.means)
    await rows(shared, "UPDATE endpoints SET seen_at = now() - interval '31 seconds'")
    (seen,) = await told(shared)
    assert (seen["state"], seen["seen_age_s"] > 30) == ("unknown", True)
    metrics = await scrape(shared)
    label = '{endpoint="endpoint 1 (127.0.0.1)"}'
    assert metrics[f"endpoint_up{label}"] == 0
    assert metrics[f"endpoint_seen_age_seconds{label}"] > 30


async def test_metrics_tell_of_each_endpoint(shared: World) -> None:
    lying = replace(WELL, name="endpoint 2 (there)", healthy=False, failures=3, latency_ms=None, behind=9)
    await endpoints.store(shared.db, CHAIN_ID, [WELL, replace(lying, disagreements=4)])
    metrics = {name: value for name, value in (await scrape(shared)).items() if name.startswith("endpoint_")}
    names = ("up", "behind_blocks", "failures", "contradictions_total")
    first, second = ('{endpoint="endpoint 1 (here)"}', '{endpoint="endpoint 2 (there)"}')
    assert [metrics[f"endpoint_{name}{first}"] for name in names] == [1, 0, 0, 0]
    assert [metrics[f"endpoint_{name}{second}"] for name in names] == [0, 9, 3, 4]
    assert metrics[f"endpoint_latency_seconds{first}"] == 0.0015
    assert f"endpoint_latency_seconds{second}" not in metrics


async def test_an_endpoint_that_the_settings_no_longer_name_is_forgotten(shared: World) -> None:
    await endpoints.store(shared.db, CHAIN_ID, [WELL, replace(WELL, name="endpoint 2 (there)")])
    await endpoints.store(shared.db, CHAIN_ID, [WELL])
    assert [each["number"] for each in await told(shared)] == [1]


async def test_what_may_be_a_key_in_a_nodes_words_is_left_out(shared: World) -> None:
    words = "limited: app 0f8fad5bd9cb469fa16570867728950e at https://node.example/v2/key is over its limit (-32005)"
    await endpoints.store(shared.db, CHAIN_ID, [replace(WELL, last_error=words)])
    (seen,) = await told(shared)
    assert seen["last_error"] == "limited: app (left out) at (left out) is over its limit (-32005)"


async def test_a_sender_and_an_api_have_the_rights_they_need(shared: World) -> None:
    for role, act in (("muniment_sender", "store"), ("muniment_api", "read")):
        db = Database(shared.settings.database_url, role=role, connections_max=1)
        await db.open()
        try:
            if act == "store":
                await endpoints.store(db, CHAIN_ID, [WELL])
            async with db.read() as connection:
                (seen,) = await endpoints.seen(connection, chain_id=CHAIN_ID)
            assert seen.state == "up"
        finally:
            await db.close()


async def test_a_key_that_its_provider_does_not_have_at_hand_is_an_alert_until_it_is_back(
    shared: World, log: io.StringIO
) -> None:
    signer = shared.signer
    await watch(shared.sender.means, {signer: Fault("provider-down", "web3signer does not answer")})
    (seen,) = (await shared.get("/v1/signers")).json()
    assert (seen["address"], seen["alert"]) == (checksum(signer), "provider-down")
    assert seen["alert_detail"] == "web3signer does not answer"
    began = seen["alerted_at"]
    (line,) = [json.loads(each) for each in log.getvalue().splitlines() if "signer_alert" in each]
    assert (line["worker"], line["reason"]) == (shared.lane.lease_name, "provider-down")
    assert line["detail"] == "web3signer does not answer"
    await watch(shared.sender.means, {signer: Fault("provider-down", "web3signer does not answer")})
    (again,) = (await shared.get("/v1/signers")).json()
    assert again["alerted_at"] == began
    await watch(shared.sender.means)
    (well,) = (await shared.get("/v1/signers")).json()
    assert (well["alert"], well["alerted_at"]) == (None, None)


async def test_only_a_key_with_the_scope_reads_them(shared: World) -> None:
    issuing = await key(shared, Scope.ISSUE)
    problem(await shared.get("/v1/endpoints", key=issuing), "scope-missing")
