"""`muniment issuers` and `muniment keys`: tenants, and who may call for them."""

import json
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar
from uuid import UUID

import typer
from rich.markup import escape
from rich.table import Table

from service.access.apikeys import Scope
from service.access.key_limits import Limits
from service.access.roles import Role
from service.addresses import checksum
from service.cli import frame
from service.settings import Settings, read_settings

T = TypeVar("T")

issuers = frame.group("Tenants.")
keys = frame.group("API keys.")


KeyArgument = Annotated[str, typer.Argument(help="The key's public id, the eleven characters that `list` shows.")]
IssuerOption = Annotated[str, typer.Option(help="The issuer whose resources the keys open.")]
ReasonOption = Annotated[str, typer.Option(help="Why; the journal keeps it.")]


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


@issuers.command("remove-second-factor")
def remove_second_factor(
    factor: Annotated[UUID, typer.Argument(help="Its id, as `muniment call list_second_factors` shows it.")],
    reason: ReasonOption,
) -> None:
    """End a second factor that was lost, where its issuer has no other one to approve that."""
    from service.access import step_factors

    async def work(db: Any) -> None:
        async with db.transaction() as session:
            await step_factors.remove_lost(session, factor, reason, operator=frame.operator())

    frame.with_database(read_settings(), work)
    frame.out.print(f"second factor {factor} is removed: add another with `muniment call add_second_factor`")


@keys.command("create")
def create_key(
    issuer: IssuerOption,
    caller: Annotated[str, typer.Option(help="Who will use it; made when new.")] = "default",
    scope: Annotated[
        list[Scope] | None,
        typer.Option(help="What it may do; may be given again. All of its caller's role, without one `issue`."),
    ] = None,
    role: Annotated[
        Role | None, typer.Option(help="What a new caller is for: its keys open nothing beyond it, ever.")
    ] = None,
    token: Annotated[
        list[UUID] | None, typer.Option(help="Held to this token of an asset; may be given again.")
    ] = None,
    expires_in_s: Annotated[
        int | None,
        typer.Option(min=1, help="Its life in seconds; an auditor's 90 days when left out."),
    ] = None,
    limits: Annotated[
        str | None,
        typer.Option(metavar="JSON", help='As POST /v1/keys takes them: \'{"amount_unapproved_max": "1000"}\'.'),
    ] = None,
    public_key: Annotated[
        str | None,
        typer.Option(help="A key to sign with instead: an Ed25519 public key, 64 hexadecimal digits; prints its id."),
    ] = None,
) -> None:
    """Make an API key of this deployment's environment. It is printed once, and only its hash is kept."""
    from service.access import commands
    from service.access.tables import CredentialRow

    settings = read_settings()
    proof = None if public_key is None else _public_key(public_key)
    grant = commands.Grant(settings.environment, scope, role, _limits(limits, token), expires_in_s)
    given: dict[str, Any] = {"issuer": issuer, "caller": caller, "operator": frame.operator()}

    async def work(db: Any) -> tuple[str, list[str]]:
        async with db.transaction() as session:
            try:
                if proof is not None:
                    shown = id_ = await commands.register_key(session, proof, grant=grant, **given)
                else:
                    made = await commands.create_key(
                        session,
                        environment=grant.environment,
                        pepper=settings.api_key_pepper,
                        pepper_version=settings.api_key_pepper_version,
                        scopes=scope,
                        role=role,
                        limits=grant.limits,
                        expires_in_s=expires_in_s,
                        **given,
                    )
                    shown, id_ = made.text, made.id
            except commands.RoleUnfit as error:
                raise frame.Refused(str(error)) from None
            return shown, (await session.get_one(CredentialRow, id_)).scopes

    shown, scopes = frame.with_database(settings, work)
    sys.stdout.write(shown + "\n")
    if settings.environment == "live":
        _warn_of_amounts(scopes, grant.limits)


@keys.command("list")
def list_keys(issuer: IssuerOption, as_json: frame.JsonOption = False) -> None:
    """The newest 500 credentials of an issuer, and how each stands; no secret is known any more."""
    from service.access import key_queries
    from service.access.key_views import KeyView

    async def read(db: Any) -> list[Any]:
        owner = await frame.issuer(db, issuer)
        found = await key_queries.keys_page(db, issuer_id=owner.id, state=None, before=None, count_max=500)
        return [KeyView.of(each) for each in found]

    views = frame.with_database(read_settings(), read)
    if as_json:
        sys.stdout.write(json.dumps({"data": [each.model_dump(mode="json") for each in views]}) + "\n")
        return
    shown = ("id", "caller", "name", "kind", "version", "made by", "state", "ends", "last used", "notices", "scopes")
    table = Table(*shown, box=None)
    for each in views:
        ends_at = min((at for at in (each.expires_at, each.retires_at) if at), default=None)
        used = "never" if each.last_used_at is None else f"{each.last_used_at:%Y-%m-%d %H:%M}"
        ends = "" if ends_at is None else f"{ends_at:%Y-%m-%d %H:%M}"
        made_by = each.created_by or "command line"
        told = (each.id, each.caller, each.name, each.kind, str(each.version), made_by, each.state, ends, used)
        table.add_row(*(escape(cell) for cell in told), " ".join(each.notices), " ".join(each.scopes))
    frame.out.print(table)


@keys.command("rotate")
def rotate_key(
    key: KeyArgument,
    overlap_s: Annotated[
        int, typer.Option(min=0, max=30 * 86_400, help="The former version ends so much later.")
    ] = 86_400,
    first_use: Annotated[bool, typer.Option("--first-use", help="Later than the first use of the new one.")] = False,
) -> None:
    """Make an API key's next version, with the same rights. It is printed once."""
    from service.access import admission, key_commands
    from service.access.key_orders import OverlapStarts, RotateOrder

    settings = read_settings()
    starts = OverlapStarts.FIRST_USE if first_use else OverlapStarts.NOW
    order = RotateOrder(overlap_s=overlap_s, overlap_starts=starts)

    async def work(session: Any, by: Any) -> Any:
        try:
            return await key_commands.rotate(session, admission.issuing_of(settings), by, key, order)
        except ValueError as error:
            raise frame.Refused(f"{error}: its owner rotates it, with POST /v1/keys/{key}/rotate") from None

    sys.stdout.write(_of_key(settings, key, work).secret + "\n")


@keys.command("revoke")
def revoke_key(key: KeyArgument, reason: ReasonOption) -> None:
    """End a credential at once and for ever."""
    from service.access import key_commands

    async def work(session: Any, by: Any) -> None:
        await key_commands.revoke(session, by, key, reason)

    _of_key(read_settings(), key, work)
    frame.out.print(f"key {key} is revoked")


@keys.command("revoke-all")
def revoke_all_keys(issuer: IssuerOption, reason: ReasonOption) -> None:
    """Break the glass: end every credential of an issuer at once and for ever."""
    from service.access import key_commands

    async def work(db: Any) -> int:
        by = key_commands.By((await frame.issuer(db, issuer)).id, operator=frame.operator())
        async with db.transaction() as session:
            return await key_commands.revoke_all(session, by, reason, sparing=None)

    count = frame.with_database(read_settings(), work)
    frame.out.print(f"{count} keys are revoked: make new ones with `muniment keys create`")


def _limits(text: str | None, tokens: list[UUID] | None) -> Limits:
    """What --limits and --token hold a key to."""
    from pydantic import ValidationError

    from service.web.problems import sentence
    from service.web.strict_json import strict_json

    try:
        asked = {} if text is None else strict_json(text.encode())
    except ValueError as error:
        raise frame.Refused(f"--limits is no JSON: {error}") from None
    if tokens and isinstance(asked, dict):
        if "tokens" in asked:
            raise frame.Refused("name the tokens in --limits or by --token, not by both")
        asked = {**asked, "tokens": tokens}
    try:
        return Limits.model_validate(asked)
    except ValidationError as error:
        faults = ((".".join(map(str, each["loc"])), sentence(dict(each))) for each in error.errors(include_input=False))
        raise frame.Refused("limits: " + "; ".join(f"{name}: {why}" if name else why for name, why in faults)) from None


def _warn_of_amounts(scopes: list[str], limits: Limits) -> None:
    """Tell whoever made a key that moves amounts where nothing that it moves needs an approval."""
    from service.access.key_amounts import MOVING
    from service.access.roles import included

    if limits.amount_unapproved_max is not None or not included(scopes) & MOVING:
        return
    told = """warning: whoever has this key moves amounts without an approval: make another one, with
        --limits '{"amount_unapproved_max": "…"}', and revoke this one"""
    frame.err.print(" ".join(told.split()), style="yellow", markup=False, highlight=False, soft_wrap=True)


def _public_key(text: str) -> bytes:
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise frame.Refused("--public-key is the 32 bytes of an Ed25519 public key, as 64 hexadecimal digits")
    return key


def _of_key(settings: Settings, key: str, work: Callable[[Any, Any], Awaitable[T]]) -> T:
    """Do something to a credential, on behalf of whoever runs the command."""
    from service.access import key_commands, key_queries

    async def do(db: Any) -> T:
        by = key_commands.By(await key_queries.issuer_of(db, key), operator=frame.operator())
        async with db.transaction() as session:
            return await work(session, by)

    return frame.with_database(settings, do)
