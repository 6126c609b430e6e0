"""A keystore password and a key-encryption key for tests."""

import base64

import pytest
from pydantic import SecretStr

KDF_ITERATIONS = 2  # the file format is under test, not the patience of a guesser


@pytest.fixture
def password() -> SecretStr:
    return SecretStr("correct horse battery staple")


@pytest.fixture
def kek() -> SecretStr:
    return SecretStr(base64.b64encode(bytes(range(32))).decode())
