"""/v1/assets, /v1/accounts and POST /v1/tokens: registering, and asking for a token."""

from uuid import UUID

from fastapi import APIRouter, Response

from service.access.http import REFUSED, Viewing
from service.deployments.problems import ContractMissing, ContractNotDeployed, SignerLacksRole
from service.operations.http import CALL, WRITE, LedgerDep, TokensAsking, accepted
from service.operations.views import OperationView
from service.tokens import adopt_routes, commands, digest_routes, problems, queries
from service.tokens.orders import AccountOrder, AssetOrder, TokenOrder
from service.tokens.views import AccountView, AssetView
from service.web.bodies import StrictJsonRoute
from service.web.catalogue import documented
from service.web.http import AddressInPath, Db
from service.web.paging import BadCursor, CursorParameter, Limit, Page, decode_cursor, encode_cursor, page

router = APIRouter(route_class=StrictJsonRoute)
router.include_router(adopt_routes.router)
router.include_router(digest_routes.router)


@router.post("/assets", status_code=201, tags=["assets"], responses=documented(*WRITE))
async def register_asset(order: AssetOrder, ask: TokensAsking, ledger: LedgerDep, response: Response) -> AssetView:
    """Register an asset: the off-chain thing that a token is to represent."""
    asset = await commands.register_asset(ledger, ask(order), order)
    response.headers["Location"] = f"/v1/assets/{asset.id}"
    return AssetView.model_validate(asset)


@router.get("/assets/{asset_id}", tags=["assets"], responses=documented(*REFUSED, problems.AssetNotFound))
async def read_asset(asset_id: UUID, caller: Viewing, db: Db) -> AssetView:
    """One asset."""
    async with db.read() as connection:
        found = await queries.asset(connection, issuer_id=caller.issuer_id, id=asset_id)
    return AssetView.model_validate(found)


@router.get("/assets", tags=["assets"], responses=documented(*REFUSED, BadCursor))
async def list_assets(caller: Viewing, db: Db, cursor: CursorParameter = None, limit: Limit = 50) -> Page[AssetView]:
    """The issuer's assets, newest first."""
    before = decode_cursor(cursor, "assets", UUID)[0] if cursor else None
    async with db.read() as connection:
        rows = await queries.assets_page(connection, issuer_id=caller.issuer_id, before=before, count_max=limit + 1)
    views = [AssetView.model_validate(row) for row in rows]
    data, next_cursor = page(views, limit=limit, cursor_of=lambda last: encode_cursor("assets", last.id))
    return Page(data=data, next_cursor=next_cursor)


@router.post("/accounts", status_code=201, tags=["accounts"], responses=documented(*WRITE, problems.AccountExists))
async def register_account(
    order: AccountOrder, ask: TokensAsking, ledger: LedgerDep, response: Response
) -> AccountView:
    """Register an account: an external one by its address, or, without an address, a managed one."""
    account = AccountView.model_validate(await commands.register_account(ledger, ask(order), order))
    response.headers["Location"] = f"/v1/accounts/{account.model_dump()['address']}"
    return account


@router.get("/accounts/{address}", tags=["accounts"], responses=documented(*REFUSED, problems.AccountNotFound))
async def read_account(address: AddressInPath, caller: Viewing, db: Db) -> AccountView:
    """One account."""
    async with db.read() as connection:
        found = await queries.account(connection, issuer_id=caller.issuer_id, address=address)
    return AccountView.model_validate(found)


@router.get("/accounts", tags=["accounts"], responses=documented(*REFUSED, BadCursor))
async def list_accounts(
    caller: Viewing, db: Db, cursor: CursorParameter = None, limit: Limit = 50
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
        *CALL,
        problems.AssetNotFound,
        problems.AssetAlreadyTokenized,
        ContractMissing,
        ContractNotDeployed,
        SignerLacksRole,
    ),
)
async def deploy_token(order: TokenOrder, ask: TokensAsking, ledger: LedgerDep, response: Response) -> OperationView:
    """Deploy the token of an asset. The operation names the token and its address at once."""
    return accepted(await commands.deploy_token(ledger, ask(order), order), response)
