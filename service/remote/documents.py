"""`muniment vault upload` and `download`: documents as files."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)

from service.client.api import PATIENCE_S
from service.client.documents import Documents
from service.client.problems import ApiProblem, Unusable, plain
from service.client.shapes import Document
from service.remote.batches import Terminal
from service.remote.command import INTERRUPTED
from service.remote.shown import note, print_json, print_problem, show
from service.remote.wire import Deployment


def upload(file: str, asked: dict[str, Any], resumed: str | None, terminal: Terminal) -> int:
    """Send a file as a document, or what is left of one; the exit code.

    Args:
        asked: what `Documents.upload` takes besides the file.
        resumed: the id of a document of which some came.

    Raises:
        Unusable: the file can't be read, or not all of it was sent; the sentence says how to go on.
    """
    documents = _documents()
    begun: list[str] = [] if resumed is None else [resumed]

    def told(document: Document) -> None:
        begun.append(document.id)
        note(terminal.err, f"document {document.id}")

    def act() -> int:
        with _bar(Path(file).name, terminal.err) as tell:
            if resumed is None:
                document = documents.upload(file, **asked, begun=told, progress=tell)
            else:
                document = documents.resume(resumed, file, progress=tell)
        show(terminal.out, document.raw, as_json=terminal.as_json)
        return 0

    def more() -> str:
        if not begun:
            return "nothing of its content was sent"
        return f"go on by `muniment vault upload {file} --resume {begun[0]}`"

    return _told(act, more, terminal)


def download(document_id: str, file: str, *, purpose: str, reason: str, terminal: Terminal) -> int:
    """Write a document to a new file; the exit code.

    Raises:
        Unusable: there is no file; the sentence says why.
    """
    documents = _documents()

    def act() -> int:
        with _bar(Path(file).name, terminal.err) as tell:
            path = documents.download(document_id, file, purpose=purpose, reason=reason, progress=tell)
        if terminal.as_json:
            print_json({"file": str(path), "size_bytes": path.stat().st_size})
        else:
            note(terminal.err, f"{path}: {path.stat().st_size} bytes, which its owner alone may read")
        return 0

    return _told(act, lambda: "there is no file", terminal)


def _documents() -> Documents:
    deployment = Deployment.of_environment()
    deployment.require_credential()
    # A gigabyte takes minutes: what breaks meanwhile is taken up again.
    deployment.patience_s = PATIENCE_S
    return Documents(deployment)


def _told(act: Callable[[], int], more: Callable[[], str], terminal: Terminal) -> int:
    try:
        return act()
    except KeyboardInterrupt:
        note(terminal.err, f"interrupted; {more()}", "yellow")
        return INTERRUPTED
    except Unusable as unusable:
        raise Unusable(f"{unusable}; {more()}") from None
    except ApiProblem as refusal:
        if terminal.as_json:
            print_json(refusal.problem)
        print_problem(terminal.err, refusal.problem)
        return 1


@contextmanager
def _bar(name: str, err: Console) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal; what is done and what there is move it, in bytes."""
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn())
    with Progress(
        *columns, TransferSpeedColumn(), TimeElapsedColumn(), console=err, transient=True, disable=not err.is_terminal
    ) as progress:
        task = progress.add_task(plain(name), total=None)

        def tell(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total)

        yield tell
