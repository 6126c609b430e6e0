"""Secrets of HMAC credentials at rest: encrypted, since whoever checks an HMAC must have what made it. Pure."""

import base64
import binascii
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr

SECRET_BYTES = 32

_ASSOCIATED = b"muniment signing secret 1|"
_NONCE_BYTES = 12


class SecretUnreadable(Exception):
    """A sealed secret does not open: another key-encryption key, another credential's row, or an altered one."""


def new_secret() -> bytes:
    """A fresh secret to sign with."""
    return secrets.token_bytes(SECRET_BYTES)


def sealed(kek: SecretStr, credential_id: str, secret: bytes) -> bytes:
    """A secret under AES-256-GCM, bound to its credential: nonce, ciphertext and tag.

    Args:
        kek: the key-encryption key, 32 bytes in base64.

    Source: NIST SP 800-38D.
    """
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + _cipher(kek).encrypt(nonce, secret, _ASSOCIATED + credential_id.encode())


def opened(kek: SecretStr, credential_id: str, stored: bytes) -> bytes:
    """What `sealed` sealed.

    Raises:
        SecretUnreadable: it does not open.
    """
    try:
        associated = _ASSOCIATED + credential_id.encode()
        return _cipher(kek).decrypt(stored[:_NONCE_BYTES], stored[_NONCE_BYTES:], associated)
    except (InvalidTag, ValueError):  # the latter for a row cut short
        raise SecretUnreadable(f"the secret of credential {credential_id} does not open") from None


def _cipher(kek: SecretStr) -> AESGCM:
    try:
        return AESGCM(base64.b64decode(kek.get_secret_value(), validate=True))
    except binascii.Error:
        raise ValueError("the key-encryption key is 32 bytes in base64") from None
