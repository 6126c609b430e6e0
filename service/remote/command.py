"""`muniment call`: one command for all that the REST API does."""

import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from service.remote.calls import Call, Request, Unusable, fill, meant, plain, read_calls
from service.remote.shown import note, print_calls, print_fields, print_json, print_problem, show
from service.remote.wire import VISIBLE, Answer, Deployment, Refusal, follow

INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for on the command line."""

    name: str | None
    values: Sequence[str] = ()
    as_json: bool = False
    body: str | None = None
    key: str | None = None
    wait: bool = True
    timeout_s: float = 300.0
    every_page: bool = False
    help_fields: bool = False


def run(asked: Asked, out: Console, err: Console) -> int:
    """Do what the command line asks for; the exit code.

    Raises:
        Unusable: it can't be done, or its end is not known.
    """
    deployment = Deployment.of_environment()
    calls = read_calls(deployment.document())
    if asked.name is None:
        if asked.as_json:
            print_json([call.told() for call in calls.values()])
        else:
            print_calls(out, calls.values())
        return 0
    if asked.name not in calls:
        raise Unusable(f"there is no call {asked.name!r}{meant(asked.name, list(calls))}: `muniment call` lists all")
    call = calls[asked.name]
    if asked.help_fields:
        if asked.as_json:
            print_json({**call.told(), "fields": [each.told() for each in call.fields]})
        else:
            print_fields(out, call)
        return 0
    try:
        request = _request(call, asked)
    except Unusable:
        print_fields(err, call)
        raise
    if request.authorized and deployment.api_key is None:
        raise Unusable("set MUNIMENT_API_KEY to a key made by `muniment keys create`")
    try:
        return (_write if call.takes_key else _read)(deployment, request, asked, out, err)
    except Refusal as refusal:
        if asked.as_json:
            print_json(refusal.problem)
        print_problem(err, refusal.problem)
        return 1


def _request(call: Call, asked: Asked) -> Request:
    if asked.key is not None and not call.takes_key:
        raise Unusable(f"{call.name} takes no --key: it changes nothing")
    if asked.key is not None and not (VISIBLE.fullmatch(asked.key) and len(asked.key) <= 128):
        raise Unusable("--key is 1 to 128 visible ASCII characters")
    limit = next((each for each in call.fields if each.name == "limit" and each.place == "query"), None)
    if asked.every_page and (limit is None or "cursor" not in [each.name for each in call.fields]):
        raise Unusable(f"{call.name} has no pages: leave out --all")
    try:
        body = asked.body if asked.body is None else _read_file(asked.body)
    except (OSError, UnicodeDecodeError) as error:
        raise Unusable(f"--body {asked.body} can't be read ({error})") from None
    request = fill(call, asked.values, body)
    if asked.every_page and limit is not None and limit.maximum is not None:
        request.query.setdefault("limit", limit.maximum)
    return request


def _read_file(name: str) -> str:
    return sys.stdin.read() if name == "-" else Path(name).read_text()


def _read(deployment: Deployment, request: Request, asked: Asked, out: Console, err: Console) -> int:
    content = deployment.ask(request).content
    rows = content.get("data") if isinstance(content, dict) else None
    while asked.every_page and isinstance(rows, list) and content["next_cursor"]:
        query = {**request.query, "cursor": content["next_cursor"]}
        content = deployment.ask(replace(request, query=query)).content
        rows += content["data"]
    if isinstance(rows, list):
        content["data"] = rows
    show(out, content, as_json=asked.as_json)
    if isinstance(content, dict) and content.get("next_cursor") and not asked.as_json:
        note(err, f"there are more: --all, or cursor={content['next_cursor']}")
    return 0


def _write(deployment: Deployment, request: Request, asked: Asked, out: Console, err: Console) -> int:
    key = asked.key or str(uuid.uuid4())
    if asked.key is None:
        note(err, f"idempotency key {key}")
    goes_on = f"it may have been taken: repeat the call with --key {key}"
    operation = None
    try:
        answer = deployment.ask(request, key)
        content, operation = answer.content, answer.operation
        if operation is not None:
            goes_on = (
                f"the operation goes on: ask again by `muniment call read_operation operation_id={operation['id']}`, "
                f"or repeat the call with --key {key}"
            )
            if asked.wait:
                content = operation = _follow(deployment, answer, asked.timeout_s, err)
    except KeyboardInterrupt:
        note(err, f"interrupted; {goes_on}", "yellow")
        return INTERRUPTED
    except Unusable as unusable:
        raise Unusable(f"{unusable}; {goes_on}") from None
    except Refusal as refusal:
        if operation is None:
            raise
        # The write was accepted: it is only we who may no longer ask how it ends.
        raise Unusable(f"{refusal}; {goes_on}") from None
    show(out, content, as_json=asked.as_json)
    return 0 if operation is None else _ended(operation, asked, goes_on, err)


def _ended(operation: dict[str, Any], asked: Asked, goes_on: str, err: Console) -> int:
    """The exit code of an operation, with what is to be said of it."""
    if operation["status"] == "failed":
        print_problem(err, operation["problem"] or {"title": "The operation failed", "detail": "no reason is known"})
        return 1
    if operation["status"] == "pending":
        if asked.wait:
            raise Unusable(f"not final after {asked.timeout_s:g} s; {goes_on}")
        note(err, goes_on)
    return 0


def _follow(deployment: Deployment, answer: Answer, timeout_s: float, err: Console) -> dict[str, Any]:
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("", total=None)

        def tell(operation: dict[str, Any]) -> None:
            sent = operation.get("transaction") or {}
            told = f"{operation['kind']} {operation['status']}: transaction {sent.get('status')}"
            progress.update(task, description=plain(told))

        return follow(deployment, answer, timeout_s=timeout_s, tell=tell)
