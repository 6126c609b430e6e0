"""A labelled read: one database state, and the block that it describes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Depends, Query, Request

from service.access.http import REFUSED, Authenticated
from service.access.queries import Caller
from service.db import Database, ReadConnection
from service.errors import Problem
from service.mirror import queries as mirror
from service.mirror.queries import BlockInFuture, BlockNotMirrored, Label, MirrorBehind, MirrorEmpty

WAIT_MAX_S = 10.0
"""Longest wait for `min_block` within one request."""

BLOCK_MAX = 2**63 - 1

BlockNumber = Annotated[int | None, Query(ge=0, le=BLOCK_MAX)]


READ: tuple[type[Problem], ...] = (*REFUSED, BlockInFuture, BlockNotMirrored, MirrorBehind, MirrorEmpty)
"""Problems of every labelled read."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a labelled read starts from."""

    db: Database
    caller: Caller
    chain_id: int
    at_block: int | None
    min_block: int | None

    def at(self, block: int | None) -> "Reading":
        """The same read of another block."""
        return replace(self, at_block=block)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[tuple[ReadConnection, Label]]:
        """One database state and its label, after `min_block` has come.

        Raises:
            MirrorBehind, BlockInFuture, BlockNotMirrored, MirrorEmpty: as their names say.
        """
        if self.min_block is not None:
            await mirror.wait_for_block(self.db, chain_id=self.chain_id, min_block=self.min_block, timeout_s=WAIT_MAX_S)
        async with self.db.read() as connection:
            yield connection, await mirror.label(connection, chain_id=self.chain_id, at_block=self.at_block)


async def reading_now(
    request: Request,
    caller: Authenticated,
    min_block: Annotated[BlockNumber, Query(description="Wait until the mirror has this block.")] = None,
) -> Reading:
    """A read of the newest block."""
    state = request.app.state
    return Reading(state.db, caller, state.settings.chain_id, None, min_block)


async def reading_at(
    request: Request,
    caller: Authenticated,
    at_block: Annotated[BlockNumber, Query(description="Answer as of the end of this block.")] = None,
    min_block: Annotated[BlockNumber, Query(description="Wait until the mirror has this block.")] = None,
) -> Reading:
    """A read of any block."""
    state = request.app.state
    return Reading(state.db, caller, state.settings.chain_id, at_block, min_block)


ReadingNow = Annotated[Reading, Depends(reading_now)]
ReadingAt = Annotated[Reading, Depends(reading_at)]
