"""`muniment verify`: the mirror against the chain."""

import json
import sys
from typing import Annotated, Any

import typer
from rich.progress import Progress
from rich.table import Table

from service.addresses import checksum, hex0x
from service.cli import frame
from service.settings import read_settings


def verify(
    block: Annotated[int | None, typer.Option(min=0, help="Compare at this block; the newest when left out.")] = None,
    as_json: frame.JsonOption = False,
) -> None:
    """Compare the mirror with the chain at one block; exit 1 on any difference."""
    from service.mirror import verify as verifying

    settings = read_settings()

    async def work(db: Any, chain: Any) -> verifying.Report:
        with Progress(console=frame.err, transient=True, disable=as_json or not frame.err.is_terminal) as progress:
            task = progress.add_task("comparing", total=None)
            return await verifying.verify(
                db,
                chain,
                chain_id=settings.chain_id,
                block=block,
                progress=lambda done, total: progress.update(task, completed=done, total=total),
            )

    report = frame.with_chain(settings, work)
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
    frame.out.print(
        f"block {report.block} {hex0x(report.block_hash)}: {report.compared} values compared", soft_wrap=True
    )
    if not differences:
        frame.out.print("[green]the mirror says what the chain says[/green]")
        return
    table = Table("contract", "account", "key", "what", "mirror", "chain", title="[red]differences[/red]")
    for each in differences:
        table.add_row(*(value or "" for value in each.values()))
    frame.out.print(table)
