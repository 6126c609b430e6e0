"""The vault's desk behind a real server, and the log."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
import pytest_asyncio
import uvicorn
from fastapi import FastAPI

from scripts import local
from tests.conftest import TEMPLATE, clone, drop
from tests.vault.desk import Desk, open_desk
from tests.web.shared import log

__all__ = ["log"]


@asynccontextmanager
async def served(app: FastAPI, listening: socket.socket) -> AsyncIterator[None]:
    """An app that is open already, behind a server."""
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield
    finally:
        server.should_exit = True
        await serving


def listen() -> tuple[socket.socket, str]:
    """A free port, and the address of the API there."""
    listening = socket.create_server(("127.0.0.1", 0))
    return listening, f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(postgres: local.Postgres, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    """One that knows the address under which it is asked; the module's tests share it."""
    name, (listening, url) = f"desk_{uuid4().hex}", listen()
    opened = open_desk(clone(postgres, TEMPLATE, name), tmp_path_factory.mktemp("desk"), public_url=url)
    async with opened as found, served(found.app, listening):
        yield found
    drop(postgres, name)


@pytest.fixture
def desk_url(desk: Desk) -> str:
    """The desk's address."""
    return str(desk.app.state.settings.public_url)
