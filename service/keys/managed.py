"""Managed accounts' keys: made here, encrypted at rest, never leaving."""

import asyncio
import base64
import binascii
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from coincurve import PrivateKey
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from eth_hash.auto import keccak
from pydantic import SecretStr
from sqlalchemy import CheckConstraint, DateTime, LargeBinary, func, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Base

_ASSOCIATED = b"muniment managed key v1"
_NONCE_BYTES = 12


class NotManaged(Exception):
    """We hold no key for this account: it signs for itself."""


class ManagedKeyUnreadable(Exception):
    """The stored key does not decrypt: another key-encryption key, or the row was altered."""


class ManagedKey(Base):
    """One account's private key under AES-256-GCM: nonce, ciphertext and tag, bound to the address."""

    __tablename__ = "managed_keys"
    __table_args__ = (CheckConstraint("length(address) = 20", name="address"),)

    address: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    ciphertext: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())

    def __repr__(self) -> str:
        return f"ManagedKey(0x{self.address.hex()})"


@dataclass(frozen=True, slots=True)
class Signature:
    """An ECDSA signature as contracts take it; whoever has it may use it, so no repr tells it."""

    v: int  # 27 or 28
    r: bytes = field(repr=False)
    s: bytes = field(repr=False)  # in its lower half, as EIP-2 asks


async def create_managed_key(session: AsyncSession, kek: SecretStr) -> bytes:
    """Make a key and store it encrypted, in the caller's DB transaction. Returns the address alone.

    `kek` is the key-encryption key: 32 bytes in base64.

    Raises:
        ValueError: `kek` is something else.
    """
    cipher = _cipher(kek)
    key = PrivateKey()
    address = keccak(key.public_key.format(compressed=False)[1:])[12:]
    nonce = secrets.token_bytes(_NONCE_BYTES)
    ciphertext = nonce + cipher.encrypt(nonce, key.secret, _ASSOCIATED + address)
    session.add(ManagedKey(address=address, ciphertext=ciphertext))
    await session.flush()
    return address


async def sign_digest(session: AsyncSession, kek: SecretStr, address: bytes, digest: bytes) -> Signature:
    """Sign 32 bytes with a managed account's key: the same signature every time (RFC 6979).

    Raises:
        NotManaged: we hold no key for `address`.
        ManagedKeyUnreadable: the stored key does not decrypt.
        ValueError: `digest` is not 32 bytes, or `kek` not 32 bytes in base64.
    """
    (signature,) = await sign_digests(session, kek, [(address, digest)])
    return signature


async def sign_digests(session: AsyncSession, kek: SecretStr, wanted: Sequence[tuple[bytes, bytes]]) -> list[Signature]:
    """Sign many digests, each with the key of the account beside it; raises as `sign_digest`."""
    if any(len(digest) != 32 for _, digest in wanted):
        raise ValueError("a digest has 32 bytes")
    cipher = _cipher(kek)
    addresses = {address for address, _ in wanted}
    rows = await session.execute(
        text("SELECT address, ciphertext FROM managed_keys WHERE address = ANY(:addresses)"),
        {"addresses": list(addresses)},
    )
    stored: dict[bytes, bytes] = {row.address: row.ciphertext for row in rows}
    for address in addresses - stored.keys():
        raise NotManaged(f"0x{address.hex()} is not a managed account")
    return await asyncio.to_thread(_sign_all, cipher, stored, wanted)


def _sign_all(cipher: AESGCM, stored: Mapping[bytes, bytes], wanted: Sequence[tuple[bytes, bytes]]) -> list[Signature]:
    keys = {address: _opened(cipher, address, ciphertext) for address, ciphertext in stored.items()}
    signatures = (keys[address].sign_recoverable(digest, hasher=None) for address, digest in wanted)
    return [Signature(v=27 + each[64], r=each[:32], s=each[32:64]) for each in signatures]


def _opened(cipher: AESGCM, address: bytes, stored: bytes) -> PrivateKey:
    try:
        secret = cipher.decrypt(stored[:_NONCE_BYTES], stored[_NONCE_BYTES:], _ASSOCIATED + address)
    except (InvalidTag, ValueError):  # the latter for a row cut short
        raise ManagedKeyUnreadable(f"the key of 0x{address.hex()} does not decrypt") from None
    return PrivateKey(secret)


def _cipher(kek: SecretStr) -> AESGCM:
    try:
        key = base64.b64decode(kek.get_secret_value(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != 32:
        raise ValueError("the key-encryption key is 32 bytes in base64")
    return AESGCM(key)
