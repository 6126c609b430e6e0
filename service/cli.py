"""The `muniment` command."""

import asyncio
import json
import logging
import sys
from collections.abc import Awaitable, Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from service.addresses import checksum, hex0x, parse_address
from service.settings import Settings, SettingsMissing, read_settings

T = TypeVar("T")

app = typer.Typer(
    help="An asset tokenization ledger. Settings come from MUNIMENT_… environment variables.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
signers_app = typer.Typer(help="The keys that send transactions.", no_args_is_help=True)
factory_app = typer.Typer(help="The contract that deploys tokens, one a chain.", no_args_is_help=True)
issuers_app = typer.Typer(help="Tenants.", no_args_is_help=True)
keys_app = typer.Typer(help="API keys.", no_args_is_help=True)
app.add_typer(signers_app, name="signers")
app.add_typer(factory_app, name="factory")
app.add_typer(issuers_app, name="issuers")
app.add_typer(keys_app, name="keys")

# A pipe has no width: tables for other programs' eyes are as wide as they need.
out = Console(width=None if sys.stdout.isatty() else 240)
err = Console(stderr=True)


class Environment(StrEnum):
    """Where a key is good."""

    LIVE = "live"
    TEST = "test"


JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
AddressArgument = Annotated[str, typer.Argument(help="An address: 0x and 40 hexadecimal digits.")]


class Refused(Exception):
    """The command can't be done; the message says what to do next."""


def _address(text: str) -> bytes:
    try:
        return parse_address(text)
    except ValueError as error:
        raise Refused(str(error)) from None


@app.command()
def api() -> None:
    """Serve the REST API."""
    from service import processes

    processes.api(read_settings())


@app.command()
def sender() -> None:
    """Carry queued transactions to the chain."""
    _process("sender")


@app.command()
def indexer() -> None:
    """Keep the mirror level with the chain."""
    _process("indexer")


@app.command()
def dispatcher() -> None:
    """Close operations that are final and write the journal."""
    _process("dispatcher")


def _process(name: str) -> None:
    import uvloop

    from service import processes

    work: Callable[[Settings], Awaitable[None]] = getattr(processes, name)

    async def main() -> None:
        await work(read_settings())

    uvloop.run(main())


@app.command()
def migrate() -> None:
    """Bring the database's tables up to date."""
    from service import migrate as migrations

    migrations.upgrade(read_settings().database_url)
    out.print("the database is up to date")


@app.command()
def openapi() -> None:
    """Print the OpenAPI document."""
    from service import app as api_app

    out.print_json(json.dumps(api_app.openapi(read_settings())))


@app.command()
def call(
    name: Annotated[str | None, typer.Argument(help="Which call; all are listed when left out.")] = None,
    values: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME=VALUE]...", help="Fields of path, query and body; lists and objects as JSON."),
    ] = None,
    as_json: JsonOption = False,
    help_fields: Annotated[bool, typer.Option("--help-fields", help="Show the call's fields.")] = False,
    body: Annotated[str | None, typer.Option(metavar="FILE", help="The whole body as JSON; - for stdin.")] = None,
    key: Annotated[str | None, typer.Option(help="Idempotency key of a write; a fresh one when left out.")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until a write is final.")] = True,
    timeout: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="How long to wait.")] = 300.0,
    every_page: Annotated[bool, typer.Option("--all", help="Read all pages of a list.")] = False,
) -> None:
    """Call the REST API of MUNIMENT_URL with the key in MUNIMENT_API_KEY.

    Exit 0: done. 1: refused, or failed. 2: not asked, or the end is not known.
    """
    from service.remote import command

    asked = command.Asked(name, values or (), as_json, body, key, wait, timeout, every_page, help_fields)
    raise typer.Exit(command.run(asked, out, err))


@app.command()
def verify(
    block: Annotated[int | None, typer.Option(min=0, help="Compare at this block; the newest when left out.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare the mirror with the chain at one block; exit 1 on any difference."""
    from service.chain.reader import open_chain
    from service.mirror import verify as verifying

    settings = read_settings()

    async def work(db: Any) -> verifying.Report:
        chain = open_chain(settings)
        try:
            with Progress(console=err, transient=True, disable=as_json or not err.is_terminal) as progress:
                task = progress.add_task("comparing", total=None)
                return await verifying.verify(
                    db,
                    chain,
                    chain_id=settings.chain_id,
                    block=block,
                    progress=lambda done, total: progress.update(task, completed=done, total=total),
                )
        finally:
            await chain.close()

    report = _with_database(settings, work)
    differences = [_difference(each) for each in report.differences]
    if as_json:
        told = {
            "block": report.block,
            "hash": hex0x(report.block_hash),
            "compared": report.compared,
            "differences": differences,
        }
        sys.stdout.write(json.dumps(told) + "\n")
    else:
        _print_report(report, differences)
    if differences:
        raise typer.Exit(1)


def _difference(difference: Any) -> dict[str, str | None]:
    return {
        "contract": None if difference.contract is None else checksum(difference.contract),
        "account": None if difference.account is None else checksum(difference.account),
        "key": None if difference.key is None else f"0x{difference.key.hex()}",
        "what": difference.kind,
        "mirror": difference.mirror,
        "chain": difference.chain,
    }


def _print_report(report: Any, differences: list[dict[str, str | None]]) -> None:
    out.print(f"block {report.block} {hex0x(report.block_hash)}: {report.compared} values compared", soft_wrap=True)
    if not differences:
        out.print("[green]the mirror says what the chain says[/green]")
        return
    table = Table("contract", "account", "key", "what", "mirror", "chain", title="[red]differences[/red]")
    for each in differences:
        table.add_row(*(value or "" for value in each.values()))
    out.print(table)


@signers_app.command("create")
def create_signer() -> None:
    """Make a signer: a new V3 keystore file in MUNIMENT_KEYSTORE_DIR. Prints its address."""
    from service.keys import signers

    settings = read_settings()
    sys.stdout.write(checksum(signers.create(settings.keystore_dir, settings.keystore_password)) + "\n")


@signers_app.command("import")
def import_signer(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Holds the private key in hexadecimal.")],
) -> None:
    """Bring in a private key from a file; the file stays where it is. Prints the signer's address."""
    from service.keys import signers

    settings = read_settings()
    try:
        private_key = bytes.fromhex(file.read_text().strip().removeprefix("0x"))
    except ValueError:
        raise Refused(f"{file} is not one private key in hexadecimal") from None
    sys.stdout.write(checksum(signers.store(settings.keystore_dir, settings.keystore_password, private_key)) + "\n")


@factory_app.command("deploy")
def deploy_factory(admin: AddressArgument, as_json: JsonOption = False) -> None:
    """Deploy the factory from a signer of the keystore, or find it there already."""
    from service import factory
    from service.chain.reader import open_chain
    from service.keys.signers import Keystore

    settings, signer = read_settings(), _address(admin)

    async def work(db: Any) -> int | None:
        chain = open_chain(settings)
        try:
            await chain.check()
            keystore = Keystore.open(settings.keystore_dir, settings.keystore_password)
            return await factory.deploy(db, chain, keystore, signer, lease_ttl_s=settings.lease_ttl_s)
        finally:
            await chain.close()

    block = _with_database(settings, work)
    address = checksum(factory.address_for(signer))
    if as_json:
        sys.stdout.write(json.dumps({"address": address, "block": block}) + "\n")
        return
    out.print(f"deployed in block {block}" if block is not None else "it was there already")
    out.print(f"MUNIMENT_FACTORY_ADDRESS={address}")


@factory_app.command("allow")
def allow_signer(admin: AddressArgument, signer: AddressArgument) -> None:
    """Let another signer deploy tokens with ADMIN's factory."""
    from service import factory
    from service.chain.reader import open_chain
    from service.keys.signers import Keystore

    settings = read_settings()

    async def work(db: Any) -> None:
        chain = open_chain(settings)
        try:
            await chain.check()
            keystore = Keystore.open(settings.keystore_dir, settings.keystore_password)
            await factory.allow(
                db, chain, keystore, _address(admin), _address(signer), lease_ttl_s=settings.lease_ttl_s
            )
        finally:
            await chain.close()

    _with_database(settings, work)
    out.print("allowed")


@issuers_app.command("create")
def create_issuer(
    name: Annotated[str, typer.Argument(help="The issuer's name, unique.")],
    signer: Annotated[str, typer.Option(help="The signer that sends its transactions.")],
) -> None:
    """Add an issuer."""
    from service.access import commands
    from service.keys.signers import Keystore

    settings, address = read_settings(), _address(signer)
    if address not in Keystore.open(settings.keystore_dir, settings.keystore_password).addresses:
        raise Refused(f"the keystore holds no key for {checksum(address)}: make one with `muniment signers create`")

    async def work(db: Any) -> bool:
        async with db.transaction() as session:
            return await commands.create_issuer(session, name=name, signer=address)

    if not _with_database(settings, work):
        raise Refused(f"there is an issuer {name!r} already")
    out.print(f"issuer {name!r} created")


@keys_app.command("create")
def create_key(
    issuer: Annotated[str, typer.Option(help="The issuer whose resources the key opens.")],
    caller: Annotated[str, typer.Option(help="Who will use it; made when new.")] = "default",
    environment: Annotated[Environment, typer.Option(help="Part of the key's text.")] = Environment.TEST,
) -> None:
    """Make an API key. It is printed once, and only its hash is kept."""
    from service.access import commands
    from service.access.apikeys import ApiKey

    settings = read_settings()

    async def work(db: Any) -> ApiKey:
        async with db.transaction() as session:
            return await commands.create_key(
                session, issuer=issuer, caller=caller, environment=environment, pepper=settings.api_key_pepper
            )

    sys.stdout.write(_with_database(settings, work).text + "\n")


def _with_database(settings: Settings, work: Callable[[Any], Awaitable[T]]) -> T:
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


def main() -> None:
    """Run the command; an expected failure is one sentence and exit code 2."""
    try:
        app()
    except Exception as error:
        told = _sentence(error)
        if told is None:
            raise
        err.print(f"muniment: {told}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)


def _sentence(error: Exception) -> str | None:
    """What is told of an expected failure; None for all others, which are bugs."""
    # Only now: a command that ends well need not wait for what it does not use.
    from service.access.commands import UnknownIssuer
    from service.chain.node import NodeRefused, NodeUnavailable
    from service.chain.reader import WrongChain
    from service.db import NOT_MIGRATED, UNAVAILABLE, is_not_migrated
    from service.errors import Problem
    from service.factory import NoDeterministicDeployer, NoFactory
    from service.keys.signers import KeystoreError, UnknownSigner
    from service.mirror.verify import ReorganisedMeanwhile
    from service.remote.calls import Unusable
    from service.transactions.direct import NoEther, NotMined, SenderRunning

    expected: tuple[type[Exception], ...] = (
        *(Refused, Unusable, SettingsMissing, UnknownIssuer, Problem),
        *(NodeUnavailable, NodeRefused, WrongChain, NoDeterministicDeployer, NoFactory),
        *(KeystoreError, UnknownSigner, NoEther, NotMined, SenderRunning, ReorganisedMeanwhile),
    )
    if isinstance(error, expected):
        return str(error)
    if isinstance(error, NOT_MIGRATED):
        if is_not_migrated(error):
            return "the database has no tables of this version: run `muniment migrate`"
        return None
    if isinstance(error, UNAVAILABLE):
        return f"Postgres does not answer ({type(error).__name__})"
    return None


if __name__ == "__main__":
    main()
