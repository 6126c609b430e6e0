"""What is known of records without their values, and how they end: revoked, expired, renewed, erased."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from service.keys.signing import ProviderDown
from service.vault import opening
from service.vault.envelope import Tampered
from service.vault.opening import Plain
from tests.vault.desk import CARD, Desk
from tests.vault.reveals import entries
from tests.web.answers import problem

pytestmark = pytest.mark.asyncio(loop_scope="module")

PREFIX = {"kind": "prefix", "environment": "test"}
EMAIL = {"data_class": "email", "format": PREFIX}


async def issuer_of(desk: Desk) -> Any:
    ((issuer_id,),) = await desk.rows("SELECT id FROM issuers WHERE name = 'Harbour Estates'")
    return issuer_id


async def reopened(desk: Desk, token: str) -> str | Tampered | None:
    """The value behind a vault token, as the heart of a reveal opens it."""
    issuer_id = await issuer_of(desk)
    (loaded,) = await opening.load(desk.vault, issuer_id, [token])
    if loaded is None or not loaded.open:
        return None
    (opened,) = await opening.opened(desk.vault, issuer_id, [loaded])
    return opened.original if isinstance(opened, Plain) else opened


async def test_metadata_is_told_without_the_value(desk: Desk) -> None:
    policy = await desk.policy(ttl_max_s=3600)
    asset = await desk.asset_token()
    item = {"value": CARD, "subject": "metadata", "asset_token_id": asset}
    (record,) = await desk.lookup(await desk.token(policy, item))
    assert record is not None
    assert (record["policy_id"], record["state"], record["last_four"]) == (policy, "active", "1111")
    assert record["asset_token_id"] == asset
    assert record["subject_id"] is not None
    assert record["expires_at"] is not None


async def test_what_a_record_belongs_to_is_a_token_of_the_issuers(desk: Desk) -> None:
    asset, theirs = await desk.asset_token(), await desk.new_issuer("Asset Estates")
    order = {"name": "addresses", "kind": "vault", **EMAIL, "format": {"kind": "prefix"}}
    policy = (await desk.post("/policies", order, key=theirs)).json()["id"]
    deeds = (await desk.post("/policies", {**order, "name": "deeds", "data_class": "document"}, key=theirs)).json()[
        "id"
    ]
    document = {"policy": deeds, "name": "deed", "media_type": "application/pdf", "size_bytes": 1}
    for path, body in (
        (
            "/tokenize",
            {"policy": policy, "items": [{"value": "a@b.org"}, {"value": "a@b.org", "asset_token_id": asset}]},
        ),
        ("/documents", {**document, "asset_token_id": asset}),
        ("/commitments", {"policy": deeds, "attributes": {"parcel": "7"}, "asset_token_id": asset}),
    ):
        problem(await desk.post(path, body, key=theirs), "asset-token-not-found")
    assert (await desk.get("/records", key=theirs)).json()["data"] == []


async def test_tokens_of_others_are_answered_as_those_of_nobody(desk: Desk) -> None:
    token = await desk.token(await desk.policy(), CARD)
    other = await desk.new_issuer("Other Estates")
    assert await desk.lookup(token, "tok_test_nobody", key=other) == [None, None]
    await desk.post("/policies", {"name": "a", "kind": "vault", **EMAIL}, key=other)
    assert await desk.lookup(token, "tok_test_nobody", key=other) == [None, None]
    for each in (token, "tok_test_nobody"):
        assert (await desk.post("/revoke", {"tokens": [each]}, key=other)).json() == {"data": [None]}
        answer = await desk.send("PUT", "/tokens", {"token": each, "value": CARD}, key=other)
        problem(answer, "vault-token-not-found")
    assert [each and each["state"] for each in await desk.lookup(token)] == ["active"]


@pytest.mark.parametrize("deterministic", [True, False])
async def test_a_value_is_found_by_itself(desk: Desk, deterministic: bool) -> None:
    policy = await desk.policy(**EMAIL, deterministic=deterministic)
    outcomes = await desk.tokenize(policy, "a@example.org", "b@example.org")
    found = await desk.post("/search", {"policy": policy, "value": "a@EXAMPLE.org"})
    assert [each["id"] for each in found.json()["data"]] == [outcomes[0]["record_id"]]
    assert (await desk.post("/search", {"policy": policy, "value": "c@example.org"})).json() == {"data": []}
    answer = problem(await desk.post("/search", {"policy": policy, "value": "no address"}), "value-unfit")
    assert "no address" not in str(answer)
    vaultless = await desk.policy(kind="vaultless")
    problem(await desk.post("/search", {"policy": vaultless, "value": CARD}), "not-of-this-policy")


async def test_records_are_listed_by_policy_subject_asset_state_and_age(desk: Desk) -> None:
    policy, other = await desk.policy(**EMAIL), await desk.policy(**EMAIL)
    asset = await desk.asset_token()
    items: list[dict[str, Any]] = [{"value": f"{n}@example.org", "subject": f"list {n % 2}"} for n in range(4)]
    items[3]["asset_token_id"] = asset
    outcomes = await desk.tokenize(policy, *items)
    between = datetime.now(UTC) + timedelta(milliseconds=2)
    await asyncio.sleep(0.005)
    (late,) = await desk.tokenize(other, {"value": "late@example.org", "subject": "list 0", "asset_token_id": asset})
    await desk.post("/revoke", {"tokens": [outcomes[0]["token"]]})
    ids = [each["record_id"] for each in (*outcomes, late)]

    async def listed(**wanted: Any) -> list[int]:
        found: list[int] = []
        cursor: dict[str, Any] = {}
        while True:
            answer = (await desk.get("/records", limit=2, **wanted, **cursor)).json()
            found += [ids.index(each["id"]) for each in answer["data"] if each["id"] in ids]
            if answer["next_cursor"] is None:
                return sorted(found)  # what one millisecond made is in no order
            cursor = {"cursor": answer["next_cursor"]}

    assert await listed() == [0, 1, 2, 3, 4]
    assert await listed(policy=policy) == [0, 1, 2, 3]
    assert await listed(subject="list 0") == [0, 2, 4]
    assert await listed(subject="list 0", policy=policy, state="active") == [2]
    assert await listed(asset_token_id=asset) == [3, 4]
    assert await listed(state="revoked") == [0]
    assert await listed(policy=other, older_than=between.isoformat()) == []
    assert await listed(older_than=between.isoformat()) == [0, 1, 2, 3]
    assert await listed(subject="nobody") == []
    assert (await desk.get("/records", key=await desk.new_issuer("Empty Estates"), subject="x")).json()["data"] == []
    problem(await desk.get("/records", cursor="nonsense"), "bad-cursor")
    problem(await desk.get("/records", older_than="0"), "invalid-request")


async def test_a_revoked_token_stays_revoked_and_is_journalled_once(desk: Desk) -> None:
    token = await desk.token(await desk.policy(), CARD)
    first, again = [(await desk.post("/revoke", {"tokens": [token, "9"]})).json() for _ in range(2)]
    assert first == again
    assert [each and each["state"] for each in first["data"]] == ["revoked", None]
    assert await reopened(desk, token) is None
    bodies = await desk.rows("SELECT body FROM journal_entries WHERE kind = 'vault.records-revoked'")
    assert sum(first["data"][0]["id"] in body for (body,) in bodies) == 1
    assert token not in str(bodies)


async def test_what_a_revoked_token_stood_for_is_not_kept(desk: Desk) -> None:
    policy = await desk.policy(mapping="exportable")
    tokens = [await desk.token(policy, {"value": CARD, "subject": subject}) for subject in (None, "revoked")]
    await desk.post("/revoke", {"tokens": tokens})
    rows = await desk.rows(
        "SELECT sealed, data_version, sealed_token, fingerprint FROM vault.records WHERE policy_id = %s", policy
    )
    assert rows == [(None, None, None, None)] * 2
    assert [each and each["last_four"] for each in await desk.lookup(*tokens)] == ["1111"] * 2
    await desk.post("/subjects/erase", {"reference": "revoked"})
    assert [each and each["last_four"] for each in await desk.lookup(*tokens)] == ["1111", None]


async def test_a_revoked_value_of_a_deterministic_policy_gets_a_new_token(desk: Desk) -> None:
    policy = await desk.policy(deterministic=True)
    token = await desk.token(policy, CARD)
    await desk.post("/revoke", {"tokens": [token]})
    assert await desk.token(policy, CARD) != token


async def test_a_pointer_follows_its_new_value(desk: Desk) -> None:
    policy = await desk.policy(**EMAIL, pointer=True)
    token = await desk.token(policy, {"value": "old@example.org", "subject": "pointer"})
    answer = await desk.send("PUT", "/tokens", {"token": token, "value": "new@example.org"})
    assert answer.json()["updated_at"] is not None
    (entry,) = await entries(desk, "vault.record-pointed", answer.json()["id"])
    assert entry["policy"] == policy
    assert await reopened(desk, token) == "new@example.org"
    found = await desk.post("/search", {"policy": policy, "value": "old@example.org"})
    assert found.json() == {"data": []}
    wrong = await desk.send("PUT", "/tokens", {"token": token, "value": "no address"})
    assert problem(wrong, "value-unfit")["reason"] == "email-malformed"
    await desk.post("/revoke", {"tokens": [token]})
    answer = await desk.send("PUT", "/tokens", {"token": token, "value": "new@example.org"})
    problem(answer, "vault-token-not-found")


async def test_a_token_that_is_no_pointer_keeps_its_value(desk: Desk) -> None:
    token = await desk.token(await desk.policy(**EMAIL), "old@example.org")
    answer = await desk.send("PUT", "/tokens", {"token": token, "value": "new@example.org"})
    problem(answer, "not-of-this-policy")
    assert await reopened(desk, token) == "old@example.org"


async def test_an_erased_persons_records_are_tombstones_and_others_stay(desk: Desk) -> None:
    policy = await desk.policy(deterministic=True)
    mine = await desk.token(policy, {"value": CARD, "subject": "erased"})
    others = await desk.token(policy, {"value": "5555555555554444", "subject": "kept"})
    first, again = [await desk.post("/subjects/erase", {"reference": "erased"}) for _ in range(2)]
    assert first.status_code == 200
    assert first.json() == again.json()
    assert first.json()["records_count"] == 1
    (record,) = await desk.lookup(mine)
    assert record is not None
    assert (record["state"], record["last_four"]) == ("erased", None)
    assert (await reopened(desk, mine), await reopened(desk, others)) == (None, "5555555555554444")
    found = await desk.post("/search", {"policy": policy, "value": CARD})
    assert found.json() == {"data": []}
    left = "SELECT sealed, sealed_token, fingerprint FROM vault.records WHERE erased_at IS NOT NULL AND policy_id = %s"
    assert await desk.rows(left, policy) == [(None, None, None)]
    bodies = await desk.rows("SELECT body FROM journal_entries WHERE kind = 'vault.subject-erased'")
    assert sum(first.json()["subject_id"] in body for (body,) in bodies) == 1
    assert '"erased"' not in str(bodies)
    problem(await desk.post("/subjects/erase", {"reference": "unknown"}), "vault-subject-not-found")


async def test_an_erasure_takes_records_in_the_order_that_a_revocation_does(desk: Desk) -> None:
    policy = await desk.policy(**EMAIL)
    await desk.tokenize(policy, *({"value": f"{n}@example.org", "subject": "in order"} for n in range(40)))
    blocker = await psycopg.AsyncConnection.connect(desk.app.state.settings.database_url.get_secret_value())
    async with blocker:
        first = "SELECT 1 FROM vault.records WHERE policy_id = %s ORDER BY index LIMIT 1 FOR UPDATE"
        await blocker.execute(first, (policy,))
        asked = asyncio.create_task(desk.post("/subjects/erase", {"reference": "in order"}))
        waiting: list[tuple[Any, ...]] = []
        while not waiting:
            await asyncio.sleep(0.02)
            waiting = await desk.rows(
                """SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
                AND query LIKE '%%vault.records%%' AND pid <> pg_backend_pid()"""
            )
        await blocker.execute("SELECT 1 FROM vault.records WHERE policy_id = %s FOR UPDATE NOWAIT", (policy,))
    assert (await asked).json()["records_count"] == 40


async def test_after_an_erasure_no_repeated_request_confirms_a_value(desk: Desk) -> None:
    policy = await desk.policy(deterministic=True)
    item = {"value": CARD, "subject": "confirmed"}
    await desk.tokenize(policy, item, idempotency_key="first")
    await desk.tokenize(policy, CARD, idempotency_key="without-the-person")
    before = await prints(desk, "first", "without-the-person")
    await desk.post("/subjects/erase", {"reference": "confirmed"})
    for key, asked in (("first", item), ("first", {**item, "value": "5555555555554444"})):
        answer = await desk.post("/tokenize", {"policy": policy, "items": [asked]}, idempotency_key=key)
        problem(answer, "request-erased")
    key = "without-the-person"
    answer = await desk.post("/tokenize", {"policy": policy, "items": [{"value": CARD}]}, idempotency_key=key)
    problem(answer, "request-erased")
    after = await prints(desk, "first", key)
    assert len({*before, *after}) == len(before) + 1
    assert await desk.rows("SELECT 1 FROM vault.answers WHERE key = ANY(%s) AND sealed <> ''", ["first", key]) == []


async def test_after_an_erasure_no_repeated_request_confirms_a_value_that_was_refused(desk: Desk) -> None:
    policy = await desk.policy()
    items = [{"value": CARD}, {"value": "4111 1111 1111 1112", "subject": "refused"}]
    outcomes = await desk.tokenize(policy, *items, idempotency_key="with-a-refusal")
    assert [each["status"] for each in outcomes] == ["created", "refused"]
    await desk.post("/subjects/erase", {"reference": "refused"})
    answer = await desk.post("/tokenize", {"policy": policy, "items": items}, idempotency_key="with-a-refusal")
    problem(answer, "request-erased")


async def test_what_expired_is_not_kept_once_its_value_has_a_new_token(desk: Desk) -> None:
    policy = await desk.policy(deterministic=True)
    first = await desk.token(policy, {"value": CARD, "ttl_s": 60})
    await desk.alter(f"UPDATE vault.records SET expires_at = now() WHERE policy_id = '{policy}'")
    assert await desk.token(policy, CARD) != first
    rows = await desk.rows("SELECT count(sealed), count(fingerprint) FROM vault.records WHERE policy_id = %s", policy)
    assert rows == [(1, 1)]


async def prints(desk: Desk, *keys: str) -> list[bytes]:
    """What is stored of the requests of idempotency keys."""
    rows = await desk.rows("SELECT fingerprint FROM requests WHERE key = ANY(%s)", list(keys))
    return [print_ for (print_,) in rows]


async def test_who_comes_back_after_an_erasure_is_a_new_subject(desk: Desk) -> None:
    policy = await desk.policy(deterministic=True)
    before = await desk.token(policy, {"value": CARD, "subject": "returning"})
    await desk.post("/subjects/erase", {"reference": "returning"})
    after = await desk.token(policy, {"value": CARD, "subject": "returning"})
    assert (await reopened(desk, before), await reopened(desk, after)) == (None, CARD)
    listed = (await desk.get("/records", subject="returning")).json()["data"]
    assert sorted(each["state"] for each in listed) == ["active", "erased"]


async def test_tokenizing_and_erasing_at_once_leaves_nothing_readable_of_the_erased(desk: Desk) -> None:
    policy = await desk.policy(**EMAIL)
    for turn in range(5):
        subject = f"race {turn}"
        items = [{"value": f"{n}@example.org", "subject": subject} for n in range(10)]
        await desk.tokenize(policy, *items)
        answers = await asyncio.gather(
            *(desk.tokenize(policy, *items) for _ in range(4)),
            *(desk.post("/subjects/erase", {"reference": subject}) for _ in range(2)),
        )
        del answers
    left = await desk.rows(
        """SELECT count(*) FROM vault.records r JOIN vault.subjects s ON s.id = r.subject_id
        WHERE s.erased_at IS NOT NULL AND (r.sealed IS NOT NULL OR r.fingerprint IS NOT NULL)"""
    )
    assert left == [(0,)]


async def test_an_erasure_that_is_cut_off_has_erased_nothing(desk: Desk) -> None:
    policy = await desk.policy()
    token = await desk.token(policy, {"value": CARD, "subject": "cut off"})
    blocker = await psycopg.AsyncConnection.connect(desk.app.state.settings.database_url.get_secret_value())
    async with blocker:
        await blocker.execute("SELECT * FROM journal_end FOR UPDATE")
        asked = asyncio.create_task(desk.post("/subjects/erase", {"reference": "cut off"}))
        killed: list[tuple[Any, ...]] = []
        while not killed:
            await asyncio.sleep(0.02)
            killed = await desk.rows(
                """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%%UPDATE journal_end%%'
                AND pid <> pg_backend_pid()"""
            )
        problem(await asked, "database-unavailable")
    assert await reopened(desk, token) == CARD


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE vault.records SET sealed = substr(sealed, 1, 60) WHERE id = '{first}'",
        "UPDATE vault.records SET sealed = set_byte(sealed, 40, get_byte(sealed, 40) # 1) WHERE id = '{first}'",
        "UPDATE vault.records SET sealed = '' WHERE id = '{first}'",
        """UPDATE vault.records SET sealed = (SELECT sealed FROM vault.records WHERE id = '{second}')
        WHERE id = '{first}'""",
        "UPDATE vault.records SET policy_id = '{policy}' WHERE id = '{first}'",
        """UPDATE vault.records SET subject_id = (SELECT subject_id FROM vault.records WHERE id = '{second}')
        WHERE id = '{first}'""",
        """UPDATE vault.subjects SET wrapped = (SELECT wrapped FROM vault.subjects WHERE id = (
            SELECT subject_id FROM vault.records WHERE id = '{second}'))
        WHERE id = (SELECT subject_id FROM vault.records WHERE id = '{first}')""",
    ],
)
async def test_what_was_altered_in_postgres_does_not_open(desk: Desk, statement: str) -> None:
    first_policy, policy = await desk.policy(**EMAIL), await desk.policy(**EMAIL)
    items = [{"value": f"{n}@example.org", "subject": f"{first_policy} {n}"} for n in range(2)]
    first, second = await desk.tokenize(first_policy, *items)
    await desk.alter(statement.format(first=first["record_id"], second=second["record_id"], policy=policy))
    assert isinstance(await reopened(desk, first["token"]), Tampered)
    assert await reopened(desk, second["token"]) == "1@example.org"


async def test_an_altered_record_that_a_batch_needs_is_told_and_alarmed(desk: Desk, log: Any) -> None:
    policy = await desk.policy(deterministic=True)
    await desk.token(policy, CARD)
    await desk.alter(f"UPDATE vault.records SET sealed_token = '\\x01' WHERE policy_id = '{policy}'")
    answer = await desk.post("/tokenize", {"policy": policy, "items": [{"value": CARD}]})
    problem(answer, "record-damaged")
    assert "vault_record_damaged" in log.getvalue()


async def test_without_the_provider_of_keys_nothing_is_read_or_written(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = await desk.policy()
    token = await desk.token(policy, CARD)

    async def down(*_: Any) -> bytes:
        raise ProviderDown("no answer")

    monkeypatch.setattr(desk.vault.keyring._keks, "unwrap", down)
    monkeypatch.setattr(desk.vault.keyring._keks, "wrap", down)
    desk.vault.keyring.forget(await issuer_of(desk))
    for path, body in (
        ("/tokenize", {"policy": policy, "items": [{"value": CARD}]}),
        ("/lookup", {"tokens": [token]}),
        ("/search", {"policy": policy, "value": CARD}),
        ("/policies", {"name": "down", "kind": "vault", **EMAIL}),
    ):
        problem(await desk.post(path, body), "vault-keys-unavailable")
    monkeypatch.undo()
    await asyncio.sleep(1.1)  # a provider that is down is asked once a second at most
    assert await reopened(desk, token) == CARD
