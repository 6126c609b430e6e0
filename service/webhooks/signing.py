"""Signing and verifying messages as Standard Webhooks 1.0 has it, by HMAC-SHA256 (`v1`) and Ed25519 (`v1a`). Pure.

Receivers may use `verify` as it stands: it needs nothing of the service. Source: Standard Webhooks 1.0.
"""

import base64
import binascii
import hmac
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
TOLERANCE_S = 300
"""A message whose time is further from the receiver's clock is refused."""

KEY_BYTES = 32

_HMAC_PREFIX, _PRIVATE_PREFIX, _PUBLIC_PREFIX = "whsec_", "whsk_", "whpk_"
_HMAC_BYTES = range(24, 65)
_SIGNATURES_MAX = 32


class NotVerified(Exception):
    """The message is not one that this receiver should believe; it says why, and nothing of what it was."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """What one version of a webhook's secrets signs with: 32 bytes for HMAC, and 32 of an Ed25519 private key."""

    hmac_key: bytes = field(repr=False)
    private_key: bytes = field(repr=False)
    _signer: Ed25519PrivateKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Made once: it takes as long as a signature.
        object.__setattr__(self, "_signer", Ed25519PrivateKey.from_private_bytes(self.private_key))

    @property
    def secret(self) -> str:
        """The HMAC secret as receivers take it: `whsec_…`."""
        return _HMAC_PREFIX + base64.b64encode(self.hmac_key).decode()

    @property
    def public_key(self) -> bytes:
        """The Ed25519 public key, 32 bytes."""
        return self._signer.public_key().public_bytes_raw()

    def sign(self, content: bytes) -> tuple[bytes, bytes]:
        """The two signatures of the same bytes, `v1` and `v1a`."""
        return hmac.digest(self.hmac_key, content, "sha256"), self._signer.sign(content)


def public_text(public_key: bytes) -> str:
    """A public key as receivers take it: `whpk_…`."""
    return _PUBLIC_PREFIX + base64.b64encode(public_key).decode()


def signed_headers(versions: Sequence[Secrets], *, id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """The three headers of a message, with two signatures of each version of the secrets.

    Args:
        id: the message's own, the same however often it is sent; without a dot.
        timestamp_s: Unix time of this sending.
    """
    content = _content(id, str(timestamp_s), body)
    made = [each.sign(content) for each in versions]
    signatures = [f"v1,{_text(v1)}" for v1, _ in made] + [f"v1a,{_text(v1a)}" for _, v1a in made]
    return {ID: id, TIMESTAMP: str(timestamp_s), SIGNATURE: " ".join(signatures)}


def verify(
    key: str, headers: Mapping[str, str], body: bytes, *, now_s: float, tolerance_s: float = TOLERANCE_S
) -> None:
    """Raise unless a message was signed with a key, a moment ago.

    A message that was received before passes again: remember `webhook-id` for as long as messages may come again.

    Args:
        key: `whsec_…`, the secret that was shown once, or `whpk_…`, the public key.
        headers: the request's, in any spelling of their names.
        body: the request's body, byte for byte.
        now_s: the receiver's Unix time.

    Raises:
        NotVerified: it was not, or is no such message at all.
        ValueError: the key is malformed.
    """
    check = _checker(key)
    given = {name.lower(): value for name, value in headers.items()}
    missing = [name for name in (ID, TIMESTAMP, SIGNATURE) if not given.get(name)]
    if missing:
        raise NotVerified(f"the header {missing[0]} is missing")
    timestamp = given[TIMESTAMP]
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 16):
        raise NotVerified(f"the header {TIMESTAMP} is no Unix time")
    if abs(now_s - int(timestamp)) > tolerance_s:
        raise NotVerified("the message is too old, or this clock is wrong")
    try:
        content = _content(given[ID], timestamp, body)
    except UnicodeEncodeError:
        raise NotVerified(f"the header {ID} is not ASCII") from None
    if not any(check(version, signature, content) for version, signature in _signatures(given[SIGNATURE])):
        raise NotVerified("no signature is this key's")


@dataclass(frozen=True, slots=True)
class _HmacCheck:
    key: bytes = field(repr=False)

    def __call__(self, version: str, signature: bytes, content: bytes) -> bool:
        return version == "v1" and hmac.compare_digest(hmac.digest(self.key, content, "sha256"), signature)


@dataclass(frozen=True, slots=True)
class _Ed25519Check:
    key: Ed25519PublicKey

    def __call__(self, version: str, signature: bytes, content: bytes) -> bool:
        if version != "v1a":
            return False
        try:
            self.key.verify(signature, content)
        except InvalidSignature:
            return False
        return True


def _checker(key: str) -> _HmacCheck | _Ed25519Check:
    if key.startswith(_PRIVATE_PREFIX):
        raise ValueError("this is a private key, which belongs to the sender alone: take the public one, whpk_…")
    try:
        prefix, raw = key[: len(_HMAC_PREFIX)], base64.b64decode(key.partition("_")[2], validate=True)
    except (binascii.Error, ValueError):
        prefix, raw = "", b""
    if prefix == _HMAC_PREFIX and len(raw) in _HMAC_BYTES:
        return _HmacCheck(raw)
    if key.startswith(_PUBLIC_PREFIX) and len(raw) == KEY_BYTES:
        return _Ed25519Check(Ed25519PublicKey.from_public_bytes(raw))
    raise ValueError("a key is whsec_ or whpk_ and base64")


def _signatures(header: str) -> Iterator[tuple[str, bytes]]:
    """The signatures that can be read; whoever knows another version than we do must not disturb us."""
    for each in header.split(" ")[:_SIGNATURES_MAX]:
        version, _, text = each.partition(",")
        try:
            yield version, base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            continue


def _content(id: str, timestamp: str, body: bytes) -> bytes:
    return b".".join((id.encode("ascii"), timestamp.encode("ascii"), body))


def _text(signature: bytes) -> str:
    return base64.b64encode(signature).decode()
