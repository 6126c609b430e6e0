"""The keys that send transactions: V3 keystore files, decrypted once at start."""

import json
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rlp
from coincurve import PrivateKey
from eth_account import Account
from eth_utils.crypto import keccak
from pydantic import SecretStr

KDF_ITERATIONS = 262_144
"""PBKDF2 rounds of a new file: slow for whoever guesses passwords. Source: Web3 Secret Storage, version 3."""

_FILE_BYTES_MAX = 65_536
_TYPE_2 = b"\x02"


class KeystoreError(Exception):
    """The keystore cannot be used as it is; the message says which file and why, never a secret."""


class UnknownSigner(Exception):
    """The keystore holds no key for this address."""


@dataclass(frozen=True, slots=True)
class UnsignedTransaction:
    """A type 2 transaction before it is signed. Amounts are in wei. Source: EIP-1559."""

    chain_id: int
    nonce: int
    to: bytes | None  # None creates a contract
    data: bytes
    value: int
    gas_limit: int
    max_fee_wei: int
    priority_fee_wei: int

    def __post_init__(self) -> None:
        if self.to is not None and len(self.to) != 20:
            raise ValueError("an address has 20 bytes")
        if not 0 < self.chain_id < 2**64 or not 0 <= self.nonce < 2**64 - 1 or not 0 < self.gas_limit < 2**64:
            raise ValueError("chain id, nonce or gas limit is out of range")
        if not 0 <= self.value < 2**256 or not 0 <= self.priority_fee_wei <= self.max_fee_wei < 2**256:
            raise ValueError("value or fees are out of range, or the priority fee is above the whole fee")


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """Bytes to broadcast, and the hash that they will be known by."""

    raw: bytes = field(repr=False)
    hash: bytes


class Keystore:
    """The signers' keys, in memory for as long as the process lives."""

    def __init__(self, keys: dict[bytes, PrivateKey]) -> None:
        self._keys = keys

    @classmethod
    def open(cls, directory: Path, password: SecretStr) -> "Keystore":
        """Decrypt every file of a directory; names that begin with a dot are passed over. Slow by design.

        Raises:
            KeystoreError: no directory, no file in it, a file that others may read, that is no V3 file,
                or that the password does not open.
        """
        if not directory.is_dir():
            raise KeystoreError(f"there is no keystore directory {directory}")
        files = sorted(entry for entry in directory.iterdir() if entry.is_file() and not entry.name.startswith("."))
        if not files:
            raise KeystoreError(f"the keystore directory {directory} holds no key file")
        return cls(dict(_decrypted(file, password) for file in files))

    @property
    def addresses(self) -> frozenset[bytes]:
        """The signers there are."""
        return frozenset(self._keys)

    def sign(self, signer: bytes, transaction: UnsignedTransaction) -> SignedTransaction:
        """Sign a transaction: the same bytes every time (RFC 6979), with s in its lower half (EIP-2).

        Raises:
            UnknownSigner: no key for that address.
        """
        key = self._keys.get(signer)
        if key is None:
            raise UnknownSigner(f"the keystore holds no key for 0x{signer.hex()}")
        fields = [
            transaction.chain_id,
            transaction.nonce,
            transaction.priority_fee_wei,
            transaction.max_fee_wei,
            transaction.gas_limit,
            transaction.to or b"",
            transaction.value,
            transaction.data,
            [],
        ]
        signature = key.sign_recoverable(keccak(_TYPE_2 + rlp.encode(fields)), hasher=None)
        r, s, y_parity = signature[:32], signature[32:64], signature[64]
        raw = _TYPE_2 + rlp.encode([*fields, y_parity, int.from_bytes(r, "big"), int.from_bytes(s, "big")])
        return SignedTransaction(raw=raw, hash=keccak(raw))

    def __repr__(self) -> str:
        return f"Keystore({len(self._keys)} signers)"

    def __reduce__(self) -> str:
        raise TypeError("a keystore never leaves its process")


def create(directory: Path, password: SecretStr, *, kdf_iterations: int = KDF_ITERATIONS) -> bytes:
    """Make a new signer and its V3 file, readable by its owner alone. Returns the address."""
    return store(directory, password, secrets.token_bytes(32), kdf_iterations=kdf_iterations)


def store(directory: Path, password: SecretStr, private_key: bytes, *, kdf_iterations: int = KDF_ITERATIONS) -> bytes:
    """Bring in a private key (32 bytes) as a V3 file, readable by its owner alone. Returns the address.

    Raises:
        KeystoreError: no key, an empty password, a directory that can't be written, or one that holds a file for the
            address already.
    """
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


def _decrypted(file: Path, password: SecretStr) -> tuple[bytes, PrivateKey]:
    if stat.S_IMODE(file.stat().st_mode) & stat.S_IRWXO:
        raise KeystoreError(f"{file.name} is open to everyone on this machine: make its mode 0600")
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
    return address, key


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
    return keccak(key.public_key.format(compressed=False)[1:])[12:]
