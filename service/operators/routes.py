"""/v1/transactions, /v1/signers, /v1/endpoints: how an issuer's transactions stand, for the scope `transactions`."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request

from service.access.http import REFUSED, Operating
from service.access.queries import Caller, shares_signer
from service.addresses import checksum
from service.db import Database
from service.deployments.orders import EmptyOrder
from service.operations.http import WRITE, Asking, asking
from service.operations.submit import Request as Intention
from service.operations.views import TransactionStatus
from service.operators import commands, queries
from service.operators.commands import Act
from service.operators.problems import (
    ApprovalByRequester,
    SignerNotFound,
    SignerShared,
    TransactionNotFound,
    TransactionNotInState,
)
from service.operators.views import EndpointView, SignerView, TransactionDetail, TransactionSummary
from service.transactions import commands as transactions
from service.transactions import endpoints
from service.transactions.overview import STUCK_AFTER_S, Owner
from service.transactions.tables import Status
from service.web.bodies import StrictJsonRoute
from service.web.catalogue import documented
from service.web.http import AddressInPath, Db, IdempotencyKey
from service.web.paging import BadCursor, CursorParameter, Limit, Page, decode_cursor, encode_cursor, page

router = APIRouter(route_class=StrictJsonRoute)

_LIST = "transactions"
_ACT = (*WRITE, TransactionNotFound, TransactionNotInState)


async def _chain_id(request: Request) -> int:
    chain_id: int = request.app.state.settings.chain_id
    return chain_id


async def _asking(request: Request, caller: Operating, key: IdempotencyKey) -> Asking:
    return asking(request, caller, key)


ChainId = Annotated[int, Depends(_chain_id)]
AskingDep = Annotated[Asking, Depends(_asking)]


def _owner(caller: Caller) -> Owner:
    return Owner(caller.issuer_id, caller.signer)


@router.get("/transactions", tags=["transactions"], responses=documented(*REFUSED, BadCursor))
async def list_transactions(
    caller: Operating,
    chain_id: ChainId,
    db: Db,
    status: Annotated[TransactionStatus | None, Query()] = None,
    stuck: Annotated[
        bool, Query(description=f"Only unmined ones in trouble, or older than {STUCK_AFTER_S} seconds.")
    ] = False,
    cursor: CursorParameter = None,
    limit: Limit = 50,
) -> Page[TransactionSummary]:
    """The issuer's transactions, newest first, and those that its signer sent for the service."""
    before = decode_cursor(cursor, _LIST, UUID)[0] if cursor else None
    async with db.read() as connection:
        rows = await queries.page(
            connection,
            chain_id=chain_id,
            owner=_owner(caller),
            status=None if status is None else Status(status),
            stuck=stuck,
            before=before,
            count_max=limit + 1,
        )
    views = [TransactionSummary.of(row) for row in rows]
    data, next_cursor = page(views, limit=limit, cursor_of=lambda last: encode_cursor(_LIST, last.id))
    return Page(data=data, next_cursor=next_cursor)


@router.get(
    "/transactions/{transaction_id}", tags=["transactions"], responses=documented(*REFUSED, TransactionNotFound)
)
async def read_transaction(transaction_id: UUID, caller: Operating, chain_id: ChainId, db: Db) -> TransactionDetail:
    """One transaction with every version of it that was ever made, and the audit of their signatures."""
    return await _detail(db, chain_id, caller, transaction_id)


@router.post("/transactions/{transaction_id}/bump", status_code=202, tags=["transactions"], responses=documented(*_ACT))
async def bump_transaction(
    transaction_id: UUID, order: EmptyOrder, ask: AskingDep, chain_id: ChainId, db: Db
) -> TransactionDetail:
    """Offer a better fee for the same nonce now, up to the deployment's cap."""
    return await _act(db, chain_id, ask(order), transaction_id, commands.bump)


@router.post(
    "/transactions/{transaction_id}/cancel", status_code=202, tags=["transactions"], responses=documented(*_ACT)
)
async def cancel_transaction(
    transaction_id: UUID, order: EmptyOrder, ask: AskingDep, chain_id: ChainId, db: Db
) -> TransactionDetail:
    """Take a transaction back: at once, or by an empty transaction in its place unless it is mined before."""
    return await _act(db, chain_id, ask(order), transaction_id, commands.cancel)


@router.post(
    "/transactions/{transaction_id}/approve",
    status_code=202,
    tags=["transactions"],
    responses=documented(*_ACT, ApprovalByRequester),
)
async def approve_transaction(
    transaction_id: UUID, order: EmptyOrder, ask: AskingDep, chain_id: ChainId, db: Db
) -> TransactionDetail:
    """Give the second consent that the signer's policy asks for: by another caller than the one who asked."""
    request = ask(order)
    approve = commands.approving(by=f"caller {request.caller.id}", caller_id=request.caller.id)
    return await _act(db, chain_id, request, transaction_id, approve)


@router.get("/signers", tags=["signers"], responses=documented(*REFUSED))
async def list_signers(caller: Operating, chain_id: ChainId, db: Db) -> list[SignerView]:
    """How the issuer's signer stands: nonce, ether, halt, alert, what it has on its way, and what it may sign."""
    return await _signers(db, chain_id, caller)


@router.post(
    "/signers/{signer}/resume",
    status_code=202,
    tags=["signers"],
    responses=documented(*WRITE, SignerNotFound, SignerShared),
)
async def resume_signer(
    signer: AddressInPath, order: EmptyOrder, ask: AskingDep, chain_id: ChainId, db: Db
) -> SignerView:
    """Lift the signer's halt and try again now. Where its cause is still there, it halts again."""
    request = ask(order)
    if signer != request.caller.signer:
        raise SignerNotFound("list the issuer's own with GET /v1/signers")
    if await shares_signer(db, request.caller):
        raise SignerShared("ask the service's operator for `muniment transactions resume`")
    if await request.first_id(db) is None:
        async with db.transaction() as session:
            if await request.claim(session, f"signers/{checksum(signer)}"):
                await transactions.resume(session, signer, chain_id=chain_id)
    return (await _signers(db, chain_id, request.caller))[0]


@router.get("/endpoints", tags=["signers"], responses=documented(*REFUSED))
async def list_endpoints(caller: Operating, chain_id: ChainId, db: Db) -> list[EndpointView]:
    """How the chain's endpoints do, as the sender last told it: in use or not, latency, blocks behind, failures."""
    del caller
    async with db.read() as connection:
        found = await endpoints.seen(connection, chain_id=chain_id)
    return [EndpointView.model_validate(each) for each in found]


async def _signers(db: Database, chain_id: int, caller: Caller) -> list[SignerView]:
    async with db.read() as connection:
        found = await queries.signers(connection, chain_id=chain_id, addresses=[caller.signer])
    return [SignerView.of(each) for each in found]


async def _detail(db: Database, chain_id: int, caller: Caller, id: UUID) -> TransactionDetail:
    async with db.read() as connection:
        found = await queries.detail(connection, chain_id=chain_id, owner=_owner(caller), id=id)
    return TransactionDetail.of_detail(found)


async def _act(db: Database, chain_id: int, request: Intention, id: UUID, act: Act) -> TransactionDetail:
    """Do it once for each idempotency key: a retry shows how the transaction stands by now."""
    if await request.first_id(db) is None:
        async with db.read() as connection:
            found = await queries.detail(connection, chain_id=chain_id, owner=_owner(request.caller), id=id)
        if found.listed.transaction.issuer_id != request.caller.issuer_id:
            raise TransactionNotInState("it is the service's own: its operator steers it with `muniment transactions`")
        async with db.transaction() as session:
            if await request.claim(session, f"transactions/{id}"):
                await act(session, found.listed.transaction)
    return await _detail(db, chain_id, request.caller, id)
