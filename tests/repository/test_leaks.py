"""A test in which a secret is told fails the run, which says which test and what kind, and not the secret."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import local
from tests import leaks

KEY = "munsk_test_" + "k3Y" * 20
OF_KINDS = {
    "API key": KEY,
    "webhook secret": "whsec_" + "c2VjcmV0" * 4,
    "signature": "sig1=:" + "c2ln" * 20 + ":",
    "wallet's signature": "0x" + "1b" * 65,
    "webhook signature": "v1a," + "c2ln" * 16 + "==",
    "authenticator secret": "otpauth://totp/Muniment%3Aphone?secret=" + "JBSWY3DP" * 4,
    "private key": "-----BEGIN PRIVATE KEY-----",
    "database password": "postgresql://ledger:hunter2@127.0.0.1/ledger",
}

PLANTED = f"""
import logging, subprocess, sys
import pytest

SECRET = {KEY!r}

def test_clean():
    print("munsk_test_ is how a key begins")

def test_output():
    print(SECRET)

def test_failing():
    print(SECRET)
    assert False

def test_log():
    logging.getLogger("a").warning("with %s", SECRET)

@pytest.fixture
def made():
    yield
    sys.stderr.write(SECRET)

def test_end(made):
    pass

def test_read(capsys):
    sys.stderr.write(SECRET)
    assert SECRET in capsys.readouterr().err

PROGRAM = "import os, sys; sys.stderr.write(os.environ['MUNIMENT_API_KEY_PEPPER'])"
GIVEN = {{"MUNIMENT_API_KEY_PEPPER": "a pepper that only this process knows"}}

def test_process():
    subprocess.run([sys.executable, "-c", PROGRAM], env=GIVEN, capture_output=True)

def test_file(tmp_path):
    with (tmp_path / "own.log").open("w") as log:
        subprocess.Popen([sys.executable, "-c", PROGRAM], env=GIVEN, stderr=log).wait()

def test_folder(tmp_path):
    (tmp_path / "logs").mkdir()
    program = PROGRAM + "; sys.stderr = open(sys.argv[1] + '/logs/api.log', 'w'); sys.stderr.write('{KEY}')"
    subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], env=GIVEN, stderr=subprocess.DEVNULL).wait()
"""

EXPECTED = {
    "test_output": "Captured stdout call tells a secret: API key",
    "test_failing": "Captured stdout call tells a secret: API key",
    "test_log": "Captured log call tells a secret: API key",
    "test_end": "Captured stderr teardown tells a secret: API key",
    "test_read": "standard error tells a secret: API key",
    "test_process": "a process tells a secret: secret setting",
    "test_file": "own.log tells a secret: secret setting",
    "test_folder": "api.log tells a secret: API key",
}


def test_a_secret_that_is_told_anywhere_fails_its_test_in_a_worker_too(tmp_path: Path) -> None:
    (tmp_path / "test_planted.py").write_text(PLANTED)
    options = (
        "-p",
        "tests.leaks",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:asyncio",
        "-n",
        "1",
        "-rA",
        "--rootdir",
        str(tmp_path),
    )
    command = [sys.executable, "-m", "pytest", "-c", "/dev/null", *options, str(tmp_path)]
    done = subprocess.run(command, cwd=local.ROOT, stdout=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1, done.stdout
    found = re.findall(
        r"_+ ERROR at teardown of (\w+) _+\n(?:\[gw\d\].*\n)?((?:.+ tells a secret: .+\n)+)", done.stdout
    )
    assert {name: told.splitlines()[0] for name, told in found} == EXPECTED
    assert KEY not in done.stdout
    assert "1 failed, 8 passed, 8 errors" in done.stdout


@pytest.mark.parametrize("kind", leaks.KINDS)
def test_each_kind_of_secret_is_known(kind: str) -> None:
    assert leaks.kinds_in(f"{{'given': '{OF_KINDS[kind]}'}}") == [kind]


@pytest.mark.parametrize(
    "text",
    [
        *("munsk_test_…", "munsk_test_" + "0" * 59, "whsec_…", "whpk_" + "c2ln" * 12, "sig1=()", "v1,short"),
        *(
            "postgresql:///ledger",
            "postgresql://ledger@127.0.0.1/ledger",
            "postgresql://user:password@host/name",
            "-----BEGIN PUBLIC KEY-----",
        ),
    ],
)
def test_what_only_looks_like_a_secret_is_none(text: str) -> None:
    assert leaks.kinds_in(text) == []


def test_settings_that_are_secret_are_found_by_their_type() -> None:
    assert {"api_key_pepper", "api_key_peppers_old", "key_encryption_key", "keystore_password"} <= leaks.NAMES
