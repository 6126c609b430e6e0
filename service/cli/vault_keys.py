"""`muniment vault`: its keys over the years, its checks, and a report."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

import typer
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from service.cli import frame
from service.remote.shown import print_json
from service.settings import read_settings

T = TypeVar("T")

IssuerOption = Annotated[str | None, typer.Option("--issuer", help="The issuer's name; all of them when left out.")]
OneIssuer = Annotated[str, typer.Option("--issuer", help="The issuer's name.")]
VersionArgument = Annotated[int, typer.Argument(min=1, help="A version, as `muniment vault report` tells them.")]


def rotate(issuer: IssuerOption = None, as_json: frame.JsonOption = False) -> None:
    """Make a new version of the keys that rotate; whatever is sealed from now on is under it. Then run rewrap."""
    from service.vault import rotation

    async def work(vault: Any) -> list[dict[str, Any]]:
        named = await _issuers(vault, issuer)
        return [{"issuer": name, "version": await rotation.rotate(vault, id_)} for id_, name in named.items()]

    told = _with_vault(work)
    if as_json:
        print_json({"rotated": told})
        return
    for each in told:
        frame.out.print(f"{each['issuer']}: version {each['version']}", markup=False, soft_wrap=True)


def rewrap(issuer: IssuerOption = None, as_json: frame.JsonOption = False) -> None:
    """Bring what is under older versions under the newest one, while the vault is in use. Run again, it goes on.

    Exit 0: all of it is. 1: some rows are left.
    """
    from service.vault import rewrapping

    async def work(vault: Any) -> dict[str, Any]:
        named = await _issuers(vault, issuer)
        with _progress("rewrapping", as_json) as told:
            found = await rewrapping.rewrap(vault, list(named), told)
        return {
            table: {"rewrapped": each.rewrapped, "left": each.left, "damaged": each.damaged}
            for table, each in found.items()
        }

    tables = _with_vault(work)
    if as_json:
        print_json({"tables": tables})
    else:
        shown = Table("table", "rewrapped", "left", "of these damaged")
        for name, each in tables.items():
            shown.add_row(name, *(f"{count:,}" for count in each.values()))
        frame.out.print(shown)
    if any(each["left"] for each in tables.values()):
        frame.err.print("rows are left: `muniment vault verify` tells which and why", soft_wrap=True)
        raise typer.Exit(1)


def rewrap_keys(as_json: frame.JsonOption = False) -> None:
    """Bring the wrapped keys under the first key-encryption key of MUNIMENT_VAULT_KEK; no data is touched."""
    from service.vault import rewrapping

    async def work(vault: Any) -> Any:
        with _progress("rewrapping keys", as_json) as told:
            return await rewrapping.rewrap_keys(vault, told)

    found = _with_vault(work)
    if as_json:
        print_json({"kek": found.kek, "rewrapped": found.rewrapped, "before": found.before})
    else:
        told = f"{found.rewrapped} keys are under {found.kek} now, and {found.before} were before"
        frame.out.print(told, markup=False, highlight=False, soft_wrap=True)


def minimum_version(version: VersionArgument, issuer: OneIssuer, as_json: frame.JsonOption = False) -> None:
    """Close every version below this one, and open it and those above again. Refused while rows are under those."""
    from service.vault import rotation

    async def work(vault: Any) -> list[Any]:
        (issuer_id,) = await _issuers(vault, issuer)
        return await rotation.set_minimum(vault, issuer_id, version)

    states = {str(each.number): each.state.value for each in _with_vault(work)}
    if as_json:
        print_json({"issuer": issuer, "versions": states})
        return
    for number, state in states.items():
        frame.out.print(f"version {number}: {state}", highlight=False)


def destroy(version: VersionArgument, issuer: OneIssuer, as_json: frame.JsonOption = False) -> None:
    """Destroy a version's keys for good, once it is retired for an hour and no row is under it."""
    from service.vault import rotation

    async def work(vault: Any) -> bool:
        (issuer_id,) = await _issuers(vault, issuer)
        return await rotation.destroy(vault, issuer_id, version)

    destroyed = _with_vault(work)
    if as_json:
        print_json({"issuer": issuer, "version": version, "destroyed": True, "before": not destroyed})
    else:
        frame.out.print(f"version {version} is destroyed{'' if destroyed else ', and was before'}", highlight=False)


def verify(as_json: frame.JsonOption = False) -> None:
    """Open all that can be opened without vault tokens, and compare what hangs together; exit 1 on a finding."""
    from service.vault import checking

    async def work(vault: Any) -> Any:
        with _progress("checking", as_json) as told:
            return await checking.check(vault, told)

    checked = _with_vault(work)
    findings = [
        {"what": each.what, "table": each.table, "row": each.row, "detail": each.detail} for each in checked.findings
    ]
    if as_json:
        print_json({"rows": checked.rows, "findings_count": checked.findings_count, "findings": findings})
    else:
        frame.out.print(", ".join(f"{count:,} of {table}" for table, count in checked.rows.items()), soft_wrap=True)
        if findings:
            shown = Table("what", "table", "row", "detail", title=f"[red]{checked.findings_count} findings[/red]")
            for each in findings:
                shown.add_row(*map(Text, each.values()))
            frame.out.print(shown)
        else:
            frame.out.print("[green]all that can be opened without a vault token opens[/green]")
    if findings:
        raise typer.Exit(1)


def report(as_json: frame.JsonOption = False) -> None:
    """Tell what each issuer's vault holds: records, key versions, space used, reveals of 30 days, suspensions."""
    from service.vault import reporting

    issuers = frame.with_database(read_settings(), reporting.report)
    if as_json:
        print_json({"issuers": issuers})
        return
    for each in issuers:
        _print_issuer(each)


def _print_issuer(told: dict[str, Any]) -> None:
    policies = Table("policy", "kind", "records", "of these new", "space used", "reveals", title_justify="left")
    policies.title = Text(f"{told['issuer']}: {told['suspensions']['active']} suspended now")
    for each in told["policies"]:
        ages = each["records_by_age"]
        policies.add_row(
            Text(each["policy"]),
            each["kind"],
            _counts(each["records_by_state"]),
            _counts({f"in a {age}": ages[age] for age in ("day", "month") if age in ages}),
            "" if each["space_used"] is None else f"{each['space_used']:.3g}",
            _counts({reveal["purpose"]: reveal["values"] for reveal in each["reveals"]}),
        )
    frame.out.print(policies)
    versions = Table("key version", "state", "made", "still under it")
    for each in told["key_versions"]:
        versions.add_row(str(each["version"]), each["state"], each["created_at"][:10], _counts(each["rows"]))
    frame.out.print(versions)


def _counts(counts: dict[str, int]) -> Text:
    return Text(", ".join(f"{count:,} {name}" for name, count in counts.items()))


async def _issuers(vault: Any, name: str | None) -> dict[Any, str]:
    from service.vault import rotation

    found = await rotation.issuers(vault.db)
    if name is None:
        return found
    named = {id_: each for id_, each in found.items() if each == name}
    if not named:
        raise frame.Refused(
            f"there is no issuer {name!r} with a vault: `muniment vault report` tells those that have one"
        )
    return named


@contextmanager
def _progress(what: str, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    with Progress(console=frame.err, transient=True, disable=quiet or not frame.err.is_terminal) as shown:
        task = shown.add_task(what, total=None)
        yield lambda table, done, total: shown.update(task, description=f"{what} {table}", completed=done, total=total)


def _with_vault(work: Callable[[Any], Awaitable[T]]) -> T:
    """Do work on the deployment's vault, with all the rights of its login.

    Raises:
        Refused: a provider or the state of the keys does not allow it.
    """
    from service.keys.wrapping import KeyAltered, KeyRefused
    from service.keys.wrapping_opening import open_key_encryption_keys
    from service.vault.keyring import KeyMissing
    from service.vault.keys import open_vault
    from service.vault.rotation import RotationRefused

    settings = read_settings()

    async def opened(db: Any) -> T:
        async with open_key_encryption_keys(settings) as keks:
            return await work(open_vault(db, keks))

    try:
        return frame.with_database(settings, opened)
    except (KeyRefused, KeyAltered, KeyMissing, RotationRefused) as error:
        raise frame.Refused(str(error)) from None
    except KeyboardInterrupt:
        raise frame.Refused("interrupted: run the same command again, and it goes on where it stopped") from None
