"""Webhooks' secrets at rest: under a key that is derived from MUNIMENT_KEY_ENCRYPTION_KEY for them alone."""

import base64
import os
from dataclasses import dataclass, field
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from pydantic import SecretStr

from service.keys.wrapping_local import opened_key, sealed_key
from service.webhooks.signing import KEY_BYTES, Secrets

_DERIVED = b"muniment webhook secrets 1"


@dataclass(frozen=True, slots=True)
class Sealed:
    """One version of a webhook's secrets as a row stores it."""

    hmac: bytes = field(repr=False)
    private: bytes = field(repr=False)


class Sealer:
    """Seals secrets, bound to their webhook and version, so that no row can stand in another's place."""

    def __init__(self, key_encryption_key: SecretStr) -> None:
        given = base64.b64decode(key_encryption_key.get_secret_value(), validate=True)
        self._cipher = AESGCM(HKDF(SHA256(), KEY_BYTES, salt=None, info=_DERIVED).derive(given))

    def seal(self, secrets: Secrets, webhook_id: UUID, version: int) -> Sealed:
        """Secrets for a row."""
        return Sealed(
            sealed_key(self._cipher, secrets.hmac_key, _associated(webhook_id, version, "v1")),
            sealed_key(self._cipher, secrets.private_key, _associated(webhook_id, version, "v1a")),
        )

    def open(self, sealed: Sealed, webhook_id: UUID, version: int) -> Secrets:
        """Secrets of a row.

        Raises:
            KeyAltered: the row was altered, or sealed under another key-encryption key.
        """
        return Secrets(
            opened_key(self._cipher, sealed.hmac, _associated(webhook_id, version, "v1")),
            opened_key(self._cipher, sealed.private, _associated(webhook_id, version, "v1a")),
        )


def make() -> Secrets:
    """Fresh secrets."""
    return Secrets(os.urandom(KEY_BYTES), os.urandom(KEY_BYTES))


def _associated(webhook_id: UUID, version: int, use: str) -> bytes:
    return f"muniment webhook secret 1|{webhook_id}|{version}|{use}".encode()
