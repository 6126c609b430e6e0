"""The four processes. They meet only in Postgres, and each may be killed at any instruction."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from service import telemetry
from service.chain.node import NodeRefused, NodeUnavailable
from service.chain.reader import Chain, WrongChain, open_chain
from service.db import Database
from service.keys.guard import Guard
from service.keys.signers import open_signers
from service.mirror.indexer import converge
from service.operations.settle import settle
from service.refusals import BY_REVERT
from service.settings import Settings
from service.telemetry import logger
from service.transactions.lanes import Limits, Means
from service.transactions.sender import drive
from service.workers import Lease, Step, run, stop_on_signals


def api(settings: Settings) -> None:
    """Serve HTTP until SIGTERM or SIGINT."""
    # The workers do without these, and start faster for it.
    import uvicorn

    from service.app import create_app

    telemetry.start("api")
    assert settings.factory  # told at start, not at the first request
    asyncio.run(_refuse_wrong_chain(settings))
    uvicorn.run(
        create_app(settings),
        host=settings.api_host,
        port=settings.api_port,
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=True,
    )


async def _refuse_wrong_chain(settings: Settings) -> None:
    """A node of another chain ends the process at once; one that is silent does not."""
    chain = open_chain(settings)
    try:
        await chain.check()
    except (NodeUnavailable, NodeRefused):
        logger().warning("node_silent")
    finally:
        await chain.close()


async def sender(settings: Settings) -> None:
    """Carry queued transactions to the chain."""
    async with (
        open_signers(settings) as signers,
        _process(settings, "sender") as (db, stop),
        _chain(settings, stop) as chain,
    ):
        await drive(
            Means(db, chain, Guard(db, signers), Limits.of(settings)),
            lease_ttl_s=settings.lease_ttl_s,
            poll_interval_s=settings.poll_interval_s,
            stop=stop,
        )


async def indexer(settings: Settings) -> None:
    """Keep the mirror level with the chain."""
    factory = settings.factory
    async with _process(settings, "indexer") as (db, stop), _chain(settings, stop) as chain:

        async def step(lease: Lease) -> int:
            return await converge(
                db,
                chain,
                lease,
                chain_id=settings.chain_id,
                factory=factory,
                start_block=settings.start_block,
                blocks_max=settings.indexer_blocks_max,
            )

        await _drive(settings, db, stop, f"indexer:{settings.chain_id}", step)


async def dispatcher(settings: Settings) -> None:
    """Close operations whose transactions are final, with their facts in the journal."""
    async with _process(settings, "dispatcher") as (db, stop):
        await _drive(settings, db, stop, "dispatcher", lambda lease: settle(db, lease, BY_REVERT))


async def _drive(settings: Settings, db: Database, stop: asyncio.Event, lease: str, step: Step) -> None:
    await run(
        db,
        Lease(lease, ttl_s=settings.lease_ttl_s),
        step,
        poll_interval_s=settings.poll_interval_s,
        stop=stop,
        retry=(NodeUnavailable, NodeRefused),
    )


@asynccontextmanager
async def _process(settings: Settings, name: str) -> AsyncIterator[tuple[Database, asyncio.Event]]:
    """Log, signals and Postgres of a worker; a fault ends it with one line of log."""
    telemetry.start(name)
    stop = stop_on_signals()
    db = Database(settings.database_url, role=f"muniment_{name}", connections_max=3)
    await db.open()
    try:
        yield db, stop
    except WrongChain:
        raise
    except Exception as error:
        # The exception's own words may carry a row, and with it a holder's authorization.
        logger().error("process_failed", worker=name, exc_info=error)
        sys.exit(1)
    finally:
        await db.close()


@asynccontextmanager
async def _chain(settings: Settings, stop: asyncio.Event) -> AsyncIterator[Chain]:
    """The node, once it answers; one of another chain ends the process."""
    chain = open_chain(settings)
    try:
        while not stop.is_set():
            try:
                await chain.check()
                break
            except (NodeUnavailable, NodeRefused):
                logger().warning("node_silent")
                await asyncio.sleep(settings.poll_interval_s)
        yield chain
    finally:
        await chain.close()
