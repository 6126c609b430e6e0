"""What the vault's rows are found by, and what small things in them are sealed under. Pure: HMAC-SHA256, by domain.

Source: RFC 2104.
"""

import hmac
from uuid import UUID

_DOMAIN = b"muniment vault "


def token_index(index_key: bytes, token: str) -> bytes:
    """What finds a record by its vault token: 32 bytes."""
    return _keyed(index_key, b"index 1|", token.encode())


def subject_index(index_key: bytes, reference: str) -> bytes:
    """What finds a subject by its issuer's own reference: 32 bytes."""
    return _keyed(index_key, b"subject 1|", reference.encode())


def request_print(index_key: bytes, fingerprint: bytes) -> bytes:
    """What tells a request with values from another: a bare hash of it would let whoever reads it try values out."""
    return _keyed(index_key, b"request 1|", fingerprint)


def answer_key(index_key: bytes, caller_id: UUID, fingerprint: bytes) -> bytes:
    """The key of a batch's answer, which nobody can make again who does not send the batch again: 32 bytes."""
    return _keyed(index_key, b"answer 1|", caller_id.bytes + fingerprint)


def value_fingerprint(fingerprint_key: bytes, canonical: str) -> bytes:
    """What finds a policy's records by their value: 32 bytes."""
    return _keyed(fingerprint_key, b"fingerprint 1|", canonical.encode())


def value_token_key(fingerprint_key: bytes, canonical: str) -> bytes:
    """The key of a deterministic vault token, which nobody can make who does not bring the value: 32 bytes."""
    return _keyed(fingerprint_key, b"token 1|", canonical.encode())


def export_key(record_key: bytes) -> bytes:
    """The key of the vault tokens of an exportable policy: 32 bytes."""
    return _keyed(record_key, b"export 1|", b"")


def _keyed(key: bytes, domain: bytes, what: bytes) -> bytes:
    return hmac.digest(key, _DOMAIN + domain + what, "sha256")
