"""Signers in AWS KMS, which moto plays over HTTP: what it refuses, and what passes."""

from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from service.keys.aws_kms import KmsSigner, open_kms
from service.keys.signing import ProviderDown, ProviderUnusable, SignerRefused, WrongSignature
from tests.keys.providers import REGION, TIMEOUT_S, in_kms, make_kms_key


class Answering:
    """A client of KMS that gives one answer."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    async def sign(self, **_: Any) -> Any:
        """The answer, raised if it is an error."""
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def error(code: str, status: int) -> ClientError:
    response: Any = {"Error": {"Code": code, "Message": "0xsecret"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "Sign")


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (error("ThrottlingException", 400), ProviderDown),
        (error("KeyUnavailableException", 500), ProviderDown),
        (error("SomethingNew", 503), ProviderDown),
        (EndpointConnectionError(endpoint_url="http://secret"), ProviderDown),
        (TimeoutError(), ProviderDown),
        (error("DisabledException", 400), SignerRefused),
        (error("AccessDeniedException", 400), SignerRefused),
        (error("KMSInvalidStateException", 400), SignerRefused),
        ({"Signature": b"no DER"}, WrongSignature),
        ({}, WrongSignature),
    ],
)
async def test_the_words_of_kms_are_final_or_not(answer: Any, told: type[Exception]) -> None:
    with pytest.raises(told) as raised:
        await KmsSigner(Answering(answer), "key", bytes(20)).sign_digest(bytes(32))
    assert type(raised.value) is told
    assert "secret" not in str(raised.value)


async def test_a_key_of_another_curve_is_told(kms: int) -> None:
    key_id = await make_kms_key(kms, spec="ECC_NIST_P256")
    with pytest.raises(ProviderUnusable, match="ECC_SECG_P256K1"):
        async with open_kms([key_id], region=REGION, endpoint=f"http://127.0.0.1:{kms}", timeout_s=TIMEOUT_S):
            pass


async def test_a_key_that_is_not_there_is_told_by_the_setting(kms: int) -> None:
    with pytest.raises(ProviderUnusable, match="MUNIMENT_KMS_KEY_IDS"):
        async with open_kms(["nobody"], region=REGION, endpoint=f"http://127.0.0.1:{kms}", timeout_s=TIMEOUT_S):
            pass


async def test_a_kms_that_does_not_answer_at_start_is_down(kms: int) -> None:
    with pytest.raises(ProviderDown):
        async with open_kms(["any"], region=REGION, endpoint="http://127.0.0.1:1", timeout_s=TIMEOUT_S):
            pass


async def test_a_signature_by_another_key_is_not_handed_out(kms: int) -> None:
    async with in_kms(kms) as there:
        assert isinstance(there.signer, KmsSigner)
        there.signer._key_id = await make_kms_key(kms)
        with pytest.raises(WrongSignature):
            await there.signer.sign_digest(bytes(32))
        with pytest.raises(SignerRefused, match="another one"):
            await there.signer.health()
