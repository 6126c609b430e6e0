"""/v1/tokens/{token_id}/…: what the mirror knows of a token besides holdings: freezes, deeds, royalties, events."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema

from service.addresses import Address, Hash, parse_holder
from service.amounts import Amount, display_amount
from service.db import ReadConnection
from service.mirror import facts
from service.mirror.aspects import NOBODY
from service.mirror.facts import EventEntry, Title, TitleEntry
from service.mirror.queries import Contract, Label
from service.operations.facts import facts_page
from service.operations.labels import LabelledPage, LabelView, label_view
from service.operations.reading import READ, Reading, ReadingAt
from service.tokens import problems, queries
from service.tokens.act_routes import DeedInPath
from service.tokens.controls import ALICE, DEEDS, FUNGIBLE, HASH
from service.tokens.queries import Token
from service.web.catalogue import documented
from service.web.http import AddressInPath
from service.web.orders import Bytes32
from service.web.paging import BadCursor, CursorParameter, Limit, decode_cursor, encode_cursor, page

router = APIRouter()

_TOKEN = (*READ, problems.TokenNotFound, problems.TokenNotDeployed)
_KIND = (*_TOKEN, problems.WrongTokenKind)

TITLED = DEEDS | {"erc721"}
"""Kinds whose units are each one of its own."""

ROWS_MAX = 500
"""Rows of one question about the deeds of a page."""

HolderFilter = Annotated[
    bytes | None,
    Query(description="Only this account's."),
    BeforeValidator(lambda text: text if text is None else parse_holder(text)),
    WithJsonSchema({"type": "string", "pattern": "^0x[0-9a-fA-F]{40}$"}),
]


class FrozenView(BaseModel):
    """How many units of an account may not move: perhaps more than it holds."""

    account: Address = Field(examples=[ALICE])
    amount: Amount = Field(examples=["250"], description="Base units; 2**256 - 1 for all, whatever comes.")
    display: str = Field(examples=["2.5"], description="The amount in whole tokens.")


class LabelledFrozen(FrozenView):
    """What is frozen of one account, and the block that it describes."""

    at: LabelView


class RoyaltyView(BaseModel):
    """Who is owed which share of a sale."""

    receiver: Address = Field(examples=[ALICE])
    basis_points: int = Field(examples=[250], description="Hundredths of a percent.")


class RoyaltyOfView(RoyaltyView):
    """The royalty of one deed, or of all that have none of their own."""

    deed_id: Amount | None = Field(examples=["1"], description="Null for all other deeds.")
    since_block: int = Field(description="It has been so from this block on.", examples=[42])


class DeedView(BaseModel):
    """One deed, as of the block in `at`."""

    deed_id: Amount = Field(examples=["1"])
    holder: Address | None = Field(examples=[ALICE], description="Null once it is retired.")
    uri: str = Field(examples=["https://example.com/deeds/1.json"])
    document_hash: Bytes32 = Field(examples=[HASH])
    frozen: bool = Field(description="Its holder can't move it.")
    royalty: RoyaltyView | None = Field(description="Its own, or that of all other deeds.")
    retired: str | None = Field(examples=[None], description="The reason, once it is retired.")


class LabelledDeed(DeedView):
    """One deed and the block that it describes."""

    at: LabelView


class TitleView(BaseModel):
    """Who held a deed from one block until another."""

    from_block: int = Field(examples=[42])
    from_hash: Hash
    from_time: datetime
    to_block: int | None = Field(
        description="The first block in which this no longer held; null while it holds.", examples=[57]
    )
    holder: Address | None = Field(examples=[ALICE], description="Null where it was retired.")

    @classmethod
    def of(cls, entry: TitleEntry) -> "TitleView":
        """The view of a piece of history."""
        return cls.model_validate(entry, from_attributes=True)


class EventView(BaseModel):
    """One event of a token's contract, but for transfers, which have their own list."""

    name: str = Field(examples=["Frozen"])
    arguments: dict[str, Any] = Field(examples=[{"account": ALICE, "amount": "250"}])
    block: int = Field(examples=[42])
    block_hash: Hash
    time: datetime
    log_index: int = Field(examples=[1])
    transaction_hash: Hash

    @classmethod
    def of(cls, entry: EventEntry) -> "EventView":
        """The view of an event."""
        return cls(
            name=entry.name,
            arguments=entry.arguments,
            block=entry.block_number,
            block_hash=entry.block_hash,
            time=entry.block_time,
            log_index=entry.log_index,
            transaction_hash=entry.transaction_hash,
        )


@router.get("/tokens/{token_id}/frozen", tags=["tokens"], responses=documented(*_KIND, BadCursor))
async def list_frozen(
    token_id: UUID, reading: ReadingAt, cursor: CursorParameter = None, limit: Limit = 100
) -> LabelledPage[FrozenView]:
    """The accounts that have frozen units, in address order, now or as of a block."""
    async with reading.open() as (connection, label):
        token, contract = await _token(connection, reading, label, token_id, FUNGIBLE)
        found = await facts_page(
            connection, contract, label, aspect="frozen", cursor=cursor, limit=limit, of=(str(token_id),)
        )
    shown = [fact.model_dump() for fact in found.data]
    views = [_frozen(token, fact["account"], int(fact["amount"])) for fact in shown]
    return LabelledPage(data=views, next_cursor=found.next_cursor, at=found.at)


@router.get("/tokens/{token_id}/frozen/{account}", tags=["tokens"], responses=documented(*_KIND))
async def read_frozen(token_id: UUID, account: AddressInPath, reading: ReadingAt) -> LabelledFrozen:
    """How many units of one account are frozen, now or as of a block; 0 when none are."""
    async with reading.open() as (connection, label):
        token, contract = await _token(connection, reading, label, token_id, FUNGIBLE)
        state = await facts.state(connection, contract_id=contract.id, aspect="frozen", key=account, block=label.block)
    amount = int(state["amount"]) if state else 0
    return LabelledFrozen(**dict(_frozen(token, account, amount)), at=label_view(label))


@router.get("/tokens/{token_id}/deeds", tags=["deeds"], responses=documented(*_KIND, BadCursor))
async def list_deeds(
    token_id: UUID,
    reading: ReadingAt,
    holder: HolderFilter = None,
    cursor: CursorParameter = None,
    limit: Limit = 50,
) -> LabelledPage[DeedView]:
    """The deeds that somebody holds, in order of their ids, now or as of a block; retired ones are not among them."""
    of = f"deeds:{token_id}:{holder.hex() if holder else ''}"
    after = int.from_bytes(decode_cursor(cursor, of, bytes)[0]) if cursor else None
    async with reading.open() as (connection, label):
        _, contract = await _token(connection, reading, label, token_id, TITLED)
        rows = await facts.titles_page(
            connection, contract_id=contract.id, block=label.block, holder=holder, after=after, count_max=limit + 1
        )
        shown, next_cursor = page(rows, limit=limit, cursor_of=lambda last: encode_cursor(of, _key(last.deed_id)))
        views = await _deeds(connection, contract, label, shown)
    return LabelledPage(data=views, next_cursor=next_cursor, at=label_view(label))


@router.get("/tokens/{token_id}/deeds/{deed_id}", tags=["deeds"], responses=documented(*_KIND, problems.DeedNotFound))
async def read_deed(token_id: UUID, deed_id: DeedInPath, reading: ReadingAt) -> LabelledDeed:
    """One deed, now or as of a block; a retired one, too."""
    async with reading.open() as (connection, label):
        _, contract = await _token(connection, reading, label, token_id, TITLED)
        title = await _title(connection, contract, label, deed_id)
        (view,) = await _deeds(connection, contract, label, [title])
    return LabelledDeed(**dict(view), at=label_view(label))


@router.get(
    "/tokens/{token_id}/deeds/{deed_id}/history",
    tags=["deeds"],
    responses=documented(*_KIND, problems.DeedNotFound, BadCursor),
)
async def read_deed_history(
    token_id: UUID, deed_id: DeedInPath, reading: ReadingAt, cursor: CursorParameter = None, limit: Limit = 100
) -> LabelledPage[TitleView]:
    """Who held a deed and when, oldest first, up to now or up to a block."""
    of = f"deed-history:{token_id}:{deed_id}"
    after_block = decode_cursor(cursor, of, int)[0] if cursor else None
    async with reading.open() as (connection, label):
        _, contract = await _token(connection, reading, label, token_id, TITLED)
        await _title(connection, contract, label, deed_id)
        rows = await facts.title_history_page(
            connection,
            contract_id=contract.id,
            deed_id=deed_id,
            block=label.block,
            after_block=after_block,
            count_max=limit + 1,
        )
    shown, next_cursor = page(rows, limit=limit, cursor_of=lambda last: encode_cursor(of, last.from_block))
    return LabelledPage(data=[TitleView.of(row) for row in shown], next_cursor=next_cursor, at=label_view(label))


@router.get("/tokens/{token_id}/royalties", tags=["deeds"], responses=documented(*_KIND, BadCursor))
async def list_royalties(
    token_id: UUID, reading: ReadingAt, cursor: CursorParameter = None, limit: Limit = 50
) -> LabelledPage[RoyaltyOfView]:
    """Who is owed which share of the sales of which deeds, now or as of a block; first of all other deeds."""
    async with reading.open() as (connection, label):
        _, contract = await _token(connection, reading, label, token_id, DEEDS)
        found = await facts_page(
            connection, contract, label, aspect="royalty", cursor=cursor, limit=limit, of=(str(token_id),)
        )
    shown = [fact.model_dump() for fact in found.data]
    views = [RoyaltyOfView.model_validate({"deed_id": None, **fact}) for fact in shown if fact["receiver"] != NOBODY]
    return LabelledPage(data=views, next_cursor=found.next_cursor, at=found.at)


@router.get("/tokens/{token_id}/events", tags=["tokens"], responses=documented(*_TOKEN, BadCursor))
async def list_events(
    token_id: UUID,
    reading: ReadingAt,
    name: Annotated[str | None, Query(max_length=80, description="Only events of this name, such as `Frozen`.")] = None,
    cursor: CursorParameter = None,
    limit: Limit = 100,
) -> LabelledPage[EventView]:
    """What a token's contract announced besides transfers, newest first, up to now or up to a block."""
    of = f"events:{token_id}:{name or ''}"
    before = decode_cursor(cursor, of, int, int) if cursor else None
    async with reading.open() as (connection, label):
        _, contract = await _token(connection, reading, label, token_id, None)
        rows = await facts.events_page(
            connection,
            contract_ids=[contract.id],
            names=None if name is None else [name],
            block=label.block,
            before=None if before is None else (before[0], before[1]),
            count_max=limit + 1,
        )
    shown, next_cursor = page(
        rows, limit=limit, cursor_of=lambda last: encode_cursor(of, last.block_number, last.log_index)
    )
    return LabelledPage(data=[EventView.of(row) for row in shown], next_cursor=next_cursor, at=label_view(label))


async def _token(
    connection: ReadConnection, reading: Reading, label: Label, token_id: UUID, kinds: frozenset[str] | None
) -> tuple[Token, Contract]:
    token = await queries.token(connection, issuer_id=reading.caller.issuer_id, id=token_id)
    if kinds is not None and token.kind not in kinds:
        needed = " and ".join(sorted(kinds))
        raise problems.WrongTokenKind(
            f"this is a {token.kind} token, and only {needed} tokens have this", kind=token.kind
        )
    return token, await queries.contract_of(connection, token, label)


def _frozen(token: Token, account: bytes | str, amount: int) -> FrozenView:
    shown = display_amount(amount, token.decimals)
    return FrozenView.model_validate({"account": account, "amount": amount, "display": shown})


async def _title(connection: ReadConnection, contract: Contract, label: Label, deed_id: int) -> Title:
    found = await facts.title(connection, contract_id=contract.id, deed_id=deed_id, block=label.block)
    if found is None:
        raise problems.DeedNotFound(f"at block {label.block} there was no deed {deed_id}: ask for a later block")
    return found


def _key(deed_id: int) -> bytes:
    return deed_id.to_bytes(32)


async def _deeds(
    connection: ReadConnection, contract: Contract, label: Label, titles: Sequence[Title]
) -> list[DeedView]:
    """The views of titles, which are in order of their ids."""
    documents = await _between(connection, contract, label, "deed", titles)
    royalties = await _between(connection, contract, label, "royalty", titles)

    async def states(aspect: str, keys: list[bytes]) -> dict[bytes, dict[str, Any]]:
        return await facts.states_of_keys(
            connection, contract_id=contract.id, aspect=aspect, keys=keys, block=label.block
        )

    everyone = await facts.state(connection, contract_id=contract.id, aspect="royalty", key=b"", block=label.block)
    frozen = await states("frozen-deed", [each.holder + _key(each.deed_id) for each in titles if each.holder])
    retired = await states("retired", [_key(each.deed_id) for each in titles if each.holder is None])
    views = []
    for title in titles:
        key = _key(title.deed_id)
        royalty = next((each for each in (royalties.get(key), everyone) if each and each["receiver"] != NOBODY), None)
        about = documents.get(key) or {"uri": "", "document_hash": bytes(32)}
        views.append(
            DeedView.model_validate(
                {
                    **about,
                    "deed_id": title.deed_id,
                    "holder": title.holder,
                    "frozen": title.holder is not None and title.holder + key in frozen,
                    "royalty": royalty,
                    "retired": retired[key]["reason"] if key in retired else None,
                }
            )
        )
    return views


async def _between(
    connection: ReadConnection, contract: Contract, label: Label, aspect: str, titles: Sequence[Title]
) -> dict[bytes, dict[str, Any]]:
    """The states of all deeds from the first title to the last one, by key."""
    found: dict[bytes, dict[str, Any]] = {}
    if not titles:
        return found
    first, last = _key(titles[0].deed_id), _key(titles[-1].deed_id)
    after = first[:-1]  # shorter, so below the first deed's key and above those of all but its neighbours
    while after < last:
        rows = await facts.states_page(
            connection, contract_id=contract.id, aspect=aspect, block=label.block, after=after, count_max=ROWS_MAX
        )
        found |= {row.key: row.state for row in rows if row.key <= last}
        if len(rows) < ROWS_MAX:
            break
        after = rows[-1].key
    return found
