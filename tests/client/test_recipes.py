"""What the README shows is run as it is written there, against a server that verifies with another's code."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from scripts import local
from scripts.setup import node_folder
from tests.client.servers import Heard, Said, problem, serving, told, verified
from tests.client.test_signing import KEY

README = (local.ROOT / "service" / "client" / "README.md").read_text()
ASSET = {
    "id": "0199f6b1-0f55-7b3e-9d3e-6a1f5b8e2c01",
    "name": "12 Harbour Street",
    "category": "house",
    "description": "",
    "created_at": "2026-11-22T16:00:00Z",
}


def command(language: str, folder: Path) -> list[str]:
    """How the README's first block in a language is run."""
    block = re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)[0]
    node = node_folder()
    assert node is not None, "set-up brings Node.js"
    runner = {"python": sys.executable, "sh": "sh", "js": str(node / "node")}[language]
    file = folder / f"recipe.{ {'js': 'mjs'}.get(language, language) }"
    file.write_text(block)
    return [runner, str(file)]


@pytest.mark.parametrize("language", ["python", "sh", "js"])
def test_a_recipe_of_the_readme_sends_a_request_that_is_signed_well(language: str, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    key.write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    key_ids: list[str] = []

    def answer(heard: Heard) -> Said:
        key_ids.append(verified(heard, server.url, KEY.public_key())["keyid"])
        return told(ASSET, 201) if heard.path == "/v1/assets" else problem("route-not-found", 404)

    with serving(answer) as server:
        named = {"MUNIMENT_URL": server.url, "MUNIMENT_SIGNING_KEY": str(key), "MUNIMENT_SIGNING_KEY_ID": "Ed9KpQ2mZr1"}
        environment = {**os.environ, **named, "PYTHONPATH": str(local.ROOT)}
        asked = command(language, tmp_path)
        run = subprocess.run(asked, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert run.returncode == 0, run.stderr
        assert ASSET["id"] in run.stdout
        assert key_ids == ["Ed9KpQ2mZr1"]
        assert 32 <= len(server.heard[0].headers["idempotency-key"]) <= 36
