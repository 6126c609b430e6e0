"""`muniment reindex`: the mirror, or one contract of it, made anew from the chain while it is read."""

import json
import sys
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from service.addresses import checksum, hex0x
from service.cli import frame
from service.settings import Settings, read_settings


def reindex(
    token: Annotated[str | None, typer.Option(help="Only this token: its id, or its contract's address.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: frame.JsonOption = False,
) -> None:
    """Make the mirror anew from the chain while reads go on; run again, it goes on where it was cut short.

    The login of MUNIMENT_DATABASE_URL must own the mirror's tables, as the one of `muniment migrate` does: no process
    may delete. A running indexer stands by meanwhile, and goes on by itself afterwards.
    """
    from psycopg.errors import InsufficientPrivilege
    from sqlalchemy.exc import ProgrammingError

    settings = read_settings()
    if not yes:
        if as_json or not sys.stdin.isatty():
            raise frame.Refused("this replaces rows of the mirror: say --yes")
        typer.confirm("Replace the mirror's rows by what the chain says now?", abort=True, err=True)

    async def work(db: Any, chain: Any) -> list[Any]:
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} blocks"),
            TimeRemainingColumn(),
            console=frame.err,
            transient=True,
            disable=as_json or not frame.err.is_terminal,
        ) as progress:
            return await _rebuild(settings, db, chain, token, progress)

    try:
        rebuilt = frame.with_chain(settings, work)
    except ProgrammingError as error:
        if isinstance(error.orig, InsufficientPrivilege):
            raise frame.Refused(
                "the login of MUNIMENT_DATABASE_URL may not delete: use the one that owns the tables, "
                "with which `muniment migrate` was run"
            ) from None
        raise
    _print(rebuilt, as_json=as_json)


async def _rebuild(settings: Settings, db: Any, chain: Any, token: str | None, progress: Progress) -> list[Any]:
    from service.mirror.indexer import Gear, converge
    from service.mirror.reindexing import Reindex, targets
    from service.workers import Lease, kept

    await chain.check()
    lease, gear = Lease(f"indexer:{settings.chain_id}", settings.lease_ttl_s), Gear(settings.receipts_share)
    await lease.seize(db)
    task = progress.add_task("listing", total=None)
    found = []
    try:
        async with kept(db, lease):
            run = Reindex(db, chain, lease, settings.chain_id, settings.receipts_share)
            run.tell = lambda target, told: progress.update(
                task, description=checksum(target.address), completed=told.blocks, total=told.blocks_total
            )
            wanted = await targets(
                db, chain, chain_id=settings.chain_id, factory=settings.factory, final=await run.final()
            )
            if token is not None:
                wanted = [each for each in wanted if each.address == await _address(db, settings, token)]
                if not wanted:
                    raise frame.Refused(f"the mirror follows no contract {token}, or not one in final blocks yet")
            for target in await run.remaining(wanted, whole=token is None):
                async for rebuilt in run.rebuild(target):
                    await converge(
                        db,
                        chain,
                        lease,
                        chain_id=settings.chain_id,
                        factory=settings.factory,
                        start_block=settings.start_block,
                        blocks_max=settings.indexer_blocks_max,
                        gear=gear,
                    )
                    found += [] if rebuilt is None else [rebuilt]
            if token is None:
                await run.finish()
    finally:
        await lease.release(db)
    return found


async def _address(db: Any, settings: Settings, token: str) -> bytes:
    """The contract of a token that is named by its id, or by its address itself."""
    if token.startswith("0x"):
        return frame.address(token)
    try:
        id_ = UUID(token)
    except ValueError:
        raise frame.Refused(f"{token!r} is neither a token's id nor an address") from None
    rows = await db.fetch("SELECT address FROM tokens WHERE id = %s AND chain_id = %s", (id_, settings.chain_id))
    if not rows:
        raise frame.Refused(f"there is no token {id_}")
    return bytes(rows[0][0])


def _print(rebuilt: list[Any], *, as_json: bool) -> None:
    told = [
        {
            "contract": checksum(each.address),
            "events": each.events,
            "differed": list(each.differed),
            "digest_before": None if each.digest_before is None else hex0x(each.digest_before),
            "digest_after": None if each.digest_after is None else hex0x(each.digest_after),
        }
        for each in rebuilt
    ]
    if as_json:
        sys.stdout.write(json.dumps({"contracts": told}) + "\n")
        return
    differed = [each for each in told if each["differed"]]
    frame.out.print(f"{len(told)} contracts were made anew; of {len(differed)} the mirror had other rows")
    if differed:
        table = Table("contract", "tables that differed", "digest before", "digest after")
        for each in differed:
            table.add_row(each["contract"], ", ".join(each["differed"]), each["digest_before"], each["digest_after"])
        frame.out.print(table)
