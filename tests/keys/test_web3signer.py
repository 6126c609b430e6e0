"""Signers of a web3signer server: what it may answer, and what is believed of that."""

import pytest
from coincurve import PrivateKey
from pydantic import SecretStr

from service.keys.signing import ProviderDown, ProviderUnusable, SignerRefused, WrongSignature
from service.keys.web3signer import open_web3signer
from tests.keys.providers import TIMEOUT_S, started_web3signer


def url(port: int) -> SecretStr:
    return SecretStr(f"http://someone:hidden@127.0.0.1:{port}/")


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (500, ProviderDown),
        (503, ProviderDown),
        (429, ProviderDown),
        (400, SignerRefused),
        (403, SignerRefused),
        (404, SignerRefused),
        (302, SignerRefused),
    ],
)
async def test_a_status_is_final_or_not(status: int, told: type[Exception]) -> None:
    async with started_web3signer() as server, open_web3signer(url(server.port), timeout_s=TIMEOUT_S) as [signer]:
        server.status = status
        with pytest.raises(told) as raised:
            await signer.sign_digest(bytes(32))
        assert type(raised.value) is told
        assert "hidden" not in str(raised.value) + repr(signer)
        with pytest.raises(told):
            await signer.health()
        server.status = 200
        await signer.sign_digest(bytes(32))


@pytest.mark.parametrize("answer", ["", "0x", "0x00", "no hex", "0x" + "00" * 65, "0x" + "ff" * 65, "0x" + "11" * 64])
async def test_what_is_no_signature_is_not_handed_out(answer: str) -> None:
    async with started_web3signer() as server, open_web3signer(url(server.port), timeout_s=TIMEOUT_S) as [signer]:
        server.answer = answer
        with pytest.raises(WrongSignature):
            await signer.sign_digest(bytes(32))


async def test_a_signature_of_another_digest_is_not_handed_out() -> None:
    async with started_web3signer() as server, open_web3signer(url(server.port), timeout_s=TIMEOUT_S) as [signer]:
        other = server.key.sign_recoverable(b"\x01" * 32, hasher=None)
        server.answer = "0x" + (other[:64] + bytes([27 + other[64]])).hex()
        with pytest.raises(WrongSignature):
            await signer.sign_digest(bytes(32))


async def test_a_signature_by_another_key_is_not_handed_out() -> None:
    async with started_web3signer() as server, open_web3signer(url(server.port), timeout_s=TIMEOUT_S) as [signer]:
        other = PrivateKey().sign_recoverable(bytes(32), hasher=None)
        server.answer = "0x" + (other[:64] + bytes([27 + other[64]])).hex()
        with pytest.raises(WrongSignature):
            await signer.sign_digest(bytes(32))


async def test_a_server_that_hashes_again_is_not_believed() -> None:
    async with started_web3signer() as server, open_web3signer(url(server.port), timeout_s=TIMEOUT_S) as [signer]:
        server.knows_apply_hash = False
        with pytest.raises(WrongSignature):
            await signer.sign_digest(bytes(32))


async def test_an_answer_without_end_is_given_up() -> None:
    async with started_web3signer() as server, open_web3signer(url(server.port), timeout_s=TIMEOUT_S) as [signer]:
        server.answer = "0" * (2 << 20)
        with pytest.raises(SignerRefused):
            await signer.sign_digest(bytes(32))


async def test_a_key_that_is_gone_is_a_final_word() -> None:
    async with started_web3signer() as server, open_web3signer(url(server.port), timeout_s=TIMEOUT_S) as [signer]:
        server.key = PrivateKey()
        with pytest.raises(SignerRefused, match="HTTP 404"):
            await signer.sign_digest(bytes(32))
        with pytest.raises(SignerRefused, match="no longer"):
            await signer.health()


async def test_a_server_that_speaks_another_language_is_told_by_the_setting() -> None:
    async with started_web3signer() as server:
        server.status = 404
        with pytest.raises(ProviderUnusable, match="MUNIMENT_WEB3SIGNER_URL") as raised:
            async with open_web3signer(url(server.port), timeout_s=TIMEOUT_S):
                pass
        assert "hidden" not in str(raised.value)


async def test_a_server_that_does_not_answer_at_start_is_down() -> None:
    with pytest.raises(ProviderDown) as raised:
        async with open_web3signer(url(1), timeout_s=TIMEOUT_S):
            pass
    assert "hidden" not in str(raised.value)
