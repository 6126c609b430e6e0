"""Signers in V3 keystore files, decrypted once at start."""

import json
import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from coincurve import PrivateKey, PublicKey
from pydantic import SecretStr

from service.keys.managed import Signature
from service.keys.signing import ProviderUnusable, WrongSignature, address_of, insist_on_digest

KDF_ITERATIONS = 262_144
"""PBKDF2 rounds of a new file: slow for whoever guesses passwords. Source: Web3 Secret Storage, version 3."""

_FILE_BYTES_MAX = 65_536


class KeystoreError(ProviderUnusable):
    """The keystore cannot be used as it is; the message says which file and why, never a secret."""


class LocalSigner:
    """A key in this process's memory: it signs without waiting, and the same signature every time (RFC 6979)."""

    provider = "keystore"

    def __init__(self, key: PrivateKey) -> None:
        self._key = key
        self._public = key.public_key.format()
        self.address = _address(key)

    def sign_now(self, digest: bytes) -> Signature:
        """Sign 32 bytes, with s in its lower half (EIP-2).

        Raises:
            ValueError: `digest` is not 32 bytes.
            WrongSignature: this machine miscalculated; such a signature could give the key away.
        """
        insist_on_digest(digest)
        made = self._key.sign_recoverable(digest, hasher=None)
        if PublicKey.from_signature_and_message(made, digest, hasher=None).format() != self._public:
            raise WrongSignature(f"this machine miscalculated a signature of 0x{self.address.hex()}")
        return Signature(v=27 + made[64], r=made[:32], s=made[32:64])

    async def sign_digest(self, digest: bytes) -> Signature:
        """As `sign_now`; see `Signer.sign_digest`."""
        return self.sign_now(digest)

    async def health(self) -> None:
        """The key is in memory, so there is nothing to ask."""

    def __repr__(self) -> str:
        return f"LocalSigner(0x{self.address.hex()})"

    def __reduce__(self) -> str:
        raise TypeError("a key never leaves its process")


class Keystore:
    """The signers of a keystore directory, in memory for as long as the process lives."""

    def __init__(self, keys: Iterable[PrivateKey]) -> None:
        self._signers = {signer.address: signer for signer in map(LocalSigner, keys)}

    @classmethod
    def open(cls, directory: Path, password: SecretStr) -> "Keystore":
        """Decrypt every file of a directory; names that begin with a dot are passed over. Slow by design.

        Raises:
            KeystoreError: no directory, no file in it, a file that others may read, that is no V3 file,
                or that the password does not open.
        """
        if not directory.is_dir():
            raise KeystoreError(f"there is no keystore directory {directory}")
        files = _files(directory)
        if not files:
            raise KeystoreError(f"the keystore directory {directory} holds no key file")
        return cls(_decrypted(file, password) for file in files)

    @property
    def addresses(self) -> frozenset[bytes]:
        """The signers there are."""
        return frozenset(self._signers)

    @property
    def signers(self) -> list[LocalSigner]:
        """The signers themselves."""
        return list(self._signers.values())

    def __repr__(self) -> str:
        return f"Keystore({len(self._signers)} signers)"

    def __reduce__(self) -> str:
        raise TypeError("a keystore never leaves its process")


def has_files(directory: Path) -> bool:
    """Whether a directory holds anything that could be a key file."""
    return directory.is_dir() and bool(_files(directory))


def create(directory: Path, password: SecretStr, *, kdf_iterations: int = KDF_ITERATIONS) -> bytes:
    """Make a new signer and its V3 file, readable by its owner alone. Returns the address."""
    return store(directory, password, secrets.token_bytes(32), kdf_iterations=kdf_iterations)


def store(directory: Path, password: SecretStr, private_key: bytes, *, kdf_iterations: int = KDF_ITERATIONS) -> bytes:
    """Bring in a private key (32 bytes) as a V3 file, readable by its owner alone. Returns the address.

    Raises:
        KeystoreError: no key, an empty password, a directory that can't be written, or one that holds a file for the
            address already.
    """
    # It takes a quarter of a second to import, and few processes need it.
    from eth_account import Account

    if not password.get_secret_value():
        raise KeystoreError("a keystore file needs a password")
    address = _address(_private_key(private_key))
    encrypted = Account.encrypt(private_key, password.get_secret_value(), kdf="pbkdf2", iterations=kdf_iterations)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_once(directory / f"{address.hex()}.json", json.dumps(encrypted).encode())
    except OSError as error:
        raise KeystoreError(f"{directory} cannot be a keystore directory: {error.strerror}") from None
    return address


def _write_once(path: Path, content: bytes) -> None:
    # A whole file appears under its name or none does: `Keystore.open` passes over the dotted one.
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(draft)
    except FileExistsError:
        raise KeystoreError(f"{path.name} is in the keystore already") from None
    finally:
        draft.unlink()


def _files(directory: Path) -> list[Path]:
    return sorted(entry for entry in directory.iterdir() if entry.is_file() and not entry.name.startswith("."))


def _decrypted(file: Path, password: SecretStr) -> PrivateKey:
    if stat.S_IMODE(file.stat().st_mode) & stat.S_IRWXO:
        raise KeystoreError(f"{file.name} is open to everyone on this machine: make its mode 0600")
    from eth_account import Account

    content = _v3(file)
    try:
        secret = bytes(Account.decrypt(content, password.get_secret_value()))
    except (ValueError, TypeError, KeyError, AttributeError, NotImplementedError):
        raise KeystoreError(f"{file.name}: the password does not open it, or the file is damaged") from None
    key = _private_key(secret)
    address = _address(key)
    told = content.get("address", address.hex())
    if not isinstance(told, str) or told.lower().removeprefix("0x") != address.hex():
        raise KeystoreError(f"{file.name}: the key inside belongs to another address than the file says")
    return key


def _v3(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _FILE_BYTES_MAX:
            raise ValueError("too long")
        content = json.loads(file.read_bytes())
    except OSError as error:
        raise KeystoreError(f"{file.name} cannot be read: {error.strerror}") from None
    except ValueError:
        content = None
    if not isinstance(content, dict) or content.get("version") != 3:
        raise KeystoreError(f"{file.name} is not a V3 keystore file")
    return content


def _private_key(secret: bytes) -> PrivateKey:
    try:
        if len(secret) != 32:
            raise ValueError("wrong length")
        return PrivateKey(secret)
    except ValueError:
        raise KeystoreError("a private key is 32 bytes, above zero and below the order of the curve") from None


def _address(key: PrivateKey) -> bytes:
    return address_of(key.public_key.format(compressed=False))
