"""/v1/vault/documents: documents in and out, as streams.

An upload goes on with PATCH and `Upload-Offset` as in draft-ietf-httpbis-resumable-upload-10, and not with PUT and
Content-Range: RFC 9110 section 14.5 warns that whoever does not know a partial PUT takes the part for the whole, and
clients of the draft exist.
"""

import base64
import re
from collections.abc import AsyncIterator
from typing import Annotated, Any
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.requests import ClientDisconnect

from service.access.http import REFUSED, Revealing, Searching, Tokenizing
from service.errors import Problem
from service.vault import document_problems as problems
from service.vault import documents
from service.vault.asset_labels import insist_on_tokens
from service.vault.commands import subject_index_of
from service.vault.document_chunks import DOCUMENT_BYTES_MAX
from service.vault.document_lists import Wanted, documents_page
from service.vault.document_orders import DocumentOrder, RevealDocumentOrder
from service.vault.document_reveals import REVEAL, granted
from service.vault.document_views import DocumentView, ListedDocumentView
from service.vault.documents import Claimed, Document
from service.vault.orders import Reference
from service.vault.problems import (
    AssetTokenNotFound,
    PolicyNotFound,
    RecordDamaged,
    RequestErased,
    VaultKeysUnavailable,
)
from service.vault.routes import TokensAmongDep, VaultDep
from service.web.bodies import StrictJsonRoute
from service.web.catalogue import documented
from service.web.http import IdempotencyKey
from service.web.idempotency import IdempotencyKeyReused
from service.web.paging import BadCursor, CursorParameter, Limit, Page, decode_cursor, encode_cursor, page
from service.web.problems import BodyTooLarge, InvalidRequest

router = APIRouter(prefix="/vault/documents", tags=["vault"], route_class=StrictJsonRoute)
streams = APIRouter(prefix="/vault/documents", tags=["vault"])

STREAMED = ((re.compile(r"/v1/vault/documents/[^/]+/content"), DOCUMENT_BYTES_MAX),)
"""Paths that read their bodies as they come, with the most that one may announce."""

PARTIAL_UPLOAD = "application/partial-upload"

_DIGEST = re.compile(r"(?:^|,)[ \t]*sha-256=:([A-Za-z0-9+/]{43}=):[ \t]*(?:$|,)")
_CLIENT_CLOSED = 499
_BYTES = {"schema": {"type": "string", "format": "binary"}, "example": "%PDF-1.7"}

_ONE: tuple[type[Problem], ...] = (
    *REFUSED,
    problems.VaultDocumentNotFound,
    RecordDamaged,
    VaultKeysUnavailable,
)


@router.post(
    "",
    status_code=201,
    responses=documented(
        *REFUSED,
        IdempotencyKeyReused,
        BodyTooLarge,
        PolicyNotFound,
        AssetTokenNotFound,
        RequestErased,
        RecordDamaged,
        VaultKeysUnavailable,
        problems.PolicyNotForDocuments,
        problems.DocumentTooLarge,
    ),
)
async def register_document(
    order: DocumentOrder,
    caller: Tokenizing,
    key: IdempotencyKey,
    vault: VaultDep,
    tokens_among: TokensAmongDep,
    response: Response,
) -> DocumentView:
    """Register a document of up to 1 GiB; its content is sent next, in one request or in several."""
    await insist_on_tokens(tokens_among, caller.issuer_id, [order.asset_token_id])
    found = await documents.register(vault, caller, key, order)
    response.headers["Location"] = f"/v1/vault/documents/{found.id}"
    response.headers.update(_progress(found))
    return DocumentView.of(found)


@router.get("", responses=documented(*REFUSED, BadCursor, VaultKeysUnavailable))
async def list_vault_documents(
    caller: Searching,
    vault: VaultDep,
    policy: Annotated[UUID | None, Query(description="Only documents of this policy.")] = None,
    subject: Annotated[Reference | None, Query(description="The issuer's own name for a person.")] = None,
    asset_token_id: Annotated[UUID | None, Query(description="Only what belongs to this token of an asset.")] = None,
    whole: Annotated[bool | None, Query(description="Only what came as a whole, or only what did not.")] = None,
    cursor: CursorParameter = None,
    limit: Limit = 50,
) -> Page[ListedDocumentView]:
    """The issuer's documents, oldest first, without names and contents; what is erased or expired is in no list."""
    after = decode_cursor(cursor, "vault-documents", UUID)[0] if cursor else None
    index = None
    if subject is not None:
        index = await subject_index_of(vault, caller.issuer_id, subject) or b""
    wanted = Wanted(policy, index, asset_token_id, whole)
    rows = await documents_page(vault.db, issuer_id=caller.issuer_id, wanted=wanted, after=after, count_max=limit + 1)
    views = [ListedDocumentView.listed(row) for row in rows]
    data, next_cursor = page(views, limit=limit, cursor_of=lambda last: encode_cursor("vault-documents", last.id))
    return Page(data=data, next_cursor=next_cursor)


@router.get("/{document_id}", responses=documented(*_ONE))
async def read_document(document_id: UUID, caller: Searching, vault: VaultDep, response: Response) -> DocumentView:
    """What is known of a document, and how much of its content came. A reveal alone tells its name and digest."""
    found = await documents.document(vault, issuer_id=caller.issuer_id, id=document_id)
    response.headers.update(_progress(found))
    return DocumentView.of(found)


@streams.patch(
    "/{document_id}/content",
    responses=documented(
        *_ONE,
        BodyTooLarge,
        problems.UploadOffsetMismatch,
        problems.DocumentOverrun,
        problems.DigestMismatch,
    ),
    openapi_extra={"requestBody": {"content": {PARTIAL_UPLOAD: _BYTES}}},
)
async def append_content(
    document_id: UUID,
    request: Request,
    caller: Tokenizing,
    vault: VaultDep,
    response: Response,
    offset: Annotated[
        int, Header(alias="Upload-Offset", ge=0, le=DOCUMENT_BYTES_MAX, description="Where in the document it begins.")
    ] = 0,
    content_digest: Annotated[
        str | None, Header(alias="Content-Digest", description="`sha-256=:…:` of this request's content (RFC 9530).")
    ] = None,
    repr_digest: Annotated[
        str | None, Header(alias="Repr-Digest", description="`sha-256=:…:` of the whole document (RFC 9530).")
    ] = None,
) -> DocumentView:
    """Send content of a document from where it ends so far; each whole MiB is kept as it comes.

    However a request ends, `received_bytes` says where to go on: of GET, of the registration sent again under its key,
    and as `expected_offset` of a refusal. What is beyond the last whole MiB is kept only when it ends the document.
    """
    found = await documents.document(vault, issuer_id=caller.issuer_id, id=document_id)
    if request.headers.get("content-type") != PARTIAL_UPLOAD:
        raise InvalidRequest(f"header Content-Type: send the content as {PARTIAL_UPLOAD}")
    claimed = Claimed(_claim("Content-Digest", content_digest), _claim("Repr-Digest", repr_digest))
    try:
        kept = await documents.append(vault, found, offset=offset, content=request.stream(), claimed=claimed)
    except ClientDisconnect:
        return Response(status_code=_CLIENT_CLOSED)  # type: ignore[return-value]  # nobody reads it
    response.headers.update(_progress(kept))
    return DocumentView.of(kept)


@router.post(
    "/{document_id}/reveal",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "The content, under its own media type.",
            "content": {"application/octet-stream": _BYTES},
        },
        **documented(*_ONE, *REVEAL, BodyTooLarge, problems.DocumentIncomplete),
    },
)
async def reveal_document(
    document_id: UUID, order: RevealDocumentOrder, caller: Revealing, vault: VaultDep
) -> StreamingResponse:
    """The content of a whole document; who asked, and why, is in the journal before its first byte leaves.

    A POST and no GET, since it spends what the policy allows, and since a reason belongs into no URL that is logged.
    """
    found = await documents.document(vault, issuer_id=caller.issuer_id, id=document_id)
    found.require_whole()
    await granted(
        vault,
        caller,
        found.place,
        purpose=order.purpose,
        reason=order.reason,
        count=1,
        kind="vault.document-revealed",
        what={"document_id": str(found.id), "size_bytes": found.size_bytes},
    )
    chunks = documents.content(vault.db, found)
    first = await anext(chunks)  # what is damaged at once is still told as a problem
    assert found.sha256 is not None, "a whole document has its digest"
    headers = {
        "Content-Length": str(found.size_bytes),
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(found.name, safe='')}",
        "Repr-Digest": f"sha-256=:{base64.b64encode(found.sha256).decode()}:",
    }
    return StreamingResponse(_rest(first, chunks), media_type=found.media_type, headers=headers)


async def _rest(first: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The content; where a chunk does not open the answer ends early, which its length tells."""
    yield first
    async for chunk in chunks:
        yield chunk


def _progress(found: Document) -> dict[str, Any]:
    complete = "?1" if found.completed_at is not None else "?0"
    return {
        "Upload-Offset": str(found.received_bytes),
        "Upload-Complete": complete,
        "Upload-Length": str(found.size_bytes),
    }


def _claim(name: str, header: str | None) -> bytes | None:
    if header is None:
        return None
    found = _DIGEST.search(header)
    if found is None:
        raise InvalidRequest(f"header {name}: write sha-256=:…: with the digest in base64 (RFC 9530)")
    return base64.b64decode(found[1])
