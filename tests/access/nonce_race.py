"""A process that asks for each of some nonces many times at once, and prints which of its requests were let in.

Its arguments: the database's URL, how many at once, and the nonces.
"""

import asyncio
import json
import sys
import time
from collections import Counter

from pydantic import SecretStr

from service import telemetry
from service.access.nonces import Nonces, Spent
from service.db import Database


async def race(url: str, copies: int, names: list[str]) -> Counter[str]:
    """How often each nonce was given."""
    database = Database(SecretStr(url), role="muniment_api")
    await database.open()
    store, asked, created = Nonces(database), [name for name in names for _ in range(copies)], int(time.time())
    found = await asyncio.gather(*(store.spend("A", name, created=created, until=created + 60) for name in asked))
    await database.close()
    return Counter(name for name, spent in zip(asked, found, strict=True) if spent is Spent.FRESH)


if __name__ == "__main__":
    telemetry.start("nonce-race")
    sys.stdout.write(json.dumps(asyncio.run(race(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))))
