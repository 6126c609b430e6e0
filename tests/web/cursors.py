"""Cursors as the API gives them out, with whatever in them."""

from service.web.paging import sealed
from tests.access.desk import key_id
from tests.world import World


async def given_out(world: World, path: str, cursor: str) -> str:
    """A cursor with the seal that the list at a path would give to the world's caller."""
    ((caller_id,),) = await world.db.fetch("SELECT caller_id FROM credentials WHERE id = %s", (key_id(world.key),))
    return sealed(cursor, key=world.app.state.cursor_key, caller_id=caller_id, path=path, query=())
