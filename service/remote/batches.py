"""`muniment batch`: rows of a file through the REST API, each exactly once."""

import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from service.client.calls import Call, read_calls
from service.client.exchange import Request
from service.client.problems import ApiProblem, Unusable
from service.remote.calls import fill
from service.remote.command import Asked, check_key, write
from service.remote.shown import note, print_json, print_problem, show
from service.remote.wire import Deployment

FILE_BYTES_MAX = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Terminal:
    """Where answers and remarks go."""

    out: Console
    err: Console
    as_json: bool


def send(name: str, token: str | None, file: str, asked: Asked, terminal: Terminal) -> int:
    """Send a file's rows by the call `name`, and wait for their end; the exit code.

    Without a key of the caller's it is made of the file, so that the same file again shows the same batch.

    Raises:
        Unusable: the file can't be read, or the end is not known.
    """
    check_key(asked.key)
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise Unusable(f"{file} can't be read ({error.strerror})") from None
    if len(content) > FILE_BYTES_MAX:
        raise Unusable(f"{file} has more than {FILE_BYTES_MAX} bytes: send it in parts")
    deployment, call = _reach(name)
    named = [] if token is None else [f"token_id={token}"]
    request = fill(call, named, '{"rows": []}')
    media_type = "application/json" if file.endswith(".json") else "text/csv"
    request = replace(request, body=None, file=content, media_type=media_type)
    if asked.key is None:
        digest = hashlib.sha256("\0".join([name, token or "", ""]).encode() + content).hexdigest()
        asked = replace(asked, key=f"file-{digest[:40]}")
        note(terminal.err, f"idempotency key {asked.key}, made of the file; --key sends the same rows once more")
    return _told(lambda: write(deployment, request, asked, terminal.out, terminal.err), terminal)


def ask(name: str, batch_id: str, terminal: Terminal) -> int:
    """Show what a call answers of a batch; the exit code."""
    deployment, call = _reach(name)
    request = fill(call, [f"batch_id={batch_id}"])

    def told() -> int:
        show(terminal.out, deployment.ask(request).content, as_json=terminal.as_json)
        return 0

    return _told(told, terminal)


def change(name: str, batch_id: str, asked: Asked, terminal: Terminal) -> int:
    """Cancel or resume a batch, and wait for its end; the exit code."""
    check_key(asked.key)
    deployment, call = _reach(name)
    request = fill(call, [f"batch_id={batch_id}"], "{}")
    return _told(lambda: write(deployment, request, asked, terminal.out, terminal.err), terminal)


def rows(batch_id: str, status: str | None, terminal: Terminal) -> int:
    """Write a batch's rows as CSV, in the columns in which they are sent; the exit code."""
    deployment, call = _reach("list_batch_rows")
    given = [] if status is None else [f"status={status}"]
    request: Request = replace(fill(call, [f"batch_id={batch_id}", *given]), accept="text/csv")

    def told() -> int:
        sys.stdout.write(deployment.ask(request).content)
        return 0

    return _told(told, terminal)


def _reach(name: str) -> tuple[Deployment, Call]:
    deployment = Deployment.of_environment()
    call = read_calls(deployment.document()).get(name)
    if call is None:
        raise Unusable(f"{deployment.url} has no batches of this kind")
    deployment.require_credential()
    return deployment, call


def _told(act: Callable[[], int], terminal: Terminal) -> int:
    try:
        return act()
    except ApiProblem as refusal:
        if terminal.as_json:
            print_json(refusal.problem)
        print_problem(terminal.err, refusal.problem)
        return 1
