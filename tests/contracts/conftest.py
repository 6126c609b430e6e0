"""A real anvil, handed to each test as it was before."""

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from web3 import Web3
from web3.contract import Contract
from web3.types import RPCEndpoint

from tests.contracts.onchain import ROOT, arguments, ask_node, create

BOOT_TIMEOUT_S = 20


def listening_port(log: Path, process: subprocess.Popen[bytes]) -> int:
    """The port that anvil chose, read from its output."""
    end_s = time.monotonic() + BOOT_TIMEOUT_S
    while time.monotonic() < end_s and process.poll() is None:
        if found := re.search(r"Listening on \S+:(\d+)", log.read_text()):
            return int(found[1])
        time.sleep(0.02)
    raise AssertionError(f"anvil did not start:\n{log.read_text()}")


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web3]:
    """An anvil of these tests' own: the one on PATH, else the npm package's."""
    packaged = sorted((ROOT / "contracts" / "node_modules" / "@foundry-rs").glob("anvil-*/bin/anvil*"))
    binary = shutil.which("anvil") or next(map(str, packaged), None)
    assert binary, "anvil is missing: run `npm install` in contracts/"
    log = tmp_path_factory.mktemp("anvil") / "log"  # a pipe that nobody reads stops anvil at 64 KiB
    with log.open("wb") as output:
        process = subprocess.Popen(
            [binary, "--port", "0", "--prune-history", "64"], stdout=output, stderr=subprocess.STDOUT
        )
    try:
        url = f"http://127.0.0.1:{listening_port(log, process)}"
        yield Web3(Web3.HTTPProvider(url, cache_allowed_requests=True, cacheable_requests={RPCEndpoint("eth_chainId")}))
    finally:
        process.terminate()
        process.wait(timeout=10)


@pytest.fixture(scope="session")
def created(node: Web3) -> dict[str, Contract]:
    """An authority, a token under it and a factory, all the first account's; every test finds them untouched."""
    admin = node.eth.accounts[0]
    authority = create(node, "IssuerAuthority", *arguments("IssuerAuthority", "", admin=admin))
    return {
        "IssuerAuthority": authority,
        "AssetFactory": create(node, "AssetFactory", admin),
        "AssetToken": create(node, "AssetToken", *arguments("AssetToken", authority.address)),
    }


@contextmanager
def undone(node: Web3) -> Iterator[Web3]:
    """The node; what is mined meanwhile is undone."""
    taken = ask_node(node, "evm_snapshot")
    yield node
    assert ask_node(node, "evm_revert", taken)


@pytest.fixture
def chain(node: Web3, created: dict[str, Contract]) -> Iterator[Web3]:
    """The node with the contracts created; what the test mines is undone."""
    with undone(node) as chain:
        yield chain


@pytest.fixture
def admin(chain: Web3) -> str:
    """The account that has every role."""
    return str(chain.eth.accounts[0])


@pytest.fixture
def holder(chain: Web3) -> str:
    return str(list(chain.eth.accounts)[1])


@pytest.fixture
def authority(chain: Web3, created: dict[str, Contract]) -> Contract:
    return created["IssuerAuthority"]


@pytest.fixture
def token(chain: Web3, created: dict[str, Contract]) -> Contract:
    return created["AssetToken"]


@pytest.fixture
def factory(chain: Web3, created: dict[str, Contract]) -> Contract:
    return created["AssetFactory"]
