"""A labelled read: one database state, and the block that it describes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from psycopg.errors import QueryCanceled, SerializationFailure
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access.http import REFUSED, Following, Viewing
from service.access.queries import Caller
from service.db import UNAVAILABLE, Database, ReadConnection, Reads, Replica
from service.errors import Problem
from service.mirror import moments
from service.mirror import queries as mirror
from service.mirror.moments import MomentInFuture, NothingShown, Sight
from service.mirror.past import Branch, seen_from
from service.mirror.queries import BlockInFuture, BlockNotMirrored, Label, MirrorBehind, MirrorEmpty
from service.operations.labels import Pin
from service.web.http import Time
from service.web.paging import BadCursor, opened

WAIT_MAX_S = 10.0
"""Longest wait for `min_block` within one request."""

REPLICA_WAIT_MAX_S = 0.5
"""Longest wait for `min_block` on the replica, which may lack what the primary has."""

BLOCK_MAX = 2**63 - 1

BlockNumber = Annotated[int | None, Query(ge=0, le=BLOCK_MAX)]


class MomentAmbiguous(Problem):
    """Two parameters name the state to read, each in its own way."""

    slug, title, status = "moment-ambiguous", "Two parameters name the state to read", 422


READ: tuple[type[Problem], ...] = (
    *REFUSED,
    BlockInFuture,
    BlockNotMirrored,
    MirrorBehind,
    MirrorEmpty,
    MomentAmbiguous,
    MomentInFuture,
    NothingShown,
)
"""Problems of every labelled read."""


class PrimaryNeeded(Exception):
    """The replica failed a read, or refused it for what it may just not have yet: the primary is asked."""


_PRIMARY_ALONE = "muniment.primary_alone"


class ReadAgain:
    """ASGI middleware: a request that the replica could not serve is handled again, by the primary alone.

    So a row that was just written is never told as missing, and a replica that dies takes no answer with it. Who asks
    is proved once: `authenticate` leaves that in the scope's state, which both runs share.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _may_be_the_replicas(scope):
            await self._app(scope, receive, send)
            return
        # Routing writes into the scope, so that the second run needs the first one's as it was.
        again = {**scope, _PRIMARY_ALONE: True}
        heard: list[Message] = []

        async def hear() -> Message:
            heard.append(await receive())
            return heard[-1]

        async def hear_again() -> Message:
            return heard.pop(0) if heard else await receive()

        try:
            await self._app(scope, hear, send)
        except PrimaryNeeded:
            await self._app(again, hear_again, send)


def _may_be_the_replicas(scope: Scope) -> bool:
    """Whether a request only reads: what writes must know the newest state."""
    return scope["type"] == "http" and scope["method"] == "GET" and _PRIMARY_ALONE not in scope


@dataclass(frozen=True, slots=True)
class Reading:
    """What a labelled read starts from.

    `pin` is the block of the walk that a cursor belongs to: the other parameters then name that block, or are left out.
    """

    db: Database
    caller: Caller
    chain_id: int
    at_block: int | None
    min_block: int | None
    at_time: datetime | None = None
    shown_at: datetime | None = None
    pin: Pin | None = None
    replica: Replica | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[tuple[ReadConnection, Label]]:
        """One database state and its label, after `min_block` has come; of the replica, where that may answer.

        Where the label's block is orphaned, every query on the connection sees the branch that it is on.

        Raises:
            PrimaryNeeded: the replica failed, or would have refused.
            MirrorBehind, BlockInFuture, BlockNotMirrored, MirrorEmpty: as their names say.
            MomentInFuture, NothingShown: likewise, of `shown_at`.
            MomentAmbiguous: `at_time` beside `at_block` or `shown_at`.
            BadCursor: of another block than the parameters name, or of one that was never shown.
        """
        if self.at_time is not None and (self.at_block is not None or self.shown_at is not None):
            raise MomentAmbiguous("at_time names a block by itself: leave it out, or leave out at_block and shown_at")
        if self.replica is None or not self._may_lag or not self.replica.serves:
            async with self._opened(self.db, wait_max_s=WAIT_MAX_S) as opened:
                yield opened
            return
        try:
            async with self._opened(self.replica, wait_max_s=REPLICA_WAIT_MAX_S) as opened:
                yield opened
        except QueryCanceled:
            raise  # what takes too long here takes too long there
        except (Problem, *UNAVAILABLE) as error:
            # A replica cancels a read that stands in the way of what it must replay, and is well.
            if not isinstance(error, Problem | SerializationFailure):
                self.replica.doubt()
            raise PrimaryNeeded from error

    @property
    def _may_lag(self) -> bool:
        """Whether an older state is a true answer, which it is not to what was shown at a moment."""
        return self.shown_at is None and (self.pin is None or self.pin.shown_at is None)

    @asynccontextmanager
    async def _opened(self, reads: Reads, *, wait_max_s: float) -> AsyncIterator[tuple[ReadConnection, Label]]:
        if self.min_block is not None:
            await mirror.wait_for_block(reads, chain_id=self.chain_id, min_block=self.min_block, timeout_s=wait_max_s)
        async with reads.read() as connection:
            sight = await self._sight(connection)
            with seen_from(connection, sight.branch):
                yield connection, sight.label

    async def _sight(self, connection: ReadConnection) -> Sight:
        chain_id, at_block = self.chain_id, self.at_block
        if self.pin is not None:
            return await self._pinned(connection, self.pin)
        if self.shown_at is not None:
            return await moments.shown_at(connection, chain_id=chain_id, moment=self.shown_at, at_block=at_block)
        if self.at_time is not None:
            return Sight(await moments.label_at_time(connection, chain_id=chain_id, time=self.at_time), Branch())
        return Sight(await mirror.label(connection, chain_id=chain_id, at_block=at_block), Branch())

    async def _pinned(self, connection: ReadConnection, pin: Pin) -> Sight:
        sight = await moments.sight_of(
            connection, chain_id=self.chain_id, block_hash=pin.block_hash, shown_at=pin.shown_at
        )
        if sight is None:
            raise BadCursor("take it from `next_cursor` of the same list, or leave it out to start again")
        label = sight.label
        # A block's time never comes after the time that it was asked for by.
        others = self.at_time is not None and self.at_time < label.time
        if others or self.at_block not in (None, label.block) or self.shown_at not in (None, label.shown_at):
            raise BadCursor(
                f"this walk is as of block {label.block}: leave at_block, at_time and shown_at as they were on its "
                "first page, or start again without the cursor"
            )
        return sight


async def reading_now(
    request: Request,
    caller: Following,
    min_block: Annotated[BlockNumber, Query(description="Wait until the mirror has this block.")] = None,
) -> Reading:
    """A read of the newest block, by a route that lists `held_tokens` alone."""
    return _reading(request, caller, min_block=min_block)


async def reading_on_chain(
    request: Request,
    caller: Viewing,
    at_block: Annotated[BlockNumber, Query(description="Answer as of the end of this block.")] = None,
    at_time: Annotated[
        Time,
        Query(description="Answer as of the end of the newest block whose own time is this one or earlier."),
    ] = None,
    min_block: Annotated[BlockNumber, Query(description="Wait until the mirror has this block.")] = None,
) -> Reading:
    """A read of any block of the chain as it is now."""
    return _reading(request, caller, at_block=at_block, at_time=at_time, min_block=min_block)


async def reading_at(
    reading: Annotated[Reading, Depends(reading_on_chain)],
    shown_at: Annotated[
        Time,
        Query(
            description="Answer what was shown at this moment, blocks included that the chain has left since; with "
            "`at_block`, the block of that height as it was shown then."
        ),
    ] = None,
) -> Reading:
    """A read of any block that is or was shown."""
    return replace(reading, shown_at=shown_at)


def _reading(request: Request, caller: Caller, **asked: Any) -> Reading:
    state, cursor = request.app.state, opened(request.query_params.get("cursor"))
    pin = Pin.of(cursor) if cursor else None
    replica = state.replica if _may_be_the_replicas(request.scope) else None
    return Reading(state.db, caller, state.settings.chain_id, pin=pin, replica=replica, **{"at_block": None, **asked})


ReadingNow = Annotated[Reading, Depends(reading_now)]
ReadingOnChain = Annotated[Reading, Depends(reading_on_chain)]
ReadingAt = Annotated[Reading, Depends(reading_at)]
