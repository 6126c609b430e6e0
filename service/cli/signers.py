"""`muniment signers`: the keys that send transactions."""

import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from service.addresses import checksum
from service.cli import frame
from service.settings import read_settings

app = frame.group("The keys that send transactions.")


@app.command("create")
def create_signer() -> None:
    """Make a signer: a new V3 keystore file in MUNIMENT_KEYSTORE_DIR. Prints its address."""
    from service.keys import keystore

    settings = read_settings()
    sys.stdout.write(checksum(keystore.create(settings.keystore_dir, settings.keystore_password)) + "\n")


@app.command("import")
def import_signer(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="Holds the private key in hexadecimal.")],
) -> None:
    """Bring in a private key from a file; the file stays where it is. Prints the signer's address."""
    from service.keys import keystore

    settings = read_settings()
    try:
        private_key = bytes.fromhex(file.read_text().strip().removeprefix("0x"))
    except ValueError:
        raise frame.Refused(f"{file} is not one private key in hexadecimal") from None
    sys.stdout.write(checksum(keystore.store(settings.keystore_dir, settings.keystore_password, private_key)) + "\n")


@app.command("policy")
def signer_policy(
    signer: frame.AddressArgument,
    set_: Annotated[
        Path | None, typer.Option("--set", exists=True, dir_okay=False, help="Replace it by this JSON file's.")
    ] = None,
) -> None:
    """Show what a signer may sign, as JSON, or replace it."""
    from service.keys import policies
    from service.keys.policy import Policy

    settings, address = read_settings(), frame.address(signer)
    policy = None if set_ is None else _policy(set_)

    async def work(db: Any) -> Policy | None:
        async with db.transaction() as session:
            if policy is not None:
                await policies.set_policy(session, address, policy, by=_operator())
            return await policies.read_policy(session, address)

    found = frame.with_database(settings, work)
    if found is None:
        frame.err.print(f"{checksum(address)} has no policy: it may sign anything", soft_wrap=True)
    elif found.frozen:
        frame.err.print(f"{checksum(address)} is frozen: it signs nothing", soft_wrap=True)
    told = {} if found is None else found.model_dump(mode="json", exclude_none=True)
    sys.stdout.write(json.dumps(told, indent=2) + "\n")


@app.command("freeze")
def freeze_signer(signer: frame.AddressArgument) -> None:
    """Sign nothing more with a key; what was signed before may still be mined."""
    from service.keys import policies

    _switch(signer, policies.freeze, "is frozen")


@app.command("unfreeze")
def unfreeze_signer(signer: frame.AddressArgument) -> None:
    """Let a key sign again, within its policy."""
    from service.keys import policies

    _switch(signer, policies.unfreeze, "may sign again")


@app.command("rotate")
def rotate_signer(
    old: Annotated[str, typer.Argument(help="The signer that sends for the issuer now.")],
    new: Annotated[str, typer.Argument(help="The signer that is to do so.")],
    issuer: Annotated[str, typer.Option(help="The issuer's name.")],
) -> None:
    """Hand an issuer over to another signer: grant NEW, switch, drain OLD, revoke OLD. Run again, it goes on."""
    from service.operators import rotation
    from service.transactions.direct import open_means

    settings, former, successor = read_settings(), frame.address(old), frame.address(new)
    factory = settings.factory

    def tell(step: str, what: str) -> None:
        frame.out.print(f"[bold]{step:15}[/bold]{what}", highlight=False, soft_wrap=True)

    async def work(db: Any) -> None:
        passage = rotation.Passage(await frame.issuer(db, issuer), former, successor)
        async with open_means(settings, db) as means:
            await rotation.rotate(means, factory, passage, tell, lease_ttl_s=settings.lease_ttl_s)

    try:
        frame.with_database(settings, work)
    except KeyboardInterrupt:
        raise frame.Refused("interrupted: run the same command again, and it goes on where it stopped") from None


def _operator() -> str:
    return f"operator {frame.operator()}"


def _policy(file: Path) -> Any:
    from pydantic import ValidationError

    from service.keys.policy import Policy

    try:
        return Policy.model_validate_json(file.read_bytes())
    except ValidationError as error:
        faults = ((".".join(map(str, each["loc"])), each["msg"]) for each in error.errors(include_input=False))
        raise frame.Refused(f"{file} is no policy: " + "; ".join(f"{name}: {why}" for name, why in faults)) from None


def _switch(signer: str, act: Callable[..., Awaitable[None]], done: str) -> None:
    settings, address = read_settings(), frame.address(signer)

    async def work(db: Any) -> None:
        async with db.transaction() as session:
            await act(session, address, by=_operator())

    frame.with_database(settings, work)
    frame.out.print(f"{checksum(address)} {done}", soft_wrap=True)
