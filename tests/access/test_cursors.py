"""A cursor is good for the caller, the list and the filters that it was made for, in every list of the API."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, get_args
from uuid import UUID

import httpx
import pytest
import pytest_asyncio
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel

from service.access import commands as access
from service.access.apikeys import Scope
from service.client.calls import Call
from service.web import paging
from service.web.paging import OF_NO_FILTER, NextCursor, encode_cursor
from tests.access.desk import key_id, make
from tests.web.answers import problem
from tests.web.operations import LISTS, body_of, each_list, path_of, query_of, values
from tests.world import PEPPER, World

pytestmark = pytest.mark.asyncio(loop_scope="module")

OTHER_LIST = dict(zip((call.name for call in LISTS), [*LISTS[1:], LISTS[0]], strict=True))


@dataclass
class Shelf:
    """A world, whom its key belongs to, and keys of the same and of another caller of its issuer."""

    world: World
    caller_id: UUID
    second_key: str
    other_key: str
    sealed: list[str] = field(default_factory=list)
    """What cursors would have to be, each time that one was looked at."""

    def cursor(self, call: Call, **query: str) -> str:
        """A cursor as the list would give it to the caller; it stands nowhere."""
        asked = {**query_of(call), **query}.items()
        key = self.world.app.state.cursor_key
        return sealed(encode_cursor("nowhere"), key=key, caller_id=self.caller_id, path=path_of(call), query=asked)

    async def ask(self, call: Call, cursor: str, *, key: str | None = None, **query: str) -> httpx.Response:
        """Ask a list to go on."""
        self.sealed.clear()
        return await self.world.client.request(
            call.method,
            path_of(call),
            params={**query_of(call), **query, "cursor": cursor},
            headers={"Authorization": f"Bearer {key or self.world.key}"},
            json=body_of(call) if call.method == "POST" else None,
        )

    async def refuses(self, call: Call, cursor: str, *, key: str | None = None, **query: str) -> None:
        """A list refuses a cursor for its seal."""
        problem(await self.ask(call, cursor, key=key, **query), "bad-cursor")
        assert self.sealed
        assert self.sealed[-1] != cursor

    async def takes(self, call: Call, cursor: str, *, key: str | None = None, **query: str) -> None:
        """A list finds a cursor's seal good, whatever it then says of its position."""
        assert (await self.ask(call, cursor, key=key, **query)).status_code < 500
        assert self.sealed
        assert set(self.sealed) == {cursor}


sealed = paging.sealed


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shelf(shared: World) -> AsyncIterator[Shelf]:
    ((caller_id,),) = await shared.db.fetch("SELECT caller_id FROM credentials WHERE id = %s", (key_id(shared.key),))
    second = await make(shared, *(await whole(shared)))
    async with shared.db.transaction() as session:
        other = await access.create_key(
            session,
            issuer="Harbour Estates",
            caller="another",
            environment="test",
            pepper=PEPPER,
            scopes=tuple(Scope),
        )
    found = Shelf(shared, caller_id, second["secret"], other.text)

    def noted(*given: Any, **named: Any) -> str:
        found.sealed.append(sealed(*given, **named))
        return found.sealed[-1]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(paging, "sealed", noted)
        yield found


async def whole(world: World) -> list[str]:
    """All scopes of the world's key."""
    scopes: list[str] = (await world.get("/v1/whoami")).json()["scopes"]
    return scopes


@each_list
async def test_a_list_takes_the_cursor_of_its_caller_by_whatever_key(shelf: Shelf, call: Call) -> None:
    cursor = shelf.cursor(call)
    for key in (shelf.world.key, shelf.second_key):
        await shelf.takes(call, cursor, key=key)
    await shelf.takes(call, cursor, limit="7")


@each_list
async def test_a_list_refuses_the_cursor_of_another_caller(shelf: Shelf, call: Call) -> None:
    await shelf.refuses(call, shelf.cursor(call), key=shelf.other_key)


@each_list
async def test_a_list_refuses_the_cursor_of_another_list(shelf: Shelf, call: Call) -> None:
    await shelf.refuses(call, shelf.cursor(OTHER_LIST[call.name]))


@each_list
async def test_a_list_refuses_the_cursor_of_other_filters(shelf: Shelf, call: Call) -> None:
    for each in call.fields:
        if each.place == "query" and each.name not in OF_NO_FILTER:
            one, other, *_ = *dict.fromkeys(values(each)), "another"
            await shelf.takes(call, shelf.cursor(call, **{each.name: one}), **{each.name: one})
            await shelf.refuses(call, shelf.cursor(call, **{each.name: one}), **{each.name: other})
            if not each.required:
                await shelf.refuses(call, shelf.cursor(call, **{each.name: one}))
                await shelf.refuses(call, shelf.cursor(call), **{each.name: one})


@each_list
async def test_a_list_refuses_a_cursor_with_one_bit_changed(shelf: Shelf, call: Call) -> None:
    cursor = shelf.cursor(call)
    for at in (0, len(cursor) // 2, len(cursor) - 1):
        await shelf.refuses(call, cursor[:at] + chr(ord(cursor[at]) ^ 1) + cursor[at + 1 :])
    await shelf.refuses(call, encode_cursor("nowhere"))


async def test_every_list_seals_what_it_gives_out(shared: World) -> None:
    (seal,) = [each for each in get_args(NextCursor) if type(each).__name__ == "PlainSerializer"]
    lists = 0
    for route in iter_route_contexts(shared.app.routes):
        model = getattr(route, "response_model", None)
        if isinstance(model, type) and issubclass(model, BaseModel) and "next_cursor" in model.model_fields:
            assert seal in model.model_fields["next_cursor"].metadata, route.path
            lists += 1
    assert lists == len(LISTS)


async def test_the_seal_of_a_walk_is_that_of_its_caller_and_filters(shelf: Shelf) -> None:
    for _ in range(3):
        await shelf.world.asset()
    first = (await shelf.world.get("/v1/assets", limit=1)).json()
    cursor = first["next_cursor"]
    second = await shelf.world.get("/v1/assets", limit=1, cursor=cursor, key=shelf.second_key)
    assert second.json()["data"] != first["data"]
    assert second.json()["next_cursor"] != cursor
    problem(await shelf.world.get("/v1/assets", limit=1, cursor=cursor, key=shelf.other_key), "bad-cursor")
