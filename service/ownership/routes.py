"""/v1/tokens/…: cap tables, movements, changes, spread and lots of a token, as of any block."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query

from service.amounts import display_amount
from service.mirror import movements, ownership
from service.mirror import queries as mirror
from service.mirror.lots import newest_lots
from service.mirror.queries import BlockInFuture, Holding
from service.operations.labels import LabelledPage, label_view
from service.operations.reading import BlockNumber, ReadingAt
from service.ownership.ranks import Ranks
from service.ownership.seen import SEEN, Seen, seen
from service.ownership.views import (
    AcquisitionsPage,
    AcquisitionView,
    CapTablePage,
    ChangesPage,
    ChangeView,
    ConcentrationView,
    HolderTransferView,
    PeriodView,
    TotalView,
    shares,
)
from service.tokens.act_routes import DeedInPath
from service.tokens.problems import DeedNotFound, WrongTokenKind
from service.tokens.views import TransferView
from service.web.catalogue import documented
from service.web.http import AddressInPath
from service.web.paging import BadCursor, CursorParameter, Limit, decode_cursor, encode_cursor, page

router = APIRouter(tags=["ownership"])

_PAGES = (*SEEN, BadCursor)

_ranks = Ranks()

CapTableOrder = Annotated[Literal["amount", "account"], Query(description="Largest first, or in address order.")]
PeriodName = Annotated[
    Literal["day", "week", "month"], Query(description="They begin at midnight UTC, a week on Monday.")
]
ChangeKind = Annotated[
    Literal["gained", "lost"] | None,
    Query(description="Only accounts that held nothing before, or that hold nothing after."),
]
FromBlock = Annotated[
    BlockNumber,
    Query(description="Compare with the end of this block; with the time before the token was there when left out."),
]


@router.get("/tokens/{token_id}/cap-table", responses=documented(*_PAGES))
async def read_cap_table(
    token_id: UUID,
    reading: ReadingAt,
    order: CapTableOrder = "amount",
    cursor: CursorParameter = None,
    limit: Limit = 100,
) -> CapTablePage:
    """Who holds the token, with percentages, largest first, equals by address downwards; now or as of a block."""
    of = f"cap-table:{order}:{token_id}"
    position = decode_cursor(cursor, of, int, int, int, bytes, bytes) if cursor else None
    async with seen(reading, token_id) as found:
        supply = await mirror.supply(found.connection, contract_id=found.contract.id, block=found.label.block)
        # The count goes along in the cursor: it takes all accounts to make, and is the same on every page.
        if position is None:
            given = {"contract_id": found.contract.id, "block": found.label.block}
            rank, holders, last = 0, await ownership.holders_count(found.connection, **given), None
        else:
            rank, holders, rebuilt, amount, account = position
            if rebuilt != found.contract.rebuilt:
                raise BadCursor("the token's rows were made anew meanwhile: start again without the cursor")
            last = Holding(account, int.from_bytes(amount))
        if order == "account":
            rows = await mirror.holdings_page(
                found.connection,
                contract_id=found.contract.id,
                block=found.label.block,
                after=None if last is None else last.account,
                count_max=limit + 1,
            )
        else:
            rows = await _largest(found, rank, last, limit + 1)
    data, next_cursor = page(
        rows,
        limit=limit,
        cursor_of=lambda end: encode_cursor(
            of, rank + limit, holders, found.contract.rebuilt, end.amount.to_bytes(32), end.account
        ),
    )
    decimals = found.token.decimals
    total = TotalView(holders=holders, amount=supply, display=display_amount(supply, decimals))
    views = shares(data, supply, decimals)
    return CapTablePage(data=views, next_cursor=next_cursor, at=label_view(found.label, found.marks), total=total)


async def _largest(found: Seen, rank: int, last: Holding | None, count_max: int) -> list[Holding]:
    contract_id, label = found.contract.id, found.label
    if await mirror.changed_after(found.connection, contract_id, label.block):
        return await _ranks.page(
            found.connection,
            contract=found.contract,
            block=label.block,
            block_hash=label.hash,
            rank=rank,
            count_max=count_max,
        )
    return await ownership.largest_now_page(found.connection, contract_id=contract_id, below=last, count_max=count_max)


@router.get("/tokens/{token_id}/holders/{account}/transfers", responses=documented(*_PAGES))
async def list_holder_transfers(
    token_id: UUID, account: AddressInPath, reading: ReadingAt, cursor: CursorParameter = None, limit: Limit = 100
) -> LabelledPage[HolderTransferView]:
    """What one account received and gave, oldest first, each time with what it held right after; up to a block."""
    of = f"holder-transfers:{token_id}:{account.hex()}"
    position = decode_cursor(cursor, of, int, int) if cursor else None
    async with seen(reading, token_id) as found:
        rows = await movements.holder_transfers_page(
            found.connection,
            contract_id=found.contract.id,
            account=account,
            block=found.label.block,
            after=position and (position[0], position[1]),
            count_max=limit + 1,
        )
    data, next_cursor = page(
        rows, limit=limit, cursor_of=lambda end: encode_cursor(of, end[0].block_number, end[0].log_index)
    )
    views = [HolderTransferView.seen(transfer, held, account, found.token) for transfer, held in data]
    marks = [*found.marks, *([movements.OUT_OF_ORDER] if any(held is None for _, held in data) else [])]
    return LabelledPage(data=views, next_cursor=next_cursor, at=label_view(found.label, marks))


@router.get("/tokens/{token_id}/deeds/{deed_id}/transfers", responses=documented(*_PAGES, WrongTokenKind, DeedNotFound))
async def list_deed_transfers(
    token_id: UUID, deed_id: DeedInPath, reading: ReadingAt, cursor: CursorParameter = None, limit: Limit = 100
) -> LabelledPage[TransferView]:
    """The provenance of a deed: every transfer from its issue on until it was retired, oldest first; up to a block."""
    of = f"deed-transfers:{token_id}:{deed_id}"
    position = decode_cursor(cursor, of, int, int) if cursor else None
    async with seen(reading, token_id, deeds=True) as found:
        rows = await movements.deed_transfers_page(
            found.connection,
            contract_id=found.contract.id,
            deed_id=deed_id,
            block=found.label.block,
            after=position and (position[0], position[1]),
            count_max=limit + 1,
        )
    if not rows and position is None:
        raise DeedNotFound(f"at block {found.label.block} there was no deed {deed_id}: ask for a later block")
    data, next_cursor = page(
        rows, limit=limit, cursor_of=lambda end: encode_cursor(of, end.block_number, end.log_index)
    )
    views = [TransferView.of(row, found.token) for row in data]
    return LabelledPage(data=views, next_cursor=next_cursor, at=label_view(found.label, found.marks))


@router.get("/tokens/{token_id}/holder-changes", responses=documented(*_PAGES))
async def list_holder_changes(
    token_id: UUID,
    reading: ReadingAt,
    from_block: FromBlock = None,
    kind: ChangeKind = None,
    cursor: CursorParameter = None,
    limit: Limit = 100,
) -> ChangesPage:
    """Who holds another amount than at the end of an earlier block, and by how much, in address order."""
    of = f"holder-changes:{token_id}:{from_block}:{kind or ''}"
    after = decode_cursor(cursor, of, bytes)[0] if cursor else None
    async with seen(reading, token_id) as found:
        block = found.label.block
        first = found.contract.deployed_block - 1 if from_block is None else from_block
        if first > block:
            raise BlockInFuture(f"from_block is above block {block}, which it is compared with", tip=block)
        rows = await ownership.changes_page(
            found.connection,
            contract_id=found.contract.id,
            from_block=first,
            block=block,
            gained=None if kind is None else kind == "gained",
            after=after,
            count_max=limit + 1,
        )
    data, next_cursor = page(rows, limit=limit, cursor_of=lambda end: encode_cursor(of, end.account))
    views = [ChangeView.of(row) for row in data]
    return ChangesPage(
        data=views, next_cursor=next_cursor, at=label_view(found.label, found.marks), from_block=from_block
    )


@router.get("/tokens/{token_id}/holder-periods", responses=documented(*_PAGES))
async def list_holder_periods(
    token_id: UUID,
    reading: ReadingAt,
    period: PeriodName = "month",
    cursor: CursorParameter = None,
    limit: Limit = 100,
) -> LabelledPage[PeriodView]:
    """How many holders came and went in each day, week or month, oldest first, up to now or up to a block."""
    of = f"holder-periods:{token_id}:{period}"
    after_s = decode_cursor(cursor, of, int)[0] if cursor else -1
    async with seen(reading, token_id) as found:
        periods = await ownership.periods(
            found.connection,
            chain_id=found.label.chain,
            contract_id=found.contract.id,
            first_block=found.contract.deployed_block,
            block=found.label.block,
            period=period,
        )
    rows = [each for each in periods if each.start.timestamp() > after_s]
    data, next_cursor = page(
        rows, limit=limit, cursor_of=lambda end: encode_cursor(of, max(int(end.start.timestamp()), 0))
    )
    views = [PeriodView.of(row) for row in data]
    return LabelledPage(data=views, next_cursor=next_cursor, at=label_view(found.label, found.marks))


@router.get("/tokens/{token_id}/concentration", responses=documented(*SEEN))
async def read_concentration(token_id: UUID, reading: ReadingAt) -> ConcentrationView:
    """How unevenly the token is spread: the largest holders, an index, and holders by size; now or as of a block."""
    async with seen(reading, token_id) as found:
        given = {"contract_id": found.contract.id, "block": found.label.block}
        supply = await mirror.supply(found.connection, **given)
        spread = await ownership.concentration(found.connection, **given, supply=supply)
    return ConcentrationView.of(spread, supply, label_view(found.label, found.marks))


@router.get("/tokens/{token_id}/holders/{account}/acquisitions", responses=documented(*_PAGES, WrongTokenKind))
async def list_acquisitions(
    token_id: UUID, account: AddressInPath, reading: ReadingAt, cursor: CursorParameter = None, limit: Limit = 100
) -> AcquisitionsPage:
    """When an account acquired what it holds, newest first; it gives the oldest units away first (FIFO).

    A page looks at so many receipts and may hold fewer lots, or none, before the last one.
    """
    of = f"acquisitions:{token_id}:{account.hex()}"
    position = decode_cursor(cursor, of, int, int, bytes) if cursor else None
    async with seen(reading, token_id, deeds=False) as found:
        block = found.label.block
        held = await mirror.holding(found.connection, contract_id=found.contract.id, account=account, block=block)
        rows = await movements.receipts_page(
            found.connection,
            contract_id=found.contract.id,
            account=account,
            block=block,
            before=position and (position[0], position[1]),
            count_max=limit + 1,
        )
    uncovered = held if position is None else min(held, int.from_bytes(position[2]))
    lots, uncovered = newest_lots(rows[:limit], uncovered=uncovered)
    next_cursor = None
    if uncovered and len(rows) > limit:
        end = rows[limit - 1]
        next_cursor = encode_cursor(of, end.block_number, end.log_index, uncovered.to_bytes(32))
    return AcquisitionsPage(
        data=[AcquisitionView.of(lot, found.token.decimals) for lot in lots],
        next_cursor=next_cursor,
        at=label_view(found.label, found.marks),
        held=held,
        untold=uncovered if next_cursor is None else None,
    )
