"""The form of an API key, and its hash at rest. Pure.

`munsk_{environment}_{id}{secret}{check}`: 11, 43 and 6 base62 digits. The id finds the key and may be logged; the
secret has 256 bits, so a keyed hash needs no stretching; the check is a CRC-32, so that garbage costs no look-up and
scanners can recognise a leaked key.
"""

import hmac
import re
import secrets
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from pydantic import SecretStr

ENVIRONMENTS = ("live", "test")


class Scope(StrEnum):
    """What a key may do."""

    ISSUE = "issue"  # all that an issuer does with its assets, tokens and contracts: the seven below
    READ = "read"  # see what is the issuer's
    EXPORTS = "exports"  # take whole registers away as files, together with `read`
    TOKENS_WRITE = "tokens:write"  # assets, accounts and tokens: make them, move and freeze units
    COMPLIANCE_WRITE = "compliance:write"  # investors, rules, documents and reserves
    GOVERNANCE_WRITE = "governance:write"  # governors and proposals
    CONTRACTS_WRITE = "contracts:write"  # deploy what tokens need, grant roles on chain, run what was scheduled
    BATCHES_WRITE = "batches:write"  # stop batches, and start what was refused again
    TRANSACTIONS = "transactions"  # see how the issuer's transactions and its signer stand, and act on them
    METRICS = "metrics"  # read the deployment's metrics
    VAULT_TOKENIZE = "vault:tokenize"  # hand values in, renew them, revoke their vault tokens
    VAULT_REVEAL = "vault:reveal"  # see values again, as far as the policy lets
    VAULT_SEARCH = "vault:search"  # find records and read what is known of them besides their values
    VAULT_POLICY = "vault:policy"  # make and change policies, erase subjects
    WEBHOOKS = "webhooks"  # decide where the issuer's facts are told
    KEYS_READ = "keys:read"  # see which credentials the issuer has, and how they are used
    KEYS_ADMIN = "keys:admin"  # make credentials, rotate, suspend and revoke them


_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_FORM = re.compile(r"(munsk_(live|test)_([0-9A-Za-z]{11})[0-9A-Za-z]{43})([0-9A-Za-z]{6})")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key in the clear; shown once, then only its hash is kept."""

    id: str
    environment: str
    text: str = field(repr=False)

    def hashed(self, pepper: SecretStr) -> bytes:
        """HMAC-SHA256 of the whole key."""
        return hmac.digest(pepper.get_secret_value().encode(), self.text.encode(), "sha256")


@dataclass(frozen=True, slots=True)
class Peppers:
    """What keys' hashes are keyed with: new ones with the newest, and those of older ones until they are used."""

    newest: SecretStr
    version: int = 1
    older: Mapping[int, SecretStr] = field(default_factory=dict)

    def of(self, version: int) -> SecretStr | None:
        """The pepper of a version; None where this deployment has it no longer."""
        return self.newest if version == self.version else self.older.get(version)


def _base62(number: int, digits: int) -> str:
    written = ""
    for _ in range(digits):
        number, digit = divmod(number, 62)
        written = _BASE62[digit] + written
    return written


def new_public_id() -> str:
    """A fresh id of a credential: 11 base62 digits of 64 random bits."""
    return _base62(secrets.randbits(64), 11)


def make(environment: str) -> ApiKey:
    """A fresh key for `live` or `test`."""
    assert environment in ENVIRONMENTS
    public_id = new_public_id()
    body = f"munsk_{environment}_{public_id}{_base62(secrets.randbits(256), 43)}"
    return ApiKey(public_id, environment, body + _base62(zlib.crc32(body.encode()), 6))


def parse(text: str) -> ApiKey | None:
    """Read a key; None when it has not the form or its check is wrong."""
    found = _FORM.fullmatch(text)
    if found is None or _base62(zlib.crc32(found[1].encode()), 6) != found[4]:
        return None
    return ApiKey(found[3], found[2], text)


def find(text: str) -> list[ApiKey]:
    """The keys that stand anywhere in a text."""
    found = (parse(each[0]) for each in _FORM.finditer(text))
    return [key for key in found if key is not None]
