"""The API of webhooks: what is made, shown once, changed, refused, and whose it is."""

import base64
from typing import Any

import pytest
from sqlalchemy import text

from service.access.apikeys import Scope
from service.webhooks import commands
from service.webhooks.signing import verify
from tests.webhooks.office import Office, Tenant
from tests.webhooks.receiver import saying

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOBODY = "00000000-0000-7000-8000-000000000000"


async def test_a_webhook_is_made_read_changed_and_deleted(office: Office, tenant: Tenant) -> None:
    made = await office.webhook(tenant, types=["operation.*", "vault.*"], description="books")
    assert made["secret"].startswith("whsec_")
    (public_key,) = made["public_keys"]
    assert public_key.startswith("whpk_")
    told = await office.read(tenant, f"/{made['id']}")
    assert told == {name: value for name, value in made.items() if name != "secret"}
    assert (told["enabled"], told["messages"], told["pending"], told["dead"]) == (True, 0, 0, 0)
    assert [each["id"] for each in (await office.read(tenant, ""))["data"]] == [made["id"]]
    changed = await office.ask(tenant, "PATCH", f"/{made['id']}", {"types": ["*"], "url": f"{office.receiver.url}/b"})
    assert changed.json() == {**told, "types": ["*"], "url": f"{office.receiver.url}/b"}
    gone = await office.ask(tenant, "DELETE", f"/{made['id']}")
    assert (gone.status_code, gone.json()["id"]) == (200, made["id"])
    assert (await office.ask(tenant, "GET", f"/{made['id']}")).status_code == 404


async def test_the_secret_is_shown_once_however_often_the_request_is_repeated(office: Office, tenant: Tenant) -> None:
    body = {"url": f"{office.receiver.url}/hook"}
    first = await office.ask(tenant, "POST", "", body, idempotency_key="once")
    again = await office.ask(tenant, "POST", "", body, idempotency_key="once")
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json()["secret"]
    assert again.json() == {**first.json(), "secret": None}
    assert first.headers["Cache-Control"] == "no-store"
    other = await office.ask(tenant, "POST", "", {**body, "types": ["vault.*"]}, idempotency_key="once")
    assert other.json()["type"] == "/problems/idempotency-key-reused"


async def test_no_table_has_a_secret_in_clear_and_no_row_can_stand_in_anothers_place(
    office: Office, tenant: Tenant
) -> None:
    made, other = await office.webhook(tenant, "/a"), await office.webhook(tenant, "/b")
    rows = await office.db.fetch("SELECT sealed_hmac, sealed_private FROM webhook_secrets", ())
    key = base64.b64decode(made["secret"].removeprefix("whsec_"))
    assert all(key not in column for row in rows for column in row)
    async with office.db.transaction() as session:
        swapped = (
            "UPDATE webhook_secrets SET sealed_hmac = (SELECT sealed_hmac FROM webhook_secrets WHERE webhook_id = :a)"
        )
        await session.execute(text(f"{swapped} WHERE webhook_id = :b"), {"a": made["id"], "b": other["id"]})
    for each in (made, other):
        assert (await office.ask(tenant, "POST", f"/{each['id']}/test", {})).status_code == 201
    await office.deliver()
    assert {each.path for each in office.receiver.heard} == {"/a"}
    untold = (await office.read(tenant, f"/{other['id']}/deliveries"))["data"]
    assert {(each["state"], len(each["tries"])) for each in untold} == {("pending", 0)}


async def test_a_test_message_comes_signed_whatever_types_are_wanted(office: Office, tenant: Tenant) -> None:
    made = await office.webhook(tenant, types=["vault.*"])
    asked = [await office.ask(tenant, "POST", f"/{made['id']}/test", {}, idempotency_key="test-once") for _ in range(2)]
    assert asked[0].json() == asked[1].json()
    await office.deliver()
    (heard,) = office.receiver.heard
    assert (heard.id, heard.told["type"], heard.told["data"]) == (
        asked[0].json()["id"],
        "webhook.test",
        {"webhook": made["id"]},
    )
    for key in (made["secret"], *made["public_keys"]):
        verify(key, heard.headers, heard.body, now_s=int(heard.headers["webhook-timestamp"]))


async def test_a_rotated_secret_signs_beside_the_old_one_until_that_ends(office: Office, tenant: Tenant) -> None:
    made = await office.webhook(tenant)
    body = {"overlap_s": 3_600}
    rotated = await office.ask(tenant, "POST", f"/{made['id']}/rotate", body, idempotency_key="rotate-1")
    assert (await office.ask(tenant, "POST", f"/{made['id']}/rotate", body, idempotency_key="rotate-1")).json() == {
        **rotated.json(),
        "secret": None,
    }
    assert rotated.json()["secret"] != made["secret"]
    assert rotated.json()["public_keys"][1:] == made["public_keys"]
    old, new = [made["secret"], *made["public_keys"]], [rotated.json()["secret"], rotated.json()["public_keys"][0]]
    assert await verified(office, tenant, made["id"], [*old, *new]) == [*old, *new]
    await office.later(3_601)
    assert await verified(office, tenant, made["id"], [*old, *new]) == new
    leaked = await office.ask(tenant, "POST", f"/{made['id']}/rotate", {"overlap_s": 0})
    assert len(leaked.json()["public_keys"]) == 1
    assert await verified(office, tenant, made["id"], [*old, *new]) == []


async def verified(office: Office, tenant: Tenant, webhook_id: str, keys: list[str]) -> list[str]:
    """Which keys verify the next message."""
    await office.ask(tenant, "POST", f"/{webhook_id}/test", {})
    await office.deliver()
    heard, found = office.receiver.heard[-1], []
    for key in keys:
        try:
            verify(key, heard.headers, heard.body, now_s=int(heard.headers["webhook-timestamp"]))
        except Exception:
            continue
        found.append(key)
    return found


async def test_however_often_secrets_rotate_three_sign_at_once(office: Office, tenant: Tenant) -> None:
    made = await office.webhook(tenant)
    keys = made["public_keys"]
    for _ in range(4):
        told = (await office.ask(tenant, "POST", f"/{made['id']}/rotate", {})).json()["public_keys"]
        keys = [told[0], *keys]
    assert told == keys[:3]


async def test_another_issuers_webhook_is_not_there(office: Office, tenant: Tenant) -> None:
    made, other = await office.webhook(tenant), await office.issuer()
    assert (await office.read(other, ""))["data"] == []
    for id_ in (made["id"], NOBODY):
        for method, path, body in (
            ("GET", "", None),
            ("PATCH", "", {"enabled": False}),
            ("DELETE", "", None),
            ("POST", "/rotate", {}),
            ("POST", "/replay", {"from": 1}),
            ("POST", "/test", {}),
            ("GET", "/deliveries", None),
        ):
            answer = await office.ask(other, method, f"/{id_}{path}", body)
            assert (answer.status_code, answer.json()["type"]) == (404, "/problems/" + "webhook-not-found"), (
                method,
                path,
            )
    assert (await office.read(tenant, f"/{made['id']}"))["enabled"]


async def test_a_key_needs_the_scope(office: Office) -> None:
    tenant = await office.issuer(Scope.ISSUE, Scope.VAULT_POLICY)
    answer = await office.ask(tenant, "GET", "")
    assert (answer.status_code, answer.json()["scope"]) == (403, "webhooks")


@pytest.mark.parametrize(
    "url", ["https://10.0.0.1/", "https://169.254.169.254/latest", "https://2130706433:444/", "http://example.com/"]
)
async def test_a_url_that_is_not_public_is_refused_when_made_and_when_changed(
    office: Office, tenant: Tenant, url: str
) -> None:
    made = await office.webhook(tenant)
    for answer in (
        await office.ask(tenant, "POST", "", {"url": url}),
        await office.ask(tenant, "PATCH", f"/{made['id']}", {"url": url}),
    ):
        assert (answer.status_code, answer.json()["type"]) == (422, "/problems/" + "webhook-url-refused")
    assert (await office.read(tenant, f"/{made['id']}"))["url"] == made["url"]


@pytest.mark.parametrize(
    "changed",
    [
        *({"types": []}, {"types": ["operation"]} | {"types": ["Operation.*"]}, {"types": ["*", "*"]}),
        *({"types": ["*.failed"]}, {"types": ["vault.*.*"]}, {"types": ["a" * 81]}, {"types": "*"}),
        *({"url": ""}, {"url": None}, {"url": 5}, {"since": "1970"}, {"secret": "whsec_mine"}, {"description": "\0"}),
    ],
)
async def test_an_order_of_another_form_is_refused(office: Office, tenant: Tenant, changed: dict[str, Any]) -> None:
    answer = await office.ask(tenant, "POST", "", {"url": f"{office.receiver.url}/", **changed})
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")


@pytest.mark.parametrize("overlap_s", [-1, 604_801, 1.5, "60", None, True])
async def test_an_overlap_out_of_range_is_refused(office: Office, tenant: Tenant, overlap_s: Any) -> None:
    made = await office.webhook(tenant)
    answer = await office.ask(tenant, "POST", f"/{made['id']}/rotate", {"overlap_s": overlap_s})
    assert answer.status_code == 422


async def test_an_issuer_has_so_many_webhooks_and_no_more(
    office: Office, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commands, "WEBHOOKS_MAX", 1)
    await office.webhook(tenant)
    answer = await office.ask(tenant, "POST", "", {"url": f"{office.receiver.url}/more"})
    assert answer.json()["type"] == "/problems/" + "too-many-webhooks"


async def test_a_disabled_webhook_is_neither_tested_nor_replayed(office: Office, tenant: Tenant) -> None:
    made = await office.webhook(tenant)
    told = (await office.ask(tenant, "PATCH", f"/{made['id']}", {"enabled": False})).json()
    assert (told["enabled"], told["disabled_for"]) == (False, "caller")
    for path, body in (("test", {}), ("replay", {"from": 1})):
        answer = await office.ask(tenant, "POST", f"/{made['id']}/{path}", body)
        assert answer.json()["type"] == "/problems/" + "webhook-disabled"


async def test_each_change_is_a_fact_without_secret_and_url(office: Office, tenant: Tenant) -> None:
    made = await office.webhook(tenant, "/path-secret?token=query-secret")
    await office.ask(tenant, "PATCH", f"/{made['id']}", {"enabled": False})
    await office.ask(tenant, "PATCH", f"/{made['id']}", {"enabled": True, "url": f"{office.receiver.url}/other-secret"})
    await office.ask(tenant, "POST", f"/{made['id']}/rotate", {})
    await office.ask(tenant, "POST", f"/{made['id']}/replay", {"from": 1})
    await office.ask(tenant, "DELETE", f"/{made['id']}")
    rows = await office.db.fetch(
        "SELECT kind, body FROM journal_entries WHERE issuer_id = %s AND kind LIKE 'webhook.%%' ORDER BY position",
        (tenant.id,),
    )
    kinds = ["created", "changed", "changed", "secret-rotated", "replayed", "deleted"]
    assert [row[0] for row in rows] == [f"webhook.{kind}" for kind in kinds]
    for _, body in rows:
        assert made["id"] in body
        assert "secret" not in body.replace("webhook.secret-rotated", "")
        assert "whsec_" not in body


async def test_lists_are_paged(office: Office, tenant: Tenant) -> None:
    made = [(await office.webhook(tenant, f"/{number}"))["id"] for number in range(3)]
    page = await office.read(tenant, "?limit=2")
    rest = await office.read(tenant, f"?limit=2&cursor={page['next_cursor']}")
    assert [each["id"] for each in page["data"] + rest["data"]] == made[::-1]
    for _ in range(3):
        await office.ask(tenant, "POST", f"/{made[0]}/test", {})
    page = await office.read(tenant, f"/{made[0]}/deliveries?limit=2")
    rest = await office.read(tenant, f"/{made[0]}/deliveries?limit=2&cursor={page['next_cursor']}")
    assert [each["number"] for each in page["data"] + rest["data"]] == [3, 2, 1]
    assert (await office.ask(tenant, "GET", f"?cursor={page['next_cursor']}")).status_code == 400


async def test_the_metrics_tell_of_all_webhooks_without_naming_an_issuer(office: Office, tenant: Tenant) -> None:
    shut, made = await office.webhook(tenant, "/shut"), await office.webhook(tenant, types=["operation.*"])
    await office.ask(tenant, "PATCH", f"/{shut['id']}", {"enabled": False})
    office.receiver.behaviours["/hook"] = saying(500)
    await office.tell(tenant, "operation.succeeded", {"token": "t-1"}, {"token": "t-2"})
    await office.deliver()
    async with office.db.transaction() as session:
        await session.execute(text("UPDATE webhook_deliveries SET state = 'dead'"))
    await office.tell(tenant, "operation.succeeded", {"token": "t-3"}, {"token": "t-4"})
    await office.ask(tenant, "POST", f"/{made['id']}/test", {})
    told = (await office.client.get("/metrics", headers={"Authorization": f"Bearer {tenant.key}"})).text
    samples = {line.split(" ")[0]: line.split(" ")[1] for line in told.splitlines() if "webhooks_" in line}
    for name, value in (
        *(("enabled", "1"), ("disabled", "1"), ("failing", "1"), ("pending_messages", "1"), ("dead_messages", "2")),
        ("unreadable", "0"),
        ("lag_entries", "2"),
    ):
        assert samples[f"muniment_webhooks_{name}{{}}"] == value, name
    assert float(samples["muniment_webhooks_oldest_pending_seconds{}"]) >= 0
    assert tenant.name not in told
