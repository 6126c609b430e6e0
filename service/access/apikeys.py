"""The form of an API key, and its hash at rest. Pure.

`munsk_{environment}_{id}{secret}{check}`: 11, 43 and 6 base62 digits. The id finds the key and may be logged; the
secret has 256 bits, so a keyed hash needs no stretching; the check is a CRC-32, so that garbage costs no look-up and
scanners can recognise a leaked key.
"""

import hmac
import re
import secrets
import zlib
from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import SecretStr

ENVIRONMENTS = ("live", "test")


class Scope(StrEnum):
    """What a key may do."""

    ISSUE = "issue"  # all that an issuer does with its assets, tokens and contracts
    TRANSACTIONS = "transactions"  # see how the issuer's transactions and its signer stand, and act on them
    METRICS = "metrics"  # read the deployment's metrics
    VAULT_TOKENIZE = "vault:tokenize"  # hand values in, renew them, revoke their vault tokens
    VAULT_REVEAL = "vault:reveal"  # see values again, as far as the policy lets
    VAULT_SEARCH = "vault:search"  # find records and read what is known of them besides their values
    VAULT_POLICY = "vault:policy"  # make and change policies, erase subjects


_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_FORM = re.compile(r"(munsk_(?:live|test)_([0-9A-Za-z]{11})[0-9A-Za-z]{43})([0-9A-Za-z]{6})")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key in the clear; shown once, then only its hash is kept."""

    id: str
    text: str = field(repr=False)

    def hashed(self, pepper: SecretStr) -> bytes:
        """HMAC-SHA256 of the whole key."""
        return hmac.digest(pepper.get_secret_value().encode(), self.text.encode(), "sha256")


def _base62(number: int, digits: int) -> str:
    written = ""
    for _ in range(digits):
        number, digit = divmod(number, 62)
        written = _BASE62[digit] + written
    return written


def make(environment: str) -> ApiKey:
    """A fresh key for `live` or `test`."""
    assert environment in ENVIRONMENTS
    public_id = _base62(secrets.randbits(64), 11)
    body = f"munsk_{environment}_{public_id}{_base62(secrets.randbits(256), 43)}"
    return ApiKey(public_id, body + _base62(zlib.crc32(body.encode()), 6))


def parse(text: str) -> ApiKey | None:
    """Read a key; None when it has not the form or its check is wrong."""
    found = _FORM.fullmatch(text)
    if found is None or _base62(zlib.crc32(found[1].encode()), 6) != found[3]:
        return None
    return ApiKey(found[2], text)
