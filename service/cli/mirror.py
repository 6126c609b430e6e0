"""`muniment mirror`: what the mirror waits for, and an operator's leave to go on."""

import json
import sys
from typing import Any

from service.cli import frame
from service.settings import read_settings

app = frame.group("What the mirror waits for.")


@app.command("status")
def mirror_status(as_json: frame.JsonOption = False) -> None:
    """Show how far the mirror is, and what it waits for."""
    from service.mirror import queries, standing

    settings = read_settings()

    async def read(db: Any) -> Any:
        async with db.read() as connection:
            status = await queries.status(connection, chain_id=settings.chain_id)
            return status, await standing.present_halt(connection, chain_id=settings.chain_id)

    status, halt = frame.with_database(settings, read)
    told = {
        "tip": status.tip,
        "head": status.head,
        "final": None if status.final is None or status.final < 0 else status.final,
        "lag": status.lag,
        "seen_age_s": None if status.seen_age_s is None else round(status.seen_age_s, 1),
        "halt": None if halt is None else halt.name,
        "halt_detail": None if halt is None else halt.detail,
        "halted_s": None if halt is None else round(halt.halted_s, 1),
    }
    if as_json:
        sys.stdout.write(json.dumps(told) + "\n")
        return
    for name, value in told.items():
        frame.out.print(f"{name:12}{'-' if value is None else value}", markup=False, highlight=False, soft_wrap=True)


@app.command("resume")
def resume_mirror() -> None:
    """Let the mirror leave blocks that were called final and are no longer of the chain."""
    from service.mirror import standing

    settings = read_settings()

    async def work(db: Any) -> int | None:
        async with db.transaction() as session:
            return await standing.resume(session, chain_id=settings.chain_id)

    fork = frame.with_database(settings, work)
    if fork is None:
        frame.out.print("nothing asks for it: no blocks that were called final have left the chain")
        return
    frame.out.print(f"the mirror goes back to block {fork}, and on from there; a deeper fork halts it again")
