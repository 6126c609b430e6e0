"""The shared world, with the registries that regulated tokens need."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.compliance.office import Office, open_office
from tests.web.shared import log, shared
from tests.world import World

__all__ = ["log", "office", "shared"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(shared: World) -> AsyncIterator[Office]:
    """The issuer's compliance office, for the module's tests."""
    yield await open_office(shared)
