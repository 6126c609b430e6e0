"""An office of webhooks for a whole module, cleared for each test, and the log."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import pytest_asyncio

from scripts import local
from tests.conftest import TEMPLATE, clone, drop
from tests.web.shared import log
from tests.webhooks.office import Office, Tenant, open_office

__all__ = ["log"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def whole_office(postgres: local.Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Office]:
    """One that the module's tests share; they run in its event loop."""
    name = f"office_{uuid4().hex}"
    async with open_office(clone(postgres, TEMPLATE, name), tmp_path_factory.mktemp("office")) as opened:
        yield opened
    drop(postgres, name)


@pytest_asyncio.fixture(loop_scope="module")
async def office(whole_office: Office) -> Office:
    """The module's, without what other tests left."""
    await whole_office.clear()
    return whole_office


@pytest_asyncio.fixture(loop_scope="module")
async def tenant(office: Office) -> Tenant:
    """An issuer of the test's own."""
    return await office.issuer()
