"""A record's two layers of encryption: the inner under a key of its own, the outer under a data key that rotates.

The inner key comes from the subject's or the policy's key and from the vault token, which is stored nowhere: whoever
steals the database and every key reads nothing without the tokens. The outer layer binds the record to its row.
"""

import hashlib
import hmac
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from service.keys.wrapping import KeyAltered
from service.keys.wrapping_local import opened_key, sealed_key

SEALS_MAX = 2**32
"""Records under one version of a data key, since each draws a random nonce. Source: NIST SP 800-38D section 8.3."""

OVERHEAD_BYTES = 62
"""What a sealed record is longer than its value."""

_VERSION, _AES_256_GCM = 1, 1
_INFO = b"muniment vault record 1|"
_OUTER = b"muniment vault row 1|"
_SUBJECT = b"muniment subject key 1|"
_NO_SUBJECT = bytes(16)
_NONCE_BYTES, _TAG_BYTES, _KEY_ID_BYTES = 12, 16, 4
_HEADER_BYTES = 2 + _KEY_ID_BYTES
_BEGIN = bytes((_VERSION, _AES_256_GCM))
_EXTRACT_SALT = bytes(hashlib.sha256().digest_size)


class Tampered(Exception):
    """A record does not open: altered, cut short, or not of this issuer, policy, subject, row or token. An alarm."""


@dataclass(frozen=True, slots=True)
class Row:
    """Where a record is stored; the outer layer is bound to all of it."""

    issuer: UUID
    policy: UUID
    subject: UUID | None
    index: bytes  # what the row is found by: 32 bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """A record on its way in or out.

    Args:
        token: the vault token, in UTF-8; None in the mapping mode `exportable`, where the index stands in its place.
        record_key: the subject's key, or without a subject the policy's record key: 32 bytes.
    """

    row: Row
    token: bytes | None = field(repr=False)
    record_key: bytes = field(repr=False)
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Sealed:
    """A record at rest, with what opens it; `token` and `record_key` as in `Opened`."""

    row: Row
    token: bytes | None = field(repr=False)
    record_key: bytes = field(repr=False)
    sealed: bytes = field(repr=False)


def seal(record: Opened, version: int, data_key: bytes) -> bytes:
    """One record sealed; see `seal_many`."""
    return seal_many([record], version, data_key)[0]


def open_sealed(record: Sealed, data_keys: Mapping[int, bytes]) -> bytes:
    """One record's value; see `open_many`.

    Raises:
        Tampered: it does not open.
    """
    (opened,) = open_many([record], data_keys)
    if isinstance(opened, Tampered):
        raise opened
    return opened


def seal_many(records: Sequence[Opened], version: int, data_key: bytes) -> list[bytes]:
    """Seal records under one data key of their issuer.

    Each is: format, algorithm, version of the data key (4 bytes), nonce, and the ciphertext of the inner layer, which
    is a nonce and the ciphertext of the value.

    Args:
        version: the data key's, 1 to 2**32 - 1.
        data_key: 32 bytes, the same for all.

    Raises:
        ValueError: a key or an index is not 32 bytes, or the version out of range.

    Source: RFC 5116 and NIST SP 800-38D (AES-256-GCM), RFC 5869 (HKDF-SHA256).
    """
    begin, outer, inner_keys = _begin(version), AESGCM(_insisted(data_key)), _InnerKeys()
    nonces = os.urandom(2 * _NONCE_BYTES * len(records))
    made, at = [], 0
    for record in records:
        inner_nonce, nonce = nonces[at : at + _NONCE_BYTES], nonces[at + _NONCE_BYTES : at + 2 * _NONCE_BYTES]
        at += 2 * _NONCE_BYTES
        inner_key = inner_keys.of(record.row, record.token, record.record_key)
        inner = inner_nonce + AESGCM(inner_key).encrypt(inner_nonce, record.value, None)
        made.append(begin + nonce + outer.encrypt(nonce, inner, _bound(begin, record.row)))
    return made


def open_many(records: Iterable[Sealed], data_keys: Mapping[int, bytes]) -> list[bytes | Tampered]:
    """The value of each record, or why it does not open; one that was altered harms no other.

    Args:
        data_keys: the issuer's, by version; see `key_version` for those that are needed.

    Raises:
        ValueError: a key or an index is not 32 bytes.
    """
    outers, inner_keys = _Outers(data_keys), _InnerKeys()
    opened: list[bytes | Tampered] = []
    for record in records:
        try:
            inner = outers.open(record.row, record.sealed)
            key = inner_keys.of(record.row, record.token, record.record_key)
            opened.append(_decrypted(AESGCM(key), inner, None, "the record's own layer"))
        except Tampered as error:
            opened.append(error)
    return opened


def rewrap_many(
    records: Iterable[tuple[Row, bytes]], data_keys: Mapping[int, bytes], *, version: int
) -> list[bytes | Tampered]:
    """Replace the outer layer of sealed records alone: no token, no record key, and no value is needed or seen.

    Args:
        data_keys: the issuer's, by version, with the old ones and the new one.
        version: the new one.

    Raises:
        KeyError: the new one is not among the data keys.
        ValueError: a key or an index is not 32 bytes.
    """
    outers, newest, begin = _Outers(data_keys), AESGCM(_insisted(data_keys[version])), _begin(version)
    made: list[bytes | Tampered] = []
    for row, sealed in records:
        try:
            inner = outers.open(row, sealed)
        except Tampered as error:
            made.append(error)
            continue
        nonce = os.urandom(_NONCE_BYTES)
        made.append(begin + nonce + newest.encrypt(nonce, inner, _bound(begin, row)))
    return made


def inner_layers(records: Iterable[tuple[Row, bytes]], data_keys: Mapping[int, bytes]) -> list[bytes | Tampered]:
    """What is under the outer layer of each record, still sealed by the inner one: no token or record key is needed.

    Raises:
        ValueError: a key or an index is not 32 bytes.
    """
    outers = _Outers(data_keys)
    found: list[bytes | Tampered] = []
    for row, sealed in records:
        try:
            found.append(outers.open(row, sealed))
        except Tampered as error:
            found.append(error)
    return found


def key_version(sealed: bytes) -> int:
    """The version of the data key that a record is sealed under; the layer itself proves it later.

    Raises:
        Tampered: it is no sealed record.
    """
    if len(sealed) < OVERHEAD_BYTES or sealed[:2] != _BEGIN:
        raise Tampered("a record was cut short, or is of a format or algorithm that is not known")
    return int.from_bytes(sealed[2:_HEADER_BYTES])


def wrap_subject_key(key: bytes, wrapping_key: bytes, version: int, *, issuer: UUID, subject: UUID) -> bytes:
    """A subject's key under its issuer's subject-wrapping key, bound to both; `version` is the latter's.

    Raises:
        ValueError: a key is not 32 bytes, or the version out of range.
    """
    return sealed_key(AESGCM(_insisted(wrapping_key)), _insisted(key), _subject(version, issuer, subject))


def unwrap_subject_key(wrapped: bytes, wrapping_key: bytes, version: int, *, issuer: UUID, subject: UUID) -> bytes:
    """What `wrap_subject_key` wrapped: 32 bytes.

    Raises:
        Tampered: it does not open.
    """
    try:
        return opened_key(AESGCM(_insisted(wrapping_key)), wrapped, _subject(version, issuer, subject))
    except KeyAltered:
        raise Tampered("a subject's key does not open: altered, cut short, or another subject's") from None


class _Outers:
    """The outer layers of one batch, with each data key made ready once."""

    def __init__(self, data_keys: Mapping[int, bytes]) -> None:
        self._ready = {version: AESGCM(_insisted(key)) for version, key in data_keys.items()}

    def open(self, row: Row, sealed: bytes) -> bytes:
        version = key_version(sealed)
        cipher = self._ready.get(version)
        if cipher is None:
            raise Tampered(f"a record tells data key {version}, which its issuer does not have")
        bound = _bound(sealed[:_HEADER_BYTES], row)
        return _decrypted(cipher, sealed[_HEADER_BYTES:], bound, "the layer that binds a record to its row")


class _InnerKeys:
    """The inner keys of one batch: HKDF-SHA256 with one block of output, its first step once for each record key."""

    def __init__(self) -> None:
        self._extracted: dict[bytes, bytes] = {}

    def of(self, row: Row, token: bytes | None, record_key: bytes) -> bytes:
        extracted = self._extracted.get(record_key)
        if extracted is None:
            extracted = self._extracted[record_key] = hmac.digest(_EXTRACT_SALT, _insisted(record_key), "sha256")
        # Unlike by a letter, so that no token can be made to look like an index.
        place = b"i" + row.index if token is None else b"t" + token
        return hmac.digest(extracted, _INFO + row.issuer.bytes + row.policy.bytes + place + b"\x01", "sha256")


def _subject(version: int, issuer: UUID, subject: UUID) -> bytes:
    return _SUBJECT + _begin(version) + issuer.bytes + subject.bytes


def _begin(version: int) -> bytes:
    if not 0 < version < 2 ** (8 * _KEY_ID_BYTES):
        raise ValueError("a data key's version is 1 to 2**32 - 1")
    return _BEGIN + version.to_bytes(_KEY_ID_BYTES)


def _bound(begin: bytes, row: Row) -> bytes:
    if len(row.index) != 32:
        raise ValueError("an index has 32 bytes")
    subject = _NO_SUBJECT if row.subject is None else row.subject.bytes
    return _OUTER + begin + row.issuer.bytes + row.policy.bytes + subject + row.index


def _decrypted(cipher: AESGCM, sealed: bytes, bound: bytes | None, layer: str) -> bytes:
    try:
        return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound)
    except (InvalidTag, ValueError):
        raise Tampered(f"{layer} does not open: altered, cut short, or another place's or token's") from None


def _insisted(key: bytes) -> bytes:
    if len(key) != 32:
        raise ValueError("a key has 32 bytes")
    return key
