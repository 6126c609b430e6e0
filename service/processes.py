"""The four processes. They meet only in Postgres, and each may be killed at any instruction."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress

from service import telemetry
from service.access.key_watch import KeyWatch
from service.chain.new_heads import wake_on_new_heads
from service.chain.node import NodeRefused, NodeUnavailable
from service.chain.reader import Chain, WrongChain, open_chain
from service.db import Database
from service.keys.guard import Guard
from service.keys.signers import open_signers
from service.mirror.adopting import Adopter
from service.mirror.backfill import Backfill
from service.mirror.digest_filling import Gaps
from service.mirror.filling import Tell
from service.mirror.indexer import Gear, converge
from service.operations.settle import settle
from service.refusals import BY_REVERT
from service.settings import Settings
from service.telemetry import logger
from service.transactions.lanes import Limits, Means
from service.transactions.sender import drive
from service.webhooks.delivering import open_deliverer
from service.workers import Lease, Step, run, stop_on_signals


def api(settings: Settings) -> None:
    """Serve HTTP until SIGTERM or SIGINT."""
    # The workers do without these, and start faster for it.
    import uvicorn

    from service.app import create_app
    from service.web.connections import ENDING_WAIT_MAX_S, Connection

    telemetry.start("api")
    assert settings.factory  # told at start, not at the first request
    asyncio.run(_refuse_wrong_chain(settings))
    uvicorn.run(
        create_app(settings),
        host=settings.api_host,
        port=settings.api_port,
        loop="uvloop",
        http=Connection,
        ws="none",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=True,
        # What then still works, without a connection, is cancelled.
        timeout_graceful_shutdown=int(ENDING_WAIT_MAX_S) + 5,
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


async def indexer(settings: Settings, tell: Tell | None = None) -> None:
    """Keep the mirror level with the chain: a long history at once, and then block by block; and adopt what is wanted.

    Args:
        tell: hears how far a long history came.
    """
    factory = settings.factory
    gear = Gear(receipts_share=settings.receipts_share)
    async with (
        _process(settings, "indexer") as (db, stop),
        _chain(settings, stop) as chain,
        _woken(settings) as wake,
        aclosing(_backfill(settings, db, chain, tell)) as backfill,
        aclosing(Adopter(db, chain, chain_id=settings.chain_id, receipts_share=settings.receipts_share)) as adopter,
    ):
        gaps = Gaps(db, settings.chain_id)

        async def step(lease: Lease) -> int:
            if (digested := await gaps.step(lease)) > 0:
                return digested
            if not adopter.busy and (done := await backfill.step(lease)) > 0:
                return done
            adopted = await adopter.step(lease)
            return adopted + await converge(
                db,
                chain,
                lease,
                chain_id=settings.chain_id,
                factory=factory,
                start_block=settings.start_block,
                blocks_max=settings.indexer_blocks_max,
                gear=gear,
            )

        await _drive(settings, db, stop, f"indexer:{settings.chain_id}", step, wake)


def _backfill(settings: Settings, db: Database, chain: Chain, tell: Tell | None) -> Backfill:
    return Backfill(
        db,
        chain,
        chain_id=settings.chain_id,
        factory=settings.factory,
        start_block=settings.start_block,
        tell=tell,
    )


@asynccontextmanager
async def _woken(settings: Settings) -> AsyncIterator[asyncio.Event | None]:
    """What the node's websocket sets at every block, where it has one."""
    if settings.rpc_ws_url is None:
        yield None
        return
    wake = asyncio.Event()
    listening = asyncio.create_task(wake_on_new_heads(settings.rpc_ws_url, wake))
    try:
        yield wake
    finally:
        listening.cancel()
        with suppress(asyncio.CancelledError):
            await listening


async def dispatcher(settings: Settings) -> None:
    """Close operations whose transactions are final, with their facts in the journal, and tell webhooks of those; and
    tell of credentials that somebody should look at."""
    async with _process(settings, "dispatcher") as (db, stop), open_deliverer(settings, db) as deliverer:
        await asyncio.gather(
            _drive(settings, db, stop, "dispatcher", lambda lease: settle(db, lease, BY_REVERT)),
            # A fault here must not keep operations from being settled: it is told again and again.
            _drive(settings, db, stop, "webhooks", deliverer.step, deliverer.wake, retry=(Exception,)),
            _drive(settings, db, stop, "keys", KeyWatch(db).step, retry=(Exception,)),
        )


async def _drive(
    settings: Settings,
    db: Database,
    stop: asyncio.Event,
    lease: str,
    step: Step,
    wake: asyncio.Event | None = None,
    *,
    retry: tuple[type[Exception], ...] = (NodeUnavailable, NodeRefused),
) -> None:
    await run(
        db,
        Lease(lease, ttl_s=settings.lease_ttl_s),
        step,
        poll_interval_s=settings.poll_interval_s,
        stop=stop,
        retry=retry,
        wake=wake,
    )


@asynccontextmanager
async def _process(settings: Settings, name: str) -> AsyncIterator[tuple[Database, asyncio.Event]]:
    """Log, signals and Postgres of a worker; a fault ends it with one line of log."""
    telemetry.start(name)
    stop = stop_on_signals()
    db = Database(settings.database_url, role=f"muniment_{name}", connections_max=3)
    await db.open()
    if settings.environment == "live":
        await db.warn_of_login()
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
