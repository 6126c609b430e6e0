"""A ledger on a real chain, and a mirror of it in a real Postgres, written with the indexer's own rights."""

from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from service.chain.reader import Chain
from service.db import Database
from tests.mirror.world import Ledger, Mirror, database, way_to


@pytest.fixture
async def indexer_db(database_url: SecretStr) -> AsyncIterator[Database]:
    opened = database(database_url)
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
def ledger(chain_url: str) -> Ledger:
    return Ledger(chain_url)


@pytest.fixture
async def chain(chain_url: str) -> AsyncIterator[Chain]:
    node, opened = way_to(chain_url)
    yield opened
    await node.close()


@pytest.fixture
async def mirror(indexer_db: Database, chain: Chain, ledger: Ledger) -> Mirror:
    return await Mirror.begin(indexer_db, chain, ledger)
