"""A token as of one block, with the database state to ask for more."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from service.db import ReadConnection
from service.errors import Problem
from service.mirror.queries import Contract, Label
from service.operations.reading import READ, Reading
from service.tokens import queries
from service.tokens.problems import TokenNotDeployed, TokenNotFound, WrongTokenKind
from service.tokens.queries import Token

TITLED = frozenset(("deed", "erc721"))

SEEN: tuple[type[Problem], ...] = (*READ, TokenNotFound, TokenNotDeployed)
"""Problems of every read of a token; where only some kinds will do, WrongTokenKind besides."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One token, its contract, the block that is described, and the database state."""

    connection: ReadConnection
    label: Label
    token: Token
    contract: Contract
    marks: list[str]  # by which amounts may be others than the transfers say


@asynccontextmanager
async def seen(reading: Reading, token_id: UUID, *, deeds: bool | None = None) -> AsyncIterator[Seen]:
    """Open a read of a token.

    Args:
        deeds: True where only deeds have what is asked for, False where all others have.

    Raises:
        TokenNotFound, TokenNotDeployed, WrongTokenKind: as their names say; and what opening a read raises.
    """
    async with reading.open() as (connection, label):
        token = await queries.token(connection, issuer_id=reading.caller.issuer_id, id=token_id)
        if deeds is not None and (token.kind in TITLED) != deeds:
            needed = "only deed tokens have this" if deeds else "each deed is one of its own: ask for its transfers"
            raise WrongTokenKind(f"this is a {token.kind} token: {needed}", kind=token.kind)
        contract = await queries.contract_of(connection, token, label)
        yield Seen(connection, label, token, contract, await queries.doubts(connection, [token]))
