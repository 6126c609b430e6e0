"""In a live deployment what moves property, shows secrets or gives rights must be signed; the rest need not be."""

import base64
import hashlib
import os
import secrets
from typing import Any

import httpx
import pytest
from fastapi.routing import iter_route_contexts

from service.access import commands
from service.access.apikeys import Scope
from service.vault.document_chunks import CHUNK_BYTES
from tests.access.signing import Signing, digest_of, new_signing, register
from tests.web.answers import problem
from tests.world import PEPPER, World

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANY_ID = "0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01"

NEED_NONE = {
    *("tokenize", "register_document", "append_content", "commit_to_attributes", "revoke_vault_tokens"),
    *("point_vault_token", "search_vault", "lookup_vault_tokens", "report_leaked_keys"),
}
"""Routes that are no GET and need no signature: values are handed in, records are found."""

NEED_ONE = {"read_person_accounts"}
"""Routes that are a GET and need one, besides every export."""


async def live_key(world: World) -> str:
    async with world.db.transaction() as session:
        given: dict[str, Any] = {
            "issuer": "Harbour Estates",
            "caller": "live",
            "environment": "live",
            "scopes": tuple(Scope),
        }
        made = await commands.create_key(session, pepper=PEPPER, **given)
    return made.text


async def signing_like(world: World, key: str, **changed: Any) -> Signing:
    made, like = new_signing(), key.split("_")[2][:11]
    row: dict[str, Any] = {"environment": "live", **changed}
    await register(world.db, world.settings, made, like_key=like, **row)
    return made


def is_asked_to_sign(answer: httpx.Response) -> bool:
    told = answer.headers.get("content-type", "") == "application/problem+json" and answer.json()["type"]
    return bool(told == "/problems/signature-required")


async def test_what_needs_a_signature_is_every_write_reveal_and_export_but_no_other_read(live: World) -> None:
    key, asked = await live_key(live), {}
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    for route in iter_route_contexts(live.app.routes):
        path, name = str(route.path), str(route.name)
        for method in route.methods or () if path.startswith("/v1") else ():
            answer = await live.client.request(method, path.replace("{format}", "csv"), headers=headers, content=b"{}")
            asked[method, path, name] = is_asked_to_sign(answer)
    reads = {name for (method, _, name), needed in asked.items() if method == "GET" and needed}
    exports = {name for (method, path, name) in asked if method == "GET" and "/exports/" in path}
    assert len(exports) >= 4
    assert reads == NEED_ONE | exports
    assert {name for (method, _, name), needed in asked.items() if method != "GET" and not needed} == NEED_NONE


async def test_a_signature_opens_what_needs_one(live: World) -> None:
    key = await live_key(live)
    signing, body = await signing_like(live, key), b'{"name":"12 Harbour Street","category":"house"}'
    headers = {"idempotency-key": secrets.token_urlsafe(8)}
    bearer = {**headers, "authorization": f"Bearer {key}", "content-type": "application/json"}
    problem(await live.client.post("/v1/assets", headers=bearer, content=body), "signature-required")
    signed = signing.headers("POST", "/v1/assets", body, headers=headers)
    assert (await live.client.post("/v1/assets", headers=signed, content=body)).status_code == 201


async def test_a_test_deployment_asks_none_for_a_signature_but_a_credential_that_must(shared: World) -> None:
    assert (await shared.post("/v1/assets", {"name": "1 Quay", "category": "house"})).status_code == 201
    async with shared.db.transaction() as session:
        given: dict[str, Any] = {
            "issuer": "Harbour Estates",
            "caller": "strict",
            "environment": "test",
            "scopes": (Scope.ISSUE,),
        }
        made = await commands.create_key(session, pepper=PEPPER, **given)
        await session.flush()
    limits = "UPDATE credentials SET limits = '{\"signature_required\": true}' WHERE id = %s RETURNING id"
    await shared.db.fetch(limits, (made.id,))
    answer = await shared.post("/v1/assets", {"name": "1 Quay", "category": "house"}, key=made.text)
    problem(answer, "signature-required")
    assert (await shared.get("/v1/assets", key=made.text)).status_code == 200


async def upload(
    world: World, signing: Signing, content: bytes, sent: bytes | None = None
) -> tuple[str, httpx.Response]:
    """Register a document and send its content in one signed request; `sent` is what comes in its place."""
    policy = {"name": secrets.token_hex(4), "data_class": "document", "format": {"kind": "prefix"}, "kind": "vault"}
    policy_id = (await world.post("/v1/vault/policies", policy)).json()["id"]
    order = {"policy": policy_id, "name": "deed.pdf", "media_type": "application/pdf", "size_bytes": len(content)}
    document_id = str((await world.post("/v1/vault/documents", order)).json()["id"])
    path = f"/v1/vault/documents/{document_id}/content"
    told = {"content-type": "application/partial-upload", "content-digest": digest_of(content), "upload-offset": "0"}
    headers = signing.headers("PATCH", path, content, headers=told)
    return document_id, await world.client.patch(path, headers=headers, content=content if sent is None else sent)


async def test_of_a_signed_upload_the_digest_is_checked_as_it_streams(shared: World) -> None:
    signing = await signing_like(shared, shared.key, environment="test")
    content = os.urandom(2 * CHUNK_BYTES + 77)
    _, whole = await upload(shared, signing, content)
    assert whole.json()["whole"]
    altered = content[:-1] + bytes([content[-1] ^ 1])
    document_id, answer = await upload(shared, signing, content, altered)
    problem(answer, "digest-mismatch")
    assert (await shared.get(f"/v1/vault/documents/{document_id}")).json()["received_bytes"] == 0


async def test_a_signed_upload_has_a_digest_that_the_signature_covers(shared: World) -> None:
    signing = await signing_like(shared, shared.key, environment="test")
    path = f"/v1/vault/documents/{ANY_ID}/content"
    told = {"content-type": "application/partial-upload", "upload-offset": "0"}
    headers = signing.headers("PATCH", path, headers=told)
    problem(await shared.client.patch(path, headers=headers, content=b"x"), "unauthorized")
    sha = base64.b64encode(hashlib.sha256(b"x").digest()).decode()
    problem(
        await shared.client.patch(path, headers={**headers, "content-digest": f"sha-256=:{sha}:"}, content=b"x"),
        "unauthorized",
    )
    headers = signing.headers("PATCH", path, b"x", headers=told)
    problem(await shared.client.patch(path, headers=headers, content=b"x"), "vault-document-not-found")
