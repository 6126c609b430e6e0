"""Documents: registered, received in encrypted chunks from where an upload was cut, and read again."""

import base64
import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from psycopg.rows import TupleRow
from sqlalchemy import func, insert

from service import journal
from service.access.queries import Caller
from service.db import Database, new_id
from service.journal import Fact
from service.vault import indexes, queries
from service.vault.document_chunks import CHUNK_BYTES, DOCUMENT_BYTES_MAX, Cipher
from service.vault.document_orders import DocumentOrder
from service.vault.document_problems import (
    DigestMismatch,
    DocumentIncomplete,
    DocumentOverrun,
    DocumentTooLarge,
    PolicyNotForDocuments,
    UploadOffsetMismatch,
    VaultDocumentNotFound,
)
from service.vault.document_seals import Place, of_subject, opened_object, record_key, sealed_object
from service.vault.document_tables import DocumentRow
from service.vault.envelope import Tampered
from service.vault.keyring import Purpose
from service.vault.keys import Vault, damaged
from service.vault.policies import Kind, Policy
from service.vault.subjects import held, insist_on_unerased
from service.vault.values import DataClass
from service.web import idempotency

ROUTE = "POST /v1/vault/documents"
_PATH = "vault/documents/"

HALF_KEPT_S = 24 * 3_600
"""A half document is gone so long after its last chunk."""

_BATCH = 4
"""Chunks read at once."""

_COLUMNS: LiteralString = """id, issuer_id, policy_id, subject_id, asset_token_id, size_bytes, received_bytes,
    created_at, expires_at, completed_at, sealed"""
_FOUND: LiteralString = f"""SELECT {_COLUMNS} FROM vault.documents
    WHERE id = %s AND issuer_id = %s AND (expires_at IS NULL OR expires_at > now())"""


@dataclass(frozen=True, slots=True)
class Document:
    """A document, with what was sealed of it."""

    id: UUID
    issuer_id: UUID
    policy_id: UUID
    subject_id: UUID | None
    asset_token_id: UUID | None
    size_bytes: int
    received_bytes: int
    created_at: datetime
    expires_at: datetime | None
    completed_at: datetime | None
    name: str = field(repr=False)
    media_type: str
    sha256: bytes | None = field(repr=False)  # as claimed; of a whole document, as computed
    key: bytes = field(repr=False)

    @property
    def place(self) -> Place:
        """Where it is sealed."""
        return Place(self.issuer_id, self.policy_id, self.subject_id, self.id)

    @property
    def cipher(self) -> Cipher:
        """What seals and opens its chunks."""
        return Cipher(self.issuer_id, self.id, self.size_bytes, AESGCM(self.key))

    def require_whole(self) -> None:
        """Make sure that all of it came.

        Raises:
            DocumentIncomplete: it did not.
        """
        if self.completed_at is None:
            raise DocumentIncomplete(
                f"send the content from offset {self.received_bytes} on",
                received_bytes=self.received_bytes,
                size_bytes=self.size_bytes,
            )


def _sealed_part(key: bytes, name: str, media_type: str, sha256: bytes | None) -> dict[str, Any]:
    digest = None if sha256 is None else sha256.hex()
    return {"key": base64.b64encode(key).decode(), "media_type": media_type, "name": name, "sha256": digest}


@dataclass(frozen=True, slots=True)
class Claimed:
    """The SHA-256 that a request claims: of its own content, and of the whole document. Source: RFC 9530."""

    content: bytes | None = None
    document: bytes | None = None


async def register(vault: Vault, caller: Caller, key: str, order: DocumentOrder) -> Document:
    """Make room for a document; its content is sent afterwards. A half document that expired is swept meanwhile.

    Raises:
        DocumentTooLarge: over 1 GiB.
        PolicyNotFound: none of the issuer's.
        PolicyNotForDocuments: it is not of kind vault and class document.
        IdempotencyKeyReused: the key belongs to another request.
        RequestErased: the person whom the request of this key named was erased since.
        RecordDamaged: the subject's key was altered.
        VaultKeysUnavailable: the provider does not answer.
    """
    if order.size_bytes > DOCUMENT_BYTES_MAX:
        raise DocumentTooLarge(f"a document has {DOCUMENT_BYTES_MAX} bytes at most: send it in parts")
    policy = await require_policy(vault, caller.issuer_id, order.policy)
    index_key = (await vault.newest(caller.issuer_id, Purpose.INDEX)).secret
    print_ = indexes.request_print(index_key, idempotency.fingerprint(ROUTE, None, order.asked()))
    await sweep(vault.db)
    id_ = new_id()
    async with vault.transaction() as (session, connection):
        await insist_on_unerased(connection, caller.id, key)
        if await idempotency.claim(session, caller.id, key, print_, f"{_PATH}{id_}"):
            place = Place(caller.issuer_id, policy.id, None, id_)
            place, inner_key = await of_subject(vault, connection, caller, key, place, order.subject, index_key)
            told = _sealed_part(os.urandom(32), order.name, order.media_type, order.sha256)
            sealed = await sealed_object(vault, place, inner_key, told)
            await session.execute(
                insert(DocumentRow).values(
                    id=id_,
                    issuer_id=caller.issuer_id,
                    policy_id=policy.id,
                    subject_id=place.subject_id,
                    asset_token_id=order.asset_token_id,
                    size_bytes=order.size_bytes,
                    data_version=sealed.data_version,
                    sealed=sealed.sealed,
                    expires_at=func.now() + func.make_interval(0, 0, 0, 0, 0, 0, HALF_KEPT_S),
                )
            )
    first = await idempotency.first_resource(vault.db, caller.id, key, print_)
    assert first is not None, "the key is spent"
    return await document(vault, issuer_id=caller.issuer_id, id=UUID(first.removeprefix(_PATH)))


async def require_policy(vault: Vault, issuer_id: UUID, id: UUID) -> Policy:
    """A policy of the issuer under which documents and attributes are kept.

    Raises:
        PolicyNotFound, PolicyNotForDocuments: as their names say.
    """
    policy = await queries.policy(vault.db, issuer_id=issuer_id, id=id)
    if policy.kind is not Kind.VAULT or policy.data_class is not DataClass.DOCUMENT:
        raise PolicyNotForDocuments("make one of kind vault and class document with POST /v1/vault/policies")
    return policy


async def document(vault: Vault, *, issuer_id: UUID, id: UUID) -> Document:
    """A document of the issuer.

    Raises:
        VaultDocumentNotFound: there is none; its subject was erased; its upload expired half-way.
        VaultKeysUnavailable: what is sealed of it cannot be opened now.
        RecordDamaged: what is sealed of it does not open.
    """
    rows = await vault.db.fetch(_FOUND, (id, issuer_id))
    if not rows:
        raise _gone()
    return await _opened(vault, rows[0])


async def _opened(vault: Vault, row: TupleRow) -> Document:
    *known, sealed = row
    names = ("id", "issuer_id", "policy_id", "subject_id", "asset_token_id", "size_bytes", "received_bytes")
    found = dict(zip((*names, "created_at", "expires_at", "completed_at"), known, strict=True))
    place = Place(found["issuer_id"], found["policy_id"], found["subject_id"], found["id"])
    told = await opened_object(vault, place, sealed)
    digest = None if told["sha256"] is None else bytes.fromhex(told["sha256"])
    key = base64.b64decode(told["key"])
    return Document(**found, name=told["name"], media_type=told["media_type"], sha256=digest, key=key)


async def append(
    vault: Vault, found: Document, *, offset: int, content: AsyncIterator[bytes], claimed: Claimed
) -> Document:
    """Take in what comes of a document's content. Each whole chunk is stored at once, in a DB transaction of its own.

    So an upload that is cut anywhere goes on at `received_bytes`, and of two at once one is told where the other is.
    What is beyond the last whole chunk is kept only when it ends the document.

    Raises:
        UploadOffsetMismatch: it does not begin where the last one ended, or another one went on meanwhile.
        DocumentOverrun: more came than the document has.
        DigestMismatch: what came, or the whole, has another digest than was claimed: it is thrown away.
    """
    if offset != found.received_bytes:
        raise _elsewhere(found.received_bytes)
    received = _Received(vault, found, claimed)
    async for piece in content:
        await received.take(piece)
    return await received.end()


class _Received:
    """An upload under way: less than two chunks of it are in memory."""

    def __init__(self, vault: Vault, found: Document, claimed: Claimed) -> None:
        self._vault, self._found, self._claimed = vault, found, claimed
        self._cipher, self._begun, self._stored = found.cipher, found.received_bytes, found.received_bytes
        self._waiting = bytearray()
        self._content_hash = None if claimed.content is None else hashlib.sha256()
        # Of an upload that was cut, the first part is hashed when the last has come.
        self._whole_hash = hashlib.sha256() if self._begun == 0 else None

    async def take(self, piece: bytes) -> None:
        if self._stored + len(self._waiting) + len(piece) > self._found.size_bytes:
            raise DocumentOverrun(f"the document was registered with {self._found.size_bytes} bytes")
        for digest in (self._content_hash, self._whole_hash):
            if digest is not None:
                digest.update(piece)
        self._waiting += piece
        # The last chunk waits for the end of what comes: only then is the document known to be what was claimed.
        while len(self._waiting) >= CHUNK_BYTES and self._stored + CHUNK_BYTES < self._found.size_bytes:
            chunk = bytes(self._waiting[:CHUNK_BYTES])
            del self._waiting[:CHUNK_BYTES]
            sealed = self._cipher.seal(self._stored // CHUNK_BYTES, chunk)
            if not await _store(self._vault, self._found.id, self._stored, sealed):
                raise _elsewhere((await self._now()).received_bytes)
            self._stored += CHUNK_BYTES

    async def end(self) -> Document:
        if self._content_hash is not None and self._content_hash.digest() != self._claimed.content:
            await _truncate(self._vault.db, self._found.id, self._stored, self._begun)
            raise _another_digest("Content-Digest", self._begun)
        if self._stored + len(self._waiting) < self._found.size_bytes or self._found.completed_at is not None:
            return await self._now()
        digest = await self._digest()
        if {digest, self._claimed.document or digest, self._found.sha256 or digest} != {digest}:
            await _truncate(self._vault.db, self._found.id, self._stored, 0)
            raise _another_digest("Repr-Digest, or the sha256 it was registered with,", 0)
        await self._complete(digest)
        return await self._now()

    async def _digest(self) -> bytes:
        """Of the whole document; what was stored by earlier requests is read back for it."""
        if self._whole_hash is not None:
            return self._whole_hash.digest()
        whole = hashlib.sha256()
        async for chunk in _chunks(self._vault.db, self._found, self._stored // CHUNK_BYTES):
            whole.update(chunk)
        whole.update(self._waiting)
        return whole.digest()

    async def _complete(self, digest: bytes) -> None:
        """Store the last chunk, and the digest, and that the document is whole."""
        found = self._found
        sealed = self._cipher.seal(self._cipher.count - 1, bytes(self._waiting))
        key = await record_key(self._vault, found.place)
        told = _sealed_part(found.key, found.name, found.media_type, digest)
        whole = await sealed_object(self._vault, found.place, key, told)
        async with self._vault.transaction() as (session, connection):
            subject_id = found.place.subject_id
            if subject_id is not None and await held(connection, self._vault, found.issuer_id, subject_id) is None:
                raise _gone()
            given = (found.size_bytes, whole.data_version, whole.sealed, found.id, self._stored)
            last = (self._cipher.count - 1, sealed)
            stored = await connection.execute(_COMPLETE, (*given, *last))
            if stored.rowcount == 0:
                raise _elsewhere((await self._now()).received_bytes)
            body = {"document_id": str(found.id), "policy_id": str(found.policy_id), "size_bytes": found.size_bytes}
            await journal.append(session, [Fact("vault.document-stored", found.issuer_id, body)])

    async def _now(self) -> Document:
        return await document(self._vault, issuer_id=self._found.issuer_id, id=self._found.id)


_STORE: LiteralString = """WITH moved AS (
    UPDATE vault.documents SET received_bytes = received_bytes + %s, expires_at = now() + make_interval(secs => %s)
    WHERE id = %s AND received_bytes = %s AND completed_at IS NULL AND expires_at > clock_timestamp() RETURNING id)
INSERT INTO vault.document_chunks (document_id, number, sealed) SELECT id, %s, %s FROM moved"""

_COMPLETE: LiteralString = """WITH moved AS (
    UPDATE vault.documents SET received_bytes = %s, data_version = %s, sealed = %s, expires_at = NULL,
        completed_at = now()
    WHERE id = %s AND received_bytes = %s AND completed_at IS NULL AND expires_at > clock_timestamp() RETURNING id)
INSERT INTO vault.document_chunks (document_id, number, sealed) SELECT id, %s, %s FROM moved"""


async def _store(vault: Vault, id: UUID, offset: int, sealed: bytes) -> bool:
    """Add a whole chunk where the document ends; False where it does not end there (any more)."""
    async with vault.transaction() as (_, connection):
        given = (CHUNK_BYTES, HALF_KEPT_S, id, offset, offset // CHUNK_BYTES, sealed)
        stored = await connection.execute(_STORE, given)
        return stored.rowcount == 1


async def _truncate(db: Database, id: UUID, stored: int, offset: int) -> None:
    """Take chunks off again, unless another upload went on meanwhile."""
    await db.fetch(
        """WITH moved AS (
            UPDATE vault.documents SET received_bytes = %s
            WHERE id = %s AND received_bytes = %s AND completed_at IS NULL RETURNING id)
        DELETE FROM vault.document_chunks chunk USING moved
        WHERE chunk.document_id = moved.id AND chunk.number >= %s RETURNING chunk.number""",
        (offset, id, stored, offset // CHUNK_BYTES),
    )


async def _chunks(db: Database, found: Document, count: int) -> AsyncIterator[bytes]:
    """The first chunks of a document, opened."""
    cipher = found.cipher
    for first in range(0, count, _BATCH):
        numbers = range(first, min(first + _BATCH, count))
        async with db.read() as connection:
            cursor = await connection.execute(
                """SELECT c.number, c.sealed FROM vault.documents d
                LEFT JOIN vault.document_chunks c ON c.document_id = d.id AND c.number = ANY(%s)
                WHERE d.id = %s AND (d.expires_at IS NULL OR d.expires_at > now()) ORDER BY c.number""",
                (list(numbers), found.id),
                binary=True,
            )
            rows = await cursor.fetchall()
        if not rows:
            raise _gone()
        if [number for number, _ in rows] != list(numbers):
            raise damaged(Tampered("a chunk of a document is not there"))
        for number, sealed in rows:
            try:
                chunk = cipher.open(number, sealed)
            except Tampered as error:
                raise damaged(error) from None
            yield chunk


def content(db: Database, found: Document) -> AsyncIterator[bytes]:
    """A whole document's content, chunk by chunk; nothing leaves that does not open, or was erased meanwhile.

    Raises:
        VaultDocumentNotFound: its subject was erased.
        RecordDamaged: a chunk was altered, moved or taken away.
    """
    return _chunks(db, found, found.cipher.count)


async def sweep(db: Database) -> int:
    """Delete one document that expired half-way, or of a subject that was erased; how many there were.

    Whoever registers a document sweeps one, so that no more of them are left than can be registered in a day.
    """
    rows = await db.fetch(
        """DELETE FROM vault.documents WHERE id = (
            SELECT id FROM vault.documents WHERE expires_at <= now() ORDER BY expires_at LIMIT 1 FOR UPDATE SKIP LOCKED)
        RETURNING id""",
        (),
    )
    return len(rows)


def _gone() -> VaultDocumentNotFound:
    return VaultDocumentNotFound("register it with POST /v1/vault/documents")


def _elsewhere(expected: int) -> UploadOffsetMismatch:
    return UploadOffsetMismatch(f"send the content from byte {expected} on", expected_offset=expected)


def _another_digest(claim: str, offset: int) -> DigestMismatch:
    return DigestMismatch(
        f"{claim} is not the SHA-256 of what came: it was thrown away; send it again from byte {offset} on",
        expected_offset=offset,
    )
