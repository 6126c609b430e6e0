"""POST /v1/tokens/adopt and /v1/adoptions: contracts that were there before us; and which code is behind a proxy."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field

from service.access.http import REFUSED, Viewing
from service.addresses import Address, Hash, checksum
from service.mirror import facts, proxies
from service.mirror.adoptions import Adoption
from service.mirror.facts import EventEntry
from service.mirror.queries import BlockInFuture, MirrorEmpty
from service.operations.http import WRITE, LedgerDep, TokensAsking
from service.operations.labels import LabelledPage, label_view
from service.operations.reading import READ, ReadingAt
from service.tokens import adopting, problems, queries
from service.tokens.orders import AdoptionOrder
from service.tokens.views import ALICE, EXAMPLE_ID
from service.web.bodies import StrictJsonRoute
from service.web.catalogue import documented
from service.web.http import Db
from service.web.paging import BadCursor, CursorParameter, Limit, decode_cursor, encode_cursor, page

router = APIRouter(route_class=StrictJsonRoute)


class AdoptionView(BaseModel):
    """How far the adoption of a contract came. Nothing of it is served before it is live."""

    id: UUID
    token_id: UUID = Field(examples=[EXAMPLE_ID])
    address: Address
    kind: Literal["erc20", "erc721"]
    status: Literal["requested", "filling", "live", "refused"]
    reason: str | None = Field(
        examples=[None], description="Why it was refused: `history-gone`, `transfers-do-not-add-up` or `reorganised`."
    )
    detail: str | None = Field(examples=[None], description="What to do about it, or what is waited for.")
    first_block: int | None = Field(examples=[7], description="The contract's first block, once it is known.")
    blocks: int | None = Field(examples=[120], description="Blocks that are read.")
    blocks_total: int | None = Field(examples=[900], description="Blocks to read, as known now.")
    created_at: datetime
    ended_at: datetime | None

    @classmethod
    def of(cls, found: Adoption, token_id: UUID) -> "AdoptionView":
        """The view of an adoption."""
        names = [name for name in cls.model_fields if name != "token_id"]
        return cls.model_validate({"token_id": token_id, **{name: getattr(found, name) for name in names}})


class ImplementationView(BaseModel):
    """What a proxy announced: the code behind it, the beacon that names that code, or who may exchange it."""

    implementation: str | None = Field(examples=[ALICE])
    beacon: str | None = Field(
        examples=[None], description="With an implementation, the beacon that announced it; alone, the proxy's new one."
    )
    admin: str | None = Field(examples=[None], description="The zero address where nobody may any more.")
    block: int = Field(examples=[42])
    block_hash: Hash
    time: datetime
    log_index: int = Field(examples=[1])
    transaction_hash: Hash

    @classmethod
    def of(cls, entry: EventEntry, proxy: bytes) -> "ImplementationView":
        """The view of one event of a proxy, or of its beacon. Source: ERC-1967."""
        said = entry.arguments
        beacon = None if entry.contract == proxy else checksum(entry.contract)
        told = {
            "implementation": said.get("implementation"),
            "beacon": said.get("beacon", beacon),
            "admin": said.get("newAdmin"),
        }
        return cls.model_validate(
            {
                **told,
                "block": entry.block_number,
                "block_hash": entry.block_hash,
                "time": entry.block_time,
                "log_index": entry.log_index,
                "transaction_hash": entry.transaction_hash,
            }
        )


@router.post(
    "/tokens/adopt",
    status_code=202,
    tags=["tokens"],
    responses=documented(
        *WRITE,
        BlockInFuture,
        MirrorEmpty,
        problems.AlreadyAdopted,
        problems.AlreadyFollowed,
        problems.NoCode,
        problems.NodeAway,
        problems.NotAToken,
        problems.TooManyAdoptions,
    ),
)
async def adopt_token(order: AdoptionOrder, ask: TokensAsking, ledger: LedgerDep, response: Response) -> AdoptionView:
    """Adopt a contract that was there before us: its history is read, and then it is served like our own."""
    found, token_id = await adopting.adopt(ledger, ask(order), order)
    response.headers["Location"] = f"/v1/adoptions/{found.id}"
    return AdoptionView.of(found, token_id)


@router.get("/adoptions/{adoption_id}", tags=["tokens"], responses=documented(*REFUSED, problems.AdoptionNotFound))
async def read_adoption(adoption_id: UUID, caller: Viewing, db: Db) -> AdoptionView:
    """How far an adoption came."""
    async with db.read() as connection:
        return AdoptionView.of(*await adopting.adoption(connection, issuer_id=caller.issuer_id, id=adoption_id))


@router.get(
    "/tokens/{token_id}/implementations",
    tags=["tokens"],
    responses=documented(*READ, problems.TokenNotFound, problems.TokenNotDeployed, BadCursor),
)
async def list_implementations(
    token_id: UUID, reading: ReadingAt, cursor: CursorParameter = None, limit: Limit = 50
) -> LabelledPage[ImplementationView]:
    """What a token that is a proxy announced of the code behind it, newest first; nothing for any other token."""
    of = f"implementations:{token_id}"
    before = decode_cursor(cursor, of, int, int) if cursor else None
    async with reading.open() as (connection, label):
        token = await queries.token(connection, issuer_id=reading.caller.issuer_id, id=token_id)
        contract = await queries.contract_of(connection, token, label)
        beacons = await proxies.beacons(connection, contract_id=contract.id, block=label.block)
        rows = await facts.events_page(
            connection,
            contract_ids=[contract.id, *beacons],
            names=list(proxies.EVENTS),
            block=label.block,
            before=None if before is None else (before[0], before[1]),
            count_max=limit + 1,
        )
    shown, next_cursor = page(
        rows, limit=limit, cursor_of=lambda last: encode_cursor(of, last.block_number, last.log_index)
    )
    views = [ImplementationView.of(row, contract.address) for row in shown]
    return LabelledPage(data=views, next_cursor=next_cursor, at=label_view(label))
