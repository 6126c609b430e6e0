"""Our mirror under the bench: databases of its own, the process `muniment indexer`, and what each part costs."""

import base64
import os
import secrets
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from pydantic import SecretStr

from scripts import local
from scripts.bench_mirror_chain import CHAIN_ID, Fixture
from scripts.bench_mirror_costs import Cost, Watch, cpu_s
from scripts.local import Child, Postgres
from service import migrate

TEMPLATE = "bench_template"
FINALITY_DEPTH = 8
"""So that even the smallest chain has as many final blocks as the backfill gear is for."""
FOLLOW_INTERVAL_S = 0.1
NO_FACTORY = "0x" + "00" * 19 + "01"
LEVEL_TIMEOUT_S = 1_800
POLL_INTERVAL_S = 0.01
FINE_POLL_INTERVAL_S = 0.0005

OURS: LiteralString = "SELECT 1 FROM mirror.blocks WHERE chain_id = 31337 AND canonical AND number = %s"
PEERS: LiteralString = "SELECT 1 FROM peer.transfer WHERE block = %s LIMIT 1"
"""Whether a block's rows are there. Both write a block's rows in one DB transaction."""


class Databases:
    """Fresh databases for one round after the other, as copies of a migrated one."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._count = 0
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
        migrate.upgrade(SecretStr(postgres.database(TEMPLATE)))

    def fresh(self) -> str:
        """The URL of a new one."""
        self._count += 1
        name = f"bench_{self._count}"
        with psycopg.connect(self._postgres.url, autocommit=True) as connection:
            statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
            connection.execute(statement.format(sql.Identifier(name), sql.Identifier(TEMPLATE)))
            connection.execute("CHECKPOINT")
        return self._postgres.database(name)

    def drop(self, url: str) -> None:
        """Give a database's room back."""
        name = sql.Identifier(str(psycopg.conninfo.conninfo_to_dict(url)["dbname"]))
        with psycopg.connect(self._postgres.url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))

    def cpu_s(self) -> float:
        """Processor time of all of Postgres so far."""
        return cpu_s(self._postgres.server.get_postmaster_info().pid)


def follow(database: str, fixture: Fixture) -> None:
    """Have the fixture's contracts followed, as no factory of ours deployed them."""
    block = fixture.anvil.ask("eth_getBlockByNumber", "0x1", False)
    with psycopg.connect(database) as connection:
        for address, kind in ((fixture.token, "fungible"), (fixture.deed, "deed")):
            connection.execute(
                """WITH made AS (INSERT INTO mirror.contracts (chain_id, address) VALUES (%s, %s) RETURNING id)
                INSERT INTO mirror.deployments (contract_id, block_hash, block_number, salt, operator, kind, canonical)
                SELECT id, %s, 1, %s, %s, %s, true FROM made""",
                (
                    CHAIN_ID,
                    bytes.fromhex(address[2:]),
                    bytes.fromhex(block["hash"][2:]),
                    bytes(32),
                    bytes(20),
                    kind,
                ),
            )


@contextmanager
def indexer(database: str, fixture: Fixture, folder: Path, *, woken: bool = True) -> Iterator[Child]:
    """`muniment indexer` on a database, ended with the block; unless it is `woken` by the node, it only polls."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("MUNIMENT_")},
        "MUNIMENT_DATABASE_URL": database,
        "MUNIMENT_RPC_URL": fixture.url,
        "MUNIMENT_CHAIN_ID": str(CHAIN_ID),
        "MUNIMENT_FINALITY": f"depth:{FINALITY_DEPTH}",
        "MUNIMENT_FACTORY_ADDRESS": NO_FACTORY,
        "MUNIMENT_START_BLOCK": "1",
        "MUNIMENT_KEYSTORE_DIR": str(folder),
        "MUNIMENT_KEYSTORE_PASSWORD": secrets.token_urlsafe(24),
        "MUNIMENT_KEY_ENCRYPTION_KEY": base64.b64encode(secrets.token_bytes(32)).decode(),
        "MUNIMENT_API_KEY_PEPPER": secrets.token_urlsafe(32),
        "MUNIMENT_POLL_INTERVAL_S": str(FOLLOW_INTERVAL_S),
        # A process that the bench stops for a while keeps its place.
        "MUNIMENT_LEASE_TTL_S": "600",
    }
    if woken:
        environment["MUNIMENT_RPC_WS_URL"] = fixture.url.replace("http", "ws", 1)
    command = [str(Path(sys.executable).parent / "muniment"), "indexer"]
    child = local.spawn("indexer", command, log=folder / "indexer.log", env=environment)
    try:
        yield child
    finally:
        child.stop()


def backfill(database: str, fixture: Fixture, folder: Path) -> Cost:
    """Mirror the whole chain into an empty mirror."""
    follow(database, fixture)
    started_s = time.monotonic()
    with indexer(database, fixture, folder) as child, Watch(child.process.pid) as watch:
        with psycopg.connect(database, autocommit=True) as connection:
            working = "SELECT 1 FROM leases WHERE epoch > 0 AND name LIKE 'indexer:%%' AND %s >= 0"
            working_s = wait_for_row(connection, working, 0, child)
            level_s = wait_for_row(connection, OURS, fixture.head, child)
        return watch.cost(took_s=level_s - started_s, working_s=level_s - working_s)


def wait_for_row(
    connection: "psycopg.Connection[Any]",
    query: LiteralString,
    block: int,
    child: Child,
    *,
    poll_interval_s: float = POLL_INTERVAL_S,
) -> float:
    """Wait until a query has a row; time.monotonic() of then.

    Raises:
        ProcessDied: who should write it has ended.
        TimeoutError: it did not come.
    """
    end_s = time.monotonic() + LEVEL_TIMEOUT_S
    while connection.execute(query, (block,), prepare=True).fetchone() is None:
        child.check()
        if time.monotonic() > end_s:
            raise TimeoutError(f"block {block} did not come")
        time.sleep(poll_interval_s)
    return time.monotonic()


def catch_up(child: Child, database: str, query: LiteralString, fixture: Fixture, blocks: int) -> float:
    """Events a second of a follower that stood still for so many blocks."""
    with psycopg.connect(database, autocommit=True) as connection:
        _see_one_more(connection, query, fixture, child)
        before = fixture.events
        os.killpg(child.process.pid, signal.SIGSTOP)
        try:
            fixture.extend(blocks)
        finally:
            os.killpg(child.process.pid, signal.SIGCONT)
        started_s = time.monotonic()
        return (fixture.events - before) / (wait_for_row(connection, query, fixture.head, child) - started_s)


def latencies_ms(child: Child, database: str, query: LiteralString, fixture: Fixture, blocks: int) -> list[float]:
    """How long after each of so many full blocks was mined its rows are there, at odd times."""
    found = []
    with psycopg.connect(database, autocommit=True) as connection:
        _see_one_more(connection, query, fixture, child)
        for number in range(blocks):
            fixture.prepare_block()
            time.sleep(0.2 + 0.1 * (number * 0.618 % 1))
            block = fixture.mine()
            mined_s = time.monotonic()
            seen_s = wait_for_row(connection, query, block, child, poll_interval_s=FINE_POLL_INTERVAL_S)
            found.append((seen_s - mined_s) * 1_000)
    return found


def _see_one_more(connection: "psycopg.Connection[Any]", query: LiteralString, fixture: Fixture, child: Child) -> None:
    """Wait until a follower is at work: what was there before tells nothing of one that has just been started."""
    fixture.extend(1)
    wait_for_row(connection, query, fixture.head, child)


DISK: LiteralString = """
SELECT sum(pg_total_relation_size(c.oid))::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY(%s) AND c.relkind IN ('r', 'm')"""


def disk_bytes(database: str, *schemas: str) -> int:
    """What the tables of these schemas take, indexes included."""
    with psycopg.connect(database) as connection:
        row = connection.execute(DISK, (list(schemas),)).fetchone()
    assert row is not None
    return int(row[0])
