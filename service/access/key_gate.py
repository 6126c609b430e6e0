"""What stands before every route: no key in a URL, no endless headers; and what is told to whoever's key retires."""

import json
import re
from datetime import UTC
from email.utils import format_datetime
from urllib.parse import unquote_to_bytes

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access import apikeys
from service.access.admission import Admission
from service.access.key_orders import REPORTED_MAX
from service.access.key_problems import HeadersTooLarge, KeyInUrl
from service.access.queries import Caller, Retiring
from service.access.rates import QuotaExceeded, Quotas, told
from service.db import UNAVAILABLE
from service.errors import Problem
from service.web.problems import MEDIA_TYPE, DatabaseUnavailable

HEADERS_BYTES_MAX = 8_192

_UNANSWERED = 500
"""Counted for a request that ended before it had an answer."""

_LIKE_A_KEY = re.compile(r"munsk_(?:live|test)_[0-9A-Za-z]{20,}")


class KeyGate:
    """ASGI middleware: refuses before any route is looked for, and counts what credentials were used for."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        admission: Admission = scope["app"].state.admission
        url_bytes = len(scope["raw_path"]) + len(scope["query_string"])
        if url_bytes + sum(len(name) + len(value) for name, value in scope["headers"]) > HEADERS_BYTES_MAX:
            refusal = HeadersTooLarge(f"the URL and all headers together may have {HEADERS_BYTES_MAX} bytes")
            await _refuse(scope, send, refusal)
            return
        if b"munsk" in scope["query_string"] or b"munsk" in scope["raw_path"]:
            url = unquote_to_bytes(scope["raw_path"] + b"?" + scope["query_string"]).decode("latin-1")
            if _LIKE_A_KEY.search(url):
                await _refuse(scope, send, await _leaked(scope, admission, url))
                return
        state = scope.setdefault("state", {})
        status = _UNANSWERED

        async def noticed(message: Message) -> None:
            nonlocal status
            caller: Caller | None = state.get("caller")
            if message["type"] == "http.response.start":
                status = message["status"]
                told_of = retirement(caller.retiring) if caller is not None and caller.retiring is not None else []
                standing = told(state["standings"]) if state.get("standings") else []
                message["headers"] = [*message.get("headers", ()), *told_of, *standing]
            await send(message)

        try:
            await self._app(scope, receive, noticed)
        finally:
            # Whoever hangs up before the answer was let in all the same.
            if state.get("caller") is not None:
                _count(admission, scope, state["caller"], status)


def retirement(retiring: Retiring) -> list[tuple[bytes, bytes]]:
    """Headers that tell a caller to move to its next key. Sources: RFC 9745 (Deprecation), RFC 8594 (Sunset)."""
    return [
        (b"deprecation", f"@{int(retiring.since.timestamp())}".encode()),
        (b"sunset", format_datetime(retiring.ends_at.astimezone(UTC), usegmt=True).encode()),
        (b"muniment-key-replaced-by", retiring.replaced_by.encode()),
    ]


def _count(admission: Admission, scope: Scope, caller: Caller, status: int) -> None:
    route, client = scope.get("route"), scope.get("client")
    admission.traffic.used(
        caller.key_id,
        str(getattr(route, "name", "")),
        client[0] if client else None,
        failed=status >= 400,
        retiring=caller.retiring is not None,
    )


async def _leaked(scope: Scope, admission: Admission, url: str) -> Problem:
    quotas: Quotas = scope["app"].state.quotas
    address = scope["client"][0] if scope.get("client") else None
    try:
        quotas.look_at(address)
    except QuotaExceeded as used_up:
        admission.traffic.refused("address-failures")
        return used_up
    # Anybody can make keys up that are looked up.
    quotas.failed(address)
    admission.traffic.refused("key-in-url")
    try:
        await admission.leaked(apikeys.find(url)[:REPORTED_MAX], place="url")
    except UNAVAILABLE:
        return DatabaseUnavailable("this key counts as leaked: revoke it, and never send it in a URL")
    return KeyInUrl("it counts as leaked and is revoked: make another one, and send it in the Authorization header")


async def _refuse(scope: Scope, send: Send, problem: Problem) -> None:
    instance = _LIKE_A_KEY.sub("…", scope["path"])
    body = json.dumps({**problem.body(), "instance": instance}).encode()
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"connection", b"close")]
    if (wait_s := problem.extensions.get("retry_after_s")) is not None:
        headers.append((b"retry-after", str(wait_s).encode()))
    await send({"type": "http.response.start", "status": problem.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
