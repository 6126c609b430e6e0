"""`muniment call`: one command for all that the REST API does."""

import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from service.client.calls import Call, meant, read_calls
from service.client.credentials import VISIBLE
from service.client.exchange import Request
from service.client.problems import ApiProblem, Unusable
from service.remote.calls import fill, told_call, told_field
from service.remote.following import ended, goes_on, watch
from service.remote.shown import note, print_calls, print_fields, print_json, print_problem, show
from service.remote.wire import Deployment

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
    approval: str | None = None


def run(asked: Asked, out: Console, err: Console) -> int:
    """Do what the command line asks for; the exit code.

    Raises:
        Unusable: it can't be done, or its end is not known.
    """
    deployment = Deployment.of_environment()
    calls = read_calls(deployment.document())
    if asked.name is None:
        if asked.as_json:
            print_json([told_call(call) for call in calls.values()])
        else:
            print_calls(out, calls.values())
        return 0
    if asked.name not in calls:
        raise Unusable(f"there is no call {asked.name!r}{meant(asked.name, list(calls))}: `muniment call` lists all")
    call = calls[asked.name]
    if asked.help_fields:
        if asked.as_json:
            print_json({**told_call(call), "fields": [told_field(each) for each in call.fields]})
        else:
            print_fields(out, call)
        return 0
    try:
        request = _request(call, asked)
    except Unusable:
        print_fields(err, call)
        raise
    if request.authorized:
        deployment.require_credential()
    try:
        return (write if call.takes_key else _read)(deployment, request, asked, out, err)
    except ApiProblem as refusal:
        if asked.as_json:
            print_json(refusal.problem)
        print_problem(err, refusal.problem)
        return 1


def check_key(key: str | None) -> None:
    """Make sure that a key which was given can be one.

    Raises:
        Unusable: it can't.
    """
    if key is not None and not (VISIBLE.fullmatch(key) and len(key) <= 128):
        raise Unusable("--key is 1 to 128 visible ASCII characters")


def _request(call: Call, asked: Asked) -> Request:
    if asked.key is not None and not call.takes_key:
        raise Unusable(f"{call.name} takes no --key: it changes nothing")
    check_key(asked.key)
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
    if asked.approval is not None:
        if not VISIBLE.fullmatch(asked.approval):
            raise Unusable("--approval is the approval_id that a step-up-required named")
        request.headers["Muniment-Approval"] = asked.approval
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


def write(deployment: Deployment, request: Request, asked: Asked, out: Console, err: Console) -> int:
    """Send a write, wait for the end of what it began, and show it; the exit code.

    Raises:
        ApiProblem: the API's.
        Unusable: nobody answers, or the end is not known.
    """
    key = asked.key or str(uuid.uuid4())
    if asked.key is None:
        note(err, f"idempotency key {key}")
    more = f"it may have been taken: repeat the call with --key {key}"
    begun = None
    try:
        answer = deployment.ask(request, key)
        content, begun = answer.content, answer.operation
        if begun is not None:
            more = goes_on(begun, key)
            if asked.wait:
                content = begun = watch(deployment, answer, asked.timeout_s, err)
    except KeyboardInterrupt:
        note(err, f"interrupted; {more}", "yellow")
        return INTERRUPTED
    except Unusable as unusable:
        raise Unusable(f"{unusable}; {more}") from None
    except ApiProblem as refusal:
        if begun is None:
            raise
        # The write was accepted: it is only we who may no longer ask how it ends.
        raise Unusable(f"{refusal.title}; {more}") from None
    show(out, content, as_json=asked.as_json)
    waited_s = asked.timeout_s if asked.wait else None
    return 0 if begun is None else ended(begun, waited_s=waited_s, more=more, err=err)
