"""What is written down of keys' use: counts, stragglers, refusals, new networks; and hashes under a new pepper."""

import asyncio
import uuid
from typing import Any

import httpx
import psycopg
import pytest
from pydantic import SecretStr

from service.access import commands, key_traffic
from service.access.key_traffic import KeyTraffic
from service.app import create_app
from tests.access.desk import kinds, make, notices, rotate, sql, use
from tests.web.answers import problem
from tests.world import PEPPER, World

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def written(world: World) -> None:
    """What the process counted, in the database."""
    traffic: KeyTraffic = world.app.state.admission.traffic
    await traffic.write()


async def usage(world: World, id: str) -> list[dict[str, Any]]:
    """What a key was used for."""
    rows: list[dict[str, Any]] = (await world.get(f"/v1/keys/{id}/usage")).json()["data"]
    return rows


async def test_uses_are_counted_by_operation_and_network_and_failures_apart(shared: World) -> None:
    made = await make(shared, "issue", "keys:read")
    for _ in range(3):
        await use(shared, made["secret"])
    await shared.get("/v1/tokens/nothing", key=made["secret"])
    assert made["last_used_at"] is None
    await written(shared)
    await use(shared, made["secret"])
    await written(shared)
    told = [
        (each["operation"], each["network"], each["count"], each["failed_count"])
        for each in await usage(shared, made["id"])
    ]
    assert told == [("read_token", "127.0.0.0/24", 1, 1), ("who_am_i", "127.0.0.0/24", 4, 0)]
    assert (await shared.get(f"/v1/keys/{made['id']}")).json()["last_used_at"] > made["created_at"]


async def test_an_upload_is_counted_for_its_operation(shared: World) -> None:
    made = await make(shared, "vault:tokenize")
    headers = {"Authorization": f"Bearer {made['secret']}", "Content-Type": "application/partial-upload"}
    path = f"/v1/vault/documents/{uuid.uuid4()}/content"
    problem(await shared.client.patch(path, headers=headers, content=b"x"), "vault-document-not-found")
    await written(shared)
    (told,) = await usage(shared, made["id"])
    assert (told["operation"], told["count"], told["failed_count"]) == ("append_content", 1, 1)


async def test_a_network_that_a_key_never_came_from_before_is_told_once(shared: World) -> None:
    made = await make(shared)
    await use(shared, made["secret"])
    await written(shared)
    transport = httpx.ASGITransport(app=shared.app, client=("203.0.113.9", 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as elsewhere:
        for _ in range(2):
            await elsewhere.get("/v1/whoami", headers={"Authorization": f"Bearer {made['secret']}"})
            await written(shared)
    (told,) = await notices(shared, made["id"])
    assert (told["kind"], told["network"]) == ("key.new-network", "203.0.113.0/24")


async def test_refusals_are_told_at_the_first_and_whenever_they_have_doubled(shared: World) -> None:
    made = await make(shared)
    await shared.post(f"/v1/keys/{made['id']}/suspend", {"reason": "x"})
    for count in (1, 1, 1, 1, 4):
        for _ in range(count):
            await use(shared, made["secret"])
        await written(shared)
    told = await notices(shared, made["id"])
    assert [(each["reason"], each["count"]) for each in told] == [("suspended", n) for n in (1, 2, 4, 8)]
    for _ in range(3):
        await shared.client.get("/v1/whoami", headers={"Authorization": "Bearer nonsense"})
    await written(shared)
    rows = await sql(shared, "SELECT reason FROM access_refusals WHERE key_id = ''")
    assert "malformed" in {row.reason for row in rows}


async def test_stragglers_are_listed_and_told_and_so_is_use_after_the_end(shared: World) -> None:
    old = await make(shared)
    new = await rotate(shared, old["id"], overlap_s=3_600)
    await use(shared, new["secret"])
    await written(shared)
    assert old["id"] not in [each["id"] for each in (await shared.get("/v1/keys/stragglers")).json()["data"]]
    await use(shared, old["secret"])
    await written(shared)
    assert old["id"] in [each["id"] for each in (await shared.get("/v1/keys/stragglers")).json()["data"]]
    await sql(shared, "UPDATE credentials SET retires_at = clock_timestamp() WHERE id = :id", id=old["id"])
    problem(await use(shared, old["secret"]), "key-expired")
    await written(shared)
    told = await notices(shared, old["id"])
    assert kinds(told) == ["key.straggler", "key.used-after-expiry"]
    assert not any(made["secret"][-49:] in str(told) for made in (old, new))


async def test_what_cannot_be_written_stays_counted(shared: World, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await make(shared, "issue")
    traffic = KeyTraffic(shared.db)
    traffic.used(made["id"], "mint", "127.0.0.1", failed=True, retiring=False)
    with monkeypatch.context() as away:
        away.setattr(shared.db, "transaction", _away)
        with pytest.raises(psycopg.OperationalError):
            await traffic.write()
    traffic.used(made["id"], "mint", "127.0.0.1", failed=False, retiring=False)
    await traffic.write()
    (told,) = await usage(shared, made["id"])
    assert (told["count"], told["failed_count"]) == (2, 1)


async def test_what_is_being_written_when_the_process_ends_is_written(
    shared: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, traffic, began = await make(shared, "issue"), KeyTraffic(shared.db), asyncio.Event()
    store = traffic._store

    async def slow(counted: Any) -> None:
        began.set()
        await asyncio.sleep(0.1)
        await store(counted)

    monkeypatch.setattr(traffic, "_store", slow)
    monkeypatch.setattr(key_traffic, "WRITE_INTERVAL_S", 0.01)
    traffic.used(made["id"], "mint", "127.0.0.1", failed=False, retiring=False)
    async with traffic.running():
        await began.wait()
    (told,) = await usage(shared, made["id"])
    assert told["count"] == 1


def _away() -> None:
    raise psycopg.OperationalError("nobody answers")


async def test_keys_of_a_former_pepper_open_and_move_to_the_newest_when_they_are_used(shared: World) -> None:
    old, lost = await make(shared), await make(shared)
    newest, later = SecretStr("another pepper, no shorter than it must be"), {"api_key_pepper_version": 2}
    former = SecretStr(f'{{"1": "{PEPPER.get_secret_value()}"}}')
    both = shared.settings.model_copy(update={**later, "api_key_pepper": newest, "api_key_peppers_old": former})
    alone = shared.settings.model_copy(update={**later, "api_key_pepper": newest})

    async def opens(settings: Any, key: str) -> int:
        app = create_app(settings)
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app=app)
            async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
                return (await client.get("/v1/whoami", headers={"Authorization": f"Bearer {key}"})).status_code

    assert await opens(both, old["secret"]) == 200
    rows = await sql(
        shared, "SELECT id, pepper_version FROM credentials WHERE id IN (:a, :b)", a=old["id"], b=lost["id"]
    )
    assert dict(map(tuple, rows)) == {old["id"]: 2, lost["id"]: 1}
    assert [await opens(alone, made["secret"]) for made in (old, lost)] == [200, 401]
    async with shared.db.transaction() as session:
        made = await commands.create_key(
            session, issuer="Harbour Estates", caller="tests", environment="test", pepper=newest, pepper_version=2
        )
    assert await opens(both, made.text) == 200
    problem(await use(shared, made.text), "unauthorized")
