"""What a bench of mints is compared with: a plain web3.py loop, and signed transactions pushed to the bare node."""

import http.client
import json
import secrets
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any
from urllib.parse import urlsplit

from eth_account import Account
from web3 import Web3

from scripts.opinion import ARTIFACTS

BATCH = 250
CONNECTIONS = 2
FEE_WEI, TIP_WEI = 100 * 10**9, 10**9
GAS = 200_000
POLL_INTERVAL_S = 0.01
MINED_TIMEOUT_S = 120


def web3_loop(url: str, contract: str, private_key: str, count: int) -> float:
    """Mints a second of a loop that builds, signs, sends and waits for each receipt, as web3.py's own pages show it."""
    node = Web3(Web3.HTTPProvider(url))
    account = Account.from_key(private_key)
    token = node.eth.contract(address=Web3.to_checksum_address(contract), abi=_abi())
    start_s = time.monotonic()
    for _ in range(count):
        call = token.functions.mint(Account.create().address, 1_000, secrets.token_bytes(32))
        nonce = node.eth.get_transaction_count(account.address)
        transaction = call.build_transaction({"from": account.address, "nonce": nonce})
        sent = node.eth.send_raw_transaction(account.sign_transaction(transaction).raw_transaction)
        receipt = node.eth.wait_for_transaction_receipt(sent, poll_latency=POLL_INTERVAL_S)
        if receipt["status"] != 1:
            raise RuntimeError("a mint of the web3.py loop was refused")
    return count / (time.monotonic() - start_s)


def ceiling(url: str, contract: str, private_key: str, count: int) -> float:
    """Mints a second when signed transactions are pushed in batches on two connections, until all are mined."""
    node = Web3(Web3.HTTPProvider(url))
    account = Account.from_key(private_key)
    first = node.eth.get_transaction_count(account.address)
    raws = _signed(node, contract, private_key, first, count)
    batches = [raws[start : start + BATCH] for start in range(0, count, BATCH)]
    start_s = time.monotonic()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(lambda lane: _push(url, batches[lane::CONNECTIONS]), range(CONNECTIONS)))
    while node.eth.get_transaction_count(account.address) < first + count:
        if time.monotonic() - start_s > MINED_TIMEOUT_S:
            raise TimeoutError("the node did not mine what was pushed")
        time.sleep(POLL_INTERVAL_S)
    return count / (time.monotonic() - start_s)


def call_latencies_ms(url: str, contract: str, done: Event) -> list[float]:
    """How long the bare node takes for the cheapest call of a contract, one call at a time, until `done` is set."""
    place, latencies_ms = urlsplit(url), []
    connection = http.client.HTTPConnection(place.hostname or "", place.port)
    call = {"to": contract, "data": "0x18160ddd"}  # totalSupply(), ERC-20
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": [call, "latest"]})
    while not done.wait(POLL_INTERVAL_S):
        start_s = time.perf_counter()
        connection.request("POST", "/", body, {"Content-Type": "application/json"})
        if "result" not in json.load(connection.getresponse()):
            raise RuntimeError("the node refused a call")
        latencies_ms.append((time.perf_counter() - start_s) * 1_000)
    connection.close()
    return latencies_ms


def _abi() -> Any:
    return json.loads((ARTIFACTS / "AssetToken.json").read_text())["abi"]


def _signed(node: Web3, contract: str, private_key: str, first: int, count: int) -> list[str]:
    token = node.eth.contract(address=Web3.to_checksum_address(contract), abi=_abi())
    common = {
        "type": 2,
        "chainId": node.eth.chain_id,
        "to": token.address,
        "value": 0,
        "gas": GAS,
        "maxFeePerGas": FEE_WEI,
        "maxPriorityFeePerGas": TIP_WEI,
    }
    raws = []
    for nonce in range(first, first + count):
        arguments = [Web3.to_checksum_address("0x" + secrets.token_hex(20)), 1_000, secrets.token_bytes(32)]
        data = token.encode_abi("mint", arguments)
        signed = Account.sign_transaction({**common, "nonce": nonce, "data": data}, private_key)
        raws.append(signed.raw_transaction.to_0x_hex())
    return raws


def _push(url: str, batches: Sequence[Sequence[str]]) -> None:
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port)
    for batch in batches:
        asked = [
            {"jsonrpc": "2.0", "id": number, "method": "eth_sendRawTransaction", "params": [raw]}
            for number, raw in enumerate(batch)
        ]
        connection.request("POST", "/", json.dumps(asked), {"Content-Type": "application/json"})
        refused = [answer for answer in json.load(connection.getresponse()) if "error" in answer]
        if refused:
            raise RuntimeError(f"the node refused a transaction: {refused[0]['error']['message']}")
    connection.close()
