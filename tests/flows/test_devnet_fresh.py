"""What a devnet prints is so: docs without CDN, ether on the accounts, a key that opens. `--fresh` begins anew."""

import re
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx

from tests.flows import devnets
from tests.rpc import rpc

ETHER = 10**18
ACCOUNTS = 3
HOUSE = {"name": "12 Harbour Street", "category": "house"}


def test_fresh_begins_empty_even_after_a_kill_and_all_that_is_printed_is_so(place: Path) -> None:
    folder = place / "devnet"
    with devnets.running(folder, "--block-time", "0.5") as devnet:
        _register(devnet)
        assert len(devnet.get("/assets")["data"]) == 1
        before, old_key = _genesis(place), devnet.key
        devnet.process.kill()
        devnet.process.wait()

    with devnets.running(folder, "--fresh", "--block-time", "0.5") as devnet:
        for path in ("/assets", "/tokens", "/operations", "/accounts"):
            assert devnet.get(path)["data"] == []
        assert devnet.key != old_key
        assert _status(devnet.url, old_key) == 401
        assert _genesis(place) != before
        _assert_docs_from_here(place)
        _assert_accounts_hold_ether(place)
        _register(devnet)
    assert devnets.left(folder) == []


def _register(devnet: devnets.Devnet) -> None:
    headers = {"Authorization": f"Bearer {devnet.key}", "Idempotency-Key": "house"}
    answer = httpx.post(f"{devnet.url}/v1/assets", headers=headers, json=HOUSE)
    assert answer.status_code == 201, answer.text


def _status(url: str, key: str) -> int:
    return httpx.get(f"{url}/v1/assets", headers={"Authorization": f"Bearer {key}"}).status_code


def _printed(place: Path, pattern: str) -> list[str]:
    """What the devnet printed, by pattern."""
    found: list[str] = re.findall(pattern, (place / "devnet.log").read_text())
    assert found, pattern
    return found


def _chain_url(place: Path) -> str:
    return _printed(place, r"chain +(http\S+)")[0]


def _genesis(place: Path) -> str:
    """The hash of the chain's first block, which names when it began."""
    return str(rpc(_chain_url(place), "eth_getBlockByNumber", "0x0", False)["hash"])


def _assert_docs_from_here(place: Path) -> None:
    (url,) = _printed(place, r"interactive docs +(http\S+)")
    with httpx.Client(verify=False) as http:
        page = http.get(url)
        assert page.status_code == 200
        parts = re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=[\"']([^\"']+)", page.text)
        assert any(part.endswith(".js") for part in parts)
        for part in parts:
            address = urljoin(url, part)
            assert urlsplit(address).netloc == urlsplit(url).netloc
            assert http.get(address).status_code == 200, address
        (document,) = re.findall(r"url: *['\"]([^'\"]+)", page.text)
        assert http.get(urljoin(url, document)).json()["info"]["title"] == "Muniment"


def _assert_accounts_hold_ether(place: Path) -> None:
    accounts = _printed(place, r"account \d +(0x[0-9a-fA-F]{40})")
    assert len(accounts) == ACCOUNTS
    for account in accounts:
        assert int(rpc(_chain_url(place), "eth_getBalance", account, "latest"), 16) > 9_000 * ETHER
