"""The processes themselves, their tables, and what they offer."""

import json
from collections.abc import Awaitable, Callable

from service.cli import frame
from service.settings import Settings, read_settings


def api() -> None:
    """Serve the REST API."""
    from service import processes

    processes.api(read_settings())


def sender() -> None:
    """Carry queued transactions to the chain."""
    _process("sender")


def indexer() -> None:
    """Keep the mirror level with the chain."""
    _process("indexer")


def dispatcher() -> None:
    """Close operations that are final and write the journal."""
    _process("dispatcher")


def _process(name: str) -> None:
    import uvloop

    from service import processes

    work: Callable[[Settings], Awaitable[None]] = getattr(processes, name)

    async def main() -> None:
        await work(read_settings())

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
