"""`muniment call` and its kin sign every request where the environment names a key."""

import json
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from typer.testing import CliRunner, Result

from service.cli.command import app
from tests.client.servers import Heard, Said, serving, told, verified
from tests.client.test_signing import KEY

CALL = {"operationId": "ask_it", "security": [{"ApiKey": []}]}
DOCUMENT = {"paths": {"/it": {"get": CALL}}}


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A private key's file."""
    file = tmp_path / "key.pem"
    file.write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    file.chmod(stat.S_IRUSR)
    return file


def call(url: str, **environment: str) -> Result:
    given = {f"MUNIMENT_{name}": value for name, value in environment.items()}
    return CliRunner().invoke(app, ["call", "ask_it", "--json"], env={"MUNIMENT_URL": url, **given})


def test_every_request_is_signed_and_the_api_key_stays_at_home(key: Path) -> None:
    def answer(heard: Heard) -> Said:
        if heard.path == "/openapi.json":
            return told(DOCUMENT)
        verified(heard, server.url, KEY.public_key())
        return told({"authorization": heard.headers.get("authorization")})

    with serving(answer) as server:
        named = {"SIGNING_KEY": str(key), "SIGNING_KEY_ID": "Ed9KpQ2mZr1", "API_KEY": "munsk_test_secret"}
        ended = call(server.url, **named)
        assert ended.exit_code == 0, (ended.output, ended.exception)
        assert json.loads(ended.stdout) == {"authorization": None}


def test_a_signing_key_that_is_none_is_one_sentence_and_nothing_is_sent(key: Path, tmp_path: Path) -> None:
    other = tmp_path / "rsa.pem"
    rsa = generate_private_key(65537, 1024)
    other.write_bytes(rsa.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with serving(lambda _: told(DOCUMENT)) as server:
        for environment, sentence in (
            ({"SIGNING_KEY": str(key)}, "set both"),
            ({"SIGNING_KEY_ID": "Ed9KpQ2mZr1"}, "set both"),
            ({"SIGNING_KEY": str(tmp_path / "none"), "SIGNING_KEY_ID": "k"}, "can't be read"),
            ({"SIGNING_KEY": str(other), "SIGNING_KEY_ID": "k"}, "MUNIMENT_SIGNING_KEY: an Ed25519 key is"),
            ({"SIGNING_KEY": str(key), "SIGNING_KEY_ID": "two words"}, "a key id is"),
        ):
            assert sentence in str(call(server.url, **environment).exception)
        assert server.heard == []
