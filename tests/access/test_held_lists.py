"""Lists as a credential sees them that is held to some tokens: an auditor's, above all."""

from typing import Any, cast

import pytest
import pytest_asyncio
from fastapi.routing import iter_route_contexts
from pydantic import SecretStr
from sqlalchemy import text

from service.access.apikeys import Scope
from service.batches.queries import batches_page
from service.db import Database, ReadConnection, acting_for, new_id
from tests.access import desk
from tests.web.answers import problem
from tests.world import World

pytestmark = pytest.mark.asyncio(loop_scope="module")

BOB = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
LISTS = ("tokens", "operations", "batches")

HELD = {
    *("list_tokens", "list_operations", "list_batches", "read_operation", "read_batch", "list_batch_packs"),
    *("list_batch_rows", "read_prepared"),
}
"""Routes whose path names no token and that tell what is of a credential's tokens alone."""

OF_NO_TOKEN = {
    *("list_keys", "list_stragglers", "read_key", "read_key_usage", "create_key", "change_key", "rotate_key"),
    *("activate_key", "suspend_key", "resume_key", "revoke_key", "revoke_all_keys", "report_leaked_keys"),
    *("who_am_i", "read_time", "list_second_factors", "add_second_factor", "confirm_second_factor"),
    *("remove_second_factor", "read_approval", "give_approval"),
}
"""Routes that no limit of tokens closes."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def two(shared: World) -> tuple[str, str]:
    """A token, and another one: each with a mint, a batch and something to sign."""
    tokens = await shared.token(), await shared.token()
    for token_id in tokens:
        holder, path = await shared.account(), f"/v1/tokens/{token_id}"
        assert (await shared.mint(token_id, holder, 10)).status_code == 202
        assert (await shared.post(f"{path}/batches/mint", {"rows": [{"to": holder, "amount": "1"}]})).is_success
    await shared.finish()
    return tokens


async def held_to(world: World, *tokens: str) -> str:
    """A key that is held to tokens."""
    return str((await desk.make(world, "issue", limits={"tokens": list(tokens)}))["secret"])


async def listed(world: World, path: str, key: str, **query: Any) -> list[dict[str, Any]]:
    """All rows of a list, page by page."""
    rows, query = [], {**query, "limit": 1}
    while True:
        answer = await world.get(f"/v1/{path}", key=key, **query)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        rows += body["data"]
        if body["next_cursor"] is None:
            return rows
        query["cursor"] = body["next_cursor"]


async def test_its_lists_are_those_of_its_tokens_in_the_same_order(shared: World, two: tuple[str, str]) -> None:
    for held in ((two[0],), (two[1],), two):
        key = await held_to(shared, *held)
        for path in LISTS:
            of = "id" if path == "tokens" else "token_id"
            everything = await listed(shared, path, shared.key)
            seen = await listed(shared, path, key)
            assert {each[of] for each in seen} == {*held}, path
            assert seen == [each for each in everything if each[of] in held]
        assert await listed(shared, "operations", key, status="failed") == []


async def test_neither_a_filter_nor_another_keys_cursor_shows_what_is_not_its_own(
    shared: World, two: tuple[str, str]
) -> None:
    ours, theirs = two
    key = await held_to(shared, ours)
    assert problem(await shared.get("/v1/operations", key=key, token_id=theirs), "limit-exceeded")["limit"] == "tokens"
    assert await listed(shared, "operations", key, token_id=ours)
    for path in LISTS:
        first = (await shared.get(f"/v1/{path}", limit=1)).json()
        answer = await shared.get(f"/v1/{path}", key=key, cursor=first["next_cursor"])
        assert answer.status_code == 200, answer.text
        assert {each["id" if path == "tokens" else "token_id"] for each in answer.json()["data"]} <= {ours}


BATCHES = """
INSERT INTO batches (id, issuer_id, caller_id, kind, chain_id, token_id, contract, effect_id, rows_count, packs_count)
SELECT gen_random_uuid(), :issuer, :issuer, 'mint', 1, CASE n % 1000 WHEN 0 THEN CAST(:token AS uuid)
    ELSE gen_random_uuid() END, decode(repeat('00', 20), 'hex'), gen_random_uuid(), 1, 1
FROM generate_series(1, 5000) AS n
"""


async def test_batches_of_a_token_are_found_without_reading_those_of_others(database_url: SecretStr) -> None:
    issuer, token = new_id(), new_id()
    owner, api = Database(database_url, role=None), Database(database_url, role="muniment_api")
    async with owner.transaction() as session:
        for statement in ("SET LOCAL session_replication_role = replica", BATCHES, "ANALYZE batches"):
            await session.execute(text(statement), {"issuer": issuer, "token": token} if ":" in statement else {})
    await api.open()
    plans: list[str] = []

    class Explaining:
        def __init__(self, connection: ReadConnection) -> None:
            self.connection = connection

        async def execute(self, query: Any, given: Any) -> Any:
            cursor = await self.connection.execute("EXPLAIN " + query, given)
            plans.append("\n".join(line for (line,) in await cursor.fetchall()))
            return await self.connection.execute(query, given)

    with acting_for([issuer]):
        async with api.read() as connection:
            explaining = cast(ReadConnection, Explaining(connection))
            page: dict[str, Any] = {"issuer_id": issuer, "held_tokens": [token], "count_max": 2}
            first = await batches_page(explaining, before=None, **page)
            rest = await batches_page(explaining, before=first[-1].id, **{**page, "count_max": 9})
    await api.close()
    await owner.close()
    assert len({each.id for each in (*first, *rest)}) == 5
    pages = [plan for plan in plans if " on batches  (" in plan]
    assert ["batches_token_id_idx" in plan for plan in pages] == [True, True], pages


async def test_what_has_an_id_is_told_of_its_tokens_alone(shared: World, two: tuple[str, str]) -> None:
    ours, theirs = two
    key = await held_to(shared, ours)
    for token_id in two:
        path = f"/v1/tokens/{token_id}"
        body = {"from": BOB, "spender": BOB, "amount": "1", "road": "signature"}
        prepared = (await shared.post(f"{path}/approve/prepare", body)).json()["id"]
        batch = next(each for each in await listed(shared, "batches", shared.key) if each["token_id"] == token_id)
        batches = f"batches/{batch['id']}"
        for told in (f"prepared/{prepared}", batches, f"{batches}/packs", f"{batches}/rows"):
            answer = await shared.get(f"/v1/{told}", key=key)
            if token_id == theirs:
                assert problem(answer, "limit-exceeded")["limit"] == "tokens"
            else:
                assert answer.status_code == 200, answer.text


async def test_an_auditor_of_one_token_reads_its_lists_and_writes_nothing(shared: World, two: tuple[str, str]) -> None:
    order: dict[str, Any] = {"caller": "Audit & Co", "role": "auditor", "scopes": None}
    auditor = await desk.make(shared, limits={"tokens": [two[0]]}, **order)
    assert [each["id"] for each in await listed(shared, "tokens", auditor["secret"])] == [two[0]]
    assert {each["token_id"] for each in await listed(shared, "operations", auditor["secret"])} == {two[0]}
    problem(await shared.mint(two[0], BOB, 1, key=auditor["secret"]), "scope-missing")
    problem(await shared.get(f"/v1/tokens/{two[1]}/holders", key=auditor["secret"]), "limit-exceeded")


async def test_whatever_else_names_no_token_stays_closed(shared: World, two: tuple[str, str]) -> None:
    scopes = [each.value for each in Scope]
    made = await desk.make(shared, "issue", limits={"tokens": [two[0]]})
    await desk.sql(shared, "UPDATE credentials SET scopes = :scopes WHERE id = :id", scopes=scopes, id=made["id"])
    headers = {"authorization": f"Bearer {made['secret']}", "content-type": "application/json"}
    opened = set()
    for route in iter_route_contexts(shared.app.routes):
        path = str(route.path)
        if not path.startswith("/v1") or "{token_id}" in path:
            continue
        for method in cast("set[str]", route.methods or set()):
            answer = await shared.client.request(
                method, path.replace("{format}", "csv"), headers=headers, content=b"{}"
            )
            if answer.json().get("type") != "/problems/limit-exceeded":
                opened.add(str(route.name))
    assert opened == HELD | OF_NO_TOKEN
