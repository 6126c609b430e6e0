"""The chain of the mirror's bench: anvil, an ERC-20 and an ERC-721 that announce 100 transfers in each block."""

import http.client
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from eth_hash.auto import keccak

from scripts import compile as compiling
from scripts import local
from scripts.local import Anvil

CHAIN_ID = 31337
PEERS = local.ROOT / "scripts" / "peers"
HOLDERS = 20_000
OPENED_IN_A_BLOCK = 1_000
EVENTS_IN_A_BLOCK = 100
SENDERS = 10
DEED_SENDERS = 2
EVENTS_IN_A_TRANSACTION = EVENTS_IN_A_BLOCK // SENDERS
STATES_KEPT = 64
GAS = hex(8_000_000)


@dataclass(slots=True)
class Fixture:
    """A running chain and how much is on it. Nothing is mined but by its methods."""

    anvil: Anvil
    token: str = ""
    deed: str = ""
    first: int = 0
    """The first block with an event."""
    head: int = 0
    events: int = 0
    _turn: int = 0
    _accounts: Sequence[str] = ()
    _connection: http.client.HTTPConnection | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """The node's address."""
        return self.anvil.url

    def extend(self, blocks: int) -> None:
        """Mine so many full blocks."""
        for _ in range(blocks):
            self._ask([*self._full_block(), ("evm_mine", [])])

    def prepare_block(self) -> None:
        """Hand a full block's transactions to the node, for `mine`."""
        self._ask(self._full_block())

    def mine(self) -> int:
        """Mine what was handed over; the new head's number."""
        self._ask([("evm_mine", [])])
        return self.head

    def begin(self) -> None:
        """Deploy both contracts, and mint to every holder."""
        self._accounts = self.anvil.ask("eth_accounts")
        codes = _codes()
        self.token, self.deed = self._deploy(codes["FungibleEmitter"]), self._deploy(codes["DeedEmitter"])
        self.first = self.head + 1
        for start in range(0, HOLDERS, OPENED_IN_A_BLOCK):
            opened = _call("open(uint256,uint256)", start, start + OPENED_IN_A_BLOCK)
            self._ask([self._send(0, self.token, opened), ("evm_mine", [])])
        self.events += HOLDERS

    def stop(self) -> None:
        """End the node."""
        if self._connection is not None:
            self._connection.close()
        self.anvil.stop()

    def _full_block(self) -> list[tuple[str, list[Any]]]:
        calls = []
        for sender in range(SENDERS - DEED_SENDERS):
            seed = self._turn * SENDERS + sender
            data = _call("burst(uint256,uint256,uint256)", seed, EVENTS_IN_A_TRANSACTION, HOLDERS)
            calls.append(self._send(sender, self.token, data))
        for number in range(DEED_SENDERS):
            turn = self._turn * DEED_SENDERS + number
            data = _call("burst(uint256,uint256,uint256)", turn, EVENTS_IN_A_TRANSACTION // 2, HOLDERS)
            calls.append(self._send(SENDERS - DEED_SENDERS + number, self.deed, data))
        # The first block has no deeds to move.
        self.events += EVENTS_IN_A_BLOCK - (0 if self._turn else DEED_SENDERS * EVENTS_IN_A_TRANSACTION // 2)
        self._turn += 1
        return calls

    def _send(self, sender: int, to: str, data: str) -> tuple[str, list[Any]]:
        message = {"from": self._accounts[sender], "to": to, "data": data, "gas": GAS, "gasPrice": "0x0"}
        return "eth_sendTransaction", [message]

    def _deploy(self, code: str) -> str:
        message = {"from": self._accounts[0], "data": code, "gas": GAS, "gasPrice": "0x0"}
        sent, _ = self._ask([("eth_sendTransaction", [message]), ("evm_mine", [])])
        return str(self.anvil.ask("eth_getTransactionReceipt", sent)["contractAddress"])

    def _ask(self, calls: Sequence[tuple[str, list[Any]]]) -> list[Any]:
        """The answers to a batch, in order; `head` follows what was mined."""
        if self._connection is None:
            place = urlsplit(self.url)
            self._connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=600)
        asked = [
            {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            for number, (method, params) in enumerate(calls)
        ]
        self._connection.request("POST", "/", json.dumps(asked), {"Content-Type": "application/json"})
        answers = json.load(self._connection.getresponse())
        refused = [answer["error"] for answer in answers if "error" in answer]
        if refused:
            raise RuntimeError(f"the chain refused: {refused[0]['message']}")
        self.head += sum(method == "evm_mine" for method, _ in calls)
        return [answer["result"] for answer in answers]


def start(folder: Path, blocks: int) -> Fixture:
    """A chain with so many full blocks, after those that mint to every holder."""
    options = ["--chain-id", str(CHAIN_ID), "--no-mining", "--block-base-fee-per-gas", "0", "--timestamp", "1700000000"]
    options += ["--cache-path", str(folder / "anvil"), "--gas-limit", "100000000"]
    fixture = Fixture(local.start_anvil(folder / "anvil.log", *options, states_kept=STATES_KEPT))
    try:
        fixture.begin()
        fixture.extend(blocks)
    except BaseException:
        fixture.stop()
        raise
    return fixture


def _codes() -> dict[str, str]:
    source = PEERS / "Emitter.sol"
    selection = {"*": {"*": ["evm.bytecode.object"]}}
    (answer,) = compiling.ask([compiling.task([source], selection)], compiling.compiler())
    found = answer["contracts"][source.name]
    return {name: "0x" + each["evm"]["bytecode"]["object"] for name, each in found.items()}


def _call(signature: str, *numbers: int) -> str:
    return "0x" + (keccak(signature.encode())[:4] + _words(*numbers)).hex()


def _words(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(32) for number in numbers)
