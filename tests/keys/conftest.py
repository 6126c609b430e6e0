"""A keystore password, a key-encryption key, and every provider of signatures."""

import base64
from collections.abc import AsyncIterator, Iterator

import pytest
from pydantic import SecretStr

from service.keys.signing import Signer
from tests.keys.providers import (
    Hsm,
    Place,
    in_hsm,
    in_keystore,
    in_kms,
    in_web3signer,
    started_hsm,
    started_kms,
)

KDF_ITERATIONS = 2  # the file format is under test, not the patience of a guesser


@pytest.fixture
def password() -> SecretStr:
    return SecretStr("correct horse battery staple")


@pytest.fixture
def kek() -> SecretStr:
    return SecretStr(base64.b64encode(bytes(range(32))).decode())


@pytest.fixture(scope="session")
def hsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hsm]:
    """A real SoftHSM with a token; a process loads the module once."""
    with started_hsm(tmp_path_factory.mktemp("softhsm")) as started:
        yield started


@pytest.fixture(scope="session")
def kms_server() -> Iterator[int]:
    """The port of a KMS."""
    with started_kms() as port:
        yield port


@pytest.fixture
def kms(kms_server: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """The port of a KMS, with credentials in the environment."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    return kms_server


@pytest.fixture(params=["pkcs11", "aws_kms", "web3signer"])
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    """Each provider that is not in this process."""
    if request.param == "pkcs11":
        opened = in_hsm(request.getfixturevalue("hsm"))
    elif request.param == "aws_kms":
        opened = in_kms(request.getfixturevalue("kms"))
    else:
        opened = in_web3signer()
    async with opened as there:
        yield there


@pytest.fixture(params=["keystore", "pkcs11", "aws_kms", "web3signer"])
async def signer(request: pytest.FixtureRequest) -> AsyncIterator[Signer]:
    """Each provider's signer."""
    if request.param == "keystore":
        async with in_keystore() as local:
            yield local
    elif request.param == "pkcs11":
        async with in_hsm(request.getfixturevalue("hsm")) as there:
            yield there.signer
    elif request.param == "aws_kms":
        async with in_kms(request.getfixturevalue("kms")) as there:
            yield there.signer
    else:
        async with in_web3signer() as there:
            yield there.signer
