"""`muniment batch`: many rows of a file at once."""

from typing import Annotated

import typer

from service.cli import frame

app = frame.group("Many rows at once: mints, transfers, freezes or identities, each row exactly once.")

FileArgument = Annotated[
    str, typer.Argument(metavar="FILE", help="CSV with a first line of column names, or .json; - is CSV from stdin.")
]
TokenArgument = Annotated[str, typer.Argument(metavar="TOKEN", help="The token's id.")]
BatchArgument = Annotated[str, typer.Argument(metavar="ID", help="The batch's id.")]
FileKeyOption = Annotated[str | None, typer.Option("--key", help="Idempotency key; made of the file when left out.")]
KeyOption = Annotated[str | None, typer.Option("--key", help="Idempotency key; a fresh one when left out.")]
WaitOption = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until all rows are final.")]
TimeoutOption = Annotated[float, typer.Option("--timeout", min=0, metavar="SECONDS", help="How long to wait.")]
StatusOption = Annotated[
    str | None, typer.Option("--status", help="Only rows that are queued, sent, mined, succeeded, failed or cancelled.")
]
TIMEOUT_S = 900.0


def _send(
    name: str, token: str | None, file: str, key: str | None, as_json: bool, wait: bool, timeout_s: float
) -> None:
    from service.remote import batches, command

    asked = command.Asked(name, as_json=as_json, key=key, wait=wait, timeout_s=timeout_s)
    terminal = batches.Terminal(frame.out, frame.err, as_json)
    raise typer.Exit(batches.send(name, token, file, asked, terminal))


def _change(name: str, batch_id: str, key: str | None, as_json: bool, wait: bool, timeout_s: float) -> None:
    from service.remote import batches, command

    asked = command.Asked(name, as_json=as_json, key=key, wait=wait, timeout_s=timeout_s)
    raise typer.Exit(batches.change(name, batch_id, asked, batches.Terminal(frame.out, frame.err, as_json)))


@app.command()
def mint(
    token: TokenArgument,
    file: FileArgument,
    key: FileKeyOption = None,
    as_json: frame.JsonOption = False,
    wait: WaitOption = True,
    timeout: TimeoutOption = TIMEOUT_S,
) -> None:
    """Create units for many holders: columns to, amount (base units).

    Every row passes, or nothing is sent. The same file again shows the same batch, and sends nothing twice.
    """
    _send("mint_batch", token, file, key, as_json, wait, timeout)


@app.command()
def transfer(
    token: TokenArgument,
    file: FileArgument,
    key: FileKeyOption = None,
    as_json: frame.JsonOption = False,
    wait: WaitOption = True,
    timeout: TimeoutOption = TIMEOUT_S,
) -> None:
    """Move units of managed accounts: columns from, to, amount (base units). Otherwise as mint."""
    _send("transfer_batch", token, file, key, as_json, wait, timeout)


@app.command()
def freeze(
    token: TokenArgument,
    file: FileArgument,
    key: FileKeyOption = None,
    as_json: frame.JsonOption = False,
    wait: WaitOption = True,
    timeout: TimeoutOption = TIMEOUT_S,
) -> None:
    """Freeze units of many accounts: columns account, expected (0 when empty), amount. Otherwise as mint."""
    _send("freeze_batch", token, file, key, as_json, wait, timeout)


@app.command()
def identity(
    file: FileArgument,
    key: FileKeyOption = None,
    as_json: frame.JsonOption = False,
    wait: WaitOption = True,
    timeout: TimeoutOption = TIMEOUT_S,
) -> None:
    """Describe many investors: columns investor, country, level, expires_at (empty for never). Otherwise as mint."""
    _send("identity_batch", None, file, key, as_json, wait, timeout)


@app.command()
def show(batch_id: BatchArgument, as_json: frame.JsonOption = False) -> None:
    """Show how far a batch is."""
    from service.remote import batches

    raise typer.Exit(batches.ask("read_batch", batch_id, batches.Terminal(frame.out, frame.err, as_json)))


@app.command()
def rows(batch_id: BatchArgument, status: StatusOption = None) -> None:
    """Print rows as CSV, in the columns in which they are sent; a corrected file can be sent as it is."""
    from service.remote import batches

    raise typer.Exit(batches.rows(batch_id, status, batches.Terminal(frame.out, frame.err, False)))


@app.command()
def cancel(
    batch_id: BatchArgument,
    key: KeyOption = None,
    as_json: frame.JsonOption = False,
    wait: WaitOption = True,
    timeout: TimeoutOption = TIMEOUT_S,
) -> None:
    """Take back what is not in a block yet."""
    _change("cancel_batch", batch_id, key, as_json, wait, timeout)


@app.command()
def resume(
    batch_id: BatchArgument,
    key: KeyOption = None,
    as_json: frame.JsonOption = False,
    wait: WaitOption = True,
    timeout: TimeoutOption = TIMEOUT_S,
) -> None:
    """Send again what failed or was cancelled; what the chain has done already is not done twice."""
    _change("resume_batch", batch_id, key, as_json, wait, timeout)
