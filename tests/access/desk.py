"""Credentials as tests make and use them."""

import json
from collections.abc import Sequence
from typing import Any, cast

import httpx
from sqlalchemy import CursorResult, text

from service.access import apikeys
from tests import leaks
from tests.world import World

STATUS = "/v1/whoami"


def key_id(key: str) -> str:
    """A key's public id."""
    (found,) = apikeys.find(key)
    return found.id


async def make(world: World, *scopes: str, key: str | None = None, **order: Any) -> dict[str, Any]:
    """A new credential of the asking caller, with its secret."""
    body = {"name": "a test's", "scopes": list(scopes) or ["issue", "keys:read", "keys:admin"], **order}
    answer = await world.post("/v1/keys", body, key=key)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    if made.get("secret"):
        leaks.know_secret(made["secret"])
    return made


async def rotate(world: World, id: str, *, key: str | None = None, **order: Any) -> dict[str, Any]:
    """A credential's next version, with its secret."""
    answer = await world.post(f"/v1/keys/{id}/rotate", order, key=key)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def use(world: World, key: str) -> httpx.Response:
    """A request with a key."""
    return await world.get(STATUS, key=key)


async def state(world: World, id: str) -> str:
    """Where a credential stands."""
    return str((await world.get(f"/v1/keys/{id}")).json()["state"])


async def patch(world: World, id: str, body: Any, *, key: str | None = None) -> httpx.Response:
    """Change a credential."""
    headers = {"Authorization": f"Bearer {key or world.key}"}
    return await world.client.patch(f"/v1/keys/{id}", headers=headers, json=body)


async def sql(world: World, statement: str, **given: Any) -> list[Any]:
    """What an operator of the database does behind the API's back."""
    async with world.db.transaction() as session:
        result = cast("CursorResult[Any]", await session.execute(text(statement), given))
        rows = list(result.all()) if result.returns_rows else []
    world.app.state.admission.forget()
    return rows


NOTICES = {
    *("key.refused", "key.straggler", "key.used-after-expiry", "key.new-network"),
    *("key.rotation-due", "key.stale"),
}
"""Facts that a process writes when it comes to it, and not with the step that they are of."""


async def facts(world: World, id: str) -> list[dict[str, Any]]:
    """What the journal says of a credential's life, in its order."""
    return [each for each in await _told(world, id) if each["kind"] not in NOTICES]


async def notices(world: World, id: str) -> list[dict[str, Any]]:
    """What the journal says of a credential's use, in its order."""
    return [each for each in await _told(world, id) if each["kind"] in NOTICES]


async def _told(world: World, id: str) -> list[dict[str, Any]]:
    rows = await sql(world, "SELECT body FROM journal_entries WHERE kind LIKE 'key.%' ORDER BY position")
    told = [json.loads(row.body) for row in rows]
    return [each for each in told if each["key"] == id]


def kinds(told: Sequence[dict[str, Any]]) -> list[str]:
    """What happened, without more."""
    return [str(each["kind"]) for each in told]
