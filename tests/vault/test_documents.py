"""Documents go in and come out whole, go on where they were cut, and never come out altered."""

import asyncio
import base64
import hashlib
import io
import os
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx
import pytest
from starlette.types import Message

from service.access.apikeys import Scope
from service.vault import documents
from service.vault.document_chunks import CHUNK_BYTES, DOCUMENT_BYTES_MAX
from service.vault.document_problems import VaultDocumentNotFound
from service.vault.document_routes import PARTIAL_UPLOAD
from service.vault.document_seals import sealed_object
from tests.vault.desk import Desk
from tests.web.answers import problem

pytestmark = pytest.mark.asyncio(loop_scope="module")

CANARY = "Canary of Harbour Street"
CONTENT = CANARY.encode() + os.urandom(2 * CHUNK_BYTES + 77)
SEE = {"purpose": "audit", "reason": "Annual audit"}


async def policy(desk: Desk, **changed: Any) -> str:
    """A policy for documents."""
    given = {
        "data_class": "document",
        "format": {"kind": "prefix"},
        "reveal": {"purposes": ["audit"], "views": ["plain"]},
    }
    return await desk.policy(**{**given, **changed})


async def registered(desk: Desk, content: bytes = CONTENT, **changed: Any) -> str:
    """A document that is registered, and of which nothing was sent."""
    given = {"name": f"{CANARY}.pdf", "media_type": "application/pdf", "size_bytes": len(content), **changed}
    answer = await desk.post("/documents", {"policy": changed.get("policy") or await policy(desk), **given})
    assert answer.status_code == 201, answer.text
    assert answer.headers["upload-offset"] == "0"
    return str(answer.json()["id"])


async def send(
    desk: Desk, id_: str, content: Any, offset: int = 0, headers: dict[str, str] | None = None
) -> httpx.Response:
    """Send content from an offset on."""
    given = {"Authorization": f"Bearer {desk.key}", "Content-Type": PARTIAL_UPLOAD, "Upload-Offset": str(offset)}
    path = f"/v1/vault/documents/{id_}/content"
    return await desk.client.patch(path, content=content, headers={**given, **(headers or {})})


async def whole(desk: Desk, content: bytes = CONTENT, **changed: Any) -> str:
    """A document that came in one go."""
    id_ = await registered(desk, content, **changed)
    answer = await send(desk, id_, content)
    assert answer.status_code == 200, answer.text
    assert answer.json()["whole"]
    return id_


async def seen(desk: Desk, id_: str, **changed: Any) -> httpx.Response:
    """Its content."""
    return await desk.post(f"/documents/{id_}/reveal", {**SEE, **changed})


async def offset_of(desk: Desk, id_: str) -> int:
    """Where its upload goes on."""
    answer = await desk.get(f"/documents/{id_}")
    assert answer.headers["upload-offset"] == str(answer.json()["received_bytes"])
    return int(answer.headers["upload-offset"])


def digest(content: bytes) -> str:
    """As RFC 9530 writes it."""
    return f"sha-256=:{base64.b64encode(hashlib.sha256(content).digest()).decode()}:"


async def changed(desk: Desk, statement: str, *parameters: Any) -> None:
    """Change Postgres, with every right."""
    async with desk.db.transaction() as session:
        await (await session.connection()).exec_driver_sql(statement, parameters)


async def entries(desk: Desk, id_: str) -> list[tuple[str, str]]:
    """What the journal says of a document."""
    found = await desk.rows("SELECT kind, body FROM journal_entries WHERE body LIKE %s ORDER BY position", f"%{id_}%")
    return [(kind, body) for kind, body in found]


@pytest.mark.parametrize("size", [1, CHUNK_BYTES, CHUNK_BYTES + 1, len(CONTENT)])
async def test_a_document_comes_out_as_it_went_in(desk: Desk, size: int) -> None:
    content = CONTENT[:size]
    id_ = await whole(desk, content)
    told = (await desk.get(f"/documents/{id_}")).json()
    assert (told["received_bytes"], told["expires_at"]) == (size, None)
    answer = await seen(desk, id_)
    assert answer.content == content
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.headers["content-length"] == str(size)
    assert answer.headers["repr-digest"] == digest(content)
    assert answer.headers["content-disposition"] == f"attachment; filename*=UTF-8''{quote(CANARY)}.pdf"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_an_upload_goes_on_where_it_was_cut(desk: Desk) -> None:
    id_ = await registered(desk)
    first = await send(desk, id_, CONTENT[: CHUNK_BYTES + 500])
    assert (first.status_code, first.headers["upload-offset"], first.headers["upload-complete"]) == (
        200,
        str(CHUNK_BYTES),
        "?0",
    )
    assert await offset_of(desk, id_) == CHUNK_BYTES
    last = await send(desk, id_, CONTENT[CHUNK_BYTES:], CHUNK_BYTES, headers={"Repr-Digest": digest(CONTENT)})
    assert last.headers["upload-complete"] == "?1"
    assert (await seen(desk, id_)).content == CONTENT


async def test_a_client_that_goes_away_half_way_leaves_an_upload_that_goes_on(desk: Desk, log: io.StringIO) -> None:
    id_ = await registered(desk)
    path = f"/v1/vault/documents/{id_}/content"
    arriving = iter([CONTENT[:CHUNK_BYTES], CONTENT[CHUNK_BYTES : CHUNK_BYTES + 9]])
    headers = {"authorization": f"Bearer {desk.key}", "content-type": PARTIAL_UPLOAD, "upload-offset": "0"}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "PATCH",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.encode(), text.encode()) for name, text in headers.items()],
        "server": ("api", 80),
        "client": ("someone", 1),
    }

    async def receive() -> Message:
        piece = next(arriving, None)
        if piece is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": piece, "more_body": True}

    async def ignore(message: Message) -> None:
        pass

    await desk.app(scope, receive, ignore)
    assert "request_failed" not in log.getvalue()
    assert await offset_of(desk, id_) == CHUNK_BYTES
    assert (await send(desk, id_, CONTENT[CHUNK_BYTES:], CHUNK_BYTES)).json()["whole"]
    assert (await seen(desk, id_)).content == CONTENT


async def test_an_upload_that_begins_elsewhere_is_told_where_to_go_on(desk: Desk) -> None:
    id_ = await registered(desk)
    await send(desk, id_, CONTENT[:CHUNK_BYTES])
    for offset in (0, 5, 2 * CHUNK_BYTES):
        told = problem(await send(desk, id_, CONTENT[offset:], offset), "upload-offset-mismatch")
        assert told["expected_offset"] == CHUNK_BYTES
    finished = await whole(desk, b"short")
    assert problem(await send(desk, finished, b"short"), "upload-offset-mismatch")["expected_offset"] == 5
    assert (await send(desk, finished, b"", 5)).json()["whole"]


async def test_of_two_uploads_at_once_one_goes_on(desk: Desk) -> None:
    id_ = await registered(desk)
    answers = await asyncio.gather(*(send(desk, id_, CONTENT) for _ in range(4)))
    assert sum(answer.status_code == 200 for answer in answers) == 1
    for answer in answers:
        if answer.status_code != 200:
            problem(answer, "upload-offset-mismatch")
    assert (await seen(desk, id_)).content == CONTENT


async def test_more_than_was_told_is_refused(desk: Desk) -> None:
    id_ = await registered(desk, b"12345")
    problem(await send(desk, id_, b"123456"), "document-overrun")
    assert await offset_of(desk, id_) == 0
    assert (await send(desk, id_, b"12345")).json()["whole"]


async def test_content_that_is_not_what_was_claimed_is_thrown_away(desk: Desk) -> None:
    id_ = await registered(desk)
    wrong = digest(b"another")
    told = problem(await send(desk, id_, CONTENT, headers={"Repr-Digest": wrong}), "digest-mismatch")
    assert told["expected_offset"] == await offset_of(desk, id_) == 0
    await send(desk, id_, CONTENT[:CHUNK_BYTES], headers={"Content-Digest": digest(CONTENT[:CHUNK_BYTES])})
    rest = CONTENT[CHUNK_BYTES:]
    told = problem(await send(desk, id_, rest, CHUNK_BYTES, headers={"Content-Digest": wrong}), "digest-mismatch")
    assert told["expected_offset"] == await offset_of(desk, id_) == CHUNK_BYTES
    told = problem(await send(desk, id_, rest, CHUNK_BYTES, headers={"Repr-Digest": wrong}), "digest-mismatch")
    assert told["expected_offset"] == await offset_of(desk, id_) == 0
    assert (await send(desk, id_, CONTENT, headers={"Repr-Digest": digest(CONTENT)})).json()["whole"]
    assert (await seen(desk, id_)).content == CONTENT


async def test_a_document_has_the_digest_it_was_registered_with(desk: Desk) -> None:
    id_ = await registered(desk, b"12345", sha256=hashlib.sha256(b"12345").hexdigest())
    problem(await send(desk, id_, b"54321"), "digest-mismatch")
    assert (await send(desk, id_, b"12345")).json()["whole"]


async def test_only_a_reveal_tells_the_name_and_the_digest(desk: Desk) -> None:
    order = {"policy": await policy(desk), "name": f"{CANARY}.pdf", "media_type": "a/b", "size_bytes": 5}
    made = await desk.post("/documents", {**order, "sha256": hashlib.sha256(b"12345").hexdigest()})
    sent = await send(desk, made.json()["id"], b"12345")
    for answer in (made, sent, await desk.get(f"/documents/{made.json()['id']}")):
        assert answer.is_success
        assert CANARY not in answer.text
        assert hashlib.sha256(b"12345").hexdigest() not in answer.text


async def test_a_reason_with_a_card_number_is_refused(desk: Desk) -> None:
    id_ = await whole(desk, b"12345")
    problem(await seen(desk, id_, reason="the card is 4111.1111.1111.1111"), "invalid-request")
    assert "4111" not in str(await entries(desk, id_))


@pytest.mark.parametrize("header", ["md5=:AAAA:", "sha-256=AAAA", "sha-256=::"])
async def test_a_digest_that_cannot_be_read_is_refused(desk: Desk, header: str) -> None:
    id_ = await registered(desk, b"12345")
    problem(await send(desk, id_, b"12345", headers={"Repr-Digest": header}), "invalid-request")
    problem(await send(desk, id_, b"12345", headers={"Content-Type": "application/pdf"}), "invalid-request")


async def test_a_document_of_2_gib_is_refused_before_it_is_read(desk: Desk) -> None:
    order = {"policy": await policy(desk), "name": "a", "media_type": "a/b", "size_bytes": 2 * 2**30}
    problem(await desk.post("/documents", order), "document-too-large")
    id_ = await registered(desk, size_bytes=DOCUMENT_BYTES_MAX)

    async def never() -> AsyncIterator[bytes]:
        yield b""
        raise AssertionError("it was read")

    problem(await send(desk, id_, never(), headers={"Content-Length": str(2 * 2**30)}), "body-too-large")


async def test_a_registration_is_repeated_by_its_key(desk: Desk) -> None:
    order = {"policy": await policy(desk), "name": "a", "media_type": "a/b", "size_bytes": 5}
    first = (await desk.post("/documents", order, idempotency_key="once")).json()
    assert (await desk.post("/documents", order, idempotency_key="once")).json() == first
    refused = await desk.post("/documents", {**order, "size_bytes": 6}, idempotency_key="once")
    problem(refused, "idempotency-key-reused")


async def erase(desk: Desk, reference: str) -> None:
    assert (await desk.post("/subjects/erase", {"reference": reference})).status_code == 200


async def test_after_an_erasure_no_repeated_registration_confirms_a_name(desk: Desk) -> None:
    order = {"policy": await policy(desk), "name": "a", "media_type": "a/b", "size_bytes": 5, "subject": "registered"}
    await desk.post("/documents", order, idempotency_key="a-name")
    (before,) = await desk.rows("SELECT fingerprint FROM requests WHERE key = 'a-name'")
    await erase(desk, "registered")
    for name in ("a", "b"):
        answer = await desk.post("/documents", {**order, "name": name}, idempotency_key="a-name")
        problem(answer, "request-erased")
    assert await desk.rows("SELECT fingerprint FROM requests WHERE key = 'a-name'") != [before]


async def test_a_document_that_is_erased_while_it_is_asked_for_is_not_seen(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_, document = await whole(desk, b"12345", subject="asked for"), documents.document

    async def then_it_is_erased(*given: Any, **named: Any) -> documents.Document:
        found = await document(*given, **named)
        await erase(desk, "asked for")
        return found

    monkeypatch.setattr(documents, "document", then_it_is_erased)
    problem(await seen(desk, id_), "vault-document-not-found")
    assert [kind for kind, _ in await entries(desk, id_)] == ["vault.document-stored"]


async def test_a_document_that_is_erased_while_it_leaves_breaks_off(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "_BATCH", 1)
    id_ = await whole(desk, subject="leaving")
    ((issuer_id,),) = await desk.rows("SELECT issuer_id FROM vault.documents WHERE id = %s", id_)
    found = await documents.document(desk.vault, issuer_id=issuer_id, id=UUID(id_))
    chunks = documents.content(desk.vault.db, found)
    assert await anext(chunks) == CONTENT[:CHUNK_BYTES]
    await erase(desk, "leaving")
    with pytest.raises(VaultDocumentNotFound):
        await anext(chunks)


async def test_a_document_whose_subject_is_erased_while_it_ends_stays_erased(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_, seal = await registered(desk, b"12345", subject="ending"), sealed_object

    async def then_it_is_erased(*given: Any) -> Any:
        made = await seal(*given)
        await erase(desk, "ending")
        return made

    monkeypatch.setattr(documents, "sealed_object", then_it_is_erased)
    problem(await send(desk, id_, b"12345"), "vault-document-not-found")
    assert await desk.rows("SELECT 1 FROM vault.documents WHERE id = %s AND completed_at IS NOT NULL", id_) == []


async def test_half_a_document_is_not_to_be_seen(desk: Desk) -> None:
    id_ = await registered(desk)
    await send(desk, id_, CONTENT[:CHUNK_BYTES])
    assert problem(await seen(desk, id_), "document-incomplete")["received_bytes"] == CHUNK_BYTES


async def test_who_saw_it_and_why_is_in_the_journal_before_its_first_byte(desk: Desk) -> None:
    id_ = await whole(desk)
    assert [kind for kind, _ in await entries(desk, id_)] == ["vault.document-stored"]
    await changed(desk, "REVOKE INSERT ON journal_entries FROM muniment_api")
    try:
        answer = await seen(desk, id_)
    finally:
        await changed(desk, "GRANT INSERT ON journal_entries TO muniment_api")
    assert answer.status_code >= 500
    assert CANARY not in answer.text
    assert (await seen(desk, id_)).content == CONTENT
    kind, body = (await entries(desk, id_))[-1]
    assert kind == "vault.document-revealed"
    assert '"purpose":"audit"' in body
    assert '"reason":"Annual audit"' in body


@pytest.mark.parametrize(
    ("rules", "slug"),
    [
        ({"purposes": ["support"]}, "reveal-refused"),
        ({"views": ["masked"]}, "reveal-refused"),
        ({"callers": ["somebody else"]}, "reveal-refused"),
        ({"daily_max": 0}, "reveal-suspended"),
        ({"approvals": 1}, "approval-missing"),
    ],
)
async def test_a_document_is_held_to_the_rules_of_every_reveal(desk: Desk, rules: dict[str, Any], slug: str) -> None:
    strict = await policy(desk, reveal={"purposes": ["audit"], "views": ["plain"], **rules})
    id_, key = await whole(desk, b"12345", policy=strict), await desk.new_key(caller=f"reader {slug} {rules}")
    refused = await desk.post(f"/documents/{id_}/reveal", SEE, key=key)
    problem(refused, slug)


async def test_a_reveal_without_a_reason_is_refused(desk: Desk) -> None:
    id_ = await whole(desk, b"12345")
    for changed_ in ({"reason": ""}, {"purpose": ""}, {"reason": "x" * 501}):
        problem(await seen(desk, id_, **changed_), "invalid-request")


async def test_an_erased_subjects_documents_are_gone(desk: Desk) -> None:
    mine, other = [await whole(desk, subject=subject) for subject in ("investor-1", "investor-2")]
    half = await registered(desk, subject="investor-1")
    await send(desk, half, CONTENT[:CHUNK_BYTES])
    assert (await desk.post("/subjects/erase", {"reference": "investor-1"})).status_code == 200
    await registered(desk)  # which sweeps
    await registered(desk)
    assert await desk.rows("SELECT id FROM vault.documents WHERE id = ANY(%s)", [mine, half]) == []
    for id_ in (mine, half):
        problem(await desk.get(f"/documents/{id_}"), "vault-document-not-found")
        problem(await seen(desk, id_), "vault-document-not-found")
    problem(await send(desk, half, CONTENT[CHUNK_BYTES:], CHUNK_BYTES), "vault-document-not-found")
    assert (await seen(desk, other)).content == CONTENT


async def test_documents_are_listed_by_policy_subject_asset_and_whether_they_are_whole(desk: Desk) -> None:
    one, other, asset = await policy(desk), await policy(desk), await desk.asset_token()
    half = await registered(desk, policy=one, subject="listed")
    small = b"%PDF"
    ids = [
        half,
        await whole(desk, small, policy=one, asset_token_id=asset),
        await whole(desk, small, policy=other),
    ]
    gone = await whole(desk, small, policy=one, subject="gone")
    expired = await registered(desk, policy=one)
    await desk.alter(f"UPDATE vault.documents SET expires_at = now() WHERE id = '{expired}'")
    await desk.post("/subjects/erase", {"reference": "gone"})

    async def listed(**asked: Any) -> list[str]:
        found = [each["id"] for each in (await desk.get("/documents", **asked)).json()["data"]]
        assert not {gone, expired} & {*found}
        return found

    assert await listed(policy=one) == ids[:2]
    assert await listed(policy=one, whole=True) == [ids[1]]
    assert await listed(policy=one, whole=False) == await listed(subject="listed") == [half]
    assert await listed(asset_token_id=asset) == [ids[1]]
    assert await listed(subject="nobody") == await listed(subject="gone") == []
    assert (await listed())[-3:] == ids
    first = (await desk.get("/documents", policy=one, limit=1)).json()
    assert await listed(policy=one, cursor=first["next_cursor"]) == [ids[1]]
    told = (await desk.get(f"/documents/{half}")).json()
    assert first["data"] == [{name: told[name] for name in told if name != "media_type"}]
    theirs = await desk.new_issuer("Listing Estates")
    assert (await desk.get("/documents", key=theirs, subject="listed")).json()["data"] == []
    problem(await desk.get("/documents", cursor="nonsense"), "bad-cursor")


async def test_another_issuers_documents_are_not_there(desk: Desk) -> None:
    id_, theirs = await whole(desk, b"12345"), await desk.new_issuer("Hill Estates")
    unknown = "0199f6b1-11aa-7c35-8a53-2f6f1a8f5d01"
    for one in (id_, unknown):
        problem(await desk.get(f"/documents/{one}", key=theirs), "vault-document-not-found")
        refused = await desk.post(f"/documents/{one}/reveal", SEE, key=theirs)
        problem(refused, "vault-document-not-found")
        problem(await send(desk, one, b"1", headers={"Authorization": f"Bearer {theirs}"}), "vault-document-not-found")


async def test_each_scope_opens_its_own(desk: Desk) -> None:
    id_, key = await whole(desk, b"12345"), await desk.new_key(Scope.ISSUE)
    problem(await desk.get(f"/documents/{id_}", key=key), "scope-missing")
    problem(await desk.post(f"/documents/{id_}/reveal", SEE, key=key), "scope-missing")
    problem(await send(desk, id_, b"1", headers={"Authorization": f"Bearer {key}"}), "scope-missing")


async def test_only_a_policy_for_documents_keeps_documents(desk: Desk) -> None:
    order = {"policy": await desk.policy(), "name": "a", "media_type": "a/b", "size_bytes": 5}
    problem(await desk.post("/documents", order), "policy-not-for-documents")
    for changed in ({"media_type": "text"}, {"size_bytes": 0}, {"name": "a\r\nb"}, {"sha256": "12"}):
        problem(await desk.post("/documents", {**order, **changed}), "invalid-request")


SWAP = """UPDATE vault.document_chunks c SET sealed = o.sealed FROM vault.document_chunks o
WHERE c.document_id = %s AND c.number = 0 AND o.document_id = %s AND o.number = {}"""


@pytest.mark.parametrize(
    "attack",
    [
        "UPDATE vault.document_chunks SET sealed = sealed || '\\x00' WHERE document_id IN (%s, %s)",
        "UPDATE vault.document_chunks SET sealed = substr(sealed, 1, 99) WHERE document_id IN (%s, %s)",
        "DELETE FROM vault.document_chunks WHERE number = 2 AND document_id IN (%s, %s)",
        SWAP.format(0),
        "UPDATE vault.documents SET size_bytes = 2097152, received_bytes = 2097152 WHERE id IN (%s, %s)",
        "UPDATE vault.documents d SET sealed = o.sealed FROM vault.documents o WHERE d.id = %s AND o.id = %s",
        "UPDATE vault.documents SET sealed = substr(sealed, 1, 70) WHERE id IN (%s, %s)",
    ],
)
async def test_what_was_altered_in_postgres_is_refused_with_an_alarm(desk: Desk, attack: str, log: io.StringIO) -> None:
    id_, other = await whole(desk), await whole(desk, CONTENT[::-1])
    await changed(desk, attack, id_, other)
    try:
        answer = await seen(desk, id_)
    except (httpx.RemoteProtocolError, ConnectionAbortedError):
        pass  # the answer had begun, and broke off before what was altered
    else:
        if answer.status_code == 200:
            assert len(answer.content) < int(answer.headers["content-length"])
            assert CONTENT.startswith(answer.content)
        else:
            problem(answer, "record-damaged")
    assert "vault_record_damaged" in log.getvalue()


async def test_chunks_in_another_order_are_refused(desk: Desk, log: io.StringIO) -> None:
    id_ = await whole(desk)
    await changed(desk, SWAP.format(1), id_, id_)
    problem(await seen(desk, id_), "record-damaged")


async def test_a_half_document_that_expired_is_gone_and_swept(desk: Desk) -> None:
    expired, kept = await registered(desk), await registered(desk)
    for id_ in (expired, kept):
        await send(desk, id_, CONTENT[:CHUNK_BYTES])
    await changed(desk, "UPDATE vault.documents SET expires_at = now() WHERE id = %s", expired)
    problem(await desk.get(f"/documents/{expired}"), "vault-document-not-found")
    problem(await send(desk, expired, CONTENT[CHUNK_BYTES:], CHUNK_BYTES), "vault-document-not-found")
    while await documents.sweep(desk.vault.db):
        pass
    left = await desk.rows("SELECT document_id FROM vault.document_chunks WHERE document_id = ANY(%s)", [expired, kept])
    assert [str(each) for (each,) in left] == [kept]


async def test_nothing_of_a_document_is_in_clear(desk: Desk, log: io.StringIO) -> None:
    id_ = await whole(desk, subject="Canary of Harbour Street")
    await desk.get(f"/documents/{id_}")
    await send(desk, id_, CONTENT)
    assert CANARY not in log.getvalue()
    for (table,) in await desk.rows(
        "SELECT format('%%I.%%I', schemaname, tablename) FROM pg_tables WHERE schemaname IN ('public', 'vault')"
    ):
        for (row,) in await desk.rows(f"SELECT t::text FROM {table} t"):
            assert CANARY not in row, table
            assert CANARY.encode().hex() not in row, table
            assert hashlib.sha256(CONTENT).hexdigest() not in row, table
