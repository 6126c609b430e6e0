"""The processes themselves, their tables, and what they offer."""

import gc
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from service.cli import frame
from service.settings import read_settings


@contextmanager
def for_good() -> Iterator[None]:
    """For imports that stay: looking through it for garbage takes a fifth of a start, and later 0.2 s now and then."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def api() -> None:
    """Serve the REST API."""
    with for_good():
        import service.app  # noqa: F401
        from service import processes

    processes.api(read_settings("api"))


def sender() -> None:
    """Carry queued transactions to the chain."""
    _process("sender")


def indexer() -> None:
    """Keep the mirror level with the chain; a terminal sees how far a long history came."""
    with Progress(
        TextColumn("mirroring the chain's history"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pace]}"),
        TimeRemainingColumn(),
        console=frame.err,
        transient=True,
        disable=not frame.err.is_terminal,
    ) as progress:
        task = progress.add_task("", total=None, visible=False, pace="")

        def tell(told: Any) -> None:
            progress.update(
                task,
                completed=told.blocks,
                total=told.blocks_total,
                visible=told.blocks < told.blocks_total,
                pace=f"{told.events_per_s:,.0f} events/s",
            )

        _process("indexer", tell=tell)


def dispatcher() -> None:
    """Close operations that are final and write the journal."""
    _process("dispatcher")


def _process(name: str, **given: Any) -> None:
    with for_good():
        import uvloop

        from service import processes

    work: Callable[..., Awaitable[None]] = getattr(processes, name)

    async def main() -> None:
        await work(read_settings(name), **given)

    uvloop.run(main())


def migrate() -> None:
    """Bring the database's tables up to date."""
    from service import migrate as migrations

    migrations.upgrade(read_settings().database_url)
    frame.out.print("the database is up to date")


def openapi() -> None:
    """Print the OpenAPI document."""
    from service import app as api_app

    frame.out.print_json(json.dumps(api_app.openapi(read_settings())))
