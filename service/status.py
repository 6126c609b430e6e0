"""GET /v1/status: how far the mirror, the sender and the chain are."""

from dataclasses import asdict
from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from service.access.http import REFUSED, Viewing
from service.db import Database
from service.mirror import queries as mirror
from service.mirror.backfill import present_backfill
from service.mirror.standing import present_halt
from service.settings import Settings
from service.transactions import queries as transactions
from service.web.catalogue import documented

router = APIRouter(tags=["status"])

SILENT_AFTER_S = 10.0
"""A node that the indexer has not heard for so long is told as silent."""


class ChainView(BaseModel):
    """The chain, as the mirror last heard of it."""

    id: int = Field(examples=[31337])
    node: Literal["answering", "silent"] = Field(
        description="`silent`: reads answer as of `tip`, and writes are accepted and sent once it answers again."
    )
    seen_age_s: float | None = Field(description="Seconds since the indexer last heard from the node.", examples=[0.1])
    finality: str = Field(examples=["depth:8"])
    head: int | None = Field(description="The node's newest block.", examples=[120])
    tip: int | None = Field(description="The mirror's newest block.", examples=[120])
    final: int | None = Field(description="The newest block past reversal; null while there is none.", examples=[112])
    lag: int | None = Field(description="Blocks that the mirror is behind the node.", examples=[0])
    halt: str | None = Field(
        None, description="What the mirror waits for, null where nothing: its README tells each.", examples=[None]
    )
    halt_detail: str | None = Field(None, description="What was seen, and what to do.", examples=[None])


class BackfillView(BaseModel):
    """How far the mirror came with a long history, which it shows when all of it is there."""

    blocks: int = Field(description="Blocks that are read.", examples=[120_000])
    blocks_total: int = Field(description="Blocks to read.", examples=[900_000])
    events: int = Field(description="Events that are read.", examples=[4_000_000])
    events_per_s: float = Field(description="As of late.", examples=[70_000.0])
    left_s: float | None = Field(description="Seconds that are left; null while nobody can tell.", examples=[60.5])


class TransactionsView(BaseModel):
    """How many live transactions stand where."""

    queued: int = Field(description="Stored, without a nonce yet.", examples=[0])
    pending: int = Field(description="Its nonce is reserved; not known to have reached a node.", examples=[0])
    submitted: int = Field(description="A node took it.", examples=[2])
    mined: int = Field(description="In a block that is not past reversal.", examples=[5])
    oldest_unmined_s: float | None = Field(description="Age of the oldest that is not mined.", examples=[0.4])


class StatusView(BaseModel):
    """How the system is."""

    chain: ChainView
    backfill: BackfillView | None = Field(description="A long history on its way into the mirror; null without one.")
    transactions: TransactionsView


@router.get("/status", responses=documented(*REFUSED))
async def read_status(request: Request, caller: Viewing) -> StatusView:
    """Tip, lag, finality, and what waits to be sent. Answers also when the node does not."""
    del caller
    db: Database = request.app.state.db
    settings: Settings = request.app.state.settings
    async with db.read() as connection:
        now = await mirror.status(connection, chain_id=settings.chain_id)
        halt = await present_halt(connection, chain_id=settings.chain_id)
        backfill = await present_backfill(connection, chain_id=settings.chain_id)
        counts = await transactions.counts(connection, chain_id=settings.chain_id)
    silent = now.seen_age_s is None or now.seen_age_s > SILENT_AFTER_S
    chain = ChainView(
        id=settings.chain_id,
        node="silent" if silent else "answering",
        seen_age_s=None if now.seen_age_s is None else round(now.seen_age_s, 1),
        finality=settings.finality,
        head=now.head,
        tip=now.tip,
        final=None if now.final is None or now.final < 0 else now.final,
        lag=now.lag,
        halt=None if halt is None else halt.name,
        halt_detail=None if halt is None else halt.detail,
    )
    return StatusView(
        chain=chain,
        backfill=None if backfill is None else BackfillView(**asdict(backfill)),
        transactions=TransactionsView.model_validate(counts),
    )
