"""Contracts of others on a test's chain, and an indexer that adopts them."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from eth_abi.abi import encode
from eth_hash.auto import keccak

from scripts import compile as compiling
from scripts.stack import CHAIN_ID
from service.addresses import checksum
from service.mirror.adopting import Adopter
from tests.rpc import rpc
from tests.world import World

SOURCES = Path(__file__).parent.parent / "contracts"
GAS = hex(8_000_000)
ENDED = ("live", "refused")
PATIENCE_S = 30.0


@cache
def odd_code(name: str) -> bytes:
    """What creates a contract of tests/contracts."""
    made = compiling.artifacts([SOURCES / f"{name}.sol"], compiling.compiler())[name]
    return bytes.fromhex(made["creationCode"][2:])


@dataclass(slots=True)
class Others:
    """Whoever else is on the chain: accounts that anvil signs for."""

    world: World
    accounts: list[str] = field(default_factory=list)
    _waiting: list[str] | None = None  # what is sent into one block

    def __post_init__(self) -> None:
        self.accounts = [checksum(bytes.fromhex(each[2:])) for each in rpc(self.world.chain_url, "eth_accounts")]

    def create(self, code: bytes, *given: tuple[str, Any]) -> str:
        """A new contract's address."""
        data = code + encode([kind for kind, _ in given], [value for _, value in given])
        return checksum(bytes.fromhex(self._send({"data": "0x" + data.hex()}, by=9)["contractAddress"][2:]))

    def odd(self) -> str:
        """A token that is honest until it is told to be otherwise."""
        return self.create(odd_code("OddToken"))

    def plain(self) -> str:
        """OpenZeppelin's ERC-20, all of it held by its maker."""
        return self.create(odd_code("PlainERC20"))

    def deeds(self) -> str:
        """OpenZeppelin's ERC-721, of which whoever likes makes one."""
        return self.create(odd_code("PlainERC721"))

    def act(self, contract: str, signature: str, *given: Any, by: int = 9) -> None:
        """Call a function of a contract."""
        kinds = signature[signature.index("(") + 1 : -1].split(",")
        data = keccak(signature.encode())[:4] + encode(kinds, given)
        self._send({"to": contract, "data": "0x" + data.hex()}, by=by)

    def mint(self, token: str, to: int, amount: int) -> None:
        """Of an odd token."""
        self.act(token, "mint(address,uint256)", self.accounts[to], amount)

    def pay(self, token: str, sender: int, to: int, amount: int) -> None:
        """Any token's transfer."""
        self.act(token, "transfer(address,uint256)", self.accounts[to], amount, by=sender)

    @contextmanager
    def one_block(self) -> Iterator[None]:
        """Put all that is sent inside into one block, in its order."""
        rpc(self.world.chain_url, "evm_setAutomine", False)
        self._waiting = []
        try:
            yield
            rpc(self.world.chain_url, "evm_mine")
        finally:
            sent, self._waiting = self._waiting, None
            rpc(self.world.chain_url, "evm_setAutomine", True)
        blocks = {self._mined(each)["blockHash"] for each in sent}
        assert len(blocks) == 1

    def height(self) -> int:
        """The chain's newest block."""
        return int(rpc(self.world.chain_url, "eth_blockNumber"), 16)

    def _send(self, message: dict[str, Any], *, by: int) -> dict[str, Any]:
        # The first one pays most, since a block takes its transactions in the order of what they pay.
        price = {} if self._waiting is None else {"gasPrice": hex((100 - len(self._waiting)) * 10**9)}
        message = {"from": self.accounts[by], "gas": GAS, **price, **message}
        sent = rpc(self.world.chain_url, "eth_sendTransaction", message)
        if self._waiting is not None:
            self._waiting.append(sent)
            return {}
        return self._mined(sent)

    def _mined(self, sent: str) -> dict[str, Any]:
        receipt: dict[str, Any] | None = None
        while receipt is None:
            receipt = rpc(self.world.chain_url, "eth_getTransactionReceipt", sent)
        assert receipt["status"] == "0x1", "a test's own transaction was refused"
        return receipt


def adopter(world: World, **given: Any) -> Adopter:
    """What adopts, as a process that has just started has it."""
    return Adopter(given.pop("db", world.db), given.pop("chain", world.chain), chain_id=CHAIN_ID, **given)


async def adopted(world: World, id: str, working: Adopter | None = None) -> dict[str, Any]:
    """Let the indexer work until an adoption has ended; how."""
    working = working or adopter(world)
    end_s = time.monotonic() + PATIENCE_S
    try:
        while time.monotonic() < end_s:
            found: dict[str, Any] = (await world.get(f"/v1/adoptions/{id}")).json()
            if found["status"] in ENDED:
                return found
            await working.step(await world.lease("indexer"))
            await world.index()
            await asyncio.sleep(0.01)
    finally:
        await working.aclose()
    raise AssertionError(f"the adoption does not end: {found}")


async def adopt(world: World, address: str, **given: Any) -> dict[str, Any]:
    """Ask for a contract to be adopted; the adoption."""
    await world.index()
    answer = await world.post("/v1/tokens/adopt", {"address": address, **given})
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == f"/v1/adoptions/{answer.json()['id']}"
    asked: dict[str, Any] = answer.json()
    return asked


async def live(world: World, address: str, **given: Any) -> str:
    """Adopt a contract; its token's id."""
    asked = await adopt(world, address, **given)
    found = await adopted(world, asked["id"])
    assert found["status"] == "live", found
    return str(found["token_id"])
