"""What goes wrong in a chaos run: processes, the chain beneath them, and the lines to it and to Postgres."""

import os
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from eth_account import Account

from scripts.chaos_plan import PROCESSES, Round
from scripts.local import Anvil, save_chain, wait_for
from scripts.proxy import Proxy
from scripts.stack import CHAIN_ID, DEV_ADDRESSES, DEV_KEYS, Process, Stack

SIGNER, SIGNER_KEY = DEV_ADDRESSES[0], DEV_KEYS[0]
RICH_WEI = 10_000 * 10**18
POOR_WEI = 10**12
DRAINED_S = 1.0
LEASE_TTL_S = 1
PAUSED_S = 2.2
"""Longer than a lease, and than whoever waits in line takes to notice."""

GWEI = 10**9
FOREIGN_FEE_WEI = 5_000 * GWEI
"""More than ours ever offer, so that it takes the place of one of ours in the mempool."""

SETTINGS = {
    "MUNIMENT_LEASE_TTL_S": str(LEASE_TTL_S),
    "MUNIMENT_NODE_TIMEOUT_S": "2",
    "MUNIMENT_RESEND_AFTER_S": "1",
}


@dataclass(slots=True)
class Faults:
    """Hands that break a running system, and mend it."""

    stack: Stack
    lines: dict[str, Proxy] = field(default_factory=dict)  # rpc and postgres
    foreign: set[str] = field(default_factory=set)  # hashes of transactions that are not ours
    done: list[str] = field(default_factory=list)
    _logs_kept: int = 0
    _loaded_at: int = 0  # the newest block when the chain was last started
    _branches: int = 0
    _mining: threading.Lock = field(default_factory=threading.Lock)
    _ended: threading.Event = field(default_factory=threading.Event)

    def start_mining(self) -> None:
        """Mine a block every `block_time_s`, from the chain's start on until `stop`.

        Not by anvil's own clock: a block that it mines while it reorganises has another block's state kept as its
        parent's, and `eth_call` tells of that ever after.
        """
        threading.Thread(target=self._mine, daemon=True).start()

    def _mine(self) -> None:
        while not self._ended.wait(self.stack.block_time_s):
            # Between two starts there is no chain, and one that is saving its state is slow.
            with suppress(OSError, RuntimeError), self._mining:
                if self.stack.anvil is not None:
                    self.anvil.ask("evm_mine")

    def detour(self, postgres_url: str, chain_url: str) -> dict[str, str]:
        """Settings that put a proxy before Postgres and before the chain."""
        parsed = urlsplit(postgres_url)
        socket = Path(parse_qs(parsed.query)["host"][0]) / ".s.PGSQL.5432"
        self.lines["rpc"] = Proxy(urlsplit(chain_url).port or 0, mark=b"eth_sendRawTransaction")
        self.lines["postgres"] = Proxy(socket, mark=b"COMMIT")
        name = f"{parsed.username}@127.0.0.1:{self.lines['postgres'].port}{parsed.path}"
        return {
            **SETTINGS,
            "MUNIMENT_DATABASE_URL": f"postgresql://{name}?sslmode=disable&gssencmode=disable",
            "MUNIMENT_RPC_URL": f"http://127.0.0.1:{self.lines['rpc'].port}",
        }

    @property
    def anvil(self) -> Anvil:
        """The chain, on a line of our own that nothing goes wrong on."""
        assert self.stack.anvil is not None
        return self.stack.anvil

    def height(self) -> int:
        """The number of the chain's newest block."""
        return int(self.anvil.ask("eth_blockNumber"), 16)

    def meet(self, round_: Round) -> None:
        """Do what a round says, and mend it; its disturbance of a line ends by itself."""
        self.lines[round_.side].disturb(round_.disturbance, round_.disturbed_s)
        match round_.breaks.split():
            case "kill", name:
                self._kill(PROCESSES if name == "all" else (name,), round_.down_s)
            case "pause", name:
                self._pause(name)
            case "drop", _:
                self._drop_mempool()
            case ("reorganise",):
                self._reorganise(round_.strength)
            case "restart", _:
                self._restart_chain(round_.strength, round_.down_s)
            case "drain", _:
                self._drain_signer()
            case "raise", *_:
                self._raise_base_fee(round_.strength)
            case _:
                self._spend_nonce(round_.strength)
        self.done.append(str(round_))
        self.stack.check()
        time.sleep(round_.rest_s)

    def mend(self) -> None:
        """Nothing goes wrong any more."""
        for line in self.lines.values():
            line.calm()
        self._refill()

    def stop(self) -> None:
        """End the proxies, and mine no more."""
        self._ended.set()
        for line in self.lines.values():
            line.stop()

    def keep_log(self, name: str) -> None:
        """Save a log from the next start of the same name."""
        self._logs_kept += 1
        with suppress(FileNotFoundError):
            log = self.stack.logs / f"{name}.log"
            log.rename(self.stack.logs / f"{name}.{self._logs_kept:04}.log")

    def _kill(self, names: tuple[str, ...], down_s: float) -> None:
        for name in names:
            self.stack.processes[name].kill()
            self.keep_log(name)
        time.sleep(down_s)
        for name in names:
            self.stack.start_process(name)

    def _pause(self, name: str) -> None:
        """Stop a process for longer than its lease; a spare takes over, and both live for a while after."""
        paused = self.stack.processes[name]
        os.kill(paused.pid, signal.SIGSTOP)
        spare: Process | None = None
        try:
            if name != "api":
                spare = self.stack.start_process(f"{name}-spare", name)
            time.sleep(PAUSED_S)
        finally:
            os.kill(paused.pid, signal.SIGCONT)
        if spare is not None:
            time.sleep(0.5)
            spare.kill()
            self.keep_log(spare.name)

    def _drop_mempool(self) -> None:
        """Several times, since a block takes what waits; this meets what was sent just then."""
        for _ in range(8):
            pool = self.anvil.ask("txpool_content")
            for waiting in (pool["pending"], pool["queued"]):
                for transaction in (each for nonces in waiting.values() for each in nonces.values()):
                    with suppress(RuntimeError):
                        self.anvil.ask("anvil_dropTransaction", transaction["hash"])
            time.sleep(0.07)

    def _reorganise(self, depth: int) -> None:
        missing = self._loaded_at + 1 + depth - self.height()
        if missing > 0:
            # Below the block that it was started with anvil comes back without any contract's code, and back to that
            # very block it keeps the height without the blocks.
            self.anvil.ask("anvil_mine", hex(missing))
        self._branches += 1
        try:
            with self._mining:
                # A block that comes again alike is lost to anvil: it throws away what has the old one's hash.
                self.anvil.ask("anvil_setCoinbase", f"0x{self._branches:040x}")
                self.anvil.ask("anvil_reorg", depth, [])
        except RuntimeError as refused:
            # In a long run anvil now and then lacks the state of a block that it has: then nothing was reorganised.
            self.done.append(f"not done: {refused}")
        # The blocks that are gone may have held the ether.
        self._refill()

    def _restart_chain(self, blocks_lost: int, down_s: float) -> None:
        """From the state that it had some blocks ago; its mempool and the states of past blocks are lost."""
        before, port = self.height(), urlsplit(self.anvil.url).port or 0
        with self._mining:
            save_chain(self.anvil.url, self.stack.chain_state, past=False)
        time.sleep((blocks_lost - 1) * self.stack.block_time_s)
        highest = max(before, self.height())
        self.anvil.child.kill()
        self.keep_log("anvil")
        time.sleep(down_s)
        self.stack.start_anvil(port)
        self._loaded_at = self.height()
        self._refill()
        # A reorganisation just now would add to the blocks that are lost, and so come below what was final.
        wait_for(lambda: self.height() >= highest or None, what="the lost blocks")

    def _drain_signer(self) -> None:
        self.anvil.ask("anvil_setBalance", SIGNER, hex(POOR_WEI))
        time.sleep(DRAINED_S)
        self._refill()

    def _refill(self) -> None:
        self.anvil.ask("anvil_setBalance", SIGNER, hex(RICH_WEI))

    def _raise_base_fee(self, factor: int) -> None:
        """It falls by an eighth with each empty block; what was signed before waits, or is replaced."""
        block = self.anvil.ask("eth_getBlockByNumber", "latest", False)
        raised = max(int(block["baseFeePerGas"], 16), GWEI) * factor
        self.anvil.ask("anvil_setNextBlockBaseFeePerGas", hex(raised))

    def _spend_nonce(self, count: int) -> None:
        """Someone else uses the signer's key."""
        for _ in range(count):
            nonce = int(self.anvil.ask("eth_getTransactionCount", SIGNER, "latest"), 16)
            signed = Account.sign_transaction(
                {
                    "chainId": CHAIN_ID,
                    "nonce": nonce,
                    "to": DEV_ADDRESSES[2],
                    "value": 1,
                    "gas": 21_000,
                    "maxFeePerGas": FOREIGN_FEE_WEI,
                    "maxPriorityFeePerGas": FOREIGN_FEE_WEI // 2,
                },
                SIGNER_KEY,
            )
            with suppress(RuntimeError):  # ours was mined just now
                self.anvil.ask("eth_sendRawTransaction", f"0x{signed.raw_transaction.hex()}")
                self.foreign.add(f"0x{signed.hash.hex()}")
            time.sleep(2 * self.stack.block_time_s)
