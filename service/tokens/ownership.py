"""/v1/tokens and /v1/accounts: what the mirror says of tokens and of who owns them, as of any block."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BeforeValidator, WithJsonSchema

from service.access.key_amounts import held_tokens
from service.addresses import parse_address, parse_holder
from service.db import ReadConnection
from service.mirror import adoptions, proxies
from service.mirror import queries as mirror
from service.mirror.queries import Contract, Label
from service.mirror.transfer_queries import transfers_page
from service.operations import queries as operations
from service.operations.labels import LabelledPage, label_view
from service.operations.reading import READ, Reading, ReadingAt, ReadingNow
from service.tokens import problems, queries
from service.tokens.queries import Token
from service.tokens.views import (
    HistoryView,
    HolderView,
    HoldingView,
    LabelledHolder,
    LabelledToken,
    TokenView,
    TransferView,
)
from service.web.catalogue import documented
from service.web.http import AddressInPath
from service.web.paging import BadCursor, CursorParameter, Limit, decode_cursor, encode_cursor, page

router = APIRouter()

_TOKEN = (*READ, problems.TokenNotFound, problems.TokenNotDeployed)
_ACCOUNT = (*READ, problems.AccountNotFound, BadCursor)

AccountFilter = Annotated[
    bytes | None,
    Query(description="Only this account's."),
    BeforeValidator(lambda text: text if text is None else parse_holder(text)),
    WithJsonSchema({"type": "string", "pattern": "^0x[0-9a-fA-F]{40}$"}),
]


@router.get("/tokens/{token_id}", tags=["tokens"], responses=documented(*READ, problems.TokenNotFound))
async def read_token(token_id: UUID, reading: ReadingAt) -> LabelledToken:
    """One token, with its supply and whether it is paused."""
    async with reading.open() as (connection, label):
        token = await queries.token(connection, issuer_id=reading.caller.issuer_id, id=token_id)
        views = await _token_views(connection, reading, label, [token])
    return LabelledToken(**dict(views[0]), at=label_view(label))


@router.get("/tokens", tags=["tokens"], responses=documented(*READ, BadCursor))
async def list_tokens(
    reading: ReadingNow, cursor: CursorParameter = None, limit: Limit = 50
) -> LabelledPage[TokenView]:
    """The issuer's tokens, newest first."""
    before = decode_cursor(cursor, "tokens", UUID)[0] if cursor else None
    caller = reading.caller
    async with reading.open() as (connection, label):
        rows = await queries.tokens_page(
            connection,
            issuer_id=caller.issuer_id,
            held_tokens=held_tokens(caller),
            before=before,
            count_max=limit + 1,
        )
        shown, next_cursor = page(rows, limit=limit, cursor_of=lambda last: encode_cursor("tokens", last.id))
        views = await _token_views(connection, reading, label, shown)
    return LabelledPage(data=views, next_cursor=next_cursor, at=label_view(label))


async def _token(connection: ReadConnection, reading: Reading, label: Label, token_id: UUID) -> tuple[Token, Contract]:
    token = await queries.token(connection, issuer_id=reading.caller.issuer_id, id=token_id)
    return token, await queries.contract_of(connection, token, label)


async def _token_views(
    connection: ReadConnection, reading: Reading, label: Label, tokens: Sequence[Token]
) -> list[TokenView]:
    chain_id, issuer_id = reading.chain_id, reading.caller.issuer_id
    states = await mirror.contract_states(
        connection, chain_id=chain_id, addresses=[token.address for token in tokens], block=label.block
    )
    awaited = [token for token in tokens if token.address not in states]
    deploying = [token.operation_id for token in awaited if token.operation_id is not None]
    failed = await operations.failed_among(connection, issuer_id=issuer_id, ids=deploying)
    adopting = [token.adoption_id for token in awaited if token.adoption_id is not None]
    adopted = await adoptions.adoptions(connection, issuer_id=issuer_id, ids=adopting) if adopting else {}
    refused = {each.id for each in adopted.values() if each.status == "refused"}
    others = [token.address for token in tokens if token.adoption_id is not None and token.address in states]
    contract_ids = [states[address].id for address in others]
    behind = await proxies.behind(connection, contract_ids=contract_ids, block=label.block) if others else {}
    beacons = {of: parse_address(told["beacon"]) for of, told in behind.items() if "beacon" in told}
    addresses = [*others, *beacons.values()]
    marks = await adoptions.marks(connection, chain_id=chain_id, addresses=addresses) if others else {}
    views = []
    for token in tokens:
        state = states.get(token.address)
        if state is None:
            waiting = "deploying" if token.adoption_id is None else "adopting"
            status = "failed" if token.operation_id in failed or token.adoption_id in refused else waiting
            views.append(TokenView.of(token, status=status, deployed_block=None))
        else:
            views.append(
                TokenView.of(
                    token,
                    status="active",
                    deployed_block=state.deployed_block,
                    total_supply=state.supply,
                    paused=state.paused,
                    marks=[*marks.get(token.address, []), *marks.get(beacons.get(state.id, b""), [])],
                    **behind.get(state.id, {}),
                )
            )
    return views


@router.get("/tokens/{token_id}/holders", tags=["ownership"], responses=documented(*_TOKEN, BadCursor))
async def list_holders(
    token_id: UUID, reading: ReadingAt, cursor: CursorParameter = None, limit: Limit = 100
) -> LabelledPage[HolderView]:
    """The cap table: who holds the token, in address order, now or as of a block."""
    of = f"holders:{token_id}"
    after = decode_cursor(cursor, of, bytes)[0] if cursor else None
    async with reading.open() as (connection, label):
        token, contract = await _token(connection, reading, label, token_id)
        marks = await queries.doubts(connection, [token])
        rows = await mirror.holdings_page(
            connection, contract_id=contract.id, block=label.block, after=after, count_max=limit + 1
        )
    data, next_cursor = page(rows, limit=limit, cursor_of=lambda last: encode_cursor(of, last.account))
    views = [HolderView.of(row.account, row.amount, token.decimals) for row in data]
    return LabelledPage(data=views, next_cursor=next_cursor, at=label_view(label, marks))


@router.get("/tokens/{token_id}/holders/{account}", tags=["ownership"], responses=documented(*_TOKEN))
async def read_holder(token_id: UUID, account: AddressInPath, reading: ReadingAt) -> LabelledHolder:
    """What one account holds of the token, now or as of a block; 0 when it holds nothing."""
    async with reading.open() as (connection, label):
        token, contract = await _token(connection, reading, label, token_id)
        marks = await queries.doubts(connection, [token])
        amount = await mirror.holding(connection, contract_id=contract.id, account=account, block=label.block)
    return LabelledHolder(**dict(HolderView.of(account, amount, token.decimals)), at=label_view(label, marks))


@router.get(
    "/tokens/{token_id}/holders/{account}/history", tags=["ownership"], responses=documented(*_TOKEN, BadCursor)
)
async def read_history(
    token_id: UUID, account: AddressInPath, reading: ReadingAt, cursor: CursorParameter = None, limit: Limit = 100
) -> LabelledPage[HistoryView]:
    """What one account held and when, oldest first, up to now or up to a block."""
    of = f"history:{token_id}:{account.hex()}"
    after_block = decode_cursor(cursor, of, int)[0] if cursor else None
    async with reading.open() as (connection, label):
        token, contract = await _token(connection, reading, label, token_id)
        marks = await queries.doubts(connection, [token])
        rows = await mirror.history_page(
            connection,
            contract_id=contract.id,
            account=account,
            block=label.block,
            after_block=after_block,
            count_max=limit + 1,
        )
    data, next_cursor = page(rows, limit=limit, cursor_of=lambda last: encode_cursor(of, last.from_block))
    views = [HistoryView.of(row, token.decimals) for row in data]
    return LabelledPage(data=views, next_cursor=next_cursor, at=label_view(label, marks))


@router.get("/tokens/{token_id}/transfers", tags=["ownership"], responses=documented(*_TOKEN, BadCursor))
async def list_token_transfers(
    token_id: UUID,
    reading: ReadingAt,
    account: AccountFilter = None,
    cursor: CursorParameter = None,
    limit: Limit = 100,
) -> LabelledPage[TransferView]:
    """Mints, transfers and burns of a token, newest first."""
    async with reading.open() as (connection, label):
        token, contract = await _token(connection, reading, label, token_id)
        of = f"transfers:{token_id}:{account.hex() if account else ''}"
        return await _transfers(connection, label, {token.address: (token, contract)}, account, of, cursor, limit)


@router.get("/accounts/{account}/transfers", tags=["ownership"], responses=documented(*_ACCOUNT))
async def list_account_transfers(
    account: AddressInPath, reading: ReadingAt, cursor: CursorParameter = None, limit: Limit = 100
) -> LabelledPage[TransferView]:
    """Mints, transfers and burns of the issuer's tokens that touched an account, newest first."""
    async with reading.open() as (connection, label):
        known = await _known_tokens(connection, reading, label, account)
        return await _transfers(connection, label, known, account, f"transfers:{account.hex()}", cursor, limit)


@router.get("/accounts/{account}/holdings", tags=["ownership"], responses=documented(*_ACCOUNT))
async def list_account_holdings(
    account: AddressInPath, reading: ReadingAt, cursor: CursorParameter = None, limit: Limit = 100
) -> LabelledPage[HoldingView]:
    """What an account holds of the issuer's tokens, now or as of a block."""
    of = f"holdings:{account.hex()}"
    after = decode_cursor(cursor, of, bytes)[0] if cursor else None
    async with reading.open() as (connection, label):
        known = await _known_tokens(connection, reading, label, account)
        rows = await mirror.account_holdings_page(
            connection,
            contract_ids=[contract.id for _, contract in known.values()],
            account=account,
            block=label.block,
            after=after,
            count_max=limit + 1,
        )
        marks = await queries.doubts(connection, [known[row.contract][0] for row in rows[:limit]])
    data, next_cursor = page(rows, limit=limit, cursor_of=lambda last: encode_cursor(of, last.contract))
    views = [HoldingView.of(known[row.contract][0], row.amount) for row in data]
    return LabelledPage(data=views, next_cursor=next_cursor, at=label_view(label, marks))


async def _known_tokens(
    connection: ReadConnection, reading: Reading, label: Label, account: bytes
) -> dict[bytes, tuple[Token, Contract]]:
    """The issuer's deployed tokens by address, after a check that the account is the issuer's too."""
    issuer_id = reading.caller.issuer_id
    await queries.account(connection, issuer_id=issuer_id, address=account)
    tokens = await queries.tokens_by_address(connection, issuer_id=issuer_id)
    states = await mirror.contract_states(
        connection, chain_id=reading.chain_id, addresses=list(tokens), block=label.block
    )
    return {address: (tokens[address], state) for address, state in states.items()}


async def _transfers(
    connection: ReadConnection,
    label: Label,
    known: dict[bytes, tuple[Token, Contract]],
    account: bytes | None,
    of: str,
    cursor: str | None,
    limit: int,
) -> LabelledPage[TransferView]:
    before = decode_cursor(cursor, of, int, int) if cursor else None
    rows = await transfers_page(
        connection,
        contract_ids=[contract.id for _, contract in known.values()],
        account=account,
        block=label.block,
        before=before,
        count_max=limit + 1,
    )
    data, next_cursor = page(
        rows, limit=limit, cursor_of=lambda last: encode_cursor(of, last.block_number, last.log_index)
    )
    views = [TransferView.of(row, known[row.contract][0]) for row in data]
    return LabelledPage(data=views, next_cursor=next_cursor, at=label_view(label))
