"""A key-encryption key in an HSM: AES-256-GCM by PKCS#11, with a key that cannot be read out."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11 import exceptions as words
from pkcs11.mechanisms import GCMParams
from pydantic import SecretStr

from service.keys.pkcs11 import Token, load
from service.keys.signing import SignerRefused
from service.keys.wrapping import (
    KEY_BYTES,
    KeyAltered,
    KeyContext,
    KeyRefused,
    WrappedKey,
    insist_on_key,
    prove,
    unwrapped,
)

_FORMAT = b"\x01"
_NONCE_BYTES, _TAG_BYTES = 12, 16
_DOES_NOT_OPEN = (
    words.EncryptedDataInvalid,
    words.EncryptedDataLenRange,
    words.SignatureInvalid,
    words.DataInvalid,
)


class Pkcs11Key:
    """An AES key of a token, found by its label."""

    def __init__(self, token: Token, token_label: str, label: str) -> None:
        self._token, self._label = token, label
        self._found: tuple[Any, Any] = (None, None)  # a session, and the key in it
        self.name = f"pkcs11:{token_label}/{label}"

    async def wrap(self, key: bytes, context: KeyContext) -> WrappedKey:
        """See `KeyEncryptionKey.wrap`."""
        insist_on_key(key)
        nonce = os.urandom(_NONCE_BYTES)
        parameters = GCMParams(nonce, context.encoded(), 8 * _TAG_BYTES)

        def work() -> bytes:
            made: bytes = self._key().encrypt(key, mechanism=Mechanism.AES_GCM, mechanism_param=parameters)
            return made

        return WrappedKey(self.name, "1", _FORMAT + nonce + await self._run(work))

    async def unwrap(self, wrapped: WrappedKey, context: KeyContext) -> bytes:
        """See `KeyEncryptionKey.unwrap`."""
        sealed = wrapped.sealed
        if sealed[:1] != _FORMAT or len(sealed) <= 1 + _NONCE_BYTES + _TAG_BYTES:
            raise KeyAltered(f"a key that {self.name} wrapped was altered or cut short")
        nonce, ciphertext = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        parameters = GCMParams(nonce, context.encoded(), 8 * _TAG_BYTES)

        def work() -> bytes | None:
            found = self._key()
            try:
                made: bytes = found.decrypt(
                    ciphertext,
                    mechanism=Mechanism.AES_GCM,
                    mechanism_param=parameters,
                )
            except _DOES_NOT_OPEN:
                return None
            except words.GeneralError:
                # SoftHSM says so of a tag that does not fit, and any module of trouble: a key that works tells which.
                if _works(found):
                    return None
                raise
            return made

        key = await self._run(work)
        if key is None:
            raise KeyAltered(f"a key that {self.name} wrapped was altered, or belongs to another context")
        return unwrapped(self.name, key)

    async def health(self) -> None:
        """See `KeyEncryptionKey.health`."""
        await prove(self)

    async def _run(self, work: Any) -> Any:
        try:
            return await self._token.run(work)
        except SignerRefused as error:
            raise KeyRefused(str(error)) from None

    def _key(self) -> Any:
        session = self._token.session()
        if self._found[0] is session:
            return self._found[1]
        found = list(
            session.get_objects(
                {
                    Attribute.CLASS: ObjectClass.SECRET_KEY,
                    Attribute.KEY_TYPE: KeyType.AES,
                    Attribute.LABEL: self._label,
                }
            )
        )
        if len(found) != 1:
            raise SignerRefused(f"{self.name}: the token has {len(found)} AES keys of that label, and needs one")
        (key,) = found
        if key[Attribute.VALUE_LEN] != KEY_BYTES:
            raise SignerRefused(f"{self.name}: the key is not one of {8 * KEY_BYTES} bits")
        if key[Attribute.EXTRACTABLE] or not key[Attribute.SENSITIVE]:
            raise SignerRefused(f"{self.name}: the key may leave the token: make a sensitive one, not extractable")
        self._found = session, key
        return key

    def __repr__(self) -> str:
        return f"Pkcs11Key({self.name})"


@asynccontextmanager
async def open_pkcs11_key(
    module: Path, token_label: str, pin: SecretStr, label: str, *, timeout_s: float
) -> AsyncIterator[Pkcs11Key]:
    """A token's AES key of 256 bits by its label. The token is asked when the key is used, so it may be down now.

    Raises:
        ProviderUnusable: no such module.
    """
    load(module)
    token = Token(module, token_label, pin, timeout_s=timeout_s)
    try:
        yield Pkcs11Key(token, token_label, label)
    finally:
        await token.close()


def _works(key: Any) -> bool:
    parameters = GCMParams(os.urandom(_NONCE_BYTES), b"", 8 * _TAG_BYTES)
    made = key.encrypt(bytes(KEY_BYTES), mechanism=Mechanism.AES_GCM, mechanism_param=parameters)
    opened: bytes = key.decrypt(made, mechanism=Mechanism.AES_GCM, mechanism_param=parameters)
    return opened == bytes(KEY_BYTES)
