"""Real things, booted once a worker, and a clean copy for each test."""

import gc
import os
import shutil
import signal
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio
from hypothesis import settings
from psycopg import sql
from pydantic import SecretStr

from scripts import local
from service import migrate
from service.db import Database
from tests import leaks
from tests.world import Begun, World, begin, make_settings, open_world

# Whatever begins a run in a shell's background has SIGINT ignored, and each process that a test starts inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

TEMPLATE = "muniment_template"
BEGUN = "muniment_begun"
MEMORY_BYTES_MIN = 8 * 2**30
"""Ten times what a run of all tests writes at any one time."""

TEMPORARY = "PYTEST_DEBUG_TEMPROOT"
"""pytest's own name for the place of its temporary folders."""

settings.register_profile("long", max_examples=1_000)


def pytest_configure(config: pytest.Config) -> None:
    """Have every test fail that tells a secret, and keep what tests write in memory, where there is room."""
    memory = Path("/dev/shm")
    # A disk's file system takes longer for the thousands of files of each database than Postgres for the test.
    if memory.is_mount() and shutil.disk_usage(memory).free >= MEMORY_BYTES_MIN:
        os.environ.setdefault(TEMPORARY, str(memory))
    config.pluginmanager.register(leaks, "leaks")


def pytest_collection_finish() -> None:
    """What was imported and collected stays: the garbage collector need not look through it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def postgres() -> Iterator[local.Postgres]:
    """An embedded Postgres with a migrated template database.

    Not under pytest's own folder: that closes itself to other users at every start, and Postgres may run as one.
    """
    folder = tempfile.mkdtemp(prefix="muniment-postgres-", dir=os.environ.get(TEMPORARY))
    server = local.start_postgres(Path(folder), throw_away=True)
    with local.stopping(server):
        with psycopg.connect(server.url, autocommit=True) as connection:
            for setting in ("fsync", "full_page_writes", "synchronous_commit", "wal_init_zero"):
                connection.execute(sql.SQL("ALTER SYSTEM SET {} = off").format(sql.Identifier(setting)))
            # The kernel copies by itself where it can: six tenths of the cost of a test's clone.
            if (True,) in connection.execute(
                "SELECT 'clone' = ANY (enumvals) FROM pg_settings WHERE name = 'file_copy_method'"
            ):
                connection.execute("ALTER SYSTEM SET file_copy_method = clone")
            connection.execute("SELECT pg_reload_conf()")
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
        migrate.upgrade(SecretStr(server.database(TEMPLATE)))
        yield server


def clone(postgres: local.Postgres, template: str, name: str) -> SecretStr:
    """Copy a database that nobody is connected to; the copy's URL.

    By files: the usual way writes the whole copy into the log as well.
    """
    copied = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY")
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(copied.format(sql.Identifier(name), sql.Identifier(template)))
    return SecretStr(postgres.database(name))


def drop(postgres: local.Postgres, name: str) -> None:
    """Drop a database, whoever is connected to it."""
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def start_of(request: pytest.FixtureRequest) -> Begun | None:
    """What the database and the chain of a test are copies of; None where they are empty: it has no `world`."""
    if "begun" not in request.fixturenames:
        return None
    found: Begun = request.getfixturevalue("begun")
    return found


@pytest.fixture
def database_url(postgres: local.Postgres, request: pytest.FixtureRequest) -> Iterator[SecretStr]:
    """A clone of the migrated template, or of the world's, for code that commits; about 40 ms."""
    start, name = start_of(request), f"test_{uuid.uuid4().hex}"
    yield clone(postgres, TEMPLATE if start is None else start.database, name)
    drop(postgres, name)


@pytest.fixture
async def db(database_url: SecretStr) -> AsyncIterator[Database]:
    """The clone, with every right."""
    database = Database(database_url, role=None)
    await database.open()
    yield database
    await database.close()


@pytest.fixture(scope="session")
def anvil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[local.Anvil]:
    """A chain of this worker's own, under automine; tests that change it take `chain_url`."""
    # The oldest states are dropped, whichever test they are of, and every test asks for its own first block.
    chain = local.start_anvil(tmp_path_factory.mktemp("anvil") / "log", states_kept=10_000)
    with local.stopping(chain):
        yield chain


@pytest.fixture
def chain_url(anvil: local.Anvil) -> Iterator[str]:
    """The chain's address; what the test does to the chain is undone after it."""
    from tests.rpc import rpc

    snapshot = rpc(anvil.url, "evm_snapshot")
    yield anvil.url
    rpc(anvil.url, "evm_revert", snapshot)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of this machine reaches a test."""
    for name in [name for name in os.environ if name.startswith("MUNIMENT_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def log_dir(tmp_path: Path) -> Path:
    """Where the processes of a test write."""
    directory = tmp_path / "logs"
    directory.mkdir()
    return directory


@pytest.fixture
def own_chain_url(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A chain of the test's own, under automine, for tests that stop mining, drop and reorganise; about 0.1 s."""
    start = start_of(request)
    loaded = [] if start is None else ["--load-state", str(start.chain)]
    chain = local.start_anvil(tmp_path / "anvil.log", *loaded)
    with local.stopping(chain):
        yield chain.url


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def begun(postgres: local.Postgres, tmp_path_factory: pytest.TempPathFactory) -> Begun:
    """One world made from nothing, for the others to be copies of."""
    folder = tmp_path_factory.mktemp("begun")
    chain = local.start_anvil(folder / "log")
    with local.stopping(chain):
        settings = make_settings(clone(postgres, TEMPLATE, BEGUN), chain.url, folder / "keystore")
        return await begin(settings, folder, BEGUN)


@pytest.fixture
async def world(begun: Begun, database_url: SecretStr, own_chain_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """An issuer's world of its own: a copy of one that was made from nothing, as making costs most of it."""
    async with open_world(make_settings(database_url, own_chain_url, tmp_path / "keystore"), begun=begun) as opened:
        yield opened
