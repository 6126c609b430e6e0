"""`muniment issuers` and `muniment keys`: tenants, and who may call for them."""

import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from service.access.apikeys import ApiKey, Scope
from service.addresses import checksum
from service.cli import frame
from service.settings import read_settings

issuers = frame.group("Tenants.")
keys = frame.group("API keys.")


class Environment(StrEnum):
    """Where a key is good."""

    LIVE = "live"
    TEST = "test"


@issuers.command("create")
def create_issuer(
    name: Annotated[str, typer.Argument(help="The issuer's name, unique.")],
    signer: Annotated[str, typer.Option(help="The signer that sends its transactions.")],
) -> None:
    """Add an issuer."""
    from service.access import commands
    from service.keys.signers import open_signers

    settings, address = read_settings(), frame.address(signer)

    async def work(db: Any) -> bool:
        async with open_signers(settings) as signers:
            if address not in signers.addresses:
                told = checksum(address)
                raise frame.Refused(f"there is no key for {told}: make one with `muniment signers create`")
        async with db.transaction() as session:
            return await commands.create_issuer(session, name=name, signer=address)

    if not frame.with_database(settings, work):
        raise frame.Refused(f"there is an issuer {name!r} already")
    frame.out.print(f"issuer {name!r} created")


@keys.command("create")
def create_key(
    issuer: Annotated[str, typer.Option(help="The issuer whose resources the key opens.")],
    caller: Annotated[str, typer.Option(help="Who will use it; made when new.")] = "default",
    environment: Annotated[Environment, typer.Option(help="Part of the key's text.")] = Environment.TEST,
    scope: Annotated[
        list[Scope] | None, typer.Option(help="What it may do; may be given again. `issue` when left out.")
    ] = None,
) -> None:
    """Make an API key. It is printed once, and only its hash is kept."""
    from service.access import commands

    settings = read_settings()

    async def work(db: Any) -> ApiKey:
        async with db.transaction() as session:
            return await commands.create_key(
                session,
                issuer=issuer,
                caller=caller,
                environment=environment,
                pepper=settings.api_key_pepper,
                scopes=scope or [Scope.ISSUE],
            )

    sys.stdout.write(frame.with_database(settings, work).text + "\n")
