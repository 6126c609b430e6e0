"""Documents from files and to files, through connections that break and servers that lie."""

import asyncio
import base64
import hashlib
import json
import os
import stat
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from service.cli.command import app
from service.client import exchange
from service.client.api import Client
from service.client.credentials import BearerCredential
from service.client.problems import ApiProblem, Away, Unusable
from service.client.shapes import Document
from service.client.signing import content_digest
from service.vault.document_chunks import CHUNK_BYTES
from tests.client.servers import CUT, Heard, Said, problem, saying, serving, told, verified
from tests.client.test_signing import KEY, ed25519
from tests.keys.wire import Wire
from tests.vault.desk import Desk

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONTENT = os.urandom(3 * CHUNK_BYTES + 77)
ID = "0199f6b1-11aa-7c35-8a53-2f6f1a8f5d02"


@pytest.fixture
def deed(tmp_path: Path) -> Path:
    """A file."""
    file = tmp_path / "Deed of 12 Harbour Street.pdf"
    file.write_bytes(CONTENT)
    return file


async def policy(desk: Desk) -> str:
    """A policy for documents."""
    reveal = {"purposes": ["audit"], "views": ["plain"]}
    return await desk.policy(data_class="document", format={"kind": "prefix"}, reveal=reveal)


async def test_a_file_arrives_whole_through_connections_that_break_and_comes_back_as_it_was(
    desk: Desk, desk_url: str, deed: Path, tmp_path: Path
) -> None:
    wire = Wire(int(desk_url.rpartition(":")[2]))
    await wire.start()
    loop, breaks = asyncio.get_running_loop(), [CHUNK_BYTES // 2, 2 * CHUNK_BYTES + 5]
    seen: list[int] = []

    async def blink() -> None:
        async with wire.cut():
            await asyncio.sleep(0.02)

    def progress(done: int, total: int) -> None:
        assert total == len(CONTENT)
        seen.append(done)
        if breaks and done > breaks[0]:
            breaks.pop(0)
            asyncio.run_coroutine_threadsafe(blink(), loop).result(5)

    with Client(f"http://127.0.0.1:{wire.port}", BearerCredential(desk.key)) as client:
        documents, under = client.vault.documents, await policy(desk)
        document = await asyncio.to_thread(documents.upload, deed, policy=under, progress=progress)
        assert (document.whole, document.received_bytes, document.media_type) == (True, len(CONTENT), "application/pdf")
        assert (breaks, seen[-1]) == ([], len(CONTENT))

        copy = await asyncio.to_thread(
            documents.download, document.id, tmp_path / "copy.pdf", purpose="audit", reason="Annual audit"
        )
        assert copy.read_bytes() == CONTENT
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        with pytest.raises(Unusable, match="nothing is written over"):
            documents.download(document.id, copy, purpose="audit", reason="Annual audit")
    await wire.stop()


async def test_another_process_goes_on_with_the_same_file_alone(
    desk: Desk, desk_url: str, deed: Path, tmp_path: Path
) -> None:
    digest = hashlib.sha256(CONTENT).hexdigest()
    order = {"name": deed.name, "media_type": "application/pdf", "size_bytes": len(CONTENT), "sha256": digest}
    begun = Document.of((await desk.post("/documents", {"policy": await policy(desk), **order})).json())
    headers = {
        "Authorization": f"Bearer {desk.key}",
        "Content-Type": "application/partial-upload",
        "Upload-Offset": "0",
    }
    path = f"/v1/vault/documents/{begun.id}/content"
    await desk.client.patch(path, content=CONTENT[: CHUNK_BYTES + 9], headers=headers)
    documents = Client(desk_url, BearerCredential(desk.key)).vault.documents

    other = tmp_path / "other.pdf"
    other.write_bytes(CONTENT[:-1])
    with pytest.raises(Unusable, match="it is another file"):
        await asyncio.to_thread(documents.resume, begun.id, other)
    other.write_bytes(CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    with pytest.raises(ApiProblem) as refused:
        await asyncio.to_thread(documents.resume, begun.id, other)
    assert refused.value.slug == "digest-mismatch"

    ended = await asyncio.to_thread(documents.resume, begun.id, deed)
    assert ended.whole
    assert (await asyncio.to_thread(documents.resume, begun.id, deed)).whole


Muniment = Callable[..., Awaitable[Result]]


@pytest.fixture
def muniment(desk: Desk, desk_url: str, monkeypatch: pytest.MonkeyPatch) -> Muniment:
    """Run `muniment vault` against the desk."""
    monkeypatch.setenv("MUNIMENT_URL", desk_url)
    monkeypatch.setenv("MUNIMENT_API_KEY", desk.key)

    async def run(*arguments: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, app, ["vault", *arguments])

    return run


async def test_documents_go_up_and_down_by_commands(desk: Desk, muniment: Muniment, deed: Path, tmp_path: Path) -> None:
    sent = await muniment("upload", str(deed), "--policy", await policy(desk), "--json")
    assert sent.exit_code == 0, (sent.output, sent.exception)
    document = json.loads(sent.stdout)
    assert document["whole"]
    assert f"document {document['id']}" in sent.stderr
    assert (await muniment("upload", str(deed), "--resume", document["id"])).exit_code == 0

    copy, why = tmp_path / "copy.pdf", ("--purpose", "audit", "--reason", "Annual audit")
    refused = await muniment("download", document["id"], str(copy), "--purpose", "sale", "--reason", "curious")
    assert (refused.exit_code, copy.exists()) == (1, False)
    assert (await muniment("download", document["id"], str(copy), *why)).exit_code == 0
    assert copy.read_bytes() == CONTENT
    again = await muniment("download", document["id"], str(copy), *why)
    assert "nothing is written over" in str(again.exception)
    unknown = await muniment("upload", str(tmp_path / "none.pdf"), "--policy", document["policy"])
    assert "can't be read" in str(unknown.exception)
    neither = await muniment("upload", str(deed))
    assert "give --policy for a new document, or --resume" in str(neither.exception)


# Servers that lose and alter


class Shelf:
    """A vault that keeps one document, loses answers, and checks that each request is signed."""

    def __init__(self, lost: set[int]) -> None:
        self.content, self.size, self.lost, self.count, self.url = b"", 0, lost, 0, ""
        self.keeps = True

    def view(self) -> Said:
        times = {"created_at": "2026-11-22T16:00:00Z", "expires_at": None}
        ids = {"id": ID, "policy": ID, "subject_id": None, "asset_token_id": None}
        received = len(self.content)
        counts = {"size_bytes": self.size, "received_bytes": received, "whole": received == self.size}
        return told({**ids, **counts, **times, "media_type": "application/pdf"})

    def answer(self, heard: Heard) -> Said:
        verified(heard, self.url, KEY.public_key())
        self.count += 1
        if heard.method == "POST":
            self.size = json.loads(heard.body)["size_bytes"]
        if heard.method == "PATCH":
            assert heard.headers["content-digest"] == content_digest(heard.body)
            if int(heard.headers["upload-offset"]) != len(self.content):
                return problem("upload-offset-mismatch", 409, expected_offset=len(self.content))
            self.content += heard.body if self.keeps else b""
        return CUT if self.count in self.lost else self.view()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "PAUSE_FIRST_S", 0.01)
    monkeypatch.setattr("service.client.documents.PAUSE_FIRST_S", 0.01)
    monkeypatch.setattr("service.client.documents.PART_BYTES", CHUNK_BYTES)


@pytest.mark.parametrize("lost", [set(), {1}, {2}, {3, 5}, {2, 3, 4, 6}], ids=str)
async def test_lost_answers_cost_nothing_but_time(deed: Path, lost: set[int]) -> None:
    shelf = Shelf(lost)
    with serving(shelf.answer) as server:
        shelf.url = server.url
        document = Client(server.url, ed25519()).vault.documents.upload(deed, policy=ID)
        assert document.whole
        assert shelf.content == CONTENT
        keys = {each.headers["idempotency-key"] for each in server.heard if each.method == "POST"}
        assert len(keys) == 1


async def test_an_upload_that_does_not_get_on_ends(deed: Path) -> None:
    shelf = Shelf(set(range(2, 100)))
    with serving(shelf.answer) as server:
        shelf.url = server.url
        begun: list[str] = []
        documents = Client(server.url, ed25519(), patience_s=0.2).vault.documents
        with pytest.raises(Away):
            documents.upload(deed, policy=ID, begun=lambda document: begun.append(document.id))
        assert begun == [ID]


async def test_an_upload_of_which_nothing_is_kept_ends(deed: Path) -> None:
    shelf = Shelf(set())
    shelf.keeps = False
    with serving(shelf.answer) as server:
        shelf.url = server.url
        with pytest.raises(Unusable, match="keeps none of it: resume it later"):
            Client(server.url, ed25519(), patience_s=0.2).vault.documents.upload(deed, policy=ID)
        assert [each.method for each in server.heard].count("PATCH") < 20


async def test_an_upload_goes_on_after_a_limit(deed: Path) -> None:
    shelf, limits = Shelf(set()), [problem("too-many-requests", 429)] * 2

    def answer(heard: Heard) -> Said:
        return limits.pop() if heard.method == "PATCH" and limits else shelf.answer(heard)

    with serving(answer) as server:
        shelf.url = server.url
        assert Client(server.url, ed25519()).vault.documents.upload(deed, policy=ID).whole
        assert (shelf.content, limits) == (CONTENT, [])


@pytest.mark.parametrize("kept", [0, CHUNK_BYTES // 2], ids=["nothing", "half"])
async def test_an_upload_goes_on_where_its_body_was_too_slow(deed: Path, kept: int) -> None:
    shelf, stalls = Shelf(set()), [1, 4]

    def answer(heard: Heard) -> Said:
        if heard.method == "PATCH" and stalls and shelf.count >= stalls[0]:
            stalls.pop(0)
            shelf.content += heard.body[:kept]
            time.sleep(0.3)  # longer than patience lasts
            return problem("body-too-slow", 408)
        return shelf.answer(heard)

    with serving(answer) as server:
        shelf.url = server.url
        assert Client(server.url, ed25519(), patience_s=0.2).vault.documents.upload(deed, policy=ID).whole
        assert (shelf.content, stalls) == (CONTENT, [])


async def test_a_download_that_breaks_off_or_was_altered_leaves_no_file(tmp_path: Path) -> None:
    right = f"sha-256=:{base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()}:"
    named = {
        "Content-Type": "application/pdf",
        "Repr-Digest": right,
        "Content-Length": str(len(CONTENT)),
    }
    altered = bytes([CONTENT[0] ^ 1]) + CONTENT[1:]
    for body, sentence in ((CONTENT[:-5], "does not answer"), (altered, "has not the digest")):
        with saying((200, named, body)) as server:
            documents = Client(server.url, ed25519()).vault.documents
            with pytest.raises(Unusable, match=sentence):
                documents.download(ID, tmp_path / "copy.pdf", purpose="audit", reason="Annual audit")
            assert len(server.heard) == 1
    assert os.listdir(tmp_path) == []  # noqa: PTH208
