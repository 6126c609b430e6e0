"""GET /v1/operations."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query

from service.access.http import REFUSED, Following
from service.access.key_amounts import held_tokens, insist_on_token
from service.operations import queries
from service.operations.queries import OperationNotFound
from service.operations.views import OperationView
from service.web.catalogue import documented
from service.web.http import Db
from service.web.paging import BadCursor, CursorParameter, Limit, Page, decode_cursor, encode_cursor, page

router = APIRouter(tags=["operations"])

_LIST = "operations"


@router.get("/operations/{operation_id}", responses=documented(*REFUSED, OperationNotFound))
async def read_operation(operation_id: UUID, caller: Following, db: Db) -> OperationView:
    """Poll one operation: `pending` until its transaction is past reversal."""
    async with db.read() as connection:
        found = await queries.operation(connection, issuer_id=caller.issuer_id, id=operation_id)
    insist_on_token(caller, found.token_id)
    return OperationView.of(found)


@router.get("/operations", responses=documented(*REFUSED, BadCursor))
async def list_operations(
    caller: Following,
    db: Db,
    status: Annotated[Literal["pending", "succeeded", "failed"] | None, Query()] = None,
    token_id: Annotated[UUID | None, Query()] = None,
    cursor: CursorParameter = None,
    limit: Limit = 50,
) -> Page[OperationView]:
    """The issuer's operations, newest first."""
    if token_id is not None:
        insist_on_token(caller, token_id)
    before = decode_cursor(cursor, _LIST, UUID)[0] if cursor else None
    async with db.read() as connection:
        rows = await queries.operations_page(
            connection,
            issuer_id=caller.issuer_id,
            status=status,
            token_id=token_id,
            held_tokens=held_tokens(caller),
            before=before,
            count_max=limit + 1,
        )
    views = [OperationView.of(row) for row in rows]
    data, next_cursor = page(views, limit=limit, cursor_of=lambda last: encode_cursor(_LIST, last.id))
    return Page(data=data, next_cursor=next_cursor)
