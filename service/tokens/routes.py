"""/v1/assets, /v1/accounts and /v1/tokens: what is asked of the chain."""

from typing import Annotated, Protocol
from uuid import UUID

from fastapi import APIRouter, Depends, Request, Response

from service.access.http import Authenticated, Unauthorized
from service.mirror.queries import MirrorEmpty
from service.operations.queries import Operation
from service.operations.submit import CallRefused, Ledger
from service.operations.submit import Request as Intention
from service.operations.views import OperationView
from service.tokens import commands, problems, queries
from service.tokens.orders import (
    AccountOrder,
    AssetOrder,
    BurnOrder,
    EmptyOrder,
    MintOrder,
    Order,
    TokenOrder,
    TransferOrder,
)
from service.tokens.views import AccountView, AssetView
from service.web.bodies import StrictJsonRoute
from service.web.catalogue import documented
from service.web.http import AddressInPath, Db, IdempotencyKey
from service.web.idempotency import IdempotencyKeyReused
from service.web.paging import BadCursor, CursorParameter, Limit, Page, decode_cursor, encode_cursor, page
from service.web.problems import BodyTooLarge

router = APIRouter(route_class=StrictJsonRoute)


async def _ledger(request: Request) -> Ledger:
    ledger: Ledger = request.app.state.ledger
    return ledger


LedgerDep = Annotated[Ledger, Depends(_ledger)]


class Asking(Protocol):
    """Makes the intention that an idempotency key names of a body, and of what the path names."""

    def __call__(self, order: Order, target: UUID | None = None) -> Intention: ...


async def _asking(request: Request, caller: Authenticated, key: IdempotencyKey) -> Asking:
    def ask(order: Order, target: UUID | None = None) -> Intention:
        route = f"{request.method} {request.scope['route'].path}"
        return Intention(caller, key, route, target, body=order.canonical(), asked=order.asked())

    return ask


AskingDep = Annotated[Asking, Depends(_asking)]

_WRITE = (Unauthorized, IdempotencyKeyReused, BodyTooLarge)
_CALL = (
    *_WRITE,
    MirrorEmpty,
    CallRefused,
    problems.TokenNotFound,
    problems.TokenNotDeployed,
    problems.TokenPaused,
    problems.SignerLacksRole,
    problems.OperationAlreadyExecuted,
)


def _accepted(operation: Operation, response: Response) -> OperationView:
    response.headers["Location"] = f"/v1/operations/{operation.id}"
    return OperationView.of(operation)


@router.post("/assets", status_code=201, tags=["assets"], responses=documented(*_WRITE))
async def register_asset(order: AssetOrder, ask: AskingDep, ledger: LedgerDep, response: Response) -> AssetView:
    """Register an asset: the off-chain thing that a token is to represent."""
    asset = await commands.register_asset(ledger, ask(order), order)
    response.headers["Location"] = f"/v1/assets/{asset.id}"
    return AssetView.model_validate(asset)


@router.get("/assets/{asset_id}", tags=["assets"], responses=documented(Unauthorized, problems.AssetNotFound))
async def read_asset(asset_id: UUID, caller: Authenticated, db: Db) -> AssetView:
    """One asset."""
    async with db.read() as connection:
        found = await queries.asset(connection, issuer_id=caller.issuer_id, id=asset_id)
    return AssetView.model_validate(found)


@router.get("/assets", tags=["assets"], responses=documented(Unauthorized, BadCursor))
async def list_assets(
    caller: Authenticated, db: Db, cursor: CursorParameter = None, limit: Limit = 50
) -> Page[AssetView]:
    """The issuer's assets, newest first."""
    before = decode_cursor(cursor, "assets", UUID)[0] if cursor else None
    async with db.read() as connection:
        rows = await queries.assets_page(connection, issuer_id=caller.issuer_id, before=before, count_max=limit + 1)
    views = [AssetView.model_validate(row) for row in rows]
    data, next_cursor = page(views, limit=limit, cursor_of=lambda last: encode_cursor("assets", last.id))
    return Page(data=data, next_cursor=next_cursor)


@router.post("/accounts", status_code=201, tags=["accounts"], responses=documented(*_WRITE, problems.AccountExists))
async def register_account(order: AccountOrder, ask: AskingDep, ledger: LedgerDep, response: Response) -> AccountView:
    """Register an account: an external one by its address, or, without an address, a managed one."""
    account = AccountView.model_validate(await commands.register_account(ledger, ask(order), order))
    response.headers["Location"] = f"/v1/accounts/{account.model_dump()['address']}"
    return account


@router.get("/accounts/{address}", tags=["accounts"], responses=documented(Unauthorized, problems.AccountNotFound))
async def read_account(address: AddressInPath, caller: Authenticated, db: Db) -> AccountView:
    """One account."""
    async with db.read() as connection:
        found = await queries.account(connection, issuer_id=caller.issuer_id, address=address)
    return AccountView.model_validate(found)


@router.get("/accounts", tags=["accounts"], responses=documented(Unauthorized, BadCursor))
async def list_accounts(
    caller: Authenticated, db: Db, cursor: CursorParameter = None, limit: Limit = 50
) -> Page[AccountView]:
    """The issuer's accounts, in address order."""
    after = decode_cursor(cursor, "accounts", bytes)[0] if cursor else None
    async with db.read() as connection:
        rows = await queries.accounts_page(connection, issuer_id=caller.issuer_id, after=after, count_max=limit + 1)
    views = [AccountView.model_validate(row) for row in rows]
    data, next_cursor = page(views, limit=limit, cursor_of=lambda last: encode_cursor("accounts", last.address))
    return Page(data=data, next_cursor=next_cursor)


@router.post(
    "/tokens",
    status_code=202,
    tags=["tokens"],
    responses=documented(
        *_WRITE,
        problems.AssetNotFound,
        problems.AssetAlreadyTokenized,
        problems.AlreadyDeployed,
        problems.SignerLacksRole,
        CallRefused,
    ),
)
async def deploy_token(order: TokenOrder, ask: AskingDep, ledger: LedgerDep, response: Response) -> OperationView:
    """Deploy the token of an asset. The operation names the token and its address at once."""
    return _accepted(await commands.deploy_token(ledger, ask(order), order), response)


@router.post("/tokens/{token_id}/mint", status_code=202, tags=["tokens"], responses=documented(*_CALL))
async def mint(
    token_id: UUID, order: MintOrder, ask: AskingDep, ledger: LedgerDep, response: Response
) -> OperationView:
    """Create units for a holder."""
    return _accepted(await commands.mint(ledger, ask(order, token_id), token_id, order), response)


@router.post(
    "/tokens/{token_id}/burn",
    status_code=202,
    tags=["tokens"],
    responses=documented(*_CALL, problems.InsufficientBalance),
)
async def burn(
    token_id: UUID, order: BurnOrder, ask: AskingDep, ledger: LedgerDep, response: Response
) -> OperationView:
    """Destroy units of a holder."""
    return _accepted(await commands.burn(ledger, ask(order, token_id), token_id, order), response)


@router.post(
    "/tokens/{token_id}/transfer",
    status_code=202,
    tags=["tokens"],
    responses=documented(
        *_CALL,
        problems.InsufficientBalance,
        problems.AccountNotFound,
        problems.AccountNotManaged,
        problems.AuthorizationAlreadyUsed,
    ),
)
async def transfer(
    token_id: UUID, order: TransferOrder, ask: AskingDep, ledger: LedgerDep, response: Response
) -> OperationView:
    """Move units out of a managed account, which needs no ether: the issuer's signer pays the gas."""
    return _accepted(await commands.transfer(ledger, ask(order, token_id), token_id, order), response)


@router.post("/tokens/{token_id}/pause", status_code=202, tags=["tokens"], responses=documented(*_CALL))
async def pause(
    token_id: UUID, order: EmptyOrder, ask: AskingDep, ledger: LedgerDep, response: Response
) -> OperationView:
    """Stop every move of a token, minting and burning included."""
    return _accepted(await commands.pause(ledger, ask(order, token_id), token_id), response)


@router.post(
    "/tokens/{token_id}/unpause",
    status_code=202,
    tags=["tokens"],
    responses=documented(*_CALL, problems.TokenNotPaused),
)
async def unpause(
    token_id: UUID, order: EmptyOrder, ask: AskingDep, ledger: LedgerDep, response: Response
) -> OperationView:
    """Let a paused token move again."""
    return _accepted(await commands.unpause(ledger, ask(order, token_id), token_id), response)
