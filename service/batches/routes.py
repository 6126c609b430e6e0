"""…/batches: many rows of one kind at once."""

import asyncio
import re
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from service.access.http import REFUSED, Following
from service.access.key_amounts import held_tokens, insist_on_token
from service.access.step_http import APPROVABLE
from service.access.step_problems import CRITICAL
from service.batches import commands, queries
from service.batches.orders import BODY_BYTES_MAX, FREEZE, IDENTITY, MINT, ROWS_MAX, TRANSFER, Kind, read_rows
from service.batches.problems import BatchInvalid, BatchNotFound, BatchRefused
from service.batches.queries import Batch
from service.batches.views import BatchView, PackView, RowStatus, RowView, rows_csv
from service.compliance.problems import PolicyMissing
from service.deployments import problems as deployments
from service.deployments.orders import EmptyOrder
from service.errors import Problem
from service.operations.http import CALL, WRITE, Asking, BatchesAsking, ComplianceAsking, LedgerDep, TokensAsking
from service.tokens import problems as tokens
from service.web.bodies import StrictJsonRoute
from service.web.catalogue import documented
from service.web.http import Db
from service.web.orders import Order
from service.web.paging import BadCursor, CursorParameter, Limit, Page, decode_cursor, encode_cursor, page

router = APIRouter(tags=["batches"], route_class=StrictJsonRoute)

BODY_LIMITS = ((re.compile(r"/v1/(tokens/[^/]+/batches/[a-z]+|identities/batches)"), BODY_BYTES_MAX),)
"""Paths whose bodies may be larger than others, with their limits in bytes."""

CSV = "text/csv; charset=utf-8"

_SEND: tuple[type[Problem], ...] = (
    *CALL,
    BatchInvalid,
    BatchRefused,
    deployments.SignerLacksRole,
    deployments.NotScheduled,
    deployments.OperationAlreadyExecuted,
)
_TOKEN = (tokens.TokenNotFound, tokens.TokenNotDeployed, tokens.WrongTokenKind, tokens.TokenPaused, PolicyMissing)
_REGISTRY = (deployments.ContractMissing, deployments.ContractNotDeployed)

_LIST, _PACKS, _ROWS = "batches", "batch-packs", "batch-rows"

_EXAMPLES = {
    MINT: "to,amount\r\n0x70997970C51812dc3A010C7d01b50e0d17dc79C8,1000\r\n",
    TRANSFER: "from,to,amount\r\n0x70997970C51812dc3A010C7d01b50e0d17dc79C8,"
    "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC,250\r\n",
    FREEZE: "account,expected,amount\r\n0x70997970C51812dc3A010C7d01b50e0d17dc79C8,0,250\r\n",
    IDENTITY: f"investor,country,level,expires_at\r\n0x{'5e' * 32},756,2,2027-01-31T00:00:00Z\r\n",
}

_ANSWER = "to,amount,row,status,problem\r\n0x70997970C51812dc3A010C7d01b50e0d17dc79C8,1000,1,succeeded,\r\n"


class _Asked(Order):
    """What tells one batch from another: its rows, however they were spelled or sent."""

    rows_digest: str


def _body(kind: Kind) -> dict[str, Any]:
    """The request body in OpenAPI: JSON or CSV."""
    # Not by reference: the route that takes one such row may take more than a batch does.
    row = kind.order.model_json_schema()
    rows = {"type": "array", "items": row, "minItems": 1, "maxItems": ROWS_MAX}
    extra: Any = kind.order.model_config["json_schema_extra"]
    schema = {
        "type": "object",
        "properties": {"rows": {**rows, "description": "One row for each; all are checked before anything is sent."}},
        "required": ["rows"],
        "additionalProperties": False,
        "example": {"rows": [extra["example"]]},
    }
    text = {"type": "string", "description": f"Columns {', '.join(kind.columns)}; UTF-8, the first line names them."}
    content = {"application/json": {"schema": schema}, "text/csv": {"schema": text, "example": _EXAMPLES[kind]}}
    return {"requestBody": {"required": True, "content": content}}


async def _send(
    kind: Kind, token_id: UUID | None, http: Request, ask: Asking, ledger: LedgerDep, response: Response
) -> BatchView:
    body, media_type = await http.body(), http.headers.get("content-type", "")
    rows = await asyncio.to_thread(read_rows, kind, media_type, body)
    asked = ask(_Asked(rows_digest=await asyncio.to_thread(rows.digest)))
    return _accepted(await commands.send(ledger, asked, kind, token_id, rows), response)


def _accepted(batch: Batch, response: Response) -> BatchView:
    response.headers["Location"] = f"/v1/batches/{batch.id}"
    return BatchView.of(batch)


def _to_token(kind: Kind, summary: str) -> None:
    async def endpoint(
        token_id: UUID, http: Request, ask: TokensAsking, ledger: LedgerDep, response: Response
    ) -> BatchView:
        return await _send(kind, token_id, http, ask, ledger, response)

    endpoint.__name__, endpoint.__doc__ = f"{kind.name}_batch", summary
    router.add_api_route(
        f"/tokens/{{token_id}}/batches/{kind.name}",
        endpoint,
        methods=["POST"],
        status_code=202,
        responses=documented(*_SEND, *_TOKEN, *CRITICAL),
        openapi_extra={**_body(kind), **APPROVABLE},
    )


_to_token(MINT, f"Create units for up to {ROWS_MAX:,} holders: every row passes, or nothing is sent.")
_to_token(TRANSFER, f"Move units of managed accounts, up to {ROWS_MAX:,} rows: each passes, or nothing is sent.")
_to_token(FREEZE, f"Freeze units of up to {ROWS_MAX:,} accounts: every row passes, or nothing is sent.")


@router.post(
    "/identities/batches",
    status_code=202,
    responses=documented(*_SEND, *_REGISTRY),
    openapi_extra=_body(IDENTITY),
)
async def identity_batch(http: Request, ask: ComplianceAsking, ledger: LedgerDep, response: Response) -> BatchView:
    """Say what is attested about up to 10,000 investors: every row passes, or nothing is sent."""
    return await _send(IDENTITY, None, http, ask, ledger, response)


@router.get("/batches/{batch_id}", responses=documented(*REFUSED, BatchNotFound))
async def read_batch(batch_id: UUID, caller: Following, db: Db) -> BatchView:
    """How far a batch is: poll it until `state` is neither `pending` nor `running`."""
    async with db.read() as connection:
        found = await queries.batch(connection, issuer_id=caller.issuer_id, id=batch_id)
    insist_on_token(caller, found.token_id)
    return BatchView.of(found)


@router.get("/batches", responses=documented(*REFUSED, BadCursor))
async def list_batches(caller: Following, db: Db, cursor: CursorParameter = None, limit: Limit = 50) -> Page[BatchView]:
    """The issuer's batches, newest first."""
    before = decode_cursor(cursor, _LIST, UUID)[0] if cursor else None
    async with db.read() as connection:
        rows = await queries.batches_page(
            connection,
            issuer_id=caller.issuer_id,
            held_tokens=held_tokens(caller),
            before=before,
            count_max=limit + 1,
        )
    shown, next_cursor = page(rows, limit=limit, cursor_of=lambda last: encode_cursor(_LIST, last.id))
    return Page(data=[BatchView.of(row) for row in shown], next_cursor=next_cursor)


@router.get("/batches/{batch_id}/packs", responses=documented(*REFUSED, BatchNotFound, BadCursor))
async def list_batch_packs(
    batch_id: UUID, caller: Following, db: Db, cursor: CursorParameter = None, limit: Limit = 50
) -> Page[PackView]:
    """The operations that carry a batch, in the order of their rows."""
    after = decode_cursor(cursor, _PACKS, int)[0] if cursor else 0
    async with db.read() as connection:
        found = await queries.batch(connection, issuer_id=caller.issuer_id, id=batch_id)
    insist_on_token(caller, found.token_id)
    packs = [pack for pack in found.packs if pack.number > after][: limit + 1]
    shown, next_cursor = page(packs, limit=limit, cursor_of=lambda last: encode_cursor(_PACKS, last.number))
    return Page(data=[PackView.model_validate(pack) for pack in shown], next_cursor=next_cursor)


@router.get(
    "/batches/{batch_id}/rows",
    response_model=Page[RowView],
    responses={
        **documented(*REFUSED, BatchNotFound, BadCursor),
        200: {"content": {"text/csv": {"schema": {"type": "string"}, "example": _ANSWER}}},
    },
)
async def list_batch_rows(
    batch_id: UUID,
    http: Request,
    caller: Following,
    db: Db,
    status: Annotated[RowStatus | None, Query()] = None,
    cursor: CursorParameter = None,
    limit: Limit = 50,
) -> Any:
    """Rows and how far they are; with `Accept: text/csv` all of them at once, in the columns of an upload.

    What failed can so be corrected and sent as a new batch: the columns that were added are not read.
    """
    as_csv = http.headers.get("accept", "").startswith("text/csv")
    after = decode_cursor(cursor, _ROWS, int)[0] if cursor else 0
    async with db.read() as connection:
        found = await queries.batch(connection, issuer_id=caller.issuer_id, id=batch_id)
        insist_on_token(caller, found.token_id)
        packs = {pack.number: pack for pack in found.packs if status in (None, pack.status)}
        count_max = ROWS_MAX if as_csv else limit + 1
        rows = await queries.rows_page(
            connection, batch_id=batch_id, packs=list(packs), after=after, count_max=count_max
        )
    views = [RowView.of(row, packs[row.pack]) for row in rows]
    if as_csv:
        return Response(await asyncio.to_thread(rows_csv, found.kind, views), media_type=CSV)
    shown, next_cursor = page(views, limit=limit, cursor_of=lambda last: encode_cursor(_ROWS, last.row))
    return Page(data=shown, next_cursor=next_cursor)


@router.post("/batches/{batch_id}/cancel", status_code=202, responses=documented(*WRITE, BatchNotFound))
async def cancel_batch(
    batch_id: UUID, order: EmptyOrder, ask: BatchesAsking, ledger: LedgerDep, response: Response
) -> BatchView:
    """Take back the packs that are not in a block yet; `cancelled` says how many, and for how many it was too late."""
    return _accepted(await commands.cancel(ledger, ask(order), batch_id), response)


@router.post(
    "/batches/{batch_id}/resume",
    status_code=202,
    responses=documented(*_SEND, *_TOKEN, *_REGISTRY, BatchNotFound, *CRITICAL),
    openapi_extra=APPROVABLE,
)
async def resume_batch(
    batch_id: UUID, order: EmptyOrder, ask: BatchesAsking, ledger: LedgerDep, response: Response
) -> BatchView:
    """Send again the packs that failed or were cancelled. What the chain has done already is not done twice."""
    return _accepted(await commands.resume(ledger, ask(order), batch_id), response)
