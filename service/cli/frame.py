"""What every command shares: the two streams, options, refusals, and the way to Postgres and the chain."""

import asyncio
import getpass
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console

from service.addresses import parse_address
from service.settings import Settings

T = TypeVar("T")

# A pipe has no width: tables for other programs' eyes are as wide as they need.
out = Console(width=None if sys.stdout.isatty() else 240)
err = Console(stderr=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
AddressArgument = Annotated[str, typer.Argument(help="An address: 0x and 40 hexadecimal digits.")]


class Refused(Exception):
    """The command can't be done; the message says what to do next."""


def group(help: str) -> typer.Typer:
    """A group of commands."""
    return typer.Typer(help=help, no_args_is_help=True)


def address(text: str) -> bytes:
    """An address that was written on the command line.

    Raises:
        Refused: it is none.
    """
    try:
        return parse_address(text)
    except ValueError as error:
        raise Refused(str(error)) from None


def operator() -> str:
    """Whoever runs the command, as audits name them: a login, or its number where the system knows no name for it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())  # a container's may have none, and its keys must be revocable all the same


def with_database(settings: Settings, work: Callable[[Any], Awaitable[T]]) -> T:
    """Do work on the deployment's Postgres, with all the rights of its login."""
    from service.db import Database

    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)  # our own sentence says it

    async def main() -> T:
        db = Database(settings.database_url, role=None, connections_max=3)
        await db.open()
        try:
            await db.fetch("SELECT FROM leases LIMIT 1", ())  # Postgres is there, and migrated: told before all else
            return await work(db)
        finally:
            await db.close()

    return asyncio.run(main())


def with_chain(settings: Settings, work: Callable[[Any, Any], Awaitable[T]]) -> T:
    """Do work on the deployment's Postgres and its chain."""
    from service.chain.reader import open_chain

    async def both(db: Any) -> T:
        chain = open_chain(settings)
        try:
            return await work(db, chain)
        finally:
            await chain.close()

    return with_database(settings, both)


async def issuer(db: Any, name: str) -> Any:
    """The issuer of a name.

    Raises:
        UnknownIssuer: there is none.
    """
    from service.access import queries
    from service.access.commands import UnknownIssuer

    for each in await queries.issuers(db):
        if each.name == name:
            return each
    raise UnknownIssuer(f"there is no issuer {name!r}: create it with `muniment issuers create`")
