"""What issuers do with assets, accounts and tokens.

Each command reads, then simulates, then stores: no Postgres connection is held while the node thinks. A command returns
after its DB transaction is committed, so an answer is never ahead of the truth.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from eth_utils.crypto import keccak
from sqlalchemy import insert, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncSession

from service.addresses import checksum
from service.chain import contracts
from service.chain.reader import Call
from service.db import ReadConnection, new_id
from service.keys import managed
from service.mirror import queries as mirror
from service.mirror.queries import Label
from service.operations import queries as operations
from service.operations.queries import Operation
from service.operations.submit import Intent, Ledger, Request, once, simulate, submit
from service.tokens import queries
from service.tokens.orders import AccountOrder, AssetOrder, BurnOrder, MintOrder, TokenOrder, TransferOrder
from service.tokens.problems import (
    AccountExists,
    AccountNotManaged,
    AssetAlreadyTokenized,
    TokenNotDeployed,
)
from service.tokens.queries import Account, Asset, Token
from service.tokens.tables import AccountRow, AssetRow, TokenRow

ERC165 = bytes.fromhex("01ffc9a7")
"""`supportsInterface` of this id is true of every contract of ours. Source: ERC-165."""

AUTHORIZATION_LIFE = timedelta(hours=1)
"""A holder's authorization that fails in a block is public: the operation fails only once it has run out."""


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
        Problem: the factory refuses.

    Source: EIP-1014 (CREATE2).
    """
    return await once(ledger, request, lambda: _deploy(ledger, request, order))


async def _deploy(ledger: Ledger, request: Request, order: TokenOrder) -> Operation:
    caller = request.caller
    async with ledger.db.read() as connection:
        await queries.asset(connection, issuer_id=caller.issuer_id, id=order.asset_id)
        former = await _failed_token(connection, caller.issuer_id, order)
    token_id = former.id if former else new_id()
    code = contracts.creation_code("AssetToken", order.name, order.symbol, order.decimals, caller.signer)
    salt = _deployment_salt(caller.issuer_id, order.asset_id, order.kind)
    address = contracts.create2_address(ledger.factory, salt, keccak(code))
    data = contracts.encode_call("AssetFactory", "deploy", salt, code)
    proof = (address, contracts.encode_call("AssetToken", "supportsInterface", ERC165))
    intent = Intent("token.deploy", token_id, address, ledger.factory, data, proof)

    async def store_token(session: AsyncSession) -> None:
        await _store_token(session, ledger, request, order, intent, former)

    return await _send(ledger, request, intent, store_token)


async def _failed_token(connection: ReadConnection, issuer_id: UUID, order: TokenOrder) -> Token | None:
    """The asset's token of this kind when its deployment failed, and None when it has none."""
    former = await queries.token_of_asset(connection, asset_id=order.asset_id, kind=order.kind)
    if former is None:
        return None
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
        "name": order.name,
        "symbol": order.symbol,
        "decimals": order.decimals,
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
        stored = await session.scalar(
            upsert(TokenRow)
            .values(
                id=intent.token_id,
                issuer_id=request.caller.issuer_id,
                asset_id=order.asset_id,
                kind=order.kind,
                chain_id=ledger.chain.chain_id,
                **content,
            )
            .on_conflict_do_nothing(index_elements=["asset_id", "kind"])
            .returning(TokenRow.id)
        )
    if stored is None:
        raise AssetAlreadyTokenized("another request deployed this asset's token a moment ago: list them and use it")


def _deployment_salt(issuer_id: UUID, asset_id: UUID, kind: str) -> bytes:
    """One for each issuer, asset and kind, so that the chain refuses the same deployment a second time."""
    return keccak(b"muniment.deployment" + issuer_id.bytes + asset_id.bytes + kind.encode())


async def mint(ledger: Ledger, request: Request, token_id: UUID, order: MintOrder) -> Operation:
    """Ask the chain for new units of a token.

    Raises:
        TokenNotFound: no such token, or not one of the caller's.
        TokenNotDeployed: its contract is not on the chain yet.
        Problem: the contract refuses (paused, supply beyond 2**256 - 1).
    """
    return await _call_token(ledger, request, token_id, "mint", order.to, order.amount)


async def burn(ledger: Ledger, request: Request, token_id: UUID, order: BurnOrder) -> Operation:
    """Ask the chain to destroy units of a holder. Raises as `mint`, and InsufficientBalance."""
    return await _call_token(ledger, request, token_id, "burn", order.holder, order.amount)


async def pause(ledger: Ledger, request: Request, token_id: UUID) -> Operation:
    """Ask the chain to stop every move of a token. Raises as `mint`."""
    return await _call_token(ledger, request, token_id, "pause")


async def unpause(ledger: Ledger, request: Request, token_id: UUID) -> Operation:
    """Ask the chain to let a token move again. Raises as `mint`, and TokenNotPaused."""
    return await _call_token(ledger, request, token_id, "unpause")


async def transfer(ledger: Ledger, request: Request, token_id: UUID, order: TransferOrder) -> Operation:
    """Move units out of a managed account: its key authorizes, the issuer's signer relays and pays the gas.

    Raises:
        AccountNotFound: this issuer has not registered `from`.
        AccountNotManaged: the holder has its own key.
        TokenNotFound, TokenNotDeployed, InsufficientBalance, TokenPaused: as their names say.

    Source: ERC-3009, transferWithAuthorization.
    """
    return await once(ledger, request, lambda: _transfer(ledger, request, token_id, order))


async def _transfer(ledger: Ledger, request: Request, token_id: UUID, order: TransferOrder) -> Operation:
    issuer_id = request.caller.issuer_id
    async with ledger.db.read() as connection:
        token, label = await _deployed_token(connection, ledger, issuer_id, token_id)
        sender = await queries.account(connection, issuer_id=issuer_id, address=order.sender)
    if not sender.managed:
        raise AccountNotManaged(
            f"{checksum(order.sender)} is external: its holder transfers with its own key, "
            "or signs an ERC-3009 authorization that anyone may relay"
        )
    burned = contracts.operation_nonce(token.chain_id, token.address, request.effect_id)
    # By the chain's clock, which may run ahead of ours.
    until = (max(datetime.now(UTC), label.time) + AUTHORIZATION_LIFE).replace(microsecond=0)
    moved, valid_before = (order.sender, order.to, order.amount), int(until.timestamp())
    digest = contracts.authorization_digest(token.chain_id, token.address, *moved, valid_before, burned)
    async with ledger.db.transaction() as session:
        signed = await managed.sign_digest(session, ledger.key_encryption_key, order.sender, digest)
    window = (contracts.VALID_AFTER, valid_before)
    data = contracts.encode_call(
        "AssetToken", "transferWithAuthorization", *moved, *window, burned, signed.v, signed.r, signed.s
    )
    proof = (token.address, contracts.encode_call("AssetToken", "authorizationState", order.sender, burned))
    return await _send(
        ledger, request, Intent("token.transfer", token.id, token.address, token.address, data, proof, until)
    )


async def _call_token(
    ledger: Ledger, request: Request, token_id: UUID, function: str, *arguments: bytes | int
) -> Operation:
    """Submit a call of the issuer's signer to a token, ending with the 32 bytes that the contract burns."""

    async def make() -> Operation:
        async with ledger.db.read() as connection:
            token, _ = await _deployed_token(connection, ledger, request.caller.issuer_id, token_id)
        burned = contracts.operation_nonce(token.chain_id, token.address, request.effect_id)
        data = contracts.encode_call("AssetToken", function, *arguments, burned)
        proof = (token.address, contracts.encode_call("AssetToken", "operationExecuted", burned))
        return await _send(
            ledger, request, Intent(f"token.{function}", token.id, token.address, token.address, data, proof)
        )

    return await once(ledger, request, make)


async def _send(
    ledger: Ledger, request: Request, intent: Intent, *more: Callable[[AsyncSession], Awaitable[None]]
) -> Operation:
    await simulate(ledger, Call(to=intent.recipient, data=intent.data, sender=request.caller.signer))
    return await submit(ledger, request, intent, *more)


async def _deployed_token(
    connection: ReadConnection, ledger: Ledger, issuer_id: UUID, token_id: UUID
) -> tuple[Token, Label]:
    token = await queries.token(connection, issuer_id=issuer_id, id=token_id)
    assert token.chain_id == ledger.chain.chain_id, "one deployment serves one chain"
    label = await mirror.label(connection, chain_id=token.chain_id, at_block=None)
    at = await mirror.contract(connection, chain_id=token.chain_id, address=token.address, block=label.block)
    if at is None:
        raise TokenNotDeployed(f"wait for the operation that deploys it: GET /v1/operations/{token.operation_id}")
    return token, label
