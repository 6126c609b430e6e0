"""Key-encryption keys in this process's memory, from a file or from the environment."""

import base64
import hashlib
import hmac
import os
import stat
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import SecretStr

from service.keys.signing import ProviderUnusable
from service.keys.wrapping import KEY_BYTES, KeyAltered, KeyContext, WrappedKey, insist_on_key, prove

_FORMAT = b"\x01"  # AES-256-GCM with a random 96-bit nonce before the ciphertext
_NONCE_BYTES = 12
_DERIVED = b"muniment vault key-encryption key 1"


class LocalKey:
    """A key of this process; its name has a check value, so that another key is never taken for it."""

    def __init__(self, kind: str, key: bytes) -> None:
        insist_on_key(key)
        self._cipher = AESGCM(key)
        self.name = f"{kind}:{hmac.digest(key, b'muniment key check 1', 'sha256')[:8].hex()}"

    async def wrap(self, key: bytes, context: KeyContext) -> WrappedKey:
        """See `KeyEncryptionKey.wrap`."""
        insist_on_key(key)
        return WrappedKey(self.name, "1", sealed_key(self._cipher, key, context.encoded()))

    async def unwrap(self, wrapped: WrappedKey, context: KeyContext) -> bytes:
        """See `KeyEncryptionKey.unwrap`."""
        return opened_key(self._cipher, wrapped.sealed, context.encoded())

    async def health(self) -> None:
        """See `KeyEncryptionKey.health`."""
        await prove(self)

    def __repr__(self) -> str:
        return f"LocalKey({self.name})"

    def __reduce__(self) -> str:
        raise TypeError("a key never leaves its process")


def sealed_key(cipher: AESGCM, key: bytes, associated: bytes) -> bytes:
    """A key under another one, bound to associated data: format, nonce, ciphertext and tag."""
    nonce = os.urandom(_NONCE_BYTES)
    return _FORMAT + nonce + cipher.encrypt(nonce, key, associated)


def opened_key(cipher: AESGCM, sealed: bytes, associated: bytes) -> bytes:
    """What `sealed_key` sealed with the same associated data.

    Raises:
        KeyAltered: it does not open.
    """
    try:
        if sealed[:1] != _FORMAT:
            raise ValueError("another format")
        return cipher.decrypt(sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :], associated)
    except (InvalidTag, ValueError):
        raise KeyAltered("a wrapped key was altered, cut short, or belongs to another context or key") from None


def from_environment(secret: SecretStr) -> LocalKey:
    """The key that is derived from MUNIMENT_KEY_ENCRYPTION_KEY, so that neither use of it can read the other's.

    Source: RFC 5869, with one block of output.
    """
    prk = hmac.digest(bytes(hashlib.sha256().digest_size), base64.b64decode(secret.get_secret_value()), "sha256")
    return LocalKey("environment", hmac.digest(prk, _DERIVED + b"\x01", "sha256"))


def from_file(path: Path) -> LocalKey:
    """The key of a file: 32 bytes, readable by its owner alone.

    Raises:
        ProviderUnusable: no such file, open to others, or of another length.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            key = file.read(KEY_BYTES + 1)
    except OSError as error:
        raise ProviderUnusable(f"MUNIMENT_VAULT_KEK: {path} cannot be read: {error.strerror}") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ProviderUnusable(f"MUNIMENT_VAULT_KEK: {path} is open to others on this machine: make its mode 0600")
    if len(key) != KEY_BYTES:
        raise ProviderUnusable(f"MUNIMENT_VAULT_KEK: {path} has not {KEY_BYTES} bytes, as `openssl rand 32` gives them")
    return LocalKey("file", key)


def create_file(path: Path) -> str:
    """Make a key and its file, readable by its owner alone. Returns the key's name.

    Raises:
        ProviderUnusable: there is a file already, which is never written over, or none can be made.
    """
    key = os.urandom(KEY_BYTES)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise ProviderUnusable(f"{path} is there already: choose another name") from None
    except OSError as error:
        raise ProviderUnusable(f"{path} cannot be written: {error.strerror}") from None
    return LocalKey("file", key).name
