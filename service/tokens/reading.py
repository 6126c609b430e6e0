"""A labelled read: one database state, the block that it describes, and the token asked about."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query, Request

from service.access.http import Authenticated
from service.access.queries import Caller
from service.db import Database, ReadConnection
from service.mirror import queries as mirror
from service.mirror.queries import Contract, Label
from service.tokens import queries
from service.tokens.problems import TokenNotDeployed
from service.tokens.queries import Token

WAIT_MAX_S = 10.0
"""Longest wait for `min_block` within one request."""

BLOCK_MAX = 2**63 - 1

BlockNumber = Annotated[int | None, Query(ge=0, le=BLOCK_MAX)]


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

    async def token(self, connection: ReadConnection, label: Label, token_id: UUID) -> tuple[Token, Contract]:
        """One of the caller's tokens, with its contract at the label's block.

        Raises:
            TokenNotFound: none, or another issuer's.
            TokenNotDeployed: its contract was not on the chain at that block.
        """
        token = await queries.token(connection, issuer_id=self.caller.issuer_id, id=token_id)
        contract = await mirror.contract(connection, chain_id=self.chain_id, address=token.address, block=label.block)
        if contract is None:
            raise TokenNotDeployed(
                f"at block {label.block} its contract was not on the chain: ask for a later block, "
                f"or wait for GET /v1/operations/{token.operation_id}"
            )
        return token, contract


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
