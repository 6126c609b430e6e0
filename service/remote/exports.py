"""`muniment export`: a table as a file, with the manifest that proves it whole."""

import hashlib
import json
import os
import re
import urllib.parse
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.progress import DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TransferSpeedColumn

from service.client.calls import read_calls
from service.client.exchange import Request
from service.client.files import name_whole, part_of, require_new
from service.client.problems import ApiProblem, Unusable, plain
from service.remote.batches import Terminal
from service.remote.calls import fill
from service.remote.shown import note, print_json, print_problem
from service.remote.wire import Deployment

CHUNK_BYTES = 256 * 1024
FORMATS = {".csv": "csv", ".parquet": "parquet"}

_MANIFEST = re.compile(r'<(/[!-~]+)>; rel="describedby"')


def export(table: str, token: str, file: str, given: Sequence[str], terminal: Terminal) -> int:
    """Write a table to a file that is not there yet, and its manifest beside it; the exit code.

    Neither has its name before both are whole and the file's digest is the one in the manifest.

    Args:
        given: NAME=VALUE of the query, such as `at_block=42`.

    Raises:
        Unusable: nothing was written; the sentence says why.
    """
    path = Path(file)
    manifest_path = Path(f"{file}.manifest.json")
    if path.suffix not in FORMATS:
        raise Unusable(f"{file}: a file's name ends with {' or '.join(FORMATS)}, which says how it is written")
    for each in (path, manifest_path):
        require_new(each)
    deployment = Deployment.of_environment()
    every = read_calls(deployment.document()).values()
    tables = [each for each in every if each.name[:7] == "export_" and "{token_id}" in each.path]
    calls = {each.name: each for each in tables}
    name = f"export_{table.replace('-', '_')}"
    if name not in calls:
        known = ", ".join(each.removeprefix("export_").replace("_", "-") for each in calls)
        raise Unusable(f"there is no table {table!r}: there are {known or 'none'}")
    deployment.require_credential()
    request = fill(calls[name], [f"token_id={token}", f"format={FORMATS[path.suffix]}", *given])
    try:
        manifest = _write(deployment, request, path, manifest_path, terminal)
    except ApiProblem as refusal:
        if terminal.as_json:
            print_json(refusal.problem)
        print_problem(terminal.err, refusal.problem)
        return 1
    if terminal.as_json:
        print_json(manifest)
    else:
        at = manifest["at"]
        final = "final" if at["final"] else "not final yet"
        note(terminal.err, f"{path}: {manifest['rows']} rows as of block {at['block']}, {final}")
    return 0


def _write(deployment: Deployment, request: Request, path: Path, manifest_path: Path, terminal: Terminal) -> Any:
    with ExitStack() as kept:
        part = _part(path, kept)
        size, digest, link = _fetch(deployment, request, part, path.name, terminal)
        found = _MANIFEST.fullmatch(link or "")
        if found is None:
            raise Unusable(f"{deployment.url} names no manifest: is it a Muniment API?")
        asked = urllib.parse.urlsplit(found[1])
        query = dict(urllib.parse.parse_qsl(asked.query))
        manifest = deployment.ask(replace(request, path=asked.path, query=query)).content
        if (manifest["size_bytes"], manifest["sha256"]) != (size, digest):
            raise Unusable("the file is not the one that its manifest describes, and was not kept: ask for it again")
        manifest_part = _part(manifest_path, kept)
        try:
            manifest_part.write_text(json.dumps(manifest, indent=2) + "\n")
        except OSError as error:
            raise Unusable(f"{manifest_path} can't be written ({error.strerror})") from None
        name_whole(manifest_part, manifest_path)
        try:
            name_whole(part, path)
        except Unusable:
            manifest_path.unlink()
            raise
    return manifest


def _part(path: Path, kept: ExitStack) -> Path:
    part = part_of(path, kept)
    mask = os.umask(0)
    os.umask(mask)
    part.chmod(0o666 & ~mask)  # as any file that this user makes
    return part


def _fetch(
    deployment: Deployment, request: Request, part: Path, name: str, terminal: Terminal
) -> tuple[int, str, str | None]:
    """Bytes, digest and Link header of a file that is written to `part`."""
    digest, size = hashlib.sha256(), 0
    columns = (SpinnerColumn(), TextColumn("{task.description}"), DownloadColumn(), TransferSpeedColumn())
    shown = Progress(
        *columns, TimeElapsedColumn(), console=terminal.err, transient=True, disable=not terminal.err.is_terminal
    )
    with shown as progress, deployment.answer(request) as incoming, part.open("wb") as out:
        task = progress.add_task(plain(name), total=None)
        for chunk in incoming.chunks(CHUNK_BYTES):
            digest.update(chunk)
            try:
                out.write(chunk)
            except OSError as error:
                raise Unusable(f"{part.parent} can't be written to ({error.strerror})") from None
            size += len(chunk)
            progress.update(task, completed=size)
        return size, digest.hexdigest(), incoming.header("Link")
