"""One world for a whole module, for tests that change nothing in it or mind nothing that others change."""

import io
import sys
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest
import pytest_asyncio
import structlog

from scripts import local
from service import telemetry
from tests import leaks
from tests.conftest import TEMPLATE, clone, drop
from tests.rpc import rpc
from tests.world import World, make_settings, open_world


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(
    postgres: local.Postgres, anvil: local.Anvil, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    """A world that the module's tests share; they run in its event loop."""
    name = f"shared_{uuid4().hex}"
    url = clone(postgres, TEMPLATE, name)
    snapshot = rpc(anvil.url, "evm_snapshot")
    keystore_dir = tmp_path_factory.mktemp("shared") / "keystore"
    async with open_world(make_settings(url, anvil.url, keystore_dir)) as opened:
        yield opened
    rpc(anvil.url, "evm_revert", snapshot)
    drop(postgres, name)


@pytest.fixture(autouse=True)
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """What the process writes to standard error, as a deployment writes it."""
    standard_error = io.StringIO()
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", standard_error)
        telemetry.start("tests")
    yield standard_error
    leaks.look(standard_error.getvalue(), "the log")
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()
