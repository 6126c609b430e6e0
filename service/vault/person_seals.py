"""What the vault keeps of a person for the ledger: an investor's id; a name and accounts under the person's key. Pure.

All of it hangs on the key that an erasure shreds: afterwards nobody computes the id from the person again, and nobody
reads which accounts were theirs.
"""

import hmac
from dataclasses import dataclass, field
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from service.keys.wrapping import KeyAltered
from service.keys.wrapping_local import opened_key, sealed_key
from service.vault.envelope import Tampered

_DOMAIN = b"muniment vault person "


@dataclass(frozen=True, slots=True)
class PersonSeals:
    """What is made with one subject's key.

    Args:
        key: the subject's: 32 bytes.
    """

    issuer_id: UUID
    subject_id: UUID
    key: bytes = field(repr=False)

    def investor_id(self) -> bytes:
        """The id under which the chain knows this person: 32 bytes that mean nothing without the key.

        Source: RFC 2104 (HMAC-SHA256).
        """
        return hmac.digest(self.key, _DOMAIN + b"investor 1|" + self._whose, "sha256")

    def sealed_name(self, token: str) -> bytes:
        """The vault token of the person's name, sealed."""
        return sealed_key(self._cipher(b"name 1"), token.encode(), self._whose)

    def opened_name(self, sealed: bytes) -> str:
        """What `sealed_name` sealed.

        Raises:
            Tampered: it does not open.
        """
        return self._opened(b"name 1", sealed, self._whose).decode()

    def sealed_account(self, index: bytes, account: bytes) -> bytes:
        """An account of the person, 20 bytes, sealed to the row of its index."""
        return sealed_key(self._cipher(b"account 1"), account, self._whose + index)

    def opened_account(self, index: bytes, sealed: bytes) -> bytes:
        """What `sealed_account` sealed.

        Raises:
            Tampered: it does not open.
        """
        return self._opened(b"account 1", sealed, self._whose + index)

    @property
    def _whose(self) -> bytes:
        return self.issuer_id.bytes + self.subject_id.bytes

    def _cipher(self, domain: bytes) -> AESGCM:
        return AESGCM(hmac.digest(self.key, _DOMAIN + domain, "sha256"))

    def _opened(self, domain: bytes, sealed: bytes, bound: bytes) -> bytes:
        try:
            return opened_key(self._cipher(domain), sealed, bound)
        except KeyAltered:
            raise Tampered("what is kept of a person does not open: altered, cut short, or another person's") from None


def account_index(index_key: bytes, account: bytes) -> bytes:
    """What finds an account's person: 32 bytes."""
    return hmac.digest(index_key, _DOMAIN + b"index 1|" + account, "sha256")
