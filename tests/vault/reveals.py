"""Asking the desk for reveals, and reading what its journal says of them."""

import json
from typing import Any

import httpx

from service.access import apikeys
from service.access.apikeys import Scope
from tests.vault.desk import Desk

PREFIX = {"kind": "prefix", "environment": "test"}


async def reveal(desk: Desk, *tokens: str, key: str | None = None, **changed: Any) -> httpx.Response:
    """Ask to see values in plain, for support, unless something else is asked."""
    body = {"tokens": list(tokens), "purpose": "support", "reason": "Ticket 4711", "view": "plain", **changed}
    return await desk.post("/reveal", body, key=key)


async def seen(desk: Desk, *tokens: str, **changed: Any) -> list[str | None]:
    """What a reveal shows of each vault token."""
    answer = await reveal(desk, *tokens, **changed)
    assert answer.status_code == 200, answer.text
    return [each["value"] for each in answer.json()["data"]]


async def entries(desk: Desk, kind: str, about: str) -> list[dict[str, Any]]:
    """The journal's entries of a kind that hold a text, oldest first."""
    rows = await desk.rows(
        "SELECT body FROM journal_entries WHERE kind = %s AND body LIKE %s ORDER BY position", kind, f"%{about}%"
    )
    return [json.loads(body) for (body,) in rows]


async def limited(desk: Desk, **rules: Any) -> str:
    """The id of a policy of cards with these reveal rules, besides a purpose and every view."""
    views = ["plain", "masked", "last_four", "hash"]
    return await desk.policy(reveal={"purposes": ["support", "payment"], "views": views, **rules})


async def change_rules(desk: Desk, policy: str, rules: dict[str, Any]) -> httpx.Response:
    """Give a policy other reveal rules, as a caller who may not reveal."""
    key = await desk.new_key(Scope.VAULT_POLICY, caller="rules")
    return await desk.send("PATCH", f"/policies/{policy}", {"reveal": rules}, key=key)


def key_id(key: str) -> str:
    """The public part of an API key."""
    parsed = apikeys.parse(key)
    assert parsed is not None
    return parsed.id


async def suspensions(desk: Desk, key: str) -> list[dict[str, Any]]:
    """Those of an API key, newest first."""
    listed = (await desk.get("/suspensions")).json()["data"]
    return [each for each in listed if each["key_id"] == key_id(key)]
