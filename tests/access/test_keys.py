"""The life of credentials: made, used, rotated, suspended, ended; each step with its fact, and no secret in it."""

import asyncio
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from uuid import UUID

import pytest
from sqlalchemy import text

from service.access import commands, key_commands, key_turns, signing_secrets
from service.access.apikeys import Scope
from service.access.key_commands import By
from service.access.key_orders import KeyOrder
from service.access.key_problems import KeyNotInState, TooManyKeys
from service.access.queries import stored_keys
from service.app import create_app
from tests.access.desk import facts, key_id, kinds, make, patch, rotate, sql, state, use
from tests.web.answers import problem
from tests.world import PEPPER, World

pytestmark = pytest.mark.asyncio(loop_scope="module")

PUBLIC_KEY = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
ACCOUNT = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"


# Made


async def test_a_made_key_opens_what_it_was_given_and_no_more(shared: World) -> None:
    made = await make(shared, "keys:read", name="a reader")
    who = (await use(shared, made["secret"])).json()
    assert (who["key_id"], who["scopes"], who["caller"], who["signed"]) == (made["id"], ["keys:read"], "tests", False)
    assert (await shared.get(f"/v1/keys/{made['id']}", key=made["secret"])).json()["name"] == "a reader"
    refusal = problem(
        await shared.post("/v1/keys", {"name": "x", "scopes": ["issue"]}, key=made["secret"]), "scope-missing"
    )
    assert refusal["scope"] == "keys:admin"


async def test_a_key_that_is_ended_while_it_asks_makes_nothing(shared: World) -> None:
    made = await make(shared, "keys:admin")
    gate = shared.app.state.admission
    caller = await gate.by_key(made["secret"], None)
    await shared.post(f"/v1/keys/{made['id']}/suspend", {"reason": "stolen"})
    order = KeyOrder(name="a spare", scopes=[Scope.KEYS_ADMIN])
    async with shared.db.transaction() as session:
        with pytest.raises(KeyNotInState):
            await key_commands.create(session, gate.issuing, caller, order)


async def test_a_secret_is_shown_once_and_no_copy_of_the_answer_is_kept(shared: World) -> None:
    order = {"name": "once", "scopes": ["issue"]}
    first = await shared.post("/v1/keys", order, idempotency_key="once")
    again = await shared.post("/v1/keys", order, idempotency_key="once")
    assert first.headers["Cache-Control"] == "no-store"
    assert first.headers["Location"] == f"/v1/keys/{first.json()['id']}"
    assert problem(again, "secret-already-shown")["key"] == first.json()["id"]
    problem(await shared.post("/v1/keys", {**order, "name": "x"}, idempotency_key="once"), "idempotency-key-reused")
    told = (await shared.get(f"/v1/keys/{first.json()['id']}")).text
    assert first.json()["secret"] not in told
    for table in ("credentials", "requests", "journal_entries"):
        rows = await sql(shared, f"SELECT t::text FROM {table} t")
        assert not any(first.json()["secret"][-49:] in row[0] for row in rows)


async def test_a_key_gives_no_scope_limit_or_day_of_life_that_it_lacks(shared: World) -> None:
    limits = {"networks": ["127.0.0.0/8"], "window_s": 40}
    asking = await make(shared, "keys:admin", "issue", limits=limits, expires_in_s=3_600)
    given = {"key": asking["secret"]}
    for order, exceeds in (
        ({"scopes": ["issue", "vault:reveal", "metrics"]}, ["metrics", "vault:reveal"]),
        ({"scopes": ["issue"], "limits": {}}, ["limits"]),
        ({"scopes": ["issue"], "limits": {"networks": ["126.0.0.0/7"], "window_s": 40}}, ["limits"]),
        ({"scopes": ["issue"], "limits": {"networks": ["127.0.0.1/32"]}}, ["limits"]),
        ({"scopes": ["issue"], "expires_in_s": 7_200}, ["life"]),
    ):
        answer = await shared.post("/v1/keys", {"name": "x", **order}, **given)
        assert problem(answer, "key-exceeds-grantor")["exceeds"] == exceeds
    made = await make(shared, "issue", key=asking["secret"])
    assert made["limits"]["networks"] == ["127.0.0.0/8"]
    assert made["expires_at"] == asking["expires_at"]
    tighter = {"networks": ["127.0.0.1/32"], "window_s": 30, "signature_required": True}
    assert (await make(shared, "issue", key=asking["secret"], limits=tighter))["limits"]["window_s"] == 30


async def test_a_credential_without_a_secret_is_told_again(shared: World) -> None:
    order = {"name": "signs", "scopes": ["issue"], "kind": "ed25519", "public_key": PUBLIC_KEY}
    first = await shared.post("/v1/keys", order, idempotency_key="signs")
    again = await shared.post("/v1/keys", order, idempotency_key="signs")
    assert (first.status_code, first.json()["secret"]) == (201, None)
    assert again.json() == first.json()
    assert (first.json()["kind"], first.json()["public_key"]) == ("ed25519", PUBLIC_KEY)


async def test_an_hmac_secret_is_sealed_and_opens_for_whoever_checks_signatures(shared: World) -> None:
    made = await make(shared, "issue", kind="hmac")
    stored = await stored_keys(shared.db).ask(made["id"])
    assert stored is not None
    assert stored.sealed_secret is not None
    opened = signing_secrets.opened(shared.settings.key_encryption_key, made["id"], stored.sealed_secret)
    assert opened.hex() == made["secret"]
    rows = await sql(shared, "SELECT credentials::text FROM credentials")
    assert not any(made["secret"] in row[0] for row in rows)
    problem(await use(shared, made["secret"]), "unauthorized")


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "ed25519"},
        {"kind": "ed25519", "public_key": "8f"},
        {"kind": "wallet", "account": ACCOUNT},
        {"kind": "bearer", "public_key": PUBLIC_KEY},
        {"kind": "hmac", "account": ACCOUNT, "chain_id": 1},
        {"kind": "rsa"},
        {"scopes": []},
        {"scopes": ["everything"]},
        {"limits": {"networks": ["10.0.0.1/8"]}},
        {"limits": {"hours_utc": [8, 8]}},
        {"limits": {"window_s": 600}},
        {"limits": {"unknown": 1}},
        {"expires_in_s": 0},
        {"secret": "my own"},
        {"environment": "live"},
    ],
)
async def test_an_order_that_makes_no_sense_is_refused(shared: World, wrong: dict[str, object]) -> None:
    problem(await shared.post("/v1/keys", {"name": "x", "scopes": ["issue"], **wrong}), "invalid-request")


# Rotated


async def test_both_versions_open_the_same_until_the_overlap_is_over(shared: World) -> None:
    old = await make(shared)
    new = await rotate(shared, old["id"], overlap_s=3_600)
    assert (new["family_id"], new["version"], new["scopes"]) == (old["family_id"], 2, old["scopes"])
    assert (await state(shared, old["id"]), new["state"]) == ("retiring", "active")
    told, quiet = await use(shared, old["secret"]), await use(shared, new["secret"])
    assert (told.status_code, quiet.status_code) == (200, 200)
    assert not {"deprecation", "sunset", "muniment-key-replaced-by"} & {*quiet.headers}
    since = datetime.fromtimestamp(int(told.headers["Deprecation"].removeprefix("@")), UTC)  # RFC 9745
    left_s = (parsedate_to_datetime(told.headers["Sunset"]) - since).total_seconds()  # RFC 8594
    assert 3_599 <= left_s <= 3_600
    assert told.headers["Muniment-Key-Replaced-By"] == new["id"]
    await sql(shared, "UPDATE credentials SET retires_at = clock_timestamp() WHERE id = :id", id=old["id"])
    assert problem(await use(shared, old["secret"]), "key-expired")["replaced_by"] == new["id"]
    assert (await use(shared, new["secret"])).status_code == 200
    assert kinds(await facts(shared, old["id"])) == ["key.created", "key.rotated"]


async def test_an_overlap_that_waits_for_the_first_use_starts_with_it(shared: World) -> None:
    old = await make(shared)
    new = await rotate(shared, old["id"], overlap_s=60, overlap_starts="first-use")
    assert (await state(shared, old["id"]), new["state"]) == ("active", "pending")
    assert "deprecation" not in (await use(shared, old["secret"])).headers
    answers = await asyncio.gather(*(use(shared, new["secret"]) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {200}
    assert (await state(shared, old["id"]), await state(shared, new["id"])) == ("retiring", "active")
    assert "deprecation" in (await use(shared, old["secret"])).headers
    assert kinds(await facts(shared, new["id"])) == ["key.activated"]


async def test_a_pending_key_may_be_activated_unused(shared: World) -> None:
    old = await make(shared)
    new = await rotate(shared, old["id"], overlap_starts="first-use")
    answer = await shared.post(f"/v1/keys/{new['id']}/activate")
    assert (answer.json()["state"], await state(shared, old["id"])) == ("active", "retiring")
    assert problem(await shared.post(f"/v1/keys/{new['id']}/activate"), "key-not-in-state")["state"] == "active"


async def test_rotation_lets_no_version_live_longer_than_before(shared: World) -> None:
    old = await make(shared, expires_in_s=600)
    new = await rotate(shared, old["id"], overlap_s=86_400)
    told = (await shared.get(f"/v1/keys/{old['id']}")).json()
    assert told["retires_at"] == told["expires_at"] == old["expires_at"] == new["expires_at"]
    mine = await make(shared, expires_in_s=600)
    answer = await shared.post(f"/v1/keys/{mine['id']}/rotate", {"expires_in_s": 900}, key=mine["secret"])
    assert problem(answer, "key-exceeds-grantor")["exceeds"] == ["life"]


async def test_of_two_rotations_at_once_one_wins(shared: World) -> None:
    old = await make(shared)
    answers = await asyncio.gather(*(shared.post(f"/v1/keys/{old['id']}/rotate", {}) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409, 409]
    rows = await sql(shared, "SELECT FROM credentials WHERE family_id = CAST(:id AS uuid)", id=old["family_id"])
    assert len(rows) == 2


async def test_a_rotation_that_is_sent_again_makes_nothing_and_shows_nothing(shared: World) -> None:
    old = await make(shared)
    first = await shared.post(f"/v1/keys/{old['id']}/rotate", {}, idempotency_key="rotate-once")
    again = await shared.post(f"/v1/keys/{old['id']}/rotate", {}, idempotency_key="rotate-once")
    assert problem(again, "secret-already-shown")["key"] == first.json()["id"]
    assert first.json()["secret"] not in again.text


async def test_two_versions_of_a_family_are_usable_and_no_third(shared: World) -> None:
    first = await make(shared)
    second = await rotate(shared, first["id"])
    assert problem(await shared.post(f"/v1/keys/{first['id']}/rotate", {}), "key-not-in-state")["state"] == "retiring"
    other = problem(await shared.post(f"/v1/keys/{second['id']}/rotate", {}), "key-being-rotated")["other"]
    assert other == first["id"]
    await shared.post(f"/v1/keys/{first['id']}/revoke", {"reason": "nobody uses it"})
    third = await rotate(shared, second["id"])
    assert third["version"] == 3


async def test_a_successor_that_was_revoked_unused_makes_room_for_another(shared: World) -> None:
    old = await make(shared)
    lost = await rotate(shared, old["id"], overlap_starts="first-use")
    problem(await shared.post(f"/v1/keys/{old['id']}/rotate", {}), "key-being-rotated")
    await shared.post(f"/v1/keys/{lost['id']}/revoke", {"reason": "its secret was lost"})
    new = await rotate(shared, old["id"], overlap_s=0)
    assert (new["version"], (await use(shared, new["secret"])).status_code) == (3, 200)
    assert problem(await use(shared, old["secret"]), "key-expired")["replaced_by"] == new["id"]


async def test_a_key_to_sign_with_is_rotated_to_another_one(shared: World) -> None:
    old = await make(shared, "issue", kind="ed25519", public_key=PUBLIC_KEY)
    problem(await shared.post(f"/v1/keys/{old['id']}/rotate", {}), "invalid-request")
    new = await rotate(shared, old["id"], public_key="8f" * 32)
    assert (new["public_key"], new["secret"]) == ("8f" * 32, None)


async def test_anothers_secret_is_made_by_that_caller_alone(shared: World) -> None:
    async with shared.db.transaction() as session:
        theirs = await commands.create_key(
            session, issuer="Harbour Estates", caller="shop", environment="test", pepper=PEPPER
        )
    problem(await shared.post(f"/v1/keys/{theirs.id}/rotate", {}), "key-of-another-caller")
    assert (await shared.post(f"/v1/keys/{theirs.id}/revoke", {"reason": "the shop closed"})).status_code == 200


async def test_an_issuer_has_so_many_keys_and_rotation_goes_on(shared: World, monkeypatch: pytest.MonkeyPatch) -> None:
    key = await shared.new_issuer("Jetty Estates")
    made = await make(shared, key=key)
    monkeypatch.setattr(key_turns, "FAMILIES_MAX", 2)
    order = {"name": "x", "scopes": ["issue"]}
    problem(await shared.post("/v1/keys", order, key=key), "too-many-keys")
    async with shared.db.transaction() as session:
        with pytest.raises(TooManyKeys, match="at most 2"):
            await commands.create_key(session, issuer="Jetty Estates", caller="x", environment="test", pepper=PEPPER)
    new = await rotate(shared, made["id"], key=key)
    problem(await shared.post("/v1/keys", order, key=key), "too-many-keys")
    for each in (made, new):
        await sql(shared, "UPDATE credentials SET expires_at = clock_timestamp() WHERE id = :id", id=each["id"])
    assert (await shared.post("/v1/keys", order, key=key)).status_code == 201


# At one moment


@pytest.mark.parametrize("step", ["rotate", "resume", "activate"])
async def test_rows_are_locked_in_the_order_of_their_ids(shared: World, step: str) -> None:
    made = sorted([await make(shared) for _ in range(6)], key=lambda each: str(each["id"]))
    first, asking, target = made[0], made[0], made[-1]
    if step == "resume":
        await shared.post(f"/v1/keys/{target['id']}/suspend", {"reason": "x"})
    elif step == "activate":
        asking, target = made[1], await rotate(shared, first["id"], overlap_starts="first-use")
    later = [each["id"] for each in (asking, target) if each["id"] > first["id"]]
    lock = "SELECT id FROM credentials WHERE id = ANY(:ids) ORDER BY id FOR NO KEY UPDATE"
    async with shared.db.transaction() as session:
        await session.execute(text(lock), {"ids": [first["id"]]})
        asked = asyncio.create_task(shared.post(f"/v1/keys/{target['id']}/{step}", {}, key=asking["secret"]))
        await waiting(shared)
        await session.execute(text(f"{lock} NOWAIT"), {"ids": later})
    assert (await asked).status_code in (200, 201)


async def test_a_key_that_the_command_line_makes_beside_an_end_of_all_is_ended_too(shared: World) -> None:
    issuer_id = (await use(shared, await shared.new_issuer("Lock Estates"))).json()["issuer_id"]

    async def end() -> int:
        async with shared.db.transaction() as session:
            return await key_commands.revoke_all(session, By(UUID(issuer_id)), "a break-in", sparing=None)

    async with shared.db.transaction() as session:
        await commands.create_key(session, issuer="Lock Estates", caller="x", environment="test", pepper=PEPPER)
        ended = asyncio.create_task(end())
        await waiting(shared)
    assert await ended == 2


async def waiting(world: World) -> None:
    """Until somebody waits for a lock of another."""
    query = """SELECT FROM pg_locks JOIN pg_stat_activity USING (pid)
        WHERE NOT granted AND datname = current_database()"""
    for _ in range(500):
        if await world.db.fetch(query, ()):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("nobody waits")


# Suspended, changed, ended


async def test_a_suspended_key_opens_nothing_until_it_is_resumed(shared: World) -> None:
    made = await make(shared)
    path = f"/v1/keys/{made['id']}"
    told = (await shared.post(f"{path}/suspend", {"reason": "a laptop is missing"})).json()
    assert (told["state"], told["suspended_for"]) == ("suspended", "a laptop is missing")
    problem(await use(shared, made["secret"]), "unauthorized")
    problem(await shared.post(f"{path}/suspend", {"reason": "again"}), "key-not-in-state")
    assert (await shared.post(f"{path}/resume")).json()["state"] == "active"
    assert (await use(shared, made["secret"])).status_code == 200
    problem(await shared.post(f"{path}/resume"), "key-not-in-state")
    assert kinds(await facts(shared, made["id"])) == ["key.created", "key.suspended", "key.resumed"]


async def test_a_revoked_key_is_so_for_ever_and_at_once_in_every_process(shared: World) -> None:
    made = await make(shared)
    other_process = create_app(shared.settings)
    async with other_process.router.lifespan_context(other_process):
        keys = other_process.state.keys
        before = await keys.ask(made["id"])
        assert before.state == "active"
        first = await shared.post(f"/v1/keys/{made['id']}/revoke", {"reason": "it was printed"})
        problem(await use(shared, made["secret"]), "unauthorized")
        assert (await keys.ask(made["id"])).state == "revoked"
    again = await shared.post(f"/v1/keys/{made['id']}/revoke", {"reason": "another"})
    assert again.json() == first.json()
    for step in ("resume", "activate", "suspend", "rotate"):
        answer = await shared.post(f"/v1/keys/{made['id']}/{step}", {"reason": "x"} if step == "suspend" else {})
        problem(answer, "key-not-in-state")
    assert kinds(await facts(shared, made["id"])) == ["key.created", "key.revoked"]


async def test_a_key_can_lose_rights_and_never_gain_one(shared: World) -> None:
    made = await make(shared, "issue", "keys:read", limits={"networks": ["127.0.0.0/8"]})
    for order, exceeds in (
        ({"scopes": ["issue", "keys:admin"]}, ["keys:admin"]),
        ({"limits": {}}, ["limits"]),
        ({"limits": {"networks": ["0.0.0.0/0"]}}, ["limits"]),
    ):
        assert problem(await patch(shared, made["id"], order), "key-limits-widened")["exceeds"] == exceeds
    less: dict[str, object] = {
        "name": "less",
        "scopes": ["keys:read"],
        "limits": {"networks": ["10.0.0.0/8", "127.0.0.1/32"]},
    }
    problem(await patch(shared, made["id"], less), "key-limits-widened")
    less["limits"] = {"networks": ["127.0.0.1/32"], "hours_utc": [0, 24]}
    told = (await patch(shared, made["id"], less)).json()
    assert (told["name"], told["scopes"], told["limits"]["networks"]) == ("less", ["keys:read"], ["127.0.0.1/32"])
    assert (await use(shared, made["secret"])).json()["scopes"] == ["keys:read"]
    assert kinds(await facts(shared, made["id"])) == ["key.created", "key.changed"]


async def test_a_key_begins_and_ends_by_postgres_clock_with_no_worker(shared: World) -> None:
    made = await make(shared, starts_in_s=3_600, expires_in_s=7_200)
    problem(await use(shared, made["secret"]), "unauthorized")
    problem(await shared.post(f"/v1/keys/{made['id']}/activate"), "key-not-in-state")
    await sql(shared, "UPDATE credentials SET not_before = clock_timestamp() WHERE id = :id", id=made["id"])
    assert (await use(shared, made["secret"])).status_code == 200
    await sql(shared, "UPDATE credentials SET expires_at = clock_timestamp() WHERE id = :id", id=made["id"])
    assert problem(await use(shared, made["secret"]), "key-expired")["replaced_by"] is None
    wrong = made["secret"][:-6] + "000000"
    problem(await use(shared, wrong), "unauthorized")


async def test_a_key_from_before_environments_were_kept_is_held_to_its_own_text(shared: World) -> None:
    keys = []
    for environment in ("test", "live"):
        async with shared.db.transaction() as session:
            keys.append(
                await commands.create_key(
                    session, issuer="Harbour Estates", caller="tests", environment=environment, pepper=PEPPER
                )
            )
        await sql(shared, "UPDATE credentials SET environment = NULL WHERE id = :id", id=keys[-1].id)
    assert (await use(shared, keys[0].text)).json()["environment"] == "test"
    problem(await use(shared, keys[1].text), "unauthorized")


async def test_no_key_of_a_deleted_caller_opens_anything(shared: World) -> None:
    async with shared.db.transaction() as session:
        made = await commands.create_key(
            session, issuer="Harbour Estates", caller="gone", environment="test", pepper=PEPPER
        )
    assert (await use(shared, made.text)).status_code == 200
    await sql(shared, "UPDATE callers SET deleted_at = now() WHERE name = 'gone'")
    problem(await use(shared, made.text), "unauthorized")


async def test_breaking_the_glass_ends_all_but_the_asking_key_or_that_too(shared: World) -> None:
    asking = await shared.new_issuer("Quay Estates")
    others = [await make(shared, "issue", key=asking) for _ in range(3)]
    answer = await shared.post("/v1/keys/revoke-all", {"reason": "a break-in"}, key=asking)
    assert answer.json() == {"revoked_count": 3}
    for other in others:
        problem(await use(shared, other["secret"]), "unauthorized")
        assert kinds(await facts(shared, other["id"])) == ["key.created", "key.revoked"]
    assert (await use(shared, asking)).status_code == 200
    assert (await use(shared, shared.key)).status_code == 200
    order = {"reason": "a break-in", "also_asking": True}
    assert (await shared.post("/v1/keys/revoke-all", order, key=asking)).json() == {"revoked_count": 1}
    problem(await use(shared, asking), "unauthorized")


# Seen


async def test_credentials_are_listed_by_state_a_page_at_a_time(shared: World) -> None:
    key = await shared.new_issuer("Pier Estates")
    made = [await make(shared, "issue", key=key) for _ in range(3)]
    await shared.post(f"/v1/keys/{made[1]['id']}/revoke", {"reason": "x"}, key=key)
    first = (await shared.get("/v1/keys", key=key, limit=2)).json()
    rest = (await shared.get("/v1/keys", key=key, limit=2, cursor=first["next_cursor"])).json()
    ids = [each["id"] for each in (*first["data"], *rest["data"])]
    assert ids == [*(each["id"] for each in reversed(made)), key_id(key)]
    assert rest["next_cursor"] is None
    revoked = (await shared.get("/v1/keys", key=key, state="revoked")).json()["data"]
    assert [each["id"] for each in revoked] == [made[1]["id"]]
    problem(await shared.get("/v1/keys", key=key, cursor="x"), "bad-cursor")
    problem(await shared.get(f"/v1/keys/{made[0]['id']}"), "key-not-found")


async def test_our_clock_is_told_to_anybody(shared: World) -> None:
    told = (await shared.client.get("/v1/time")).json()["unix_s"]
    assert abs(told - datetime.now(UTC).timestamp()) < 5
