"""What came of a chaos run: the chain's own blocks and events, by web3.py, against what was asked for and answered."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
from web3 import Web3

from scripts.chaos_faults import SIGNER, SIGNER_KEY, Faults
from scripts.chaos_orders import Asked, Effect, Ground
from scripts.chaos_plan import NEVER, SURE
from scripts.opinion import ARTIFACTS
from scripts.stack import Stack

BLOCKS_EACH_QUESTION = 200
NAMED: dict[str, tuple[str, ...]] = {
    "Transfer": ("from", "to", "value"),
    "Approval": ("owner", "spender", "value"),
    "Redeemed": ("account", "amount"),
    "Frozen": ("account", "amount"),
    "RoleGranted": ("account",),
    "Deployed": ("token",),
}
"""The events that effects are told by, and those of their arguments that tell one effect from another."""

BURNED = {"Operation": "operationId", "AuthorizationUsed": "nonce"}
"""The events that tell of an id which is accepted once."""

LONG_HEX = re.compile(r"[0-9a-fA-F]{130,}")
"""Signed bytes, or a signature."""


@dataclass(slots=True)
class Chain:
    """What the chain says, from a block on."""

    effects: Counter[Effect] = field(default_factory=Counter)
    burned: Counter[tuple[str, str]] = field(default_factory=Counter)  # contract and id
    holdings: Counter[tuple[str, str]] = field(default_factory=Counter)  # by token and account, from Transfer events
    sent: list[tuple[int, str]] = field(default_factory=list)  # the signer's transactions: nonce and hash


def read_chain(web3: Web3, ground: Ground, *, first_block: int) -> Chain:
    """Every event of the run's contracts, and every transaction of the signer. Effects count from `first_block` on."""
    chain, head = Chain(), web3.eth.block_number
    tokens = [address for _, address in ground.tokens]
    kinds = dict.fromkeys(tokens, "AssetToken")
    kinds |= {ground.authority: "IssuerAuthority", ground.factory: "AssetFactory"}
    readers = {address: _readers(web3, artifact) for address, artifact in kinds.items()}
    for start in range(0, head + 1, BLOCKS_EACH_QUESTION):
        end = min(start + BLOCKS_EACH_QUESTION - 1, head)
        asked: Any = {"address": [*kinds], "fromBlock": start, "toBlock": end}
        for log in web3.eth.get_logs(asked):
            event = readers[log["address"]].get(log["topics"][0])
            if event is not None:
                _note(chain, event.process_log(log), counted=log["blockNumber"] >= first_block)
        sent = (each for block in _blocks(web3, start, end) for each in block["transactions"])
        chain.sent += [(each["nonce"], Web3.to_hex(each["hash"])) for each in sent if each["from"] == SIGNER]
    return chain


def _blocks(web3: Web3, start: int, end: int) -> list[Any]:
    with web3.batch_requests() as batch:
        for number in range(start, end + 1):
            batch.add(web3.eth.get_block(number, full_transactions=True))
        found: list[Any] = batch.execute()
        return found


def _readers(web3: Web3, artifact: str) -> dict[Any, Any]:
    contract = web3.eth.contract(abi=json.loads((ARTIFACTS / f"{artifact}.json").read_text())["abi"])
    events: Any = contract.events
    wanted = [each for each in events if each.event_name in NAMED.keys() | BURNED.keys()]
    return {Web3.keccak(text=each.signature): each() for each in wanted}


def _note(chain: Chain, told: Any, *, counted: bool) -> None:
    contract, event, arguments = told["address"], told["event"], told["args"]
    if event in BURNED:
        chain.burned[contract, Web3.to_hex(arguments[BURNED[event]])] += 1
        return
    if event == "Transfer":
        chain.holdings[contract, arguments["from"]] -= arguments["value"]
        chain.holdings[contract, arguments["to"]] += arguments["value"]
    if counted:
        chain.effects[Effect(contract, event, tuple(arguments[name] for name in NAMED[event]))] += 1


def judge_effects(chain: Chain, asked: Sequence[Asked], ended: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Every accepted operation has its effect exactly once if it succeeded, and not at all otherwise."""
    expected: Counter[Effect] = Counter()
    for each in asked:
        status = "refused" if each.operation_id is None else ended[each.operation_id]["status"]
        told = f"operation {each.ask.number} ({each.ask.kind}, {each.operation_id or each.refusal})"
        if each.ask.expected == SURE and status != "succeeded":
            problem = ended.get(each.operation_id or "", {}).get("problem")
            yield f"{told} is {status}, and nothing stood against it: {problem or each.refusal}"
        if each.ask.expected == NEVER and status == "succeeded":
            yield f"{told} succeeded, which it cannot"
        for effect in each.written.effects:
            times = int(status == "succeeded")
            expected[effect] += times
            if chain.effects[effect] != times:
                yield f"{told} is {status}, and its effect is on the chain {chain.effects[effect]} times: {effect}"
    yield from (f"nobody asked for {effect}" for effect in chain.effects if expected[effect] == 0)
    yield from (
        f"{id_} of {contract} was burned {count} times" for (contract, id_), count in chain.burned.items() if count > 1
    )
    accepted = [each.operation_id for each in asked if each.operation_id is not None]
    if len(set(accepted)) != len(accepted):
        yield "two requests were answered with one operation"


def judge_holdings(web3: Web3, chain: Chain, ground: Ground) -> Iterator[str]:
    """What each holder has is the sum of what it got and gave, and the sum of all is the supply."""
    abi = json.loads((ARTIFACTS / "AssetToken.json").read_text())["abi"]
    for _, address in ground.tokens:
        contract = web3.eth.contract(Web3.to_checksum_address(address), abi=abi)
        held = {account: amount for (token, account), amount in chain.holdings.items() if token == address}
        issued = -held.pop("0x" + "0" * 40, 0)
        supply = contract.functions.totalSupply().call()
        if not sum(held.values()) == issued == supply:
            yield f"{address}: {issued} issued, {sum(held.values())} held, and the supply is {supply}"
        for account, amount in held.items():
            told = contract.functions.balanceOf(account).call()
            if told != amount:
                yield f"{address}: {account} holds {told}, and its events add up to {amount}"


def judge_nonces(web3: Web3, chain: Chain, faults: Faults, database_url: str) -> Iterator[str]:
    """The signer's nonces are dense, and each is one of our attempts or somebody else's transaction that we know."""
    nonces = sorted(nonce for nonce, _ in chain.sent)
    count = web3.eth.get_transaction_count(Web3.to_checksum_address(SIGNER))
    if nonces != list(range(count)):
        yield f"the signer has sent {count} transactions, and these are in blocks: {nonces}"
    with psycopg.connect(database_url) as connection:
        hashes = connection.execute(
            "SELECT '0x' || encode(hash, 'hex') FROM attempts WHERE hash IS NOT NULL"
        ).fetchall()
        mined = connection.execute(
            """SELECT nonce, '0x' || encode(transaction_hash, 'hex') FROM transactions
            WHERE status IN ('confirmed', 'reverted') AND signer = decode(%s, 'hex')""",
            (SIGNER[2:],),
        ).fetchall()
    ours = {each for (each,) in hashes}
    yield from (f"neither ours nor known: {pair}" for pair in chain.sent if pair[1] not in ours | faults.foreign)
    yield from (f"told as mined, and in no block: {pair}" for pair in mined if pair not in set(chain.sent))


def judge_records(database_url: str, ended: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Nothing is on its way any more, no signer is halted, and the journal has each end once."""
    with psycopg.connect(database_url) as connection:
        pending = connection.execute("SELECT count(*) FROM operations WHERE status = 'pending'").fetchone()
        unsettled = "status IN ('queued', 'pending', 'submitted', 'mined') OR NOT taken"
        live = connection.execute(
            f"SELECT id, status, nonce, last_error FROM transactions WHERE ({unsettled}) AND origin <> 'filler'"
        ).fetchall()
        halted = connection.execute(
            "SELECT '0x' || encode(address, 'hex'), halt FROM signers WHERE halt IS NOT NULL"
        ).fetchall()
        told = connection.execute(
            "SELECT body::jsonb ->> 'operation', kind FROM journal_entries WHERE kind LIKE 'operation.%'"
        ).fetchall()
    if pending != (0,):
        yield f"{pending} operations are pending"
    yield from (f"a transaction is on its way: {row}" for row in live)
    yield from (f"a signer is halted: {row}" for row in halted)
    ends = Counter(told)
    yield from (f"the journal tells {kind} of {id_} {count} times" for (id_, kind), count in ends.items() if count > 1)
    yield from (
        f"the journal does not tell that {id_} {each['status']}"
        for id_, each in ended.items()
        if (id_, f"operation.{each['status']}") not in ends
    )


def judge_logs(stack: Stack) -> Iterator[str]:
    """No secret is in any log of ours."""
    secrets = [SIGNER_KEY, stack.api_key().strip(), *json.loads((stack.folder / "secrets.json").read_text()).values()]
    # anvil prints its own test keys, which one of our signers uses here.
    for log in sorted(each for each in stack.logs.glob("*.log") if not each.name.startswith("anvil")):
        text = log.read_text(errors="replace")
        if any(secret in text for secret in secrets):
            yield f"{log.name} holds a secret"
        if LONG_HEX.search(text):
            yield f"{log.name} holds what may be signed bytes"


def judge_mirror(stack: Stack) -> Iterator[str]:
    """`muniment verify` says that the mirror agrees with the chain."""
    code, told = stack.run("verify")
    if code != 0:
        yield f"muniment verify: {told}"
