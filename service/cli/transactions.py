"""`muniment transactions`: how transactions and signers stand, and what operators do about it."""

import asyncio
import json
import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from service.addresses import checksum, hex0x
from service.cli import frame
from service.client.problems import plain
from service.settings import Settings, read_settings

REFRESH_S = 1.0
GWEI = 10**9
ETHER = 10**18

_HASH = re.compile(r"0x[0-9a-fA-F]{64}")

app = frame.group("What is on its way to the chain, and what has arrived.")

IdArgument = Annotated[str, typer.Argument(metavar="ID|HASH", help="Its id, or the hash of any of its versions.")]
WatchOption = Annotated[bool, typer.Option("--watch", help="Show it anew every second, until Ctrl-C.")]


@app.command("list")
def list_transactions(
    status: Annotated[str | None, typer.Option(help="Only these: queued, pending, submitted, mined, …")] = None,
    signer: Annotated[str | None, typer.Option(help="Only this signer's.")] = None,
    issuer: Annotated[str | None, typer.Option(help="Only this issuer's, and its signer's own.")] = None,
    stuck: Annotated[bool, typer.Option("--stuck", help="Only unmined ones in trouble, or a minute old.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=500, help="The newest so many.")] = 50,
    watch: WatchOption = False,
    as_json: frame.JsonOption = False,
) -> None:
    """Transactions, newest first."""
    from service.operators import queries
    from service.operators.views import TransactionSummary
    from service.transactions.tables import Status

    settings = read_settings()
    asked = None if status is None else _choice(Status, status)
    by = None if signer is None else frame.address(signer)

    async def read(db: Any) -> Sequence[Any]:
        owner = None if issuer is None else await _owner(db, issuer)
        async with db.read() as connection:
            return await queries.page(
                connection,
                chain_id=settings.chain_id,
                owner=owner,
                status=asked,
                signer=by,
                stuck=stuck,
                count_max=limit,
            )

    if as_json:
        rows = frame.with_database(settings, read)
        _print_json({"data": [TransactionSummary.of(row).model_dump(mode="json") for row in rows]})
    else:
        _show(settings, read, _transactions_table, watch=watch)


@app.command("show")
def show_transaction(id: IdArgument, watch: WatchOption = False, as_json: frame.JsonOption = False) -> None:
    """One transaction: every version of it, what it serves, and the audit of its signatures."""
    from service.operators import queries
    from service.operators.views import TransactionDetail

    settings = read_settings()
    which = _which(id)

    async def read(db: Any) -> Any:
        async with db.read() as connection:
            return await queries.detail(connection, chain_id=settings.chain_id, owner=None, **which)

    if as_json:
        _print_json(TransactionDetail.of_detail(frame.with_database(settings, read)).model_dump(mode="json"))
    else:
        _show(settings, read, _detail_tables, watch=watch)


@app.command("bump")
def bump_transaction(id: IdArgument) -> None:
    """Offer a better fee for the same nonce now, up to MUNIMENT_FEE_MAX_WEI."""
    from service.operators import commands

    _act(id, commands.bump, "the sender offers more with its next step")


@app.command("cancel")
def cancel_transaction(id: IdArgument) -> None:
    """Take a transaction back: at once, or by an empty transaction in its place unless it is mined before."""
    from service.operators import commands

    _act(id, commands.cancel, "unless it is mined before, an empty transaction takes its nonce")


@app.command("approve")
def approve_transaction(
    id: IdArgument,
    by: Annotated[str | None, typer.Option(help="Who consents, for the audit; your login when left out.")] = None,
) -> None:
    """Give the second consent that a signer's policy asks for."""
    from service.operators import commands

    who = f"operator {by or frame.operator()}"
    _act(id, commands.approving(by=who, caller_id=None), f"approved by {who}")


@app.command("resume")
def resume_signer(signer: frame.AddressArgument) -> None:
    """Say what halts a signer, lift it, and try again now what waits."""
    from service.operators import queries
    from service.transactions import commands

    settings, address = read_settings(), frame.address(signer)

    async def work(db: Any) -> Any:
        async with db.read() as connection:
            (state,) = await queries.signers(connection, chain_id=settings.chain_id, addresses=[address])
        if state.standing is None and state.load is None:
            raise frame.Refused(f"no sender has ever looked at {checksum(address)}: `muniment transactions signers`")
        async with db.transaction() as session:
            return state, await commands.resume(session, address, chain_id=settings.chain_id)

    state, halt = frame.with_database(settings, work)
    detail = state.standing.halt_detail if state.standing else None
    told = f"it was halted: {halt}" + (f", {_safe(detail)}" if detail else "")
    frame.out.print(told if halt else "nothing halted it", soft_wrap=True)
    frame.out.print("what waits is tried again now; a halt whose cause is still there comes back")


@app.command("signers")
def list_signers(watch: WatchOption = False, as_json: frame.JsonOption = False) -> None:
    """How every signer stands: ether, nonce, halt, alert, what is on its way, and what it may sign."""
    from service.access import queries as access
    from service.operators import queries
    from service.operators.views import SignerView

    settings = read_settings()

    async def read(db: Any) -> Sequence[Any]:
        issued = {issuer.signer for issuer in await access.issuers(db)}
        async with db.read() as connection:
            seen = await queries.signers(connection, chain_id=settings.chain_id, addresses=[])
            every = sorted(issued | {each.address for each in seen})
            return await queries.signers(connection, chain_id=settings.chain_id, addresses=every) if every else []

    if as_json:
        rows = frame.with_database(settings, read)
        _print_json({"data": [SignerView.of(row).model_dump(mode="json") for row in rows]})
    else:
        _show(settings, read, _signers_table, watch=watch)


@app.command("endpoints")
def list_endpoints(watch: WatchOption = False, as_json: frame.JsonOption = False) -> None:
    """How the chain's endpoints do, as the sender last told it: state, blocks behind, latency, failures."""
    from service.operators.views import EndpointView
    from service.transactions import endpoints

    settings = read_settings()

    async def read(db: Any) -> Sequence[Any]:
        async with db.read() as connection:
            return await endpoints.seen(connection, chain_id=settings.chain_id)

    if as_json:
        rows = frame.with_database(settings, read)
        _print_json({"data": [EndpointView.model_validate(row).model_dump(mode="json") for row in rows]})
    else:
        _show(settings, read, _endpoints_table, watch=watch)


# What the commands share


def _choice(kind: Any, given: str) -> Any:
    try:
        return kind(given)
    except ValueError:
        raise frame.Refused(f"--status is one of {', '.join(kind)}, not {given!r}") from None


def _which(text: str) -> dict[str, Any]:
    if _HASH.fullmatch(text):
        return {"hash": bytes.fromhex(text[2:])}
    try:
        return {"id": UUID(text)}
    except ValueError:
        raise frame.Refused("name a transaction by its id, or by a hash: 0x and 64 hexadecimal digits") from None


async def _owner(db: Any, name: str) -> Any:
    from service.transactions.overview import Owner

    issuer = await frame.issuer(db, name)
    return Owner(issuer.id, issuer.signer)


def _act(text: str, act: Any, done: str) -> None:
    from service.operators import queries

    settings, which = read_settings(), _which(text)

    async def work(db: Any) -> Any:
        async def read() -> Any:
            async with db.read() as connection:
                return await queries.detail(connection, chain_id=settings.chain_id, owner=None, **which)

        found = await read()
        async with db.transaction() as session:
            await act(session, found.listed.transaction)
        return await read()

    now = frame.with_database(settings, work).listed.transaction
    told = now.status if now.status == "cancelled" else f"{now.status}; {done}"
    frame.out.print(f"{now.id} is {told}", soft_wrap=True)


def _print_json(told: Any) -> None:
    sys.stdout.write(json.dumps(told) + "\n")


def _show(
    settings: Settings, read: Callable[[Any], Awaitable[Any]], draw: Callable[[Any], RenderableType], *, watch: bool
) -> None:
    """Print once, or draw anew until an interruption."""
    if not watch:
        frame.out.print(draw(frame.with_database(settings, read)))
        return
    if not frame.out.is_terminal:
        raise frame.Refused("--watch draws on a terminal: leave it out, or use --json")

    async def draw_on(db: Any) -> None:
        with Live(console=frame.out, auto_refresh=False, screen=False) as live:
            while True:
                live.update(draw(await read(db)), refresh=True)
                await asyncio.sleep(REFRESH_S)

    try:
        frame.with_database(settings, draw_on)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


# Tables


def _transactions_table(rows: Sequence[Any]) -> RenderableType:
    if not rows:
        return "no transactions"
    table = Table(*("id", "operation", "signer", "nonce", "status", "age", "versions", "fee, gwei", "trouble"))
    for row in rows:
        found = row.transaction
        kind = found.origin if row.operation is None else row.operation.kind
        table.add_row(
            *(str(found.id), kind, checksum(found.signer), _text(found.nonce), _status(found), _age(found.age_s)),
            *(str(found.attempts_count), _gwei(found.max_fee_wei), _trouble(found)),
        )
    return table


def _detail_tables(detail: Any) -> RenderableType:
    found, operation = detail.listed.transaction, detail.listed.operation
    facts = Table(show_header=False, box=None)
    told: dict[str, str] = {
        "id": str(found.id),
        "operation": "" if operation is None else f"{operation.kind} {operation.id} {operation.status}",
        "origin": found.origin,
        "status": _status(found),
        "signer": checksum(found.signer),
        "recipient": checksum(found.recipient),
        "nonce": _text(found.nonce),
        "block": "" if found.block_number is None else f"{found.block_number} {hex0x(found.block_hash)}",
        "gas used": _text(found.gas_used),
        "trouble": _trouble(found),
        "refusal": "" if found.refusal is None else _safe(json.dumps(found.refusal)),
        "accepted": _when(found.created_at),
        "last sent": _when(found.broadcast_at),
        "tried again at": _when(found.retry_at),
        "bump asked": _when(found.bump_asked_at),
        "cancel asked": _when(found.cancel_asked_at),
        "approved": ""
        if found.approved_at is None
        else f"{_when(found.approved_at)} by {_safe(found.approved_by or '')}",
    }
    for name, text in told.items():
        if text:
            facts.add_row(name, text)
    versions = Table(
        *("hash", "kind", "nonce", "gas limit", "fee, gwei", "tip, gwei", "made", "signed"), title="versions"
    )
    for each in detail.attempts:
        name = "never signed" if each.hash is None else hex0x(each.hash)
        mined = " (mined)" if found.block_number is not None and each.hash == found.transaction_hash else ""
        versions.add_row(
            *(name + mined, each.kind, str(each.nonce), str(each.gas_limit), _gwei(each.max_fee_wei)),
            *(_gwei(each.priority_fee_wei), _when(each.created_at), _when(each.signed_at)),
        )
    audit = Table(*("at", "provider", "purpose", "nonce", "costs at most, ether", "verdict"), title="signatures")
    for entry in detail.signatures:
        verdict = entry.verdict if entry.reason is None else f"{entry.verdict}: {entry.reason}"
        most = f"{entry.fee_max_wei / ETHER:.6f}"
        audit.add_row(_when(entry.at), entry.provider or "", entry.purpose, str(entry.nonce), most, verdict)
    return Group(facts, *([versions] if detail.attempts else []), *([audit] if detail.signatures else []))


def _signers_table(rows: Sequence[Any]) -> RenderableType:
    if not rows:
        return "no signers"
    table = Table(*("signer", "ether", "nonce", "live", "oldest unmined", "halt", "alert", "may sign"))
    for row in rows:
        standing, load, limits = row.standing, row.load, row.limits
        live = " ".join(f"{status} {count}" for status, count in sorted(load.counts.items())) if load else ""
        oldest = _age(load.oldest_unmined_s) if load and load.oldest_unmined_s is not None else ""
        policy = _policy(limits)
        if standing is None:
            table.add_row(checksum(row.address), "not seen yet", "", live, oldest, "", "", policy)
            continue
        halt = _marked("red", standing.halt, standing.halt_detail)
        alert = _marked("yellow", standing.alert, standing.alert_detail)
        foreign = f" {standing.foreign_nonces} nonces spent by others" if standing.foreign_nonces else ""
        ether = f"{standing.balance_wei / ETHER:.4f}"
        told = (live, oldest, halt, alert + foreign, policy)
        table.add_row(checksum(row.address), ether, str(standing.next_nonce), *told)
    return table


def _endpoints_table(rows: Sequence[Any]) -> RenderableType:
    if not rows:
        return "no sender has told of an endpoint yet"
    table = Table(
        *("endpoint", "state", "told", "head", "behind", "latency, ms", "failures", "contradictions", "last error")
    )
    for row in rows:
        colour = {"up": "green", "down": "red"}.get(row.state, "yellow")
        chain = ", of another chain" if row.wrong_chain else ""
        head = "" if row.head is None else f"{row.head}, {_age(row.head_age_s)} ago"
        latency = "" if row.latency_ms is None else f"{row.latency_ms:.1f}"
        table.add_row(
            *(_safe(row.name), f"[{colour}]{row.state}[/{colour}]{chain}", f"{_age(row.seen_age_s)} ago", head),
            *(str(row.behind_blocks), latency, str(row.failures), str(row.contradictions), _safe(row.last_error or "")),
        )
    return table


def _policy(limits: Any) -> str:
    if limits is None:
        return "anything"
    return "nothing: frozen" if limits.frozen else _safe(json.dumps(limits.policy))


def _marked(colour: str, name: str | None, detail: str | None) -> str:
    return "" if name is None else f"[{colour}]{name}[/{colour}] {_safe(detail or '')}"


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _gwei(wei: int | None) -> str:
    return "" if wei is None else f"{wei / GWEI:.3f}"


def _when(at: Any) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S}"


def _age(age_s: float) -> str:
    for unit_s, name in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if age_s >= 2 * unit_s:
            return f"{age_s / unit_s:.0f} {name}"
    return f"{age_s:.0f} s"


def _status(found: Any) -> str:
    asked = [
        word
        for word, at in (("cancel asked", found.cancel_asked_at), ("bump asked", found.bump_asked_at))
        if at is not None and found.status in ("queued", "pending", "submitted")
    ]
    return " ".join([found.status, *(f"({word})" for word in asked)])


def _trouble(found: Any) -> str:
    if found.refusal is not None and found.last_error is None:
        return _safe(str(found.refusal.get("name", "")))
    return _safe(found.last_error or "")


def _safe(text: str) -> str:
    """What others have written: it moves no cursor, and is no mark-up of ours."""
    return escape(plain(text))
