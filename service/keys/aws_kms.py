"""Signers in AWS KMS: keys of the spec ECC_SECG_P256K1 for SIGN_VERIFY, which never leave it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from service.keys.managed import Signature
from service.keys.signing import (
    ProviderDown,
    ProviderUnusable,
    SignerRefused,
    WrongSignature,
    address_of,
    insist_on_digest,
    verified,
)

_CONNECTIONS_MAX = 50
_PASSING = frozenset(
    {
        *("ThrottlingException", "LimitExceededException", "RequestLimitExceeded", "TooManyRequestsException"),
        *("DependencyTimeoutException", "KeyUnavailableException", "KMSInternalException", "RequestTimeout"),
    }
)
"""Error codes that pass by themselves. Source: AWS KMS API reference, Sign."""


class KmsSigner:
    """A key of AWS KMS."""

    provider = "aws_kms"

    def __init__(self, client: Any, key_id: str, address: bytes) -> None:
        self._client, self._key_id = client, key_id
        self.address = address

    async def sign_digest(self, digest: bytes) -> Signature:
        """See `Signer.sign_digest`; another signature each time, as KMS draws its own nonces."""
        insist_on_digest(digest)
        answer = await asked(
            self._client.sign(
                KeyId=self._key_id, Message=digest, MessageType="DIGEST", SigningAlgorithm="ECDSA_SHA_256"
            )
        )
        try:
            r, s = decode_dss_signature(answer["Signature"])
        except (ValueError, KeyError):
            raise WrongSignature(f"KMS gave no ECDSA signature for 0x{self.address.hex()}") from None
        return verified(self.address, digest, r, s)

    async def health(self) -> None:
        """See `Signer.health`."""
        if await _address(self._client, self._key_id) != self.address:
            raise SignerRefused(f"the KMS key of 0x{self.address.hex()} is another one now")


@asynccontextmanager
async def open_kms(
    key_ids: Sequence[str], *, region: str, endpoint: str | None, timeout_s: float
) -> AsyncIterator[list[KmsSigner]]:
    """The signers behind these key ids, aliases or ARNs; credentials come the way AWS tools find them.

    Args:
        endpoint: in place of the region's own, for instance a VPC endpoint.
        timeout_s: longest wait for a connection, and for an answer; nothing is asked twice.

    Raises:
        ProviderUnusable: no such key, no right to use it, or one of another curve or use.
        ProviderDown: KMS does not answer.
    """
    async with kms_client(region=region, endpoint=endpoint, timeout_s=timeout_s) as client:
        try:
            signers = [KmsSigner(client, key_id, await _address(client, key_id)) for key_id in key_ids]
        except SignerRefused as error:
            raise ProviderUnusable(f"MUNIMENT_KMS_KEY_IDS: {error}") from None
        yield signers


@asynccontextmanager
async def kms_client(*, region: str, endpoint: str | None, timeout_s: float) -> AsyncIterator[Any]:
    """A client of KMS that asks once and does not wait longer than `timeout_s` for a connection, or for an answer."""
    config = AioConfig(
        connect_timeout=timeout_s,
        read_timeout=timeout_s,
        retries={"total_max_attempts": 1},
        max_pool_connections=_CONNECTIONS_MAX,
    )
    session = get_session()
    async with session.create_client("kms", region_name=region, endpoint_url=endpoint, config=config) as client:
        yield client


async def _address(client: Any, key_id: str) -> bytes:
    answer = await asked(client.get_public_key(KeyId=key_id))
    try:
        key = load_der_public_key(answer["PublicKey"])
    except (ValueError, KeyError, UnsupportedAlgorithm):
        raise SignerRefused(f"{key_id} has no public key that can be read") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256K1):
        raise SignerRefused(f"{key_id} is no key of the spec ECC_SECG_P256K1")
    if answer.get("KeyUsage") != "SIGN_VERIFY":
        raise SignerRefused(f"{key_id} is not for signing")
    return address_of(key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))


async def asked(call: Any) -> dict[str, Any]:
    """One answer of KMS, its errors told in our words: theirs may carry the request.

    Raises:
        ProviderDown: none, or one that passes.
        SignerRefused: any other error.
    """
    try:
        answer: dict[str, Any] = await call
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", "unknown"))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
        if code in _PASSING or status >= 500:
            raise ProviderDown(f"KMS cannot answer now: {code}") from None
        raise SignerRefused(f"KMS refuses: {code}") from None
    except (BotoCoreError, OSError, TimeoutError) as error:
        raise ProviderDown(f"KMS does not answer: {type(error).__name__}") from None
    return answer
