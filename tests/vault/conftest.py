"""A desk of the vault for a whole module, and the log."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
import pytest_asyncio

from scripts import local
from tests.conftest import TEMPLATE, clone, drop
from tests.vault.desk import Desk, open_desk
from tests.web.shared import log

__all__ = ["log"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(postgres: local.Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    """One that the module's tests share; they run in its event loop and make policies of their own."""
    name = f"desk_{uuid4().hex}"
    async with open_desk(clone(postgres, TEMPLATE, name), tmp_path_factory.mktemp("desk")) as opened:
        yield opened
    drop(postgres, name)
