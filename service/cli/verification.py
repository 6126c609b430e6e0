"""`muniment verify`: the mirror against the chain. `muniment digest`: one mirror against another."""

import json
import secrets
import sys
from typing import Annotated, Any

import typer
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from service.addresses import checksum, hex0x
from service.cli import frame
from service.settings import read_settings

SAMPLE_MAX = 10_000

Block = Annotated[int | None, typer.Option(min=0, help="At this block; the newest when left out.")]


def verify(
    block: Block = None,
    history: Annotated[
        bool, typer.Option("--history", help="Compare every block before it with the chain, too.")
    ] = False,
    from_block: Annotated[int | None, typer.Option(min=0, help="Compare the history from this block on.")] = None,
    sample: Annotated[
        int | None,
        typer.Option(min=1, max=SAMPLE_MAX, help="Compare so many contracts, keys of each, and past blocks, by lot."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**64 - 1, help="Draw the same sample again.")] = None,
    as_json: frame.JsonOption = False,
) -> None:
    """Compare the mirror with the chain and with itself; exit 1 on any difference."""
    from service.mirror import verify as verifying

    if seed is not None and sample is None:
        raise frame.Refused("--seed draws a sample: give --sample, too")
    settings = read_settings()
    drawn = None if sample is None else verifying.Sample(sample, secrets.randbits(32) if seed is None else seed)
    history_from = 0 if history and from_block is None else from_block
    scope = verifying.Scope(block, history_from, drawn)

    async def work(db: Any, chain: Any) -> verifying.Report:
        with Progress(console=frame.err, transient=True, disable=as_json or not frame.err.is_terminal) as progress:
            task = progress.add_task("comparing", total=None)
            return await verifying.verify(
                db,
                chain,
                chain_id=settings.chain_id,
                factory=settings.factory,
                scope=scope,
                progress=lambda done, total: progress.update(task, completed=done, total=total),
            )

    report = frame.with_chain(settings, work)
    differences = [_difference(each) for each in report.differences]
    findings = [_finding(each) for each in report.findings]
    if as_json:
        told = {
            "block": report.block,
            "hash": hex0x(report.block_hash),
            "compared": report.compared,
            "seed": None if drawn is None else drawn.seed,
            "differences": differences,
            "findings": findings,
        }
        sys.stdout.write(json.dumps(told) + "\n")
    else:
        _print_report(report, differences, findings, None if drawn is None else drawn.seed)
    if differences:
        raise typer.Exit(1)


def digest(
    block: Block = None,
    state: Annotated[
        bool, typer.Option("--state", help="Digest what each contract's events left behind, too.")
    ] = False,
    as_json: frame.JsonOption = False,
) -> None:
    """Print one hash over all that the mirror has: another mirror that saw the same chain prints the same."""
    from service.mirror import digest_queries, queries

    settings = read_settings()

    async def work(db: Any) -> dict[str, Any]:
        async with db.read() as connection:
            label = await queries.label(connection, chain_id=settings.chain_id, at_block=block)
            whole = digest_queries.MirrorDigest(label)
            found = [each async for each in whole.read(connection)]
            states = {}
            for each in found if state else ():
                states[each.contract] = await digest_queries.state_digest(
                    connection, contract=each.contract, contract_id=each.contract_id, label=label
                )
        return {
            "block": label.block,
            "hash": hex0x(label.hash),
            "digest": hex0x(whole.digest),
            "contracts": [_contract_digest(each, states.get(each.contract)) for each in found],
        }

    told = frame.with_database(settings, work)
    if as_json:
        sys.stdout.write(json.dumps(told) + "\n")
        return
    frame.out.print(f"block {told['block']} {told['hash']}: {told['digest']}", soft_wrap=True)
    table = Table("contract", "since block", "digest", *(["state"] if state else []))
    for each in told["contracts"]:
        table.add_row(*map(_cell, each.values()))
    frame.out.print(table)


def _contract_digest(found: Any, state: bytes | None) -> dict[str, Any]:
    told = {
        "contract": checksum(found.contract),
        "since_block": found.since_block,
        "digest": hex0x(found.digest),
    }
    return told if state is None else {**told, "state": hex0x(state)}


def _difference(difference: Any) -> dict[str, str | int | None]:
    return {
        "contract": None if difference.contract is None else checksum(difference.contract),
        "account": None if difference.account is None else checksum(difference.account),
        "key": None if difference.key is None else f"0x{difference.key.hex()}",
        "block": difference.block,
        "what": difference.kind,
        "mirror": difference.mirror,
        "chain": difference.chain,
    }


def _finding(finding: Any) -> dict[str, str | int | None]:
    return {
        "contract": checksum(finding.contract),
        "finding": finding.name,
        "cause": finding.cause,
        "account": None if finding.account is None else checksum(finding.account),
        "mirror": finding.mirror,
        "chain": finding.chain,
    }


def _print_report(
    report: Any, differences: list[dict[str, Any]], findings: list[dict[str, Any]], seed: int | None
) -> None:
    drawn = "" if seed is None else f"; --seed {seed} draws the same sample"
    frame.out.print(
        f"block {report.block} {hex0x(report.block_hash)}: {report.compared} values compared{drawn}", soft_wrap=True
    )
    if not differences and not findings:
        frame.out.print("[green]the mirror says what the chain says[/green]")
    for title, rows in (("differences", differences), ("findings", findings)):
        if rows:
            table = Table(*rows[0], title=f"[red]{title}[/red]")
            for each in rows:
                table.add_row(*map(_cell, each.values()))
            frame.out.print(table)


def _cell(value: Any) -> Text:
    """A value as it is: what a contract's deployer wrote must not be read as markup."""
    return Text("" if value is None else str(value))
