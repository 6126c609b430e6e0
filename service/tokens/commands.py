"""Registering assets and accounts, and deploying the tokens that represent assets.

Each command reads, then simulates, then stores: no Postgres connection is held while the node thinks. A command returns
after its DB transaction is committed, so an answer is never ahead of the truth.
"""

from typing import Any
from uuid import UUID

from sqlalchemy import insert, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from service.addresses import ZERO, checksum
from service.db import ReadConnection, new_id
from service.deployments import queries as deployments
from service.deployments.calls import deployment_intent, send_deployment
from service.keys import managed
from service.operations import queries as operations
from service.operations.queries import Operation
from service.operations.submit import Intent, Ledger, Request, once
from service.tokens import queries
from service.tokens.orders import AccountOrder, AssetOrder, TokenOrder
from service.tokens.problems import AccountExists, AssetAlreadyTokenized
from service.tokens.queries import Account, Asset, Token
from service.tokens.tables import AccountRow, AssetRow, TokenRow


async def register_asset(ledger: Ledger, request: Request, order: AssetOrder) -> Asset:
    """Register an off-chain thing; it has no token yet."""
    id_ = new_id()
    async with ledger.db.transaction() as session:
        if await request.claim(session, f"assets/{id_}"):
            await session.execute(
                insert(AssetRow).values(id=id_, issuer_id=request.caller.issuer_id, **order.canonical())
            )
    first = await request.first_id(ledger.db)
    assert first is not None, "the key was spent a moment ago"
    async with ledger.db.read() as connection:
        return await queries.asset(connection, issuer_id=request.caller.issuer_id, id=UUID(first))


async def register_account(ledger: Ledger, request: Request, order: AccountOrder) -> Account:
    """Register an external account by its address, or make a managed one.

    Raises:
        AccountExists: this issuer has registered the address already.
    """
    found = await _first_account(ledger, request)
    if found is None:
        async with ledger.db.transaction() as session:
            await _add_account(session, ledger, request, order)
        found = await _first_account(ledger, request)
    assert found is not None, "the key was spent a moment ago"
    return found


async def _first_account(ledger: Ledger, request: Request) -> Account | None:
    first = await request.first_id(ledger.db)
    if first is None:
        return None
    address = bytes.fromhex(first.removeprefix("0x"))
    async with ledger.db.read() as connection:
        return await queries.account(connection, issuer_id=request.caller.issuer_id, address=address)


async def _add_account(session: AsyncSession, ledger: Ledger, request: Request, order: AccountOrder) -> None:
    address = order.address or await managed.create_managed_key(session, ledger.key_encryption_key)
    if not await request.claim(session, f"accounts/{checksum(address)}"):
        await session.rollback()  # takes the managed key back with it
        return
    added = await session.scalar(
        upsert(AccountRow)
        .values(issuer_id=request.caller.issuer_id, address=address, managed=order.address is None, label=order.label)
        .on_conflict_do_nothing()
        .returning(AccountRow.address)
    )
    if added is None:
        raise AccountExists(f"{checksum(address)} is registered: read it with GET /v1/accounts/{checksum(address)}")


async def deploy_token(ledger: Ledger, request: Request, order: TokenOrder) -> Operation:
    """Ask for the contract that represents an asset. Its address is known from now on.

    Raises:
        AssetNotFound: not one of the caller's.
        AssetAlreadyTokenized: it has a token of this kind, deployed or on its way.
        ContractMissing, ContractNotDeployed: the issuer's authority, or a registry that the token is to ask.
        Problem: the factory refuses.
    """
    return await once(ledger, request, lambda: _deploy(ledger, request, order))


async def _deploy(ledger: Ledger, request: Request, order: TokenOrder) -> Operation:
    issuer_id = request.caller.issuer_id
    async with ledger.db.read() as connection:
        await queries.asset(connection, issuer_id=issuer_id, id=order.asset_id)
        former = await _failed_token(connection, issuer_id, order)
        terms = await _terms(connection, issuer_id, order)
    token_id = former.id if former else new_id()
    intent = deployment_intent(ledger, request, order.artifact, order.asset_id, terms, token_id=token_id)

    async def store_token(session: AsyncSession) -> None:
        await _store_token(session, ledger, request, order, intent, former)

    return await send_deployment(ledger, request, intent, store_token)


async def _terms(connection: ReadConnection, issuer_id: UUID, order: TokenOrder) -> tuple[Any, ...]:
    """The constructor's one argument: a struct of each kind's own."""

    async def required(kind: str) -> bytes:
        return (await deployments.required(connection, issuer_id=issuer_id, kind=kind)).address

    authority = await required("authority")
    registry = await required("compliance") if order.compliance else ZERO
    reserve = await required("reserve") if order.reserve else ZERO
    asset, terms_hash = order.asset_id.bytes.ljust(32, b"\0"), order.terms_hash or bytes(32)
    if order.kind == "deed":
        return order.name, order.symbol, authority, registry, asset, terms_hash, order.soulbound
    unit = (order.name, order.symbol, order.decimals, authority)
    if order.kind == "fungible":
        return *unit, registry, reserve, asset, terms_hash
    return *unit, order.cap, asset


async def _failed_token(connection: ReadConnection, issuer_id: UUID, order: TokenOrder) -> Token | None:
    """The asset's token of this kind when its deployment failed, and None when it has none."""
    former = await queries.token_of_asset(connection, asset_id=order.asset_id, kind=order.kind)
    if former is None:
        return None
    assert former.operation_id is not None, "what is adopted has no asset"
    deployment = await operations.operation(connection, issuer_id=issuer_id, id=former.operation_id)
    if deployment.status != "failed":
        raise AssetAlreadyTokenized(
            f"the asset has the {order.kind} token {former.id}: use it, or register another asset",
            token_id=str(former.id),
        )
    return former


async def _store_token(
    session: AsyncSession,
    ledger: Ledger,
    request: Request,
    order: TokenOrder,
    intent: Intent,
    former: Token | None,
) -> None:
    content = {
        "artifact": order.artifact,
        "name": order.name,
        "symbol": order.symbol,
        "decimals": order.decimals,
        "terms": order.terms,
        "address": intent.contract,
        "operation_id": intent.id,
    }
    if former is not None:
        stored = await session.scalar(
            update(TokenRow)
            .where(TokenRow.id == former.id, TokenRow.operation_id == former.operation_id)
            .values(**content)
            .returning(TokenRow.id)
        )
    else:
        row = {"issuer_id": request.caller.issuer_id, "asset_id": order.asset_id, "kind": order.kind}
        stored = await session.scalar(
            upsert(TokenRow)
            .values(id=intent.token_id, chain_id=ledger.chain.chain_id, **row, **content)
            .on_conflict_do_nothing(index_elements=["asset_id", "kind"])
            .returning(TokenRow.id)
        )
    if stored is None:
        raise AssetAlreadyTokenized("another request deployed this asset's token a moment ago: list them and use it")
