"""The system that a bench measures: everything of ours on a throw-away folder, with issuers that can mint."""

import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from eth_account import Account

from scripts import local
from scripts.bench_load import post
from scripts.client import Client
from scripts.stack import DEV_ADDRESSES, Stack

ETHER_WEI = 10**24
BLOCK_GAS = 2_000_000_000
"""So high that a block is not what limits anything that is measured here."""

FINISH_TIMEOUT_S = 300
POLL_INTERVAL_S = 0.02


@dataclass(frozen=True, slots=True)
class Issuer:
    """A tenant with its own signer and a token that it mints."""

    key: str
    token_id: str
    contract: str


@dataclass(slots=True)
class System:
    """A running stack, and what a bench does with it."""

    stack: Stack
    issuers: list[Issuer] = field(default_factory=list)
    _number: int = 0

    @property
    def chain_url(self) -> str:
        """The node's address."""
        return self.stack.settings["MUNIMENT_RPC_URL"]

    def chain(self, method: str, *params: object) -> object:
        """Ask the node one thing."""
        return local.ask_chain(self.chain_url, method, *params)

    def start(self, issuers: int) -> None:
        """Boot, and make so many issuers."""
        self.stack.start(lambda _: None)
        self.chain("anvil_setBlockGasLimit", hex(BLOCK_GAS))
        keys = [self.stack.api_key(), *self._more_issuers(issuers - 1)]
        self.issuers = [self._open(key) for key in keys]

    def automine(self) -> None:
        """From now on a block for each transaction, at once."""
        self.chain("evm_setIntervalMining", 0)
        self.chain("evm_setAutomine", True)

    def mine_every(self, seconds: int) -> None:
        """From now on a block after so many seconds, whatever waits."""
        self.chain("evm_setAutomine", False)
        self.chain("evm_setIntervalMining", seconds)

    def outsider(self, issuer: Issuer) -> str:
        """The private key of an account outside the service that may mint the issuer's token."""
        account = Account.create()
        self._fund(account.address)
        self._done(issuer.key, "/roles/grant", role="minter", account=account.address)
        return str(account.key.hex())

    def mints(self, issuers: Sequence[Issuer], count: int) -> list[bytes]:
        """So many requests, each for another receiver, taking turns between issuers."""
        requests = []
        for i in range(count):
            issuer = issuers[i % len(issuers)]
            self._number += 1
            path = f"/v1/tokens/{issuer.token_id}/mint"
            body = {"to": "0x" + secrets.token_hex(20), "amount": "1000"}
            requests.append(post(self.stack.api_url, path, issuer.key, f"mint-{self._number}", body))
        return requests

    def wait_until_closed(self) -> float:
        """Wait until no operation is pending, as Postgres tells; time.monotonic() of then.

        Raises:
            RuntimeError: an operation failed.
            TimeoutError: some stay pending.
        """
        end_s = time.monotonic() + FINISH_TIMEOUT_S
        with self.database() as connection:
            while connection.execute("SELECT 1 FROM operations WHERE status = 'pending' LIMIT 1").fetchone():
                self.stack.check()
                if time.monotonic() > end_s:
                    raise TimeoutError("some operations stay pending")
                time.sleep(POLL_INTERVAL_S)
            now_s = time.monotonic()
            failed = connection.execute("SELECT problem FROM operations WHERE status = 'failed' LIMIT 1").fetchone()
        if failed is not None:
            raise RuntimeError(f"an operation failed: {failed[0]}")
        return now_s

    def database(self) -> "psycopg.Connection[tuple[object, ...]]":
        """A connection of the database's owner, in autocommit."""
        return psycopg.connect(self.stack.settings["MUNIMENT_DATABASE_URL"], autocommit=True)

    def cpu_s(self) -> dict[str, float]:
        """Processor time that each part has taken so far, where the machine tells it."""
        assert self.stack.anvil is not None
        parts = {name: [process.pid] for name, process in self.stack.processes.items()}
        parts["chain"] = [self.stack.anvil.child.process.pid]
        postmasters = {pid for name, pid in local.running(self.stack.folder) if name == "postgres"}
        parts["postgres"] = [*postmasters, *_children(postmasters)]
        return {name: sum(_cpu_s(pid) for pid in pids) for name, pids in parts.items()}

    def _more_issuers(self, count: int) -> list[str]:
        """Issuers with signers of their own; the sender reads its keys at start, so it starts again."""
        self.stack.processes["sender"].stop()
        keys = []
        for number in range(2, count + 2):
            account = Account.create()
            self._fund(account.address)
            file = self.stack.folder / "signer-key"
            file.touch(mode=0o600)
            file.write_text(str(account.key.hex()))
            self._run("signers", "import", str(file))
            file.unlink()
            self._run("factory", "allow", DEV_ADDRESSES[0], account.address)
            self._run("issuers", "create", f"Issuer {number}", "--signer", account.address)
            keys.append(self._run("keys", "create", "--issuer", f"Issuer {number}").split()[-1])
        self.stack.start_process("sender")
        return keys

    def _run(self, *arguments: str) -> str:
        code, output = self.stack.run(*arguments)
        if code:
            raise RuntimeError(f"muniment {' '.join(arguments[:2])} failed: {output}")
        return output

    def _fund(self, address: str) -> None:
        self.chain("anvil_setBalance", address, hex(ETHER_WEI))

    def _open(self, key: str) -> Issuer:
        self._done(key, "/authority")
        client = Client(self.stack.api_url, key)
        asset = client.post("/assets", "asset", {"name": "Bench", "category": "other"})
        deployed = self._done(key, "/tokens", asset_id=asset["id"], name="Bench", symbol="BNCH", decimals=0)
        token_id = str(deployed["token_id"])
        client.wait(f"/tokens/{token_id}", lambda token: token["status"] == "active", what="the token")
        return Issuer(key, token_id, str(deployed["contract"]))

    def _done(self, key: str, path: str, **body: object) -> dict[str, Any]:
        """Post an order, and wait until it has succeeded."""
        self._number += 1
        client = Client(self.stack.api_url, key)
        operation = client.post(path, f"order-{self._number}", body)
        closed: dict[str, Any] = client.wait(
            f"/operations/{operation['id']}", lambda found: found["status"] != "pending", what=path
        )
        if closed["status"] != "succeeded":
            raise RuntimeError(f"{path}: {closed['problem']}")
        # What comes next reads the mirror, which may be a step behind the sender.
        client.get("/roles", min_block=closed["transaction"]["block"])
        return closed


def _children(parents: set[int]) -> list[int]:
    """Postgres's own processes, which rename themselves."""
    pids = [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]
    return [pid for pid in pids if (found := _fields(pid)) and int(found[1]) in parents]


def _cpu_s(pid: int) -> float:
    # Fields 14 to 17: its own time, and that of the children that it has waited for.
    return sum(map(int, _fields(pid)[11:15])) / os.sysconf("SC_CLK_TCK")


def _fields(pid: int) -> list[str]:
    """What the machine tells of a process, from its third field on; nothing where it is gone. Source: proc(5)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
