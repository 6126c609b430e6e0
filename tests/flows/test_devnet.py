"""A devnet keeps what it holds, whatever ends it, and says what is in the way when it cannot start."""

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from scripts import local
from tests.flows import devnets

HOLDERS = 3


@pytest.mark.timeout(300)
def test_assets_owners_and_past_blocks_survive_ctrl_c_and_kill_9(place: Path) -> None:
    folder = place / "devnet"
    with devnets.running(folder, "--block-time", "0.2") as devnet:
        devnet.example("tokenize_house.py")
        (token,) = devnet.get("/tokens")["data"]
        past = devnet.get(f"/tokens/{token['id']}/holders")
        assert len(past["data"]) == HOLDERS
        devnet.interrupt()
    assert devnets.left(folder) == []

    with devnets.running(folder) as devnet:
        _assert_same(devnet, token["id"], past)
        devnet.process.kill()
        devnet.process.wait()

    with devnets.running(folder) as devnet:
        _assert_same(devnet, token["id"], past)
        # What was asked before is not done again.
        devnet.example("tokenize_house.py")
        assert devnet.get(f"/tokens/{token['id']}")["total_supply"] == token["total_supply"]
    assert devnets.left(folder) == []


def _assert_same(devnet: devnets.Devnet, token_id: str, past: dict[str, dict[str, object]]) -> None:
    again = devnet.get(f"/tokens/{token_id}/holders", at_block=past["at"]["block"])
    assert again["data"] == past["data"]
    assert again["at"]["hash"] == past["at"]["hash"]
    for options in ([], ["--block", str(past["at"]["block"])]):
        verified = devnet.muniment("verify", "--json", *options)
        assert verified.returncode == 0, verified.stdout + verified.stderr
        assert json.loads(verified.stdout)["differences"] == []


def test_a_devnet_is_alone_on_its_folder_and_ends_when_a_process_dies(place: Path) -> None:
    folder = place / "devnet"
    with devnets.running(folder) as devnet:
        second = subprocess.run(
            devnets.command(folder), cwd=local.ROOT, capture_output=True, text=True, check=False, timeout=30
        )
        assert second.returncode == 1
        assert "another devnet runs on" in second.stderr
        chain = next(pid for name, pid in local.running(folder) if name == "anvil")
        os.kill(chain, signal.SIGKILL)
        assert devnet.process.wait(timeout=30) == 1
        assert "anvil ended with code -9" in (place / "devnet.log").read_text()
    assert devnets.left(folder) == []


def test_a_taken_port_is_named_with_its_option(place: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = devnets.command(place / "devnet", port=port)
        refused = subprocess.run(command, cwd=local.ROOT, capture_output=True, text=True, check=False, timeout=30)
    assert refused.returncode == 1
    assert f"port {port} cannot be used" in refused.stderr
    assert "--port" in refused.stderr
