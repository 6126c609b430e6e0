"""A test's chain and its mirror: what is done to the one, and how the other is compared with it."""

import json
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from eth_hash.auto import keccak
from pydantic import SecretStr
from sqlalchemy import text

from service.addresses import ZERO
from service.chain.contracts import create2_address, creation_code, decode_result, encode_call, name32
from service.chain.node import Node
from service.chain.reader import Chain, Finality
from service.db import Database
from service.mirror import facts, indexer, queries, standing
from service.workers import Lease
from tests.rpc import rpc

CHAIN_ID = 31337
LEASE_TTL_S = 60.0
GAS = hex(3_000_000)
DEPLOYMENT_GAS = hex(12_000_000)
FEES = {"maxFeePerGas": hex(100 * 10**9), "maxPriorityFeePerGas": hex(10**9)}


EMPTY = """
DO $$ BEGIN
    EXECUTE (SELECT 'TRUNCATE ' || string_agg(table_schema || '.' || quote_ident(table_name), ', ')
        FROM information_schema.tables WHERE table_schema IN ('mirror', 'staging') AND table_type = 'BASE TABLE');
END $$
"""


async def empty(db: Database) -> None:
    """Throw the mirror away, which only its owner may."""
    async with db.transaction() as session:
        await session.execute(text(EMPTY))


@dataclass(frozen=True, slots=True)
class State:
    """What a token is at the end of a block."""

    balances: dict[bytes, int]
    frozen: dict[bytes, int]
    supply: int
    paused: bool


def rpc_many(url: str, calls: Sequence[tuple[str, list[Any]]], *, refused: Any = None) -> list[Any]:
    """Ask many questions in one batch, on a road that shares nothing with the service's own.

    An answer that is no result is an error of the test, unless it says what a refusal counts as.
    """
    asked = [
        {"jsonrpc": "2.0", "id": i, "method": method, "params": params} for i, (method, params) in enumerate(calls)
    ]
    request = urllib.request.Request(url, json.dumps(asked).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        given = {answer["id"]: answer for answer in json.load(response)}
    answers = [given[i] for i in range(len(calls))]
    assert refused is not None or all("result" in answer for answer in answers), answers
    return [answer.get("result", refused) for answer in answers]


@dataclass(slots=True)
class Ledger:
    """An anvil with an authority and an AssetFactory on it; accounts 0 (every role) and 1 to 9 are unlocked."""

    url: str
    accounts: list[bytes] = field(default_factory=list)
    authority: bytes = b""
    factory: bytes = b""
    first: int = 0
    tokens: list[bytes] = field(default_factory=list)
    deeds: list[tuple[bytes, int]] = field(default_factory=list)  # contract and id of each that was ever issued
    _sent: list[str] | None = None
    _operations: int = 0
    _reorgs: int = 0

    def __post_init__(self) -> None:
        self.rpc("evm_setAutomine", True)
        self.accounts = [bytes.fromhex(account[2:]) for account in self.rpc("eth_accounts")]
        # By another account, so that a factory that is deployed anew has the former one's address.
        self.authority = self._create(creation_code("IssuerAuthority", self.accounts[0], 0, ZERO), self.accounts[8])
        self.first = self.height() + 1
        self.factory = self._create(creation_code("AssetFactory", self.accounts[0]), self.accounts[0])

    def rpc(self, method: str, *params: Any) -> Any:
        return rpc(self.url, method, *params)

    def height(self) -> int:
        return int(self.rpc("eth_blockNumber"), 16)

    def hash_of(self, number: int) -> bytes:
        return bytes.fromhex(self.rpc("eth_getBlockByNumber", hex(number), False)["hash"][2:])

    def mine(self, count: int = 1) -> None:
        self.rpc("anvil_mine", hex(count))

    def reorg(self, depth: int) -> None:
        """Replace the newest `depth` blocks by as many others that touch no token."""
        before = self.hash_of(self.height())
        self._reorgs += 1
        # Without a transaction of its own, an empty block would be replaced by its equal.
        account = "0x" + self.accounts[9].hex()
        mark = {"from": account, "to": account, "value": hex(self._reorgs), "gas": GAS}
        self.rpc("anvil_reorg", depth, [[mark, 0]])
        assert self.hash_of(self.height()) != before

    def rollback(self, depth: int) -> None:
        """Take the newest `depth` blocks off, and put none in their place."""
        self.rpc("anvil_rollback", depth)

    @contextmanager
    def one_block(self, timestamp: int | None = None) -> Iterator[None]:
        """Put all that is sent inside into one block."""
        self.rpc("evm_setAutomine", False)
        self._sent = []
        yield
        sent, self._sent = self._sent, None
        if timestamp is not None:
            self.rpc("evm_setNextBlockTimestamp", timestamp)
        self.rpc("evm_mine")
        self.rpc("evm_setAutomine", True)
        receipts = [self._mined(each) for each in sent]
        assert len({receipt["blockHash"] for receipt in receipts}) <= 1

    def deploy(self) -> bytes:
        """Deploy one more AssetToken through the factory."""
        terms = ("Harbour House", "HARB", 6, self.authority, ZERO, ZERO, bytes(32), bytes(32))
        token = self.make("AssetToken", terms)
        self.tokens.append(token)
        return token

    def make(self, kind: str, *constructor_args: Any) -> bytes:
        """Deploy a contract through the factory."""
        code = creation_code(kind, *constructor_args)
        salt = self._operation()
        deploying = encode_call("AssetFactory", "deploy", salt, code, name32(kind))
        self._do(self.factory, deploying, self.accounts[0], DEPLOYMENT_GAS)
        return create2_address(self.factory, salt, keccak(code))

    def act(self, kind: str, contract: bytes, function: str, *args: Any, sender: bytes | None = None) -> None:
        """Call a function of a contract, by the account that has every role where no other is named."""
        self._do(contract, encode_call(kind, function, *args), sender or self.accounts[0])

    def act_once(self, kind: str, contract: bytes, function: str, *args: Any) -> None:
        """The same for a function that ends with an operation's id."""
        self.act(kind, contract, function, *args, self._operation())

    def ask(self, kind: str, contract: bytes, function: str, *args: Any, block: int) -> tuple[Any, ...]:
        """What a view answers at a block."""
        data = encode_call(kind, function, *args)
        answer = self.rpc("eth_call", {"to": "0x" + contract.hex(), "data": "0x" + data.hex()}, hex(block))
        return decode_result(kind, function, bytes.fromhex(answer[2:]))

    def mint(self, token: bytes, to: bytes, amount: int) -> None:
        self._do(token, encode_call("AssetToken", "mint", to, amount, self._operation()), self.accounts[0])

    def burn(self, token: bytes, holder: bytes, amount: int) -> None:
        self._do(token, encode_call("AssetToken", "burn", holder, amount, self._operation()), self.accounts[0])

    def transfer(self, token: bytes, sender: bytes, to: bytes, amount: int) -> None:
        self._do(token, encode_call("AssetToken", "transfer", to, amount), sender)

    def pause(self, token: bytes) -> None:
        self._do(token, encode_call("AssetToken", "pause", self._operation()), self.accounts[0])

    def unpause(self, token: bytes) -> None:
        self._do(token, encode_call("AssetToken", "unpause", self._operation()), self.accounts[0])

    def state(self, token: bytes, block: int) -> "State | None":
        """All that the chain says of a token at a block, asked for in one batch; None where it has no code."""
        asked = [encode_call("AssetToken", "balanceOf", account) for account in self.accounts]
        asked += [encode_call("AssetToken", "getFrozenTokens", account) for account in self.accounts]
        asked += [encode_call("AssetToken", "totalSupply"), encode_call("AssetToken", "paused")]
        calls: list[tuple[str, list[Any]]] = [
            ("eth_call", [{"to": "0x" + token.hex(), "data": "0x" + data.hex()}, hex(block)]) for data in asked
        ]
        code, *answers = rpc_many(self.url, [("eth_getCode", ["0x" + token.hex(), hex(block)]), *calls])
        if code == "0x":
            return None
        *amounts, supply, paused = (int(answer, 16) for answer in answers)
        count = len(self.accounts)
        balances, frozen = (dict(zip(self.accounts, each, strict=True)) for each in (amounts[:count], amounts[count:]))
        return State(balances, frozen, supply, bool(paused))

    def deploy_deeds(self) -> bytes:
        """Deploy one more DeedToken through the factory."""
        return self.make("DeedToken", ("Deeds", "DEED", self.authority, ZERO, bytes(32), bytes(32), False))

    def issue(self, deeds: bytes, holder: bytes) -> int:
        """Issue a deed of an id that was never used."""
        self.deeds.append((deeds, len(self.deeds) + 1))
        self.act_once("DeedToken", deeds, "mintDeed", holder, len(self.deeds), "", bytes(32))
        return len(self.deeds)

    def owner(self, deeds: bytes, deed_id: int, block: int) -> bytes | None:
        """Who holds a deed at a block, None for nobody."""
        data = encode_call("DeedToken", "ownerOf", deed_id)
        calls: list[tuple[str, list[Any]]] = [
            ("eth_call", [{"to": "0x" + deeds.hex(), "data": "0x" + data.hex()}, hex(block)])
        ]
        (answer,) = rpc_many(self.url, calls, refused="0x")
        return bytes.fromhex(answer[-40:]) if len(answer) == 66 else None

    def revert(self, snapshot: str) -> None:
        """Go back to a snapshot, and to a base fee that anvil would otherwise carry over from the other branch."""
        assert self.rpc("evm_revert", snapshot)
        self.rpc("anvil_setNextBlockBaseFeePerGas", hex(10**9))

    def _operation(self) -> bytes:
        self._operations += 1
        return self._operations.to_bytes(32, "big")

    def _create(self, code: bytes, sender: bytes) -> bytes:
        receipt = self._mined(self._send(None, code, sender, DEPLOYMENT_GAS))
        return bytes.fromhex(receipt["contractAddress"][2:])

    def _do(self, to: bytes, data: bytes, sender: bytes, gas: str = GAS) -> None:
        sent = self._send(to, data, sender, gas)
        if self._sent is None:
            self._mined(sent)
        else:
            self._sent.append(sent)

    def _send(self, to: bytes | None, data: bytes, sender: bytes, gas: str) -> str:
        message = {"from": "0x" + sender.hex(), "data": "0x" + data.hex(), "gas": gas, **FEES}
        if to is not None:
            message["to"] = "0x" + to.hex()
        return str(self.rpc("eth_sendTransaction", message))

    def _mined(self, transaction_hash: str) -> dict[str, Any]:
        for _ in range(1_000):
            receipt: dict[str, Any] | None = self.rpc("eth_getTransactionReceipt", transaction_hash)
            if receipt is not None:
                assert receipt["status"] == "0x1", "a test's own transaction was refused"
                return receipt
            time.sleep(0.005)
        raise AssertionError("a transaction was not mined")


@dataclass(slots=True)
class Mirror:
    """An indexer and the ways to ask what it mirrored."""

    db: Database
    chain: Chain
    lease: Lease
    ledger: Ledger
    blocks_max: int = 100
    gear: indexer.Gear = field(default_factory=indexer.Gear)

    @classmethod
    async def begin(cls, db: Database, chain: Chain, ledger: Ledger, *, blocks_max: int = 100) -> "Mirror":
        lease = Lease("indexer", LEASE_TTL_S)
        assert await lease.take(db)
        return cls(db, chain, lease, ledger, blocks_max)

    async def halt(self) -> str | None:
        """What it waits for."""
        async with self.db.read() as connection:
            found = await standing.present_halt(connection, chain_id=CHAIN_ID)
        return None if found is None else found.name

    async def resume(self) -> int | None:
        """What an operator does about blocks that were called final and left the chain."""
        async with self.db.transaction() as session:
            return await standing.resume(session, chain_id=CHAIN_ID)

    async def step(self, chain: Chain | None = None) -> int:
        return await indexer.converge(
            self.db,
            chain or self.chain,
            self.lease,
            chain_id=CHAIN_ID,
            factory=self.ledger.factory,
            start_block=self.ledger.first,
            blocks_max=self.blocks_max,
            gear=self.gear,
        )

    async def converge(self) -> int:
        """Step until there is nothing to do, with an operator who always resumes; how many steps did something."""
        steps = 0
        while True:
            if await self.step() > 0:
                steps += 1
            elif await self.resume() is None:
                return steps

    async def label(self, block: int | None = None) -> queries.Label:
        async with self.db.read() as connection:
            return await queries.label(connection, chain_id=CHAIN_ID, at_block=block)

    async def contract(self, token: bytes, block: int) -> queries.Contract | None:
        async with self.db.read() as connection:
            return await queries.contract(connection, chain_id=CHAIN_ID, address=token, block=block)

    async def holders(self, token: bytes, block: int) -> dict[bytes, int]:
        """The whole cap table, two rows a page; empty before the contract existed."""
        contract = await self.contract(token, block)
        if contract is None:
            return {}
        held: dict[bytes, int] = {}
        after: bytes | None = None
        while True:
            async with self.db.read() as connection:
                page = await queries.holdings_page(
                    connection, contract_id=contract.id, block=block, after=after, count_max=2
                )
            held |= {each.account: each.amount for each in page}
            if len(page) < 2:
                return held
            after = page[-1].account

    async def agrees(self, block: int) -> None:
        """Compare every token with the chain at a block, each number asked for in every way there is."""
        for token in self.ledger.tokens:
            contract, state = await self.contract(token, block), self.ledger.state(token, block)
            assert (contract is None) == (state is None)
            if contract is None or state is None:
                continue
            held = await self.holders(token, block)
            assert held == {account: amount for account, amount in state.balances.items() if amount > 0}
            async with self.db.read() as connection:
                given = {"contract_id": contract.id, "block": block}
                supply = await queries.supply(connection, **given)
                assert supply == state.supply == sum(held.values())
                assert await queries.paused(connection, **given) == state.paused
                for account, amount in state.balances.items():
                    assert await queries.holding(connection, account=account, **given) == amount
                    frozen = await facts.state(connection, aspect="frozen", key=account, **given)
                    assert int((frozen or {"amount": "0"})["amount"]) == state.frozen[account]
        for deeds, deed_id in self.ledger.deeds:
            await self.agrees_on_deed(deeds, deed_id, block)

    async def agrees_on_deed(self, deeds: bytes, deed_id: int, block: int) -> None:
        owner, contract = self.ledger.owner(deeds, deed_id, block), await self.contract(deeds, block)
        title: facts.Title | None = None
        if contract is not None:
            async with self.db.read() as connection:
                title = await facts.title(connection, contract_id=contract.id, deed_id=deed_id, block=block)
        assert (title.holder if title is not None else None) == owner

    async def agrees_everywhere(self) -> None:
        for block in range(self.ledger.first, self.ledger.height() + 1):
            await self.agrees(block)

    async def rows(self, query: Any, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        async with self.db.read() as connection:
            return await (await connection.execute(query, parameters)).fetchall()

    async def contents(self) -> dict[str, list[tuple[Any, ...]]]:
        """All that stands in the mirror, and all that was undone, without the times at which it happened."""
        return {name: sorted(await self.rows(query), key=repr) for name, query in CONTENTS.items()}


CONTENTS = {
    "blocks": "SELECT hash, number, parent_hash, timestamp, canonical FROM mirror.blocks",
    "deployments": "SELECT address, block_hash, block_number, salt, operator, kind, canonical "
    "FROM mirror.deployments JOIN mirror.contracts ON id = contract_id",
    "transfers": "SELECT address, block_hash, log_index, block_number, transaction_hash, sender, recipient, amount, "
    "deed_id, canonical FROM mirror.transfers JOIN mirror.contracts ON id = contract_id",
    "holdings": "SELECT address, account, from_block, to_block, block_hash, amount, canonical "
    "FROM mirror.holdings JOIN mirror.contracts ON id = contract_id",
    "supplies": "SELECT address, from_block, to_block, block_hash, amount, canonical "
    "FROM mirror.supplies JOIN mirror.contracts ON id = contract_id",
    "pauses": "SELECT address, from_block, to_block, block_hash, paused, canonical "
    "FROM mirror.pauses JOIN mirror.contracts ON id = contract_id",
    "titles": "SELECT address, deed_id, from_block, to_block, block_hash, holder, canonical "
    "FROM mirror.titles JOIN mirror.contracts ON id = contract_id",
    "states": "SELECT address, aspect, key, from_block, to_block, block_hash, state, canonical "
    "FROM mirror.states JOIN mirror.contracts ON id = contract_id",
    "digests": "SELECT address, from_block, to_block, block_hash, digest, canonical "
    "FROM mirror.digests JOIN mirror.contracts ON id = contract_id",
    "events": "SELECT address, block_hash, log_index, block_number, transaction_hash, name, arguments, canonical "
    "FROM mirror.events JOIN mirror.contracts ON id = contract_id",
}


def way_to(url: str, *, depth: int = 2) -> tuple[Node, Chain]:
    """A node and a chain on it whose blocks are final `depth` below the tip."""
    node = Node(url)
    return node, Chain(node, chain_id=CHAIN_ID, finality=Finality(depth))


def database(url: SecretStr, role: str | None = "muniment_indexer") -> Database:
    """A way to the test's database in the rights of one process."""
    return Database(url, role=role)
