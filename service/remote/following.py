"""Watching an operation, a batch or an adoption to its end, and what is said of it then."""

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from service.client.exchange import Answer
from service.client.problems import Unusable, plain
from service.client.waiting import follow, under_way
from service.remote.shown import note, print_problem
from service.remote.wire import Deployment


def goes_on(content: dict[str, Any], key: str) -> str:
    """How to find again what an accepted write has begun."""
    if "state" in content:
        return f"the batch goes on: ask again by `muniment batch show {content['id']}`, or repeat it with --key {key}"
    if "first_block" in content:
        return (
            f"the adoption goes on: ask again by `muniment call read_adoption adoption_id={content['id']}`, "
            f"or repeat the call with --key {key}"
        )
    return (
        f"the operation goes on: ask again by `muniment call read_operation operation_id={content['id']}`, "
        f"or repeat the call with --key {key}"
    )


def watch(deployment: Deployment, answer: Answer, timeout_s: float, err: Console) -> dict[str, Any]:
    """What an accepted write has begun, once it is final or the time is over; a terminal is shown its progress."""
    assert answer.operation is not None, "a write that is done is not watched"
    assert answer.location is not None, "what was accepted has an address"
    rows = answer.operation.get("rows")
    bar = (BarColumn(), MofNCompleteColumn()) if rows else ()
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), *bar, TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("", total=rows["total"] if rows else None)

        def tell(content: dict[str, Any]) -> None:
            ended = sum(content["rows"][each] for each in ("succeeded", "failed", "cancelled")) if rows else 0
            progress.update(task, description=plain(_told(content)), completed=ended)

        return follow(deployment, answer.location, answer.operation, timeout_s=timeout_s, tell=tell)


def _told(content: dict[str, Any]) -> str:
    if "state" in content:
        counts = (f"{count} {status}" for status, count in content["rows"].items() if count and status != "total")
        return f"{content['kind']} {content['state']}: {', '.join(counts)}"
    if "first_block" in content:
        return f"{content['address']} {content['status']}: {content['blocks'] or 0} of {content['blocks_total']} blocks"
    sent = content.get("transaction") or {}
    return f"{content['kind']} {content['status']}: transaction {sent.get('status')}"


def ended(content: dict[str, Any], *, waited_s: float | None, more: str, err: Console) -> int:
    """The exit code of an operation or a batch, with what is to be said of it.

    Args:
        waited_s: how long its end was waited for; None where it was not.
        more: how to find it again.

    Raises:
        Unusable: it was waited for, and is not final.
    """
    if under_way(content):
        if waited_s is not None:
            raise Unusable(f"not final after {waited_s:g} s; {more}")
        note(err, more)
        return 0
    if content.get("status") == "failed":
        print_problem(err, content["problem"] or {"title": "The operation failed", "detail": "no reason is known"})
        return 1
    if content.get("status") == "refused":
        print_problem(
            err, {"title": f"The contract can't be adopted: {content['reason']}", "detail": content["detail"]}
        )
        return 1
    if content.get("state") in ("failed", "partly_failed"):
        note(err, f"muniment: {content['rows']['failed']} rows of the batch failed", "red")
        note(err, f"  which and why: `muniment batch rows {content['id']} --status failed`; then resume it", "red")
        return 1
    return 0
