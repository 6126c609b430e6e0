"""`muniment export`: who owned what, as a file."""

from typing import Annotated

import typer

from service.cli import frame


def export(
    table: Annotated[str, typer.Argument(help="cap-table, transfers or acquisitions.")],
    token: Annotated[str, typer.Argument(metavar="TOKEN", help="The token's id.")],
    file: Annotated[str, typer.Argument(metavar="FILE", help="A new file, .csv or .parquet.")],
    at_block: Annotated[int | None, typer.Option(min=0, help="As of the end of this block.")] = None,
    at_time: Annotated[str | None, typer.Option(help="As of this time, such as 2027-01-31T00:00:00Z.")] = None,
    as_json: frame.JsonOption = False,
) -> None:
    """Write a table of a token to FILE, and what proves it whole to FILE.manifest.json.

    Exit 0: both are there, and belong together. 1: refused. 2: nothing was written; the sentence says why.
    """
    from service.remote import exports
    from service.remote.batches import Terminal

    asked = {"at_block": at_block, "at_time": at_time}
    given = [f"{name}={value}" for name, value in asked.items() if value is not None]
    raise typer.Exit(exports.export(table, token, file, given, Terminal(frame.out, frame.err, as_json)))
