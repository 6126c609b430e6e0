"""`muniment call`: the REST API from the command line."""

from typing import Annotated

import typer

from service.cli import frame


def call(
    name: Annotated[str | None, typer.Argument(help="Which call; all are listed when left out.")] = None,
    values: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME=VALUE]...", help="Fields of path, query and body; lists and objects as JSON."),
    ] = None,
    as_json: frame.JsonOption = False,
    help_fields: Annotated[bool, typer.Option("--help-fields", help="Show the call's fields.")] = False,
    body: Annotated[str | None, typer.Option(metavar="FILE", help="The whole body as JSON; - for stdin.")] = None,
    key: Annotated[str | None, typer.Option(help="Idempotency key of a write; a fresh one when left out.")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until a write is final.")] = True,
    timeout: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="How long to wait.")] = 300.0,
    every_page: Annotated[bool, typer.Option("--all", help="Read all pages of a list.")] = False,
    approval: Annotated[str | None, typer.Option(help="What a second factor approved; with the same --key.")] = None,
) -> None:
    """Call the REST API of MUNIMENT_URL with the key in MUNIMENT_API_KEY.

    Exit 0: done. 1: refused, or failed. 2: not asked, or the end is not known.
    """
    from service.remote import command

    asked = command.Asked(name, values or (), as_json, body, key, wait, timeout, every_page, help_fields, approval)
    raise typer.Exit(command.run(asked, frame.out, frame.err))
