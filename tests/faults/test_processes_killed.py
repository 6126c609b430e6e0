"""All processes under load, each killed in turn, and the chain reorganised under them: one effect for each request."""

import tempfile
import threading
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from web3 import Web3

from scripts.client import Client
from scripts.local import wait_for
from scripts.stack import Stack
from service.chain import artifacts
from tests.rpc import rpc

REQUESTS = 40
KILLED = ("sender", "indexer", "dispatcher", "api", "sender")
TIMEOUT_S = 60.0


@pytest.fixture
def stack() -> Iterator[Stack]:
    """A whole system in a folder of its own."""
    started = Stack(
        Path(tempfile.mkdtemp(prefix="muniment-faults-")), finality="depth:4", block_time_s=0.25, throw_away=True
    )
    try:
        started.start(lambda _: None)
        yield started
    finally:
        started.stop()


def insist(client: Client, path: str, key: str, body: dict[str, Any]) -> Any:
    """What a careful client does: the same request under the same key until there is an answer."""
    end_s = time.monotonic() + TIMEOUT_S
    while True:
        try:
            return client.post(path, key, body)
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            assert time.monotonic() < end_s, f"{path} is not answered"
            time.sleep(0.05)


def test_one_effect_for_each_request_while_everything_is_killed_in_turn(stack: Stack) -> None:
    client = Client(stack.api_url, stack.api_key())
    insist(client, "/authority", "authority", {})
    client.wait("/roles", lambda page: page["data"] != [], what="the authority")
    asset = insist(client, "/assets", "asset", {"name": "12 Harbour Street", "category": "house"})
    deployment = insist(client, "/tokens", "token", {"asset_id": asset["id"], "name": "Harbour", "symbol": "HARB"})
    token = f"/tokens/{deployment['token_id']}"
    holder = insist(client, "/accounts", "holder", {})["address"]
    client.wait(token, lambda found: found["status"] == "active", what="the token")
    accepted: list[str] = []

    def ask() -> None:
        for number in range(1, REQUESTS + 1):
            answer = insist(client, f"{token}/mint", f"mint-{number}", {"to": holder, "amount": str(number)})
            accepted.append(answer["id"])
            time.sleep(0.1)

    asking = threading.Thread(target=ask)
    asking.start()
    for name in KILLED:
        time.sleep(0.5)
        stack.processes[name].kill()
        rpc(stack.settings["MUNIMENT_RPC_URL"], "anvil_reorg", 2, [])
        stack.start_process(name)
    asking.join(timeout=TIMEOUT_S)
    assert len(set(accepted)) == REQUESTS
    finished = wait_for(lambda: all_closed(client, accepted), what="the end of all operations", timeout_s=TIMEOUT_S)
    assert {each["status"] for each in finished} == {"succeeded"}
    minted = sum(range(1, REQUESTS + 1))
    contract = Web3(Web3.HTTPProvider(stack.settings["MUNIMENT_RPC_URL"])).eth.contract(
        Web3.to_checksum_address(deployment["contract"]), abi=list(artifacts.load("AssetToken").abi)
    )
    assert contract.functions.totalSupply().call() == minted
    block = max(each["transaction"]["block"] for each in finished)
    assert client.get(f"{token}/holders/{holder}", min_block=block)["amount"] == str(minted)
    code, told = stack.run("verify")
    assert code == 0, told


def all_closed(client: Client, ids: list[str]) -> list[Any] | None:
    """The operations, once none is pending."""
    try:
        found = [client.get(f"/operations/{each}") for each in ids]
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return None
    return found if all(each["status"] != "pending" for each in found) else None
