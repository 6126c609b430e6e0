"""`muniment vault`: what is proved about the token vault without it."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from service.cli import frame, vault_keys

app = frame.group("The token vault.")

ATTRIBUTES = "attributes"
"""The usual name of the document record whose hash is a commitment's root."""


for command in (vault_keys.rotate, vault_keys.rewrap, vault_keys.rewrap_keys, vault_keys.minimum_version):
    app.command()(command)
for command in (vault_keys.destroy, vault_keys.verify, vault_keys.report):
    app.command()(command)


@app.callback()
def _vault() -> None:
    """The token vault."""


@app.command()
def upload(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file of up to 1 GiB.")],
    policy: Annotated[str | None, typer.Option(metavar="ID", help="Of kind vault and class document.")] = None,
    name: Annotated[str | None, typer.Option(help="The file's own when left out.")] = None,
    media_type: Annotated[str | None, typer.Option(help="By the file's ending when left out.")] = None,
    subject: Annotated[str | None, typer.Option(help="The person whose erasure erases it, too.")] = None,
    asset_token: Annotated[str | None, typer.Option(metavar="ID", help="The token of the asset it is about.")] = None,
    key: Annotated[str | None, typer.Option(help="Idempotency key; a fresh one when left out.")] = None,
    resume: Annotated[str | None, typer.Option(metavar="ID", help="Go on with a document of which some came.")] = None,
    as_json: frame.JsonOption = False,
) -> None:
    """Send FILE to the token vault of MUNIMENT_URL; what breaks off is taken up where it broke.

    Exit 0: all of it is there. 1: refused. 2: not all of it; the sentence says how to go on.
    """
    from service.remote import documents
    from service.remote.batches import Terminal
    from service.remote.command import check_key

    if (policy is None) == (resume is None):
        raise frame.Refused("give --policy for a new document, or --resume to go on with one")
    check_key(key)
    asked = {
        "policy": policy,
        "name": name,
        "media_type": media_type,
        "subject": subject,
        "asset_token_id": asset_token,
        "idempotency_key": key,
    }
    raise typer.Exit(documents.upload(file, asked, resume, Terminal(frame.out, frame.err, as_json)))


@app.command()
def download(
    document: Annotated[str, typer.Argument(metavar="ID", help="The document's id.")],
    file: Annotated[str, typer.Argument(metavar="FILE", help="A new file.")],
    purpose: Annotated[str, typer.Option(help="One that the policy's reveal rules list.")],
    reason: Annotated[str, typer.Option(help="Why; it stays in the journal.")],
    as_json: frame.JsonOption = False,
) -> None:
    """Write a document of the token vault of MUNIMENT_URL to FILE, which its owner alone may read.

    It is asked once: each reveal spends what the policy allows.

    Exit 0: it is there and whole. 1: refused. 2: there is no file; the sentence says why.
    """
    from service.remote import documents
    from service.remote.batches import Terminal

    terminal = Terminal(frame.out, frame.err, as_json)
    raise typer.Exit(documents.download(document, file, purpose=purpose, reason=reason, terminal=terminal))


@app.command("check-disclosure")
def check_disclosure(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A disclosure, as the API answered it; - for stdin.")],
    root: Annotated[str | None, typer.Option(metavar="0x…", help="The commitment's root, as the chain has it.")] = None,
    subject: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Read the root from the document record about this contract.")
    ] = None,
    name: Annotated[str, typer.Option(help="That record's name.")] = ATTRIBUTES,
    as_json: frame.JsonOption = False,
) -> None:
    """Check a disclosure of attributes against a root; with --root this takes nothing but the file.

    With --subject the root comes from the API of MUNIMENT_URL, with the key in MUNIMENT_API_KEY: what the chain has
    on record, as far as you trust that API.

    Exit 0: every attribute in it is proved. 1: it proves nothing. 2: it could not be checked.
    """
    from service.remote.shown import print_json
    from service.vault.disclosure import DisclosureFalse, check

    if (root is None) == (subject is None):
        raise frame.Refused("give --root as the chain has it, or --subject to read it from an API")
    told = _read(file)
    expected = _parse(root) if root is not None else _recorded(frame.address(subject or ""), name)
    try:
        proved = check(told, expected)
    except DisclosureFalse as error:
        if as_json:
            print_json({"proved": False, "root": f"0x{expected.hex()}", "reason": str(error)})
        else:
            frame.err.print(f"not proved: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None
    if as_json:
        print_json({"proved": True, "root": f"0x{expected.hex()}", "attributes": proved})
        return
    _print(proved, expected)


def _print(proved: dict[str, str], root: bytes) -> None:
    from service.client.problems import plain

    table = Table("attribute", "value", title=f"proved under 0x{root.hex()}", title_justify="left")
    for name, value in proved.items():
        table.add_row(Text(plain(name)), Text(plain(value)))
    frame.out.print(table)


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise frame.Refused(f"{file} can't be read ({error.strerror})") from None


def _parse(root: str) -> bytes:
    digits = root.removeprefix("0x")
    try:
        found = bytes.fromhex(digits) if len(digits) == 64 else b""
    except ValueError:
        found = b""
    if len(found) != 32:
        raise frame.Refused("--root is 0x and 64 hexadecimal digits")
    return found


def _recorded(subject: bytes, name: str) -> bytes:
    """The hash in the document record of a name, as the API's mirror has it."""
    from service.addresses import checksum
    from service.client.exchange import Request
    from service.client.problems import ApiProblem
    from service.remote.wire import Deployment

    deployment = Deployment.of_environment()
    if deployment.credential is None:
        raise frame.Refused("set MUNIMENT_API_KEY to a key made by `muniment keys create`, or give --root")
    asked: dict[str, Any] = {"subject": checksum(subject)}
    while True:
        try:
            page = deployment.ask(Request("GET", "/v1/documents", authorized=True, query=asked)).content
        except ApiProblem as refusal:
            raise frame.Refused(str(refusal.problem["detail"])) from None
        for each in page["data"]:
            if each["name"] == name:
                return _parse(each["document_hash"])
        if not page["next_cursor"]:
            raise frame.Refused(f"{checksum(subject)} has no document record {name!r} in force")
        asked["cursor"] = page["next_cursor"]
