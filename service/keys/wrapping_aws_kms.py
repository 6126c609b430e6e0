"""A key-encryption key in AWS KMS: a symmetric key, with the context as its EncryptionContext."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from botocore.exceptions import ClientError

from service.keys.aws_kms import asked, kms_client
from service.keys.signing import SignerRefused
from service.keys.wrapping import (
    KeyAltered,
    KeyContext,
    KeyRefused,
    WrappedKey,
    insist_on_key,
    prove,
    unwrapped,
)
from service.keys.wrapping_http import answered_within

_DOES_NOT_OPEN = ("InvalidCiphertextException", "IncorrectKeyException")


class KmsKey:
    """A symmetric key of AWS KMS; KMS itself knows which of its versions wrapped what."""

    def __init__(self, client: Any, key_id: str, *, timeout_s: float) -> None:
        self._client, self._key_id, self._timeout_s = client, key_id, timeout_s
        self.name = f"aws-kms:{key_id}"

    async def wrap(self, key: bytes, context: KeyContext) -> WrappedKey:
        """See `KeyEncryptionKey.wrap`. Source: AWS KMS API reference, Encrypt."""
        insist_on_key(key)
        answer = await self._ask(
            self._client.encrypt(KeyId=self._key_id, Plaintext=key, EncryptionContext=_told(context))
        )
        return WrappedKey(self.name, "", bytes(answer["CiphertextBlob"]))

    async def unwrap(self, wrapped: WrappedKey, context: KeyContext) -> bytes:
        """See `KeyEncryptionKey.unwrap`. Source: AWS KMS API reference, Decrypt."""
        question = self._client.decrypt(
            KeyId=self._key_id, CiphertextBlob=wrapped.sealed, EncryptionContext=_told(context)
        )
        return unwrapped(self.name, bytes((await self._ask(question))["Plaintext"]))

    async def health(self) -> None:
        """See `KeyEncryptionKey.health`."""
        await prove(self)

    async def _ask(self, call: Any) -> dict[str, Any]:
        async with answered_within(self._timeout_s, self.name):
            try:
                return await asked(_opening(call, self.name))
            except SignerRefused as error:
                raise KeyRefused(f"{self.name}: {error}") from None

    def __repr__(self) -> str:
        return f"KmsKey({self.name})"


@asynccontextmanager
async def open_kms_key(key_id: str, *, region: str, endpoint: str | None, timeout_s: float) -> AsyncIterator[KmsKey]:
    """A key of AWS KMS by its id, alias or ARN; credentials come the way AWS tools find them.

    Args:
        endpoint: in place of the region's own, for instance a VPC endpoint.
        timeout_s: longest wait for an answer, connecting included; nothing is asked twice.
    """
    async with kms_client(region=region, endpoint=endpoint, timeout_s=timeout_s) as client:
        yield KmsKey(client, key_id, timeout_s=timeout_s)


async def _opening(call: Any, name: str) -> Any:
    try:
        return await call
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in _DOES_NOT_OPEN:
            raise KeyAltered(f"a key that {name} wrapped was altered, or belongs to another context") from None
        raise


def _told(context: KeyContext) -> dict[str, str]:
    return {f"muniment-{name}": text for name, text in context.fields().items()}
